// SPDX-License-Identifier: MIT
/*
 * The page table entries of a mapping: their memory type, their size, what they
 * point at, and how many faults made them.
 *
 *	map_entries DEVICE SIZE ENTRY
 *
 * SIZE is that of the memory, ENTRY that of the largest entry that this kernel
 * can have, both in bytes.
 */
#include "map.h"

static size_t size, largest;

/*
 * Looks at every entry of a mapping from an offset on. Huge ones are expected
 * where they fit, if this is to have any.
 */
static void check_entries(const unsigned char *mem, size_t length, size_t offset,
			  size_t expected)
{
	unsigned long pfn = map_pfn() + offset / SMALL, huge = 0, wanted = 0;
	unsigned long wrong_type = 0, wrong_size = 0, wrong_pfn = 0, step, i;

	for (i = 0; i < length; i += step) {
		struct pagewalk walk = map_walk(mem + i);
		uintptr_t start = (uintptr_t)(mem + i) & -HUGE;
		bool fits = expected == HUGE && start >= (uintptr_t)mem &&
			    start + HUGE <= (uintptr_t)mem + length;

		/* Of a table of small entries both ends are enough. */
		step = fits ? HUGE : SMALL;
		if (!fits && length > GB)
			step = i % HUGE ? SMALL : HUGE - SMALL;
		wrong_type += walk.cache != PAGEWALK_WB;
		wrong_size += walk.size != (fits ? HUGE : SMALL);
		wrong_pfn += walk.pfn != pfn + i / SMALL;
		huge += walk.size == HUGE;
		wanted += fits;
	}
	EXPECT_EQ(wrong_type, 0);
	EXPECT_EQ(wrong_size, 0);
	EXPECT_EQ(wrong_pfn, 0);
	EXPECT_EQ(huge, wanted);
	tap_note("%lu huge entries in %zu MiB", huge, length >> 20);
}

/* At most one fault for each 2 MiB that it touches, and one for the stack. */
static void check_touch(unsigned char *mem, size_t length, bool write)
{
	uintptr_t first = (uintptr_t)mem / HUGE;
	uintptr_t last = ((uintptr_t)mem + length - 1) / HUGE;
	/* Every page where that is soon done, else both ends of each 2 MiB. */
	size_t step = length > GB ? HUGE - SMALL : SMALL;
	long faults = map_touch(mem, length, step, write);

	tap_note("%ld faults for %zu MiB", faults, length >> 20);
	EXPECT(faults >= (long)(length / HUGE));
	EXPECT(faults <= (long)(last - first + 2));
	EXPECT_EQ(map_touch(mem, length, step, !write), 0);
}

/* The whole memory, at an address that the kernel has chosen. */
static void test_whole(int fd)
{
	unsigned char *mem = map_aligned(fd, size);

	NEED(mem != MAP_FAILED);
	EXPECT(size < HUGE || (uintptr_t)mem % HUGE == 0);
	EXPECT_EQ(map_walk(mem).size, 0);
	EXPECT_EQ(map_walk(mem + size - 1).size, 0);
	check_touch(mem, size, false);
	check_entries(mem, size, 0, largest);
	EXPECT_EQ(munmap(mem, size), 0);
	EXPECT_EQ(map_walk(mem).size, 0);

	/* What a first write makes is no different. */
	if (size <= 64 * MB) {
		mem = map_aligned(fd, size);
		NEED(mem != MAP_FAILED);
		check_touch(mem, size, true);
		check_entries(mem, size, 0, largest);
		EXPECT_EQ(munmap(mem, size), 0);
	}
}

/* From the second page on: small entries up to 2 MiB, huge ones from there. */
static void test_offset(int fd)
{
	size_t length = (size < 64 * MB ? size : 64 * MB) - SMALL;
	unsigned char *mem;

	if (map_is_uio() || size < 2 * HUGE)
		return;
	if (map_is_chosen())
		mem = mmap(NULL, length, RW, MAP_SHARED, fd, SMALL);
	else
		mem = mmap(map_place(length, SMALL), length, RW,
			   MAP_SHARED | MAP_FIXED, fd, SMALL);
	NEED(mem != MAP_FAILED);
	EXPECT_EQ((uintptr_t)mem % HUGE, SMALL);
	check_touch(mem, length, false);
	check_entries(mem, length, SMALL, largest);
	EXPECT_EQ(munmap(mem, length), 0);

	/* An end that leaves room for less than a huge entry. */
	length = 2 * HUGE - SMALL;
	mem = mmap(NULL, length, RW, MAP_SHARED, fd, 0);
	NEED(mem != MAP_FAILED);
	check_touch(mem, length, false);
	check_entries(mem, length, 0, largest);
	EXPECT_EQ(munmap(mem, length), 0);
}

/* Where the address does not suit: small entries, and no more faults. */
static void test_misaligned(int fd)
{
	size_t length = size < 64 * MB ? size : 64 * MB;
	unsigned char *mem;

	mem = mmap(map_place(length, 3 * SMALL), length, RW,
		   MAP_SHARED | MAP_FIXED, fd, map_is_uio() ? SMALL : 0);
	NEED(mem != MAP_FAILED);
	check_touch(mem, length, true);
	check_entries(mem, length, 0, SMALL);
	EXPECT_EQ(munmap(mem, length), 0);
}

static void test_readonly(void)
{
	int fd = open(tap_device, O_RDONLY | O_CLOEXEC);
	unsigned char *mem;

	NEED(fd >= 0);
	mem = mmap(NULL, size < HUGE ? size : HUGE, PROT_READ, MAP_SHARED, fd,
		   map_is_uio() ? SMALL : 0);
	EXPECT(mem != MAP_FAILED);
	EXPECT_EQ(map_touch(mem, SMALL, SMALL, false), 1);
	EXPECT_EQ(map_walk(mem).cache, PAGEWALK_WB);
	EXPECT(!map_walk(mem).write);
	EXPECT_EQ(dev_fault(mem, 1), SIGSEGV);
	munmap(mem, size < HUGE ? size : HUGE);
	close(fd);
}

int main(int argc, char **argv)
{
	int fd;

	tap_start(argc, argv, 300);
	NEED(argc == 4);
	size = strtoull(argv[2], NULL, 0);
	largest = strtoull(argv[3], NULL, 0);
	fd = dev_open(O_RDWR);
	if (!map_is_uio())
		EXPECT_EQ(dev_info(fd).cache_mode, IVSHMEM_CACHE_WRITE_BACK);
	/* What runs for the first time takes faults of its own. */
	map_walk(&fd);
	map_touch((unsigned char *)&fd, 1, 1, false);
	tap_note("%p", (void *)map_pfn());
	test_whole(fd);
	test_offset(fd);
	test_misaligned(fd);
	test_readonly();
	return tap_finish();
}
