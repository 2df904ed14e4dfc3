// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/ivshmemN: its file operations and ioctls. The ABI is described in
 * include/uapi/linux/ivshmem.h.
 */
#include <linux/compat.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "compat.h"
#include "ivshmem.h"

static_assert(sizeof(struct ivshmem_info) == 64);
static_assert(sizeof(struct ivshmem_event) == 16);
static_assert(sizeof(struct ivshmem_wait) == 48);
static_assert(sizeof(struct ivshmem_eventfd) == 16);
static_assert(sizeof(struct ivshmem_subscribe) == 24);

static int ivshmem_chardev_open(struct inode *inode, struct file *file)
{
	struct ivshmem_device *ivs = container_of(file->private_data,
						  struct ivshmem_device, misc);
	struct ivshmem_file *ifile;
	unsigned int v;
	int ret = 0;

	ifile = kvzalloc(struct_size(ifile, seen, ivs->nr_vectors),
			 GFP_KERNEL_ACCOUNT);
	if (!ifile)
		return -ENOMEM;

	ifile->ivs = ivs;
	ifile->writable = file->f_mode & FMODE_WRITE;
	init_waitqueue_head(&ifile->wait);
	init_waitqueue_head(&ifile->turn);
	mutex_init(&ifile->read_lock);
	ivshmem_subscribe_init(ifile);
	atomic64_set(&ifile->joins, atomic64_read(&ivs->joins));
	for (v = 0; v < ivs->nr_vectors; v++)
		atomic64_set(&ifile->seen[v],
			     atomic64_read(&ivs->vectors[v].count));

	mutex_lock(&ivs->lock);
	if (ivshmem_device_gone(ivs)) {
		ret = -ENODEV;
	} else if (ivs->exclusive ||
		   (file->f_flags & O_EXCL && !list_empty(&ivs->files))) {
		ret = -EBUSY;
	} else {
		ivs->exclusive = file->f_flags & O_EXCL;
		list_add_tail(&ifile->node, &ivs->files);
		ivshmem_device_get(ivs);
	}
	mutex_unlock(&ivs->lock);
	if (ret) {
		kvfree(ifile);
		return ret;
	}

	file->private_data = ifile;
	file->f_mapping = ivs->inode->i_mapping;
	file->f_mode |= FMODE_NOWAIT;
	return 0;
}

static int ivshmem_chardev_release(struct inode *inode, struct file *file)
{
	struct ivshmem_file *ifile = file->private_data;
	struct ivshmem_device *ivs = ifile->ivs;

	mutex_lock(&ivs->lock);
	list_del(&ifile->node);
	ivs->exclusive = false;
	mutex_unlock(&ivs->lock);

	ivshmem_irq_unbind_all(ifile);
	ivshmem_subscribe_fini(ifile);
	kvfree(ifile);
	ivshmem_device_put(ivs);
	return 0;
}

static loff_t ivshmem_chardev_llseek(struct file *file, loff_t offset,
				     int whence)
{
	struct ivshmem_file *ifile = file->private_data;

	if (ivshmem_device_gone(ifile->ivs))
		return -ENODEV;
	return fixed_size_llseek(file, offset, whence, ifile->ivs->mem_size);
}

/*
 * Copies out events of vectors from @from to before @to, and marks each as seen
 * once the caller has it. Returns 0, -ENOSPC if the buffer is full, or -EFAULT.
 */
