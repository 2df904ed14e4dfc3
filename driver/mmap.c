// SPDX-License-Identifier: GPL-2.0-only
/*
 * BAR2 in user space.
 *
 * The entries are made here, from the VMA's own protection, and not by
 * vmf_insert_pfn(): that asks the architecture for the cache mode on record, and
 * on x86 a BAR's is uncached. The memory is ordinary RAM of the host, which has
 * it cached, and so must the guest.
 *
 * Entries come from faults only, inside the gate, so that a zap cannot miss one.
 * A page table is filled at once, or is one huge entry where the kernel can have
 * those in a mapping without struct pages, and is safe with them. What fork() and
 * mremap() copy is found too: a zap comes to the copy after its origin, or waits
 * for the lock under which it is made.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pfn.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include <asm/pgalloc.h>

#include "compat.h"
#include "ivshmem.h"

static bool ivshmem_mmap_huge = compat_huge_is_safe;
module_param_named(huge, ivshmem_mmap_huge, bool, 0444);
MODULE_PARM_DESC(huge,
		 "Map the memory by 2 MiB entries where the kernel can (default yes where mbind() is safe with them)");

const enum ivshmem_cache_mode ivshmem_mmap_cache_mode = IVSHMEM_CACHE_WRITE_BACK;

/*
 * Where modules have what it takes to make entries. Elsewhere vmf_insert_pfn_prot()
 * makes them, one at a time: x86 alone has cache modes on record.
 */
#define IVSHMEM_MMAP_OWN \
	(IS_ENABLED(CONFIG_X86) || IS_ENABLED(CONFIG_ARM64))

/* Entries of one page table to fill. */
struct ivshmem_fill {
	struct mm_struct *mm;
	unsigned long end;	/* of the addresses that they stand for */
	unsigned long pfn;	/* of the first */
	pgprot_t prot;
};

/*
 * Called for the first entry, and goes on to the others by itself: they are in
 * the same table, whose lock is held. A call for each would take longer than all
 * the rest.
 */
static int ivshmem_mmap_fill_table(pte_t *pte, unsigned long addr, void *data)
{
	struct ivshmem_fill *fill = data;
	unsigned long pfn = fill->pfn;

	for (; addr < fill->end; addr += PAGE_SIZE, pte++, pfn++) {
		pte_t entry;

		if (!pte_none(ptep_get(pte)))
			continue;
		entry = pte_mkyoung(pte_mkspecial(pfn_pte(pfn, fill->prot)));
		if (pte_write(entry))
			entry = pte_mkdirty(entry);
		set_pte_at(fill->mm, addr, pte, entry);
	}
	return 0;
}

static unsigned long ivshmem_mmap_pfn(struct vm_area_struct *vma,
				      unsigned long addr)
{
	struct ivshmem_device *ivs = vma->vm_private_data;

	return PHYS_PFN(ivs->mem) + vma->vm_pgoff +
	       ((addr - vma->vm_start) >> PAGE_SHIFT);
}

/**
 * ivshmem_mmap_open() - Keep the device for a mapping.
 * @vma: a mapping of the device, in &vm_area_struct.vm_private_data
 *
 * The file behind it may not do so: UIO's does not.
 */
void ivshmem_mmap_open(struct vm_area_struct *vma)
{
	ivshmem_device_get(vma->vm_private_data);
}

/**
 * ivshmem_mmap_close() - Undo ivshmem_mmap_open().
 * @vma: the mapping
 */
void ivshmem_mmap_close(struct vm_area_struct *vma)
{
	ivshmem_device_put(vma->vm_private_data);
}

/*
 * Not the VMA's own, which lacks the permission to write while the kernel tracks
 * soft-dirty pages: each page would then cost a second fault.
 */
static pgprot_t ivshmem_mmap_prot(struct vm_area_struct *vma)
{
	return pgprot_decrypted(vm_get_page_prot(vma->vm_flags));
}

/*
 * Sees to it that there is a page table at the address, which then stays for as
 * long as the fault lasts. Returns false if a huge entry came first: for two
 * threads the kernel may have chosen different levels. Then the access is tried
 * again, and also if a zap has taken that entry away meanwhile: the kernel brings
 * a page table along for each fault that finds none.
 */
