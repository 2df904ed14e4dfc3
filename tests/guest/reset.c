// SPDX-License-Identifier: MIT
/*
 * Uses a device that is reset, or sleeps, below it: memory reads as what was
 * written and never as ones, nothing that is written is lost, a peer hears each
 * ring, and sleepers hear of each reset once.
 *
 *	reset DEVICE N PEER	prints "# ready", and waits for N resets; PEER is
 *				another device of this machine
 *
 * Needs UIO with registers, and devices with interrupts that no other rings.
 */
#include <poll.h>
#include <sys/eventfd.h>

#include "dev.h"
#include "uio.h"

#define BYTE		0x5a
#define PAGE		4096

static bool stop;
static size_t size;
static int dev, uio, peer;
static uint32_t quiet;		/* a vector that only a reset makes count */

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

int main(int argc, char **argv)
{
	static void *(*const uses[])(void *) = {
		reader, reader, writer, looker, ringer,
	};
	struct ivshmem_eventfd bind = { .fd = eventfd(0, EFD_NONBLOCK) };
	struct pollfd pfd = { .events = POLLIN };
	pthread_t threads[5];
	struct ivshmem_event event;
	uint64_t first, count, value = 0;
	unsigned int resets, i;
	unsigned char *mem;

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
