// SPDX-License-Identifier: MIT
/*
 * Sixteen readers of one device, each with an open file of its own, each of which
 * sees every interrupt: half of them threads, half processes, and each by
 * another call.
 */
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "dev.h"

#define READERS		16
#define ROUNDS		250
#define VECTORS		4

/* Shared with the processes. */
static struct shared {
	bool ready[READERS];
	uint64_t seen[READERS][VECTORS];	/* highest count of each vector */
	unsigned int events[READERS];
	unsigned int backwards;
	unsigned int failed;
} *shared;

static unsigned int vectors;	/* of these, as many as there are */

static void add(unsigned int *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
}

/* Waits in the way of this reader, then reads all there is. */
static int fetch(int fd, unsigned int number, struct ivshmem_event *events,
		 uint64_t *any)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	switch (number % 4) {
	case 0:
	case 1:
		break;
	case 2:
		if (poll(&pfd, 1, -1) != 1)
			return -1;
		break;
	case 3:
		if (dev_wait(fd, IVSHMEM_ANY_VECTOR, any, 2 * DEV_LONG))
			return -1;
		break;
	}
	return read(fd, events, VECTORS * sizeof(*events));
}

static void *reader(void *data)
{
	unsigned int number = (uintptr_t)data, total = 0;
	struct ivshmem_event events[VECTORS];
	int fd = dev_open(O_RDONLY);
	uint64_t any = dev_count(fd, IVSHMEM_ANY_VECTOR), start = any;

	__atomic_store_n(&shared->ready[number], true, __ATOMIC_RELEASE);
	while (total < ROUNDS) {
		int n = fetch(fd, number, events, &any), i;

		if (n <= 0) {
			add(&shared->failed);
			break;
		}
		for (i = 0; i < n / (int)sizeof(*events); i++) {
			uint64_t *seen = &shared->seen[number][events[i].vector];

			if (events[i].count <= *seen)
				add(&shared->backwards);
			__atomic_store_n(seen, events[i].count, __ATOMIC_RELEASE);
			__atomic_store_n(&shared->events[number], ++total,
					 __ATOMIC_RELEASE);
		}
	}
	if (dev_count(fd, IVSHMEM_ANY_VECTOR) - start != ROUNDS)
		add(&shared->failed);
	close(fd);
	return NULL;
}

static bool all_ready(void)
{
	unsigned int i;

	for (i = 0; i < READERS; i++)
		if (!__atomic_load_n(&shared->ready[i], __ATOMIC_ACQUIRE))
			return false;
	return true;
}

/* How many readers have seen this count of a vector. */
static unsigned int have_seen(unsigned int vector, uint64_t count)
{
	unsigned int i, n = 0;

	for (i = 0; i < READERS; i++)
		n += __atomic_load_n(&shared->seen[i][vector],
				     __ATOMIC_ACQUIRE) == count;
	return n;
}

int main(int argc, char **argv)
{
	unsigned int i, v, round, missed = 0;
	pthread_t threads[READERS];
	pid_t pids[READERS];
	uint32_t position;
	int fd, status;

	tap_start(argc, argv, 120);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(shared != MAP_FAILED);
	fd = dev_open(O_RDWR);
	position = dev_position(fd);
	vectors = dev_info(fd).vectors;
	if (vectors > VECTORS)
		vectors = VECTORS;
	NEED(vectors);
	for (i = 0; i < READERS; i++)
		for (v = 0; v < vectors; v++)
			shared->seen[i][v] = dev_count(fd, v);

	for (i = 0; i < READERS / 2; i++) {
		pids[i] = fork();
		NEED(pids[i] >= 0);
		if (!pids[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			reader((void *)(uintptr_t)i);
			_exit(0);
		}
	}
	for (; i < READERS; i++)
		NEED(!pthread_create(&threads[i], NULL, reader,
				     (void *)(uintptr_t)i));
	EXPECT_WITHIN(all_ready(), 20000);

	for (round = 0; round < ROUNDS && !missed; round++) {
		uint64_t count, end = tap_now() + DEV_LONG;

		v = round % vectors;
		count = dev_count(fd, v);
		NEED(dev_ring(fd, position, v) == 0);
		while (have_seen(v, count + 1) != READERS) {
			if (tap_now() > end) {
				tap_note("round %u: seen by %u of %u", round,
					 have_seen(v, count + 1), READERS);
				missed++;
				break;
			}
			sched_yield();
		}
	}
	if (EXPECT_EQ(missed, 0)) {
		for (i = 0; i < READERS / 2; i++)
			NEED(waitpid(pids[i], &status, 0) == pids[i] && !status);
		for (; i < READERS; i++)
			NEED(!pthread_join(threads[i], NULL));
	}
	EXPECT_EQ(shared->failed, 0);
	EXPECT_EQ(shared->backwards, 0);
	for (i = 0; i < READERS; i++)
		EXPECT_EQ(shared->events[i], ROUNDS);
	return tap_finish();
}
