// SPDX-License-Identifier: MIT
/*
 * Holds both nodes open and mapped while the device goes, which happens after
 * it has printed "ready". Nothing of the device may be left in the mappings.
 */
#include <sys/stat.h>

#include "dev.h"
#include "uio.h"

/* Another node of the same device, whose mappings are those of another inode. */
static int open_twin(const char *node)
{
	static const char twin[] = "/tmp/uio_twin";
	struct stat st;
	int fd;

	NEED(!stat(node, &st));
	unlink(twin);
	NEED(!mknod(twin, S_IFCHR | 0600, st.st_rdev));
	fd = open(twin, O_RDWR);
	NEED(fd >= 0);
	NEED(!unlink(twin));
	return fd;
}

/* Sleeps until the device goes, unless it has no interrupts. */
static long long read_count(struct dev_call *c)
{
	uint32_t word;

	return read(c->fd, &word, sizeof(word));
}

static short events_of(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	EXPECT_EQ(poll(&pfd, 1, 0), 1);
	return pfd.revents;
}

int main(int argc, char **argv)
{
	struct ivshmem_info info;
	unsigned char *mem, *again, *regs, *twin_mem;
	struct dev_call reader = { .call = read_count };
	char node[64];
	int dev, uio, twin;
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
	snprintf(node, sizeof(node), "/dev/%s", uio_name);
	twin = open_twin(node);
	twin_mem = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, twin,
			UIO_MAP(1));
	NEED(mem != MAP_FAILED && again != MAP_FAILED && regs != MAP_FAILED &&
	     twin_mem != MAP_FAILED);
	memset(mem, 0x5a, info.size);
	EXPECT_EQ(twin_mem[0], 0x5a);
	EXPECT_EQ(again[info.size - 1], 0x5a);
	EXPECT_EQ(((volatile uint32_t *)regs)[UIO_POSITION], info.position);

	reader.fd = uio;
	dev_call_start(&reader);
	if (info.vectors)
		dev_call_asleep(&reader, SYS_read);

	tap_note("ready");
	/* The node goes when all is over. */
	EXPECT_WITHIN(access(node, F_OK) == -1, 50000);
	EXPECT(dev_call_end(&reader, DEV_LONG));
	EXPECT_EQ(reader.ret, -1);
	EXPECT_EQ(reader.err, EIO);
	EXPECT_ERRNO(read(uio, &word, sizeof(word)), EIO);
	EXPECT_EQ(events_of(dev), POLLHUP | POLLERR);
	EXPECT(uio_failed(events_of(uio)));

	EXPECT_EQ(dev_fault(mem, -1), SIGBUS);
	EXPECT_EQ(dev_fault(mem + info.size - 1, -1), SIGBUS);
	EXPECT_EQ(dev_fault(again, -1), SIGBUS);
	EXPECT_EQ(dev_fault(regs, -1), SIGBUS);
	EXPECT_EQ(dev_fault(twin_mem, -1), SIGBUS);
	EXPECT(mmap(NULL, 4096, PROT_READ, MAP_SHARED, uio, UIO_MAP(1)) ==
	       MAP_FAILED);
	EXPECT(mmap(NULL, 4096, PROT_READ, MAP_SHARED, uio, UIO_MAP(0)) ==
	       MAP_FAILED);
	word = 1;
	EXPECT(write(uio, &word, sizeof(word)) == -1);
	EXPECT_EQ(munmap(mem, info.size), 0);
	EXPECT_EQ(close(twin), 0);
	EXPECT_EQ(close(uio), 0);
	EXPECT_EQ(close(dev), 0);
	return tap_finish();
}
