/* SPDX-License-Identifier: MIT */
/*
 * Whatever goes wrong ends the program with one line on standard error, so that
 * nothing here returns a failure to its caller.
 */
#ifndef IVSHMEMCTL_H
#define IVSHMEMCTL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdnoreturn.h>

#include <ivshmem.h>

/* Exit statuses beside 0 and 1; ivshmemctl(1) promises them. */
#define EXIT_USAGE	2
#define EXIT_TIMEOUT	3

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

/**
 * struct options - What the command line says beside a command's arguments.
 * @device:     path of the device node
 * @vector:     for wait: a vector, or IVSHMEM_ANY_VECTOR
 * @count:      for wait: how many events, 0 for all that come
 * @timeout_ns: for wait: nanoseconds, negative for none
 * @verbose:    for wait: say when waiting begins
 */
struct options {
	const char *device;
	unsigned int vector;
	uint64_t count;
	int64_t timeout_ns;
	bool verbose;
};

/* main.c */
void device_warn(const char *device);
noreturn void device_failed(const char *device);
struct ivshmem *open_device(const struct options *opts, int flags,
			    struct ivshmem_info *info);

/* parse.c */
uint64_t parse_number(const char *name, const char *text, uint64_t max);
uint64_t parse_size(const char *name, const char *text);
int64_t parse_seconds(const char *name, const char *text);

/* The commands: list.c, interrupt.c, memory.c */
void do_list(const struct options *opts, char **args);
void do_info(const struct options *opts, char **args);
void do_ring(const struct options *opts, char **args);
void do_wait(const struct options *opts, char **args);
void do_read(const struct options *opts, char **args);
void do_write(const struct options *opts, char **args);
void do_peers(const struct options *opts, char **args);

#endif /* IVSHMEMCTL_H */
