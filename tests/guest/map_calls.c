// SPDX-License-Identifier: MIT
/*
 * What a program, a debugger or the kernel may do to a live mapping, and what
 * they get: page table entries after each change, and the errors of the calls
 * that such a mapping cannot serve.
 *
 *	map_calls DEVICE SIZE ENTRY ACCESS MBIND
 *
 * SIZE and ENTRY as in map_entries; ACCESS is 1 where debuggers can see the
 * memory, MBIND where mbind() is safe with such entries.
 */
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/mempolicy.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "map.h"

static size_t largest;
static unsigned char *mem;	/* 8 MiB, aligned, touched */

#define LENGTH	(8 * MB)

/* Newer than the headers of some. */
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED	24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif

static void map_all(int fd)
{
	mem = map_aligned(fd, LENGTH);
	NEED(mem != MAP_FAILED);
	map_touch(mem, LENGTH, SMALL, true);
}

/* What test points say of the entry behind an address. */
#define EXPECT_ENTRY(addr, expected) \
	do { \
		struct pagewalk walk_ = map_walk(addr); \
		EXPECT_EQ(walk_.size, expected); \
		EXPECT(walk_.size == 0 || walk_.cache == PAGEWALK_WB); \
	} while (0)

/* How a child ends in which this function returns true if all is well. */
static int child_status(bool (*function)(void))
{
	pid_t child = fork();
	int status;

	NEED(child >= 0);
	if (!child)
		_exit(!function());
	NEED(waitpid(child, &status, 0) == child);
	return status;
}

/*
 * The kernel takes the marks of use from what it copies. x86 sets them again by
 * itself, other processors may need a fault for each entry.
 */
static long most_faults(void)
{
	struct utsname name;

	NEED(!uname(&name));
	return LENGTH / (strstr(name.machine, "86") ? HUGE : SMALL) + 2;
}

static bool child_shares(void)
{
	long faults = map_touch(mem, LENGTH, SMALL, true);

	mem[5 * MB] = 0xc1;
	return faults <= most_faults() &&
	       map_walk(mem + 5 * MB).size == largest &&
	       map_walk(mem + 5 * MB).cache == PAGEWALK_WB;
}

/* A child has the entries, or gets them by as few faults. */
static void test_fork(int fd)
{
	map_all(fd);
	mem[5 * MB] = 0;
	EXPECT_EQ(child_status(child_shares), 0);
	EXPECT_EQ(mem[5 * MB], 0xc1);
	EXPECT_ENTRY(mem + 5 * MB, largest);
	EXPECT_EQ(map_touch(mem, LENGTH, SMALL, true), 0);
	munmap(mem, LENGTH);
}

/* A hole in the middle of a huge entry costs that one, not its neighbours. */
static void test_munmap(int fd)
{
	map_all(fd);
	EXPECT_EQ(munmap(mem + 3 * MB, SMALL), 0);
	EXPECT_EQ(dev_fault(mem + 3 * MB, -1), SIGSEGV);
	EXPECT_ENTRY(mem, largest);
	EXPECT_ENTRY(mem + 4 * MB, largest);
	EXPECT(map_touch(mem + 2 * MB, MB, SMALL, true) <= 1);
	EXPECT(map_touch(mem + 3 * MB + SMALL, MB - SMALL, SMALL, true) <= 1);
	EXPECT_ENTRY(mem + 3 * MB - SMALL, SMALL);
	EXPECT_ENTRY(mem + 3 * MB + SMALL, SMALL);
	EXPECT_EQ(map_touch(mem + 4 * MB, 4 * MB, SMALL, true), 0);
	munmap(mem, LENGTH);
	EXPECT_ENTRY(mem, 0);
}

