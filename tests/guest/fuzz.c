// SPDX-License-Identifier: MIT
/*
 * Random calls on the device: arguments that are right, nearly right and wrong,
 * pointers that are good, bad or into the shared memory, from threads and forks
 * that share descriptors and mappings. The kernel must not complain, nobody may
 * hang, and the device must work afterwards.
 *
 *	fuzz DEVICE [--calls N] [--seed S] [--worker W] [--guided]
 *
 * Processes, the workers, run one after the other, each with some threads. What
 * a thread calls depends on the seed and its number alone; --worker runs again
 * the one that a failure names. --guided, which takes KCOV and a driver that is
 * instrumented for it, has calls depend on what others have reached, too.
 */
#include <getopt.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "guide.h"
#include "irq.h"
#include "uring.h"

#define THREADS		3
#define CALLS		20000	/* of a worker */
#define PROGRAM		8	/* calls at most, of those that are guided as one */
#define SLOTS		16	/* descriptors that threads share */
#define PAGE		4096UL
#define ARENA		(8UL << 20)
#define LEAST_STEPS	500	/* in the driver, if that is looked at */
#define TICK		UINT64_C(2000000)	/* ends what blocks */
#define PATIENCE	(120 * TAP_SECOND)	/* for one call */

enum op {
	OP_OPEN, OP_CLOSE, OP_DUP, OP_INFO, OP_RING, OP_WAIT, OP_EVENTFD,
	OP_SUBSCRIBE, OP_UNKNOWN, OP_READ, OP_READV, OP_PREADV2, OP_POLL, OP_EPOLL,
	OP_FCNTL, OP_MMAP, OP_MUNMAP, OP_MREMAP, OP_MPROTECT, OP_MADVISE, OP_LOCK,
	OP_TOUCH, OP_COPY, OP_SEEK, OP_SPLICE, OP_URING, OP_OTHER, OP_FORK,
	OPS
};

static const char * const names[OPS] = {
	"open", "close", "dup", "GET_INFO", "RING_DOORBELL", "WAIT", "SET_EVENTFD",
	"SUBSCRIBE", "unknown ioctl", "read", "readv", "preadv2", "poll", "epoll",
	"fcntl", "mmap", "munmap", "mremap", "mprotect", "madvise", "mlock",
	"touch", "process_vm_readv", "lseek", "splice", "io_uring", "other", "fork",
};

/* How often an operation is chosen, beside the others. */
static const unsigned char weights[OPS] = {
	[OP_OPEN] = 12, [OP_CLOSE] = 4, [OP_DUP] = 4, [OP_INFO] = 6,
	[OP_RING] = 16, [OP_WAIT] = 16, [OP_EVENTFD] = 12, [OP_SUBSCRIBE] = 12,
	[OP_UNKNOWN] = 4, [OP_READ] = 14, [OP_READV] = 5, [OP_PREADV2] = 4,
	[OP_POLL] = 8, [OP_EPOLL] = 8, [OP_FCNTL] = 8, [OP_MMAP] = 20,
	[OP_MUNMAP] = 3, [OP_MREMAP] = 3, [OP_MPROTECT] = 5, [OP_MADVISE] = 6,
	[OP_LOCK] = 2, [OP_TOUCH] = 10, [OP_COPY] = 3, [OP_SEEK] = 2,
	[OP_SPLICE] = 4, [OP_URING] = 10, [OP_OTHER] = 4, [OP_FORK] = 1,
};

/* What all processes add to. */
static struct shared {
	atomic_ulong calls[OPS];
	atomic_ulong good[OPS];
	atomic_uint bad_ends;		/* of forked children */
} *shared;

static struct worker {
	atomic_int fds[SLOTS];		/* mostly of the device */
	atomic_int efds[4];
	atomic_int epfds[2];
	int pipes[2];
	char *arena;			/* where mappings come and go */
	char *fence;			/* end of memory, nothing after it */
	pthread_barrier_t start;
} w;

static uint64_t below(uint64_t n)
{
	return guide_draw() % n;
}

static bool one_in(unsigned int n)
{
	return !below(n);
}

