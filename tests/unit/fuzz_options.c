// SPDX-License-Identifier: MIT
/*
 * libFuzzer on the options: bytes are a configuration file, and in a second
 * round, split at blanks and newlines, a command line.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "options.h"

static void parse(int argc, char **argv)
{
	struct options options;

	if (options_parse(&options, argc, argv) == OPTIONS_RUN) {
		/* What the rest of the server relies on. */
		CHECK(options.size >= 4096);
		CHECK(!(options.size & (options.size - 1)));
		CHECK(options.vectors >= 1 && options.vectors <= 2048);
		CHECK(options.stall_ms >= 100 && options.stall_ms <= 86400000);
	}
	options_free(&options);
}

static void parse_file(const uint8_t *data, size_t size)
{
	char path[64];
	char *argv[6] = { "ivshmem-server", "--config", path, "--socket", "/s",
			  NULL };
	int fd = memfd_create("config", MFD_CLOEXEC);

	CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	parse(5, argv);
	close(fd);
}

static void parse_line(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size);
	char *argv[64] = { "ivshmem-server", "--socket", "/s" };
	char *rest = text;
	int argc = 3;

	CHECK(text);
	while (rest && argc < 63)
		argv[argc++] = strsep(&rest, "\n ");
	argv[argc] = NULL;
	parse(argc, argv);
	free(text);
}

int fuzz_one_input(const uint8_t *data, size_t size)
{
	parse_file(data, size);
	parse_line(data, size);
	return 0;
}
