// SPDX-License-Identifier: MIT
/*
 * The options: a command line's, and a configuration file's.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "directory.h"
#include "log.h"
#include "options.h"
#include "protocol.h"
#include "service.h"

#define MIN_SIZE	4096
#define MAX_NODE	1023
#define MAX_RATE	1000000

#define MIN_STALL	0.1
#define MAX_STALL	86400.0

/* Options without a letter of their own. */
enum {
	OPT_CONFIG = 256,
	OPT_FD_STORE,
	OPT_HUGETLB,
	OPT_SHM,
	OPT_FILE,
	OPT_KEEP,
	OPT_NUMA_NODE,
	OPT_PREFAULT,
	OPT_MODE,
	OPT_OWNER,
	OPT_GROUP,
	OPT_ALLOW_UID,
	OPT_ALLOW_GID,
	OPT_ALLOW_CGROUP,
	OPT_USER_VECTORS,
	OPT_MAX_PEERS,
	OPT_MAX_RATE,
	OPT_NOTIFY_JOIN,
	OPT_NOTIFY_LEAVE,
	OPT_DIRECTORY,
	OPT_USER,
	OPT_SANDBOX,
	OPT_STALL_TIMEOUT,
	OPT_CONTROL,
	OPT_CONTROL_MODE,
	OPT_CONTROL_GROUP,
	OPT_STATUS,
	OPT_JSON,
	OPT_PROMETHEUS,
	OPT_QUIET_DEPARTURES,
	OPT_NO_QUIET_DEPARTURES,
};

static const char help[] =
"Usage: ivshmem-server [OPTION]... --socket PATH\n"
"       ivshmem-server --status PATH [--json | --prometheus]\n"
"Give QEMU's ivshmem-doorbell devices a piece of memory that they share, and\n"
"introduce them to each other so that they can ring each other's doorbell.\n"
"\n"
"      --config FILE            read options from a file, a line each: the name\n"
"                               without dashes, and the value\n"
"  -S, --socket PATH            unix socket to listen on\n"
"  -l, --size SIZE              bytes of shared memory: a power of two, 4K or\n"
"                               more, with suffix K, M, G or T (default: 4M)\n"
"      --hugetlb 2M|1G          take the memory from the pool of huge pages\n"
"      --shm NAME               a POSIX shared memory object is the memory\n"
"      --file PATH              a file is the memory\n"
"      --keep                   do not zero what is in the object or file\n"
"      --numa-node NUMBER       take memory of this NUMA node only\n"
"      --prefault               take the memory at start, not when it is used\n"
"  -n, --vectors NUMBER         vectors that each peer has, 1 to 2048\n"
"                               (default: 1)\n"
"      --mode MODE              octal mode of the socket (default: 777 less the\n"
"                               umask)\n"
"      --owner USER             owner of the socket (default: the server)\n"
"      --group GROUP            group of the socket\n"
"      --allow-uid USER         only clients of this user may join\n"
"      --allow-gid GROUP        only clients in this group may join\n"
"      --allow-cgroup PATH      only clients in this control group or below may\n"
"                               join; each of these can be given many times\n"
"      --user-vectors USER=NUMBER  vectors that peers of this user have, if\n"
"                               less than --vectors\n"
"      --max-peers NUMBER       peers that a user may have at once\n"
"      --max-rate NUMBER        clients of a user that may come in a second\n"
"      --notify-join VECTOR     ring this vector of the others when one joins\n"
"      --notify-leave VECTOR    ring this vector of the others when one leaves\n"
"      --directory              keep a list of peers at the end of the memory\n"
"      --quiet-departures       do not tell peers when one leaves (default):\n"
"                               QEMU crashes at unplug if it has been told\n"
"      --no-quiet-departures    tell them\n"
"      --fd-store               let the service manager keep everything, so that\n"
"                               peers do not notice a restart\n"
"      --stall-timeout SECONDS  disconnect a client for which a message has\n"
"                               waited for so long (default: 30)\n"
"      --user USER              become this user once all is ready\n"
"      --sandbox MODE           what becomes of system calls that it does not\n"
"                               need then: deny (default), kill or none\n"
"      --control PATH           unix socket to be asked for the status on\n"
"      --control-mode MODE      its octal mode (default: 600)\n"
"      --control-group GROUP    its group\n"
"      --status PATH            print the status of the server whose --control\n"
"                               socket this is\n"
"      --json                   print it as JSON\n"
"      --prometheus             print it as text for Prometheus\n"
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

