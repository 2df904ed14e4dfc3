// SPDX-License-Identifier: MIT
/* io_uring: reading events and polling, by the system calls alone. */
#include <dirent.h>
#include <sys/uio.h>

#include "irq.h"
#include "uring.h"

/* Newer than some headers. */
#define OP_READ_MULTISHOT	49

static unsigned int threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned int n = 0;

	NEED(dir);
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void test_read(void)
{
	struct ivshmem_event events[4];
	struct iovec iov[2] = { { events, 16 }, { events + 1, 16 } };
	int fd = dev_open(O_RDWR);
	struct io_uring_sqe sqe;

	/* Completes when the interrupt comes; nobody blocks in a thread for it. */
	POISON(events);
	submit(op_read(fd, events, sizeof(*events)), 1);
	EXPECT(pending());
	EXPECT_EQ(threads(), 1);
	irq_fire(2);
	EXPECT_EQ(result(1), sizeof(*events));
	EXPECT_EQ(events[0].vector, 2);
	EXPECT_EQ(events[0].flags, 0);
	EXPECT_EQ(events[0].status, 0);
	EXPECT_EQ(events[0].count, irq_count(2));
	EXPECT(pending());

	/* At once where there is something. */
	irq_fire(0);
	irq_fire(1);
	POISON(events);
	submit(op_read(fd, events, sizeof(events)), 2);
	EXPECT_EQ(result(2), 2 * sizeof(*events));
	EXPECT_EQ(events[0].vector + events[1].vector, 1);
	EXPECT_EQ(irq_poll(fd), 0);

	sqe = op_read(fd, iov, 2);
	sqe.opcode = IORING_OP_READV;
	submit(sqe, 3);
	EXPECT(pending());
	irq_fire(3);
	EXPECT_EQ(result(3), sizeof(*events));
	EXPECT_EQ(events[0].vector, 3);

	/* By a worker thread. */
	sqe = op_read(fd, events, sizeof(events));
	sqe.flags = IOSQE_ASYNC;
	submit(sqe, 4);
	EXPECT(pending());
	irq_fire(1);
	EXPECT_EQ(result(4), sizeof(*events));
	EXPECT_EQ(events[0].vector, 1);
	close(fd);
}

/* Into a buffer, and from a file, that the ring knows beforehand. */
static void test_registered(void)
{
	static struct ivshmem_event events[4];
	struct iovec iov = { events, sizeof(events) };
	int fd = dev_open(O_RDWR);
	struct io_uring_sqe sqe = op_read(0, events + 1, sizeof(*events));

	NEED(!syscall(__NR_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS,
		      &iov, 1));
	NEED(!syscall(__NR_io_uring_register, ring.fd, IORING_REGISTER_FILES,
		      &fd, 1));
	/* It keeps the file open. */
	close(fd);
	sqe.opcode = IORING_OP_READ_FIXED;
	sqe.flags = IOSQE_FIXED_FILE;
	POISON(events);
	submit(sqe, 1);
	EXPECT(pending());
	irq_fire(irq_second);
	EXPECT_EQ(result(1), sizeof(*events));
	EXPECT_EQ(events[1].vector, irq_second);
	EXPECT_EQ(events[1].count, irq_count(irq_second));
	NEED(!syscall(__NR_io_uring_register, ring.fd, IORING_UNREGISTER_FILES,
		      NULL, 0));
	NEED(!syscall(__NR_io_uring_register, ring.fd, IORING_UNREGISTER_BUFFERS,
		      NULL, 0));
}

