// SPDX-License-Identifier: MIT
/*
 * A client of the server that stays: stay SOCKET
 *
 * Prints each message's value on a line of its own, and "end" if the server
 * hangs up.
 */
#include <endian.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	uint64_t value;
	int sock;

	if (argc != 2 || strlen(argv[1]) >= sizeof(addr.sun_path))
		return 2;
	memcpy(addr.sun_path, argv[1], strlen(argv[1]));
	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	if (sock < 0 || connect(sock, (struct sockaddr *)&addr, sizeof(addr))) {
		perror(argv[1]);
		return 1;
	}

	/* Without room for file descriptors: the kernel drops them. */
	while (recv(sock, &value, sizeof(value), MSG_WAITALL) == sizeof(value)) {
		printf("%jd\n", (intmax_t)le64toh(value));
		fflush(stdout);
	}
	puts("end");
	return 0;
}
