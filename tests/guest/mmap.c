// SPDX-License-Identifier: MIT
/*
 * Mapping the memory: what is refused, every page of it, its two ends, and what
 * a program may do to a mapping afterwards.
 */
#include <sys/wait.h>

#include "dev.h"

#define RW	(PROT_READ | PROT_WRITE)

static size_t page;
static size_t size;

static void test_refused(int fd)
{
	int reader = dev_open(O_RDONLY);
	int writer = dev_open(O_WRONLY);

	/* Beyond the end: offset, length, both; a sum that wraps around. */
#define REFUSED(len, prot, flags, file, offset, wanted) \
	EXPECT_ERRNO((intptr_t)mmap(NULL, len, prot, flags, file, offset), \
		     wanted)
	REFUSED(page, RW, MAP_SHARED, fd, size, ENXIO);
	REFUSED(page, RW, MAP_SHARED, fd, size + page, ENXIO);
	REFUSED(page, RW, MAP_SHARED, fd, size * 2, ENXIO);
	REFUSED(size + 1, RW, MAP_SHARED, fd, 0, ENXIO);
	REFUSED(size + page, RW, MAP_SHARED, fd, 0, ENXIO);
	REFUSED(2 * page, RW, MAP_SHARED, fd, size - page, ENXIO);
	REFUSED(page + 1, PROT_READ, MAP_SHARED, fd, size - page, ENXIO);
	REFUSED(size, RW, MAP_SHARED, fd, page, ENXIO);
	REFUSED(SIZE_MAX / 4 >= 1LL << 40 ? 1LL << 40 : 1 << 30, RW, MAP_SHARED,
		fd, 0, ENXIO);
	if (sizeof(off_t) == 8 && sizeof(long) == 8) {
		REFUSED(page, RW, MAP_SHARED, fd, 1LL << 40, ENXIO);
		REFUSED(2 * page, RW, MAP_SHARED, fd, -(off_t)page, EOVERFLOW);
#ifndef __riscv
		REFUSED(page, RW, MAP_SHARED, fd, -2 * (off_t)page, ENXIO);
#else
		/* It keeps the sign, so that the kernel finds it too large. */
		REFUSED(page, RW, MAP_SHARED, fd, -2 * (off_t)page, EOVERFLOW);
#endif
	}
	REFUSED(page, RW, MAP_SHARED, fd, 1, EINVAL);
	REFUSED(0, RW, MAP_SHARED, fd, 0, EINVAL);

	/* A private mapping would be a copy, or could become one. */
	REFUSED(page, RW, MAP_PRIVATE, fd, 0, EINVAL);
	REFUSED(page, PROT_READ, MAP_PRIVATE, fd, 0, EINVAL);
	REFUSED(page, PROT_NONE, MAP_PRIVATE, fd, 0, EINVAL);
	REFUSED(page, RW, MAP_PRIVATE, reader, 0, EINVAL);
	REFUSED(page, PROT_READ, MAP_PRIVATE, reader, 0, EINVAL);

	REFUSED(page, RW, MAP_SHARED, reader, 0, EACCES);
	REFUSED(page, PROT_WRITE, MAP_SHARED, reader, 0, EACCES);
	REFUSED(page, PROT_WRITE, MAP_SHARED, writer, 0, EACCES);
	REFUSED(page, PROT_READ, MAP_SHARED, writer, 0, EACCES);
#undef REFUSED
	close(reader);
	close(writer);
}

/* Every page can be written, and is a page of its own. */
static void test_whole(int fd)
{
	unsigned char *mem = dev_map(fd, size, 0), *other;
	size_t i, bad = 0;

	for (i = 0; i < size; i += page)
		*(uint64_t *)(mem + i) = ~(uint64_t)i;
	mem[size - 1] = 0xa5;
	other = dev_map(fd, size, 0);
	for (i = 0; i < size; i += page)
		bad += *(uint64_t *)(other + i) != ~(uint64_t)i;
	EXPECT_EQ(bad, 0);
	EXPECT_EQ(other[size - 1], 0xa5);
	EXPECT_EQ(munmap(other, size), 0);

	/* A page alone, at another place in the file, shows the same. */
	for (i = 0; i < size; i += size / 8) {
		other = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, i);
		NEED(other != MAP_FAILED);
		bad += *(uint64_t *)other != ~(uint64_t)i;
		munmap(other, page);
	}
	EXPECT_EQ(bad, 0);
	EXPECT_EQ(munmap(mem, size), 0);
}

