// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes two things meet, for the tests of mappings. The stages tell how far they
 * are.
 *
 * Two faults of one page table: once stage is 1, the next huge fault waits at its
 * beginning for a small one: until that has begun, which then waits for the huge
 * one to end; or, with small_first, until it has ended.
 *
 * A fault and the end of the device: once stage is 6, the next small fault of a
 * program called map_gate waits before it makes entries, until stage is 8.
 */
#include <linux/atomic.h>
#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/string.h>

/* Longer than the programs wait. */
#define MEET_TIMEOUT_MS	45000

enum {
	MEET_IDLE,
	MEET_ARMED,
	MEET_HUGE_BEGUN,
	MEET_SMALL_BEGUN,
	MEET_SMALL_DONE,
	MEET_HUGE_DONE,
	MEET_GATE_ARMED,
	MEET_GATE_HELD,
	MEET_GATE_RELEASED,
};

static int meet_stage;
module_param_named(stage, meet_stage, int, 0644);
MODULE_PARM_DESC(stage, "How far the two are; 1 starts over");

static bool meet_small_first;
module_param_named(small_first, meet_small_first, bool, 0644);
MODULE_PARM_DESC(small_first, "Which of them is to make its entries first");

/* Goes on from a stage, and says whether that was the one. */
static bool meet_step(int from, int to)
{
	return cmpxchg(&meet_stage, from, to) == from;
}

static void meet_await(int stage)
{
	ktime_t end = ktime_add_ms(ktime_get(), MEET_TIMEOUT_MS);

	while (READ_ONCE(meet_stage) != stage && ktime_before(ktime_get(), end))
		cpu_relax();
}

static int meet_huge_begins(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	if (regs_get_kernel_argument(regs, 1) != PMD_SHIFT - PAGE_SHIFT ||
	    !meet_step(MEET_ARMED, MEET_HUGE_BEGUN))
		return 1;
	meet_await(meet_small_first ? MEET_SMALL_DONE : MEET_SMALL_BEGUN);
	return 0;
}

static int meet_huge_ends(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	meet_step(meet_small_first ? MEET_SMALL_DONE : MEET_SMALL_BEGUN,
		  MEET_HUGE_DONE);
	return 0;
}

static int meet_small_begins(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	if (!meet_small_first && meet_step(MEET_HUGE_BEGUN, MEET_SMALL_BEGUN))
		meet_await(MEET_HUGE_DONE);
	return !meet_small_first;
}

static int meet_small_ends(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	meet_step(MEET_HUGE_BEGUN, MEET_SMALL_DONE);
	return 0;
}

static struct kretprobe meet_huge = {
	.kp.symbol_name = "ivshmem_mmap_huge_fault",
	.entry_handler = meet_huge_begins,
	.handler = meet_huge_ends,
};

static struct kretprobe meet_small = {
	.kp.symbol_name = "ivshmem_mmap_fault",
	.entry_handler = meet_small_begins,
	.handler = meet_small_ends,
};

static int meet_fill_begins(struct kprobe *kp, struct pt_regs *regs)
{
	/* KASAN makes entries of the kernel's own. */
	if (!strcmp(current->comm, "map_gate") &&
	    regs_get_kernel_argument(regs, 0) == (unsigned long)current->mm &&
	    meet_step(MEET_GATE_ARMED, MEET_GATE_HELD))
		meet_await(MEET_GATE_RELEASED);
	return 0;
}

static struct kprobe meet_fill = {
	.symbol_name = "apply_to_page_range",
	.pre_handler = meet_fill_begins,
};

static struct kretprobe *meet_probes[] = { &meet_huge, &meet_small };
static bool meet_huge_there;

static int __init meet_init(void)
{
	int ret = register_kprobe(&meet_fill);

	if (ret)
		return ret;
	/* Not every kernel has huge faults. */
	meet_huge_there = !register_kretprobes(meet_probes,
					       ARRAY_SIZE(meet_probes));
	return 0;
}
module_init(meet_init);

static void __exit meet_exit(void)
{
	if (meet_huge_there)
		unregister_kretprobes(meet_probes, ARRAY_SIZE(meet_probes));
	unregister_kprobe(&meet_fill);
}
module_exit(meet_exit);

MODULE_DESCRIPTION("Makes page faults meet what they seldom do, for tests");
MODULE_LICENSE("GPL");
