// SPDX-License-Identifier: MIT
/*
 * Holds both nodes open and mapped while the device goes, which happens after
 * it has printed "ready". Nothing of the device may be left in the mappings.
 */
#include <setjmp.h>

#include "uio.h"

static sigjmp_buf escape;

static void caught(int sig)
{
	siglongjmp(escape, sig);
}

/* The signal that reading a byte raises, or 0. */
static int touch(volatile unsigned char *byte)
{
	int sig = sigsetjmp(escape, 1);

	if (!sig)
		(void)*byte;
	return sig;
}

/* Sleeps until the device goes, unless it has no interrupts. */
static void *reader(void *arg)
{
	uint32_t word;

	EXPECT_ERRNO(read(*(int *)arg, &word, sizeof(word)), EIO);
	return NULL;
}

int main(int argc, char **argv)
{
	struct ivshmem_info info;
	unsigned char *mem, *again, *regs;
	struct pollfd pfd = { .events = POLLIN };
	pthread_t thread;
	char node[64];
	int dev, uio;
	uint32_t word;

	tap_start(argc, argv, 60);
	uio_find();
	dev = open(tap_device, O_RDWR);
	uio = uio_open(O_RDWR);
	NEED(dev >= 0 && uio >= 0);
	NEED(!ioctl(dev, IVSHMEM_GET_INFO, &info));
	mem = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, uio,
		   UIO_MAP(1));
	again = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, dev, 0);
	regs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, uio,
		    UIO_MAP(0));
	NEED(mem != MAP_FAILED && again != MAP_FAILED && regs != MAP_FAILED);
	memset(mem, 0x5a, info.size);
	EXPECT_EQ(again[info.size - 1], 0x5a);
	EXPECT_EQ(((volatile uint32_t *)regs)[UIO_POSITION], info.position);
	signal(SIGBUS, caught);
	signal(SIGSEGV, caught);

	snprintf(node, sizeof(node), "/dev/%s", uio_name);
	NEED(!pthread_create(&thread, NULL, reader, &uio));

	tap_note("ready");
	/* The node goes when all is over. */
	EXPECT_WITHIN(access(node, F_OK) == -1, 50000);
	EXPECT_EQ(pthread_join(thread, NULL), 0);
	EXPECT_ERRNO(read(uio, &word, sizeof(word)), EIO);
	pfd.fd = dev;
	EXPECT_EQ(poll(&pfd, 1, 0), 1);
	EXPECT_EQ(pfd.revents, POLLHUP | POLLERR);

	EXPECT_EQ(touch(mem), SIGBUS);
	EXPECT_EQ(touch(mem + info.size - 1), SIGBUS);
	EXPECT_EQ(touch(again), SIGBUS);
	EXPECT_EQ(touch(regs), SIGBUS);
	EXPECT(mmap(NULL, 4096, PROT_READ, MAP_SHARED, uio, UIO_MAP(1)) ==
	       MAP_FAILED);
	EXPECT(mmap(NULL, 4096, PROT_READ, MAP_SHARED, uio, UIO_MAP(0)) ==
	       MAP_FAILED);
	word = 1;
	EXPECT(write(uio, &word, sizeof(word)) == -1);
	EXPECT_EQ(munmap(mem, info.size), 0);
	EXPECT_EQ(close(uio), 0);
	EXPECT_EQ(close(dev), 0);
	return tap_finish();
}