/* A timeout: most calls are not to wait. */
static int some_ms(void)
{
	return one_in(16) ? below(4) - 1 : 0;
}

/* A number that finds the edges of things. */
static uint64_t number(void)
{
	static const uint64_t edges[] = {
		0, 1, 2, 3, 4, 15, 16, 17, 63, 64, 65, 4095, 4096, 65535, 65536,
		IVSHMEM_MAX_VECTORS, IVSHMEM_MAX_VECTORS + 1, INT32_MAX,
		UINT32_MAX, UINT32_C(1) << 31, UINT64_C(1) << 32, INT64_MAX,
		UINT64_MAX, UINT64_MAX - 1,
	};

	if (one_in(4))
		return guide_draw() >> below(64);
	return edges[below(sizeof(edges) / sizeof(*edges))];
}

static uint32_t vector(void)
{
	return one_in(8) ? number() : below(irq_info.vectors);
}

static unsigned long doorbell(void)
{
	if (one_in(8))
		return number();
	if (one_in(4))
		return IVSHMEM_DOORBELL(guide_draw(), vector());
	return IVSHMEM_DOORBELL(irq_info.position, vector());
}

static int fd_of_device(void)
{
	return w.fds[below(SLOTS)];
}

/* Mostly of the device; or any other, or none. */
static int any_fd(void)
{
	switch (below(24)) {
	case 0:
		return w.efds[below(4)];
	case 1:
		return w.epfds[below(2)];
	case 2:
		return w.pipes[below(2)];
	case 3:
		return number() | 1024;		/* not where output goes */
	default:
		return fd_of_device();
	}
}

static char *somewhere(void)
{
	return w.arena + below(ARENA / PAGE) * PAGE;
}

/* No call reaches beyond the arena, where stacks may be. */
static size_t some_length(const char *mem)
{
	size_t left = w.arena + ARENA - mem;
	size_t size = one_in(8) ? number() % ARENA : (below(8) + 1) * PAGE;

	return size < left ? size : left;
}

/* Memory for a call: its own, the device's, or none that it can use. */
static void *buffer(void *own, size_t size)
{
	switch (below(12)) {
	case 0:
		return somewhere();
	case 1:
	case 2:
		return somewhere() + below(PAGE);	/* into the next page */
	case 3:
		return w.fence - below(size + 1);
	case 4:
		switch (below(5)) {
		case 0:
			return NULL;
		case 1:
			return (void *)(uintptr_t)UINT64_C(0xffff888000001000);
		case 2:
			return (void *)(uintptr_t)-8;
		case 3:
			return w.fence;
		default:
			/* Not where the program has its data. */
			return (void *)(uintptr_t)(number() << 47 | below(PAGE));
		}
	default:
		return own;
	}
}

/* An argument in memory: written there if it can be. */
static void *argument(void *own, size_t size)
{
	char *mem = buffer(own, size);
	struct iovec from = { own, size }, to = { mem, size };

	/* By a call, which does not die of it. */
	if (mem != own && process_vm_writev(getpid(), &from, 1, &to, 1, 0) < 0)
		return mem;
	return mem;
}

static void put_fd(atomic_int *slot, int fd)
{
	int old = atomic_exchange(slot, fd);

	if (old >= 0 && fd != old)
		close(old);
}

static long do_open(void)
{
	static const int modes[] = { O_RDWR, O_RDWR, O_RDWR, O_RDONLY, O_WRONLY };
	int flags = modes[below(5)] | O_CLOEXEC, fd;

	if (!one_in(8))
		flags |= O_NONBLOCK;
	if (one_in(32))
		flags |= O_EXCL;
	if (one_in(32))
		flags |= 1 << below(24);
	flags &= ~(O_CREAT | O_TMPFILE | O_PATH);
	fd = open(tap_device, flags);
	if (fd >= 0)
		put_fd(&w.fds[below(SLOTS)], fd);
	return fd;
}

