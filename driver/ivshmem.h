/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef IVSHMEM_H
#define IVSHMEM_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/cache.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <linux/ivshmem.h>

struct compat_area;
struct ivshmem_uio;
struct pci_dev;
struct vm_fault;

/**
 * struct ivshmem_vector - One interrupt vector of a device.
 * @ivs:      the device
 * @count:    interrupts since probe; never goes back
 * @status:   the status register at the last one; 0 but for an interrupt pin
 * @wait:     who waits for this vector alone, and the links of the files that
 *            subscribe to it by name
 * @lock:     guards @bindings; taken in the interrupt handler
 * @bindings: struct ivshmem_binding, the eventfds to signal
 * @name:     as in /proc/interrupts
 * @count_attr: shows @count in sysfs
 *
 * Lives as long as the device.
 */
struct ivshmem_vector {
	struct ivshmem_device *ivs;
	atomic64_t count;
	u32 status;
	wait_queue_head_t wait;
	spinlock_t lock;		/* bindings; irqsave */
	struct list_head bindings;
	char name[32];
	struct device_attribute count_attr;
} ____cacheline_aligned_in_smp;

/**
 * struct ivshmem_device - One device, from probe until the last file is closed.
 * @kref:        one reference for the PCI binding, one for each open file, one
 *               for each mapping
 * @srcu:        the gate, see ivshmem_device_enter()
 * @gone:        set once, by ivshmem_device_unplug()
 * @held:        the hardware is off for a while, see ivshmem_device_hold()
 * @held_wait:   who waits for it
 * @pdev:        the PCI device; valid inside the gate
 * @regs:        BAR0; valid inside the gate
 * @mem:         bus address of BAR2
 * @mem_size:    bytes of BAR2
 * @inode:       owns the address space of every open file, so that one call
 *               finds all mappings
 * @misc:        /dev/ivshmemN
 * @groups:      its attributes
 * @counts:      the group of those that show the counts
 * @id:          N
 * @name:        "ivshmemN"
 * @position:    own peer id
 * @revision:    PCI revision
 * @irq_mode:    enum ivshmem_irq_mode
 * @per_peer:    there is one doorbell register for each peer
 * @max_peer:    highest peer that can be rung
 * @min_ring:    lowest vector that can be rung
 * @nr_ring:     one more than the highest; 0 if there is no doorbell
 * @nr_vectors:  vectors that interrupt this machine
 * @vectors:     at least @nr_vectors of them
 * @joins:       notices that a peer has come
 * @pause:       ends a pause of the interrupt pin
 * @pause_lock:  guards @paused together with the pin; taken in its handler
 * @paused:      it is off, because its interrupts had no end
 * @handled:     its interrupts so far; used by its handler alone
 * @stuck:       the log says that they had no end; likewise
 * @uio:         /dev/uioM, or NULL; see uio.c
 * @wait:        the links of files that subscribe to all vectors
 * @lock:        guards @files and @exclusive
 * @files:       struct ivshmem_file, the open files
 * @exclusive:   the one open file was opened with O_EXCL
 *
 * What is not guarded by a lock is written by probe, before the node appears,
 * and then only read.
 */
struct ivshmem_device {
	struct kref kref;
	struct srcu_struct srcu;
	bool gone;
	bool held;
	wait_queue_head_t held_wait;

	struct pci_dev *pdev;
	void __iomem *regs;
	phys_addr_t mem;
	u64 mem_size;

	struct inode *inode;
	struct miscdevice misc;
	const struct attribute_group *groups[3];
	struct attribute_group counts;
	int id;
	char name[20];

	u32 position;
	u8 revision;
	enum ivshmem_irq_mode irq_mode;
	bool per_peer;
	unsigned int max_peer;
	unsigned int min_ring;
	unsigned int nr_ring;

	unsigned int nr_vectors;
	struct ivshmem_vector *vectors;
	atomic64_t joins;
	struct delayed_work pause;
	spinlock_t pause_lock;		/* paused, the pin; irqsave */
	bool paused;
	unsigned int handled;
	bool stuck;
	wait_queue_head_t wait;

	struct ivshmem_uio *uio;

	struct mutex lock;		/* files, exclusive */
	struct list_head files;
	bool exclusive;
};

