// SPDX-License-Identifier: MIT
/*
 * /dev/uioM beside /dev/ivshmemN: what programs for UIO expect, and that both
 * show one device. Needs a device that interrupts, which nobody else rings.
 */
#include "uio.h"

#define ROUNDS	200

static int dev, uio;
static struct ivshmem_info info;

static bool ring(void)
{
	/* Vector 0 of the first design cannot be rung. */
	unsigned int vector = info.vectors > 1 || info.irq_mode == IVSHMEM_IRQ_INTX;

	return !ioctl(dev, IVSHMEM_RING_DOORBELL,
		      IVSHMEM_DOORBELL(info.position, vector));
}

static uint64_t dev_count(void)
{
	struct ivshmem_wait wait = {
		.vector = IVSHMEM_ANY_VECTOR, .count = UINT64_MAX,
	};

	NEED(!ioctl(dev, IVSHMEM_WAIT, &wait));
	return wait.count;
}

static bool dev_hears(uint64_t count)
{
	struct ivshmem_wait wait = {
		.vector = IVSHMEM_ANY_VECTOR, .count = count,
		.timeout_ns = tap_now() + 20 * TAP_SECOND,
	};

	return !ioctl(dev, IVSHMEM_WAIT, &wait);
}

static bool uio_ready(int ms)
{
	struct pollfd pfd = { .fd = uio, .events = POLLIN };

	return poll(&pfd, 1, ms) == 1 && pfd.revents == POLLIN;
}

static uint32_t uio_count(void)
{
	uint32_t count = 0;

	NEED(read(uio, &count, sizeof(count)) == sizeof(count));
	return count;
}

static void test_maps(void)
{
	EXPECT_EQ(strcmp(uio_map_attr(0, "name"), "registers"), 0);
	EXPECT_EQ(strcmp(uio_map_attr(1, "name"), "shmem"), 0);
	EXPECT(strtoull(uio_map_attr(0, "size"), NULL, 0) >= 256);
	EXPECT_EQ(strtoull(uio_map_attr(1, "size"), NULL, 0), info.size);
	EXPECT_EQ(strtoull(uio_map_attr(1, "offset"), NULL, 0), 0);
}

/* Memory is one and the same through both nodes. */
static void test_memory(void)
{
	volatile uint32_t *there, *here;
	size_t words = info.size / sizeof(*here), i, bad = 0;

	here = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, dev, 0);
	there = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, uio,
		     UIO_MAP(1));
	NEED(here != MAP_FAILED && there != MAP_FAILED);
	for (i = 0; i < words; i += 512) {
		here[i] = i;
		bad += there[i] != i;
		there[i + 1] = ~i;
		bad += here[i + 1] != (uint32_t)~i;
	}
	EXPECT_EQ(bad, 0);
	EXPECT_ERRNO((long)mmap(NULL, 2 * info.size, PROT_READ, MAP_SHARED, uio,
				UIO_MAP(1)), EINVAL);
	EXPECT_ERRNO((long)mmap(NULL, 4096, PROT_READ, MAP_SHARED, uio,
				UIO_MAP(2)), EINVAL);
	EXPECT_EQ(munmap((void *)here, info.size), 0);
	EXPECT_EQ(munmap((void *)there, info.size), 0);
}

/* Nobody else maps it with another cache mode meanwhile. */
static void test_resource(void)
{
	static const char * const names[] = { "resource2", "resource2_wc" };
	unsigned long start = 0;
	char path[96];
	FILE *file;
	int fd, i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/class/misc/%s/device/%s",
			 strrchr(tap_device, '/') + 1, names[i]);
		fd = open(path, O_RDWR);
		/* Only prefetchable memory has the second one. */
		if (i && fd < 0 && errno == ENOENT)
			continue;
		NEED(fd >= 0);
		EXPECT_ERRNO((long)mmap(NULL, info.size, PROT_READ, MAP_SHARED,
					fd, 0), EINVAL);
		EXPECT_EQ(close(fd), 0);
	}

	snprintf(path, sizeof(path), "/sys/class/misc/%s/device/resource",
		 strrchr(tap_device, '/') + 1);
	file = fopen(path, "r");
	NEED(file);
	NEED(fscanf(file, "%*x %*x %*x %*x %*x %*x %lx", &start) == 1);
	fclose(file);
	fd = open("/dev/mem", O_RDONLY);
	NEED(fd >= 0);
	EXPECT_ERRNO((long)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, start),
		     EPERM);
	EXPECT_EQ(close(fd), 0);
}

