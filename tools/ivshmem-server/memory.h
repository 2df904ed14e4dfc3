/* SPDX-License-Identifier: MIT */
/*
 * The memory that the peers share.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdint.h>

int memory_create(uint64_t size);

#endif /* MEMORY_H */
