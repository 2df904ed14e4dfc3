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
 * @pfn:   the page frame of the address itself
 * @size:  bytes that the entry maps: 4 KiB, 2 MiB or 1 GiB; 0 if there is none
 * @cache: its memory type as in x86's PAT register: 0 UC, 1 WC, 4 WT, 5 WP, 6 WB,
 *         7 UC-
 * @write: whether it allows writing
 */
struct pagewalk {
	__u64 pfn;
	__u32 size;
	__u16 cache;
	__u16 write;
};

#define PAGEWALK_UC		0
#define PAGEWALK_WC		1
#define PAGEWALK_WB		6
#define PAGEWALK_UC_MINUS	7

#endif /* PAGEWALK_H */
