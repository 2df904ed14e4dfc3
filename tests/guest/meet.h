/* SPDX-License-Identifier: MIT */
/* What the programs share that use the module meet. */
#ifndef MEET_H
#define MEET_H

#include <sched.h>

#include "map.h"

#define PARAMETERS	"/sys/module/meet/parameters/"

static inline void write_parameter(const char *path, int value)
{
	FILE *file = fopen(path, "w");

	NEED(file);
	NEED(fprintf(file, "%d\n", value) > 0);
	NEED(fclose(file) == 0);
}

static inline int stage(void)
{
	FILE *file = fopen(PARAMETERS "stage", "r");
	int value;

	NEED(file);
	NEED(fscanf(file, "%d", &value) == 1);
	fclose(file);
	return value;
}

static inline void run_on(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	NEED(sched_setaffinity(0, sizeof(set), &set) == 0);
}

#endif /* MEET_H */
