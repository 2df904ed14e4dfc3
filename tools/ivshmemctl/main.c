// SPDX-License-Identifier: MIT
/* ivshmemctl: the device at a shell's prompt. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ivshmemctl.h"

/* Only wait takes these; they have no short form. */
enum { OPT_VECTOR = 256, OPT_COUNT, OPT_TIMEOUT, OPT_VERBOSE };

static const struct option long_options[] = {
	{ "device",	required_argument,	NULL, 'd' },
	{ "help",	no_argument,		NULL, 'h' },
	{ "version",	no_argument,		NULL, 'V' },
	{ "vector",	required_argument,	NULL, OPT_VECTOR },
	{ "count",	required_argument,	NULL, OPT_COUNT },
	{ "timeout",	required_argument,	NULL, OPT_TIMEOUT },
	{ "verbose",	no_argument,		NULL, OPT_VERBOSE },
	{ 0 }
};

static const struct command {
	const char *name;
	const char *args;
	int nr_args;
	void (*run)(const struct options *opts, char **args);
	const char *summary;
	const char *details;
} commands[] = {
	{ "list", "", 0, do_list,
	  "Print a table of this machine's devices", "" },
	{ "info", "", 0, do_info,
	  "Print all about the device and which vectors have fired", "" },
	{ "ring", " PEER VECTOR", 2, do_ring,
	  "Interrupt a peer",
	  "Success does not say that the peer is there: the device does not tell.\n" },
	{ "peers", "", 0, do_peers,
	  "Print the ids of the peers that are there",
	  "Works if the server keeps a directory: ivshmem-server --directory.\n" },
	{ "wait", " [OPTION...]", 0, do_wait,
	  "Print interrupts as they come",
	  "\n"
	  "  --vector N   only those of this vector\n"
	  "  --count N    end after so many, 0 for never (default: 1)\n"
	  "  --timeout S  end after so many seconds, with exit status 3\n"
	  "  --verbose    say on standard error when waiting begins\n" },
	{ "read", " OFFSET LENGTH", 2, do_read,
	  "Copy shared memory to standard output",
	  "OFFSET and LENGTH are in bytes, or with K, M or G in powers of 1024.\n" },
	{ "write", " OFFSET", 1, do_write,
	  "Copy standard input to shared memory",
	  "OFFSET is in bytes, or with K, M or G in powers of 1024.\n" },
};

/**
 * device_warn() - Say why a device cannot be used.
 * @device: its path; errno has the reason
 */
void device_warn(const char *device)
{
	static const struct {
		int error;
		const char *hint;
	} hints[] = {
		{ EACCES, " (are you in the group ivshmem?)" },
		{ EBUSY, " (does another program have it alone?)" },
		{ EINVAL, " (is there such a vector?)" },
		{ ENODEV, " (was it unplugged?)" },
		{ ENOENT, " (is the module ivshmem loaded?)" },
		{ ENOTTY, " (this is no ivshmem device)" },
		{ ENXIO, " (this device has no interrupts)" },
	};
	const char *hint = "";
	int error = errno;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hints); i++)
		if (hints[i].error == error)
			hint = hints[i].hint;
	warnx("%s: %s%s", device, strerror(error), hint);
}

/**
 * device_failed() - Say why a device cannot be used, and end.
 * @device: its path; errno has the reason
 */
void device_failed(const char *device)
{
	device_warn(device);
	exit(EXIT_FAILURE);
}

/**
 * open_device() - Open the device of the command line.
 * @opts:  what it says
 * @flags: for ivshmem_open()
 * @info:  where to put what it is, or NULL
 *
 * Return: its handle. Ends the program if that fails.
 */
struct ivshmem *open_device(const struct options *opts, int flags,
			    struct ivshmem_info *info)
{
	struct ivshmem *ivs = ivshmem_open(opts->device, flags);

	if (!ivs || (info && ivshmem_get_info(ivs, info)))
		device_failed(opts->device);
	return ivs;
}

static const char *device_path(const char *device)
{
	char *path;

	if (!*device || device[strspn(device, "0123456789")])
		return device;
	if (asprintf(&path, "/dev/ivshmem%s", device) < 0)
		err(EXIT_FAILURE, "--device");
	return path;
}

static void print_help(const struct command *cmd)
{
	size_t i;

	if (cmd) {
		printf("Usage: ivshmemctl [--device PATH|N] %s%s\n%s.\n%s", cmd->name,
		       cmd->args, cmd->summary, cmd->details);
		return;
	}
	puts("Usage: ivshmemctl [--device PATH|N] COMMAND [ARGUMENT...]\n"
	     "Shared memory and doorbells between virtual machines.\n\n"
	     "Commands:");
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-5s%-15s %s\n", commands[i].name, commands[i].args,
		       commands[i].summary);
	puts("\nOptions:\n"
	     "  -d, --device PATH|N  the device's node, or its number (default: 0)\n"
	     "  -h, --help           print this; with a command, more about it\n"
	     "  -V, --version        print the version");
}

static const struct command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	errx(EXIT_USAGE, "there is no command '%s' (see ivshmemctl --help)", name);
}

/*
 * Were a standard stream closed, the device would be opened in its place. What
 * is there instead fails as a closed one does.
 */
static void occupy_standard_streams(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int argc, char **argv)
{
	struct options opts = {
		.device = "/dev/ivshmem0",
		.vector = IVSHMEM_ANY_VECTOR,
		.count = 1,
		.timeout_ns = -1,
	};
	const struct command *cmd = NULL;
	const char *for_wait = NULL;
	bool help = false, version = false;
	int opt, index;

	occupy_standard_streams();
	/* getopt_long() puts it before its messages. */
	argv[0] = program_invocation_short_name;

	while ((opt = getopt_long(argc, argv, "d:hV", long_options, &index)) != -1) {
		if (opt >= OPT_VECTOR)
			for_wait = long_options[index].name;
		switch (opt) {
		case 'd':
			opts.device = device_path(optarg);
			break;
		case 'h':
			help = true;
			break;
		case 'V':
			version = true;
			break;
		case OPT_VECTOR:
			opts.vector = parse_number("--vector", optarg,
						   IVSHMEM_MAX_VECTORS - 1);
			break;
		case OPT_COUNT:
			opts.count = parse_number("--count", optarg, UINT64_MAX);
			break;
		case OPT_TIMEOUT:
			opts.timeout_ns = parse_seconds("--timeout", optarg);
			break;
		case OPT_VERBOSE:
			opts.verbose = true;
			break;
		default:
			return EXIT_USAGE;
		}
	}

	if (!version && optind < argc)
		cmd = find_command(argv[optind++]);
	if (version) {
		puts("ivshmemctl " IVSHMEM_VERSION);
	} else if (help) {
		print_help(cmd);
	} else if (!cmd) {
		errx(EXIT_USAGE, "no command (see ivshmemctl --help)");
	} else {
		if (argc - optind != cmd->nr_args)
			errx(EXIT_USAGE, "usage: ivshmemctl %s%s", cmd->name, cmd->args);
		if (for_wait && cmd->run != do_wait)
			errx(EXIT_USAGE, "%s does not take --%s", cmd->name, for_wait);
		cmd->run(&opts, argv + optind);
	}
	if (fflush(stdout) || ferror(stdout))
		err(EXIT_FAILURE, "standard output");
	return EXIT_SUCCESS;
}
