/* SPDX-License-Identifier: MIT */
/*
 * How often the clients of a user may come.
 */
#ifndef RATE_H
#define RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * struct rate_user - A user whose clients have come lately.
 * @uid:    the user
 * @tokens: for how many more clients there is leave, in thousandths
 * @since:  as of when, in milliseconds
 * @over:   the last one that came was one too many
 */
struct rate_user {
	uid_t uid;
	uint64_t tokens;
	uint64_t since;
	bool over;
};

/**
 * struct rates - What is known of users. All zero is the beginning.
 * @users: those whose clients have come lately
 * @count: how many
 */
struct rates {
	struct rate_user *users;
	size_t count;
};

int rate_take(struct rates *rates, uid_t uid, unsigned int rate, uint64_t now);
void rate_free(struct rates *rates);

#endif /* RATE_H */
