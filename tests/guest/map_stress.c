// SPDX-License-Identifier: MIT
/*
 * Threads that do to mappings whatever can be done to them, at random, until the
 * device is unplugged: touch, fork, unmap, map over, move, protect, advise. What
 * they read has to be right until then. Once it is gone every access has to raise
 * SIGBUS.
 *
 *	map_stress DEVICE SIZE SEED ENTRY
 *
 * ENTRY is the size of the largest page table entry. Each page holds its number,
 * which is all that is ever written. Says "# busy" when all threads have been
 * round some times.
 */
#include <sys/prctl.h>
#include <sys/wait.h>

#include "map.h"

#define THREADS		4
#define WARM		50
#define SLOTS		3

static size_t size;
static unsigned int busy;
static int device;

struct worker {
	pthread_t thread;
	unsigned int seed;
	unsigned long rounds;
	unsigned long wrong;
	unsigned long after;	/* accesses that went through too late */
	bool gone;
	struct slot {
		unsigned char *mem;
		size_t length;
		size_t offset;
		bool writable;
	} slots[SLOTS];
};

static unsigned int pick(struct worker *w, unsigned int n)
{
	return rand_r(&w->seed) % n;
}

static size_t page_in(struct worker *w, size_t length)
{
	return (size_t)rand_r(&w->seed) % (length / SMALL) * SMALL;
}

static void slot_map(struct worker *w, struct slot *s)
{
	size_t start = pick(w, 2) ? 0 : page_in(w, size / 2);
	int prot = pick(w, 4) ? RW : PROT_READ;

	s->offset = start;
	s->length = (page_in(w, (size - start) / SMALL * SMALL) + SMALL);
	s->writable = prot == RW;
	if (pick(w, 2))
		s->mem = mmap(NULL, s->length, prot, MAP_SHARED, device, start);
	else
		s->mem = mmap(map_place(s->length, pick(w, 3) * SMALL),
			      s->length, prot, MAP_SHARED | MAP_FIXED, device,
			      start);
	if (s->mem == MAP_FAILED) {
		s->mem = NULL;
		if (errno == ENODEV)
			w->gone = true;
		else
			w->wrong++;
	}
}

static void slot_unmap(struct slot *s)
{
	if (s->mem)
		munmap(s->mem, s->length);
	s->mem = NULL;
}

/* One access; the signal that it raised, or 0. */
static int slot_touch(struct worker *w, struct slot *s, size_t at, bool write)
{
	volatile uint64_t *word = (void *)(s->mem + at);
	uint64_t number = (s->offset + at) / SMALL;
	int sig = sigsetjmp(dev_fault_jump, 1);

	if (sig)
		return sig;
	if (write && s->writable)
		*word = number;
	else if (*word != number)
		w->wrong++;
	return 0;
}

static void slot_touch_some(struct worker *w, struct slot *s)
{
	unsigned int i;

	for (i = 0; i < 16 && !w->gone; i++) {
		switch (slot_touch(w, s, page_in(w, s->length), pick(w, 2))) {
		case 0:
			break;
		case SIGBUS:
			w->gone = true;
			break;
		default:
			w->wrong++;
		}
	}
}

static void slot_fork(struct worker *w, struct slot *s)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		struct worker own = *w;

		slot_touch_some(&own, s);
		munmap(s->mem, s->length / 2 / SMALL * SMALL + SMALL);
		_exit(own.wrong != w->wrong);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status)
		w->wrong++;
}

/* What has been protected or mapped over in parts is several, and stays. */
static void slot_move(struct worker *w, struct slot *s)
{
	unsigned char *place = map_place(s->length, pick(w, 2) * SMALL);

	if (mremap(s->mem, s->length, s->length, MREMAP_MAYMOVE | MREMAP_FIXED,
		   place) == place)
		s->mem = place;
	else if (errno != EFAULT)
		w->wrong++;
}

