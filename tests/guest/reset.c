// SPDX-License-Identifier: MIT
/*
 * Uses a device that is reset, or sleeps, below it: memory reads as what was
 * written and never as ones, nothing that is written is lost, a peer hears each
 * ring, and sleepers of each kind hear of each reset once.
 *
 *	reset DEVICE N PEER	prints "# ready", and waits for N resets; PEER is
 *				another device of this machine
 *
 * Needs UIO with registers, and devices with interrupts that no other rings.
 */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "dev.h"
#include "uio.h"
#include "uring.h"

#define BYTE		0x5a
#define PAGE		4096

static bool stop;
static size_t size;
static int dev, uio, peer;
static uint32_t quiet;		/* a vector that only a reset makes count */
static uint64_t first, last;	/* its counts before and after all resets */

static bool go_on(void)
{
	return !__atomic_load_n(&stop, __ATOMIC_ACQUIRE);
}

/* The last page of the memory is the writer's. */
static void *reader(void *fd)
{
	bool of_uio = *(int *)fd == uio;
	volatile unsigned char *mem = dev_map(*(int *)fd, size,
					      of_uio ? UIO_MAP(1) : 0);
	unsigned long reads = 0, odd = 0;
	size_t i = 0;

	while (go_on()) {
		odd += mem[i] != BYTE;
		reads++;
		i = (i + PAGE * 37 + 1) % (size - PAGE);
	}
	tap_ok(!odd, "memory%s: %lu of %lu reads are wrong",
	       of_uio ? " of UIO" : "", odd, reads);
	return NULL;
}

static void *writer(void *data TAP_UNUSED)
{
	volatile uint32_t *mem = dev_map(dev, size, 0);
	unsigned long odd = 0;
	uint32_t i;

	mem += (size - PAGE) / sizeof(*mem);
	for (i = 1; go_on(); i++) {
		mem[i % 1024] = i;
		odd += mem[i % 1024] != i;
	}
	tap_ok(!odd, "%lu of %u writes were lost", odd, i);
	return NULL;
}

static void *looker(void *data TAP_UNUSED)
{
	volatile uint32_t *regs = dev_map(uio, PAGE, UIO_MAP(0));
	uint32_t position = dev_position(dev), seen;
	unsigned long odd = 0;

	while (go_on()) {
		seen = regs[UIO_POSITION];
		/* The server takes a machine that was off for a new peer. */
		if (seen != position)
			position = dev_position(dev);
		odd += seen != position;
	}
	tap_ok(!odd, "registers: %lu reads are wrong", odd);
	return NULL;
}

static void *ringer(void *data TAP_UNUSED)
{
	uint64_t count = dev_count(peer, 0);
	unsigned long rings = 0;

	while (go_on()) {
		uint32_t position = dev_position(peer);

		NEED(!dev_ring(dev, position, 0));
		if (dev_wait(peer, 0, &count, DEV_LONG) &&
		    position == dev_position(peer))
			tap_bail("a ring was lost");
		rings++;
	}
	tap_ok(rings > 0, "%lu rings were heard", rings);
	return NULL;
}

/* Those who sleep: each returns the next event, or fails. */

static bool in_read(int fd, struct ivshmem_event *event)
{
	return read(fd, event, sizeof(*event)) == sizeof(*event);
}

static bool in_poll(int fd, struct ivshmem_event *event)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, -1) == 1 && pfd.revents == POLLIN &&
	       in_read(fd, event);
}

static bool in_epoll(int fd, struct ivshmem_event *event)
{
	struct epoll_event ready = { .events = EPOLLIN };
	int epfd = epoll_create1(EPOLL_CLOEXEC), n;

	NEED(!epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ready));
	/* A machine that sleeps interrupts it. */
	do
		n = epoll_wait(epfd, &ready, 1, -1);
	while (n < 0 && errno == EINTR);
	close(epfd);
	return n == 1 && ready.events == EPOLLIN && in_read(fd, event);
}

static bool in_uring(int fd, struct ivshmem_event *event)
{
	struct io_uring_cqe cqe;

	if (!ring.sqes)
		ring_open();
	submit(op_read(fd, event, sizeof(*event)), 0);
	return complete(&cqe, -1) && cqe.res == sizeof(*event);
}

static bool with_sigio(int fd, struct ivshmem_event *event)
{
	const struct f_owner_ex self = { F_OWNER_TID, syscall(SYS_gettid) };
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	NEED(!fcntl(fd, F_SETOWN_EX, &self));
	NEED(!fcntl(fd, F_SETFL, O_ASYNC));
	return !sigwait(&set, &sig) && in_read(fd, event);
}

static bool wait_busy(int fd, struct ivshmem_event *event, uint64_t busy_ns)
{
	struct ivshmem_wait wait = {
		.vector = quiet, .count = event->count,
		.timeout_ns = IVSHMEM_WAIT_FOREVER, .busy_ns = busy_ns,
	};

	if (ioctl(fd, IVSHMEM_WAIT, &wait))
		return false;
	event->count = wait.count;
	return true;
}

static bool in_wait(int fd, struct ivshmem_event *event)
{
	return wait_busy(fd, event, 0);
}

static bool in_busy_wait(int fd, struct ivshmem_event *event)
{
	return wait_busy(fd, event, UINT64_MAX);
}

