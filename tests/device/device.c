// SPDX-License-Identifier: MIT
/*
 * Registers, configuration space and memory of the device, and what a doorbell
 * does to the guest that it belongs to.
 */
#include <endian.h>
#include <string.h>
#include <unistd.h>

#include <linux/pci_regs.h>

#include "model.h"

#define REG_MASK	0x00
#define REG_STATUS	0x04
#define REG_POSITION	0x08
#define REG_DOORBELL	0x0c
#define DOORBELL_STRIDE	32		/* between those of the 2010 layout */

#define MSIX_CAP	0x40
#define MSIX_ENTRY	16

static uint32_t round_up_power(uint32_t value)
{
	uint32_t power = 4096;

	while (power < value)
		power <<= 1;
	return power;
}

static void config_put16(struct guest *guest, unsigned int offset, uint16_t value)
{
	value = htole16(value);
	memcpy(guest->config + offset, &value, sizeof(value));
}

static void config_put32(struct guest *guest, unsigned int offset, uint32_t value)
{
	value = htole32(value);
	memcpy(guest->config + offset, &value, sizeof(value));
}

static void config_init(struct guest *guest)
{
	const struct options *opt = &model.options;

	memset(guest->config, 0, sizeof(guest->config));
	config_put16(guest, PCI_VENDOR_ID, 0x1af4);
	config_put16(guest, PCI_DEVICE_ID, 0x1110);
	config_put16(guest, PCI_SUBSYSTEM_VENDOR_ID, 0x1af4);
	config_put16(guest, PCI_SUBSYSTEM_ID, 0x1100);
	guest->config[PCI_REVISION_ID] = opt->revision;
	config_put16(guest, PCI_CLASS_DEVICE, 0x0500);
	config_put32(guest, PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_SPACE_MEMORY);
	config_put32(guest, PCI_BASE_ADDRESS_2, PCI_BASE_ADDRESS_MEM_TYPE_64 |
						PCI_BASE_ADDRESS_MEM_PREFETCH);

	if (opt->irq == IRQ_INTX)
		guest->config[PCI_INTERRUPT_PIN] = 1;
	if (opt->irq == IRQ_MSIX) {
		uint8_t *cap = guest->config + MSIX_CAP;

		config_put16(guest, PCI_STATUS, PCI_STATUS_CAP_LIST);
		guest->config[PCI_CAPABILITY_LIST] = MSIX_CAP;
		cap[PCI_CAP_LIST_ID] = PCI_CAP_ID_MSIX;
		config_put16(guest, MSIX_CAP + PCI_MSIX_FLAGS, opt->vectors - 1);
		config_put32(guest, MSIX_CAP + PCI_MSIX_TABLE, 1);
		config_put32(guest, MSIX_CAP + PCI_MSIX_PBA,
			     device_region_size(VFIO_PCI_BAR1_REGION_INDEX) / 2 | 1);
	}
}

/**
 * device_init() - Make the device as it is when the machine is switched on.
 * @guest: whose
 */
void device_init(struct guest *guest)
{
	const struct options *opt = &model.options;
	unsigned int i;

	for (i = 0; i < MAX_VECTORS; i++)
		guest->eventfds[i] = -1;
	guest->position = opt->position + guest->id;
	guest->late = opt->late;
	guest->never = opt->never;
	guest->mode = opt->mode;
	config_init(guest);
}

/**
 * device_reset() - Reset: the position survives, and so do the peers.
 * @guest: whose
 */
void device_reset(struct guest *guest)
{
	guest->mask = 0;
	guest->status = 0;
	config_init(guest);
	irq_update(guest);
}

/**
 * device_region_size() - Size of a BAR or of the configuration space.
 * @region: a region of vfio-pci
 */
uint64_t device_region_size(unsigned int region)
{
	const struct options *opt = &model.options;

	switch (region) {
	case VFIO_PCI_BAR0_REGION_INDEX:
		return opt->regs;
	case VFIO_PCI_BAR1_REGION_INDEX:
		/* The table in one half, the pending bits in the other. */
		if (opt->irq != IRQ_MSIX)
			return 0;
		return round_up_power(2 * opt->vectors * MSIX_ENTRY);
	case VFIO_PCI_BAR2_REGION_INDEX:
		return opt->size;
	case VFIO_PCI_CONFIG_REGION_INDEX:
		return CONFIG_SIZE;
	default:
		return 0;
	}
}

/* An event arrives at a guest's device. */
static void raise_event(struct guest *guest, uint32_t value)
{
	guest->stats.events++;
	if (model.options.irq == IRQ_INTX) {
		guest->status = value;
		irq_update(guest);
	} else {
		irq_message(guest, value);
	}
}

static struct guest *find_guest(uint32_t peer)
{
	uint32_t id = peer - model.options.position;

	return id < model.options.nr_guests ? &model.guests[id] : NULL;
}

/**
 * device_ring() - What a guest's write to a doorbell does.
 * @peer:  whom it is for; one who is not there hears nothing
 * @value: of the 2010 layout: what was written. Otherwise: the vector
 */
void device_ring(uint32_t peer, uint32_t value)
{
	struct guest *guest = find_guest(peer);

	if (!guest || guest->fd < 0)
		return;
	if (model.options.layout == LAYOUT_STOCK) {
		/* All events look alike on the only line there is. */
		raise_event(guest, model.options.irq == IRQ_INTX ? 1 : value);
		return;
	}
	/* The same value that says nothing is the vector of those who join. */
	if (value)
		raise_event(guest, value);
}