/* One request that completes for each event, where the kernel has it (6.7). */
static void test_multishot(void)
{
	static struct ivshmem_event events[8];
	int fd = dev_open(O_RDWR);
	struct io_uring_cqe cqe;
	unsigned int i, buffer;

	submit((struct io_uring_sqe){
		.opcode = IORING_OP_PROVIDE_BUFFERS, .fd = 8,
		.addr = (uintptr_t)events, .len = sizeof(*events),
	}, 1);
	EXPECT_EQ(result(1), 0);
	submit((struct io_uring_sqe){
		.opcode = OP_READ_MULTISHOT, .fd = fd, .off = -1,
		.flags = IOSQE_BUFFER_SELECT,
	}, 2);
	for (i = 0; i < 4; i++) {
		if (complete(&cqe, 0)) {
			EXPECT_EQ(cqe.res, -EINVAL);
			tap_note("the kernel has no such reads");
			break;
		}
		irq_fire(i & irq_second);
		NEED(complete(&cqe, 20000));
		EXPECT_EQ(cqe.res, sizeof(*events));
		EXPECT_EQ(cqe.flags & (IORING_CQE_F_MORE | IORING_CQE_F_BUFFER),
			  IORING_CQE_F_MORE | IORING_CQE_F_BUFFER);
		buffer = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
		NEED(buffer < 8);
		EXPECT_EQ(events[buffer].vector, i & irq_second);
		EXPECT_EQ(events[buffer].count, irq_count(i & irq_second));
	}
	close(fd);
}

static void test_errors(void)
{
	struct ivshmem_event event;
	struct io_uring_sqe sqe;
	int fd = dev_open(O_RDWR), writer = dev_open(O_WRONLY);

	submit(op_read(fd, &event, sizeof(event) - 1), 1);
	EXPECT_EQ(result(1), -EINVAL);
	submit(op_read(writer, &event, sizeof(event)), 2);
	EXPECT_EQ(result(2), -EBADF);
	close(writer);

	/* A bad buffer costs no event. */
	POISON(event);
	irq_fire(0);
	submit(op_read(fd, NULL, sizeof(event)), 3);
	EXPECT_EQ(result(3), -EFAULT);
	submit(op_read(fd, &event, sizeof(event)), 4);
	EXPECT_EQ(result(4), sizeof(event));
	EXPECT_EQ(event.vector, 0);

	/* Whoever does not want to wait says so in the request, */
	sqe = op_read(fd, &event, sizeof(event));
	sqe.rw_flags = RWF_NOWAIT;
	submit(sqe, 5);
	EXPECT_EQ(result(5), -EAGAIN);

	/* for O_NONBLOCK does not keep a request from waiting. */
	NEED(!fcntl(fd, F_SETFL, O_NONBLOCK));
	submit(op_read(fd, &event, sizeof(event)), 6);
	EXPECT(pending());
	irq_fire(irq_second);
	EXPECT_EQ(result(6), sizeof(event));
	EXPECT_EQ(event.vector, irq_second);
	close(fd);
}

static void test_poll(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK), efd = irq_eventfd();
	struct ivshmem_event event;
	struct io_uring_cqe cqe;
	unsigned int i;

	submit(op_poll(fd, 0), 1);
	EXPECT(pending());
	irq_fire(0);
	EXPECT_EQ(result(1), POLLIN);
	EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));

	/* For a vector that was chosen after the poll began. */
	submit(op_poll(fd, 0), 2);
	EXPECT_EQ(irq_subscribe(fd, 2), 0);
	irq_fire(0);
	EXPECT(pending());
	irq_fire(1);
	EXPECT_EQ(result(2), POLLIN);
	EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));

	/* Again and again. */
	submit(op_poll(fd, IORING_POLL_ADD_MULTI), 3);
	for (i = 0; i < 5; i++) {
		EXPECT(pending());
		irq_fire(1);
		NEED(complete(&cqe, 20000));
		EXPECT_EQ(cqe.user_data, 3);
		EXPECT_EQ(cqe.res & POLLIN, POLLIN);
		EXPECT_EQ(cqe.flags & IORING_CQE_F_MORE, IORING_CQE_F_MORE);
		EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
	}
	submit((struct io_uring_sqe){
		.opcode = IORING_OP_POLL_REMOVE, .addr = 3,
	}, 4);
	for (i = 0; i < 2; i++) {
		NEED(complete(&cqe, 20000));
		EXPECT_EQ(cqe.res, cqe.user_data == 3 ? -ECANCELED : 0);
	}

	/* An eventfd. */
	EXPECT_EQ(irq_bind(fd, 2, efd), 0);
	submit(op_poll(efd, 0), 5);
	irq_fire(0);
	EXPECT(pending());
	irq_fire(2);
	EXPECT_EQ(result(5) & POLLIN, POLLIN);
	EXPECT_EQ(irq_take(efd), 1);
	close(efd);
	close(fd);
}

