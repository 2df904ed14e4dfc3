// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/uioN, a second face of the same device for programs that are written for
 * UIO: map0 "registers", map1 "shmem", and a count of interrupts of any vector.
 *
 * UIO core knows nothing of unplugging, so this does what it leaves out. It never
 * takes mappings away: hence the list of inodes through which there may be some.
 * After unregistering, it calls no release(), and its notify() would follow a
 * dangling pointer: the interrupts are freed first.
 */
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/uio_driver.h>

#include "compat.h"
#include "ivshmem.h"
#include "regs.h"

static bool ivshmem_uio_wanted = true;
module_param_named(uio, ivshmem_uio_wanted, bool, 0444);
MODULE_PARM_DESC(uio, "Offer the devices through UIO too (default yes)");

/* The order that existing programs expect. */
enum {
	IVSHMEM_UIO_REGS,
	IVSHMEM_UIO_MEM,
};

/* Bits of ivshmem_uio.state. */
enum {
	IVSHMEM_UIO_LIVE,	/* registered */
	IVSHMEM_UIO_DISABLED,	/* the program has written 0 */
	IVSHMEM_UIO_PENDING,	/* an interrupt has not been reported */
};

/**
 * struct ivshmem_uio - The UIO face of a device.
 * @info:   what UIO core sees
 * @state:  IVSHMEM_UIO_LIVE and so on
 * @pad:    reserves what BAR0 leaves of its page
 * @whole_page: nothing else lives in that page, so that it can be mapped
 * @lock:   guards @inodes
 * @inodes: struct ivshmem_uio_inode, the device nodes that are open
 */
struct ivshmem_uio {
	struct uio_info info;
	unsigned long state;
	struct resource pad;
	bool whole_page;
	struct mutex lock;		/* inodes */
	struct list_head inodes;
};

/* A device node of the device, and how many times it is open. */
struct ivshmem_uio_inode {
	struct list_head node;
	struct inode *inode;
	unsigned int users;
};

static struct ivshmem_uio_inode *ivshmem_uio_find(struct ivshmem_uio *uio,
						  struct inode *inode)
{
	struct ivshmem_uio_inode *entry;

	lockdep_assert_held(&uio->lock);
	list_for_each_entry(entry, &uio->inodes, node) {
		if (entry->inode == inode)
			return entry;
	}
	return NULL;
}

static int ivshmem_uio_open(struct uio_info *info, struct inode *inode)
{
	struct ivshmem_device *ivs = info->priv;
	struct ivshmem_uio *uio = ivs->uio;
	struct ivshmem_uio_inode *entry;
	int ret = 0;

	mutex_lock(&uio->lock);
	entry = ivshmem_uio_find(uio, inode);
	if (ivshmem_device_gone(ivs)) {
		ret = -ENODEV;
	} else if (entry) {
		entry->users++;
	} else {
		entry = kmalloc(sizeof(*entry), GFP_KERNEL_ACCOUNT);
		if (entry) {
			ihold(inode);
			entry->inode = inode;
			entry->users = 1;
			list_add(&entry->node, &uio->inodes);
		} else {
			ret = -ENOMEM;
		}
	}
	mutex_unlock(&uio->lock);
	return ret;
}

static void ivshmem_uio_forget(struct ivshmem_uio_inode *entry)
{
	list_del(&entry->node);
	iput(entry->inode);
	kfree(entry);
}

static int ivshmem_uio_release(struct uio_info *info, struct inode *inode)
{
	struct ivshmem_device *ivs = info->priv;
	struct ivshmem_uio *uio = ivs->uio;
	struct ivshmem_uio_inode *entry;

	mutex_lock(&uio->lock);
	entry = ivshmem_uio_find(uio, inode);
	if (entry && !--entry->users)
		ivshmem_uio_forget(entry);
	/* The next program must not suffer from what the last one left. */
	if (list_empty(&uio->inodes))
		clear_bit(IVSHMEM_UIO_DISABLED, &uio->state);
	mutex_unlock(&uio->lock);
	return 0;
}

/* Reports what is pending, once UIO can be told and wants to hear it. */
static void ivshmem_uio_report(struct ivshmem_uio *uio)
{
	if (test_bit(IVSHMEM_UIO_LIVE, &uio->state) &&
	    !test_bit(IVSHMEM_UIO_DISABLED, &uio->state) &&
	    test_and_clear_bit(IVSHMEM_UIO_PENDING, &uio->state))
		uio_event_notify(&uio->info);
}

