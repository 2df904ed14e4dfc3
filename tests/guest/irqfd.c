// SPDX-License-Identifier: MIT
/*
 * Eventfds that are bound to vectors and are irqfds of KVM: a ring interrupts the
 * machine that KVM runs, and either side may let go first. The machine needs no
 * processor, for its interrupt controller remembers. Unbinds the driver and binds
 * it again.
 */
#include <linux/kvm.h>
#include <sys/utsname.h>

#include "driver.h"
#include "irq.h"

/* A vector, its eventfd, and the line of the machine's that they raise. */
static struct line {
	uint32_t vector;
	unsigned int gsi;
	int efd;
} tried = { .gsi = 4 }, other = { .gsi = 5 };

static int device, machine;

static unsigned int requested(void)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_PIC_MASTER };

	NEED(!ioctl(machine, KVM_GET_IRQCHIP, &chip));
	return chip.chip.pic.irr;
}

static void forget(void)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_PIC_MASTER };

	NEED(!ioctl(machine, KVM_GET_IRQCHIP, &chip));
	chip.chip.pic.irr = 0;
	NEED(!ioctl(machine, KVM_SET_IRQCHIP, &chip));
}

static int irqfd(const struct line *line, uint32_t flags)
{
	struct kvm_irqfd req = {
		.fd = line->efd, .gsi = line->gsi, .flags = flags,
	};

	return ioctl(machine, KVM_IRQFD, &req);
}

static void start(struct line *line)
{
	line->efd = irq_eventfd();
	EXPECT_EQ(irq_bind(device, line->vector, line->efd), 0);
	EXPECT_EQ(irqfd(line, 0), 0);
}

static void start_all(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	NEED(kvm >= 0);
	machine = ioctl(kvm, KVM_CREATE_VM, 0);
	NEED(machine >= 0);
	close(kvm);
	NEED(!ioctl(machine, KVM_CREATE_IRQCHIP, 0));
	device = dev_open(O_RDWR);
	tried.vector = irq_second;
	start(&tried);
	start(&other);
	EXPECT_EQ(requested(), 0);
}

/* Rings; the other line has the machine's attention when all is over. */
static unsigned int raised(uint32_t vector)
{
	unsigned int lines;

	irq_fire(vector);
	NEED(write(other.efd, &(uint64_t){ 1 }, sizeof(uint64_t)) > 0);
	EXPECT_WITHIN(requested() & 1 << other.gsi, 20000);
	lines = requested() & ~(1 << other.gsi);
	forget();
	return lines;
}

/* Whether KVM takes what the eventfd has counted: 5.10's leaves it there. */
static bool kvm_takes(void)
{
	struct utsname uts;

	NEED(uname(&uts) == 0);
	return strncmp(uts.release, "5.10.", 5) != 0;
}

static void test_interrupt(void)
{
	start_all();
	irq_fire(tried.vector);
	EXPECT_WITHIN(requested() == 1U << tried.gsi, 20000);
	forget();
	irq_fire(other.vector);
	EXPECT_WITHIN(requested() == 1U << other.gsi, 20000);
	forget();
	EXPECT_EQ(raised(tried.vector), 1 << tried.gsi);
	/* Another file of the same vector has no part in it. */
	EXPECT_EQ(irq_bind(irq_bell, tried.vector, -1), 0);
	EXPECT_EQ(raised(tried.vector), 1 << tried.gsi);
	EXPECT_EQ(raised(other.vector), 0);
	EXPECT_EQ(irq_take(tried.efd) == 0, kvm_takes());

	/* Unbound, it is still an irqfd. */
	EXPECT_EQ(irq_bind(device, tried.vector, -1), 0);
	EXPECT_EQ(raised(tried.vector), 0);
	NEED(write(tried.efd, &(uint64_t){ 1 }, sizeof(uint64_t)) > 0);
	EXPECT_WITHIN(requested() == 1U << tried.gsi, 20000);
	forget();

	/* And without KVM still an eventfd. */
	EXPECT_EQ(irq_bind(device, tried.vector, tried.efd), 0);
	EXPECT_EQ(irqfd(&tried, KVM_IRQFD_FLAG_DEASSIGN), 0);
	irq_take(tried.efd);
	EXPECT_EQ(raised(tried.vector), 0);
	EXPECT_EQ(irq_take(tried.efd), 1);
	EXPECT_EQ(irqfd(&tried, 0), 0);
	EXPECT_EQ(raised(tried.vector), 1 << tried.gsi);
}

/* Whoever goes first, the others go on. */
static void test_close(void)
{
	close(device);
	EXPECT_EQ(raised(tried.vector), 0);
	EXPECT_EQ(irqfd(&tried, KVM_IRQFD_FLAG_DEASSIGN), 0);
	close(tried.efd);
	close(other.efd);
	close(machine);

	/* KVM hears of it at once, and lets go some time later. */
	start_all();
	close(tried.efd);
	EXPECT_WITHIN(raised(tried.vector) == 0, 20000);
	close(device);
	close(other.efd);
	close(machine);

	start_all();
	close(machine);
	irq_take(tried.efd);
	irq_fire(tried.vector);
	EXPECT_EQ(irq_take(tried.efd), 1);
	close(tried.efd);
	close(other.efd);
	close(device);
}

/* The machine hears of it, as everybody does. */
static void test_unplug(void)
{
	start_all();
	driver_find();
	close(irq_bell);
	driver_write("unbind");
	EXPECT_WITHIN(requested() == (1U << tried.gsi | 1U << other.gsi), 20000);
	forget();
	driver_write("bind");
	irq_bell = dev_open(O_RDWR);
	/* What was bound is not bound to the new one. */
	EXPECT_EQ(raised(tried.vector), 0);
	EXPECT_EQ(irqfd(&tried, KVM_IRQFD_FLAG_DEASSIGN), 0);
	EXPECT_EQ(irqfd(&other, KVM_IRQFD_FLAG_DEASSIGN), 0);
	close(machine);
	close(device);
	close(tried.efd);
	close(other.efd);
}

int main(int argc, char **argv)
{
	long eventfds;

	tap_start(argc, argv, 60);
	irq_start(2);
	eventfds = irq_next_eventfd();
	test_interrupt();
	test_close();
	test_unplug();
	EXPECT_WITHIN(irq_next_eventfd() == eventfds, 20000);
	return tap_finish();
}