/* A read that is given up takes no event with it. */
static void test_cancel(void)
{
	struct __kernel_timespec ts = { .tv_nsec = 20000000 };
	struct ivshmem_event event;
	int fd = dev_open(O_RDWR);
	struct io_uring_cqe cqe;
	struct io_uring_sqe sqe;
	unsigned int i;

	submit(op_read(fd, &event, sizeof(event)), 1);
	EXPECT(pending());
	submit((struct io_uring_sqe){
		.opcode = IORING_OP_ASYNC_CANCEL, .fd = -1, .addr = 1,
	}, 2);
	for (i = 0; i < 2; i++) {
		NEED(complete(&cqe, 20000));
		EXPECT_EQ(cqe.res, cqe.user_data == 1 ? -ECANCELED : 0);
	}
	irq_fire(0);
	EXPECT(pending());
	EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
	EXPECT_EQ(event.count, irq_count(0));

	/* By a timeout that is linked to it. */
	sqe = op_read(fd, &event, sizeof(event));
	sqe.flags = IOSQE_IO_LINK;
	submit(sqe, 3);
	submit((struct io_uring_sqe){
		.opcode = IORING_OP_LINK_TIMEOUT, .fd = -1,
		.addr = (uintptr_t)&ts, .len = 1,
	}, 4);
	for (i = 0; i < 2; i++) {
		NEED(complete(&cqe, 20000));
		EXPECT_EQ(cqe.res, cqe.user_data == 3 ? -ECANCELED : -ETIME);
	}
	close(fd);
}

/* Several reads of one file: each event goes to one of them. */
static void test_several(void)
{
	struct ivshmem_event events[4];
	struct io_uring_cqe cqe;
	int fd = dev_open(O_RDWR);
	unsigned int i, seen = 0, done = 0;

	POISON(events);
	for (i = 0; i < 4; i++)
		submit(op_read(fd, &events[i], sizeof(*events)), i);
	EXPECT(pending());
	for (i = 0; i < 4; i++) {
		irq_fire(i);
		NEED(complete(&cqe, 20000));
		EXPECT_EQ(cqe.res, sizeof(*events));
		NEED(cqe.user_data < 4);
		done |= 1 << cqe.user_data;
		seen |= 1 << events[cqe.user_data].vector;
		EXPECT_EQ(events[cqe.user_data].vector, i);
	}
	EXPECT_EQ(done, 0xf);
	EXPECT_EQ(seen, 0xf);
	EXPECT_EQ(irq_poll(fd), 0);
	close(fd);
}

/* The ring goes while a read is pending, some time after its close(). */
static void test_end(void)
{
	struct ivshmem_event event;
	uint64_t end = tap_now() + DEV_LONG;
	int fd = dev_open(O_RDWR);

	submit(op_read(fd, &event, sizeof(event)), 1);
	submit(op_poll(fd, 0), 2);
	EXPECT(pending());
	EXPECT_EQ(close(ring.fd), 0);
	do
		irq_fire(irq_second);
	while (!irq_poll(fd) && tap_now() < end);
	EXPECT_EQ(irq_poll(fd), POLLIN);
	close(fd);
}

int main(int argc, char **argv)
{
	tap_start(argc, argv, 120);
	irq_start(1);
	ring_open();
	test_errors();
	test_cancel();
	test_registered();
	if (irq_info.vectors >= 4) {
		test_read();
		test_poll();
		test_several();
	}
	test_multishot();
	test_end();
	return tap_finish();
}
