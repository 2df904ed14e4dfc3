// SPDX-License-Identifier: MIT
/*
 * How often the clients of a user may come.
 */
#include <errno.h>

#include "check.h"
#include "rate.h"

static int take_many(struct rates *rates, uid_t uid, uint64_t now)
{
	int n = 0;

	while (n < 100 && !rate_take(rates, uid, 5, now))
		n++;
	return n;
}

static void test_rate(void)
{
	struct rates rates = { 0 };

	CHECK(take_many(&rates, 1, 5000) == 5);
	/* The first one too many was taken just now. */
	CHECK(rate_take(&rates, 1, 5, 5000) == -EALREADY);
	CHECK(rate_take(&rates, 1, 5, 5199) == -EALREADY);
	CHECK(rate_take(&rates, 1, 5, 5200) == 0);
	CHECK(rate_take(&rates, 1, 5, 5200) == -EAGAIN);
	CHECK(take_many(&rates, 1, 5800) == 3);
	CHECK(take_many(&rates, 1, 90000) == 5);
	/* What is not taken is not kept. */
	CHECK(rate_take(&rates, 1, 5, 100000) == 0);
	CHECK(take_many(&rates, 1, 110000) == 5);
	rate_free(&rates);
}

/* One who never stops is not let in for it. */
static void test_hammering(void)
{
	struct rates rates = { 0 };
	uint64_t now;
	int n = 0;

	for (now = 2000; now < 12000; now++)
		n += !rate_take(&rates, 1, 5, now);
	CHECK(n == 5 + 5 * 10 - 1);
	rate_free(&rates);
}

static void test_users(void)
{
	struct rates rates = { 0 };
	uid_t uid;

	for (uid = 0; uid < 50; uid++)
		CHECK(take_many(&rates, uid, 5000) == 5);
	CHECK(rates.count == 50);
	CHECK(take_many(&rates, 0, 5999) == 4);
	/* Whoever has been quiet for a second makes room. */
	for (uid = 100; uid < 150; uid++)
		CHECK(take_many(&rates, uid, 6000) == 5);
	CHECK(rates.count == 51);
	rate_free(&rates);
}

int main(void)
{
	test_rate();
	test_hammering();
	test_users();
	return 0;
}
