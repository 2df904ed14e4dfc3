// SPDX-License-Identifier: MIT
/*
 * What an interrupt costs, depending on who has the device open. The kernel's
 * own tracepoints stand around the handler, and the time between them is counted
 * in ticks of the TSC: in a VM that runs with -icount shift=0, these are
 * instructions. There the numbers hardly vary; elsewhere they mean little.
 */
#include <sys/mount.h>

#include "irq.h"

#define TRACING		"/sys/kernel/tracing"
#define FILES		64
#define INTERRUPTS	50

/* Seen to vary by one instruction, where 64 wake-ups take thousands. */
#define MARGIN		4

static int counter;		/* counts/0 of the device */
static char vector_0[64];	/* its name in /proc/interrupts */
static int fds[FILES];

static void put(const char *name, const char *value)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), TRACING "/%s", name);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) != (ssize_t)strlen(value))
		tap_bail("%s: %s", path, strerror(errno));
	close(fd);
}

/* Without IVSHMEM_WAIT, so that the handler finds nobody who waits. */
static uint64_t count_of_0(void)
{
	char text[32];
	ssize_t n = pread(counter, text, sizeof(text) - 1, 0);

	NEED(n > 0);
	text[n] = '\0';
	return strtoull(text, NULL, 10);
}

static int compare(const void *left, const void *right)
{
	const uint64_t *a = left, *b = right;

	return (*a > *b) - (*a < *b);
}

/* Takes what the handler took each time out of the trace. */
static unsigned int parse(uint64_t *took)
{
	uint64_t entry = 0, when;
	unsigned int n = 0, irq = 0, number;
	char line[512], name[64];
	FILE *trace;

	trace = fopen(TRACING "/trace", "re");
	NEED(trace);
	while (fgets(line, sizeof(line), trace)) {
		char *at = strstr(line, "irq_handler_");
		char *stamp = at;

		if (*line == '#' || !at)
			continue;
		/* "... 4711: irq_handler_entry: irq=24 name=ivshmem0-0" */
		stamp -= 3;
		while (stamp > line && stamp[-1] >= '0' && stamp[-1] <= '9')
			stamp--;
		when = strtoull(stamp, NULL, 10);
		if (sscanf(at, "irq_handler_entry: irq=%u name=%63s", &number,
			   name) == 2) {
			if (!strcmp(name, vector_0)) {
				irq = number;
				entry = when;
			}
		} else if (sscanf(at, "irq_handler_exit: irq=%u", &number) == 1 &&
			   entry && number == irq && n < INTERRUPTS) {
			took[n++] = when - entry;
			entry = 0;
		}
	}
	fclose(trace);
	return n;
}

/* Interrupts some times on vector 0, and returns the median of the cost. */
static uint64_t measure(const char *what)
{
	uint64_t took[INTERRUPTS], end = tap_now() + 100 * TAP_SECOND;
	unsigned int i, n;

	put("trace", "");
	put("tracing_on", "1");
	for (i = 0; i < INTERRUPTS; i++) {
		uint64_t count = count_of_0();

		irq_ring(0);
		while (count_of_0() == count)
			NEED(tap_now() < end);
	}
	put("tracing_on", "0");
	n = parse(took);
	EXPECT_EQ(n, INTERRUPTS);
	NEED(n);
	qsort(took, n, sizeof(*took), compare);
	tap_note("%s: median %llu, from %llu to %llu", what,
		 (unsigned long long)took[n / 2], (unsigned long long)*took,
		 (unsigned long long)took[n - 1]);
	return took[n / 2];
}

/*
 * Opens files, and has them listen: to vector 0, to others, or to what they see
 * by default. Those that choose a vector bind an eventfd to it, too.
 */
static void open_files(unsigned int nr, bool choose, unsigned int first,
		       unsigned int step, bool listen)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		struct ivshmem_subscribe req = { 0 };
		uint64_t words[2] = { 0 };
		unsigned int v = first + i * step;

		fds[i] = dev_open(O_RDWR);
		words[v / 64] = UINT64_C(1) << v % 64;
		req.bitmap = (uintptr_t)words;
		req.bits = 128;
		if (choose) {
			int efd = irq_eventfd();

			NEED(!ioctl(fds[i], IVSHMEM_SUBSCRIBE, &req));
			NEED(!irq_bind(fds[i], v, efd));
			/* It is bound until the file is closed. */
			close(efd);
		}
		if (listen)
			EXPECT_EQ(irq_poll(fds[i]), 0);
	}
}

static void close_files(unsigned int nr)
{
	while (nr--)
		close(fds[nr]);
}

static bool same(uint64_t a, uint64_t b)
{
	return a <= b + MARGIN && b <= a + MARGIN;
}

int main(int argc, char **argv)
{
	uint64_t alone, one, many, silent, chosen, all;
	char path[128];

	tap_start(argc, argv, 200);
	irq_start(FILES + 1);
	if (mount("tracefs", TRACING, "tracefs", 0, NULL) && errno != EBUSY)
		tap_skip_all("no tracefs: %s", strerror(errno));
	snprintf(path, sizeof(path), "/sys/class/misc%s/counts/0",
		 strrchr(tap_device, '/'));
	snprintf(vector_0, sizeof(vector_0), "%s-0",
		 strrchr(tap_device, '/') + 1);
	counter = open(path, O_RDONLY | O_CLOEXEC);
	NEED(counter >= 0);
	put("trace_clock", "x86-tsc");
	put("events/irq/irq_handler_entry/enable", "1");
	put("events/irq/irq_handler_exit/enable", "1");

	alone = measure("no other file");
	open_files(1, true, 1, 1, true);
	one = measure("1 file, listening to another vector");
	close_files(1);
	open_files(FILES, true, 1, 1, true);
	many = measure("64 files, each listening to another vector");
	close_files(FILES);
	open_files(FILES, false, 0, 0, false);
	silent = measure("64 files that have never waited");
	close_files(FILES);
	open_files(FILES, true, 0, 0, true);
	chosen = measure("64 files listening to this vector");
	close_files(FILES);
	open_files(FILES, false, 0, 0, true);
	all = measure("64 files listening to all");
	close_files(FILES);
	put("events/enable", "0");

	EXPECT(same(one, many));
	EXPECT(same(one, alone));
	EXPECT(same(one, silent));
	/* And this is what it would look like. */
	EXPECT(chosen > 2 * one);
	EXPECT(all > 2 * one);
	return tap_finish();
}
