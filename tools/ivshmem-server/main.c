// SPDX-License-Identifier: MIT
/*
 * ivshmem-server: give QEMU's ivshmem-doorbell devices a piece of memory that
 * they share, and introduce them to each other.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "log.h"
#include "options.h"
#include "privileges.h"
#include "sandbox.h"
#include "server.h"

#define EXIT_USAGE	2

/* Otherwise log lines could go to a client that got the fd of stderr. */
static void open_standard_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* A peer takes an fd for its socket and one for each vector. */
static void raise_fd_limit(unsigned int vectors)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit)) {
		log_warn("cannot raise the limit of open files: %s",
			 strerror(errno));
		return;
	}
	log_info("%ju open files allow for about %ju peers",
		 (uintmax_t)limit.rlim_cur,
		 (uintmax_t)limit.rlim_cur / (vectors + 1));
}

int main(int argc, char **argv)
{
	static struct server server;
	struct options *options = &server.options;
	enum options_outcome outcome;
	int ret;

	open_standard_fds();
	log_open();
	outcome = options_parse(options, argc, argv);
	if (outcome == OPTIONS_STATUS) {
		ret = status_query(options->status, options->format);
		options_free(options);
		return ret ? EXIT_FAILURE : EXIT_SUCCESS;
	}
	if (outcome != OPTIONS_RUN) {
		options_free(options);
		return outcome == OPTIONS_DONE ? EXIT_SUCCESS : EXIT_USAGE;
	}

	log_set_level(options->log_level);
	/* For a log that nobody reads any more; sockets do not need it. */
	signal(SIGPIPE, SIG_IGN);
	raise_fd_limit(options->vectors);

	ret = server_open(&server);
	if (!ret)
		ret = privileges_drop(options->user);
	if (!ret)
		ret = sandbox_enter(options->sandbox);
	if (!ret) {
		log_info("listening on %s: %ju bytes, %u vectors a peer",
			 options->socket ? options->socket :
			 "the socket of the service manager",
			 (uintmax_t)options->size, options->vectors);
		ret = server_run(&server);
	}
	server_close(&server);
	options_free(options);
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
