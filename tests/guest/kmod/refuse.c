// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes a function of the kernel fail for one program, without running it.
 * Or makes it late each time, so that what seldom comes before it does so always.
 * And holds an address range, so that no driver gets it.
 */
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/ioport.h>
#include <linux/kprobes.h>
#include <linux/linkage.h>
#include <linux/module.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/string.h>

static char *symbol = "";
module_param(symbol, charp, 0444);
MODULE_PARM_DESC(symbol, "Function that fails, or is late");

static char *comm = "sh";
module_param(comm, charp, 0444);
MODULE_PARM_DESC(comm, "Program for which it does");

static uint late;
module_param(late, uint, 0444);
MODULE_PARM_DESC(late, "Microseconds that it comes late; 0 to fail");

static int error;
module_param(error, int, 0444);
MODULE_PARM_DESC(error, "What it returns");

static uint skip;
module_param(skip, uint, 0444);
MODULE_PARM_DESC(skip, "How many calls go well before");

static uint most = 1;
module_param(most, uint, 0444);
MODULE_PARM_DESC(most, "How often it fails at most");

static uint times;
module_param(times, uint, 0444);
MODULE_PARM_DESC(times, "How often it has failed or been late");

static ulong start;
module_param(start, ulong, 0444);
MODULE_PARM_DESC(start, "Start of the address range");

static ulong size;
module_param(size, ulong, 0444);
MODULE_PARM_DESC(size, "Size of the address range; 0 for none");

static struct resource *range;

#ifndef ASM_RET
#define ASM_RET	"ret\n\t"
#endif

/* What the processor does instead of the function. */
asm(".pushsection .text\n\t"
	".type refuse_return, @function\n"
	"refuse_return:\n\t"
	ASM_RET
	".size refuse_return, . - refuse_return\n\t"
	".popsection");
asmlinkage void refuse_return(void);

static int refuse_enter(struct kprobe *probe, struct pt_regs *regs)
{
	if (strcmp(current->comm, comm))
		return 0;
	if (late) {
		times++;
		/* Not udelay(), which warns of more than a few milliseconds. */
		mdelay(late / 1000);
		udelay(late % 1000);
		return 0;
	}
	if (times >= most)
		return 0;
	if (skip) {
		skip--;
		return 0;
	}
	times++;
	regs_set_return_value(regs, error);
	instruction_pointer_set(regs, (unsigned long)refuse_return);
	return 1;
}

/* With this, the kernel does not replace the probe by a jump. */
static void refuse_after(struct kprobe *probe, struct pt_regs *regs,
			 unsigned long flags)
{
}

static struct kprobe refuse_probe = {
	.pre_handler = refuse_enter,
	.post_handler = refuse_after,
};

static int __init refuse_init(void)
{
	int ret = 0;

	if (size) {
		range = request_mem_region(start, size, KBUILD_MODNAME);
		if (!range)
			return -EBUSY;
	}
	if (*symbol) {
		refuse_probe.symbol_name = symbol;
		ret = register_kprobe(&refuse_probe);
		if (ret && range)
			release_mem_region(start, size);
	}
	return ret;
}
module_init(refuse_init);

static void __exit refuse_exit(void)
{
	if (*symbol)
		unregister_kprobe(&refuse_probe);
	if (range)
		release_mem_region(start, size);
}
module_exit(refuse_exit);

MODULE_DESCRIPTION("Failures for tests");
MODULE_LICENSE("GPL");
