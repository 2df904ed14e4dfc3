/* SPDX-License-Identifier: MIT */
/*
 * Going on where another server's process has ended.
 */
#ifndef RESTORE_H
#define RESTORE_H

#include "server.h"
#include "service.h"

int restore_peers(struct server *server, struct service_fd *fds, int count);
int restore_queues(struct server *server);

#endif /* RESTORE_H */