static bool parse_number(const char *text, unsigned int min, unsigned int max,
			 unsigned int *number)
{
	const char *end;
	uint64_t value;

	if (!parse_uint(text, &value, &end) || *end)
		return false;
	*number = value;
	return value >= min && value <= max;
}

static bool parse_hugepage(const char *text, uint64_t *size)
{
	return parse_size(text, size) &&
	       (*size == 2ULL << 20 || *size == 1ULL << 30);
}

/* POSIX wants a leading slash and leaves any other to the implementation. */
static bool parse_shm(const char *text)
{
	text += *text == '/';
	return *text && !strchr(text, '/') && strlen(text) <= NAME_MAX &&
	       strcmp(text, ".") && strcmp(text, "..");
}

static bool parse_mode(const char *text, int *mode)
{
	if (!*text || strlen(text) > 4 || strspn(text, "01234567") < strlen(text))
		return false;
	*mode = strtol(text, NULL, 8);
	return *mode <= 0777;
}

/* (uid_t)-1 and (gid_t)-1 stand for none. */
static bool parse_user(const char *text, uid_t *uid)
{
	const struct passwd *user = getpwnam(text);

	if (!user)
		return parse_number(text, 0, UINT_MAX - 1, uid);
	*uid = user->pw_uid;
	return true;
}

static bool parse_group(const char *text, gid_t *gid)
{
	const struct group *group = getgrnam(text);

	if (!group)
		return parse_number(text, 0, UINT_MAX - 1, gid);
	*gid = group->gr_gid;
	return true;
}

static bool parse_user_vectors(const char *text, struct access_rule *rule)
{
	const char *equals = strrchr(text, '=');
	char user[256];

	if (!equals || equals - text >= (ptrdiff_t)sizeof(user))
		return false;
	memcpy(user, text, equals - text);
	user[equals - text] = 0;
	return parse_user(user, &rule->id) &&
	       parse_number(equals + 1, 1, PROTOCOL_MAX_VECTORS, &rule->vectors);
}

static bool parse_sandbox(const char *text, enum sandbox_mode *mode)
{
	if (!strcmp(text, "none"))
		*mode = SANDBOX_NONE;
	else if (SANDBOX_POSSIBLE && !strcmp(text, "deny"))
		*mode = SANDBOX_DENY;
	else if (SANDBOX_POSSIBLE && !strcmp(text, "kill"))
		*mode = SANDBOX_KILL;
	else
		return false;
	return true;
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

static const struct option table[] = {
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "socket", required_argument, NULL, 'S' },
	{ "size", required_argument, NULL, 'l' },
	{ "hugetlb", required_argument, NULL, OPT_HUGETLB },
	{ "shm", required_argument, NULL, OPT_SHM },
	{ "file", required_argument, NULL, OPT_FILE },
	{ "keep", no_argument, NULL, OPT_KEEP },
	{ "fd-store", no_argument, NULL, OPT_FD_STORE },
	{ "numa-node", required_argument, NULL, OPT_NUMA_NODE },
	{ "prefault", no_argument, NULL, OPT_PREFAULT },
	{ "vectors", required_argument, NULL, 'n' },
	{ "mode", required_argument, NULL, OPT_MODE },
	{ "owner", required_argument, NULL, OPT_OWNER },
	{ "group", required_argument, NULL, OPT_GROUP },
	{ "allow-uid", required_argument, NULL, OPT_ALLOW_UID },
	{ "allow-gid", required_argument, NULL, OPT_ALLOW_GID },
	{ "allow-cgroup", required_argument, NULL, OPT_ALLOW_CGROUP },
	{ "user-vectors", required_argument, NULL, OPT_USER_VECTORS },
	{ "max-peers", required_argument, NULL, OPT_MAX_PEERS },
	{ "max-rate", required_argument, NULL, OPT_MAX_RATE },
	{ "notify-join", required_argument, NULL, OPT_NOTIFY_JOIN },
	{ "notify-leave", required_argument, NULL, OPT_NOTIFY_LEAVE },
	{ "directory", no_argument, NULL, OPT_DIRECTORY },
	{ "quiet-departures", no_argument, NULL, OPT_QUIET_DEPARTURES },
	{ "no-quiet-departures", no_argument, NULL, OPT_NO_QUIET_DEPARTURES },
	{ "stall-timeout", required_argument, NULL, OPT_STALL_TIMEOUT },
	{ "user", required_argument, NULL, OPT_USER },
	{ "sandbox", required_argument, NULL, OPT_SANDBOX },
	{ "control", required_argument, NULL, OPT_CONTROL },
	{ "control-mode", required_argument, NULL, OPT_CONTROL_MODE },
	{ "control-group", required_argument, NULL, OPT_CONTROL_GROUP },
	{ "status", required_argument, NULL, OPT_STATUS },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "prometheus", no_argument, NULL, OPT_PROMETHEUS },
	{ "quiet", no_argument, NULL, 'q' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ 0 }
};