/* Maps a page of it over, or lets go of its end. */
static void slot_hole(struct worker *w, struct slot *s)
{
	size_t at = page_in(w, s->length);

	if (at && pick(w, 2)) {
		if (munmap(s->mem + at, s->length - at))
			w->wrong++;
		s->length = at;
		return;
	}
	if (mmap(s->mem + at, SMALL, s->writable ? RW : PROT_READ,
		 MAP_SHARED | MAP_FIXED, device, s->offset + at) != MAP_FAILED)
		return;
	if (errno == ENODEV)
		w->gone = true;
	else
		w->wrong++;
	s->length = at;
	if (!at)
		s->mem = NULL;
}

static void slot_protect(struct worker *w, struct slot *s)
{
	size_t at = page_in(w, s->length), length = SMALL;

	if (pick(w, 2)) {
		at = 0;
		length = s->length;
	}
	if (mprotect(s->mem + at, length, PROT_READ) ||
	    slot_touch(w, s, at, false) == SIGSEGV ||
	    mprotect(s->mem + at, length, s->writable ? RW : PROT_READ))
		w->wrong++;
}

static void slot_advise(struct worker *w, struct slot *s)
{
	static const int advice[] = { MADV_NOHUGEPAGE, MADV_HUGEPAGE,
				      MADV_WILLNEED, MADV_RANDOM, MADV_DONTNEED };

	madvise(s->mem, s->length, advice[pick(w, 5)]);
	/* Lets the kernel choose another size of entries for all threads. */
	prctl(PR_SET_THP_DISABLE, pick(w, 2), 0, 0, 0);
}

static void *work(void *data)
{
	static void (*const deeds[])(struct worker *, struct slot *) = {
		slot_touch_some, slot_touch_some, slot_touch_some, slot_hole,
		slot_protect, slot_advise, slot_move, slot_fork,
	};
	struct worker *w = data;
	unsigned int i, end;

	while (!w->gone) {
		struct slot *s = &w->slots[pick(w, SLOTS)];

		if (!s->mem)
			slot_map(w, s);
		else if (pick(w, 8) == 0)
			slot_unmap(s);
		else
			deeds[pick(w, 8)](w, s);
		if (++w->rounds == WARM &&
		    __atomic_add_fetch(&busy, 1, __ATOMIC_RELAXED) == THREADS)
			tap_note("busy");
	}

	/* The node goes after the entries: from then on nothing may come back. */
	while (access(tap_device, F_OK) == 0)
		tap_pause();
	for (end = 0; end < 20; end++) {
		for (i = 0; i < SLOTS; i++) {
			struct slot *s = &w->slots[i];

			if (s->mem && slot_touch(w, s, page_in(w, s->length),
						 end & 1) != SIGBUS)
				w->after++;
		}
	}
	for (i = 0; i < SLOTS; i++)
		slot_unmap(&w->slots[i]);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = dev_fault_handler };
	struct worker workers[THREADS];
	unsigned long rounds = 0;
	unsigned char *mem;
	size_t i;

	tap_start(argc, argv, 200);
	NEED(argc == 5);
	size = strtoull(argv[2], NULL, 0);
	device = dev_open(O_RDWR);
	NEED(sigaction(SIGBUS, &sa, NULL) == 0);
	NEED(sigaction(SIGSEGV, &sa, NULL) == 0);

	mem = dev_map(device, size, 0);
	for (i = 0; i < size; i += SMALL)
		*(uint64_t *)(mem + i) = i / SMALL;
	/* These are the entries that the threads begin with. */
	EXPECT_EQ(map_walk(mem).size, strtoull(argv[4], NULL, 0));
	munmap(mem, size);

	memset(workers, 0, sizeof(workers));
	for (i = 0; i < THREADS; i++) {
		workers[i].seed = atoi(argv[3]) * THREADS + i;
		NEED(pthread_create(&workers[i].thread, NULL, work,
				    &workers[i]) == 0);
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		EXPECT_EQ(workers[i].wrong, 0);
		EXPECT_EQ(workers[i].after, 0);
		rounds += workers[i].rounds;
	}
	tap_note("%lu rounds", rounds);
	EXPECT_ERRNO((long)mmap(NULL, SMALL, RW, MAP_SHARED, device, 0), ENODEV);
	close(device);
	return tap_finish();
}