/* The first and last byte, and not one byte more. */
static void test_ends(int fd)
{
	unsigned char *whole, *last;

	/* Two pages of nothing around the last page. */
	whole = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	NEED(whole != MAP_FAILED);
	last = mmap(whole + page, page, RW, MAP_SHARED | MAP_FIXED, fd,
		    size - page);
	EXPECT(last == whole + page);
	EXPECT_EQ(dev_fault(last + page - 1, 0x77), 0);
	EXPECT_EQ(last[page - 1], 0x77);
	EXPECT_EQ(dev_fault(last, 0x78), 0);
	EXPECT_EQ(dev_fault(last - 1, -1), SIGSEGV);
	EXPECT_EQ(dev_fault(last + page, -1), SIGSEGV);
	munmap(whole, 3 * page);

	/* A length that is no multiple of a page is rounded up, as always. */
	last = mmap(NULL, 1, RW, MAP_SHARED, fd, size - page);
	EXPECT(last != MAP_FAILED);
	EXPECT_EQ(last[page - 1], 0x77);
	EXPECT_EQ(munmap(last, 1), 0);
	whole = mmap(NULL, size - 1, RW, MAP_SHARED, fd, 0);
	EXPECT(whole != MAP_FAILED);
	EXPECT_EQ(whole[size - 1], 0x77);
	EXPECT_EQ(munmap(whole, size - 1), 0);
}

static void test_readonly(int fd)
{
	int reader = dev_open(O_RDONLY);
	unsigned char *mem = dev_map(fd, size, 0), *view;

	view = mmap(NULL, size, PROT_READ, MAP_SHARED, reader, 0);
	EXPECT(view != MAP_FAILED);
	mem[5] = 0x11;
	mem[size - 1] = 0x22;
	EXPECT_EQ(view[5], 0x11);
	EXPECT_EQ(view[size - 1], 0x22);
	EXPECT_EQ(dev_fault(view + 5, 0x33), SIGSEGV);
	EXPECT_EQ(dev_fault(view + size / 2, 0x33), SIGSEGV);
	EXPECT_EQ(mem[5], 0x11);
	EXPECT_ERRNO(mprotect(view, page, RW), EACCES);
	EXPECT_ERRNO(mprotect(view, size, RW), EACCES);
	EXPECT_EQ(munmap(view, size), 0);
	close(reader);

	/* PROT_READ only, from a file that could do more. */
	view = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	EXPECT(view != MAP_FAILED);
	EXPECT_EQ(view[5], 0x11);
	EXPECT_EQ(dev_fault(view + 5, 0x33), SIGSEGV);
	EXPECT_EQ(mprotect(view, size, RW), 0);
	EXPECT_EQ(dev_fault(view + 5, 0x33), 0);
	EXPECT_EQ(mem[5], 0x33);
	munmap(view, size);
	munmap(mem, size);
}

