// SPDX-License-Identifier: MIT
/*
 * Rings one vector of a peer as fast as it can, until it is killed.
 *
 *	flood DEVICE PEER VECTOR
 */
#include "dev.h"

int main(int argc, char **argv)
{
	int fd;

	tap_start(argc, argv, 300);
	NEED(argc == 4);
	fd = dev_open(O_RDWR);
	tap_note("ready");
	while (!dev_ring(fd, atoi(argv[2]), atoi(argv[3])))
		;
	tap_bail("cannot ring: %s", strerrorname_np(errno));
}
