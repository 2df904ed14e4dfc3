// SPDX-License-Identifier: MIT
/*
 * How often the clients of a user may come.
 *
 * A token bucket for each user. One that would be full again is the same as none,
 * so there are never more of them than users of the last second.
 */
#include <errno.h>
#include <stdlib.h>

#include "rate.h"

#define SECOND_MS	1000

static struct rate_user *rate_find(struct rates *rates, uid_t uid,
				   uint64_t now)
{
	struct rate_user *users = rates->users;
	struct rate_user *idle = NULL;
	size_t i;

	for (i = 0; i < rates->count; i++) {
		if (users[i].uid == uid)
			return &users[i];
		if (now - users[i].since >= SECOND_MS)
			idle = &users[i];
	}
	if (!idle) {
		users = realloc(users, (rates->count + 1) * sizeof(*users));
		if (!users)
			return NULL;
		rates->users = users;
		idle = &users[rates->count++];
	}
	*idle = (struct rate_user){ .uid = uid };
	return idle;
}

/**
 * rate_take() - Count a client.
 * @rates: what is known of users
 * @uid:   the client's user
 * @rate:  how many may come in a second, all at once too
 * @now:   the time, in milliseconds, later than 1000
 *
 * Return: 0; -EAGAIN if it is one too many, -EALREADY if the one before it was,
 * too; or -ENOMEM.
 */
int rate_take(struct rates *rates, uid_t uid, unsigned int rate, uint64_t now)
{
	struct rate_user *user = rate_find(rates, uid, now);
	uint64_t passed;
	bool over;

	if (!user)
		return -ENOMEM;
	passed = now - user->since < SECOND_MS ? now - user->since : SECOND_MS;
	user->tokens += passed * rate;
	if (user->tokens > (uint64_t)rate * SECOND_MS)
		user->tokens = (uint64_t)rate * SECOND_MS;
	user->since = now;

	over = user->over;
	user->over = user->tokens < SECOND_MS;
	if (user->over)
		return over ? -EALREADY : -EAGAIN;
	user->tokens -= SECOND_MS;
	return 0;
}

/**
 * rate_free() - Forget all users.
 * @rates: what is known of them
 */
void rate_free(struct rates *rates)
{
	free(rates->users);
}
