/* SPDX-License-Identifier: MIT */
/*
 * What the programs about mappings share: a look at the page tables, counted
 * page faults, mappings at a chosen alignment. Nothing here is a test point.
 */
#ifndef MAP_H
#define MAP_H

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "dev.h"
#include "kmod/pagewalk.h"

#define RW	(PROT_READ | PROT_WRITE)
#define KB	(1UL << 10)
#define MB	(1UL << 20)
#define GB	(1UL << 30)
#define SMALL	(4 * KB)
#define HUGE	(2 * MB)

/* The entry behind an address; the module pagewalk has to be there. */
static inline struct pagewalk map_walk(const volatile void *addr)
{
	static int fd = -1;
	struct pagewalk walk;

	if (fd < 0)
		fd = open("/dev/pagewalk", O_RDONLY | O_CLOEXEC);
	NEED(fd >= 0);
	NEED(pread(fd, &walk, sizeof(walk), (uintptr_t)addr) == sizeof(walk));
	return walk;
}

static inline long map_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

/* Reads, or writes, one byte of each step; returns the page faults it took. */
static inline long map_touch(volatile unsigned char *mem, size_t size,
			     size_t step, bool write)
{
	long before = map_faults();
	size_t i;

	for (i = 0; i < size; i += step) {
		if (write)
			mem[i] = i >> 12;
		else
			(void)mem[i];
	}
	return map_faults() - before;
}

/* An address of so much nothing, this far from a multiple of 2 MiB. */
static inline unsigned char *map_place(size_t size, size_t offset)
{
	size_t room = size + offset + HUGE;
	unsigned char *mem = mmap(NULL, room, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				  -1, 0);
	unsigned char *place;

	NEED(mem != MAP_FAILED);
	place = (void *)((((uintptr_t)mem + HUGE - 1) & -HUGE) + offset);
	if (place > mem)
		NEED(munmap(mem, place - mem) == 0);
	if (mem + room > place + size)
		NEED(munmap(place + size, mem + room - place - size) == 0);
	return place;
}

static inline bool map_is_uio(void)
{
	return strstr(tap_device, "uio");
}

/* Maps the memory from its start through the device under test, anywhere. */
static inline unsigned char *map_any(int fd, size_t size)
{
	return mmap(NULL, size, RW, MAP_SHARED, fd, map_is_uio() ? SMALL : 0);
}

static inline bool map_has_thp(void)
{
	return access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0;
}

/*
 * Whether the kernel chooses addresses at which huge entries can be had: 5.10 does
 * so for DAX alone.
 */
static inline bool map_is_chosen(void)
{
	struct utsname uts;

	NEED(uname(&uts) == 0);
	return !map_is_uio() && map_has_thp() &&
	       strncmp(uts.release, "5.10.", 5) != 0;
}

/* As map_any(), at an address at which huge entries can be had. */
static inline unsigned char *map_aligned(int fd, size_t size)
{
	unsigned char *mem;

	if (map_is_chosen())
		return map_any(fd, size);
	mem = mmap(map_place(size, 0), size, RW, MAP_SHARED | MAP_FIXED, fd,
		   map_is_uio() ? SMALL : 0);
	NEED(mem != MAP_FAILED);
	return mem;
}

/* The page frame that BAR2 of the device under test begins with. */
static inline uint64_t map_pfn(void)
{
	const char *name = strrchr(tap_device, '/') + 1;
	char path[128];
	unsigned long start;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/%s/%s/device/resource",
		 map_is_uio() ? "uio" : "misc", name);
	file = fopen(path, "r");
	NEED(file);
	NEED(fscanf(file, "%*x %*x %*x %*x %*x %*x %lx", &start) == 1);
	fclose(file);
	return start >> 12;
}

#endif /* MAP_H */