static const char *options_name(int opt)
{
	const struct option *option = table;

	while (option->val != opt)
		option++;
	return option->name;
}

/* Returns NULL, or what the value must be. */
static const char *options_add_rule(struct options *options, int opt,
				    char *value)
{
	struct access_rule rule = { 0 };

	switch (opt) {
	case OPT_ALLOW_UID:
		rule.kind = ACCESS_UID;
		if (!parse_user(value, &rule.id))
			return "the name or number of a user";
		break;
	case OPT_ALLOW_GID:
		rule.kind = ACCESS_GID;
		if (!parse_group(value, &rule.id))
			return "the name or number of a group";
		break;
	case OPT_ALLOW_CGROUP:
		rule.kind = ACCESS_CGROUP;
		rule.cgroup = value;
		if (*value != '/')
			return "a path that begins with /";
		break;
	case OPT_USER_VECTORS:
		rule.kind = ACCESS_VECTORS;
		if (!parse_user_vectors(value, &rule))
			return "a user, = and a number from 1 to 2048";
		break;
	}
	return access_add(&options->access, &rule) ? NULL :
	       "less: there is no memory for it";
}

/* Returns NULL, or what the value must be. */
static const char *options_set(struct options *options, int opt, char *value)
{
	unsigned int number;

	switch (opt) {
	case 'S':
		options->socket = value;
		break;
	case 'l':
		if (!parse_size(value, &options->size))
			return "a power of two, 4K or more";
		break;
	case 'n':
		if (!parse_number(value, 1, PROTOCOL_MAX_VECTORS,
				  &options->vectors))
			return "a number from 1 to 2048";
		break;
	case OPT_HUGETLB:
		if (!parse_hugepage(value, &options->hugepage))
			return "2M or 1G";
		break;
	case OPT_SHM:
		if (!parse_shm(value))
			return "a name with no slash but at the beginning";
		options->shm = value;
		break;
	case OPT_FILE:
		if (!*value)
			return "a path";
		options->file = value;
		break;
	case OPT_KEEP:
		options->keep = true;
		break;
	case OPT_FD_STORE:
		options->fd_store = true;
		break;
	case OPT_NUMA_NODE:
		if (!parse_number(value, 0, MAX_NODE, &number))
			return "a number from 0 to 1023";
		options->node = number;
		break;
	case OPT_PREFAULT:
		options->prefault = true;
		break;
	case OPT_MODE:
		if (!parse_mode(value, &options->file_access.mode))
			return "an octal number up to 777";
		break;
	case OPT_OWNER:
		if (!parse_user(value, &options->file_access.owner))
			return "the name or number of a user";
		break;
	case OPT_GROUP:
		if (!parse_group(value, &options->file_access.group))
			return "the name or number of a group";
		break;
	case OPT_ALLOW_UID:
	case OPT_ALLOW_GID:
	case OPT_ALLOW_CGROUP:
	case OPT_USER_VECTORS:
		return options_add_rule(options, opt, value);
	case OPT_MAX_PEERS:
		if (!parse_number(value, 1, PROTOCOL_IDS,
				  &options->access.max_peers))
			return "a number from 1 to 65536";
		break;
	case OPT_MAX_RATE:
		if (!parse_number(value, 1, MAX_RATE, &options->access.max_rate))
			return "a number from 1 to 1000000";
		break;
	case OPT_NOTIFY_JOIN:
	case OPT_NOTIFY_LEAVE:
		if (!parse_number(value, 0, PROTOCOL_MAX_VECTORS - 1, &number))
			return "a number from 0 to 2047";
		if (opt == OPT_NOTIFY_JOIN)
			options->notify_join = number;
		else
			options->notify_leave = number;
		break;
	case OPT_DIRECTORY:
		options->directory = true;
		break;
	case OPT_QUIET_DEPARTURES:
		options->quiet_departures = true;
		break;
	case OPT_NO_QUIET_DEPARTURES:
		options->quiet_departures = false;
		break;
	case OPT_STALL_TIMEOUT:
		if (!parse_stall(value, &options->stall_ms))
			return "a number of seconds from 0.1 to 86400";
		break;
	case OPT_USER:
		if (!getpwnam(value))
			return "the name of a user";
		options->user = value;
		break;
	case OPT_SANDBOX:
		if (!parse_sandbox(value, &options->sandbox))
			return SANDBOX_POSSIBLE ? "deny, kill or none" :
			       "none: libseccomp is not built in";
		break;
	case OPT_CONTROL:
		if (!*value)
			return "a path";
		options->control = value;
		break;
	case OPT_CONTROL_MODE:
		if (!parse_mode(value, &options->control_access.mode))
			return "an octal number up to 777";
		break;
	case OPT_CONTROL_GROUP:
		if (!parse_group(value, &options->control_access.group))
			return "the name or number of a group";
		break;
	case OPT_STATUS:
		if (!*value)
			return "a path";
		options->status = value;
		break;
	case OPT_JSON:
		options->format = STATUS_JSON;
		break;
	case OPT_PROMETHEUS:
		options->format = STATUS_PROMETHEUS;
		break;
	case 'q':
		options->log_level = LOG_WARNING;
		break;
	case 'v':
		options->log_level = LOG_DEBUG;
		break;
	}
	return NULL;
}

