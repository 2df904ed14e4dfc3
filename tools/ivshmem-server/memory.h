/* SPDX-License-Identifier: MIT */
/*
 * The memory that the peers share.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include "options.h"

int memory_create(const struct options *options, int *lock);

#endif /* MEMORY_H */