static void test_mprotect(int fd)
{
	map_all(fd);
	/* All of it: the entries stay and change. */
	EXPECT_EQ(mprotect(mem, LENGTH, PROT_READ), 0);
	EXPECT_EQ(dev_fault(mem + MB, 1), SIGSEGV);
	EXPECT_ENTRY(mem + MB, largest);
	EXPECT_EQ(mprotect(mem, LENGTH, PROT_NONE), 0);
	EXPECT_EQ(dev_fault(mem + MB, -1), SIGSEGV);
	EXPECT_EQ(mprotect(mem, LENGTH, RW), 0);
	EXPECT_EQ(dev_fault(mem + MB, 0x42), 0);
	EXPECT_EQ(mem[MB], 0x42);
	EXPECT(map_touch(mem, LENGTH, SMALL, true) <= (long)(LENGTH / HUGE));
	EXPECT_ENTRY(mem + MB, largest);
	EXPECT_EQ(munmap(mem, LENGTH), 0);

	/* Read first, writable later. */
	map_all(fd);
	EXPECT_EQ(mprotect(mem, LENGTH, PROT_READ), 0);
	map_touch(mem, LENGTH, SMALL, false);
	EXPECT_EQ(mprotect(mem, LENGTH, RW), 0);
	EXPECT_EQ(map_touch(mem, LENGTH, SMALL, true), 0);
	EXPECT_ENTRY(mem, largest);

	/* A page out of the middle. */
	EXPECT_EQ(mprotect(mem + 3 * MB, SMALL, PROT_READ), 0);
	EXPECT_EQ(dev_fault(mem + 3 * MB, 1), SIGSEGV);
	EXPECT_EQ(dev_fault(mem + 3 * MB, -1), 0);
	EXPECT_EQ(dev_fault(mem + 3 * MB - SMALL, 1), 0);
	EXPECT_EQ(dev_fault(mem + 3 * MB + SMALL, 1), 0);
	EXPECT_ENTRY(mem + 3 * MB, SMALL);
	EXPECT_ENTRY(mem + 4 * MB, largest);
	EXPECT_EQ(mprotect(mem + 3 * MB, SMALL, RW), 0);
	EXPECT_EQ(dev_fault(mem + 3 * MB, 1), 0);
	munmap(mem, LENGTH);
}

static void test_mremap(int fd)
{
	unsigned char *moved, *place;

	/* To an address that is aligned alike: the entries move along. */
	map_all(fd);
	place = map_place(LENGTH, 0);
	moved = mremap(mem, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, place);
	EXPECT(moved == place);
	EXPECT_ENTRY(mem, 0);
	EXPECT_ENTRY(moved + 3 * MB, largest);
	EXPECT_EQ(map_touch(moved, LENGTH, SMALL, true), 0);

	/* To one that is not: huge ones cannot. */
	place = map_place(LENGTH, SMALL);
	mem = mremap(moved, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, place);
	EXPECT(mem == place);
	EXPECT(map_touch(mem, LENGTH, SMALL, true) <= (long)(LENGTH / HUGE) + 1);
	EXPECT_ENTRY(mem + 3 * MB, SMALL);

	/* It shrinks; it neither grows nor can be doubled. */
	EXPECT(mremap(mem, LENGTH, 3 * MB, 0) == mem);
	EXPECT_EQ(dev_fault(mem + 3 * MB, -1), SIGSEGV);
	EXPECT_ERRNO((long)mremap(mem, 3 * MB, 4 * MB, MREMAP_MAYMOVE), EFAULT);
	EXPECT_ERRNO((long)mremap(mem, 0, 3 * MB, MREMAP_MAYMOVE), EFAULT);
	EXPECT_EQ(dev_fault(mem + 3 * MB - 1, 1), 0);
	munmap(mem, 3 * MB);
}

static bool child_lacks(void)
{
	return dev_fault(mem, -1) == SIGSEGV;
}