static bool options_for_file(int opt)
{
	switch (opt) {
	case OPT_CONFIG:
	case OPT_STATUS:
	case OPT_JSON:
	case OPT_PROMETHEUS:
	case 'h':
	case 'V':
		return false;
	default:
		return true;
	}
}

static int options_set_line(void *context, const char *where, char *name,
			    char *value)
{
	const struct option *option = table;
	const char *wanted;

	while (option->name && strcmp(option->name, name))
		option++;
	if (!option->name || !options_for_file(option->val)) {
		log_err("%s: %s: not an option of a configuration file", where,
			name);
		return -EINVAL;
	}
	if (option->has_arg == no_argument && *value) {
		log_err("%s: %s takes no value", where, name);
		return -EINVAL;
	}
	if (option->has_arg == required_argument && !*value) {
		log_err("%s: %s needs a value", where, name);
		return -EINVAL;
	}
	wanted = options_set(context, option->val, value);
	if (wanted) {
		log_err("%s: %s %s: must be %s", where, name, value, wanted);
		return -EINVAL;
	}
	return 0;
}

static int options_read_config(struct options *options, const char *path)
{
	if (options->config) {
		log_err("--config %s: one file is enough", path);
		return -EINVAL;
	}
	options->config = config_read(path, options_set_line, options);
	return options->config ? 0 : -errno;
}