static long do_dup(void)
{
	int fd;

	switch (below(3)) {
	case 0:
		fd = dup(fd_of_device());
		break;
	case 1:
		fd = fcntl(fd_of_device(), F_DUPFD_CLOEXEC, 0);
		break;
	default:
		/* Closes what is there, while others use it. */
		return dup3(fd_of_device(), fd_of_device(), O_CLOEXEC);
	}
	if (fd >= 0)
		put_fd(&w.fds[below(SLOTS)], fd);
	return fd;
}

static long do_wait(int fd)
{
	struct ivshmem_wait wait = {
		.count = number(),
		.vector = one_in(3) ? IVSHMEM_ANY_VECTOR : vector(),
		.flags = one_in(16) ? number() : below(2),
		.doorbell = doorbell(),
		.busy_ns = one_in(8) ? number() : 0,
	};

	switch (below(8)) {
	case 0:
		wait.timeout_ns = number();
		break;
	case 1:
		wait.timeout_ns = tap_now() + below(1000000);
		break;
	case 2:
		wait.timeout_ns = one_in(2) ? IVSHMEM_WAIT_FOREVER : 1;
		break;
	}
	/* The count as it is, so that there is something to wait for. */
	if (one_in(2)) {
		struct ivshmem_wait now = { .count = UINT64_MAX };

		now.vector = wait.vector;
		if (!ioctl(fd, IVSHMEM_WAIT, &now))
			wait.count = now.count;
	}
	if (one_in(16))
		wait.reserved[below(3)] = number();
	return ioctl(fd, IVSHMEM_WAIT, argument(&wait, sizeof(wait)));
}

static long do_eventfd(int fd)
{
	struct ivshmem_eventfd req = {
		.fd = one_in(4) ? -1 : one_in(8) ? any_fd() : w.efds[below(4)],
		.vector = vector(),
		.reserved = one_in(16) ? number() : 0,
	};

	if (one_in(16))
		put_fd(&w.efds[below(4)], eventfd(number(), EFD_NONBLOCK));
	return ioctl(fd, IVSHMEM_SET_EVENTFD, argument(&req, sizeof(req)));
}

static long do_subscribe(int fd)
{
	uint64_t words[IVSHMEM_MAX_VECTORS / 64] = { guide_draw() & 15 };
	struct ivshmem_subscribe req = {
		.bits = one_in(4) ? number() : below(5),
	};

	if (one_in(16))
		words[below(32)] = number();
	if (one_in(6))
		req.flags = one_in(4) ? number() : IVSHMEM_SUBSCRIBE_ALL;
	if (one_in(16))
		req.reserved = number();
	if (!(req.flags & IVSHMEM_SUBSCRIBE_ALL) || one_in(4))
		req.bitmap = (uintptr_t)argument(words, sizeof(words));
	else
		req.bits = 0;
	return ioctl(fd, IVSHMEM_SUBSCRIBE, argument(&req, sizeof(req)));
}

static long do_unknown(int fd)
{
	uint32_t own[64] = { 0 };
	unsigned int cmd = guide_draw();

	if (one_in(2))
		cmd = _IOC(below(4), IVSHMEM_IOC_TYPE, below(8), below(128));
	return ioctl(fd, cmd, argument(own, sizeof(own)));
}

static long do_read(int fd, enum op op)
{
	static const int flags[] = { 0, RWF_NOWAIT, RWF_HIPRI, RWF_NOWAIT, 1 << 7 };
	struct ivshmem_event own[64];
	size_t size = one_in(4) ? number() % sizeof(own) : sizeof(own);
	struct iovec iov[5];
	unsigned int i;

	if (op == OP_READ)
		return one_in(4) ? pread(fd, buffer(own, size), size, number()) :
				   read(fd, buffer(own, size), size);
	for (i = 0; i < 5; i++) {
		iov[i].iov_base = buffer((char *)own + i * 128, 128);
		iov[i].iov_len = one_in(3) ? number() % 128 : below(48);
	}
	if (op == OP_READV)
		return readv(fd, iov, below(6));
	return preadv2(fd, iov, below(6), one_in(2) ? -1 : (off_t)number(),
		       flags[below(5)]);
}

