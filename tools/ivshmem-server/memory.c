// SPDX-License-Identifier: MIT
/*
 * The memory that the peers share.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "log.h"
#include "memory.h"

/* Linux 6.3; younger than the headers of some C libraries. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL	0x0008U
#endif

#define MEMORY_SEALS	(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define LONG_BITS	(CHAR_BIT * sizeof(unsigned long))

static int memory_open_unnamed(const struct options *options)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd;

	if (options->hugepage)
		flags |= MFD_HUGETLB |
			 __builtin_ctzll(options->hugepage) << MFD_HUGE_SHIFT;

	/* A system can be set up to forbid memory that could be executed. */
	fd = memfd_create("ivshmem", flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("ivshmem", flags);
	return fd;
}

static int memory_open_named(const struct options *options)
{
	const int flags = O_RDWR | O_CREAT | O_CLOEXEC;

	return options->shm ? shm_open(options->shm, flags, 0600) :
	       open(options->file, flags, 0600);
}

/*
 * Clients get the file description of the memory, and a lock would be theirs
 * too. So it is that of another description of the same file.
 */
static int memory_lock(const struct options *options)
{
	int lock = memory_open_named(options);
	int error;

	if (lock < 0 || !flock(lock, LOCK_EX | LOCK_NB))
		return lock;
	error = errno;
	close(lock);
	errno = error;
	return -1;
}

/*
 * A policy for the pages of the file, not of a mapping: these file systems keep
 * what is set through a shared mapping, others forget it with the mapping.
 */
static int memory_bind(int fd, uint64_t size, int node)
{
	unsigned long nodes[1024 / LONG_BITS] = { 0 };
	struct statfs fs;
	int ret, error;
	void *addr;

	if (fstatfs(fd, &fs))
		return -1;
	if (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC) {
		errno = EOPNOTSUPP;
		return -1;
	}
	addr = mmap(NULL, size, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (addr == MAP_FAILED)
		return -1;
	nodes[node / LONG_BITS] = 1UL << node % LONG_BITS;
	/* The kernel takes one bit less than it is told of. */
	ret = syscall(SYS_mbind, addr, size, MPOL_BIND, nodes,
		      sizeof(nodes) * CHAR_BIT + 1, 0);
	error = errno;
	munmap(addr, size);
	errno = error;
	return ret;
}

/*
 * What a file system does not have is found out here: later it would kill the
 * peer that touches it.
 */
static int memory_allocate(const struct options *options, int fd, bool fresh)
{
	int error;

	if (!fallocate(fd, 0, 0, options->size))
		return 0;
	error = errno;
	if (fresh && !options->hugepage && ftruncate(fd, 0))
		log_warn("cannot give back what was allocated: %s",
			 strerror(errno));
	errno = error;
	return -1;
}

/* Returns NULL, or what is wrong. */
static const char *memory_fill(const struct options *options, int fd)
{
	const bool named = options->shm || options->file;
	const uint64_t size = options->size;
	struct stat st;

	if (fstat(fd, &st))
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "it is not a regular file";
	if (st.st_size && (uint64_t)st.st_size != size)
		return "it is there already and has another size";

	if (!st.st_size && ftruncate(fd, size))
		return strerror(errno);
	if (!named && fcntl(fd, F_ADD_SEALS, MEMORY_SEALS))
		return strerror(errno);
	if (st.st_size && !options->keep &&
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size))
		return strerror(errno);
	if (options->node >= 0 && memory_bind(fd, size, options->node))
		return errno == EINVAL ? "there is no such NUMA node" :
		       errno == EOPNOTSUPP ?
		       "this file system knows no NUMA nodes" : strerror(errno);
	if ((named || options->hugepage || options->prefault) &&
	    memory_allocate(options, fd, !st.st_size))
		return options->hugepage && errno == ENOSPC ?
		       "not enough huge pages are free" : strerror(errno);
	return NULL;
}

/**
 * memory_create() - Make the memory, of a fixed size.
 * @options: what kind of memory
 * @lock:    a file descriptor to be kept open while the memory is used, which
 *           keeps other servers from it; or -1
 *
 * The seals of memory without a name keep any peer from changing the size, which
 * would kill the others with SIGBUS. QEMU refuses the device if more than that
 * is sealed.
 *
 * Return: its file descriptor, or -1 after a line in the log.
 */
int memory_create(const struct options *options, int *lock)
{
	const char *name = options->shm ? options->shm : options->file;
	const char *wrong;
	int fd;

	*lock = -1;
	if (name) {
		*lock = memory_lock(options);
		fd = *lock < 0 ? -1 : memory_open_named(options);
	} else {
		fd = memory_open_unnamed(options);
	}
	if (fd >= 0)
		wrong = memory_fill(options, fd);
	else
		wrong = errno == EWOULDBLOCK ? "another server uses it" :
			strerror(errno);
	if (!wrong)
		return fd;

	log_err("cannot make %ju bytes of shared memory%s%s: %s",
		(uintmax_t)options->size, name ? " in " : "", name ? name : "",
		wrong);
	if (fd >= 0)
		close(fd);
	if (*lock >= 0)
		close(*lock);
	*lock = -1;
	return -1;
}
