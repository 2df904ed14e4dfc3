// SPDX-License-Identifier: MIT
/* Maps the memory, says where, and keeps touching it until it is killed. */
#include "map.h"

int main(int argc, char **argv)
{
	volatile unsigned char *mem;

	tap_start(argc, argv, 60);
	mem = map_aligned(dev_open(O_RDWR), 4 * MB);
	NEED(mem != MAP_FAILED);
	*mem = 1;
	tap_note("at %p", (void *)mem);
	for (;;)
		(*mem)++;
}
