// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shows a process its own page tables, for the tests of mappings: the size of
 * the entry behind an address, and its memory type, which is what the PAT
 * register has for the index that the entry's bits make. x86-64 only.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>

#include <asm/msr.h>

#include "pagewalk.h"

/* Before anybody writes the register, and where there is none. */
#define PAGEWALK_PAT_DEFAULT	0x0007040600070406ULL

static u32 pagewalk_cache(u64 entry, u64 pat_bit)
{
	u64 pat = PAGEWALK_PAT_DEFAULT;
	u32 low, high, index = 0;

	if (boot_cpu_has(X86_FEATURE_PAT)) {
		rdmsr(MSR_IA32_CR_PAT, low, high);
		pat = (u64)high << 32 | low;
	}
	if (entry & _PAGE_PWT)
		index |= 1;
	if (entry & _PAGE_PCD)
		index |= 2;
	if (entry & pat_bit)
		index |= 4;
	return pat >> index * 8 & 7;
}

static void pagewalk_set(struct pagewalk *walk, u64 entry, unsigned long addr,
			 unsigned long size)
{
	u64 pat_bit = size == PAGE_SIZE ? _PAGE_PAT : _PAGE_PAT_LARGE;

	walk->entry = entry;
	walk->size = size;
	walk->pfn = PHYS_PFN((entry & PTE_PFN_MASK & ~(u64)(size - 1)) |
			     (addr & (size - 1)));
	walk->cache = pagewalk_cache(entry, pat_bit);
}

/* Interrupts are off: no CPU frees a table that another may be walking. */
static void pagewalk_walk(struct mm_struct *mm, unsigned long addr,
			  struct pagewalk *walk)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t pud;
	pmd_t pmd;
	pte_t pte;

	if (pgd_none(*pgd))
		return;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d))
		return;
	pud = READ_ONCE(*pud_offset(p4d, addr));
	if (!pud_present(pud))
		return;
	if (pud_val(pud) & _PAGE_PSE) {
		pagewalk_set(walk, pud_val(pud), addr, PUD_SIZE);
		return;
	}
	pmd = READ_ONCE(*pmd_offset(&pud, addr));
	if (!pmd_present(pmd))
		return;
	if (pmd_val(pmd) & _PAGE_PSE) {
		pagewalk_set(walk, pmd_val(pmd), addr, PMD_SIZE);
		return;
	}
	pte = READ_ONCE(*pte_offset_kernel(&pmd, addr));
	if (pte_present(pte))
		pagewalk_set(walk, pte_val(pte), addr, PAGE_SIZE);
}

static ssize_t pagewalk_read(struct file *file, char __user *buf, size_t count,
			     loff_t *pos)
{
	struct pagewalk walk = {};

	if (count != sizeof(walk) || *pos >= TASK_SIZE_MAX)
		return -EINVAL;

	mmap_read_lock(current->mm);
	local_irq_disable();
	pagewalk_walk(current->mm, *pos, &walk);
	local_irq_enable();
	mmap_read_unlock(current->mm);
	return copy_to_user(buf, &walk, sizeof(walk)) ? -EFAULT : sizeof(walk);
}

static const struct file_operations pagewalk_fops = {
	.owner = THIS_MODULE,
	.read = pagewalk_read,
	.llseek = default_llseek,
};

static struct miscdevice pagewalk_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "pagewalk",
	.fops = &pagewalk_fops,
};
module_misc_device(pagewalk_misc);

MODULE_DESCRIPTION("Shows a process its page table entries, for tests");
MODULE_LICENSE("GPL");