static bool ivshmem_mmap_settle(struct vm_fault *vmf)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	spinlock_t *ptl = pmd_lock(mm, vmf->pmd);
	bool settled;

	if (pmd_none(*vmf->pmd) && vmf->prealloc_pte) {
		mm_inc_nr_ptes(mm);
		/* The table is empty before others can find it. */
		smp_wmb();
		pmd_populate(mm, vmf->pmd, vmf->prealloc_pte);
		vmf->prealloc_pte = NULL;
	}
	settled = !pmd_none(*vmf->pmd) && !pmd_leaf(*vmf->pmd);
	spin_unlock(ptl);
	return settled;
}

/**
 * ivshmem_mmap_await() - What a fault does while the device is held.
 * @vmf: the fault, not inside the gate
 *
 * Waits without the lock on the address space, then has the access tried again.
 * Returns what the fault handler is to return.
 */
vm_fault_t ivshmem_mmap_await(struct vm_fault *vmf)
{
	struct ivshmem_device *ivs = vmf->vma->vm_private_data;
	struct file *file = vmf->vma->vm_file;

	/* The kernel itself, where it cannot wait. */
	if (!(vmf->flags & FAULT_FLAG_ALLOW_RETRY))
		return VM_FAULT_SIGBUS;
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;

	/* The mapping may go meanwhile, and with it device and module. */
	ivshmem_device_get(ivs);
	get_file(file);
	compat_release_fault_lock(vmf);
	ivshmem_device_await(ivs);
	ivshmem_device_put(ivs);
	fput(file);
	return VM_FAULT_RETRY;
}

/* Entries of one page table, for addresses from start to the end of the fill. */
static vm_fault_t ivshmem_mmap_fill(struct vm_area_struct *vma,
				    unsigned long start,
				    struct ivshmem_fill *fill)
{
	unsigned long pfn = fill->pfn;
	vm_fault_t ret = VM_FAULT_NOPAGE;

	if (IVSHMEM_MMAP_OWN)
		return apply_to_page_range(fill->mm, start, PAGE_SIZE,
					   ivshmem_mmap_fill_table, fill) ?
		       VM_FAULT_OOM : VM_FAULT_NOPAGE;

	for (; start < fill->end && ret == VM_FAULT_NOPAGE; start += PAGE_SIZE)
		ret = vmf_insert_pfn_prot(vma, start, pfn++, fill->prot);
	return ret;
}

/* Fills the page table around the address, so that it faults once. */
static vm_fault_t ivshmem_mmap_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct ivshmem_device *ivs = vma->vm_private_data;
	unsigned long table = vmf->address & PMD_MASK;
	unsigned long start = max(table, vma->vm_start);
	unsigned long end = min(table + PMD_SIZE, vma->vm_end);
	struct ivshmem_fill fill = {
		.mm = vma->vm_mm,
		.end = end,
		.pfn = ivshmem_mmap_pfn(vma, start),
		.prot = ivshmem_mmap_prot(vma),
	};
	vm_fault_t ret = VM_FAULT_NOPAGE;
	int idx;

	if (!ivshmem_device_enter(ivs, &idx))
		return VM_FAULT_SIGBUS;
	if (ivshmem_device_held(ivs)) {
		ivshmem_device_leave(ivs, idx);
		return ivshmem_mmap_await(vmf);
	}
	if (ivshmem_mmap_settle(vmf))
		ret = ivshmem_mmap_fill(vma, start, &fill);
	ivshmem_device_leave(ivs, idx);
	return ret;
}

#if defined(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) && IVSHMEM_MMAP_OWN
/*
 * One entry for what a whole page table would hold, where the VMA covers it and
 * memory and address are aligned alike.
 */
