/* SPDX-License-Identifier: MIT */
/*
 * A fuzzer's random numbers, guided by KCOV. What a thread does between
 * guide_begin() and guide_end() is a program, and the numbers that it drew are its
 * tape. A program that takes the driver a new way leaves its tape for all; of later
 * programs, most draw from the changed copy of one. Unguided, all numbers are new.
 */
#ifndef GUIDE_H
#define GUIDE_H

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/kcov.h>

#include "tap.h"

#define GUIDE_TRACE	(64UL << 10)	/* words that KCOV writes of a program */
#define GUIDE_STEP_BITS	16		/* so many steps are told apart */
#define GUIDE_STEPS	(1U << GUIDE_STEP_BITS)
#define GUIDE_DRAWS	512		/* kept of a program */
#define GUIDE_TAPES	1024

/*
 * May be copied while another thread writes it: draws that come of two tapes are as
 * good as any, and their number is checked.
 */
struct guide_tape {
	unsigned int draws;
	uint64_t draw[GUIDE_DRAWS];
};

/* Of all threads, and of all processes that come later. NULL: unguided. */
static struct guide {
	atomic_uint steps, tapes;
	atomic_bool step[GUIDE_STEPS];
	struct guide_tape tape[GUIDE_TAPES];
} *guide;

static __thread struct {
	uint64_t seed;
	uint64_t *trace;
	unsigned int drawn;
	struct guide_tape tape;		/* of this program; draws: given to it */
} guided;

static inline uint64_t guide_new(void)
{
	/* splitmix64 */
	uint64_t z = guided.seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* The next random number of this thread. */
static inline uint64_t guide_draw(void)
{
	unsigned int i = guided.drawn++;

	if (i < guided.tape.draws)
		return guided.tape.draw[i];
	if (i >= GUIDE_DRAWS)
		return guide_new();
	return guided.tape.draw[i] = guide_new();
}

/*
 * Called before the threads and processes that it is for. KCOV's calls are not
 * there for programs of 32 bits.
 */
static inline void guide_start(void)
{
	NEED(sizeof(long) == 8);
	guide = mmap(NULL, sizeof(*guide), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(guide != MAP_FAILED);
}

/* Called by each thread, before all else. */
static inline void guide_thread(uint64_t seed)
{
	int fd;

	guided.seed = seed;
	if (!guide)
		return;
	fd = open("/sys/kernel/debug/kcov", O_RDWR | O_CLOEXEC);
	NEED(fd >= 0);
	NEED(!ioctl(fd, KCOV_INIT_TRACE, GUIDE_TRACE));
	guided.trace = mmap(NULL, GUIDE_TRACE * sizeof(uint64_t),
			    PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	NEED(guided.trace != MAP_FAILED);
	NEED(!ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC));
}

/* Gives the program the copy of a tape, or of the beginning of one, changed. */
static inline void guide_rewind(unsigned int tapes)
{
	struct guide_tape *tape = &guided.tape;
	unsigned int changes;

	*tape = guide->tape[guide_new() % tapes];
	if (tape->draws > GUIDE_DRAWS)
		tape->draws = 0;
	if (guide_new() % 4 == 0)
		tape->draws = guide_new() % (tape->draws + 1);
	for (changes = guide_new() % 4; changes && tape->draws; changes--)
		tape->draw[guide_new() % tape->draws] = guide_new();
}

static inline void guide_begin(void)
{
	unsigned int tapes;

	guided.drawn = 0;
	guided.tape.draws = 0;
	if (!guide)
		return;
	tapes = guide->tapes < GUIDE_TAPES ? guide->tapes : GUIDE_TAPES;
	if (tapes && guide_new() % 3)
		guide_rewind(tapes);
	__atomic_store_n(&guided.trace[0], 0, __ATOMIC_RELAXED);
}

static inline void guide_end(void)
{
	uint64_t last = 0, n, i;
	unsigned int tape, found = 0;

	if (!guide)
		return;
	n = __atomic_load_n(&guided.trace[0], __ATOMIC_RELAXED);
	for (i = 1; i <= n && i < GUIDE_TRACE; i++) {
		uint64_t step = last * 31 + guided.trace[i];

		last = guided.trace[i];
		step = step * UINT64_C(0x9e3779b97f4a7c15) >>
		       (64 - GUIDE_STEP_BITS);
		found += !guide->step[step] &&
			 !atomic_exchange(&guide->step[step], true);
	}
	if (!found)
		return;
	guide->steps += found;
	guided.tape.draws = guided.drawn < GUIDE_DRAWS ? guided.drawn : GUIDE_DRAWS;
	/* What comes when it is full takes the place of another. */
	tape = guide->tapes++;
	if (tape >= GUIDE_TAPES)
		tape = guide_new() % GUIDE_TAPES;
	guide->tape[tape] = guided.tape;
}

#endif /* GUIDE_H */
