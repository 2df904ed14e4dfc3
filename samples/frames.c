// SPDX-License-Identifier: MIT
/*
 * Frames in two buffers: while one side fills the one, the other looks at the
 * other, and nothing is copied on the way.
 *
 *	peer 1:		frames show 0 TIMES
 *	peer 0:		frames fill 1 TIMES
 *
 * Two numbers say who has which buffer: frame n is in buffer n % 2; it is there
 * once `filled` is n, and its buffer is free again once `shown` is n.
 */
#include <err.h>
#include <fcntl.h>
#include <ivshmem.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define VECTOR		2
#define OFFSET		65536		/* where in the memory all this is */
#define FRAME		(640 * 480 * 4)
#define TIMEOUT		(30 * INT64_C(1000000000))

struct screen {
	atomic_uint filled;
	atomic_uint shown;
	unsigned char frames[2][FRAME];
};

static struct ivshmem *ivs;
static struct screen *screen;
static unsigned int peer;
static uint64_t count;

/* Sets one of the numbers, and tells the peer to look. */
static void set(atomic_uint *number, unsigned int value)
{
	atomic_store(number, value);
	if (ivshmem_ring(ivs, peer, VECTOR))
		err(EXIT_FAILURE, "ring");
}

static void wait_until(atomic_uint *number, unsigned int value)
{
	while (atomic_load(number) < value)
		if (ivshmem_wait(ivs, VECTOR, &count, TIMEOUT))
			err(EXIT_FAILURE, "wait for frame %u", value);
}

static void fill(unsigned int times)
{
	unsigned int n;

	for (n = 1; n <= times; n++) {
		/* Its buffer had frame n - 2, which may still be looked at. */
		if (n > 2)
			wait_until(&screen->shown, n - 2);
		memset(screen->frames[n % 2], n, FRAME);
		set(&screen->filled, n);
	}
	wait_until(&screen->shown, times);
	printf("%u frames filled\n", times);
}

static void show(unsigned int times)
{
	unsigned int n, i, good = 0;

	atomic_store(&screen->filled, 0);
	atomic_store(&screen->shown, 0);
	puts("ready");
	fflush(stdout);
	for (n = 1; n <= times; n++) {
		const unsigned char *frame = screen->frames[n % 2];

		wait_until(&screen->filled, n);
		for (i = 0; i < FRAME && frame[i] == (unsigned char)n; i++)
			;
		good += i == FRAME;
		set(&screen->shown, n);
	}
	printf("%u frames shown, %u of them whole\n", times, good);
}

int main(int argc, char **argv)
{
	unsigned int times;

	if (argc != 4)
		errx(EXIT_FAILURE, "usage: frames fill|show PEER TIMES");
	peer = strtoul(argv[2], NULL, 10);
	times = strtoul(argv[3], NULL, 10);

	ivs = ivshmem_open("/dev/ivshmem0", O_RDWR);
	if (!ivs || ivshmem_count(ivs, VECTOR, &count))
		err(EXIT_FAILURE, "/dev/ivshmem0");
	screen = ivshmem_map(ivs, OFFSET, sizeof(*screen), PROT_READ | PROT_WRITE);
	if (!screen)
		err(EXIT_FAILURE, "map");
	if (!strcmp(argv[1], "fill"))
		fill(times);
	else
		show(times);
	ivshmem_unmap(screen, sizeof(*screen));
	ivshmem_close(ivs);
	return 0;
}
