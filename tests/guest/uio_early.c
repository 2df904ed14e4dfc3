// SPDX-License-Identifier: MIT
/*
 * Opens a UIO device as soon as its node is there, which is before the driver is
 * through with it, and rings: that interrupt is not lost.
 *
 *	uio_early NODE POSITION OTHER	NODE is the one of UIO, and OTHER the one
 *					that appears when it is finished
 */
#include "uio.h"

/* How often the first vector has interrupted, all processors together. */
static unsigned long total(void)
{
	FILE *file = fopen("/proc/interrupts", "r");
	unsigned long sum = 0;
	char line[256];

	NEED(file);
	while (fgets(line, sizeof(line), file)) {
		char *word = strchr(line, ':'), *end;

		if (!word || !strstr(line, "ivshmem0-0"))
			continue;
		for (word++;; word = end) {
			sum += strtoul(word, &end, 10);
			if (end == word)
				break;
		}
	}
	fclose(file);
	return sum;
}

int main(int argc, char **argv)
{
	struct pollfd pfd = { .events = POLLIN };
	volatile uint32_t *regs;
	uint32_t count;

	tap_start(argc, argv, 60);
	NEED(argc == 4);
	tap_note("ready");
	while ((pfd.fd = open(tap_device, O_RDWR)) < 0)
		NEED(errno == ENOENT || errno == ENODEV);
	regs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, pfd.fd,
		    UIO_MAP(0));
	NEED(regs != MAP_FAILED);
	regs[UIO_DOORBELL] = IVSHMEM_DOORBELL(strtoul(argv[2], NULL, 10), 0);
	while (!total())
		;
	/* Else this has come too late to show anything. */
	EXPECT_ERRNO(access(argv[3], F_OK), ENOENT);
	if (EXPECT_EQ(poll(&pfd, 1, 20000), 1)) {
		EXPECT_EQ(read(pfd.fd, &count, sizeof(count)), sizeof(count));
		EXPECT_EQ(count, 1);
	}
	return tap_finish();
}