static int ivshmem_chardev_report(struct ivshmem_file *ifile,
				  struct iov_iter *iter, unsigned int from,
				  unsigned int to)
{
	struct ivshmem_device *ivs = ifile->ivs;
	unsigned int v = from;

	for_each_set_bit_from(v, ifile->subscribed, to) {
		struct ivshmem_event event = { .vector = v };
		u64 seen, joined, joins;
		size_t copied;

		/* Pairs with what comes before SUBSCRIBE sets the bit. */
		smp_rmb();
		/*
		 * Before what they are compared with, and kept: SUBSCRIBE may set
		 * them anew while the event is copied.
		 */
		joined = atomic64_read_acquire(&ifile->joins);
		seen = atomic64_read_acquire(&ifile->seen[v]);
		/* The handler counts after it has written the others. */
		event.count = atomic64_read_acquire(&ivs->vectors[v].count);
		event.status = READ_ONCE(ivs->vectors[v].status);
		joins = atomic64_read(&ivs->joins);
		if (event.count == seen)
			continue;
		if (v == 0 && joins != joined)
			event.flags |= IVSHMEM_EVENT_JOIN;
		if (iov_iter_count(iter) < sizeof(event))
			return -ENOSPC;
		copied = copy_to_iter(&event, sizeof(event), iter);
		if (copied != sizeof(event)) {
			iov_iter_revert(iter, copied);
			return -EFAULT;
		}
		/* Unless SUBSCRIBE did, which knows of more. */
		atomic64_cmpxchg(&ifile->seen[v], seen, event.count);
		if (v == 0)
			atomic64_cmpxchg(&ifile->joins, joined, joins);
		ifile->next = v + 1;
	}
	return 0;
}

/*
 * Waits for the other readers, of which one may be stuck in a page fault. It is no
 * wait for the lock itself, so that unplugging ends it. Returns 0, -ENODEV or
 * -ERESTARTSYS.
 */
static int ivshmem_chardev_lock(struct ivshmem_file *ifile)
{
	struct mutex *lock = &ifile->read_lock;
	bool locked;
	int ret;

	ret = wait_event_interruptible_exclusive(ifile->turn,
						 (locked = mutex_trylock(lock)) ||
						 ivshmem_device_gone(ifile->ivs));
	if (locked)
		return 0;
	return ret ? ret : -ENODEV;
}

/*
 * A reader that does not wait is refused while another one reads. It may have
 * come for an event that the other does not take, and been told of it by what
 * tells once, as EPOLLET does; so it is told again.
 */
static bool ivshmem_chardev_trylock(struct ivshmem_file *ifile)
{
	if (mutex_trylock(&ifile->read_lock))
		return true;
	WRITE_ONCE(ifile->refused, true);
	/* Pairs with that after the unlock: one of the two sees the other. */
	smp_mb();
	return mutex_trylock(&ifile->read_lock);
}

static void ivshmem_chardev_unlock(struct ivshmem_file *ifile)
{
	mutex_unlock(&ifile->read_lock);
	/*
	 * Pairs with that between the attempts to lock, and with that of waiting
	 * for a turn.
	 */
	smp_mb();
	if (waitqueue_active(&ifile->turn))	/* ordered above */
		wake_up(&ifile->turn);
	if (READ_ONCE(ifile->refused) && xchg(&ifile->refused, false) &&
	    ivshmem_subscribe_pending(ifile))
		ivshmem_subscribe_tell(ifile);
}

/*
 * Starts after the vector that was reported last, so that a small buffer gets
 * round to all. Returns bytes, 0 if nothing has fired, or a negative error.
 */
static ssize_t ivshmem_chardev_fetch(struct ivshmem_file *ifile,
				     struct iov_iter *iter, bool nonblock)
{
	size_t room = iov_iter_count(iter);
	ssize_t copied, ret;
	unsigned int start;

	if (nonblock) {
		if (!ivshmem_chardev_trylock(ifile))
			return -EAGAIN;
	} else {
		ret = ivshmem_chardev_lock(ifile);
		if (ret)
			return ret;
	}

	start = ifile->next;
	ret = ivshmem_chardev_report(ifile, iter, start, ifile->ivs->nr_vectors);
	if (!ret)
		ret = ivshmem_chardev_report(ifile, iter, 0, start);
	ivshmem_chardev_unlock(ifile);

	copied = room - iov_iter_count(iter);
	return copied ? copied : ret;
}

