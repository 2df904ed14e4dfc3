/* SPDX-License-Identifier: MIT */
/*
 * The options: a command line's, and a configuration file's.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "access.h"
#include "sandbox.h"
#include "socket.h"
#include "status.h"

/**
 * struct options - What the command line asks for.
 * @argc:             the command line
 * @argv:             the command line
 * @config:           text of the configuration file, which strings here point
 *                    into, or NULL
 * @socket:           path of the socket
 * @file_access:      who may connect to it
 * @access:           who may join, the lists of which options_reload() changes
 * @control:          path of the socket to be asked on, or NULL
 * @control_access:   who may connect to that
 * @status:           path of another server's, to ask it, or NULL
 * @format:           how that one is to answer
 * @user:             name of the user to become once all is ready, or NULL
 * @sandbox:          which system calls are then refused, and how
 * @size:             bytes of shared memory, a power of two
 * @hugepage:         bytes of a huge page that the memory is to consist of, or 0
 * @shm:              name of the POSIX shared memory object to use, or NULL
 * @file:             path of the file to use, or NULL
 * @node:             NUMA node to take memory of, or -1
 * @keep:             what is in the object or file is not zeroed
 * @fd_store:         the service manager keeps all over a restart
 * @prefault:         memory is allocated at the start
 * @stall_ms:         how long a message may wait for its client
 * @vectors:          vectors that each peer has
 * @log_level:        what is logged, as for log_set_level()
 * @notify_join:      vector of the others to ring when a peer joins, or -1
 * @notify_leave:     the same when one leaves
 * @directory:        there is a directory of peers in the memory
 * @quiet_departures: clients are not told when another leaves
 */
struct options {
	int argc;
	char **argv;
	char *config;
	const char *socket;
	struct socket_access file_access;
	struct access access;
	const char *control;
	struct socket_access control_access;
	const char *status;
	enum status_format format;
	const char *user;
	enum sandbox_mode sandbox;
	uint64_t size;
	uint64_t hugepage;
	const char *shm;
	const char *file;
	int node;
	bool keep;
	bool fd_store;
	bool prefault;
	uint64_t stall_ms;
	unsigned int vectors;
	int log_level;
	int notify_join;
	int notify_leave;
	bool directory;
	bool quiet_departures;
};

/**
 * enum options_outcome - What is to be done after options_parse().
 * @OPTIONS_RUN:    run the server
 * @OPTIONS_STATUS: ask a running one
 * @OPTIONS_DONE:   end with success: what was asked for has been printed
 * @OPTIONS_BAD:    end with failure: what is wrong has been printed
 */
enum options_outcome {
	OPTIONS_RUN,
	OPTIONS_STATUS,
	OPTIONS_DONE,
	OPTIONS_BAD,
};

enum options_outcome options_parse(struct options *options, int argc,
				   char **argv);
int options_reload(struct options *options);
void options_free(struct options *options);

#endif /* OPTIONS_H */
