// SPDX-License-Identifier: MIT
/* ring and wait. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ivshmemctl.h"

#define NSEC_PER_SEC	1000000000

/**
 * do_ring() - Interrupt a peer.
 * @opts: the device
 * @args: peer, vector
 */
void do_ring(const struct options *opts, char **args)
{
	unsigned int peer = parse_number("PEER", args[0], IVSHMEM_MAX_PEER);
	unsigned int vector = parse_number("VECTOR", args[1], UINT16_MAX);
	struct ivshmem *ivs = open_device(opts, O_RDWR, NULL);

	if (ivshmem_ring(ivs, peer, vector))
		device_failed(opts->device);
	ivshmem_close(ivs);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

static void subscribe_to(struct ivshmem *ivs, const struct options *opts)
{
	uint64_t bitmap[IVSHMEM_MAX_VECTORS / 64] = { 0 };

	bitmap[opts->vector / 64] = UINT64_C(1) << opts->vector % 64;
	if (ivshmem_subscribe(ivs, bitmap, opts->vector + 1))
		device_failed(opts->device);
}

/* Sleeps until there may be something to read. */
static void wait_readable(struct ivshmem *ivs, const struct options *opts,
			  int64_t deadline)
{
	struct pollfd pfd = { .fd = ivshmem_fd(ivs), .events = POLLIN };
	struct timespec left = { 0 };
	int64_t left_ns;
	int ready;

	if (opts->timeout_ns >= 0) {
		left_ns = deadline - now_ns();
		if (left_ns > 0) {
			left.tv_sec = left_ns / NSEC_PER_SEC;
			left.tv_nsec = left_ns % NSEC_PER_SEC;
		}
	}
	ready = ppoll(&pfd, 1, opts->timeout_ns < 0 ? NULL : &left, NULL);
	if (!ready)
		exit(EXIT_TIMEOUT);
	if (ready < 0)
		err(EXIT_FAILURE, "poll");
}

static void print_event(const struct ivshmem_event *event)
{
	printf("vector %u count %ju", event->vector, (uintmax_t)event->count);
	if (event->status)
		printf(" status %#x", event->status);
	if (event->flags & IVSHMEM_EVENT_JOIN)
		printf(" join");
	putchar('\n');
	if (fflush(stdout))
		err(EXIT_FAILURE, "standard output");
}

/**
 * do_wait() - Print interrupts as they come.
 * @opts: the device, and how and for what to wait
 * @args: none
 */
void do_wait(const struct options *opts, char **args)
{
	struct ivshmem *ivs = open_device(opts, O_RDONLY | O_NONBLOCK, NULL);
	int64_t deadline = now_ns() + opts->timeout_ns;
	struct ivshmem_event event;
	uint64_t printed = 0;

	(void)args;
	if (opts->vector != IVSHMEM_ANY_VECTOR)
		subscribe_to(ivs, opts);
	if (opts->verbose)
		warnx("%s: waiting", opts->device);

	/* Reading comes first: it says why, where waiting makes no sense. */
	while (!opts->count || printed < opts->count) {
		if (ivshmem_read_events(ivs, &event, 1) == 1) {
			print_event(&event);
			printed++;
		} else if (errno == EAGAIN) {
			wait_readable(ivs, opts, deadline);
		} else {
			device_failed(opts->device);
		}
	}
	ivshmem_close(ivs);
}