/**
 * struct ivshmem_link - Wakes an open file when a vector fires.
 * @entry: sits in the wait queue of a vector, or of the device
 * @ifile: the open file
 */
struct ivshmem_link {
	wait_queue_entry_t entry;
	struct ivshmem_file *ifile;
};

/**
 * struct ivshmem_file - One open file.
 * @ivs:        the device, of which it holds a reference
 * @node:       in &ivshmem_device.files
 * @writable:   was opened for writing, so it may ring
 * @wait:       who waits in read(), poll() and for any vector
 * @fasync:     who wants SIGIO
 * @read_lock:  serializes readers; held while copying to user memory
 * @turn:       the readers that wait for @read_lock
 * @next:       vector at which the next read() starts to look; @read_lock
 * @refused:    a reader that does not wait came while another held @read_lock
 * @lock:       guards what follows but @joins and @seen; held for a bounded time
 * @listening:  the links are in their queues
 * @any:        the link of a file that subscribes to all vectors
 * @links:      instead of it, one link for each subscribed vector; or NULL
 * @subscribed: which vectors; also read without the lock
 * @joins:      of the notices that a peer has come, how many read() has reported;
 *              as @seen[0]
 * @seen:       the count of each vector that read() last reported; written under
 *              @lock while the vector is not subscribed, or under @read_lock if
 *              it is still what the reader found
 */
struct ivshmem_file {
	struct ivshmem_device *ivs;
	struct list_head node;
	bool writable;
	wait_queue_head_t wait;
	struct fasync_struct *fasync;

	struct mutex read_lock;		/* next, joins, seen */
	wait_queue_head_t turn;
	unsigned int next;
	bool refused;

	struct mutex lock;		/* listening to subscribed */
	bool listening;
	struct ivshmem_link any;
	struct ivshmem_link *links;
	DECLARE_BITMAP(subscribed, IVSHMEM_MAX_VECTORS);

	atomic64_t joins;
	atomic64_t seen[];
};

/* device.c */
int ivshmem_device_init(void);
void ivshmem_device_exit(void);
struct ivshmem_device *ivshmem_device_create(struct pci_dev *pdev);
void ivshmem_device_get(struct ivshmem_device *ivs);
void ivshmem_device_put(struct ivshmem_device *ivs);
void ivshmem_device_hold(struct ivshmem_device *ivs);
void ivshmem_device_unhold(struct ivshmem_device *ivs);
int ivshmem_device_await(struct ivshmem_device *ivs);
void ivshmem_device_unplug(struct ivshmem_device *ivs);

/**
 * ivshmem_device_gone() - Whether the device has been unplugged.
 * @ivs: the device
 */
static inline bool ivshmem_device_gone(struct ivshmem_device *ivs)
{
	return READ_ONCE(ivs->gone);
}

/**
 * ivshmem_device_held() - Whether the hardware is off for a while.
 * @ivs: the device
 *
 * Stays false until the caller leaves the gate, if it was false inside it.
 */
static inline bool ivshmem_device_held(struct ivshmem_device *ivs)
{
	return READ_ONCE(ivs->held);
}

/**
 * ivshmem_device_enter() - Pass the gate, before touching hardware.
 * @ivs: the device
 * @idx: to be given to ivshmem_device_leave()
 *
 * Returns true if the device is there, and will be until the caller leaves; it may
 * be held. Returns false, with nothing to leave, if it has been unplugged.
 */
static inline bool ivshmem_device_enter(struct ivshmem_device *ivs, int *idx)
{
	*idx = srcu_read_lock(&ivs->srcu);
	if (!ivshmem_device_gone(ivs))
		return true;

	srcu_read_unlock(&ivs->srcu, *idx);
	return false;
}

/**
 * ivshmem_device_leave() - Go out through the gate again.
 * @ivs: the device
 * @idx: as filled in on entering
 */
static inline void ivshmem_device_leave(struct ivshmem_device *ivs, int idx)
{
	srcu_read_unlock(&ivs->srcu, idx);
}

/**
 * ivshmem_device_enter_ready() - Pass the gate, when the device is not held.
 * @ivs: the device
 * @idx: to be given to ivshmem_device_leave()
 *
 * Returns 0; or, with nothing to leave, -ENODEV or -ERESTARTSYS.
 */
