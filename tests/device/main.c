// SPDX-License-Identifier: MIT
/*
 * Sets up memory, guests and sockets, and serves whoever speaks.
 *
 * A guest's virtual processor waits for the answer to each of its accesses, so
 * they are answered one after the other, and that is the order in which guests
 * see each other.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "model.h"

#define TICK_MS		1

struct model model;

static void setup(void)
{
	const struct options *opt = &model.options;
	unsigned int i;

	model.memory = memfd_create("ivshmem", MFD_CLOEXEC);
	if (model.memory < 0 || ftruncate(model.memory, opt->size)) {
		perror("ivshmem-device: memory");
		exit(1);
	}

	model.control = -1;
	model.control_listener = -1;
	if (opt->control)
		model.control_listener = socket_listen(opt->control);

	for (i = 0; i < opt->nr_guests; i++) {
		struct guest *guest = &model.guests[i];

		guest->id = i;
		guest->fd = -1;
		device_init(guest);
		guest->listener = socket_listen(opt->sockets[i]);
	}
}

static void serve_guest(struct guest *guest, bool connects, bool speaks)
{
	if (speaks && !protocol_serve(guest)) {
		irq_drop(guest);
		close(guest->fd);
		guest->fd = -1;
	}
	/* The next one is let in when the last has gone. */
	if (connects)
		guest->fd = accept4(guest->listener, NULL, NULL, SOCK_CLOEXEC);
}

static void serve(void)
{
	struct pollfd fds[2 * MAX_GUESTS + 2];
	unsigned int nr = model.options.nr_guests, i;
	bool ticks = false;

	for (i = 0; i < nr; i++) {
		struct guest *guest = &model.guests[i];
		bool idle = guest->fd < 0;

		fds[2 * i] = (struct pollfd) {
			.fd = idle ? guest->listener : -1, .events = POLLIN };
		fds[2 * i + 1] = (struct pollfd) {
			.fd = guest->fd, .events = POLLIN };
		ticks = ticks || guest->mode == MODE_STORM;
	}
	fds[2 * nr] = (struct pollfd) {
		.fd = model.control < 0 ? model.control_listener : -1,
		.events = POLLIN };
	fds[2 * nr + 1] = (struct pollfd) {
		.fd = model.control, .events = POLLIN };

	if (poll(fds, 2 * nr + 2, ticks ? TICK_MS : -1) < 0)
		return;

	for (i = 0; i < nr; i++) {
		serve_guest(&model.guests[i], fds[2 * i].revents,
			    fds[2 * i + 1].revents);
		mode_tick(&model.guests[i]);
	}
	if (fds[2 * nr].revents)
		model.control = accept4(model.control_listener, NULL, NULL,
					SOCK_CLOEXEC);
	if (fds[2 * nr + 1].revents)
		control_serve();
}

static void ends(int sig)
{
	_exit(sig != SIGTERM);
}

int main(int argc, char **argv)
{
	options_parse(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, ends);
	setup();
	for (;;)
		serve();
}
