/* SPDX-License-Identifier: MIT */
/*
 * Ringing peers.
 */
#ifndef NOTIFY_H
#define NOTIFY_H

#include <linux/aio_abi.h>

/**
 * struct notify - What is needed to ring. All zero is nothing.
 * @context: of asynchronous input and output
 * @null:    a file that reads as empty
 */
struct notify {
	aio_context_t context;
	int null;
};

int notify_open(struct notify *notify);
void notify_ring(struct notify *notify, int fd);
void notify_close(struct notify *notify);

#endif /* NOTIFY_H */
