// SPDX-License-Identifier: MIT
/*
 * list and info.
 *
 * What a device is comes from the device itself. Of one that cannot be opened,
 * because it is not for this user or another program has it alone, sysfs tells
 * everybody the same, but whether it has a doorbell that nothing answers.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ivshmemctl.h"

enum { POSITION, VECTORS, SIZE, REVISION, IRQ_MODE, CACHE_MODE, ATTRIBUTES };

/* The names are those in sysfs, the widths are for list. */
static const struct {
	const char *name;
	int width;
} attributes[ATTRIBUTES] = {
	[POSITION]	= { "position", 9 },
	[VECTORS]	= { "vectors", 8 },
	[SIZE]		= { "size", 13 },
	[REVISION]	= { "revision", 9 },
	[IRQ_MODE]	= { "irq_mode", 9 },
	[CACHE_MODE]	= { "cache_mode", 11 },
};

static const char *const irq_modes[] = {
	[IVSHMEM_IRQ_NONE] = "none",
	[IVSHMEM_IRQ_INTX] = "intx",
	[IVSHMEM_IRQ_MSIX] = "msix",
};

static const char *const cache_modes[] = {
	[IVSHMEM_CACHE_WRITE_BACK] = "write-back",
	[IVSHMEM_CACHE_UNCACHED] = "uncached",
};

struct description {
	char text[ATTRIBUTES][24];
	const char *doorbell;
};

/* A newer kernel may know modes that this program does not. */
static const char *mode_name(const char *const *names, size_t nr, unsigned int mode)
{
	return mode < nr ? names[mode] : "unknown";
}

static void describe(struct description *desc, const struct ivshmem_info *info)
{
	const size_t len = sizeof(desc->text[0]);

	snprintf(desc->text[POSITION], len, "%u", info->position);
	snprintf(desc->text[VECTORS], len, "%u", info->vectors);
	snprintf(desc->text[SIZE], len, "%ju", (uintmax_t)info->size);
	snprintf(desc->text[REVISION], len, "%u", info->revision);
	snprintf(desc->text[IRQ_MODE], len, "%s",
		 mode_name(irq_modes, ARRAY_SIZE(irq_modes), info->irq_mode));
	snprintf(desc->text[CACHE_MODE], len, "%s",
		 mode_name(cache_modes, ARRAY_SIZE(cache_modes), info->cache_mode));
	desc->doorbell = info->features & IVSHMEM_FEATURE_DOORBELL ? "yes" : "no";
}

/* By the node's number: the node or a link to it may have any name. */
static void sysfs_path(char *path, const char *device, const char *attribute)
{
	struct stat st = { 0 };

	/* If there is no node its number stays 0:0, which nobody has. */
	stat(device, &st);
	snprintf(path, PATH_MAX, "/sys/dev/char/%u:%u/%s", major(st.st_rdev),
		 minor(st.st_rdev), attribute);
}

static bool read_sysfs(char *text, size_t len, const char *device,
		       const char *attribute)
{
	char path[PATH_MAX];
	FILE *file;
	bool ok;

	sysfs_path(path, device, attribute);
	file = fopen(path, "re");
	if (!file)
		return false;
	ok = fgets(text, len, file);
	fclose(file);
	if (ok)
		text[strcspn(text, "\n")] = '\0';
	return ok;
}

static bool describe_sysfs(struct description *desc, const char *device)
{
	bool interrupts;
	int i;

	for (i = 0; i < ATTRIBUTES; i++)
		if (!read_sysfs(desc->text[i], sizeof(desc->text[i]), device,
				attributes[i].name))
			return false;
	/* Where there is no interrupt, there may still be others' to ring. */
	interrupts = strcmp(desc->text[IRQ_MODE], irq_modes[IVSHMEM_IRQ_NONE]);
	desc->doorbell = interrupts ? "yes" : "unknown";
	return true;
}

/*
 * Returns whether anything could be learned of the device; if not, errno says why
 * it cannot be opened. What is in @ivs then is NULL, or has to be closed.
 */