static long do_poll(int fd)
{
	struct pollfd pfds[3] = {
		{ fd, one_in(4) ? number() : POLLIN, 0 },
		{ fd_of_device(), POLLIN | POLLPRI, 0 },
		{ any_fd(), guide_draw(), 0 },
	};

	return poll(buffer(pfds, sizeof(pfds)), below(4), some_ms());
}

static long do_epoll(int fd)
{
	struct epoll_event event = { .data.u64 = guide_draw() };
	int ep = w.epfds[below(2)];

	switch (below(8)) {
	case 0:
		put_fd(&w.epfds[below(2)], epoll_create1(EPOLL_CLOEXEC));
		return 0;
	case 1:
	case 2:
	case 3:
		event.events = EPOLLIN |
			(guide_draw() & (EPOLLET | EPOLLONESHOT |
					 EPOLLEXCLUSIVE | EPOLLOUT));
		return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
	case 4:
		event.events = guide_draw();
		return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &event);
	case 5:
		return epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
	default:
		return epoll_wait(ep, &event, 1, some_ms());
	}
}

static long do_fcntl(int fd)
{
	struct f_owner_ex owner = { .type = below(3), .pid = getpid() };
	int on = below(2);

	switch (below(6)) {
	case 0:
	case 1:
		return fcntl(fd, F_SETFL, (one_in(8) ? 0 : O_NONBLOCK) |
			     (guide_draw() & (O_ASYNC | O_APPEND | O_DIRECT)));
	case 2:
		return fcntl(fd, F_SETOWN, getpid());
	case 3:
		return fcntl(fd, F_SETOWN_EX, &owner);
	case 4:
		return fcntl(fd, F_SETSIG, one_in(2) ? 0 : SIGRTMIN + 1);
	default:
		return ioctl(fd, FIOASYNC, &on);
	}
}

/* Into the arena, so that no more is ever mapped than that. */
static long do_mmap(int fd)
{
	static const int kinds[] = { MAP_SHARED, MAP_SHARED, MAP_SHARED,
				     MAP_PRIVATE, MAP_SHARED_VALIDATE };
	int flags = kinds[below(5)] | MAP_FIXED;
	int prot = one_in(4) ? below(4) : PROT_READ | PROT_WRITE;
	char *where = somewhere();
	size_t size = some_length(where);
	uint64_t offset = 0;

	if (one_in(2))
		offset = below(irq_info.size / PAGE) * PAGE;
	else if (one_in(8))
		offset = number() & ~(PAGE - 1);
	if (one_in(4))
		flags |= MAP_POPULATE;
	if (one_in(16))
		flags |= MAP_LOCKED;
	if (one_in(4)) {
		flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
		fd = -1;
	}
	return mmap(where, size, prot, flags, fd, offset) == MAP_FAILED ? -1 : 0;
}

/* Where the kernel likes; and away again. */
static long do_mmap_free(int fd)
{
	size_t size = one_in(2) ? irq_info.size : some_length(w.arena);
	char *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED |
			 (one_in(2) ? MAP_POPULATE : 0), fd, 0);

	if (mem == MAP_FAILED)
		return -1;
	/* In pieces; none twice, for another thread may be given the hole. */
	if (size > PAGE && one_in(2))
		return munmap(mem + PAGE, size - PAGE) | munmap(mem, PAGE);
	return munmap(mem, size);
}

static long do_mremap(void)
{
	char *old = somewhere(), *new = somewhere();
	size_t size = some_length(old), wanted = some_length(new);
	void *mem;

	if (one_in(2))
		mem = mremap(old, size, wanted, MREMAP_MAYMOVE | MREMAP_FIXED |
			     (one_in(4) ? MREMAP_DONTUNMAP : 0), new);
	else
		mem = mremap(old, size, one_in(2) ? size : size / 2, 0);
	return mem == MAP_FAILED ? -1 : 0;
}

