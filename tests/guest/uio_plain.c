// SPDX-License-Identifier: MIT
/*
 * UIO on a device without interrupts:
 *
 *	uio_plain NODE [shared]
 *
 * With "shared", something else lives in the page of its registers.
 */
#include "uio.h"

static void *map_regs(int uio)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, uio,
		    UIO_MAP(0));
}

int main(int argc, char **argv)
{
	struct ivshmem_info info;
	volatile uint32_t *here, *there, *regs;
	struct pollfd pfd = { .events = POLLIN | POLLOUT };
	uint32_t word = 1;
	int dev, uio;

	tap_start(argc, argv, 30);
	uio_find();
	dev = open(tap_device, O_RDWR);
	uio = uio_open(O_RDWR | O_NONBLOCK);
	NEED(dev >= 0 && uio >= 0);
	NEED(!ioctl(dev, IVSHMEM_GET_INFO, &info));
	EXPECT_EQ(info.features, 0);
	EXPECT_EQ(strcmp(uio_map_attr(0, "name"), "registers"), 0);
	EXPECT_EQ(strcmp(uio_map_attr(1, "name"), "shmem"), 0);
	EXPECT_EQ(strtoull(uio_map_attr(1, "size"), NULL, 0), info.size);

	here = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, dev, 0);
	there = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, uio,
		     UIO_MAP(1));
	NEED(here != MAP_FAILED && there != MAP_FAILED);
	*here = 0x12345678;
	EXPECT_EQ(*there, 0x12345678);

	if (argc > 2) {
		EXPECT_ERRNO((long)map_regs(uio), ENXIO);
	} else {
		regs = map_regs(uio);
		NEED(regs != MAP_FAILED);
		EXPECT_EQ(regs[UIO_POSITION], 0);
	}

	EXPECT_ERRNO(read(uio, &word, sizeof(word)), EIO);
	EXPECT_ERRNO(write(uio, &word, sizeof(word)), EIO);
	pfd.fd = uio;
	EXPECT_EQ(poll(&pfd, 1, 0), 1);
	EXPECT(uio_failed(pfd.revents));
	return tap_finish();
}
