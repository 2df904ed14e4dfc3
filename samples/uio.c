// SPDX-License-Identifier: MIT
/*
 * A program for UIO: it works on any kernel's UIO device with this layout and
 * needs neither this project's headers nor its library.
 *
 *	uio /dev/uio0 COUNT
 *
 * prints the line at the start of the shared memory each time that a peer has
 * rung, COUNT times. Where the registers can be mapped, it rings itself first,
 * so that one machine is enough to see it work.
 */
#include <endian.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Registers of map 0, in words, little-endian. */
#define POSITION	2
#define DOORBELL	3

/* UIO passes the number of a map as its offset, in pages. */
static void *map(int fd, int number, size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    (off_t)number * sysconf(_SC_PAGESIZE));
}

static size_t map_size(const char *node, int number)
{
	const char *name = strrchr(node, '/');
	size_t size = 0;
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/uio/%s/maps/map%d/size",
		 name ? name + 1 : node, number);
	file = fopen(path, "r");
	if (!file || fscanf(file, "%zi", (ssize_t *)&size) != 1) {
		perror(path);
		exit(1);
	}
	fclose(file);
	return size;
}

int main(int argc, char **argv)
{
	volatile uint32_t *regs;
	uint32_t interrupts, position;
	char *mem, text[33];
	int fd, i;

	if (argc != 3) {
		fprintf(stderr, "Usage: uio NODE COUNT\n");
		return 2;
	}
	fd = open(argv[1], O_RDWR);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	mem = map(fd, 1, map_size(argv[1], 1));
	if (mem == MAP_FAILED) {
		perror("shared memory");
		return 1;
	}
	/* Less than a page, so it may share one with another device. */
	regs = map(fd, 0, map_size(argv[1], 0));
	if (regs != MAP_FAILED) {
		position = le32toh(regs[POSITION]);
		printf("I am peer %u\n", position);
		fflush(stdout);
		regs[DOORBELL] = htole32(position << 16);
	}

	for (i = atoi(argv[2]); i > 0; i--) {
		/* Blocks until there was an interrupt since the last read. */
		if (read(fd, &interrupts, sizeof(interrupts)) !=
		    sizeof(interrupts)) {
			perror("read");
			return 1;
		}
		/* A copy, which no peer can change. */
		memcpy(text, mem, sizeof(text) - 1);
		text[sizeof(text) - 1] = '\0';
		text[strcspn(text, "\n")] = '\0';
		printf("%u interrupts, memory: \"%s\"\n", interrupts, text);
		fflush(stdout);
	}
	return 0;
}
