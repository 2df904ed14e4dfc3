// SPDX-License-Identifier: MIT
/*
 * Many interrupts of several vectors at once: UIO counts each that the vectors
 * count.
 *
 *	uio_storm NODE ROUNDS	nobody else rings, and the processors share the
 *				vectors among them
 */
#include "irq.h"
#include "uio.h"

static unsigned int rounds;

/* Rings every other vector, or the one there is. */
static void *ringer(void *arg)
{
	unsigned int first = (uintptr_t)arg, i;

	for (i = 0; i < rounds; i++)
		irq_ring((first + 2 * i) % irq_info.vectors);
	return NULL;
}

/* Leaves the count as it is if there is no other since the last time. */
static void take_count(int uio, uint32_t *count)
{
	if (read(uio, count, sizeof(*count)) != sizeof(*count))
		NEED(errno == EAGAIN);
}

int main(int argc, char **argv)
{
	uint64_t before, sum;
	uint32_t first = 0, last;
	pthread_t threads[2];
	unsigned int i;
	int uio;

	tap_start(argc, argv, 300);
	NEED(argc == 3);
	rounds = atoi(argv[2]);
	uio_find();
	irq_start(2);
	uio = uio_open(O_RDONLY | O_NONBLOCK);
	NEED(uio >= 0);

	irq_fire(1);
	take_count(uio, &first);
	last = first;
	before = irq_count(IVSHMEM_ANY_VECTOR);
	for (i = 0; i < 2; i++)
		NEED(!pthread_create(&threads[i], NULL, ringer,
				     (void *)(uintptr_t)i));
	for (i = 0; i < 2; i++)
		NEED(!pthread_join(threads[i], NULL));

	do {
		while (!dev_quiet(irq_bell, 50))
			;
		sum = irq_count(IVSHMEM_ANY_VECTOR);
		/* Each handler that is in it has told UIO, too. */
		irq_settle();
		take_count(uio, &last);
	} while (irq_count(IVSHMEM_ANY_VECTOR) != sum);
	tap_note("%llu interrupts for %u rings",
		 (unsigned long long)(sum - before), 2 * rounds);
	EXPECT(sum - before >= 2);
	EXPECT_EQ(last - first, sum - before);
	return tap_finish();
}
