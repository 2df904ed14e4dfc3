// SPDX-License-Identifier: GPL-2.0-only
/*
 * Vectors: their counters, their interrupt handler, and the eventfds that are
 * bound to them.
 *
 * An interrupt adds one to a counter and wakes those who asked for that vector.
 * Nothing is queued or allocated, so nothing can overflow, and files that did not
 * ask for the vector cost nothing.
 */
#include <linux/eventfd.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "ivshmem.h"
#include "regs.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

/**
 * struct ivshmem_binding - An eventfd to signal when a vector fires.
 * @node:  in &ivshmem_vector.bindings
 * @ifile: the open file that asked for it
 * @ctx:   the eventfd, with a reference
 */
struct ivshmem_binding {
	struct list_head node;
	struct ivshmem_file *ifile;
	struct eventfd_ctx *ctx;
};

static void ivshmem_irq_signal(struct ivshmem_vector *vec)
{
	struct ivshmem_binding *binding;
	unsigned long flags;

	spin_lock_irqsave(&vec->lock, flags);
	list_for_each_entry(binding, &vec->bindings, node)
		compat_eventfd_signal(binding->ctx);
	spin_unlock_irqrestore(&vec->lock, flags);
}

static void ivshmem_irq_fire(struct ivshmem_vector *vec)
{
	struct ivshmem_device *ivs = vec->ivs;
	u64 count;

	/*
	 * Orders the new count before the look for whom to tell. Pairs with the
	 * barrier between queueing up and looking at the count: that of
	 * prepare_to_wait(), and the smp_mb() in poll, in ivshmem_irq_bind() and in
	 * ivshmem_subscribe_tell().
	 */
	count = atomic64_inc_return(&vec->count);
	trace_interrupt(ivs, vec - ivs->vectors, count);

	if (waitqueue_active(&vec->wait))	/* ordered above */
		wake_up_poll(&vec->wait, EPOLLIN | EPOLLRDNORM);
	if (waitqueue_active(&ivs->wait))	/* ordered above */
		wake_up_poll(&ivs->wait, EPOLLIN | EPOLLRDNORM);
	if (!list_empty(&vec->bindings))
		ivshmem_irq_signal(vec);
	ivshmem_uio_notify(ivs);
}

static irqreturn_t ivshmem_irq_msix(int irq, void *data)
{
	struct ivshmem_vector *vec = data;
	struct ivshmem_device *ivs = vec->ivs;

	if (ivs->per_peer && vec == ivs->vectors)
		atomic64_inc(&ivs->joins);
	ivshmem_irq_fire(vec);
	return IRQ_HANDLED;
}

/*
 * A status that never clears, or that the next event follows at once, keeps the
 * line high and the processor busy with it. From time to time the register is
 * read on until it says 0, which counts events as an interrupt would; if it does
 * not, the device gets a pause. Nothing is lost by it: the status stays.
 */
#define IVSHMEM_STUCK_INTERVAL	512	/* interrupts */
#define IVSHMEM_STUCK_READS	16
#define IVSHMEM_STUCK_PAUSE	msecs_to_jiffies(20)

static void ivshmem_irq_unpause(struct ivshmem_device *ivs)
{
	unsigned long flags;

	/* Others on the line call the handler too: it must not pause in between. */
	spin_lock_irqsave(&ivs->pause_lock, flags);
	WRITE_ONCE(ivs->paused, false);
	pci_intx(ivs->pdev, 1);
	spin_unlock_irqrestore(&ivs->pause_lock, flags);
}

static void ivshmem_irq_resume(struct work_struct *work)
{
	struct ivshmem_device *ivs = container_of(to_delayed_work(work),
						  struct ivshmem_device, pause);
	int idx;

	if (!ivshmem_device_enter(ivs, &idx))
		return;
	/* Or ivshmem_irq_restore() does it. */
	if (!ivshmem_device_held(ivs))
		ivshmem_irq_unpause(ivs);
	ivshmem_device_leave(ivs, idx);
}

