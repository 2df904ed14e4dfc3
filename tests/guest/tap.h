/* SPDX-License-Identifier: MIT */
/*
 * What a guest program needs to tell the lab its results, in the Test Anything
 * Protocol: one line a test point, and at the end how many there were.
 *
 *	int main(int argc, char **argv)
 *	{
 *		int fd;
 *
 *		tap_start(argc, argv, 30);
 *		fd = open(tap_device, O_RDWR);
 *		EXPECT(fd >= 0);
 *		EXPECT_ERRNO(read(fd, NULL, 0), EINVAL);
 *		return tap_finish();
 *	}
 *
 * A program that hangs ends itself after the seconds given to tap_start().
 * Test points may come from several threads.
 */
#ifndef TAP_H
#define TAP_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TAP_UNUSED	__attribute__((unused))
#define TAP_PRINTF(f, a) __attribute__((unused, format(printf, f, a)))

/* The device under test: the program's first argument, or /dev/ivshmem0. */
static const char *tap_device TAP_UNUSED = "/dev/ivshmem0";

static pthread_mutex_t tap_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int tap_points;
static unsigned int tap_failures;

/* Says something beside the results. */
static TAP_PRINTF(1, 2) void tap_note(const char *format, ...)
{
	va_list args;

	pthread_mutex_lock(&tap_lock);
	printf("# ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	pthread_mutex_unlock(&tap_lock);
}

/* Gives up: what comes next would make no sense. */
static TAP_PRINTF(1, 2) __attribute__((noreturn))
void tap_bail(const char *format, ...)
{
	va_list args;

	printf("Bail out! ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

/* Skips the whole program. */
static TAP_PRINTF(1, 2) __attribute__((noreturn))
void tap_skip_all(const char *format, ...)
{
	va_list args;

	printf("1..0 # SKIP ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(0);
}

/* One test point; returns whether it was ok. */
static TAP_PRINTF(2, 3) bool tap_ok(bool ok, const char *format, ...)
{
	va_list args;

	pthread_mutex_lock(&tap_lock);
	tap_points++;
	if (!ok)
		tap_failures++;
	printf("%sok %u - ", ok ? "" : "not ", tap_points);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	pthread_mutex_unlock(&tap_lock);
	return ok;
}

static TAP_UNUSED bool tap_equal(uint64_t left, uint64_t right,
				 const char *text, const char *file, int line)
{
	if (left == right)
		return tap_ok(true, "%s", text);
	return tap_ok(false, "%s: %s:%d: %lld (%#llx), not %lld (%#llx)", text,
		      file, line, (long long)left, (long long)left,
		      (long long)right, (long long)right);
}

static TAP_UNUSED bool tap_errno(long long ret, int err, int wanted,
				 const char *text, const char *file, int line)
{
	const char *name = strerrorname_np(wanted);

	if (ret == -1 && err == wanted)
		return tap_ok(true, "%s: %s", text, name);
	if (ret != -1)
		return tap_ok(false, "%s: %s:%d: returned %lld, not %s", text,
			      file, line, ret, name);
	return tap_ok(false, "%s: %s:%d: %s, not %s", text, file, line,
		      strerrorname_np(err), name);
}

static TAP_UNUSED void tap_sigalrm(int sig TAP_UNUSED)
{
	static const char text[] = "\nBail out! time is up\n";

	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		_exit(2);
	_exit(1);
}

/* Begins: reads the device's name, and ends the program after some seconds. */
static TAP_UNUSED void tap_start(int argc, char **argv, unsigned int seconds)
{
	if (argc > 1)
		tap_device = argv[1];
	/* Whatever becomes of the program, what it said has been seen. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, tap_sigalrm);
	alarm(seconds);
}

/* Ends: prints the plan; main() returns what this returns. */
static TAP_UNUSED int tap_finish(void)
{
	printf("1..%u\n", tap_points);
	return tap_failures != 0;
}

/* Nanoseconds of CLOCK_MONOTONIC. */
static TAP_UNUSED uint64_t tap_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static TAP_UNUSED void tap_pause(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	nanosleep(&ms, NULL);
}

#define TAP_SECOND	UINT64_C(1000000000)

/* A test point: the expression holds. */
#define EXPECT(expr) \
	((expr) ? tap_ok(true, "%s", #expr) : \
	 tap_ok(false, "%s: %s:%d: errno %s", #expr, __FILE__, __LINE__, \
		strerrorname_np(errno)))

/* A test point: two integers are equal. */
#define EXPECT_EQ(left, right) \
	tap_equal((uint64_t)(left), (uint64_t)(right), #left " == " #right, \
		  __FILE__, __LINE__)

/* A test point: a call fails, and with this errno. */
#define EXPECT_ERRNO(call, wanted) \
	(__extension__ ({ \
		long long tap_ret = (errno = 0, (long long)(call)); \
		tap_errno(tap_ret, errno, wanted, #call, __FILE__, __LINE__); \
	}))

/* A test point: a condition comes true within some milliseconds. */
#define EXPECT_WITHIN(cond, ms) \
	(__extension__ ({ \
		uint64_t tap_end = tap_now() + (ms) * UINT64_C(1000000); \
		bool tap_come; \
		while (!(tap_come = (cond)) && tap_now() < tap_end) \
			tap_pause(); \
		tap_ok(tap_come, "%s: %s:%d: in time", #cond, __FILE__, \
		       __LINE__); \
	}))

/* Ends the program unless the expression holds. Is no test point. */
#define NEED(expr) \
	do { \
		if (!(expr)) \
			tap_bail("%s: %s:%d: errno %s", #expr, __FILE__, \
				 __LINE__, strerrorname_np(errno)); \
	} while (0)

/* Fills a buffer with what must not come back out of a call. */
#define POISON(buf)	memset(&(buf), 0xcc, sizeof(buf))

#endif /* TAP_H */
