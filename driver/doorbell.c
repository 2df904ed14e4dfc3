// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ringing a peer's doorbell, and the two layouts of the register.
 *
 * Every device since 2012 has one register that takes peer and vector. The first
 * design had one register a peer, which takes the vector, or, on a device with
 * an interrupt pin, the value that the peer finds in its status register. There
 * the value 0 cannot be rung: it says nothing to a pin, and as a vector it is
 * kept for the notice that a new peer has come.
 */
#include <linux/io.h>
#include <linux/module.h>
#include <linux/pci.h>

#include "ivshmem.h"
#include "regs.h"
#include "trace.h"

static int doorbell_per_peer = -1;

static int ivshmem_doorbell_set_layout(const char *val,
				       const struct kernel_param *kp)
{
	int layout, ret = kstrtoint(val, 0, &layout);

	if (ret)
		return ret;
	if (layout < -1 || layout > 1)
		return -EINVAL;
	doorbell_per_peer = layout;
	return 0;
}

static const struct kernel_param_ops ivshmem_doorbell_layout_ops = {
	.set = ivshmem_doorbell_set_layout,
	.get = param_get_int,
};

module_param_cb(doorbell_per_peer, &ivshmem_doorbell_layout_ops,
		&doorbell_per_peer, 0444);
__MODULE_PARM_TYPE(doorbell_per_peer, "int");
MODULE_PARM_DESC(doorbell_per_peer,
		 "Layout of the doorbell: 0 one register, 1 one for each peer, -1 by revision and size of BAR0 (default)");

/**
 * ivshmem_doorbell_init() - Find out which layout a device has.
 * @ivs: the device
 *
 * Called by probe, for a device that has a doorbell, before it can interrupt.
 */
void ivshmem_doorbell_init(struct ivshmem_device *ivs)
{
	resource_size_t size = pci_resource_len(ivs->pdev, IVSHMEM_BAR_REGS);

	/* The kernel may have made a BAR larger: pci=resource_alignment. */
	ivs->per_peer = doorbell_per_peer < 0 ?
			!ivs->revision && size > IVSHMEM_BAR_REGS_SIZE :
			doorbell_per_peer;
	ivs->max_peer = IVSHMEM_MAX_PEER;
	if (!ivs->per_peer)
		return;

	ivs->max_peer = min_t(u64, IVSHMEM_MAX_PEER,
			      (size - IVSHMEM_REG_DOORBELL - sizeof(u32)) /
			      IVSHMEM_PEER_STRIDE);
	ivs->min_ring = 1;
}

/**
 * ivshmem_doorbell_ring() - Ring a peer's doorbell.
 * @ifile:    the open file that asks for it
 * @doorbell: peer << 16 | vector, as the caller gave it
 *
 * Called from RING_DOORBELL and WAIT. Returns 0 or a negative error, see
 * IVSHMEM_RING_DOORBELL.
 */
int ivshmem_doorbell_ring(struct ivshmem_file *ifile, unsigned long doorbell)
{
	struct ivshmem_device *ivs = ifile->ivs;
	unsigned int vector = doorbell & IVSHMEM_DOORBELL_VECTOR;
	unsigned int peer = (u32)doorbell >> 16;
	int idx, ret;

	if (!ifile->writable)
		return -EPERM;
	if (!ivs->nr_ring)
		return -ENXIO;
	/* Some ABIs extend the sign of any 32-bit argument. */
	if ((u32)doorbell != doorbell && (s32)doorbell != (long)doorbell)
		return -EINVAL;
	if (peer > ivs->max_peer ||
	    vector < ivs->min_ring || vector >= ivs->nr_ring)
		return -EINVAL;

	ret = ivshmem_device_enter_ready(ivs, &idx);
	if (ret)
		return ret;
	trace_ring(ivs, doorbell);
	if (ivs->per_peer)
		writel(vector, ivs->regs + IVSHMEM_REG_DOORBELL +
			       peer * IVSHMEM_PEER_STRIDE);
	else
		writel(doorbell, ivs->regs + IVSHMEM_REG_DOORBELL);
	ivshmem_device_leave(ivs, idx);
	return 0;
}