static ssize_t ivshmem_chardev_read(struct kiocb *iocb, struct iov_iter *iter)
{
	struct ivshmem_file *ifile = iocb->ki_filp->private_data;
	bool nonblock = READ_ONCE(iocb->ki_filp->f_flags) & O_NONBLOCK ||
			iocb->ki_flags & IOCB_NOWAIT;
	struct ivshmem_device *ivs = ifile->ivs;
	ssize_t ret;

	for (;;) {
		if (ivshmem_device_gone(ivs))
			return -ENODEV;
		if (iov_iter_count(iter) < sizeof(struct ivshmem_event))
			return -EINVAL;
		if (!ivs->nr_vectors)
			return -ENXIO;

		ret = ivshmem_chardev_fetch(ifile, iter, nonblock);
		if (ret)
			return ret;
		if (nonblock)
			return -EAGAIN;

		ivshmem_subscribe_listen(ifile);
		ret = wait_event_interruptible(ifile->wait,
					       ivshmem_subscribe_pending(ifile) ||
					       ivshmem_device_gone(ivs));
		if (ret)
			return ret;
	}
}

static __poll_t ivshmem_chardev_poll(struct file *file, poll_table *pt)
{
	struct ivshmem_file *ifile = file->private_data;

	ivshmem_subscribe_listen(ifile);
	poll_wait(file, &ifile->wait, pt);
	/* Pairs with the counting in the interrupt handler. */
	smp_mb();

	if (ivshmem_device_gone(ifile->ivs))
		return EPOLLHUP | EPOLLERR;
	if (!ifile->ivs->nr_vectors)
		return EPOLLERR;
	if (ivshmem_subscribe_pending(ifile))
		return EPOLLIN | EPOLLRDNORM;
	return 0;
}

static int ivshmem_chardev_fasync(int fd, struct file *file, int on)
{
	struct ivshmem_file *ifile = file->private_data;

	if (on)
		ivshmem_subscribe_listen(ifile);
	return fasync_helper(fd, file, on, &ifile->fasync);
}

static int ivshmem_chardev_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct ivshmem_file *ifile = file->private_data;
	struct compat_area area;
	int ret;

	compat_vma_load(&area, vma);
	ret = ivshmem_mmap_prepare(ifile->ivs, &area);
	if (!ret)
		compat_vma_store(&area, vma);
	return ret;
}

static long ivshmem_chardev_get_info(struct ivshmem_file *ifile,
				     struct ivshmem_info __user *arg)
{
	struct ivshmem_device *ivs = ifile->ivs;
	struct ivshmem_info info = {
		.size = ivs->mem_size,
		.position = READ_ONCE(ivs->position),
		.vectors = ivs->nr_vectors,
		.revision = ivs->revision,
		.irq_mode = ivs->irq_mode,
		.cache_mode = ivshmem_mmap_cache_mode,
	};

	if (ivs->nr_ring)
		info.features |= IVSHMEM_FEATURE_DOORBELL;
	if (ivs->nr_vectors)
		info.features |= IVSHMEM_FEATURE_INTERRUPT;
	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static long ivshmem_chardev_set_eventfd(struct ivshmem_file *ifile,
					struct ivshmem_eventfd __user *arg)
{
	struct ivshmem_eventfd req;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	if (req.reserved)
		return -EINVAL;
	if (!ifile->ivs->nr_vectors)
		return -ENXIO;
	if (req.vector >= ifile->ivs->nr_vectors)
		return -EINVAL;
	return ivshmem_irq_bind(ifile, req.vector, req.fd);
}

static long ivshmem_chardev_subscribe(struct ivshmem_file *ifile,
				      struct ivshmem_subscribe __user *arg)
{
	DECLARE_BITMAP(vectors, IVSHMEM_MAX_VECTORS) = {};
	u64 words[IVSHMEM_MAX_VECTORS / 64];
	struct ivshmem_subscribe req;
	unsigned int v;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	if (req.flags & ~IVSHMEM_SUBSCRIBE_ALL || req.reserved ||
	    req.bits > IVSHMEM_MAX_VECTORS)
		return -EINVAL;
	if (!ifile->ivs->nr_vectors)
		return -ENXIO;

	if (req.flags & IVSHMEM_SUBSCRIBE_ALL) {
		if (req.bitmap || req.bits)
			return -EINVAL;
		return ivshmem_subscribe_set(ifile, NULL);
	}

