/* SPDX-License-Identifier: GPL-2.0-only */
/* Hides the differences between kernels that probe.mk finds. */
#ifndef IVSHMEM_COMPAT_H
#define IVSHMEM_COMPAT_H

#include <linux/mm.h>
#include <linux/wait.h>

#ifdef HAVE_EVENTFD_SIGNAL_ONE
#define compat_eventfd_signal(ctx)	eventfd_signal(ctx)
#else
#define compat_eventfd_signal(ctx)	eventfd_signal(ctx, 1)
#endif

#ifdef HAVE_COPY_SPLICE_READ
#define compat_splice_read		copy_splice_read
#else
#define compat_splice_read		generic_file_splice_read
#endif

#ifdef HAVE_VM_FLAGS_SET
#define compat_vm_flags_set(vma, flags)	vm_flags_set(vma, flags)
#else
#define compat_vm_flags_set(vma, flags)	((vma)->vm_flags |= (flags))
#endif

#ifdef HAVE_RELEASE_FAULT_LOCK
#define compat_release_fault_lock(vmf)	release_fault_lock(vmf)
#else
#define compat_release_fault_lock(vmf)	mmap_read_unlock((vmf)->vma->vm_mm)
#endif

/*
 * For a wait that may be killed and keeps nobody from suspending the machine: the
 * latter only where kernels can wait so.
 */
#ifdef HAVE_WAIT_EVENT_STATE
#define compat_wait_event_state		wait_event_state
#else
#define compat_wait_event_state(wq, condition, ...) \
	wait_event_killable(wq, condition)
#endif

#ifdef HAVE_SAFE_MBIND
#define compat_huge_is_safe		true
#else
/*
 * Any program can call mbind(), whose MPOL_MF_STRICT takes what a huge entry points
 * at for a page of the kernel's own, special or not, and oopses. A driver cannot
 * come between.
 */
#define compat_huge_is_safe		(!IS_ENABLED(CONFIG_NUMA))
#endif

/*
 * What a program asks to map, and what it gets. Kernels hand out a VMA for that,
 * or, first of all to UIO, a description of one. UIO core has that VMA already, and
 * nothing can fail between the description and it: so a reference that goes with
 * the description is dropped by the close() of the VMA, and needs no mapped().
 */
struct compat_area {
	unsigned long pgoff;
	unsigned long pages;
	vm_flags_t flags;		/* asked for; then those to add */
	pgprot_t prot;
	const struct vm_operations_struct *ops;
	void *data;
};

static inline void compat_vma_load(struct compat_area *area,
				   struct vm_area_struct *vma)
{
	area->pgoff = vma->vm_pgoff;
	area->pages = vma_pages(vma);
	area->flags = vma->vm_flags;
	area->prot = vma->vm_page_prot;
}

static inline void compat_vma_store(const struct compat_area *area,
				    struct vm_area_struct *vma)
{
	vma->vm_pgoff = area->pgoff;
	compat_vm_flags_set(vma, area->flags);
	vma->vm_page_prot = area->prot;
	vma->vm_ops = area->ops;
	vma->vm_private_data = area->data;
}

#ifdef HAVE_UIO_MMAP_PREPARE
#define compat_uio_mmap			mmap_prepare
#define compat_uio_vma			vm_area_desc

static inline void compat_uio_load(struct compat_area *area,
				   struct vm_area_desc *desc)
{
	area->pgoff = desc->pgoff;
	area->pages = vma_desc_pages(desc);
	area->flags = vma_flags_to_legacy(desc->vma_flags);
	area->prot = desc->page_prot;
}

static inline void compat_uio_store(const struct compat_area *area,
				    struct vm_area_desc *desc)
{
	desc->pgoff = area->pgoff;
	vma_desc_set_flags_mask(desc, legacy_to_vma_flags(area->flags));
	desc->page_prot = area->prot;
	desc->vm_ops = area->ops;
	desc->private_data = area->data;
}
#else
#define compat_uio_mmap			mmap
#define compat_uio_vma			vm_area_struct
#define compat_uio_load			compat_vma_load
#define compat_uio_store		compat_vma_store
#endif

#endif /* IVSHMEM_COMPAT_H */
