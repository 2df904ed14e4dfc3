/* SPDX-License-Identifier: MIT */
/*
 * Who may join, and with what.
 */
#ifndef ACCESS_H
#define ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/**
 * enum access_kind - What a rule is about.
 * @ACCESS_UID:     clients of a user may join
 * @ACCESS_GID:     clients in a group may join
 * @ACCESS_CGROUP:  clients in a control group, or in one below it, may join
 * @ACCESS_VECTORS: how many vectors clients of a user have
 * @ACCESS_KINDS:   how many kinds there are
 */
enum access_kind {
	ACCESS_UID,
	ACCESS_GID,
	ACCESS_CGROUP,
	ACCESS_VECTORS,
	ACCESS_KINDS,
};

/**
 * struct access_rule - One entry of the lists.
 * @kind:    what it is about
 * @id:      user or group
 * @vectors: how many, with ACCESS_VECTORS
 * @cgroup:  the path, with ACCESS_CGROUP
 */
struct access_rule {
	enum access_kind kind;
	unsigned int id;
	unsigned int vectors;
	char *cgroup;
};

/**
 * struct access - Who may join. All zero lets everybody in.
 * @rules:     all lists in one
 * @count:     how many rules
 * @max_peers: how many peers a user may have at once, or 0
 * @max_rate:  how many clients of a user may come in a second, or 0
 */
struct access {
	struct access_rule *rules;
	size_t count;
	unsigned int max_peers;
	unsigned int max_rate;
};

bool access_add(struct access *access, const struct access_rule *rule);
int access_check(const struct access *access, int sock,
		 const struct ucred *cred);
unsigned int access_vectors(const struct access *access, uid_t uid,
			    unsigned int vectors);
bool access_in_cgroup(const char *membership, const char *cgroup);
void access_free(struct access *access);

#endif /* ACCESS_H */
