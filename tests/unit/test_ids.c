// SPDX-License-Identifier: MIT
/*
 * The server's ids, beside the rule said in another way: an id is not given to
 * anybody while a client is alive that was there together with its last holder.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "ids.h"

enum { CLIENTS = 100, ROUNDS = 600000 };

static struct ids ids;

/* When each id was given out for the first and left for the last time. */
static unsigned long given[PROTOCOL_IDS], left[PROTOCOL_IDS];
static bool taken[PROTOCOL_IDS];

static struct client {
	unsigned int id;
	unsigned long born;
	uint64_t joined;
} clients[CLIENTS];
static unsigned int count;
static unsigned long now;

static uint64_t oldest_join(void)
{
	uint64_t oldest = UINT64_MAX;
	unsigned int i;

	for (i = 0; i < count; i++)
		if (clients[i].joined < oldest)
			oldest = clients[i].joined;
	return oldest;
}

static unsigned long oldest_birth(void)
{
	unsigned long oldest = ~0UL;
	unsigned int i;

	for (i = 0; i < count; i++)
		if (clients[i].born < oldest)
			oldest = clients[i].born;
	return oldest;
}

static void check_none_left(void)
{
	unsigned long oldest = oldest_birth();
	unsigned int i;

	for (i = 0; i < PROTOCOL_IDS; i++)
		CHECK(taken[i] || left[i] > oldest);
}

/* Returns whether there was an id. */
static bool join(void)
{
	struct client *client = &clients[count];
	uint64_t joined = ids_next_event(&ids);
	int id = ids_get(&ids, oldest_join());

	now++;
	if (id < 0) {
		CHECK(id == -EUSERS);
		return false;
	}
	CHECK(id < PROTOCOL_IDS);
	CHECK(!taken[id]);
	CHECK(left[id] < oldest_birth());
	taken[id] = true;
	given[id]++;
	client->id = id;
	client->born = now;
	client->joined = joined;
	count++;
	return true;
}

static void leave(unsigned int index)
{
	unsigned int id = clients[index].id;

	now++;
	ids_put(&ids, id);
	taken[id] = false;
	left[id] = now;
	clients[index] = clients[--count];
}

static void begin(void)
{
	memset(&ids, 0, sizeof(ids));
	memset(given, 0, sizeof(given));
	memset(left, 0, sizeof(left));
	memset(taken, 0, sizeof(taken));
	count = 0;
	now = 0;
}

static void test_count_up(void)
{
	int i;

	begin();
	for (i = 0; i < PROTOCOL_IDS; i++) {
		CHECK(join());
		CHECK(clients[0].id == (unsigned int)i);
		leave(0);
	}
	/* Nobody is there, so nobody can mind: from the beginning. */
	for (i = 0; i < 3; i++) {
		CHECK(join());
		CHECK(clients[i].id == (unsigned int)i);
	}
}

/* One that was always there has seen all others; while it is there, no more. */
static void test_witness(void)
{
	int i;

	begin();
	CHECK(join());
	for (i = 1; i < PROTOCOL_IDS; i++) {
		CHECK(join());
		leave(1);
	}
	CHECK(!join());
	check_none_left();
	leave(0);
	CHECK(join());
	CHECK(clients[0].id == 1);
}

/*
 * Clients come and go so that all ids are used several times. One stays until
 * everybody leaves at once, which is rare enough for the ids to run out.
 */
static void test_random(void)
{
	unsigned long refused = 0;
	int i;

	begin();
	srand(1);
	for (i = 0; i < ROUNDS; i++) {
		if (rand() % 100000 == 0) {
			while (count)
				leave(0);
		} else if (count > 1 && (rand() % 2 || count == CLIENTS)) {
			leave(1 + rand() % (count - 1));
		} else if (!join() && refused++ % 1000 == 0) {
			check_none_left();
		}
	}
	CHECK(refused > 1000);
	for (i = 0; i < PROTOCOL_IDS; i++)
		CHECK(given[i] >= 2);
}

int main(void)
{
	test_count_up();
	test_witness();
	test_random();
	return 0;
}
