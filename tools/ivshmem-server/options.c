// SPDX-License-Identifier: MIT
/*
 * The command line.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "options.h"
#include "protocol.h"

#define MIN_SIZE	4096

#define MIN_STALL	0.1
#define MAX_STALL	86400.0

/* Options without a letter of their own. */
enum {
	OPT_STALL_TIMEOUT = 256,
	OPT_QUIET_DEPARTURES,
	OPT_NO_QUIET_DEPARTURES,
};

static const char help[] =
"Usage: ivshmem-server [OPTION]... --socket PATH\n"
"Give QEMU's ivshmem-doorbell devices a piece of memory that they share, and\n"
"introduce them to each other so that they can ring each other's doorbell.\n"
"\n"
"  -S, --socket PATH            unix socket to listen on\n"
"  -l, --size SIZE              bytes of shared memory: a power of two, 4K or\n"
"                               more, with suffix K, M, G or T (default: 4M)\n"
"  -n, --vectors NUMBER         vectors that each peer has, 1 to 2048\n"
"                               (default: 1)\n"
"      --quiet-departures       do not tell peers when one leaves (default):\n"
"                               QEMU crashes at unplug if it has been told\n"
"      --no-quiet-departures    tell them\n"
"      --stall-timeout SECONDS  disconnect a client for which a message has\n"
"                               waited for so long (default: 30)\n"
"  -q, --quiet                  log warnings and errors only\n"
"  -v, --verbose                log more\n"
"  -h, --help                   print this help\n"
"  -V, --version                print the version\n";

/* strtoull() and strtod() would take blanks, signs and words. */
static bool parse_uint(const char *text, uint64_t *value, const char **end)
{
	char *rest;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*value = strtoull(text, &rest, 10);
	*end = rest;
	return !errno;
}

static bool parse_size(const char *text, uint64_t *size)
{
	static const char suffixes[] = "KMGT";
	unsigned int shift = 0;
	const char *end, *s;

	if (!parse_uint(text, size, &end))
		return false;
	if (*end) {
		s = strchr(suffixes, toupper((unsigned char)*end));
		if (!s || end[1])
			return false;
		shift = 10 * (s - suffixes + 1);
	}
	if (*size > UINT64_MAX >> shift)
		return false;
	*size <<= shift;
	return *size >= MIN_SIZE && !(*size & (*size - 1));
}

static bool parse_vectors(const char *text, unsigned int *vectors)
{
	const char *end;
	uint64_t value;

	if (!parse_uint(text, &value, &end) || *end)
		return false;
	*vectors = value;
	return value >= 1 && value <= PROTOCOL_MAX_VECTORS;
}

static bool parse_stall(const char *text, uint64_t *ms)
{
	double seconds;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	seconds = strtod(text, &end);
	if (*end || seconds < MIN_STALL || seconds > MAX_STALL)
		return false;
	*ms = seconds * 1000;
	return true;
}

static enum options_outcome options_bad(const char *option, const char *value,
					const char *wanted)
{
	log_err("%s %s: must be %s", option, value, wanted);
	return OPTIONS_BAD;
}

/**
 * options_parse() - Read the command line.
 * @options: filled in
 * @argc:    as main() got it
 * @argv:    as main() got it
 *
 * Return: what is to be done next.
 */
enum options_outcome options_parse(struct options *options, int argc,
				   char **argv)
{
	static const struct option table[] = {
		{ "socket", required_argument, NULL, 'S' },
		{ "size", required_argument, NULL, 'l' },
		{ "vectors", required_argument, NULL, 'n' },
		{ "quiet-departures", no_argument, NULL, OPT_QUIET_DEPARTURES },
		{ "no-quiet-departures", no_argument, NULL,
		  OPT_NO_QUIET_DEPARTURES },
		{ "stall-timeout", required_argument, NULL, OPT_STALL_TIMEOUT },
		{ "quiet", no_argument, NULL, 'q' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 }
	};
	int opt;

	*options = (struct options){
		.size = 4 << 20,
		.stall_ms = 30000,
		.vectors = 1,
		.log_level = LOG_INFO,
		.quiet_departures = true,
	};

	while ((opt = getopt_long(argc, argv, "S:l:n:qvhV", table, NULL)) != -1) {
		switch (opt) {
		case 'S':
			options->socket = optarg;
			break;
		case 'l':
			if (!parse_size(optarg, &options->size))
				return options_bad("--size", optarg,
						   "a power of two, 4K or more");
			break;
		case 'n':
			if (!parse_vectors(optarg, &options->vectors))
				return options_bad("--vectors", optarg,
						   "a number from 1 to 2048");
			break;
		case OPT_QUIET_DEPARTURES:
			options->quiet_departures = true;
			break;
		case OPT_NO_QUIET_DEPARTURES:
			options->quiet_departures = false;
			break;
		case OPT_STALL_TIMEOUT:
			if (!parse_stall(optarg, &options->stall_ms))
				return options_bad("--stall-timeout", optarg,
						   "a number of seconds from 0.1 to 86400");
			break;
		case 'q':
			options->log_level = LOG_WARNING;
			break;
		case 'v':
			options->log_level = LOG_DEBUG;
			break;
		case 'h':
			fputs(help, stdout);
			return OPTIONS_DONE;
		case 'V':
			puts("ivshmem-server " IVSHMEM_VERSION);
			return OPTIONS_DONE;
		default:
			fputs("Try 'ivshmem-server --help'.\n", stderr);
			return OPTIONS_BAD;
		}
	}

	if (optind < argc) {
		log_err("%s: not an option; see --help", argv[optind]);
		return OPTIONS_BAD;
	}
	if (!options->socket || !*options->socket) {
		log_err("a path for the socket is needed: --socket PATH; see --help");
		return OPTIONS_BAD;
	}
	return OPTIONS_RUN;
}
