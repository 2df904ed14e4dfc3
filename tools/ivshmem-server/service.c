// SPDX-License-Identifier: MIT
/*
 * What a service manager, that is systemd, gives and is told.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"
#include "service.h"

#ifdef HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>
#else
/* What libsystemd does without a service manager. */
static int sd_listen_fds(int unset)
{
	(void)unset;
	return 0;
}

static int sd_listen_fds_with_names(int unset, char ***names)
{
	(void)unset;
	*names = NULL;
	return 0;
}

static int sd_is_socket_unix(int fd, int type, int listening, const char *path,
			     size_t length)
{
	(void)fd;
	(void)type;
	(void)listening;
	(void)path;
	(void)length;
	return 0;
}

static int sd_notify(int unset, const char *state)
{
	(void)unset;
	(void)state;
	return 0;
}

static int sd_pid_notify_with_fds(pid_t pid, int unset, const char *state,
				  const int *fds, unsigned int count)
{
	(void)pid;
	(void)unset;
	(void)state;
	(void)fds;
	(void)count;
	return 0;
}

static int sd_watchdog_enabled(int unset, uint64_t *usec)
{
	(void)unset;
	*usec = 0;
	return 0;
}

#define SD_LISTEN_FDS_START	3
#endif

/* The environment does not tell any more once they have been taken. */
static bool activated;

/**
 * service_fds() - Get what the manager has passed.
 * @fds: becomes the file descriptors, for service_free_fds(); NULL if there are
 *       none
 *
 * Return: how many, or a negative errno.
 */
int service_fds(struct service_fd **fds)
{
	char **names;
	int count = sd_listen_fds_with_names(true, &names);
	int i;

	*fds = NULL;
	if (count <= 0)
		return count;
	activated = true;

	*fds = calloc(count, sizeof(**fds));
	for (i = 0; i < count; i++) {
		if (*fds) {
			(*fds)[i].fd = SD_LISTEN_FDS_START + i;
			(*fds)[i].name = names[i];
		} else {
			free(names[i]);
		}
	}
	free(names);
	return *fds ? count : -ENOMEM;
}

/**
 * service_free_fds() - Close what nobody has taken.
 * @fds:   the file descriptors, or NULL
 * @count: how many
 */
void service_free_fds(struct service_fd *fds, int count)
{
	int i;

	for (i = 0; i < count; i++) {
		if (fds[i].fd >= 0)
			close(fds[i].fd);
		free(fds[i].name);
	}
	free(fds);
}

/**
 * service_take_fd() - Take a file descriptor by its name.
 * @fds:   the file descriptors
 * @count: how many
 * @name:  the name
 *
 * Return: the file descriptor, which is the caller's now, or -1.
 */
int service_take_fd(struct service_fd *fds, int count, const char *name)
{
	int i, fd;

	for (i = 0; i < count; i++) {
		fd = fds[i].fd;
		if (fd < 0 || strcmp(fds[i].name, name))
			continue;
		fds[i].fd = -1;
		return fd;
	}
	return -1;
}

/**
 * service_take_listener() - Take the socket that clients connect to.
 * @fds:   the file descriptors
 * @count: how many
 *
 * Its name is the manager's business.
 *
 * Return: the socket, which is the caller's now, or -1.
 */
int service_take_listener(struct service_fd *fds, int count)
{
	int i, fd;

	for (i = 0; i < count; i++) {
		fd = fds[i].fd;
		if (fd < 0 ||
		    sd_is_socket_unix(fd, SOCK_STREAM, true, NULL, 0) <= 0)
			continue;
		fds[i].fd = -1;
		return fd;
	}
	return -1;
}

/**
 * service_activated() - Tell whether the manager has passed anything.
 *
 * Return: true if it has, before and after service_fds().
 */
bool service_activated(void)
{
	return activated || sd_listen_fds(false) > 0;
}

/**
 * service_present() - Tell whether there is a manager that can keep things.
 *
 * Return: true if there is, and the program was built with libsystemd.
 */
bool service_present(void)
{
	return sd_notify(false, "STATUS=starting") > 0;
}

/**
 * service_store() - Let the manager keep a file descriptor over a restart.
 * @name: its name, which must not be in use
 * @fd:   the file descriptor; the manager gets a duplicate
 *
 * Return: 0 or a negative errno.
 */
int service_store(const char *name, int fd)
{
	char state[64];
	int ret;

	/* A peer's box looks hung up; that is no reason to drop it. */
	snprintf(state, sizeof(state), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	ret = sd_pid_notify_with_fds(0, false, state, &fd, 1);
	return ret < 0 ? ret : 0;
}

/**
 * service_forget() - Let the manager drop a file descriptor.
 * @name: its name
 */
void service_forget(const char *name)
{
	char state[64];

	snprintf(state, sizeof(state), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	sd_notify(false, state);
}

/**
 * service_watchdog() - Tell how often service_alive() has to be called.
 *
 * Return: milliseconds, or LOOP_NEVER.
 */
uint64_t service_watchdog(void)
{
	uint64_t usec;

	if (sd_watchdog_enabled(false, &usec) <= 0)
		return LOOP_NEVER;
	return usec / 2000;
}

/**
 * service_alive() - Tell the manager's watchdog that the server works.
 */
void service_alive(void)
{
	sd_notify(false, "WATCHDOG=1");
}

/**
 * service_ready() - Tell the manager that clients can connect.
 */
void service_ready(void)
{
	sd_notify(false, "READY=1\nSTATUS=serving");
}

/**
 * service_reloading() - Tell the manager that the configuration is read again.
 * service_ready() has to follow.
 */
void service_reloading(void)
{
	struct timespec now;
	char state[64];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(state, sizeof(state),
		 "RELOADING=1\nMONOTONIC_USEC=%ju",
		 (uintmax_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	sd_notify(false, state);
}

/**
 * service_stopping() - Tell the manager that the server is about to end.
 */
void service_stopping(void)
{
	sd_notify(false, "STOPPING=1");
}
