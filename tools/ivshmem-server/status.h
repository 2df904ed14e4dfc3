/* SPDX-License-Identifier: MIT */
/*
 * What a server tells of itself.
 */
#ifndef STATUS_H
#define STATUS_H

#include <stdint.h>
#include <stdio.h>

struct server;

/**
 * enum status_format - How it is written.
 * @STATUS_TEXT:       for people
 * @STATUS_JSON:       one object
 * @STATUS_PROMETHEUS: text for Prometheus
 * @STATUS_FORMATS:    how many there are
 */
enum status_format {
	STATUS_TEXT,
	STATUS_JSON,
	STATUS_PROMETHEUS,
	STATUS_FORMATS,
};

/**
 * struct status_counts - What has happened since the start.
 * @joined:     clients that became peers
 * @left:       peers that left by themselves
 * @stalled:    peers that were disconnected since they did not take a message
 * @misbehaved: peers that were disconnected since they sent something
 * @failed:     peers that were disconnected for another reason
 * @denied:     clients that were refused by the access lists
 * @limited:    clients that were refused by a limit of their user
 * @short_of:   clients that were refused for want of ids, files or memory
 */
struct status_counts {
	uintmax_t joined;
	uintmax_t left;
	uintmax_t stalled;
	uintmax_t misbehaved;
	uintmax_t failed;
	uintmax_t denied;
	uintmax_t limited;
	uintmax_t short_of;
};

const char *status_request(enum status_format format);
void status_print(FILE *out, enum status_format format,
		  const struct server *server);
int status_query(const char *path, enum status_format format);

#endif /* STATUS_H */