static long do_madvise(void)
{
	/* Not those that damage memory; the device's takes the first eight. */
	static const int advice[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_WILLNEED, MADV_DONTFORK,
		MADV_DOFORK, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP,
		MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_MERGEABLE,
		MADV_UNMERGEABLE, MADV_DODUMP, MADV_WIPEONFORK, MADV_KEEPONFORK,
		MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
		25, 1000,
	};
	unsigned int some = sizeof(advice) / sizeof(*advice);
	char *mem = somewhere();

	return madvise(mem, some_length(mem), advice[below(one_in(2) ? 8 : some)]);
}

static long do_lock(void)
{
	unsigned char pages[ARENA / PAGE];
	char *mem = somewhere();
	size_t size = some_length(mem);

	switch (below(4)) {
	case 0:
		return mlock(mem, size);
	case 1:
		return msync(mem, size, below(8));
	case 2:
		return mincore(mem, size, pages);
	default:
		return munlock(mem, size);
	}
}

static __thread sigjmp_buf fault;
static __thread volatile sig_atomic_t touching;

static void fault_handler(int sig)
{
	/* Anywhere else it is the end. */
	if (!touching) {
		signal(sig, SIG_DFL);
		return;
	}
	siglongjmp(fault, sig);
}

static long do_touch(void)
{
	atomic_uchar *mem = (atomic_uchar *)(somewhere() + below(PAGE));

	if (sigsetjmp(fault, 1)) {
		touching = false;
		return -1;
	}
	touching = true;
	if ((uintptr_t)mem & 1)
		*mem = 0x5a;
	else
		atomic_load(mem);
	touching = false;
	return 0;
}

static long do_copy(void)
{
	char own[256], other[256];
	struct iovec here = { own, sizeof(own) };
	/* Not every kernel lets it into the device's memory. */
	struct iovec there = { one_in(4) ? other : somewhere(), sizeof(other) };

	return one_in(2) ? process_vm_readv(getpid(), &here, 1, &there, 1, 0) :
			   process_vm_writev(getpid(), &here, 1, &there, 1, 0);
}

static long do_splice(int fd)
{
	char own[4096];
	long ret;

	if (one_in(4))
		ret = sendfile(w.pipes[1], fd, NULL, below(200));
	else
		ret = splice(fd, NULL, w.pipes[1], NULL, below(200),
			     guide_draw() & SPLICE_F_NONBLOCK);
	while (read(w.pipes[0], own, sizeof(own)) > 0)
		;
	return ret;
}

/* Reads, polls, and as often gives up one of them, which may have ended. */
static struct io_uring_sqe some_request(int fd)
{
	/* Outlives the thread that asked. */
	static struct ivshmem_event events[4];
	struct io_uring_sqe sqe;

	switch (below(8)) {
	case 0:
		return op_poll(fd, below(2) * IORING_POLL_ADD_MULTI);
	case 1:
		return (struct io_uring_sqe){
			.opcode = IORING_OP_POLL_REMOVE, .addr = below(8),
		};
	case 2:
	case 3:
	case 4:
		return (struct io_uring_sqe){
			.opcode = IORING_OP_ASYNC_CANCEL, .fd = -1,
			.addr = below(8),
		};
	default:
		sqe = op_read(fd, buffer(events, sizeof(events)),
			      one_in(8) ? below(100) : sizeof(events));
		sqe.rw_flags = one_in(4) ? RWF_NOWAIT : 0;
		sqe.flags = one_in(16) ? IOSQE_ASYNC : 0;
		return sqe;
	}
}

static long do_uring(int fd)
{
	if (ring.fd < 0)
		return sched_yield();
	/* What has completed makes room. */
	__atomic_store_n(ring.cq_head,
			 __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE),
			 __ATOMIC_RELEASE);
	enqueue(some_request(fd), below(8));
	return syscall(__NR_io_uring_enter, ring.fd, 1, 0,
		       IORING_ENTER_GETEVENTS, NULL, 0);
}

