// SPDX-License-Identifier: MIT
/*
 * The socket that a server can be asked for its status on.
 *
 * A client sends a line and gets an answer. There is place for a few: one more
 * takes the place of the one who has been there for longest, so that no client
 * can keep others away by doing nothing. Places are never freed, and whoever is
 * called finds out itself what there is to do: an event that was meant for the
 * one who had the place before does no harm.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.h"
#include "log.h"
#include "server.h"
#include "status.h"

static void control_part(struct control_client *client)
{
	if (client->watch.fd < 0)
		return;
	close(client->watch.fd);
	client->watch.fd = -1;
	free(client->reply);
	client->reply = NULL;
}

/* Returns whether the request is whole. */
static bool control_receive(struct control_client *client)
{
	size_t room = sizeof(client->request) - client->received;
	ssize_t n = recv(client->watch.fd, client->request + client->received,
			 room, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) {
		control_part(client);
		return false;
	}
	client->received += n;
	if (memchr(client->request, '\n', client->received))
		return true;
	if ((size_t)n == room)
		control_part(client);
	return false;
}

static void control_answer(struct control_client *client)
{
	FILE *out = open_memstream(&client->reply, &client->length);
	enum status_format format;
	size_t length;

	if (!out) {
		control_part(client);
		return;
	}
	for (format = 0; format < STATUS_FORMATS; format++) {
		length = strlen(status_request(format));
		if (client->received == length + 1 &&
		    !memcmp(client->request, status_request(format), length))
			status_print(out, format, client->server);
	}
	if (ferror(out) | fclose(out))
		control_part(client);
}

static void control_send(struct control_client *client)
{
	ssize_t n;

	while (client->sent < client->length) {
		n = send(client->watch.fd, client->reply + client->sent,
			 client->length - client->sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			loop_change(client->server->loop, &client->watch,
				    EPOLLOUT);
			return;
		}
		if (n < 0)
			break;
		client->sent += n;
	}
	control_part(client);
}

static void control_client_ready(struct watch *watch, uint32_t events)
{
	struct control_client *client =
		container_of(watch, struct control_client, watch);

	(void)events;
	if (watch->fd < 0)
		return;
	if (!client->reply && control_receive(client))
		control_answer(client);
	if (client->reply)
		control_send(client);
}

static void control_join(struct control *control, struct server *server,
			 int sock)
{
	struct control_client *client = &control->clients[0];
	size_t i;

	for (i = 0; i < CONTROL_CLIENTS && client->watch.fd >= 0; i++)
		if (control->clients[i].watch.fd < 0 ||
		    control->clients[i].turn < client->turn)
			client = &control->clients[i];
	control_part(client);
	*client = (struct control_client){
		.watch = { .fd = sock, .ready = control_client_ready },
		.server = server,
		.turn = control->turn++,
	};
	if (loop_add(server->loop, &client->watch, EPOLLIN))
		control_part(client);
}

static void control_listener_ready(struct watch *watch, uint32_t events)
{
	struct control *control = container_of(watch, struct control, listener);
	struct server *server = container_of(control, struct server, control);
	int sock, i;

	(void)events;
	/* There is no other event for those that wait; but peers wait too. */
	for (i = 0; i < SOMAXCONN; i++) {
		sock = accept4(watch->fd, NULL, NULL,
			       SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (sock < 0)
			return;
		control_join(control, server, sock);
	}
}

/**
 * control_init() - Make it one that control_close() can be called for.
 * @control: the control socket
 */
void control_init(struct control *control)
{
	size_t i;

	control->listener.fd = -1;
	for (i = 0; i < CONTROL_CLIENTS; i++)
		control->clients[i].watch.fd = -1;
}

/**
 * control_open() - Listen.
 * @control: the control socket
 * @server:  the server, whose loop watches it
 *
 * Return: 0, or a negative errno after a line in the log.
 */
int control_open(struct control *control, struct server *server)
{
	const struct options *options = &server->options;
	int ret;

	control->listener.fd = socket_listen(&control->file, options->control,
					     &options->control_access);
	if (control->listener.fd < 0)
		return control->listener.fd;
	control->listener.ready = control_listener_ready;
	/*
	 * Only new connections are an event: there would be no end of events
	 * when there are no file descriptors to accept one.
	 */
	ret = loop_add(server->loop, &control->listener, EPOLLIN | EPOLLET);
	if (ret)
		log_err("cannot watch %s: %s", options->control, strerror(-ret));
	return ret;
}

/**
 * control_close() - Remove the socket and let everybody go.
 * @control: the control socket
 */
void control_close(struct control *control)
{
	size_t i;

	for (i = 0; i < CONTROL_CLIENTS; i++)
		control_part(&control->clients[i]);
	if (control->listener.fd < 0)
		return;
	socket_remove(&control->file);
	close(control->listener.fd);
}
