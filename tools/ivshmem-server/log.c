// SPDX-License-Identifier: MIT
/*
 * Log lines on standard error, each with its level.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

static int threshold = LOG_INFO;
static bool journal;

/**
 * log_open() - Find out where the log goes.
 *
 * The journal takes a line's level from its beginning, and knows who writes. It
 * is what systemd says is standard error, if that still is what it says.
 */
void log_open(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char here[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st))
		return;
	snprintf(here, sizeof(here), "%ju:%ju", (uintmax_t)st.st_dev,
		 (uintmax_t)st.st_ino);
	journal = !strcmp(stream, here);
}

/**
 * log_set_level() - Choose what is logged.
 * @level: the least important level that is: LOG_WARNING, LOG_INFO or LOG_DEBUG
 */
void log_set_level(int level)
{
	threshold = level;
}

/**
 * log_print() - Write one line.
 * @level:  LOG_ERR, LOG_WARNING, LOG_INFO or LOG_DEBUG
 * @format: as for printf(), with no newline at the end
 *
 * A line is a single write(), so that those of several servers on one terminal
 * or pipe do not mix. What does not fit in a line is cut.
 */
void log_print(int level, const char *format, ...)
{
	static const char * const names[] = {
		[LOG_ERR]	= "error",
		[LOG_WARNING]	= "warning",
		[LOG_INFO]	= "info",
		[LOG_DEBUG]	= "debug",
	};
	char line[512];
	va_list args;
	size_t len;

	if (level > threshold)
		return;

	if (journal)
		len = snprintf(line, sizeof(line), "<%d>", level);
	else
		len = snprintf(line, sizeof(line), "ivshmem-server: %s: ",
			       names[level]);
	va_start(args, format);
	vsnprintf(line + len, sizeof(line) - len, format, args);
	va_end(args);

	len = strlen(line);
	if (len == sizeof(line) - 1)
		len--;
	line[len++] = '\n';

	/* Whoever reads the log may be gone. That is no reason to end. */
	if (write(STDERR_FILENO, line, len) < 0)
		return;
}
