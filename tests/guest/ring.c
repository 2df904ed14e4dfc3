// SPDX-License-Identifier: MIT
/*
 * RING_DOORBELL: oneself, a peer that is not there, and what is refused. Needs
 * a device that nobody else rings meanwhile.
 */
#include "dev.h"

static int ring_arg(int fd, unsigned long arg)
{
	return ioctl(fd, IVSHMEM_RING_DOORBELL, arg);
}

/* Each vector counts its own ring and nothing else does. */
static void test_self(int fd, const struct ivshmem_info *info)
{
	unsigned int v, w, wrong = 0;

	for (v = 0; v < info->vectors; v++) {
		uint64_t before[IVSHMEM_MAX_VECTORS], count;

		for (w = 0; w < info->vectors; w++)
			before[w] = dev_count(fd, w);
		EXPECT_EQ(dev_ring(fd, info->position, v), 0);
		count = before[v];
		EXPECT_EQ(dev_wait(fd, v, &count, DEV_LONG), 0);
		EXPECT_EQ(count, before[v] + 1);
		for (w = 0; w < info->vectors; w++)
			wrong += w != v && dev_count(fd, w) != before[w];
	}
	EXPECT_EQ(wrong, 0);
}

static void test_absent(int fd, const struct ivshmem_info *info)
{
	const uint32_t absent[] = { IVSHMEM_MAX_PEER, IVSHMEM_MAX_PEER - 1,
				    info->position + 1000 };
	uint64_t before = dev_count(fd, IVSHMEM_ANY_VECTOR);
	unsigned int i, v, bad = 0;

	for (i = 0; i < sizeof(absent) / sizeof(*absent); i++)
		for (v = 0; v < info->vectors; v++)
			bad += dev_ring(fd, absent[i], v) != 0;
	EXPECT_EQ(bad, 0);
	/* A library may have extended the sign of the last peer. */
	EXPECT_EQ(ring_arg(fd, ~0xffffUL), 0);
	EXPECT(dev_quiet(fd, 50));
	EXPECT_EQ(dev_count(fd, IVSHMEM_ANY_VECTOR), before);
}

static void test_refused(int fd, const struct ivshmem_info *info)
{
	uint32_t self = info->position, end = info->vectors;
	bool pin = info->irq_mode == IVSHMEM_IRQ_INTX;
	uint64_t before = dev_count(fd, IVSHMEM_ANY_VECTOR);
	unsigned int v, bad = 0;
	int other;

	/* A peer with a pin takes any vector. */
	if (!pin) {
		EXPECT_ERRNO(dev_ring(fd, self, end), EINVAL);
		EXPECT_ERRNO(dev_ring(fd, self, 0xffff), EINVAL);
		EXPECT_ERRNO(dev_ring(fd, IVSHMEM_MAX_PEER, end), EINVAL);
		EXPECT_ERRNO(dev_ring(fd, IVSHMEM_MAX_PEER, 0xffff), EINVAL);
		/* Of these the device would look at eight bits, and ring 0. */
		EXPECT_ERRNO(dev_ring(fd, self, 0x100), EINVAL);
		EXPECT_ERRNO(dev_ring(fd, self, 0x8000), EINVAL);
		for (v = end; v <= 0xffff; v++)
			bad += dev_ring(fd, self, v) != -1 || errno != EINVAL;
		EXPECT_EQ(bad, 0);
	}

	if (sizeof(long) > 4) {
		unsigned long high = 1UL << (sizeof(long) * 4);
		unsigned long good = IVSHMEM_DOORBELL(self, 0);

		EXPECT_ERRNO(ring_arg(fd, good | high), EINVAL);
		EXPECT_ERRNO(ring_arg(fd, good | high << 31), EINVAL);
		if (!pin)
			EXPECT_ERRNO(ring_arg(fd, -1L), EINVAL);
		EXPECT_ERRNO(ring_arg(fd, ~0xffffffffUL | good), EINVAL);
	}

	other = dev_open(O_RDONLY);
	EXPECT_ERRNO(dev_ring(other, self, 0), EPERM);
	close(other);

	EXPECT(dev_quiet(fd, 50));
	EXPECT_EQ(dev_count(fd, IVSHMEM_ANY_VECTOR), before);
}

/* A file that may only write rings, and one that may only read hears it. */
static void test_modes(const struct ivshmem_info *info)
{
	int reader = dev_open(O_RDONLY | O_NONBLOCK);
	int writer = dev_open(O_WRONLY);
	uint64_t count = dev_count(reader, 0);
	struct ivshmem_event event;

	EXPECT_EQ(dev_ring(writer, info->position, 0), 0);
	EXPECT_EQ(dev_wait(reader, 0, &count, DEV_LONG), 0);
	POISON(event);
	EXPECT_EQ(read(reader, &event, sizeof(event)), sizeof(event));
	EXPECT_EQ(event.vector, 0);
	EXPECT_EQ(event.count, count);
	close(writer);
	close(reader);
}

int main(int argc, char **argv)
{
	struct ivshmem_info info;
	int fd;

	tap_start(argc, argv, 60);
	fd = dev_open(O_RDWR);
	info = dev_info(fd);
	test_self(fd, &info);
	test_absent(fd, &info);
	test_refused(fd, &info);
	test_modes(&info);
	return tap_finish();
}