static const struct way {
	const char *name;
	long nr;		/* of the call that it sleeps in, or -1 */
	bool (*next)(int fd, struct ivshmem_event *event);
} ways[] = {
	{ "read", SYS_read, in_read },
	{ "poll", SYS_poll, in_poll },
	{ "epoll", SYS_epoll_wait, in_epoll },
	{ "io_uring", SYS_poll, in_uring },
	{ "SIGIO", SYS_rt_sigtimedwait, with_sigio },
	{ "WAIT", SYS_ioctl, in_wait },
	{ "WAIT that polls", -1, in_busy_wait },
};

#define WAYS	(sizeof(ways) / sizeof(*ways))

static long long sleeper(struct dev_call *c)
{
	const struct way *way = c->arg;
	struct ivshmem_event event = { .vector = quiet, .count = first };

	while (event.count < last) {
		uint64_t before = event.count;

		if (!way->next(c->fd, &event) || event.vector != quiet ||
		    event.count <= before)
			return -1;
	}
	return event.count - last;
}

static uint32_t uio_count(void)
{
	char path[64], text[16] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/class/uio/%s/event", uio_name);
	fd = open(path, O_RDONLY);
	NEED(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return strtoul(text, NULL, 10);
}

/* UIO counts the interrupts of all vectors as one. */
static long long uio_sleeper(struct dev_call *c)
{
	uint32_t count = *(uint32_t *)c->arg;
	uint32_t end = count + (last - first) * (quiet + 1);

	while ((int32_t)(end - count) > 0) {
		if (read(c->fd, &count, sizeof(count)) != sizeof(count))
			return -1;
	}
	return count - end;
}

static void start_sleepers(struct dev_call *calls, uint32_t *uio_first)
{
	unsigned int i;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	NEED(!pthread_sigmask(SIG_BLOCK, &set, NULL));
	for (i = 0; i < WAYS; i++) {
		calls[i] = (struct dev_call){
			.call = sleeper, .arg = (void *)&ways[i],
			.fd = dev_open_for(quiet, O_RDWR),
		};
		dev_call_start(&calls[i]);
		if (ways[i].nr >= 0)
			dev_call_asleep(&calls[i], ways[i].nr);
	}
	*uio_first = uio_count();
	calls[i] = (struct dev_call){
		.call = uio_sleeper, .arg = uio_first, .fd = uio_open(O_RDWR),
	};
	NEED(calls[i].fd >= 0);
	dev_call_start(&calls[i]);
	dev_call_asleep(&calls[i], SYS_read);
}

static void check_sleepers(struct dev_call *calls)
{
	uint64_t end = tap_now() + DEV_LONG, now;
	unsigned int i;

	for (i = 0; i <= WAYS; i++) {
		const char *name = i < WAYS ? ways[i].name : "read of UIO";

		now = tap_now();
		if (tap_ok(dev_call_end(&calls[i], now < end ? end - now : 0),
			   "%s wakes up", name))
			tap_ok(!calls[i].ret, "%s: %lld beside the last count, %s",
			       name, calls[i].ret, strerror(calls[i].err));
	}
}

int main(int argc, char **argv)
{
	static void *(*const uses[])(void *) = {
		reader, reader, writer, looker, ringer,
	};
	struct ivshmem_eventfd bind = { .fd = eventfd(0, EFD_NONBLOCK) };
	struct pollfd pfd = { .events = POLLIN };
	struct dev_call calls[WAYS + 1];
	pthread_t threads[5];
	struct ivshmem_event event;
	uint64_t count, value = 0;
	unsigned int resets, i;
	unsigned char *mem;
	uint32_t uio_first;
	char busy[128];

	tap_start(argc, argv, 220);
	NEED(argc == 4);
	resets = atoi(argv[2]);
	uio_find();
	dev = dev_open(O_RDWR);
	uio = uio_open(O_RDWR);
	peer = open(argv[3], O_RDWR);
	NEED(uio >= 0 && peer >= 0);
	size = dev_info(dev).size;
	mem = dev_map(dev, size, 0);
	memset(mem, BYTE, size);
	quiet = dev_info(dev).vectors - 1;
	bind.vector = quiet;
	NEED(!ioctl(dev, IVSHMEM_SET_EVENTFD, &bind));
	first = dev_count(dev, quiet);
	count = first;
	last = first + resets;
	strcpy(busy, dev_exchange(DEV_BUSY_MAX, "300000000000"));
	start_sleepers(calls, &uio_first);
	for (i = 0; i < 5; i++)
		NEED(!pthread_create(&threads[i], NULL, uses[i],
				     i ? &dev : &uio));
	tap_note("ready");

	for (i = 1; i <= resets; i++) {
		if (!EXPECT_EQ(dev_wait(dev, quiet, &count, 3 * DEV_LONG), 0))
			break;
		EXPECT_EQ(count, first + i);
	}
	/* All goes on for a while. */
	for (i = 0; i < 20; i++)
		tap_pause();
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	for (i = 0; i < 5; i++)
		pthread_join(threads[i], NULL);

	check_sleepers(calls);
	dev_exchange(DEV_BUSY_MAX, busy);
	EXPECT_EQ(read(bind.fd, &value, sizeof(value)), sizeof(value));
	EXPECT_EQ(value, resets);
	pfd.fd = dev;
	EXPECT_EQ(poll(&pfd, 1, 0), 1);
	EXPECT_EQ(pfd.revents, POLLIN);
	EXPECT_EQ(dev_count(dev, quiet), first + resets);
	for (i = 0; i <= quiet; i++)
		dev_ring_self(dev, i);
	while (read(dev, &event, sizeof(event)) > 0 && event.vector != quiet)
		;
	EXPECT_EQ(event.count, first + resets + 1);
	return tap_finish();
}
