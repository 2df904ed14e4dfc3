/* SPDX-License-Identifier: MIT */
/* io_uring by the system calls alone: a ring a thread, requests, completions. */
#ifndef URING_H
#define URING_H

#include <endian.h>
#include <poll.h>

#include <linux/io_uring.h>

#include "dev.h"

#define URING_ENTRIES	16

static __thread struct ring {
	int fd;
	unsigned int *sq_tail, *sq_mask, *sq_array;
	unsigned int *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
} ring;

/* Returns false where there is no io_uring. */
static inline bool ring_try(void)
{
	struct io_uring_params p = { 0 };
	size_t size;
	char *mem;

	ring.fd = syscall(__NR_io_uring_setup, URING_ENTRIES, &p);
	if (ring.fd < 0)
		return false;
	NEED(p.features & IORING_FEAT_SINGLE_MMAP);
	size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	if (size < p.sq_off.array + p.sq_entries * sizeof(unsigned int))
		size = p.sq_off.array + p.sq_entries * sizeof(unsigned int);
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		   ring.fd, IORING_OFF_SQ_RING);
	NEED(mem != MAP_FAILED);
	ring.sqes = mmap(NULL, p.sq_entries * sizeof(*ring.sqes),
			 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			 ring.fd, IORING_OFF_SQES);
	NEED(ring.sqes != MAP_FAILED);
	ring.sq_tail = (unsigned int *)(mem + p.sq_off.tail);
	ring.sq_mask = (unsigned int *)(mem + p.sq_off.ring_mask);
	ring.sq_array = (unsigned int *)(mem + p.sq_off.array);
	ring.cq_head = (unsigned int *)(mem + p.cq_off.head);
	ring.cq_tail = (unsigned int *)(mem + p.cq_off.tail);
	ring.cq_mask = (unsigned int *)(mem + p.cq_off.ring_mask);
	ring.cqes = (struct io_uring_cqe *)(mem + p.cq_off.cqes);
	return true;
}

static inline void ring_open(void)
{
	if (!ring_try())
		tap_skip_all("io_uring: %s", strerror(errno));
}

/* Writes a request down. @id: comes back with the completion. */
static inline void enqueue(struct io_uring_sqe sqe, uint64_t id)
{
	unsigned int tail = *ring.sq_tail, i = tail & *ring.sq_mask;

	sqe.user_data = id;
	ring.sqes[i] = sqe;
	ring.sq_array[i] = i;
	__atomic_store_n(ring.sq_tail, tail + 1, __ATOMIC_RELEASE);
}

/* Hands one request in. */
static inline void submit(struct io_uring_sqe sqe, uint64_t id)
{
	int n = sqe.opcode == IORING_OP_LINK_TIMEOUT ? 2 : 1;

	enqueue(sqe, id);
	if (sqe.flags & IOSQE_IO_LINK)
		return;		/* together with the next */
	NEED(syscall(__NR_io_uring_enter, ring.fd, n, 0, 0, NULL, 0) == n);
}

/* Takes a completion, if there is one. */
static inline bool complete(struct io_uring_cqe *cqe, int ms)
{
	unsigned int head = *ring.cq_head;
	struct pollfd pfd = { .fd = ring.fd, .events = POLLIN };

	/* Polling also runs what the kernel has put off until this thread asks. */
	NEED(poll(&pfd, 1, ms) >= 0);
	NEED(syscall(__NR_io_uring_enter, ring.fd, 0, 0, IORING_ENTER_GETEVENTS,
		     NULL, 0) == 0);
	if (head == __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE))
		return false;
	*cqe = ring.cqes[head & *ring.cq_mask];
	__atomic_store_n(ring.cq_head, head + 1, __ATOMIC_RELEASE);
	return true;
}

/* The result of a request that must complete. */
static inline int result(uint64_t id)
{
	struct io_uring_cqe cqe;

	if (!complete(&cqe, 20000))
		tap_bail("request %u does not complete", (unsigned int)id);
	EXPECT_EQ(cqe.user_data, id);
	return cqe.res;
}

static inline bool pending(void)
{
	struct io_uring_cqe cqe;

	return !complete(&cqe, 0);
}

static inline struct io_uring_sqe op_read(int fd, void *buf, size_t size)
{
	return (struct io_uring_sqe){
		.opcode = IORING_OP_READ, .fd = fd, .off = -1,
		.addr = (uintptr_t)buf, .len = size,
	};
}

static inline struct io_uring_sqe op_poll(int fd, unsigned int flags)
{
	return (struct io_uring_sqe){
		.opcode = IORING_OP_POLL_ADD, .fd = fd,
		/* Big-endian kernels swap its halves: it once had 16 bits. */
		.poll32_events = htobe16(POLLIN) == POLLIN ? POLLIN << 16 :
				 POLLIN,
		.len = flags,
	};
}

#endif /* URING_H */