static void ivshmem_irq_pause(struct ivshmem_device *ivs)
{
	unsigned long flags;

	if (!ivs->stuck)
		dev_warn(&ivs->pdev->dev,
			 "%s: interrupts without end, throttling them\n",
			 ivs->name);
	ivs->stuck = true;
	/* Not by its mask register, which a broken device may ignore. */
	spin_lock_irqsave(&ivs->pause_lock, flags);
	WRITE_ONCE(ivs->paused, true);
	pci_intx(ivs->pdev, 0);
	spin_unlock_irqrestore(&ivs->pause_lock, flags);
	schedule_delayed_work(&ivs->pause, IVSHMEM_STUCK_PAUSE);
}

/* Takes one status from the device. Returns false if there is none. */
static bool ivshmem_irq_take_status(struct ivshmem_vector *vec)
{
	struct ivshmem_device *ivs = vec->ivs;
	u32 status = readl(ivs->regs + IVSHMEM_REG_STATUS);

	if (!status)
		return false;
	if (status == IVSHMEM_STATUS_JOIN) {
		/* Or the device has been pulled out and all reads are ones. */
		if (readl(ivs->regs + IVSHMEM_REG_POSITION) == IVSHMEM_NOT_THERE)
			return false;
		atomic64_inc(&ivs->joins);
	}
	WRITE_ONCE(vec->status, status);
	ivshmem_irq_fire(vec);
	return true;
}

static irqreturn_t ivshmem_irq_intx(int irq, void *data)
{
	struct ivshmem_vector *vec = data;
	struct ivshmem_device *ivs = vec->ivs;
	unsigned int i = 0;

	if (READ_ONCE(ivs->paused) || !ivshmem_irq_take_status(vec))
		return IRQ_NONE;

	if (++ivs->handled % IVSHMEM_STUCK_INTERVAL == 0) {
		while (i < IVSHMEM_STUCK_READS && ivshmem_irq_take_status(vec))
			i++;
		if (i == IVSHMEM_STUCK_READS)
			ivshmem_irq_pause(ivs);
	}
	return IRQ_HANDLED;
}

/* Requests what it can from the start of the table. Returns how many. */
static unsigned int ivshmem_irq_request(struct ivshmem_device *ivs,
					unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		struct ivshmem_vector *vec = &ivs->vectors[i];

		if (request_irq(pci_irq_vector(ivs->pdev, i), ivshmem_irq_msix,
				0, vec->name, vec))
			break;
	}
	return i;
}

static void ivshmem_irq_release(struct ivshmem_device *ivs, unsigned int nr)
{
	while (nr--)
		free_irq(pci_irq_vector(ivs->pdev, nr), &ivs->vectors[nr]);
	pci_free_irq_vectors(ivs->pdev);
}

/**
 * ivshmem_irq_present() - Whether a device has any kind of interrupt.
 * @pdev: the PCI device
 *
 * This tells a device with a doorbell, and with peers, from plain memory: the
 * position register reads 0 on both.
 */
bool ivshmem_irq_present(struct pci_dev *pdev)
{
	return pdev->msix_cap || pdev->pin;
}

/* Takes @hw messages, or most of those that the machine can give. */
static void ivshmem_irq_init_msix(struct ivshmem_device *ivs, unsigned int hw)
{
	unsigned int want = hw;

	/*
	 * An allocation that is too large fails as a whole, and one that succeeds
	 * may promise more than the processors can take, which then shows in
	 * request_irq().
	 */
	while (want) {
		int got = pci_alloc_irq_vectors(ivs->pdev, 1, want, PCI_IRQ_MSIX);

		if (got < 0) {
			want /= 2;
			continue;
		}
		want = ivshmem_irq_request(ivs, got);
		if (want == got) {
			ivs->nr_vectors = got;
			ivs->irq_mode = IVSHMEM_IRQ_MSIX;
			break;
		}
		ivshmem_irq_release(ivs, want);
		/*
		 * That was all that the machine has. Some are left for those who
		 * come later: a driver, or a serial line that is opened.
		 */
		want -= want / 8;
	}
	if (ivs->nr_vectors < hw)
		dev_warn(&ivs->pdev->dev, "only %u of %u vectors can interrupt\n",
			 ivs->nr_vectors, hw);
}

