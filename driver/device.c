// SPDX-License-Identifier: GPL-2.0-only
/*
 * The lifetime of a device: references, the gate in front of the hardware, what
 * happens while the hardware is off for a while, and unplugging.
 *
 * Files outlive the hardware. Whatever touches it does so between enter() and
 * leave(), where neither user memory may be accessed (the buffer may lie in
 * BAR2) nor a wait without bound begin: unplugging waits for everybody to leave.
 */
#include <linux/mount.h>
#include <linux/pci.h>
#include <linux/pseudo_fs.h>
#include <linux/slab.h>

#include "compat.h"
#include "ivshmem.h"

#define IVSHMEM_FS_MAGIC	0x69767368

static struct vfsmount *ivshmem_mnt;

static int ivshmem_fs_init_context(struct fs_context *fc)
{
	return init_pseudo(fc, IVSHMEM_FS_MAGIC) ? 0 : -ENOMEM;
}

/*
 * Inodes that no path leads to, one a device. There is no owner, for a mounted
 * file system would keep the module from ever being unloaded; it is unmounted
 * when the module goes.
 */
static struct file_system_type ivshmem_fs_type = {
	.name = "ivshmem",
	.init_fs_context = ivshmem_fs_init_context,
	.kill_sb = kill_anon_super,
};

/**
 * ivshmem_device_init() - Set up what all devices share.
 *
 * Called when the module is loaded. Returns 0 or a negative error.
 */
int ivshmem_device_init(void)
{
	ivshmem_mnt = kern_mount(&ivshmem_fs_type);
	return PTR_ERR_OR_ZERO(ivshmem_mnt);
}

/**
 * ivshmem_device_exit() - Undo ivshmem_device_init().
 *
 * Called when the module is unloaded: every device is gone by then.
 */
void ivshmem_device_exit(void)
{
	kern_unmount(ivshmem_mnt);
}

/**
 * ivshmem_device_create() - Allocate a device, with one reference.
 * @pdev: the PCI device that it will stand for
 *
 * Called by probe. Returns the device or an ERR_PTR().
 */
struct ivshmem_device *ivshmem_device_create(struct pci_dev *pdev)
{
	struct ivshmem_device *ivs;
	int ret;

	ivs = kzalloc(sizeof(*ivs), GFP_KERNEL);
	if (!ivs)
		return ERR_PTR(-ENOMEM);

	ret = init_srcu_struct(&ivs->srcu);
	if (ret)
		goto err_free;

	ivs->inode = alloc_anon_inode(ivshmem_mnt->mnt_sb);
	if (IS_ERR(ivs->inode)) {
		ret = PTR_ERR(ivs->inode);
		goto err_srcu;
	}

	kref_init(&ivs->kref);
	init_waitqueue_head(&ivs->held_wait);
	ivs->pdev = pdev;
	init_waitqueue_head(&ivs->wait);
	mutex_init(&ivs->lock);
	INIT_LIST_HEAD(&ivs->files);
	return ivs;

err_srcu:
	cleanup_srcu_struct(&ivs->srcu);
err_free:
	kfree(ivs);
	return ERR_PTR(ret);
}

static void ivshmem_device_release(struct kref *kref)
{
	struct ivshmem_device *ivs = container_of(kref, struct ivshmem_device, kref);

	ivshmem_uio_free(ivs);
	ivshmem_sysfs_fini(ivs);
	ivshmem_irq_fini(ivs);
	iput(ivs->inode);
	cleanup_srcu_struct(&ivs->srcu);
	kfree(ivs);
}

/**
 * ivshmem_device_get() - Take a reference.
 * @ivs: the device
 */
void ivshmem_device_get(struct ivshmem_device *ivs)
{
	kref_get(&ivs->kref);
}

/**
 * ivshmem_device_put() - Drop a reference; the last one frees. May sleep.
 * @ivs: the device
 */
void ivshmem_device_put(struct ivshmem_device *ivs)
{
	kref_put(&ivs->kref, ivshmem_device_release);
}

/**
 * ivshmem_device_hold() - Keep everybody from the hardware for a while.
 * @ivs: the device
 *
 * Called before a reset, during which the memory reads as ones, and before the
 * machine sleeps. Afterwards no page of the device is mapped, and whoever touches
 * one or rings waits for ivshmem_device_unhold(), outside the gate. Sleepers go on
 * sleeping.
 *
 * This is a flag and not a count: older kernels tell no driver that the recovery
 * from an error has failed, and then it is the next reset that ends the waiting.
 * The price is that a reset by hand in the midst of a recovery ends it early.
 */
void ivshmem_device_hold(struct ivshmem_device *ivs)
{
	WRITE_ONCE(ivs->held, true);
	synchronize_srcu(&ivs->srcu);

	/* Faults enter the gate, so none puts back what this takes away. */
	ivshmem_mmap_zap(ivs);
	ivshmem_uio_zap(ivs);
}

/**
 * ivshmem_device_unhold() - Undo ivshmem_device_hold().
 * @ivs: the device, whose hardware works
 */
void ivshmem_device_unhold(struct ivshmem_device *ivs)
{
	WRITE_ONCE(ivs->held, false);
	wake_up_all(&ivs->held_wait);
}

/**
 * ivshmem_device_await() - Wait until the device is no longer held.
 * @ivs: the device
 *
 * Not to be called inside the gate. Returns 0, also if the device has been
 * unplugged, or -ERESTARTSYS if the program is to die.
 */
int ivshmem_device_await(struct ivshmem_device *ivs)
{
	/* The parentheses are for older kernels, whose macro has none. */
	return compat_wait_event_state(ivs->held_wait,
				       !ivshmem_device_held(ivs) ||
				       ivshmem_device_gone(ivs),
				       (TASK_KILLABLE | TASK_FREEZABLE));
}

/**
 * ivshmem_device_unplug() - Cut every file off from the hardware.
 * @ivs: the device
 *
 * Called by remove, and by an error that nothing can mend, with the lock of the
 * PCI device. Afterwards nobody is inside the gate or will enter it, no page of
 * the device is mapped, and whoever slept has been woken.
 */
void ivshmem_device_unplug(struct ivshmem_device *ivs)
{
	/* An error came before remove: nobody is to be told twice. */
	if (ivs->gone)
		return;
	WRITE_ONCE(ivs->gone, true);
	wake_up_all(&ivs->held_wait);
	synchronize_srcu(&ivs->srcu);

	/* As in ivshmem_device_hold(). */
	ivshmem_mmap_zap(ivs);
	ivshmem_uio_zap(ivs);
	ivshmem_uio_hangup(ivs);
	ivshmem_irq_hangup(ivs);
	ivshmem_chardev_hangup(ivs);
}