static long do_other(int fd)
{
	char own[64];
	uint64_t value;
	struct stat st;

	switch (below(8)) {
	case 0:
		return write(fd, buffer(own, sizeof(own)), below(64));
	case 1:
		return fstat(fd, &st);
	case 2:
		return fsync(fd);
	case 3:
		return ftruncate(fd_of_device(), number());
	case 4:
		return flock(fd, LOCK_NB | (1 << below(4)));
	case 5:
		return posix_fadvise(fd, 0, 0, below(6)) ? -1 : 0;
	case 6:
		return read(w.efds[below(4)], &value, sizeof(value));
	default:
		return sched_yield();
	}
}

static void handler(int sig TAP_UNUSED)
{
}

/* Interrupts this thread now and then, so that it sleeps nowhere for ever. */
static timer_t start_ticks(void)
{
	const struct itimerspec often = { { 0, TICK }, { 0, TICK } };
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1,
	};
	timer_t timer;

	event._sigev_un._tid = syscall(SYS_gettid);
	NEED(!timer_create(CLOCK_MONOTONIC, &event, &timer));
	NEED(!timer_settime(timer, 0, &often, NULL));
	return timer;
}

static long one_call(enum op op);

/* A child that has copies of everything, uses them a little, and goes. */
static long do_fork(void)
{
	int status = 0;
	pid_t child;

	/* It costs more than all else. */
	if (!one_in(4))
		return sched_yield();
	child = fork();
	if (!child) {
		unsigned int i, n = below(20);

		start_ticks();
		for (i = 0; i < n; i++)
			one_call(below(OP_FORK));
		_exit(0);
	}
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (status) {
		tap_note("child: status %#x", status);
		shared->bad_ends++;
	}
	return child;
}

static long run_call(enum op op)
{
	struct ivshmem_info info;
	int fd = any_fd();
	char *mem;

	switch (op) {
	case OP_OPEN:
		return do_open();
	case OP_CLOSE:
		put_fd(&w.fds[below(SLOTS)], -1);
		return 0;
	case OP_DUP:
		return do_dup();
	case OP_INFO:
		return ioctl(fd, IVSHMEM_GET_INFO, buffer(&info, sizeof(info)));
	case OP_RING:
		return ioctl(fd, IVSHMEM_RING_DOORBELL, doorbell());
	case OP_WAIT:
		return do_wait(fd);
	case OP_EVENTFD:
		return do_eventfd(fd);
	case OP_SUBSCRIBE:
		return do_subscribe(fd);
	case OP_UNKNOWN:
		return do_unknown(fd);
	case OP_READ:
	case OP_READV:
	case OP_PREADV2:
		return do_read(fd, op);
	case OP_POLL:
		return do_poll(fd);
	case OP_EPOLL:
		return do_epoll(fd);
	case OP_FCNTL:
		return do_fcntl(fd);
	case OP_MMAP:
		return one_in(4) ? do_mmap_free(fd) : do_mmap(fd);
	case OP_MUNMAP:
		mem = somewhere();
		return munmap(mem, some_length(mem));
	case OP_MREMAP:
		return do_mremap();
	case OP_MPROTECT:
		mem = somewhere();
		return mprotect(mem, some_length(mem), one_in(2) ? below(4) :
				PROT_READ | PROT_WRITE);
	case OP_MADVISE:
		return do_madvise();
	case OP_LOCK:
		return do_lock();
	case OP_TOUCH:
		return do_touch();
	case OP_COPY:
		return do_copy();
	case OP_SEEK:
		return lseek(fd, one_in(2) ? number() : below(PAGE),
			     one_in(2) ? SEEK_SET : below(6));
	case OP_SPLICE:
		return do_splice(fd);
	case OP_URING:
		return do_uring(fd);
	case OP_OTHER:
		return do_other(fd);
	default:
		return do_fork();
	}
}

static long one_call(enum op op)
{
	long ret = run_call(op);

	shared->calls[op]++;
	shared->good[op] += ret >= 0;
	return ret;
}

static enum op some_op(void)
{
	unsigned int total = 0, pick;
	enum op op;

	for (op = 0; op < OPS; op++)
		total += weights[op];
	pick = below(total);
	for (op = 0; pick >= weights[op]; op++)
		pick -= weights[op];
	return op;
}