static void test_madvise(int fd)
{
	map_all(fd);
	/* Nothing happens in advance, but nothing fails. */
	EXPECT_EQ(madvise(mem, LENGTH, MADV_NORMAL), 0);
	EXPECT_EQ(madvise(mem, LENGTH, MADV_RANDOM), 0);
	EXPECT_EQ(madvise(mem, LENGTH, MADV_SEQUENTIAL), 0);
	EXPECT_EQ(madvise(mem, LENGTH, MADV_WILLNEED), 0);
	EXPECT_EQ(madvise(mem, LENGTH, MADV_DONTDUMP), 0);
	/* It never is in a core dump, and cannot be taken apart. */
	EXPECT_ERRNO(madvise(mem, LENGTH, MADV_DODUMP), EINVAL);
	EXPECT_ERRNO(madvise(mem, LENGTH, MADV_DONTNEED), EINVAL);
	EXPECT_ERRNO(madvise(mem, LENGTH, MADV_FREE), EINVAL);
	EXPECT_ERRNO(madvise(mem, LENGTH, MADV_COLD), EINVAL);
	EXPECT_ERRNO(madvise(mem, LENGTH, MADV_PAGEOUT), EINVAL);
	EXPECT_ERRNO(madvise(mem, LENGTH, MADV_REMOVE), ENODEV);
	EXPECT_ERRNO(madvise(mem, LENGTH, MADV_POPULATE_READ), EINVAL);
	EXPECT_ERRNO(madvise(mem, LENGTH, MADV_POPULATE_WRITE), EINVAL);
	EXPECT_ERRNO(madvise(mem, LENGTH, MADV_DONTNEED_LOCKED), EINVAL);
	EXPECT_ERRNO(madvise(mem, LENGTH, MADV_COLLAPSE), EINVAL);
	EXPECT_ERRNO(madvise(mem, LENGTH, MADV_GUARD_INSTALL), EINVAL);
	EXPECT_ERRNO(madvise(mem, LENGTH, MADV_GUARD_REMOVE), EINVAL);
	EXPECT_EQ(map_touch(mem, LENGTH, SMALL, true), 0);
	EXPECT_ENTRY(mem, largest);
	munmap(mem, LENGTH);

	/* Whoever wants small entries gets them. */
	mem = map_aligned(fd, LENGTH);
	EXPECT_EQ(madvise(mem, LENGTH, MADV_NOHUGEPAGE) == 0, map_has_thp());
	EXPECT(map_touch(mem, LENGTH, SMALL, true) <= (long)(LENGTH / HUGE) + 1);
	EXPECT_ENTRY(mem, SMALL);
	munmap(mem, LENGTH);
	EXPECT_EQ(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
	map_all(fd);
	EXPECT_ENTRY(mem, SMALL);
	munmap(mem, LENGTH);
	EXPECT_EQ(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);

	/* A child without it. */
	map_all(fd);
	EXPECT_EQ(madvise(mem, LENGTH, MADV_DONTFORK), 0);
	EXPECT_EQ(child_status(child_lacks), 0);
	munmap(mem, LENGTH);

	/* MAP_POPULATE and mlock() find no pages here, and do not mind. */
	mem = mmap(map_place(LENGTH, 0), LENGTH, RW,
		   MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd,
		   map_is_uio() ? SMALL : 0);
	EXPECT(mem != MAP_FAILED);
	EXPECT_ENTRY(mem, 0);
	EXPECT_EQ(mlock(mem, LENGTH), 0);
	EXPECT(map_touch(mem, LENGTH, SMALL, true) <= (long)(LENGTH / HUGE) + 1);
	EXPECT_ENTRY(mem, largest);
	munmap(mem, LENGTH);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	NEED(fd >= 0);
	NEED(write(fd, text, strlen(text)) > 0);
	close(fd);
}

/*
 * Who wants no huge pages wants to have no memory put together for them. There is
 * none of that here, so nothing changes.
 */
static void test_never(int fd)
{
	static const char path[] = "/sys/kernel/mm/transparent_hugepage/enabled";
	char modes[64] = "", *mode;
	int file;

	if (!map_has_thp())
		return;
	file = open(path, O_RDONLY | O_CLOEXEC);
	NEED(file >= 0 && read(file, modes, sizeof(modes) - 1) > 0);
	close(file);
	mode = strtok(strchr(modes, '['), "[]");
	NEED(mode);
	write_file(path, "never");
	mem = map_aligned(fd, LENGTH);
	EXPECT(map_touch(mem, LENGTH, SMALL, true) <= (long)(LENGTH / HUGE) + 1);
	EXPECT_ENTRY(mem, largest);
	munmap(mem, LENGTH);
	write_file(path, mode);
}

/* Tracking of soft-dirty pages does not multiply the faults. */
static void test_soft_dirty(int fd)
{
	mem = map_aligned(fd, LENGTH);
	write_file("/proc/self/clear_refs", "4");
	EXPECT(map_touch(mem, LENGTH, SMALL, true) <= (long)(LENGTH / HUGE) + 1);
	EXPECT_ENTRY(mem, largest);
	munmap(mem, LENGTH);

	map_all(fd);
	EXPECT_EQ(mprotect(mem, LENGTH, PROT_READ), 0);
	write_file("/proc/self/clear_refs", "4");
	EXPECT_EQ(mprotect(mem, LENGTH, RW), 0);
	EXPECT_EQ(dev_fault(mem + MB, 0x51), 0);
	EXPECT_EQ(dev_fault(mem + 2 * MB, 0x52), 0);
	EXPECT_EQ(mem[MB], 0x51);
	munmap(mem, LENGTH);
}

static long read_all(const char *path)
{
	static char buf[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long n, sum = 0;

	NEED(fd >= 0);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		sum += n;
	close(fd);
	return n < 0 ? n : sum;
}

/* What looks at page tables is not put off by the entries. */
static void test_proc(int fd)
{
	unsigned char vec[LENGTH / SMALL];
	uint64_t pagemap[4] = { 1 };
	int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	map_all(fd);
	EXPECT(read_all("/proc/self/maps") > 0);
	EXPECT(read_all("/proc/self/smaps") > 0);
	EXPECT(read_all("/proc/self/smaps_rollup") > 0);
	NEED(map >= 0);
	EXPECT_EQ(pread(map, pagemap, sizeof(pagemap), (uintptr_t)mem / SMALL * 8),
		  sizeof(pagemap));
	close(map);
	EXPECT_EQ(mincore(mem, LENGTH, vec), 0);
	EXPECT_EQ(msync(mem, LENGTH, MS_ASYNC), 0);
	EXPECT_EQ(map_touch(mem, LENGTH, SMALL, true), 0);
	munmap(mem, LENGTH);
}

/*
 * With MPOL_MF_STRICT the kernel looks at the pages behind the entries. At huge
 * ones many kernels must not, and do: see design.rst.
 */
static void test_mbind(int fd, bool safe)
{
	unsigned long node0 = 1;

	if (!safe || access("/sys/devices/system/node", F_OK))
		return;
	map_all(fd);
	EXPECT_EQ(syscall(SYS_mbind, mem, LENGTH, MPOL_BIND, &node0,
			  8 * sizeof(node0), MPOL_MF_STRICT), 0);
	EXPECT_EQ(map_touch(mem, LENGTH, SMALL, true), 0);
	munmap(mem, LENGTH);
}

/* Calls that need struct pages. */
static void test_errors(int fd)
{
	char path[] = "/tmp/map_calls.XXXXXX";
	struct iovec local, remote;
	char buf[64];
	int file, pipefd[2];

	map_all(fd);
	file = mkstemp(path);
	NEED(file >= 0);
	unlink(path);
	NEED(pipe(pipefd) == 0);

	/* By copying everything works. */
	memcpy(mem + MB, "through", 8);
	EXPECT_EQ(pwrite(file, mem + MB, 8, 0), 8);
	EXPECT_EQ(pread(file, mem + 5 * MB, 8, 0), 8);
	EXPECT(strcmp((char *)mem + 5 * MB, "through") == 0);

	local = (struct iovec){ mem, SMALL };
	EXPECT_ERRNO(vmsplice(pipefd[1], &local, 1, 0), EFAULT);

	local = (struct iovec){ buf, sizeof(buf) };
	remote = (struct iovec){ mem, sizeof(buf) };
	EXPECT_ERRNO(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), EFAULT);
	EXPECT_ERRNO(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), EFAULT);
	/* The other way round it is a copy to the caller's own memory. */
	EXPECT_EQ(process_vm_readv(getpid(), &remote, 1, &local, 1, 0),
		  sizeof(buf));

	*(int *)mem = 1;
	EXPECT_ERRNO(msync(mem, LENGTH, MS_SYNC), EINVAL);

	EXPECT_ERRNO(syscall(SYS_futex, mem, FUTEX_WAKE, 1, NULL, NULL, 0), EFAULT);
	EXPECT_ERRNO(syscall(SYS_futex, mem, FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT);
	/* A private one compares the address alone. */
	EXPECT_ERRNO(syscall(SYS_futex, mem, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0),
		     EAGAIN);
	EXPECT_EQ(syscall(SYS_futex, mem, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);

	close(file);
	close(pipefd[0]);
	close(pipefd[1]);
	munmap(mem, LENGTH);
}

/* What pins pages for longer, as RDMA does too: buffers of io_uring. */
static void test_pinned(int fd)
{
	struct io_uring_params params = { 0 };
	int ring = syscall(__NR_io_uring_setup, 1, &params);
	struct iovec buffer;

	NEED(ring >= 0);
	map_all(fd);
	buffer = (struct iovec){ mem, SMALL };
	EXPECT_ERRNO(syscall(__NR_io_uring_register, ring,
			     IORING_REGISTER_BUFFERS, &buffer, 1), EFAULT);
	munmap(mem, LENGTH);
	close(ring);
}

/* O_DIRECT needs a block device: a RAM disk. */
static void test_direct(int fd)
{
	int disk = open("/dev/ram0", O_RDWR | O_DIRECT | O_CLOEXEC);

	NEED(disk >= 0);
	map_all(fd);
	EXPECT_ERRNO(pread(disk, mem, SMALL, 0), EFAULT);
	EXPECT_ERRNO(pwrite(disk, mem, SMALL, 0), EFAULT);
	munmap(mem, LENGTH);
	close(disk);
}

/* What a debugger sees; through a mapping for reading it cannot write. */
static void test_ptrace(int fd, bool access)
{
	unsigned char *view;
	char path[64], buf[16];
	int status, file;
	pid_t child;
	long word;

	map_all(fd);
	view = mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, fd,
		    map_is_uio() ? SMALL : 0);
	NEED(view != MAP_FAILED);
	child = fork();
	NEED(child >= 0);
	if (!child) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	NEED(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
	snprintf(path, sizeof(path), "/proc/%d/mem", child);
	file = open(path, O_RDWR | O_CLOEXEC);
	NEED(file >= 0);

	memcpy(mem + MB - 8, "debugger looks!!", 16);
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, child, mem + MB, NULL);
	if (access) {
		EXPECT(memcmp(&word, " looks!!", sizeof(word)) == 0);
		EXPECT_EQ(ptrace(PTRACE_POKEDATA, child, mem + MB, 0x1234567), 0);
		EXPECT_EQ(*(long *)(mem + MB), 0x1234567);
		memcpy(mem + MB - 8, "debugger looks!!", 16);
		/* Across the end of a page. */
		EXPECT_EQ(pread(file, buf, 16, (uintptr_t)mem + MB - 8), 16);
		EXPECT(memcmp(buf, "debugger looks!!", 16) == 0);
		EXPECT_EQ(pwrite(file, "wrote", 5, (uintptr_t)mem + MB - 2), 5);
		EXPECT(memcmp(mem + MB - 2, "wrote", 5) == 0);
		EXPECT_EQ(pread(file, buf, 16, (uintptr_t)view + MB - 2), 16);
	} else {
		EXPECT_EQ(word, -1);
		EXPECT_EQ(errno, EIO);
		EXPECT_ERRNO(pread(file, buf, 16, (uintptr_t)mem + MB), EIO);
	}
	EXPECT_ERRNO(ptrace(PTRACE_POKEDATA, child, view + MB, 1), EIO);
	EXPECT_ERRNO(pwrite(file, "wrote", 5, (uintptr_t)view + MB), EIO);
	EXPECT_ENTRY(mem + MB, largest);

	close(file);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	munmap(view, LENGTH);
	munmap(mem, LENGTH);
}

static bool child_crashes(void)
{
	abort();
}

/* The memory is not in it, even if the filter asks for all there is. */
static void test_core(int fd)
{
	static const char core[] = "/tmp/map_calls.core";
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	char pattern[128] = "";
	struct stat st = { 0 };
	int file, status;

	file = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
	NEED(file >= 0 && read(file, pattern, sizeof(pattern) - 1) > 0);
	close(file);
	write_file("/proc/sys/kernel/core_pattern", core);
	write_file("/proc/self/coredump_filter", "0x1ff");
	NEED(setrlimit(RLIMIT_CORE, &unlimited) == 0);
	map_all(fd);
	status = child_status(child_crashes);
	EXPECT(WIFSIGNALED(status) && WCOREDUMP(status));
	munmap(mem, LENGTH);
	write_file("/proc/sys/kernel/core_pattern", pattern);

	EXPECT_EQ(stat(core, &st), 0);
	EXPECT(st.st_size > (off_t)SMALL);
	EXPECT(st.st_size < (off_t)LENGTH);
	unlink(core);
}

int main(int argc, char **argv)
{
	int fd;

	tap_start(argc, argv, 120);
	NEED(argc == 6);
	NEED(strtoull(argv[2], NULL, 0) >= LENGTH);
	largest = strtoull(argv[3], NULL, 0);
	fd = dev_open(O_RDWR);
	map_walk(&fd);
	test_fork(fd);
	test_munmap(fd);
	test_mprotect(fd);
	test_mremap(fd);
	test_madvise(fd);
	test_never(fd);
	test_soft_dirty(fd);
	test_proc(fd);
	test_mbind(fd, atoi(argv[5]));
	test_errors(fd);
	test_pinned(fd);
	test_direct(fd);
	test_ptrace(fd, atoi(argv[4]));
	test_core(fd);
	return tap_finish();
}
