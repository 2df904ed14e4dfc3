// SPDX-License-Identifier: MIT
/*
 * Who may join, and with what.
 *
 * Each kind of list that is not empty has to name the client.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "access.h"

/* Linux 6.5; younger than the headers of some C libraries. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD	77
#endif

#define MAX_GROUPS	65536

/* For paths of PATH_MAX in two hierarchies, and many short lines of others. */
#define MEMBERSHIP_SIZE	16384

/**
 * access_add() - Add a rule.
 * @access: the lists
 * @rule:   the rule; what it points to is copied
 *
 * Return: whether there was memory for it.
 */
bool access_add(struct access *access, const struct access_rule *rule)
{
	struct access_rule *rules;
	char *cgroup = NULL;

	if (rule->cgroup) {
		cgroup = strdup(rule->cgroup);
		if (!cgroup)
			return false;
	}
	rules = realloc(access->rules, (access->count + 1) * sizeof(*rules));
	if (!rules) {
		free(cgroup);
		return false;
	}
	access->rules = rules;
	rules[access->count] = *rule;
	rules[access->count++].cgroup = cgroup;
	return true;
}

static int access_get_groups(int sock, gid_t **groups, size_t *count)
{
	socklen_t len = 64 * sizeof(gid_t);
	gid_t *list = malloc(len);
	gid_t *more;
	int error;

	while (list && getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, list, &len)) {
		if (errno != ERANGE || len > MAX_GROUPS * sizeof(gid_t)) {
			error = errno;
			free(list);
			return -error;
		}
		more = realloc(list, len);
		if (!more)
			free(list);
		list = more;
	}
	if (!list)
		return -ENOMEM;
	*groups = list;
	*count = len / sizeof(gid_t);
	return 0;
}

/*
 * The process that connected may be gone and its pid another's. If it still
 * exists when its pid has been used, the pid was its own all the time. Kernels
 * before 6.5 only tell the pid: there the pid has to stay the same process's
 * from now on.
 */
static int access_open_process(int sock, pid_t pid)
{
	socklen_t len = sizeof(int);
	int pidfd;

	if (!getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len))
		return pidfd;
	if (errno != ENOPROTOOPT)
		return -errno;
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	return pidfd < 0 ? -errno : pidfd;
}

static int access_read_membership(pid_t pid, char *text)
{
	size_t len = 0;
	char path[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	do {
		n = read(fd, text + len, MEMBERSHIP_SIZE - 1 - len);
		len += n > 0 ? n : 0;
	} while (n > 0);
	close(fd);
	text[len] = 0;
	return n < 0 ? -errno : 0;
}

static int access_get_membership(int sock, pid_t pid, char *text)
{
	int pidfd = access_open_process(sock, pid);
	int ret;

	if (pidfd < 0)
		return pidfd;
	ret = access_read_membership(pid, text);
	if (!ret && syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) &&
	    errno != EPERM)
		ret = -errno;
	close(pidfd);
	return ret;
}

/**
 * access_in_cgroup() - Tell whether a process is in a control group.
 * @membership: what /proc/PID/cgroup contains
 * @cgroup:     path of the group
 *
 * What counts is the unified hierarchy, and that of systemd where it has its
 * own.
 *
 * Return: true if it is in the group or in one below it.
 */
bool access_in_cgroup(const char *membership, const char *cgroup)
{
	static const char * const hierarchies[] = { "::", ":name=systemd:" };
	size_t len = strlen(cgroup);
	const char *line, *path;
	size_t i;

	while (len && cgroup[len - 1] == '/')
		len--;
	for (line = membership; *line; line += *line == '\n') {
		for (i = 0; i < sizeof(hierarchies) / sizeof(*hierarchies); i++) {
			path = line + strspn(line, "0123456789");
			if (strncmp(path, hierarchies[i], strlen(hierarchies[i])))
				continue;
			path += strlen(hierarchies[i]);
			if (!strncmp(path, cgroup, len) &&
			    strchr("/\n", path[len]))
				return true;
		}
		line += strcspn(line, "\n");
	}
	return false;
}

static bool access_is_member(gid_t gid, const struct ucred *cred,
			     const gid_t *groups, size_t count)
{
	while (count)
		if (groups[--count] == gid)
			return true;
	return cred->gid == gid;
}

/**
 * access_check() - Tell whether a client may join.
 * @access: the lists
 * @sock:   the client's socket
 * @cred:   who it was when it connected
 *
 * Return: 0 if it may, -EACCES if not, or another negative errno if that cannot
 * be found out.
 */
int access_check(const struct access *access, int sock,
		 const struct ucred *cred)
{
	bool named[ACCESS_KINDS] = { false }, listed[ACCESS_KINDS] = { false };
	char membership[MEMBERSHIP_SIZE];
	const struct access_rule *rule;
	size_t count = 0, i;
	gid_t *groups = NULL;
	int ret = 0;

	for (i = 0; i < access->count; i++)
		listed[access->rules[i].kind] = true;
	if (listed[ACCESS_GID])
		ret = access_get_groups(sock, &groups, &count);
	if (!ret && listed[ACCESS_CGROUP])
		ret = access_get_membership(sock, cred->pid, membership);

	for (i = 0; !ret && i < access->count; i++) {
		rule = &access->rules[i];
		switch (rule->kind) {
		case ACCESS_UID:
			named[rule->kind] |= cred->uid == rule->id;
			break;
		case ACCESS_GID:
			named[rule->kind] |= access_is_member(rule->id, cred,
							      groups, count);
			break;
		case ACCESS_CGROUP:
			named[rule->kind] |= access_in_cgroup(membership,
							      rule->cgroup);
			break;
		default:
			named[rule->kind] = true;
		}
	}
	free(groups);
	for (i = 0; !ret && i < ACCESS_KINDS; i++)
		if (listed[i] && !named[i])
			ret = -EACCES;
	return ret;
}

/**
 * access_vectors() - Tell how many vectors a client has.
 * @access:  the lists
 * @uid:     its user
 * @vectors: how many others have
 *
 * Return: the number.
 */
unsigned int access_vectors(const struct access *access, uid_t uid,
			    unsigned int vectors)
{
	const struct access_rule *rule;
	size_t i;

	for (i = 0; i < access->count; i++) {
		rule = &access->rules[i];
		if (rule->kind == ACCESS_VECTORS && rule->id == uid &&
		    rule->vectors < vectors)
			vectors = rule->vectors;
	}
	return vectors;
}

/**
 * access_free() - Forget all rules.
 * @access: the lists, which let everybody in afterwards
 */
void access_free(struct access *access)
{
	while (access->count)
		free(access->rules[--access->count].cgroup);
	free(access->rules);
	*access = (struct access){ 0 };
}
