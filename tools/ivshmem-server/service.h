/* SPDX-License-Identifier: MIT */
/*
 * What a service manager, that is systemd, gives and is told.
 */
#ifndef SERVICE_H
#define SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef HAVE_LIBSYSTEMD
#define SERVICE_POSSIBLE	true
#else
#define SERVICE_POSSIBLE	false
#endif

/**
 * struct service_fd - A file descriptor that the manager has passed.
 * @fd:   the file descriptor, -1 once it has been taken
 * @name: its name
 */
struct service_fd {
	int fd;
	char *name;
};

int service_fds(struct service_fd **fds);
void service_free_fds(struct service_fd *fds, int count);
int service_take_fd(struct service_fd *fds, int count, const char *name);
int service_take_listener(struct service_fd *fds, int count);

bool service_activated(void);
bool service_present(void);
int service_store(const char *name, int fd);
void service_forget(const char *name);

uint64_t service_watchdog(void);
void service_alive(void);
void service_ready(void);
void service_reloading(void);
void service_stopping(void);

#endif /* SERVICE_H */