static int ivshmem_uio_irqcontrol(struct uio_info *info, s32 on)
{
	struct ivshmem_device *ivs = info->priv;
	struct ivshmem_uio *uio = ivs->uio;

	if (!on) {
		set_bit(IVSHMEM_UIO_DISABLED, &uio->state);
		return 0;
	}
	clear_bit(IVSHMEM_UIO_DISABLED, &uio->state);
	/* Pairs with the barrier in ivshmem_uio_notify(). */
	smp_mb__after_atomic();
	ivshmem_uio_report(uio);
	return 0;
}

static vm_fault_t ivshmem_uio_fault_regs(struct vm_fault *vmf)
{
	struct ivshmem_device *ivs = vmf->vma->vm_private_data;
	vm_fault_t ret;
	int idx;

	if (!ivshmem_device_enter(ivs, &idx))
		return VM_FAULT_SIGBUS;
	if (ivshmem_device_held(ivs)) {
		ivshmem_device_leave(ivs, idx);
		return ivshmem_mmap_await(vmf);
	}
	/* The number of the map is no longer in the offset. */
	ret = vmf_insert_pfn(vmf->vma, vmf->address,
			     PHYS_PFN(pci_resource_start(ivs->pdev,
							 IVSHMEM_BAR_REGS)) +
			     vmf->pgoff);
	ivshmem_device_leave(ivs, idx);
	return ret;
}

static const struct vm_operations_struct ivshmem_uio_regs_ops = {
	.open = ivshmem_mmap_open,
	.close = ivshmem_mmap_close,
	.fault = ivshmem_uio_fault_regs,
};

static int ivshmem_uio_prepare_regs(struct ivshmem_device *ivs,
				    struct compat_area *area)
{
	if (ivshmem_device_gone(ivs))
		return -ENODEV;
	if (!ivs->uio->whole_page)
		return -ENXIO;
	if ((area->flags & (VM_SHARED | VM_MAYWRITE)) == VM_MAYWRITE)
		return -EINVAL;

	area->flags = VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP;
	/* A device's registers, so not encrypted; as io_remap_pfn_range() does. */
	area->prot = pgprot_decrypted(pgprot_noncached(area->prot));
	area->ops = &ivshmem_uio_regs_ops;
	area->data = ivs;
	ivshmem_device_get(ivs);
	return 0;
}

/* UIO passes the number of the map as the offset, in pages. */
static int ivshmem_uio_mmap(struct uio_info *info, struct compat_uio_vma *vma)
{
	struct ivshmem_device *ivs = info->priv;
	struct compat_area area;
	unsigned long map;
	int ret;

	compat_uio_load(&area, vma);
	map = area.pgoff;
	area.pgoff = 0;
	ret = map == IVSHMEM_UIO_REGS ? ivshmem_uio_prepare_regs(ivs, &area) :
					ivshmem_mmap_prepare(ivs, &area);
	if (!ret)
		compat_uio_store(&area, vma);
	return ret;
}

/*
 * Whoever maps BAR0 gets its whole page. That is right only where nothing else
 * lives in it, and nothing will while it is mapped.
 */
static void ivshmem_uio_reserve(struct ivshmem_device *ivs)
{
	struct resource *regs = &ivs->pdev->resource[IVSHMEM_BAR_REGS];
	struct resource *pad = &ivs->uio->pad;

	ivs->uio->whole_page = PAGE_ALIGNED(regs->start);
	if (ivs->uio->whole_page && !PAGE_ALIGNED(regs->end + 1)) {
		pad->name = "ivshmem padding";
		pad->start = regs->end + 1;
		pad->end = PAGE_ALIGN(regs->end) - 1;
		pad->flags = regs->flags;
		ivs->uio->whole_page = !request_resource(regs->parent, pad);
	}
	if (!ivs->uio->whole_page)
		dev_info(&ivs->pdev->dev,
			 "BAR%d shares its page, UIO programs cannot map it\n",
			 IVSHMEM_BAR_REGS);
}

/**
 * ivshmem_uio_register() - Let /dev/uioN appear.
 * @ivs: the device, ready for use
 *
 * Called by probe. Returns 0, also where the module parameter leaves UIO out, or
 * a negative error.
 */
