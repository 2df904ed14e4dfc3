// SPDX-License-Identifier: MIT
/*
 * What libivshmem does itself, before and after the kernel's part. Runs with
 * fake_device.c preloaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <ivshmem.h>

#define NODE	"/dev/ivshmem0"

static void check(int line, const char *what, int ok)
{
	if (!ok) {
		fprintf(stderr, "%d: %s: %s\n", line, what, strerror(errno));
		exit(1);
	}
}

#define CHECK(ok)	check(__LINE__, #ok, !!(ok))
#define FAILS(call, error) \
	check(__LINE__, #call, (errno = 0, !(call)) && errno == (error))

static void test_open(void)
{
	struct ivshmem *ivs;

	FAILS(ivshmem_open(NODE, O_WRONLY), EINVAL);
	FAILS(ivshmem_open(NODE, O_RDWR | O_CREAT), EINVAL);
	FAILS(ivshmem_open(NODE, O_RDWR | O_TRUNC), EINVAL);
	FAILS(ivshmem_open("/dev/null", O_RDWR), ENOTTY);
	FAILS(ivshmem_open("/dev", O_RDONLY), ENOTTY);
	FAILS(ivshmem_open("/dev/ivshmem9", O_RDWR), ENOENT);
	FAILS(ivshmem_open("", O_RDWR), ENOENT);

	ivs = ivshmem_open(NODE, O_RDWR);
	CHECK(ivs);
	CHECK(fcntl(ivshmem_fd(ivs), F_GETFD) == FD_CLOEXEC);
	errno = EXDEV;
	ivshmem_close(ivs);
	ivshmem_close(NULL);
	CHECK(errno == EXDEV);
}

static void test_failed_open_leaves_no_fd(void)
{
	int before = dup(0);
	int after;

	close(before);
	CHECK(!ivshmem_open("/dev/null", O_RDWR));
	after = dup(0);
	close(after);
	CHECK(before == after);
}

static void test_map(struct ivshmem *ivs, uint64_t size)
{
	const int rw = PROT_READ | PROT_WRITE;
	char *all, *piece;

	FAILS(ivshmem_map(ivs, 0, 0, rw), EINVAL);
	FAILS(ivshmem_map(ivs, 1, 0, rw), EINVAL);
	FAILS(ivshmem_map(ivs, size, 1, rw), EINVAL);
	FAILS(ivshmem_map(ivs, 0, size + 1, rw), EINVAL);
	FAILS(ivshmem_map(ivs, 1, size, rw), EINVAL);
	FAILS(ivshmem_map(ivs, 1, UINT64_MAX, rw), EINVAL);
	FAILS(ivshmem_map(ivs, UINT64_MAX, 1, rw), EINVAL);
	FAILS(ivshmem_map(ivs, UINT64_MAX, 2, rw), EINVAL);

	all = ivshmem_map(ivs, 0, size, rw);
	piece = ivshmem_map(ivs, 5001, 8192, rw);
	CHECK(all && piece);
	strcpy(all + 5001, "seen by both");
	CHECK(!strcmp(piece, "seen by both"));
	piece[8191] = 'x';
	CHECK(all[5001 + 8191] == 'x');

	/* 13 KiB lie on four pages, the last of which must go as well. */
	CHECK(!ivshmem_unmap(piece, 8192));
	CHECK(msync(piece - 5001 % 4096 + 8192, 4096, MS_ASYNC) && errno == ENOMEM);
	CHECK(!ivshmem_unmap(all, size));

	piece = ivshmem_map(ivs, size - 1, 1, PROT_READ);
	CHECK(piece);
	CHECK(!ivshmem_unmap(piece, 1));
}

/* The fake writes to standard error what was rung. */
static void test_ring(struct ivshmem *ivs)
{
	FAILS(!ivshmem_ring(ivs, 65536, 0), EINVAL);
	FAILS(!ivshmem_ring(ivs, 0, 65536), EINVAL);
	FAILS(!ivshmem_ring(ivs, 0, 4), EINVAL);
	FAILS(!ivshmem_ring(ivs, -1, 0), EINVAL);
	CHECK(!ivshmem_ring(ivs, 65535, 3));
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void test_wait(struct ivshmem *ivs)
{
	int64_t start = now_ns();
	uint64_t count = 99;

	FAILS(!ivshmem_count(ivs, 4, &count), EINVAL);
	FAILS(!ivshmem_wait(ivs, 4, &count, 0), EINVAL);
	CHECK(count == 99);
	CHECK(!ivshmem_count(ivs, 0, &count) && count == 0);
	CHECK(!ivshmem_count(ivs, 2, &count) && count == 17);
	CHECK(!ivshmem_count(ivs, IVSHMEM_ANY_VECTOR, &count) && count == 17);

	count = 16;
	CHECK(!ivshmem_wait(ivs, 2, &count, -1) && count == 17);
	FAILS(!ivshmem_wait(ivs, 2, &count, 0), ETIMEDOUT);
	CHECK(now_ns() - start < 100000000);
	FAILS(!ivshmem_wait(ivs, 2, &count, 100000000), ETIMEDOUT);
	CHECK(now_ns() - start >= 100000000);
	CHECK(count == 17);
	CHECK(!ivshmem_wait(ivs, 2, &count, -1) && count == 18);
	count = 17;
	CHECK(!ivshmem_wait(ivs, 2, &count, INT64_MIN) && count == 18);
}

static void test_events(struct ivshmem *ivs)
{
	const uint64_t only_1 = 1 << 1;
	struct ivshmem_event events[2];

	FAILS(ivshmem_read_events(ivs, events, 0) != -1, EINVAL);
	/* To read are 0, 1, 0, 2. */
	CHECK(!ivshmem_subscribe(ivs, &only_1, 2));
	CHECK(ivshmem_read_events(ivs, events, 2) == 1);
	CHECK(events[0].vector == 1 && events[0].count == 2);
	CHECK(!ivshmem_subscribe(ivs, NULL, 0));
	CHECK(ivshmem_read_events(ivs, events, SIZE_MAX) == 1);
	CHECK(events[0].vector == 0 && events[0].count == 3);
	FAILS(!ivshmem_subscribe(ivs, &only_1, 5), EINVAL);
	CHECK(ivshmem_read_events(ivs, events, 1) == 1);
	FAILS(ivshmem_read_events(ivs, events, 1) != -1, EAGAIN);
}

int main(void)
{
	struct ivshmem_info info;
	struct ivshmem *ivs;

	test_open();
	test_failed_open_leaves_no_fd();

	ivs = ivshmem_open(NODE, O_RDWR | O_NONBLOCK);
	CHECK(ivs);
	CHECK(!ivshmem_get_info(ivs, &info));
	CHECK(info.position == 3 && info.vectors == 4);
	test_map(ivs, info.size);
	test_ring(ivs);
	test_wait(ivs);
	test_events(ivs);
	ivshmem_close(ivs);
	return 0;
}
