// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which vectors wake an open file.
 *
 * A file has one wait queue, so that whoever polls it need not know. Links carry
 * the wake-up there: one in the device's queue for a file that subscribes to
 * everything, or one in each vector's queue for a file that chose. An interrupt
 * thus passes only through the files that want it. A file that never waits never
 * gets a link.
 */
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/slab.h>

#include "ivshmem.h"

/* In the interrupt handler. */
static int ivshmem_subscribe_wake(wait_queue_entry_t *entry, unsigned int mode,
				  int flags, void *key)
{
	struct ivshmem_link *link = container_of(entry, struct ivshmem_link, entry);

	/* Or unplugging, which wakes each file itself: that is no EPOLLIN. */
	if (!key)
		return 0;
	wake_up_poll(&link->ifile->wait, EPOLLIN | EPOLLRDNORM);
	kill_fasync(&link->ifile->fasync, SIGIO, POLL_IN);
	return 0;
}

static void ivshmem_subscribe_link(struct ivshmem_file *ifile,
				   struct ivshmem_link *link)
{
	link->ifile = ifile;
	init_waitqueue_func_entry(&link->entry, ivshmem_subscribe_wake);
}

/**
 * ivshmem_subscribe_init() - Subscribe a new file to every vector.
 * @ifile: the open file
 */
void ivshmem_subscribe_init(struct ivshmem_file *ifile)
{
	mutex_init(&ifile->lock);
	ivshmem_subscribe_link(ifile, &ifile->any);
	bitmap_fill(ifile->subscribed, ifile->ivs->nr_vectors);
}

/* Puts the links of the file into their queues. */
static void ivshmem_subscribe_attach(struct ivshmem_file *ifile)
{
	struct ivshmem_device *ivs = ifile->ivs;
	struct ivshmem_link *link = ifile->links;
	unsigned int v;

	lockdep_assert_held(&ifile->lock);
	if (!link) {
		add_wait_queue(&ivs->wait, &ifile->any.entry);
		return;
	}
	for_each_set_bit(v, ifile->subscribed, ivs->nr_vectors)
		add_wait_queue(&ivs->vectors[v].wait, &link++->entry);
}

/* Takes them out again. */
static void ivshmem_subscribe_detach(struct ivshmem_file *ifile)
{
	struct ivshmem_device *ivs = ifile->ivs;
	struct ivshmem_link *link = ifile->links;
	unsigned int v;

	lockdep_assert_held(&ifile->lock);
	if (!link) {
		remove_wait_queue(&ivs->wait, &ifile->any.entry);
		return;
	}
	for_each_set_bit(v, ifile->subscribed, ivs->nr_vectors)
		remove_wait_queue(&ivs->vectors[v].wait, &link++->entry);
}

/**
 * ivshmem_subscribe_fini() - Undo ivshmem_subscribe_init().
 * @ifile: the open file, which nobody uses any more
 */
void ivshmem_subscribe_fini(struct ivshmem_file *ifile)
{
	mutex_lock(&ifile->lock);
	if (ifile->listening)
		ivshmem_subscribe_detach(ifile);
	mutex_unlock(&ifile->lock);
	kvfree(ifile->links);
}

/**
 * ivshmem_subscribe_listen() - Make interrupts wake the file from now on.
 * @ifile: the open file
 *
 * Called before waiting on &ivshmem_file.wait, and before asking for SIGIO.
 */
void ivshmem_subscribe_listen(struct ivshmem_file *ifile)
{
	/* Who sees it set must find the links in their queues. */
	if (smp_load_acquire(&ifile->listening))
		return;

	mutex_lock(&ifile->lock);
	if (!ifile->listening) {
		ivshmem_subscribe_attach(ifile);
		/* Pairs with the load above. */
		smp_store_release(&ifile->listening, true);
	}
	mutex_unlock(&ifile->lock);
}