static void ivshmem_irq_init_intx(struct ivshmem_device *ivs)
{
	struct pci_dev *pdev = ivs->pdev;
	int ret;

	INIT_DELAYED_WORK(&ivs->pause, ivshmem_irq_resume);
	spin_lock_init(&ivs->pause_lock);
	ret = request_irq(pdev->irq, ivshmem_irq_intx, IRQF_SHARED,
			  ivs->vectors->name, ivs->vectors);
	if (ret) {
		dev_warn(&pdev->dev, "cannot take interrupt %d: %d\n",
			 pdev->irq, ret);
		return;
	}
	ivs->nr_vectors = 1;
	ivs->irq_mode = IVSHMEM_IRQ_INTX;
	writel(IVSHMEM_MASK_ALL, ivs->regs + IVSHMEM_REG_MASK);
	/* Off since the device was enabled. */
	ivshmem_irq_unpause(ivs);
}

/**
 * ivshmem_irq_init() - Allocate the vectors and take the interrupts.
 * @ivs: the device
 *
 * Called by probe, with bus mastering on. A device that cannot interrupt, or a
 * machine that has no interrupt to give, leaves @ivs without vectors; a machine
 * that has too few gives what it has. Returns 0 or -ENOMEM.
 */
int ivshmem_irq_init(struct ivshmem_device *ivs)
{
	struct pci_dev *pdev = ivs->pdev;
	unsigned int nr, i;

	if (!ivshmem_irq_present(pdev))
		return 0;

	nr = pdev->msix_cap ? pci_msix_vec_count(pdev) : 1;
	ivs->vectors = kvcalloc(nr, sizeof(*ivs->vectors), GFP_KERNEL);
	if (!ivs->vectors)
		return -ENOMEM;

	for (i = 0; i < nr; i++) {
		struct ivshmem_vector *vec = &ivs->vectors[i];

		vec->ivs = ivs;
		init_waitqueue_head(&vec->wait);
		spin_lock_init(&vec->lock);
		INIT_LIST_HEAD(&vec->bindings);
		snprintf(vec->name, sizeof(vec->name), "%s-%u", ivs->name, i);
	}

	if (pdev->msix_cap) {
		ivs->nr_ring = nr;
		ivshmem_irq_init_msix(ivs, nr);
	} else {
		/* The vector becomes the peer's status, or is its choice. */
		ivs->nr_ring = IVSHMEM_DOORBELL_VECTOR + 1;
		ivshmem_irq_init_intx(ivs);
	}
	return 0;
}

/**
 * ivshmem_irq_restore() - Make the device interrupt again after a reset.
 * @ivs: the device, held
 *
 * Called once the PCI core has restored messages and bus mastering.
 */
void ivshmem_irq_restore(struct ivshmem_device *ivs)
{
	if (ivs->irq_mode != IVSHMEM_IRQ_INTX)
		return;
	/* What the PCI core has restored may be a pause. */
	ivshmem_irq_unpause(ivs);
	writel(IVSHMEM_MASK_ALL, ivs->regs + IVSHMEM_REG_MASK);
}

/**
 * ivshmem_irq_catch_up() - Make up for what peers rang while the device was held.
 * @ivs: the device
 *
 * That is lost, so each vector counts once: all who wait look at the memory.
 */
void ivshmem_irq_catch_up(struct ivshmem_device *ivs)
{
	unsigned int i;

	for (i = 0; i < ivs->nr_vectors; i++)
		ivshmem_irq_fire(&ivs->vectors[i]);
}

/**
 * ivshmem_irq_free() - Give the interrupts back.
 * @ivs: the device, unplugged
 *
 * Called by remove, and when probe fails. No handler runs afterwards.
 */
void ivshmem_irq_free(struct ivshmem_device *ivs)
{
	switch (ivs->irq_mode) {
	case IVSHMEM_IRQ_MSIX:
		ivshmem_irq_release(ivs, ivs->nr_vectors);
		break;
	case IVSHMEM_IRQ_INTX:
		writel(0, ivs->regs + IVSHMEM_REG_MASK);
		/* It may ignore that, and others on the line suffer for it. */
		pci_intx(ivs->pdev, 0);
		free_irq(ivs->pdev->irq, ivs->vectors);
		cancel_delayed_work_sync(&ivs->pause);
		break;
	case IVSHMEM_IRQ_NONE:
		break;
	}
}

/**
 * ivshmem_irq_fini() - Free the vectors.
 * @ivs: the device, of which no file is open and no interrupt is left
 */