static void *thread_main(void *arg)
{
	timer_t timer = start_ticks();
	unsigned int i, program = 0;

	ring_try();
	guide_thread(*(uint64_t *)arg);
	/* Whatever the C library wants to map it has by now: holes are no place. */
	pthread_barrier_wait(&w.start);
	for (i = 0; i < CALLS / THREADS; i++, program--) {
		if (!program) {
			guide_begin();
			program = 1 + below(PROGRAM);
		}
		one_call(some_op());
		if (program == 1)
			guide_end();
	}
	timer_delete(timer);
	return NULL;
}

/* What is set up once in each worker; then its threads. */
static void worker_main(uint64_t seed)
{
	struct sigaction sa = { .sa_handler = handler };
	pthread_t threads[THREADS];
	uint64_t seeds[THREADS];
	unsigned int i;

	close(irq_bell);
	NEED(!sigaction(SIGUSR1, &sa, NULL));
	NEED(!sigaction(SIGIO, &sa, NULL));
	NEED(!sigaction(SIGRTMIN + 1, &sa, NULL));
	signal(SIGPIPE, SIG_IGN);
	sa.sa_handler = fault_handler;
	NEED(!sigaction(SIGSEGV, &sa, NULL));
	NEED(!sigaction(SIGBUS, &sa, NULL));
	for (i = 0; i < SLOTS; i++)
		w.fds[i] = open(tap_device, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	for (i = 0; i < 4; i++)
		w.efds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	for (i = 0; i < 2; i++)
		w.epfds[i] = epoll_create1(EPOLL_CLOEXEC);
	NEED(!pipe2(w.pipes, O_NONBLOCK | O_CLOEXEC));
	/* Buffers that begin at its end reach a little further. */
	w.arena = mmap(NULL, ARENA + 16 * PAGE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(w.arena != MAP_FAILED);
	NEED(!mprotect(w.arena, ARENA, PROT_READ | PROT_WRITE));
	/* Begin with the device's memory in half of it. */
	mmap(w.arena, ARENA / 2 < irq_info.size ? ARENA / 2 : irq_info.size,
	     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, w.fds[0], 0);
	w.fence = dev_fence(2);
	NEED(!pthread_barrier_init(&w.start, NULL, THREADS));
	for (i = 0; i < THREADS; i++) {
		seeds[i] = seed * THREADS + i;
		NEED(!pthread_create(&threads[i], NULL, thread_main, &seeds[i]));
	}
	for (i = 0; i < THREADS; i++)
		NEED(!pthread_join(threads[i], NULL));
}

/* Leaves a word in the kernel's log, for the case that it is the last. */
static void announce(uint64_t seed, uint64_t number_of)
{
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	dprintf(fd, "fuzz: seed %#llx worker %llu\n", (long long)seed,
		(long long)number_of);
	close(fd);
}

static uint64_t all_calls(void)
{
	uint64_t all = 0;
	enum op op;

	for (op = 0; op < OPS; op++)
		all += shared->calls[op];
	return all;
}

/* Runs a worker to its end; false if it crashes or hangs. */
static bool run_worker(uint64_t seed, uint64_t number_of)
{
	uint64_t end = tap_now() + PATIENCE, calls = 0;
	char command[256];
	int status = 0;
	pid_t child;

	announce(seed, number_of);
	child = fork();
	NEED(child >= 0);
	if (!child) {
		worker_main(seed + number_of);
		exit(0);
	}
	while (waitpid(child, &status, WNOHANG) == 0) {
		if (calls != all_calls()) {
			calls = all_calls();
			end = tap_now() + PATIENCE;
		} else if (tap_now() > end) {
			snprintf(command, sizeof(command),
				 "for t in /proc/%d/task/*; do echo \"# $t\"; sed 's/^/# /' $t/syscall $t/stack; done",
				 (int)child);
			if (system(command))
				tap_note("no stacks");
			kill(child, SIGKILL);
			tap_note("seed %#llx worker %llu hangs",
				 (long long)seed, (long long)number_of);
			return false;
		}
		tap_pause();
	}
	if (status)
		tap_note("seed %#llx worker %llu%s: status %#x", (long long)seed,
			 (long long)number_of, guide ? ", guided" : "", status);
	return !status;
}

static uint64_t report(void)
{
	enum op op;

	for (op = 0; op < OPS; op++)
		tap_note("%-16s %10llu calls, %10llu without error", names[op],
			 (unsigned long long)shared->calls[op],
			 (unsigned long long)shared->good[op]);
	tap_note("%-16s %10llu calls", "all", (unsigned long long)all_calls());
	return all_calls();
}

/*
 * Each operation gets somewhere often enough, or it would say little; but the one
 * that the driver does not know.
 */
static void check_good(void)
{
	enum op op;

	for (op = 0; op < OPS; op++) {
		unsigned long calls = shared->calls[op], good = shared->good[op];

		if (op != OP_UNKNOWN)
			tap_ok(good > calls / 10, "%s succeeds", names[op]);
	}
}

/* The device is what it was. */
static void check_device(void)
{
	struct ivshmem_info info;
	struct ivshmem_event event;
	int fd, efd = irq_eventfd();
	uint64_t count;
	unsigned int v;

	/* The last worker's interrupts may still be on their way. */
	while (!dev_quiet(irq_bell, 100))
		;
	/* Nobody has it open any more. */
	close(irq_bell);
	/* A ring ends some time after its last close(). */
	EXPECT_WITHIN((fd = open(tap_device, O_RDWR | O_EXCL | O_NONBLOCK)) >= 0,
		      20000);
	irq_bell = fd;
	EXPECT_EQ(ioctl(fd, IVSHMEM_GET_INFO, &info), 0);
	EXPECT(!memcmp(&info, &irq_info, sizeof(info)));
	for (v = 0; v < irq_info.vectors; v++) {
		EXPECT_EQ(irq_bind(fd, v, efd), 0);
		count = dev_ring_self(fd, v);
		irq_settle();
		EXPECT_EQ(irq_take(efd), 1);
		EXPECT_EQ(irq_poll(fd), POLLIN);
		EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
		EXPECT_EQ(event.vector, v);
		EXPECT_EQ(event.count, count);
	}
	EXPECT_ERRNO(read(fd, &event, sizeof(event)), EAGAIN);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "calls", required_argument, NULL, 'c' },
		{ "seed", required_argument, NULL, 's' },
		{ "worker", required_argument, NULL, 'w' },
		{ "guided", no_argument, NULL, 'g' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t calls = 100000, seed = 0, first = 0, last, i, failed = 0;
	bool chosen = false;
	long eventfds;
	int option;

	NEED(syscall(SYS_getrandom, &seed, 4, 0) == 4);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint64_t value = optarg ? strtoull(optarg, NULL, 0) : 0;

		if (option == 'c') {
			calls = value;
		} else if (option == 's') {
			seed = value;
		} else if (option == 'w') {
			first = value;
			chosen = true;
		} else if (option == 'g') {
			guide_start();
		} else {
			tap_bail("unknown option");
		}
	}
	tap_start(argc - optind + 1, argv + optind - 1, 0);
	tap_note("seed %#llx", (long long)seed);
	irq_start(1);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(shared != MAP_FAILED);

	eventfds = irq_next_eventfd();
	last = chosen ? first : first + (calls + CALLS - 1) / CALLS - 1;
	for (i = first; i <= last && failed < 3; i++) {
		failed += !run_worker(seed, i);
		if (i % 50 == 49)
			tap_note("%llu of %llu workers", (long long)i + 1,
				 (long long)last + 1);
	}
	EXPECT(report() >= (last - first + 1) * (CALLS / THREADS) * THREADS);
	EXPECT_EQ(failed, 0);
	EXPECT_EQ(shared->bad_ends, 0);
	check_good();
	if (guide) {
		tap_note("%u steps in the driver, %u tapes", guide->steps,
			 guide->tapes);
		EXPECT(guide->steps >= LEAST_STEPS);
	}
	/* Every binding has let go, for nobody has a file open any more. */
	EXPECT_WITHIN(irq_next_eventfd() <= eventfds, 20000);
	check_device();
	return tap_finish();
}