/* Parts of a mapping are protected, let go and moved. */
static void test_parts(int fd)
{
	unsigned char *mem = dev_map(fd, size, 0), *twin = dev_map(fd, size, 0);
	unsigned char *moved;
	size_t half = size / 2, i, bad = 0;

	for (i = 0; i < size; i += page)
		mem[i] = i / page;
	EXPECT_EQ(mprotect(mem + page, page, PROT_READ), 0);
	EXPECT_EQ(dev_fault(mem + page, -1), 0);
	EXPECT_EQ(dev_fault(mem + page, 1), SIGSEGV);
	EXPECT_EQ(dev_fault(mem, 2), 0);
	EXPECT_EQ(dev_fault(mem + 2 * page, 3), 0);
	EXPECT_EQ(mprotect(mem + page, page, RW), 0);
	EXPECT_EQ(dev_fault(mem + page, 4), 0);
	EXPECT_EQ(twin[page], 4);
	EXPECT_EQ(mprotect(mem, size, PROT_NONE), 0);
	EXPECT_EQ(dev_fault(mem + half, -1), SIGSEGV);
	EXPECT_EQ(mprotect(mem, size, PROT_READ), 0);
	EXPECT_EQ(dev_fault(mem + half, -1), 0);
	EXPECT_EQ(dev_fault(mem + half, 5), SIGSEGV);
	EXPECT_EQ(mprotect(mem, size, RW), 0);
	EXPECT_EQ(dev_fault(mem + half, 5), 0);
	EXPECT_EQ(twin[half], 5);

	EXPECT_EQ(munmap(mem + half, page), 0);
	EXPECT_EQ(dev_fault(mem + half, -1), SIGSEGV);
	EXPECT_EQ(dev_fault(mem + half - 1, 6), 0);
	EXPECT_EQ(dev_fault(mem + half + page, 7), 0);
	EXPECT_EQ(twin[half - 1], 6);
	EXPECT_EQ(twin[half + page], 7);
	mem[0] = 0;
	mem[page] = 1;
	mem[2 * page] = 2;
	for (i = 0; i < half; i += page)
		bad += twin[i] != (unsigned char)(i / page);
	EXPECT_EQ(bad, 0);

	munmap(mem, size);

	/* Moved it shows the same; it cannot grow. */
	mem = dev_map(fd, size, 0);
	EXPECT_EQ(mem[page], 1);
	moved = mmap(NULL, 4 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	NEED(moved != MAP_FAILED);
	EXPECT(mremap(mem, 4 * page, 4 * page, MREMAP_MAYMOVE | MREMAP_FIXED,
		      moved) == moved);
	EXPECT_EQ(dev_fault(mem, -1), SIGSEGV);
	EXPECT_EQ(moved[2 * page], 2);
	moved[3 * page] = 8;
	EXPECT_EQ(twin[3 * page], 8);
	EXPECT_ERRNO((intptr_t)mremap(moved, 4 * page, 8 * page, MREMAP_MAYMOVE),
		     EFAULT);
	EXPECT(mremap(moved, 4 * page, page, 0) == moved);
	EXPECT_EQ(dev_fault(moved + page, -1), SIGSEGV);
	EXPECT_EQ(moved[0], 0);
	munmap(moved, page);
	munmap(mem + 4 * page, size - 4 * page);
	munmap(twin, size);
}

/* A mapping needs no file, and a child has it too. */
static void test_fork(int fd)
{
	int other = dev_open(O_RDWR), status;
	unsigned char *mem = dev_map(other, size, 0);
	unsigned char *twin = dev_map(fd, size, 0);
	pid_t child;

	EXPECT_EQ(close(other), 0);
	mem[1] = 0x10;
	mem[size - 1] = 0x20;
	child = fork();
	NEED(child >= 0);
	if (!child) {
		bool ok = mem[1] == 0x10 && mem[size - 1] == 0x20;

		mem[1] = 0x30;
		mem[size / 2] = 0x40;
		munmap(mem, size / 2);
		_exit(!ok);
	}
	NEED(waitpid(child, &status, 0) == child);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(mem[1], 0x30);
	EXPECT_EQ(twin[size / 2], 0x40);
	munmap(mem, size);
	munmap(twin, size);
}

int main(int argc, char **argv)
{
	int fd;

	tap_start(argc, argv, 60);
	page = sysconf(_SC_PAGESIZE);
	fd = dev_open(O_RDWR);
	size = dev_info(fd).size;
	NEED(size >= 8 * page);
	test_refused(fd);
	test_whole(fd);
	test_ends(fd);
	test_readonly(fd);
	test_parts(fd);
	test_fork(fd);
	return tap_finish();
}
