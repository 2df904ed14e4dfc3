// SPDX-License-Identifier: MIT
/*
 * What one client still has to be sent, in order.
 *
 * A client counts the messages that it gets, so none may be lost or come out of
 * order. Room is reserved before anything is queued: an event is queued for
 * every client that has to hear of it, or it does not happen.
 */
#include <errno.h>
#include <stdlib.h>

#include "protocol.h"
#include "queue.h"

#define QUEUE_MIN_CAPACITY	8

static struct queue_run *queue_at(const struct queue *queue, size_t index)
{
	return &queue->runs[(queue->head + index) & (queue->capacity - 1)];
}

/**
 * queue_reserve() - Make room.
 * @queue: the queue
 * @runs:  how many more runs are going to be pushed
 *
 * Return: 0, or -ENOMEM; the queue is then as it was.
 */
int queue_reserve(struct queue *queue, size_t runs)
{
	size_t capacity = queue->capacity ? queue->capacity : QUEUE_MIN_CAPACITY;
	struct queue_run *ring;
	size_t i;

	while (capacity - queue->count < runs)
		capacity *= 2;
	if (capacity == queue->capacity)
		return 0;

	ring = malloc(capacity * sizeof(*ring));
	if (!ring)
		return -ENOMEM;

	for (i = 0; i < queue->count; i++)
		ring[i] = *queue_at(queue, i);
	free(queue->runs);
	queue->runs = ring;
	queue->capacity = capacity;
	queue->head = 0;
	return 0;
}

/**
 * queue_push() - Queue a run of messages. Room for it has been reserved.
 * @queue:  the queue
 * @number: the run's number, higher than that of the last one
 * @value:  the value of each message
 * @fds:    a message for each of these (the queue takes a reference), or NULL:
 *          one message without a file descriptor
 * @now:    the time, in milliseconds
 */
void queue_push(struct queue *queue, uint64_t number, int64_t value,
		struct fdset *fds, uint64_t now)
{
	struct queue_run *run = queue_at(queue, queue->count++);

	run->number = number;
	run->value = value;
	run->fds = fds ? fdset_get(fds) : NULL;
	run->queued = now;
}

static void queue_pop(struct queue *queue)
{
	fdset_put(queue_at(queue, 0)->fds);
	queue->head = (queue->head + 1) & (queue->capacity - 1);
	queue->count--;
	queue->sent = 0;
}

static void queue_note(struct queue *queue, uint64_t number, unsigned int rest)
{
	if (queue->progress)
		__atomic_store_n(queue->progress,
				 number << QUEUE_NUMBER_SHIFT | rest,
				 __ATOMIC_RELEASE);
}

/**
 * queue_send() - Send what the client takes.
 * @queue: the queue
 * @sock:  the client's socket
 *
 * An empty queue has no memory, so a client at rest costs nothing.
 *
 * Return: 0 if the queue is empty now, or the negative errno of the message
 * that could not be sent; it and what follows stay in the queue.
 */
int queue_send(struct queue *queue, int sock)
{
	struct queue_run *run;
	int fd, ret;

	while (!queue_empty(queue)) {
		run = queue_at(queue, 0);
		fd = run->fds ? run->fds->fds[queue->sent] : -1;
		queue_note(queue, run->number, queue->sent | QUEUE_SENDING);
		ret = protocol_send(sock, run->value, fd);
		if (ret) {
			queue_note(queue, run->number, queue->sent);
			return ret;
		}
		if (!run->fds || ++queue->sent == run->fds->count) {
			queue_note(queue, run->number + 1, 0);
			queue_pop(queue);
		} else {
			queue_note(queue, run->number, queue->sent);
		}
	}
	queue_clear(queue);
	return 0;
}

/**
 * queue_length() - Count the messages that have not been sent yet.
 * @queue: the queue
 *
 * Return: how many there are.
 */
size_t queue_length(const struct queue *queue)
{
	const struct queue_run *run;
	size_t length = 0, i;

	for (i = 0; i < queue->count; i++) {
		run = queue_at(queue, i);
		length += run->fds ? run->fds->count : 1;
	}
	return length - queue->sent;
}

/**
 * queue_clear() - Forget everything.
 * @queue: the queue, which is empty afterwards and has no memory
 */
void queue_clear(struct queue *queue)
{
	while (!queue_empty(queue))
		queue_pop(queue);
	free(queue->runs);
	*queue = (struct queue){ .progress = queue->progress };
}
