// SPDX-License-Identifier: MIT
/*
 * An eventfd that is bound to a vector here and is an irqfd of KVM: each ring
 * interrupts the machine that KVM runs. It needs no processor, for its interrupt
 * controller remembers.
 */
#include <linux/kvm.h>

#include "irq.h"

#define GSI	4

/* Interrupts that the machine has been sent, one bit for each line. */
static unsigned int requested(int vm)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_PIC_MASTER };

	NEED(!ioctl(vm, KVM_GET_IRQCHIP, &chip));
	return chip.chip.pic.irr;
}

static void forget(int vm)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_PIC_MASTER };

	NEED(!ioctl(vm, KVM_GET_IRQCHIP, &chip));
	chip.chip.pic.irr = 0;
	NEED(!ioctl(vm, KVM_SET_IRQCHIP, &chip));
}

int main(int argc, char **argv)
{
	int kvm, vm, fd, efd;
	struct kvm_irqfd req;

	tap_start(argc, argv, 60);
	irq_start(1);
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	NEED(kvm >= 0);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	NEED(vm >= 0);
	NEED(!ioctl(vm, KVM_CREATE_IRQCHIP, 0));

	fd = dev_open(O_RDWR);
	efd = irq_eventfd();
	req = (struct kvm_irqfd){ .fd = efd, .gsi = GSI };
	EXPECT_EQ(irq_bind(fd, irq_second, efd), 0);
	NEED(!ioctl(vm, KVM_IRQFD, &req));
	EXPECT_EQ(requested(vm), 0);
	irq_fire(irq_second);
	EXPECT_WITHIN(requested(vm) == 1 << GSI, 20000);

	/* Again, and not from another vector or after unbinding. */
	forget(vm);
	irq_fire(irq_second);
	EXPECT_WITHIN(requested(vm) == 1 << GSI, 20000);
	forget(vm);
	if (irq_second) {
		irq_fire(0);
		EXPECT_EQ(requested(vm), 0);
	}
	EXPECT_EQ(irq_bind(fd, irq_second, -1), 0);
	irq_fire(irq_second);
	EXPECT_EQ(requested(vm), 0);

	/* KVM may also let go first: then the eventfd counts for its own sake. */
	EXPECT_EQ(irq_bind(fd, irq_second, efd), 0);
	req.flags = KVM_IRQFD_FLAG_DEASSIGN;
	EXPECT_EQ(ioctl(vm, KVM_IRQFD, &req), 0);
	irq_take(efd);
	irq_fire(irq_second);
	EXPECT_EQ(irq_take(efd), 1);
	EXPECT_EQ(requested(vm), 0);
	return tap_finish();
}