static inline int ivshmem_device_enter_ready(struct ivshmem_device *ivs,
					     int *idx)
{
	int ret;

	while (ivshmem_device_enter(ivs, idx)) {
		if (!ivshmem_device_held(ivs))
			return 0;
		ivshmem_device_leave(ivs, *idx);
		ret = wait_event_interruptible(ivs->held_wait,
					       !ivshmem_device_held(ivs) ||
					       ivshmem_device_gone(ivs));
		if (ret)
			return ret;
	}
	return -ENODEV;
}

/* irq.c */
bool ivshmem_irq_present(struct pci_dev *pdev);
int ivshmem_irq_init(struct ivshmem_device *ivs);
void ivshmem_irq_restore(struct ivshmem_device *ivs);
void ivshmem_irq_catch_up(struct ivshmem_device *ivs);
void ivshmem_irq_fini(struct ivshmem_device *ivs);
void ivshmem_irq_free(struct ivshmem_device *ivs);
void ivshmem_irq_hangup(struct ivshmem_device *ivs);
int ivshmem_irq_bind(struct ivshmem_file *ifile, unsigned int vector, int fd);
void ivshmem_irq_unbind_all(struct ivshmem_file *ifile);

/* doorbell.c */
void ivshmem_doorbell_init(struct ivshmem_device *ivs);
int ivshmem_doorbell_ring(struct ivshmem_file *ifile, unsigned long doorbell);

/* subscribe.c */
void ivshmem_subscribe_init(struct ivshmem_file *ifile);
void ivshmem_subscribe_fini(struct ivshmem_file *ifile);
void ivshmem_subscribe_listen(struct ivshmem_file *ifile);
bool ivshmem_subscribe_pending(struct ivshmem_file *ifile);
void ivshmem_subscribe_tell(struct ivshmem_file *ifile);
u64 ivshmem_subscribe_count(struct ivshmem_file *ifile);
int ivshmem_subscribe_set(struct ivshmem_file *ifile,
			  const unsigned long *vectors);

/* wait.c */
long ivshmem_wait_ioctl(struct ivshmem_file *ifile,
			struct ivshmem_wait __user *arg);

/* mmap.c */
extern const enum ivshmem_cache_mode ivshmem_mmap_cache_mode;
void ivshmem_mmap_open(struct vm_area_struct *vma);
void ivshmem_mmap_close(struct vm_area_struct *vma);
int ivshmem_mmap_prepare(struct ivshmem_device *ivs, struct compat_area *area);
vm_fault_t ivshmem_mmap_await(struct vm_fault *vmf);
void ivshmem_mmap_zap(struct ivshmem_device *ivs);

/* uio.c */
#if IS_ENABLED(CONFIG_UIO)
int ivshmem_uio_register(struct ivshmem_device *ivs);
void ivshmem_uio_zap(struct ivshmem_device *ivs);
void ivshmem_uio_hangup(struct ivshmem_device *ivs);
void ivshmem_uio_unregister(struct ivshmem_device *ivs);
void ivshmem_uio_free(struct ivshmem_device *ivs);
void ivshmem_uio_notify(struct ivshmem_device *ivs);
#else
static inline int ivshmem_uio_register(struct ivshmem_device *ivs)
{
	return 0;
}

static inline void ivshmem_uio_zap(struct ivshmem_device *ivs) { }
static inline void ivshmem_uio_hangup(struct ivshmem_device *ivs) { }
static inline void ivshmem_uio_unregister(struct ivshmem_device *ivs) { }
static inline void ivshmem_uio_free(struct ivshmem_device *ivs) { }
static inline void ivshmem_uio_notify(struct ivshmem_device *ivs) { }
#endif

/* chardev.c */
int ivshmem_chardev_register(struct ivshmem_device *ivs);
void ivshmem_chardev_unregister(struct ivshmem_device *ivs);
void ivshmem_chardev_hangup(struct ivshmem_device *ivs);

/* sysfs.c */
int ivshmem_sysfs_init(struct ivshmem_device *ivs);
void ivshmem_sysfs_fini(struct ivshmem_device *ivs);

#endif /* IVSHMEM_H */
