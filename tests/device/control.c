// SPDX-License-Identifier: MIT
/*
 * Commands of a test, one a line, on a unix socket. GUEST counts from 0.
 *
 *	mode GUEST NAME		misbehave, see mode.c
 *	position GUEST NUMBER	the position register reads this from now on
 *	ring PEER VALUE		as if a guest had written to that doorbell
 *	burst GUEST NUMBER	raise so many events, each after the last was seen
 *	join GUEST		tell the others that this guest has come
 *	stats GUEST		what happened so far
 *
 * The answer is a line: "ok", numbers after it, or "error".
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "model.h"

#define BLANKS	"\n "

static bool get_guest(const char *text, struct guest **guest)
{
	uint64_t id;

	if (!text || !options_number(text, model.options.nr_guests - 1, &id))
		return false;
	*guest = &model.guests[id];
	return true;
}

static void show_stats(const struct guest *guest, char *answer, size_t size)
{
	const struct {
		const char *name;
		unsigned long long value;
	} values[] = {
		{ "events", guest->stats.events },
		{ "interrupts", guest->stats.interrupts },
		{ "status_reads", guest->stats.status_reads },
		{ "early", guest->stats.early },
		{ "mask", guest->mask },
		{ "status", guest->status },
		{ "connected", guest->fd >= 0 },
	};
	size_t used = snprintf(answer, size, "ok"), i;

	for (i = 0; i < sizeof(values) / sizeof(*values); i++)
		used += snprintf(answer + used, size - used, " %s=%llu",
				 values[i].name, values[i].value);
	snprintf(answer + used, size - used, "\n");
}

static bool run(char *line, char *answer, size_t size)
{
	char *rest, *verb = strtok_r(line, BLANKS, &rest);
	char *who = strtok_r(NULL, BLANKS, &rest);
	char *what = strtok_r(NULL, BLANKS, &rest);
	struct guest *guest;
	uint64_t peer, value;
	enum mode mode;

	snprintf(answer, size, "ok\n");
	if (!verb)
		return false;
	if (!strcmp(verb, "ring") && who && what) {
		if (!options_number(who, UINT32_MAX, &peer) ||
		    !options_number(what, UINT32_MAX, &value))
			return false;
		device_ring(peer, value);
		return true;
	}
	if (!get_guest(who, &guest))
		return false;
	if (!strcmp(verb, "stats")) {
		show_stats(guest, answer, size);
		return true;
	}
	if (!strcmp(verb, "join")) {
		device_join(guest);
		return true;
	}
	if (!what)
		return false;
	if (!strcmp(verb, "mode") && mode_parse(what, &mode)) {
		mode_set(guest, mode);
		return true;
	}
	if (!strcmp(verb, "burst") &&
	    options_number(what, UINT64_MAX, &value)) {
		device_burst(guest, value);
		return true;
	}
	if (!strcmp(verb, "position") &&
	    options_number(what, UINT32_MAX, &value)) {
		guest->position = value;
		guest->late = 0;
		guest->never = false;
		return true;
	}
	return false;
}

/**
 * control_serve() - Take a command from the control socket.
 */
void control_serve(void)
{
	char line[256], answer[512];
	ssize_t got = recv(model.control, line, sizeof(line) - 1, 0);

	if (got > 0) {
		line[got] = 0;
		if (!run(line, answer, sizeof(answer)))
			strcpy(answer, "error\n");
		got = send(model.control, answer, strlen(answer), 0);
	}
	if (got <= 0) {
		close(model.control);
		model.control = -1;
	}
}