/* What options mean together. */
static bool options_check(const struct options *options)
{
	const char *wrong = NULL;

	if (options->format && !options->status)
		wrong = "--json and --prometheus go with --status";
	else if (options->status)
		return true;
	else if (options->socket ? !*options->socket : !service_activated())
		wrong = "a path for the socket is needed: --socket PATH; see --help";
	else if (!!options->hugepage + !!options->shm + !!options->file > 1)
		wrong = "only one of --hugetlb, --shm and --file is possible";
	else if (options->keep && !options->shm && !options->file)
		wrong = "--keep needs --shm or --file";
	else if (options->size < options->hugepage)
		wrong = "--size is less than one page of --hugetlb";
	else if (options->notify_join >= (int)options->vectors ||
		 options->notify_leave >= (int)options->vectors)
		wrong = "--notify-join and --notify-leave need a vector less than --vectors";
	else if (options->directory && options->size < DIRECTORY_MIN_SIZE)
		wrong = "--directory needs a --size of 16K or more";

	if (wrong)
		log_err("%s", wrong);
	return !wrong;
}

/**
 * options_parse() - Read the command line and the file that it names.
 * @options: filled in, to be given back with options_free() in each case
 * @argc:    as main() got it
 * @argv:    as main() got it
 *
 * Return: what is to be done next.
 */
enum options_outcome options_parse(struct options *options, int argc,
				   char **argv)
{
	const char *wanted;
	int opt;

	*options = (struct options){
		.argc = argc,
		.argv = argv,
		.file_access = { -1, -1, -1 },
		.control_access = { 0600, -1, -1 },
		.size = 4 << 20,
		.node = -1,
		.notify_join = -1,
		.notify_leave = -1,
		.stall_ms = 30000,
		.vectors = 1,
		.log_level = LOG_INFO,
		.quiet_departures = true,
	};

	optind = 0;
	while ((opt = getopt_long(argc, argv, "S:l:n:qvhV", table, NULL)) != -1) {
		switch (opt) {
		case OPT_CONFIG:
			if (options_read_config(options, optarg))
				return OPTIONS_BAD;
			break;
		case 'h':
			fputs(help, stdout);
			return OPTIONS_DONE;
		case 'V':
			puts("ivshmem-server " IVSHMEM_VERSION);
			printf("built in: %cseccomp %csystemd\n",
			       SANDBOX_POSSIBLE ? '+' : '-',
			       SERVICE_POSSIBLE ? '+' : '-');
			return OPTIONS_DONE;
		case '?':
			fputs("Try 'ivshmem-server --help'.\n", stderr);
			return OPTIONS_BAD;
		default:
			wanted = options_set(options, opt, optarg);
			if (!wanted)
				break;
			log_err("--%s %s: must be %s", options_name(opt), optarg,
				wanted);
			return OPTIONS_BAD;
		}
	}

	if (optind < argc) {
		log_err("%s: not an option; see --help", argv[optind]);
		return OPTIONS_BAD;
	}
	if (!options_check(options))
		return OPTIONS_BAD;
	return options->status ? OPTIONS_STATUS : OPTIONS_RUN;
}

/**
 * options_reload() - Read the file again, and take the access lists from it.
 * @options: the options; nothing but @options->access changes
 *
 * Return: 0, or a negative errno after a line in the log; all is then as it was.
 */
int options_reload(struct options *options)
{
	struct options fresh;
	struct access old = options->access;
	enum options_outcome outcome;

	outcome = options_parse(&fresh, options->argc, options->argv);
	if (outcome == OPTIONS_RUN) {
		options->access = fresh.access;
		fresh.access = old;
	}
	options_free(&fresh);
	return outcome == OPTIONS_RUN ? 0 : -EINVAL;
}

/**
 * options_free() - Forget what options_parse() has filled in.
 * @options: the options
 */
void options_free(struct options *options)
{
	access_free(&options->access);
	free(options->config);
}
