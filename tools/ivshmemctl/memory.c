// SPDX-License-Identifier: MIT
/*
 * read, write and peers.
 *
 * Bytes go through a buffer, not straight between the mapping and a file: some
 * files, as those of 9p and FUSE, want pages that the kernel knows, which the
 * device's are not.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ivshmem-directory.h>

#include "ivshmemctl.h"

static char buffer[1 << 20];
static sigjmp_buf unplugged;

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(unplugged, 1);
}

/* memcpy() from or to a mapping, which an unplug can take away at any moment. */
static void copy(void *to, const void *from, size_t bytes, const char *device)
{
	struct sigaction action = { .sa_handler = on_sigbus }, old;

	sigaction(SIGBUS, &action, &old);
	if (sigsetjmp(unplugged, 1)) {
		errno = ENODEV;
		device_failed(device);
	}
	memcpy(to, from, bytes);
	sigaction(SIGBUS, &old, NULL);
}

static void write_all(const char *from, size_t bytes)
{
	ssize_t done;

	for (; bytes; from += done, bytes -= done) {
		done = write(STDOUT_FILENO, from, bytes);
		if (done < 0)
			err(EXIT_FAILURE, "standard output");
	}
}

/**
 * do_read() - Copy shared memory to standard output.
 * @opts: the device
 * @args: offset, length
 */
void do_read(const struct options *opts, char **args)
{
	uint64_t offset = parse_size("OFFSET", args[0]);
	uint64_t left = parse_size("LENGTH", args[1]);
	struct ivshmem_info info;
	struct ivshmem *ivs = open_device(opts, O_RDONLY, &info);
	size_t chunk;
	void *memory;

	if (offset > info.size || left > info.size - offset)
		errx(EXIT_FAILURE,
		     "%s: %ju bytes from %ju on reach beyond its end at %ju",
		     opts->device, (uintmax_t)left, (uintmax_t)offset,
		     (uintmax_t)info.size);

	for (; left; left -= chunk, offset += chunk) {
		chunk = left < sizeof(buffer) ? left : sizeof(buffer);
		memory = ivshmem_map(ivs, offset, chunk, PROT_READ);
		if (!memory)
			device_failed(opts->device);
		copy(buffer, memory, chunk, opts->device);
		ivshmem_unmap(memory, chunk);
		write_all(buffer, chunk);
	}
	ivshmem_close(ivs);

	/* A network's file system may say only now that it lost something. */
	if (close(STDOUT_FILENO))
		err(EXIT_FAILURE, "standard output");
}

/**
 * do_write() - Copy standard input to shared memory.
 * @opts: the device
 * @args: offset
 */
void do_write(const struct options *opts, char **args)
{
	uint64_t offset = parse_size("OFFSET", args[0]);
	struct ivshmem_info info;
	struct ivshmem *ivs = open_device(opts, O_RDWR, &info);
	uint64_t start = offset;
	size_t chunk;
	void *memory;
	ssize_t got;

	if (offset > info.size)
		errx(EXIT_FAILURE, "%s: %ju is beyond its end at %ju",
		     opts->device, (uintmax_t)offset, (uintmax_t)info.size);

	while ((got = read(STDIN_FILENO, buffer, sizeof(buffer))) > 0) {
		chunk = got;
		if (chunk > info.size - offset)
			chunk = info.size - offset;
		if (chunk) {
			memory = ivshmem_map(ivs, offset, chunk,
					     PROT_READ | PROT_WRITE);
			if (!memory)
				device_failed(opts->device);
			copy(memory, buffer, chunk, opts->device);
			ivshmem_unmap(memory, chunk);
			offset += chunk;
		}
		if (chunk < (size_t)got) {
			errno = ENOSPC;
			err(EXIT_FAILURE,
			    "%s: only the first %ju bytes were written",
			    opts->device, (uintmax_t)(offset - start));
		}
	}
	if (got < 0)
		err(EXIT_FAILURE, "standard input");
	ivshmem_close(ivs);
}

/**
 * do_peers() - Print who is there.
 * @opts: the device
 * @args: none
 */
void do_peers(const struct options *opts, char **args)
{
	const struct sigaction action = { .sa_handler = on_sigbus };
	static unsigned int ids[IVSHMEM_DIRECTORY_IDS];
	struct ivshmem_info info;
	struct ivshmem *ivs = open_device(opts, O_RDONLY, &info);
	ssize_t count, i;

	(void)args;
	sigaction(SIGBUS, &action, NULL);
	if (sigsetjmp(unplugged, 1)) {
		errno = ENODEV;
		device_failed(opts->device);
	}
	count = ivshmem_peers(ivs, ids, ARRAY_SIZE(ids));
	if (count < 0 && errno == ENOENT)
		errx(EXIT_FAILURE,
		     "%s: the server keeps no directory of peers in this memory",
		     opts->device);
	if (count < 0)
		device_failed(opts->device);
	for (i = 0; i < count; i++)
		printf("%u%s\n", ids[i],
		       ids[i] == info.position ? " (this one)" : "");
	ivshmem_close(ivs);
}
