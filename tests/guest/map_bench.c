// SPDX-License-Identifier: MIT
/*
 * Times one way of mapping the memory, and touching every page of it, or one byte
 * of each STEP.
 *
 *	map_bench file PATH OFFSET SIZE [STEP]	mmap() of a file or device
 *	map_bench vfio ADDRESS SIZE		BAR2 through vfio-pci
 *
 * Prints one JSON object; in it is what touching takes again, with an empty TLB
 * but without a fault. Times are by CLOCK_MONOTONIC, which under QEMU's
 * -icount shift=0 counts the instructions of the guest.
 */
#include <linux/vfio.h>

#include "map.h"

static int vfio_open(const char *address, off_t *offset)
{
	struct vfio_region_info region = {
		.argsz = sizeof(region),
		.index = VFIO_PCI_BAR2_REGION_INDEX,
	};
	char path[128], group[128], *name;
	int container, fd, device;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group",
		 address);
	n = readlink(path, group, sizeof(group) - 1);
	NEED(n > 0);
	group[n] = '\0';
	name = strrchr(group, '/') + 1;
	snprintf(path, sizeof(path), "/dev/vfio/%.8s", name);

	container = open("/dev/vfio/vfio", O_RDWR);
	fd = open(path, O_RDWR);
	NEED(container >= 0 && fd >= 0);
	NEED(ioctl(fd, VFIO_GROUP_SET_CONTAINER, &container) == 0);
	NEED(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU) == 0);
	device = ioctl(fd, VFIO_GROUP_GET_DEVICE_FD, address);
	NEED(device >= 0);
	NEED(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region) == 0);
	*offset = region.offset;
	return device;
}

static const char *cache_name(unsigned int cache)
{
	static const char * const names[] = {
		"UC", "WC", "?", "?", "WT", "WP", "WB", "UC-"
	};

	return names[cache & 7];
}

int main(int argc, char **argv)
{
	uint64_t start, mapped, touched, again;
	unsigned char *mem, *place;
	struct pagewalk walk;
	size_t size, step = SMALL;
	off_t offset = 0;
	long faults;
	int fd;

	if (argc >= 5 && strcmp(argv[1], "file") == 0) {
		fd = open(argv[2], O_RDWR);
		offset = strtoull(argv[3], NULL, 0);
		size = strtoull(argv[4], NULL, 0);
		if (argc == 6)
			step = strtoull(argv[5], NULL, 0);
	} else if (argc == 4 && strcmp(argv[1], "vfio") == 0) {
		fd = vfio_open(argv[2], &offset);
		size = strtoull(argv[3], NULL, 0);
	} else {
		fprintf(stderr, "usage: see map_bench.c\n");
		return 2;
	}
	NEED(fd >= 0);
	/* The same good address for all. */
	place = map_place(size, 0);
	map_walk(place);
	map_touch((unsigned char *)&fd, 1, 1, false);

	start = tap_now();
	mem = mmap(place, size, RW, MAP_SHARED | MAP_FIXED, fd, offset);
	mapped = tap_now();
	NEED(mem == place);
	faults = map_touch(mem, size, step, false);
	touched = tap_now();

	/* Another process empties the TLB. */
	NEED(system(":") == 0);
	again = tap_now();
	NEED(map_touch(mem, size, step, false) == 0);
	again = tap_now() - again;

	walk = map_walk(mem);
	printf("{\"cache\": \"%s\", \"entry\": %u, ", cache_name(walk.cache),
	       walk.size);
	printf("\"map_ns\": %llu, \"touch_ns\": %llu, \"faults\": %ld, ",
	       (unsigned long long)(mapped - start),
	       (unsigned long long)(touched - mapped), faults);
	printf("\"again_ns\": %llu}\n", (unsigned long long)again);
	return 0;
}
