/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ivshmem PCI device: BARs and the registers of BAR0, which are 32 bits
 * wide, little-endian and take aligned accesses only.
 */
#ifndef IVSHMEM_REGS_H
#define IVSHMEM_REGS_H

#define IVSHMEM_PCI_VENDOR	0x1af4
#define IVSHMEM_PCI_DEVICE	0x1110

#define IVSHMEM_BAR_REGS	0
#define IVSHMEM_BAR_MEM		2

#define IVSHMEM_REG_MASK	0x00
#define IVSHMEM_REG_STATUS	0x04	/* reading clears it */
#define IVSHMEM_REG_POSITION	0x08
#define IVSHMEM_REG_DOORBELL	0x0c	/* write only: peer << 16 | vector */
#define IVSHMEM_REGS_SIZE	0x10

/* The size that BAR0 has, but for devices with one doorbell for each peer. */
#define IVSHMEM_BAR_REGS_SIZE	0x100
#define IVSHMEM_PEER_STRIDE	0x20

#define IVSHMEM_MASK_ALL	0xffffffff
#define IVSHMEM_STATUS_JOIN	0xffffffff	/* a new peer has come */
#define IVSHMEM_NOT_THERE	0xffffffff	/* no position yet; no device */

#define IVSHMEM_DOORBELL_VECTOR	0xffff

#endif /* IVSHMEM_REGS_H */