	if (copy_from_user(words, u64_to_user_ptr(req.bitmap),
			   DIV_ROUND_UP(req.bits, 64) * sizeof(*words)))
		return -EFAULT;
	for (v = 0; v < req.bits; v++) {
		if (!(words[v / 64] >> v % 64 & 1))
			continue;
		if (v >= ifile->ivs->nr_vectors)
			return -EINVAL;
		__set_bit(v, vectors);
	}
	return ivshmem_subscribe_set(ifile, vectors);
}

static long ivshmem_chardev_ioctl(struct file *file, unsigned int cmd,
				  unsigned long arg)
{
	struct ivshmem_file *ifile = file->private_data;
	void __user *argp = (void __user *)arg;

	if (ivshmem_device_gone(ifile->ivs))
		return -ENODEV;

	switch (cmd) {
	case IVSHMEM_GET_INFO:
		return ivshmem_chardev_get_info(ifile, argp);
	case IVSHMEM_RING_DOORBELL:
		return ivshmem_doorbell_ring(ifile, arg);
	case IVSHMEM_WAIT:
		return ivshmem_wait_ioctl(ifile, argp);
	case IVSHMEM_SET_EVENTFD:
		return ivshmem_chardev_set_eventfd(ifile, argp);
	case IVSHMEM_SUBSCRIBE:
		return ivshmem_chardev_subscribe(ifile, argp);
	default:
		return -ENOTTY;
	}
}

#ifdef CONFIG_COMPAT
static long ivshmem_chardev_compat_ioctl(struct file *file, unsigned int cmd,
					 unsigned long arg)
{
	if (cmd != IVSHMEM_RING_DOORBELL)
		arg = (unsigned long)compat_ptr(arg);
	return ivshmem_chardev_ioctl(file, cmd, arg);
}
#endif

static const struct file_operations ivshmem_chardev_fops = {
	.owner = THIS_MODULE,
	.open = ivshmem_chardev_open,
	.release = ivshmem_chardev_release,
	.llseek = ivshmem_chardev_llseek,
	.read_iter = ivshmem_chardev_read,
	.splice_read = compat_splice_read,
	.poll = ivshmem_chardev_poll,
	.fasync = ivshmem_chardev_fasync,
	.mmap = ivshmem_chardev_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.unlocked_ioctl = ivshmem_chardev_ioctl,
#ifdef CONFIG_COMPAT
	.compat_ioctl = ivshmem_chardev_compat_ioctl,
#endif
};

/**
 * ivshmem_chardev_register() - Let /dev/ivshmemN appear.
 * @ivs: the device, ready for use
 *
 * Called at the end of probe. Returns 0 or a negative error.
 */
int ivshmem_chardev_register(struct ivshmem_device *ivs)
{
	ivs->misc.minor = MISC_DYNAMIC_MINOR;
	ivs->misc.name = ivs->name;
	ivs->misc.fops = &ivshmem_chardev_fops;
	ivs->misc.parent = &ivs->pdev->dev;
	ivs->misc.groups = ivs->groups;
	ivs->misc.mode = 0660;
	return misc_register(&ivs->misc);
}

/**
 * ivshmem_chardev_unregister() - Remove the node; open files stay open.
 * @ivs: the device, unplugged
 */
void ivshmem_chardev_unregister(struct ivshmem_device *ivs)
{
	misc_deregister(&ivs->misc);
}

/**
 * ivshmem_chardev_hangup() - Tell every open file that the device is gone.
 * @ivs: the device, with &ivshmem_device.gone set, so that none is added
 */
void ivshmem_chardev_hangup(struct ivshmem_device *ivs)
{
	struct ivshmem_file *ifile;

	mutex_lock(&ivs->lock);
	list_for_each_entry(ifile, &ivs->files, node) {
		/* Exclusive waiters too, of which poll's would stop the rest. */
		wake_up_all(&ifile->wait);
		wake_up_all(&ifile->turn);
		kill_fasync(&ifile->fasync, SIGIO, POLL_HUP);
	}
	mutex_unlock(&ivs->lock);
}
