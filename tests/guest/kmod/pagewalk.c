// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shows a process its own page tables, for the tests of mappings: the size of
 * the entry behind an address, and its memory type. For that the entry has an index
 * into a register: PAT on x86-64, MAIR_EL1 on arm64; or, of Svpbmt, a type on riscv64.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>

#include "pagewalk.h"

#if defined(CONFIG_X86)
#include <asm/msr.h>

/* Before anybody writes the register, and where there is none. */
#define PAGEWALK_PAT_DEFAULT	0x0007040600070406ULL

static u32 pagewalk_cache(u64 entry, unsigned long size)
{
	u64 pat_bit = size == PAGE_SIZE ? _PAGE_PAT : _PAGE_PAT_LARGE;
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
#elif defined(CONFIG_ARM64)
static u32 pagewalk_cache(u64 entry, unsigned long size)
{
	u32 index = (entry & PTE_ATTRINDX_MASK) >> 2;

	switch (read_sysreg(mair_el1) >> index * 8 & 0xff) {
	case 0xff:	/* Normal, write-back, allocating, inner and outer */
		return PAGEWALK_WB;
	case 0x44:	/* Normal, not cached */
		return PAGEWALK_WC;
	default:	/* Device, and what the kernel does not use for memory */
		return PAGEWALK_UC;
	}
}
#elif defined(CONFIG_RISCV)
/* Not exported. How many levels there are is known when the kernel runs. */
static p4d_t *pagewalk_p4d_offset(pgd_t *pgd, unsigned long addr)
{
	return pgtable_l5_enabled ? pgd_pgtable(*pgd) + p4d_index(addr) :
				    (p4d_t *)pgd;
}

static pud_t *pagewalk_pud_offset(p4d_t *p4d, unsigned long addr)
{
	return pgtable_l4_enabled ? p4d_pgtable(*p4d) + pud_index(addr) :
				    (pud_t *)p4d;
}

#undef p4d_offset
#define p4d_offset	pagewalk_p4d_offset
#undef pud_offset
#define pud_offset	pagewalk_pud_offset

static u32 pagewalk_cache(u64 entry, unsigned long size)
{
	switch (entry >> 61 & 3) {
	case 0:		/* as the physical address is: memory, which is cached */
		return PAGEWALK_WB;
	case 1:		/* not cached */
		return PAGEWALK_WC;
	default:	/* for I/O, and what is reserved */
		return PAGEWALK_UC;
	}
}
#endif

static void pagewalk_set(struct pagewalk *walk, u64 entry, unsigned long pfn,
			 bool write, unsigned long addr, unsigned long size)
{
	walk->pfn = pfn + PHYS_PFN(addr & (size - 1));
	walk->size = size;
	walk->cache = pagewalk_cache(entry, size);
	walk->write = write;
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
	if (pud_leaf(pud)) {
		pagewalk_set(walk, pud_val(pud), pud_pfn(pud), pud_write(pud), addr,
			     PUD_SIZE);
		return;
	}
	pmd = READ_ONCE(*pmd_offset(&pud, addr));
	if (!pmd_present(pmd))
		return;
	if (pmd_leaf(pmd)) {
		pagewalk_set(walk, pmd_val(pmd), pmd_pfn(pmd), pmd_write(pmd), addr,
			     PMD_SIZE);
		return;
	}
	pte = READ_ONCE(*pte_offset_kernel(&pmd, addr));
	if (pte_present(pte))
		pagewalk_set(walk, pte_val(pte), pte_pfn(pte), pte_write(pte), addr,
			     PAGE_SIZE);
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