/**
 * device_burst() - Raise events, each as soon as the guest has seen the last.
 * @guest:  whose
 * @events: how many; on a device with an interrupt pin
 */
void device_burst(struct guest *guest, uint64_t events)
{
	if (!events)
		return;
	guest->burst = events - 1;
	raise_event(guest, 1);
}

/**
 * device_join() - A guest has come: tell the others.
 * @guest: whose
 *
 * Only the 2010 layout does so.
 */
void device_join(struct guest *guest)
{
	unsigned int i;

	if (model.options.layout != LAYOUT_2010)
		return;
	for (i = 0; i < model.options.nr_guests; i++) {
		struct guest *other = &model.guests[i];

		if (other != guest && other->fd >= 0)
			raise_event(other, model.options.irq == IRQ_INTX ?
					   JOINED : 0);
	}
}

static uint32_t regs_read(struct guest *guest, uint64_t offset)
{
	uint32_t value;

	switch (offset) {
	case REG_MASK:
		return guest->mask;
	case REG_STATUS:
		guest->stats.status_reads++;
		value = guest->mode == MODE_SILENT ? 0 : guest->status;
		if (!mode_holds_line(guest))
			guest->status = 0;
		if (value)
			device_burst(guest, guest->burst);
		return value;
	case REG_POSITION:
		if (guest->never)
			return NOT_READY;
		if (guest->late) {
			guest->late--;
			return NOT_READY;
		}
		return guest->position;
	default:
		return 0;
	}
}

static void regs_write(struct guest *guest, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case REG_MASK:
		guest->mask = value;
		break;
	case REG_STATUS:
		guest->status = value;
		break;
	case REG_POSITION:
		break;
	default:
		if (model.options.layout == LAYOUT_2010) {
			offset -= REG_DOORBELL;
			if (offset % DOORBELL_STRIDE == 0)
				device_ring(offset / DOORBELL_STRIDE, value);
		} else if (offset == REG_DOORBELL) {
			device_ring(value >> 16, value & 0xffff);
		}
	}
	irq_update(guest);
}

static bool in_region(unsigned int region, uint64_t offset, uint32_t size)
{
	uint64_t end = device_region_size(region);

	return offset <= end && size <= end - offset;
}

/* BAR2 is not to be touched until the position register has told a position. */
static void count_early(struct guest *guest)
{
	if (guest->never || guest->late || guest->position == NOT_READY)
		guest->stats.early++;
}

/**
 * device_read() - The guest reads from a BAR or from configuration space.
 * @guest:  who
 * @region: a region of vfio-pci
 * @offset: in it
 * @data:   where to put what is there
 * @size:   how much
 */
void device_read(struct guest *guest, unsigned int region, uint64_t offset,
		 void *data, uint32_t size)
{
	uint32_t value;

	memset(data, guest->mode == MODE_ONES ? 0xff : 0, size);
	if (guest->mode == MODE_ONES || !in_region(region, offset, size))
		return;
	if (region == VFIO_PCI_CONFIG_REGION_INDEX) {
		memcpy(data, guest->config + offset, size);
	} else if (region == VFIO_PCI_BAR0_REGION_INDEX && size == sizeof(value) &&
		   offset % sizeof(value) == 0) {
		value = htole32(regs_read(guest, offset));
		memcpy(data, &value, sizeof(value));
	} else if (region == VFIO_PCI_BAR2_REGION_INDEX) {
		count_early(guest);
		if (pread(model.memory, data, size, offset) < 0)
			memset(data, 0xff, size);
	}
}

/* What a driver may change; QEMU keeps the BARs by itself. */
static bool config_writable(uint64_t offset)
{
	return offset == PCI_COMMAND || offset == PCI_COMMAND + 1 ||
	       offset == PCI_CACHE_LINE_SIZE || offset == PCI_LATENCY_TIMER ||
	       offset == PCI_INTERRUPT_LINE;
}

/**
 * device_write() - The guest writes to a BAR or to configuration space.
 * @guest:  who
 * @region: a region of vfio-pci
 * @offset: in it
 * @data:   what
 * @size:   how much
 */
void device_write(struct guest *guest, unsigned int region, uint64_t offset,
		  const void *data, uint32_t size)
{
	const uint8_t *bytes = data;
	uint32_t value, i;

	/* QEMU takes configuration for written, whatever becomes of it here. */
	if ((guest->mode == MODE_ONES && region != VFIO_PCI_CONFIG_REGION_INDEX) ||
	    !in_region(region, offset, size))
		return;
	if (region == VFIO_PCI_CONFIG_REGION_INDEX) {
		for (i = 0; i < size; i++) {
			if (config_writable(offset + i))
				guest->config[offset + i] = bytes[i];
		}
		irq_update(guest);
	} else if (region == VFIO_PCI_BAR0_REGION_INDEX && size == sizeof(value) &&
		   offset % sizeof(value) == 0) {
		memcpy(&value, data, sizeof(value));
		regs_write(guest, offset, le32toh(value));
	} else if (region == VFIO_PCI_BAR2_REGION_INDEX) {
		count_early(guest);
		if (pwrite(model.memory, data, size, offset) < 0)
			return;
	}
}