int ivshmem_uio_register(struct ivshmem_device *ivs)
{
	struct pci_dev *pdev = ivs->pdev;
	struct ivshmem_uio *uio;
	struct uio_info *info;
	struct uio_mem *mem;
	int ret;

	if (!ivshmem_uio_wanted)
		return 0;

	uio = kzalloc(sizeof(*uio), GFP_KERNEL);
	if (!uio)
		return -ENOMEM;
	mutex_init(&uio->lock);
	INIT_LIST_HEAD(&uio->inodes);
	/* The interrupt handler looks at it. */
	smp_store_release(&ivs->uio, uio);
	ivshmem_uio_reserve(ivs);

	info = &uio->info;
	info->name = "ivshmem";
	info->version = "1";
	info->priv = ivs;
	info->irq = ivs->nr_vectors ? UIO_IRQ_CUSTOM : UIO_IRQ_NONE;
	info->open = ivshmem_uio_open;
	info->release = ivshmem_uio_release;
	info->compat_uio_mmap = ivshmem_uio_mmap;
	info->irqcontrol = ivshmem_uio_irqcontrol;

	mem = &info->mem[IVSHMEM_UIO_REGS];
	mem->name = "registers";
	mem->memtype = UIO_MEM_PHYS;
	mem->addr = pci_resource_start(pdev, IVSHMEM_BAR_REGS) & PAGE_MASK;
	mem->offs = pci_resource_start(pdev, IVSHMEM_BAR_REGS) & ~PAGE_MASK;
	mem->size = pci_resource_len(pdev, IVSHMEM_BAR_REGS);

	mem = &info->mem[IVSHMEM_UIO_MEM];
	mem->name = "shmem";
	mem->memtype = UIO_MEM_PHYS;
	mem->addr = ivs->mem;
	mem->size = ivs->mem_size;

	ret = uio_register_device(&pdev->dev, info);
	if (ret)
		return ret;
	/* The interrupt handler, which runs already, must find it finished. */
	smp_mb__before_atomic();
	set_bit(IVSHMEM_UIO_LIVE, &uio->state);
	/* Whoever was quick to open the node hears what came since. */
	smp_mb__after_atomic();
	ivshmem_uio_report(uio);
	return 0;
}

/**
 * ivshmem_uio_notify() - Report an interrupt to UIO.
 * @ivs: the device
 *
 * Called by the interrupt handler.
 */
void ivshmem_uio_notify(struct ivshmem_device *ivs)
{
	struct ivshmem_uio *uio = READ_ONCE(ivs->uio);

	if (!uio)
		return;
	if (test_bit(IVSHMEM_UIO_LIVE, &uio->state) &&
	    !test_bit(IVSHMEM_UIO_DISABLED, &uio->state)) {
		/* Pairs with the barrier before it became live. */
		smp_rmb();
		uio_event_notify(&uio->info);
		return;
	}
	/* Those that cannot be reported yet become one. */
	set_bit(IVSHMEM_UIO_PENDING, &uio->state);
	/*
	 * Either this finds that UIO may be told after all, or who lets it, in
	 * ivshmem_uio_irqcontrol() or _register(), finds it pending.
	 */
	smp_mb__after_atomic();
	ivshmem_uio_report(uio);
}

/**
 * ivshmem_uio_zap() - Take away every page that is mapped through UIO.
 * @ivs: the device, held or gone, and the gate empty
 */
void ivshmem_uio_zap(struct ivshmem_device *ivs)
{
	struct ivshmem_uio_inode *entry;

	if (!ivs->uio)
		return;

	mutex_lock(&ivs->uio->lock);
	list_for_each_entry(entry, &ivs->uio->inodes, node)
		unmap_mapping_range(entry->inode->i_mapping, 0, 0, 1);
	mutex_unlock(&ivs->uio->lock);
}

/**
 * ivshmem_uio_hangup() - Forget the nodes, of which nobody will tell the end.
 * @ivs: the device, unplugged, so that none is added, and zapped
 */
void ivshmem_uio_hangup(struct ivshmem_device *ivs)
{
	struct ivshmem_uio_inode *entry, *tmp;

	if (!ivs->uio)
		return;

	mutex_lock(&ivs->uio->lock);
	list_for_each_entry_safe(entry, tmp, &ivs->uio->inodes, node)
		ivshmem_uio_forget(entry);
	mutex_unlock(&ivs->uio->lock);
}

/**
 * ivshmem_uio_unregister() - Remove the node; open files stay open.
 * @ivs: the device, unplugged and without interrupts
 */
void ivshmem_uio_unregister(struct ivshmem_device *ivs)
{
	if (!ivs->uio)
		return;
	if (test_bit(IVSHMEM_UIO_LIVE, &ivs->uio->state))
		uio_unregister_device(&ivs->uio->info);
	if (ivs->uio->pad.parent)
		release_resource(&ivs->uio->pad);
}

/**
 * ivshmem_uio_free() - Free what ivshmem_uio_register() allocated.
 * @ivs: the device, which nobody uses any more
 */
void ivshmem_uio_free(struct ivshmem_device *ivs)
{
	kfree(ivs->uio);
}