/**
 * ivshmem_subscribe_pending() - Whether read() would find an event.
 * @ifile: the open file
 */
bool ivshmem_subscribe_pending(struct ivshmem_file *ifile)
{
	struct ivshmem_device *ivs = ifile->ivs;
	unsigned int v;
	u64 seen;

	for_each_set_bit(v, ifile->subscribed, ivs->nr_vectors) {
		/* Pairs with what comes before the bit is set. */
		smp_rmb();
		/* Before the count, or it may be of one that is newer. */
		seen = atomic64_read_acquire(&ifile->seen[v]);
		if (atomic64_read(&ivs->vectors[v].count) != seen)
			return true;
	}
	return false;
}

/**
 * ivshmem_subscribe_tell() - Have those who wait for the file look again.
 * @ifile: the open file
 */
void ivshmem_subscribe_tell(struct ivshmem_file *ifile)
{
	/*
	 * Links are in their queues before counts are looked at. Pairs with the
	 * counting in the interrupt handler.
	 */
	smp_mb();
	/* They are to look themselves: io_uring takes a mask for the answer. */
	wake_up_all(&ifile->wait);
	if (ivshmem_subscribe_pending(ifile))
		kill_fasync(&ifile->fasync, SIGIO, POLL_IN);
}

/**
 * ivshmem_subscribe_count() - The interrupts of all subscribed vectors.
 * @ifile: the open file
 *
 * Goes back only when the subscription changes.
 */
u64 ivshmem_subscribe_count(struct ivshmem_file *ifile)
{
	struct ivshmem_device *ivs = ifile->ivs;
	unsigned int v;
	u64 sum = 0;

	for_each_set_bit(v, ifile->subscribed, ivs->nr_vectors)
		sum += atomic64_read(&ivs->vectors[v].count);
	return sum;
}

/**
 * ivshmem_subscribe_set() - Choose the vectors of a file.
 * @ifile:   the open file
 * @vectors: bitmap of &ivshmem_device.nr_vectors bits, or NULL for all of them
 *
 * Called from SUBSCRIBE. Vectors that were not subscribed start with nothing to
 * report. Returns 0 or -ENOMEM.
 */
int ivshmem_subscribe_set(struct ivshmem_file *ifile,
			  const unsigned long *vectors)
{
	struct ivshmem_device *ivs = ifile->ivs;
	struct ivshmem_link *links = NULL, *old;
	unsigned int nr, v;

	if (vectors) {
		nr = bitmap_weight(vectors, ivs->nr_vectors);
		links = kvcalloc(max(nr, 1U), sizeof(*links), GFP_KERNEL_ACCOUNT);
		if (!links)
			return -ENOMEM;
		while (nr--)
			ivshmem_subscribe_link(ifile, &links[nr]);
	}

	mutex_lock(&ifile->lock);
	if (ifile->listening)
		ivshmem_subscribe_detach(ifile);
	old = ifile->links;
	ifile->links = links;
	for (v = 0; v < ivs->nr_vectors; v++) {
		if (vectors && !test_bit(v, vectors)) {
			clear_bit(v, ifile->subscribed);
		} else if (!test_bit(v, ifile->subscribed)) {
			if (v == 0)
				atomic64_set_release(&ifile->joins,
						     atomic64_read(&ivs->joins));
			/* Who reads this reads no older count after it. */
			atomic64_set_release(&ifile->seen[v],
					     atomic64_read(&ivs->vectors[v].count));
			/*
			 * No reader may see the bit and the old count. Pairs with
			 * smp_rmb() where the bits are gone through.
			 */
			smp_mb__before_atomic();
			set_bit(v, ifile->subscribed);
		}
	}
	if (ifile->listening)
		ivshmem_subscribe_attach(ifile);
	mutex_unlock(&ifile->lock);
	kvfree(old);

	/* What came while no link was there, or is new to those who wait. */
	ivshmem_subscribe_tell(ifile);
	return 0;
}