static vm_fault_t ivshmem_mmap_huge_fault(struct vm_fault *vmf,
					  unsigned int order)
{
	struct vm_area_struct *vma = vmf->vma;
	struct ivshmem_device *ivs = vma->vm_private_data;
	unsigned long start = vmf->address & PMD_MASK;
	vm_fault_t ret = VM_FAULT_NOPAGE;
	unsigned long pfn;
	spinlock_t *ptl;	/* of the entry */
	pmd_t entry;
	int idx;

	if (!ivshmem_mmap_huge || order != PMD_ORDER ||
	    arch_needs_pgtable_deposit() || start < vma->vm_start ||
	    start + PMD_SIZE > vma->vm_end)
		return VM_FAULT_FALLBACK;
	pfn = ivshmem_mmap_pfn(vma, start);
	if (!IS_ALIGNED(pfn, 1UL << PMD_ORDER))
		return VM_FAULT_FALLBACK;

	entry = pmd_mkspecial(pmd_mkhuge(pfn_pmd(pfn, ivshmem_mmap_prot(vma))));
	if (pmd_write(entry))
		entry = pmd_mkdirty(entry);
	entry = pmd_mkyoung(entry);

	if (!ivshmem_device_enter(ivs, &idx))
		return VM_FAULT_SIGBUS;
	if (ivshmem_device_held(ivs)) {
		/* The fault for small entries waits: it has mmap_lock. */
		ivshmem_device_leave(ivs, idx);
		return VM_FAULT_FALLBACK;
	}
	ptl = pmd_lock(vma->vm_mm, vmf->pmd);
	if (pmd_none(*vmf->pmd)) {
		set_pmd_at(vma->vm_mm, start, vmf->pmd, entry);
		update_mmu_cache_pmd(vma, vmf->address, vmf->pmd);
	} else if (!pmd_leaf(*vmf->pmd) ||
		   (vmf->flags & FAULT_FLAG_WRITE && !pmd_write(*vmf->pmd))) {
		/* The kernel splits an entry that it may not write through. */
		ret = VM_FAULT_FALLBACK;
	}
	spin_unlock(ptl);
	ivshmem_device_leave(ivs, idx);
	return ret;
}
#endif

/*
 * What a debugger reads and writes: page by page, through a mapping of the same
 * cache mode that lives for the copy only.
 */
static int ivshmem_mmap_access(struct vm_area_struct *vma, unsigned long addr,
			       void *buf, int len, int write)
{
	struct ivshmem_device *ivs = vma->vm_private_data;
	unsigned long pfn = ivshmem_mmap_pfn(vma, addr);
	unsigned long offset = offset_in_page(addr);
	int idx, ret = -ENOMEM;
	void *page;

	if (write && !(vma->vm_flags & VM_WRITE))
		return -EACCES;
	/* vmap_pfn() warns of what the kernel might call its own memory. */
	if (pfn_valid(pfn))
		return -EIO;
	if (!ivshmem_device_enter(ivs, &idx))
		return -ENODEV;

	/* A debugger cannot wait: it has the lock of another's address space. */
	page = ivshmem_device_held(ivs) ? NULL :
	       vmap_pfn(&pfn, 1, pgprot_decrypted(PAGE_KERNEL));
	if (page) {
		ret = min_t(unsigned long, len, PAGE_SIZE - offset);
		if (write)
			memcpy(page + offset, buf, ret);
		else
			memcpy(buf, page + offset, ret);
		vunmap(page);
	}
	ivshmem_device_leave(ivs, idx);
	return ret;
}

static const struct vm_operations_struct ivshmem_mmap_ops = {
	.open = ivshmem_mmap_open,
	.close = ivshmem_mmap_close,
	.fault = ivshmem_mmap_fault,
#if defined(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) && IVSHMEM_MMAP_OWN
	.huge_fault = ivshmem_mmap_huge_fault,
#endif
	.access = IS_ENABLED(CONFIG_VMAP_PFN) ? ivshmem_mmap_access : NULL,
};

/**
 * ivshmem_mmap_prepare() - Say how BAR2 is to be mapped.
 * @ivs:  the device
 * @area: what the program asks for; its offset counts from the start of BAR2
 *
 * Called by the mmap operation of either node. With success the mapping holds the
 * device, see ivshmem_mmap_close(). Returns 0; -ENODEV after unplug; -EINVAL for
 * a private mapping that can be written to; -ENXIO if it reaches beyond the
 * memory.
 */
int ivshmem_mmap_prepare(struct ivshmem_device *ivs, struct compat_area *area)
{
	unsigned long pages = PHYS_PFN(ivs->mem_size);

	if (ivshmem_device_gone(ivs))
		return -ENODEV;
	if ((area->flags & (VM_SHARED | VM_MAYWRITE)) == VM_MAYWRITE)
		return -EINVAL;
	if (area->pgoff > pages || area->pages > pages - area->pgoff)
		return -ENXIO;

	area->flags = VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP |
		      VM_HUGEPAGE;
	area->prot = pgprot_decrypted(area->prot);
	area->ops = &ivshmem_mmap_ops;
	area->data = ivs;
	ivshmem_device_get(ivs);
	return 0;
}

/**
 * ivshmem_mmap_zap() - Take away every page of BAR2 from every process.
 * @ivs: the device, held or gone, and the gate empty
 */
void ivshmem_mmap_zap(struct ivshmem_device *ivs)
{
	unmap_mapping_range(ivs->inode->i_mapping, 0, 0, 1);
}
