// SPDX-License-Identifier: MIT
/*
 * Interrupts: eventfds that QEMU hands over and waits for.
 *
 * INTx is a level, and an eventfd has none. QEMU takes one event as "the line
 * is high", holds it for the guest until the guest next touches the device, and
 * then says "unmask": if the line is still high, it has to be told again.
 */
#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#include <linux/pci_regs.h>

#include "model.h"

static void signal_eventfd(struct guest *guest, int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) == sizeof(one))
		guest->stats.interrupts++;
}

static bool line_is_high(const struct guest *guest)
{
	if (guest->config[PCI_COMMAND + 1] & (PCI_COMMAND_INTX_DISABLE >> 8))
		return false;
	if (guest->mode == MODE_DEAF || guest->mode == MODE_SILENT)
		return guest->status;
	return guest->status & guest->mask;
}

/**
 * irq_update() - Tell QEMU of an INTx line that is high, if it does not know.
 * @guest: whose
 */
void irq_update(struct guest *guest)
{
	if (model.options.irq != IRQ_INTX || guest->masked ||
	    guest->eventfds[0] < 0 || !line_is_high(guest))
		return;
	guest->masked = true;
	signal_eventfd(guest, guest->eventfds[0]);
}

/**
 * irq_message() - Send an MSI-X message, if the guest has enabled it.
 * @guest:  whose
 * @vector: a number that need not be one of the guest's vectors
 */
void irq_message(struct guest *guest, unsigned int vector)
{
	if (model.options.irq == IRQ_MSIX && vector < model.options.vectors &&
	    guest->eventfds[vector] >= 0)
		signal_eventfd(guest, guest->eventfds[vector]);
}

/**
 * irq_count() - How many interrupts of a kind the device has.
 * @index: one of vfio-pci
 */
unsigned int irq_count(unsigned int index)
{
	const struct options *opt = &model.options;

	if (index == VFIO_PCI_INTX_IRQ_INDEX)
		return opt->irq == IRQ_INTX;
	if (index == VFIO_PCI_MSIX_IRQ_INDEX)
		return opt->irq == IRQ_MSIX ? opt->vectors : 0;
	return 0;
}

static void forget(struct guest *guest, unsigned int start, unsigned int count)
{
	unsigned int i;

	for (i = start; i < start + count; i++) {
		if (guest->eventfds[i] >= 0)
			close(guest->eventfds[i]);
		guest->eventfds[i] = -1;
	}
}

/**
 * irq_drop() - QEMU has gone: nobody can be told any more.
 * @guest: whose
 */
void irq_drop(struct guest *guest)
{
	forget(guest, 0, MAX_VECTORS);
	guest->masked = false;
}

/**
 * irq_set() - VFIO_USER_DEVICE_SET_IRQS.
 * @guest:  whose
 * @set:    what to do
 * @fds:    came with it; those that are kept become -1
 * @nr_fds: how many
 *
 * Returns 0 or a negative error.
 */
int irq_set(struct guest *guest, const struct vfio_irq_set *set, int *fds,
	    unsigned int nr_fds)
{
	unsigned int total = irq_count(set->index), i;
	uint32_t action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	uint32_t data = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;

	if (set->start > total || set->count > total - set->start)
		return -EINVAL;

	if (action == VFIO_IRQ_SET_ACTION_TRIGGER) {
		if (data == VFIO_IRQ_SET_DATA_NONE && !set->count && total) {
			irq_drop(guest);
			return 0;
		}
		if (data != VFIO_IRQ_SET_DATA_EVENTFD ||
		    (nr_fds && nr_fds != set->count))
			return -EINVAL;
		forget(guest, set->start, set->count);
		for (i = 0; i < nr_fds; i++) {
			guest->eventfds[set->start + i] = fds[i];
			fds[i] = -1;
		}
	} else if (set->index == VFIO_PCI_INTX_IRQ_INDEX && total &&
		   data == VFIO_IRQ_SET_DATA_NONE) {
		guest->masked = action == VFIO_IRQ_SET_ACTION_MASK;
	} else {
		return -ENOTSUP;
	}
	irq_update(guest);
	return 0;
}
