// SPDX-License-Identifier: MIT
/* What guides the guest's fuzzer: a lock of five digits, found digit by digit. */
#include "check.h"
#include "../guest/guide.h"

#define DIGITS		5
#define PROGRAMS	200000

static uint64_t trace[GUIDE_TRACE];

/* Tries the lock; where it gets to stands where KCOV would have written it. */
static bool opens(void)
{
	unsigned int i;

	trace[0] = 0;
	guide_begin();
	for (i = 0; i < DIGITS; i++) {
		trace[++trace[0]] = 0x1000 + i;
		if (guide_draw() % 100 != 42)
			break;
	}
	guide_end();
	return i == DIGITS;
}

static unsigned int found(void)
{
	unsigned int i, n = 0;

	for (i = 0; i < PROGRAMS; i++)
		n += opens();
	return n;
}

int main(void)
{
	uint64_t first;

	guide_thread(1);
	first = guide_draw();
	guide_thread(1);
	guide_begin();
	CHECK(guide_draw() == first);
	CHECK(guide_draw() != first);
	CHECK(found() == 0);

	guide_start();
	guided.trace = trace;
	CHECK(found() > 0);
	CHECK(guide->steps == DIGITS);
	CHECK(guide->tapes == DIGITS);

	/* A tape that is too long is kept as far as it goes, like a trace. */
	guide_begin();
	for (int i = 0; i < GUIDE_DRAWS + 8; i++)
		guide_draw();
	trace[0] = UINT64_MAX;
	guide_end();
	CHECK(guide->tape[DIGITS].draws == GUIDE_DRAWS);

	/* Tapes without end. */
	for (uint64_t i = 0; i < 2 * GUIDE_TAPES; i++) {
		guide_begin();
		trace[++trace[0]] = i << 20;
		guide_end();
	}
	CHECK(guide->tapes > GUIDE_TAPES);
	return 0;
}
