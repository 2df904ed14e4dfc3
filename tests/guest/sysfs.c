// SPDX-License-Identifier: MIT
/* The attributes of a device say what IVSHMEM_GET_INFO and IVSHMEM_WAIT say. */
#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "irq.h"

static char dir[PATH_MAX];

/* The text of an attribute, which ends with a newline that is taken off. */
static const char *attribute(const char *name)
{
	static char text[4097];
	char path[PATH_MAX + 64];
	struct stat st;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return strerrorname_np(errno);
	NEED(!fstat(fd, &st));
	EXPECT_EQ(st.st_mode & 0777, 0444);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	NEED(n > 0);
	EXPECT_EQ(text[n - 1], '\n');
	text[n - 1] = '\0';
	return text;
}

static void expect_text(const char *name, const char *wanted)
{
	const char *text = attribute(name);

	tap_ok(!strcmp(text, wanted), "%s: \"%s\", wanted \"%s\"", name, text,
	       wanted);
}

static void expect_number(const char *name, uint64_t wanted)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)wanted);
	expect_text(name, text);
}

static void test_info(void)
{
	static const char * const irq[] = { "none", "intx", "msix" };
	static const char * const cache[] = { "write-back", "uncached" };

	expect_number("position", irq_info.position);
	expect_number("vectors", irq_info.vectors);
	expect_number("size", irq_info.size);
	expect_number("revision", irq_info.revision);
	expect_text("irq_mode", irq[irq_info.irq_mode]);
	expect_text("cache_mode", cache[irq_info.cache_mode]);
}

/* One number for each vector, and nothing else. */
static void test_counts(void)
{
	char path[PATH_MAX + 16], name[32];
	struct dirent *entry;
	unsigned int v, n = 0;
	uint64_t count;
	DIR *counts;

	snprintf(path, sizeof(path), "%s/counts", dir);
	counts = opendir(path);
	if (!irq_info.vectors && !counts) {
		EXPECT_EQ(errno, ENOENT);
		return;
	}
	NEED(counts && irq_info.vectors);
	while ((entry = readdir(counts)))
		n += entry->d_name[0] != '.';
	closedir(counts);
	EXPECT_EQ(n, irq_info.vectors);

	for (v = 0; v < irq_info.vectors; v++) {
		snprintf(name, sizeof(name), "counts/%u", v);
		count = irq_count(v);
		expect_number(name, count);
		irq_fire(v);
		expect_number(name, count + 1);
	}
	snprintf(name, sizeof(name), "counts/%u", irq_info.vectors);
	expect_text(name, "ENOENT");
}

/* Nobody can change what they say. */
static void test_readonly(void)
{
	static const char * const names[] = {
		"position", "vectors", "size", "revision", "irq_mode",
		"cache_mode", "counts/0",
	};
	char path[PATH_MAX + 64];
	unsigned int i;
	int fd;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		/* Root may open what nobody can write. */
		if (fd >= 0) {
			EXPECT_ERRNO(write(fd, "1", 1), EIO);
			close(fd);
		} else {
			EXPECT(errno == EACCES || errno == ENOENT);
		}
	}
}

/* The node's number, and the PCI device, stand where they do for others. */
static void test_place(void)
{
	char path[PATH_MAX + 64], text[64], link[PATH_MAX];
	struct stat st;
	ssize_t n;

	NEED(!fstat(irq_bell, &st));
	snprintf(text, sizeof(text), "%u:%u", major(st.st_rdev),
		 minor(st.st_rdev));
	expect_text("dev", text);
	snprintf(path, sizeof(path), "%s/device/driver", dir);
	n = readlink(path, link, sizeof(link) - 1);
	NEED(n > 0);
	link[n] = '\0';
	EXPECT(!strcmp(strrchr(link, '/'), "/ivshmem"));
}

int main(int argc, char **argv)
{
	const char *name;

	tap_start(argc, argv, 60);
	irq_start(0);
	name = strrchr(tap_device, '/');
	NEED(name);
	snprintf(dir, sizeof(dir), "/sys/class/misc%s", name);
	test_info();
	test_counts();
	test_readonly();
	test_place();
	return tap_finish();
}
