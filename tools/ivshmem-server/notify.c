// SPDX-License-Identifier: MIT
/*
 * Ringing peers.
 *
 * The peers have the eventfds too, and with them the flag O_NONBLOCK and the
 * count: a write() would block as soon as one of them clears the former and
 * fills the latter. The kernel itself adds to an eventfd without waiting, as it
 * does at the end of an asynchronous read, so that is what rings.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "notify.h"

/**
 * notify_open() - Get what is needed to ring.
 * @notify: all zero
 *
 * Return: 0, or a negative errno after a line in the log.
 */
int notify_open(struct notify *notify)
{
	int ret;

	notify->null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (notify->null >= 0 && !syscall(SYS_io_setup, 1, &notify->context))
		return 0;
	ret = -errno;
	if (notify->null >= 0)
		close(notify->null);
	log_err("cannot prepare to ring peers: %s", strerror(-ret));
	return ret;
}

/**
 * notify_ring() - Ring.
 * @notify: what is needed
 * @fd:     the eventfd
 */
void notify_ring(struct notify *notify, int fd)
{
	struct iocb block = {
		.aio_fildes = notify->null,
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = fd,
	};
	struct iocb *blocks[] = { &block };
	const struct timespec now = { 0 };
	struct io_event event;

	if (syscall(SYS_io_submit, notify->context, 1, blocks) != 1)
		log_warn("cannot ring a peer: %s", strerror(errno));
	syscall(SYS_io_getevents, notify->context, 0, 1, &event, &now);
}

/**
 * notify_close() - Let go of what notify_open() has got.
 * @notify: what is needed, or all zero
 */
void notify_close(struct notify *notify)
{
	if (!notify->context)
		return;
	syscall(SYS_io_destroy, notify->context);
	close(notify->null);
}
