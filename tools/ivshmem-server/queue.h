/* SPDX-License-Identifier: MIT */
/*
 * What one client still has to be sent, in order.
 */
#ifndef QUEUE_H
#define QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fdset.h"

/*
 * How far a client has come, in one word, so that it is right wherever the
 * server is killed: the number of the run that comes next, how many of its
 * messages have been sent, and whether one more may have been.
 */
#define QUEUE_NUMBER_SHIFT	16
#define QUEUE_SENDING		0x8000U
#define QUEUE_SENT		0x7fffU

/**
 * struct queue_run - Messages that have the same value.
 * @number: what orders the runs of all clients: the number of the event that is
 *          told, or 0, 1, 2 for the first messages of a handshake
 * @value:  the value
 * @fds:    a message for each of these, or NULL: one message without a file
 *          descriptor
 * @queued: when the run was queued, in milliseconds
 *
 * As a run a peer takes no more room in the queues of others than a single
 * message, however many vectors it has.
 */
struct queue_run {
	uint64_t number;
	int64_t value;
	struct fdset *fds;
	uint64_t queued;
};

/**
 * struct queue - A ring of runs. All zero is an empty one.
 * @runs:     the ring, NULL while the queue is empty and nothing is reserved
 * @capacity: its size, a power of two
 * @head:     index of the oldest run
 * @count:    number of runs
 * @sent:     messages of the oldest run that have been sent
 * @progress: where to write down how far the client has come, or NULL
 */
struct queue {
	struct queue_run *runs;
	size_t capacity;
	size_t head;
	size_t count;
	unsigned int sent;
	uint64_t *progress;
};

int queue_reserve(struct queue *queue, size_t runs);
void queue_push(struct queue *queue, uint64_t number, int64_t value,
		struct fdset *fds, uint64_t now);
int queue_send(struct queue *queue, int sock);
size_t queue_length(const struct queue *queue);
void queue_clear(struct queue *queue);

/**
 * queue_empty() - Tell whether everything has been sent.
 * @queue: the queue
 *
 * Return: true if it has.
 */
static inline bool queue_empty(const struct queue *queue)
{
	return !queue->count;
}

/**
 * queue_oldest() - Tell since when the queue has not been empty.
 * @queue: the queue, which is not empty
 *
 * Return: when its oldest run was queued, in milliseconds.
 */
static inline uint64_t queue_oldest(const struct queue *queue)
{
	return queue->runs[queue->head].queued;
}

/**
 * queue_number() - Tell how far the client has come.
 * @queue: the queue, which is not empty
 *
 * Return: the number of its oldest run.
 */
static inline uint64_t queue_number(const struct queue *queue)
{
	return queue->runs[queue->head].number;
}

#endif /* QUEUE_H */
