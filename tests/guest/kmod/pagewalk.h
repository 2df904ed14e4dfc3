/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What /dev/pagewalk returns: pread() at an address of the calling process gives
 * one struct pagewalk, what its page tables hold for that address.
 */
#ifndef PAGEWALK_H
#define PAGEWALK_H

#include <linux/types.h>

/**
 * struct pagewalk - A page table entry.
 * @entry: as it stands in the table; 0 if there is none
 * @pfn:   the page frame of the address itself
 * @size:  bytes that the entry maps: 4 KiB, 2 MiB or 1 GiB; 0 if there is none
 * @cache: its memory type as in the PAT register: 0 UC, 1 WC, 4 WT, 5 WP, 6 WB,
 *         7 UC-
 */
struct pagewalk {
	__u64 entry;
	__u64 pfn;
	__u32 size;
	__u32 cache;
};

#define PAGEWALK_UC		0
#define PAGEWALK_WC		1
#define PAGEWALK_WB		6
#define PAGEWALK_UC_MINUS	7

#endif /* PAGEWALK_H */
