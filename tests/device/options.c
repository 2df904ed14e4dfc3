// SPDX-License-Identifier: MIT
/*
 * The command line.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>

#include "model.h"

#define REGS_SIZE	256
#define REGS_SIZE_2010	1024

static const char help[] =
"Usage: ivshmem-device [OPTION]... SOCKET...\n"
"Be the ivshmem device of one VM for each SOCKET, through QEMU's vfio-user-pci.\n"
"\n"
"  --revision N     PCI revision (default: 1)\n"
"  --irq KIND       none, intx or msix (default: msix)\n"
"  --vectors N      vectors of MSI-X (default: 4)\n"
"  --layout NAME    stock, or 2010: one doorbell register for each guest\n"
"  --regs BYTES     size of BAR0, 0 for none (default: 256; of the layout 2010:\n"
"                   1024)\n"
"  --size BYTES     size of BAR2, 0 for none (default: 4194304)\n"
"  --trap           see each access to BAR2: slow, and counted\n"
"  --position N     id of the first guest (default: 0)\n"
"  --late N         the position is -1 for that many reads, or with `never'\n"
"                   until a command makes it known\n"
"  --mode NAME      none, stuck, deaf, silent, storm, ones\n"
"  --control PATH   socket for commands, see control.c\n"
"  --help           print this help\n";

static noreturn void die(const char *option, const char *text)
{
	fprintf(stderr, "ivshmem-device: --%s: cannot use '%s'\n", option, text);
	exit(2);
}

/**
 * options_number() - Read an unsigned number, decimal or with 0x.
 * @text:  all of it
 * @max:   the most that it may be
 * @value: where it goes
 */
bool options_number(const char *text, uint64_t max, uint64_t *value)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*value = strtoull(text, &end, 0);
	return !errno && !*end && *value <= max;
}

static uint64_t number(const char *option, uint64_t max)
{
	uint64_t value;

	if (!options_number(optarg, max, &value))
		die(option, optarg);
	return value;
}

static unsigned int choice(const char *option, const char * const *names,
			   unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (!strcmp(optarg, names[i]))
			return i;
	}
	die(option, optarg);
}

/**
 * options_parse() - Fill in model.options, or end the program.
 */
void options_parse(int argc, char **argv)
{
	static const char * const irqs[] = { "none", "intx", "msix" };
	static const char * const layouts[] = { "stock", "2010" };
	static const struct option longs[] = {
		{ "revision", required_argument, NULL, 'r' },
		{ "irq", required_argument, NULL, 'i' },
		{ "vectors", required_argument, NULL, 'v' },
		{ "layout", required_argument, NULL, 'y' },
		{ "regs", required_argument, NULL, 'b' },
		{ "size", required_argument, NULL, 's' },
		{ "trap", no_argument, NULL, 't' },
		{ "position", required_argument, NULL, 'p' },
		{ "late", required_argument, NULL, 'l' },
		{ "mode", required_argument, NULL, 'm' },
		{ "control", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	struct options *opt = &model.options;
	int64_t regs = -1;
	int index = 0, c;

	opt->revision = 1;
	opt->irq = IRQ_MSIX;
	opt->vectors = 4;
	opt->size = 4 << 20;

	while ((c = getopt_long(argc, argv, "", longs, &index)) != -1) {
		const char *name = longs[index].name;

		switch (c) {
		case 'r':
			opt->revision = number(name, UINT8_MAX);
			break;
		case 'i':
			opt->irq = choice(name, irqs, 3);
			break;
		case 'v':
			opt->vectors = number(name, MAX_VECTORS);
			break;
		case 'y':
			opt->layout = choice(name, layouts, 2);
			break;
		case 'b':
			regs = number(name, UINT32_MAX);
			break;
		case 's':
			opt->size = number(name, UINT64_C(1) << 40);
			break;
		case 't':
			opt->trap = true;
			break;
		case 'p':
			opt->position = number(name, UINT32_MAX);
			break;
		case 'l':
			opt->never = !strcmp(optarg, "never");
			if (!opt->never)
				opt->late = number(name, UINT32_MAX);
			break;
		case 'm':
			if (!mode_parse(optarg, &opt->mode))
				die(name, optarg);
			break;
		case 'c':
			opt->control = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			exit(0);
		default:
			exit(2);
		}
	}

	opt->regs = regs;
	if (regs < 0)
		opt->regs = opt->layout == LAYOUT_2010 ? REGS_SIZE_2010 :
							 REGS_SIZE;
	opt->nr_guests = argc - optind;
	if (!opt->nr_guests || opt->nr_guests > MAX_GUESTS || !opt->vectors ||
	    opt->regs & (opt->regs - 1) || opt->size & (opt->size - 1)) {
		fputs(help, stderr);
		exit(2);
	}
	memcpy(opt->sockets, argv + optind, opt->nr_guests * sizeof(*argv));
}
