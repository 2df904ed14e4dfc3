// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes two faults of one page table meet, for the tests of mappings. Once stage
 * is 1, the next huge fault waits at its beginning for a small one: until that
 * has begun, which then waits for the huge one to end; or, with small_first,
 * until it has ended. The stages that follow tell how far they are.
 */
#include <linux/atomic.h>
#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/ptrace.h>

#define MEET_TIMEOUT_MS	5000

enum {
	MEET_IDLE,
	MEET_ARMED,
	MEET_HUGE_BEGUN,
	MEET_SMALL_BEGUN,
	MEET_SMALL_DONE,
	MEET_HUGE_DONE,
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
	if (regs_get_kernel_argument(regs, 1) != HPAGE_PMD_ORDER ||
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

static struct kretprobe *meet_probes[] = { &meet_huge, &meet_small };

static int __init meet_init(void)
{
	return register_kretprobes(meet_probes, ARRAY_SIZE(meet_probes));
}
module_init(meet_init);

static void __exit meet_exit(void)
{
	unregister_kretprobes(meet_probes, ARRAY_SIZE(meet_probes));
}
module_exit(meet_exit);

MODULE_DESCRIPTION("Makes two page faults meet, for tests");
MODULE_LICENSE("GPL");