/* Each interrupt is counted by both. */
static void test_counts(void)
{
	uint64_t before = dev_count(), count = before;
	uint32_t first, last, i;

	while (uio_ready(0))
		uio_count();
	NEED(ring() && dev_hears(count) && uio_ready(20000));
	count = dev_count();
	first = uio_count();
	EXPECT_EQ(count - before, 1);
	EXPECT(!uio_ready(0));

	for (i = 0, last = first; i < ROUNDS; i++) {
		if (!ring() || !dev_hears(count) || !uio_ready(20000))
			break;
		count = dev_count();
		last = uio_count();
	}
	EXPECT_EQ(i, ROUNDS);
	EXPECT_EQ(last - first, ROUNDS);
	EXPECT_EQ(count - before, ROUNDS + 1);
}

/* Writing 0 and 1 is for UIO alone, and loses nothing. */
static void test_control(void)
{
	uint64_t count = dev_count();
	uint32_t before, word = 0;

	NEED(ring() && dev_hears(count) && uio_ready(20000));
	before = uio_count();
	count = dev_count();

	EXPECT_EQ(write(uio, &word, sizeof(word)), sizeof(word));
	NEED(ring() && dev_hears(count));
	EXPECT(!uio_ready(50));
	word = 1;
	EXPECT_EQ(write(uio, &word, sizeof(word)), sizeof(word));
	EXPECT(uio_ready(20000));
	EXPECT_EQ(uio_count(), before + 1);
	EXPECT(!uio_ready(0));

	EXPECT_ERRNO(write(uio, &word, 2), EINVAL);
	EXPECT_ERRNO(read(uio, &word, 2), EINVAL);
	EXPECT_EQ(fcntl(uio, F_SETFL, O_NONBLOCK), 0);
	EXPECT_ERRNO(read(uio, &word, sizeof(word)), EAGAIN);
	EXPECT_EQ(fcntl(uio, F_SETFL, 0), 0);

	/* Off until the last close. */
	word = 0;
	count = dev_count();
	EXPECT_EQ(write(uio, &word, sizeof(word)), sizeof(word));
	EXPECT_EQ(close(uio), 0);
	uio = uio_open(O_RDWR);
	NEED(uio >= 0 && ring() && dev_hears(count));
	EXPECT(uio_ready(20000));
	uio_count();
}

/* Rings as ring() does. A large BAR0 has a doorbell for each peer. */
static void ring_register(volatile uint32_t *regs, size_t size)
{
	if (size > 256)
		regs[UIO_DOORBELL + info.position * UIO_STRIDE] = 1;
	else
		regs[UIO_DOORBELL] = IVSHMEM_DOORBELL(info.position, 0);
}

/* The registers, where nothing else is in their pages. */
static void test_registers(void)
{
	size_t size = strtoull(uio_map_attr(0, "size"), NULL, 0), i;
	volatile uint32_t *regs = mmap(NULL, size, PROT_READ | PROT_WRITE,
				       MAP_SHARED, uio, UIO_MAP(0));
	uint64_t count = dev_count();

	NEED(regs != MAP_FAILED);
	EXPECT_EQ(regs[UIO_POSITION], info.position);
	/* The registers are there once: what comes after them reads as 0. */
	for (i = 4096; i < size; i += 4096)
		EXPECT_EQ(regs[i / sizeof(*regs) + UIO_POSITION], 0);
	ring_register(regs, size);
	EXPECT(dev_hears(count));
	count = dev_count();

	if (info.irq_mode == IVSHMEM_IRQ_INTX) {
		EXPECT_EQ(regs[UIO_MASK], UINT32_MAX);
		while (uio_ready(0))
			uio_count();
		regs[UIO_MASK] = 0;
		NEED(ring());
		EXPECT(!uio_ready(50));
		EXPECT_EQ(dev_count(), count);
		regs[UIO_MASK] = UINT32_MAX;
		EXPECT(dev_hears(count));
		EXPECT(uio_ready(20000));
		EXPECT_EQ(dev_count(), count + 1);
	}
	EXPECT_EQ(munmap((void *)regs, size), 0);
}

int main(int argc, char **argv)
{
	tap_start(argc, argv, 120);
	uio_find();
	dev = open(tap_device, O_RDWR);
	uio = uio_open(O_RDWR);
	NEED(dev >= 0 && uio >= 0);
	NEED(!ioctl(dev, IVSHMEM_GET_INFO, &info));
	test_maps();
	test_memory();
	test_resource();
	test_counts();
	test_control();
	test_registers();
	return tap_finish();
}