void ivshmem_irq_fini(struct ivshmem_device *ivs)
{
	kvfree(ivs->vectors);
}

static void ivshmem_irq_put(struct list_head *bindings)
{
	struct ivshmem_binding *binding, *tmp;

	list_for_each_entry_safe(binding, tmp, bindings, node) {
		eventfd_ctx_put(binding->ctx);
		kfree(binding);
	}
}

/**
 * ivshmem_irq_hangup() - Wake all who wait for a vector of an unplugged device.
 * @ivs: the device
 *
 * Signals each bound eventfd once and lets go of it. Called by
 * ivshmem_device_unplug(), so that no eventfd is bound any more.
 */
void ivshmem_irq_hangup(struct ivshmem_device *ivs)
{
	unsigned int i;

	for (i = 0; i < ivs->nr_vectors; i++) {
		struct ivshmem_vector *vec = &ivs->vectors[i];
		LIST_HEAD(bindings);

		wake_up_all(&vec->wait);
		ivshmem_irq_signal(vec);

		spin_lock_irq(&vec->lock);
		list_splice_init(&vec->bindings, &bindings);
		spin_unlock_irq(&vec->lock);
		ivshmem_irq_put(&bindings);
	}
}

/* Moves the binding of an open file, if it has one, to @unbound. */
static void ivshmem_irq_unlink(struct ivshmem_vector *vec,
			       struct ivshmem_file *ifile,
			       struct list_head *unbound)
{
	struct ivshmem_binding *binding;

	lockdep_assert_held(&vec->lock);
	list_for_each_entry(binding, &vec->bindings, node) {
		if (binding->ifile == ifile) {
			list_move(&binding->node, unbound);
			return;
		}
	}
}

/**
 * ivshmem_irq_bind() - Bind an eventfd to a vector for an open file.
 * @ifile:  the open file
 * @vector: a vector of the device
 * @fd:     the eventfd, or -1 for none
 *
 * Replaces what the file had bound before. Called from SET_EVENTFD. Returns 0,
 * -EBADF or -EINVAL for an @fd that is no eventfd, -ENOMEM or -ENODEV.
 */
int ivshmem_irq_bind(struct ivshmem_file *ifile, unsigned int vector, int fd)
{
	struct ivshmem_device *ivs = ifile->ivs;
	struct ivshmem_vector *vec = &ivs->vectors[vector];
	struct ivshmem_binding *binding = NULL;
	LIST_HEAD(unbound);
	int ret = 0, idx;

	if (fd != -1) {
		binding = kmalloc(sizeof(*binding), GFP_KERNEL_ACCOUNT);
		if (!binding)
			return -ENOMEM;
		binding->ifile = ifile;
		binding->ctx = eventfd_ctx_fdget(fd);
		if (IS_ERR(binding->ctx)) {
			ret = PTR_ERR(binding->ctx);
			kfree(binding);
			return ret;
		}
	}

	/* Inside the gate, so that unplugging finds every binding. */
	if (ivshmem_device_enter(ivs, &idx)) {
		spin_lock_irq(&vec->lock);
		ivshmem_irq_unlink(vec, ifile, &unbound);
		if (binding)
			list_add_tail(&binding->node, &vec->bindings);
		spin_unlock_irq(&vec->lock);
		ivshmem_device_leave(ivs, idx);
	} else {
		ret = -ENODEV;
		if (binding)
			list_add(&binding->node, &unbound);
	}

	/* A count that the caller reads after this call may already lie. */
	smp_mb();
	ivshmem_irq_put(&unbound);
	return ret;
}

/**
 * ivshmem_irq_unbind_all() - Let go of every eventfd that an open file bound.
 * @ifile: the open file, which nobody uses any more
 */
void ivshmem_irq_unbind_all(struct ivshmem_file *ifile)
{
	struct ivshmem_device *ivs = ifile->ivs;
	LIST_HEAD(unbound);
	unsigned int i;

	for (i = 0; i < ivs->nr_vectors; i++) {
		struct ivshmem_vector *vec = &ivs->vectors[i];

		if (list_empty(&vec->bindings))
			continue;
		spin_lock_irq(&vec->lock);
		ivshmem_irq_unlink(vec, ifile, &unbound);
		spin_unlock_irq(&vec->lock);
	}
	ivshmem_irq_put(&unbound);
}