static bool learn(struct ivshmem **ivs, struct description *desc,
		  const char *device)
{
	struct ivshmem_info info;
	int error;

	*ivs = ivshmem_open(device, O_RDONLY);
	if (*ivs && !ivshmem_get_info(*ivs, &info)) {
		describe(desc, &info);
		return true;
	}
	error = errno;
	ivshmem_close(*ivs);
	*ivs = NULL;
	if (describe_sysfs(desc, device))
		return true;
	errno = error;
	return false;
}

/* The count of a vector, from a device that is open or from sysfs. */
static bool get_count(struct ivshmem *ivs, const char *device,
		      unsigned int vector, uint64_t *count)
{
	char attribute[32], text[24];

	if (ivs)
		return !ivshmem_count(ivs, vector, count);
	snprintf(attribute, sizeof(attribute), "counts/%u", vector);
	if (!read_sysfs(text, sizeof(text), device, attribute))
		return false;
	*count = strtoull(text, NULL, 10);
	return true;
}

/* "0000:00:04.0", or "-" where there is no sysfs. */
static const char *pci_address(const char *device)
{
	static char target[PATH_MAX];
	char path[PATH_MAX];
	ssize_t len;

	sysfs_path(path, device, "device");
	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0)
		return "-";
	target[len] = '\0';
	return basename(target);
}

static int is_node(const struct dirent *entry)
{
	static const char prefix[] = "ivshmem";
	const char *number = entry->d_name + strlen(prefix);

	/* /dev/ivshmem without a number is a folder of links. */
	return !strncmp(entry->d_name, prefix, strlen(prefix)) && *number &&
	       !number[strspn(number, "0123456789")];
}

static bool list_one(const char *device)
{
	struct description desc;
	struct ivshmem *ivs;
	int i;

	if (!learn(&ivs, &desc, device)) {
		device_warn(device);
		return false;
	}
	ivshmem_close(ivs);

	printf("%-16s", device);
	for (i = 0; i < ATTRIBUTES; i++)
		printf("%*s", attributes[i].width, desc.text[i]);
	printf(" %s\n", pci_address(device));
	return true;
}

/**
 * do_list() - Print a table of this machine's devices.
 * @opts: not used
 * @args: none
 */
void do_list(const struct options *opts, char **args)
{
	struct dirent **entries;
	char device[PATH_MAX];
	bool ok = true;
	int i, n;

	(void)opts;
	(void)args;
	n = scandir("/dev", &entries, is_node, versionsort);
	if (n < 0)
		err(EXIT_FAILURE, "/dev");
	if (!n)
		errx(EXIT_FAILURE, "there is no /dev/ivshmem0 (is the module ivshmem loaded?)");

	printf("%-16s", "device");
	for (i = 0; i < ATTRIBUTES; i++)
		printf("%*s", attributes[i].width, attributes[i].name);
	puts(" pci");
	for (i = 0; i < n; i++) {
		snprintf(device, sizeof(device), "/dev/%s", entries[i]->d_name);
		ok &= list_one(device);
	}
	if (!ok)
		exit(EXIT_FAILURE);
}

/**
 * do_info() - Print all about one device.
 * @opts: the device
 * @args: none
 */
void do_info(const struct options *opts, char **args)
{
	struct description desc;
	unsigned int i, vectors;
	struct ivshmem *ivs;
	uint64_t count;

	(void)args;
	if (!learn(&ivs, &desc, opts->device))
		device_failed(opts->device);
	printf("device: %s\npci: %s\n", opts->device, pci_address(opts->device));
	for (i = 0; i < ATTRIBUTES; i++)
		printf("%s: %s\n", attributes[i].name, desc.text[i]);
	printf("doorbell: %s\n", desc.doorbell);

	/* Most of 2048 vectors never fire. */
	vectors = strtoul(desc.text[VECTORS], NULL, 10);
	for (i = 0; i < vectors; i++) {
		if (!get_count(ivs, opts->device, i, &count))
			device_failed(opts->device);
		if (count)
			printf("vector %u count %ju\n", i, (uintmax_t)count);
	}
	ivshmem_close(ivs);
}
