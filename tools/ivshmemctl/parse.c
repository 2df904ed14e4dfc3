// SPDX-License-Identifier: MIT
/* Numbers as people type them: the whole word counts, or none of it. */
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ivshmemctl.h"

/* Nobody waits longer than this number of seconds, and it fits. */
#define SECONDS_MAX	1000000000

static noreturn void not_a_number(const char *name, const char *text)
{
	errx(EXIT_USAGE, "%s: '%s' is not a number", name, text);
}

static noreturn void too_large(const char *name, const char *text)
{
	errx(EXIT_USAGE, "%s: %s is too large", name, text);
}

/* Decimal, or hexadecimal after 0x. A leading 0 makes no octal number. */
static uint64_t parse_digits(const char *name, const char *text, char **end)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	uint64_t value;

	/* strtoull() would also take blanks and a sign. */
	if (!isdigit((unsigned char)text[0]))
		not_a_number(name, text);
	errno = 0;
	value = strtoull(text, end, hex ? 16 : 10);
	if (errno)
		too_large(name, text);
	return value;
}

/**
 * parse_number() - Read a number.
 * @name: what it is, for the error message
 * @text: the word
 * @max:  the largest that will do
 *
 * Return: the number. Ends the program if it is none.
 */
uint64_t parse_number(const char *name, const char *text, uint64_t max)
{
	uint64_t value;
	char *end;

	value = parse_digits(name, text, &end);
	if (*end)
		not_a_number(name, text);
	if (value > max)
		errx(EXIT_USAGE, "%s: %s is more than %ju", name, text,
		     (uintmax_t)max);
	return value;
}

/**
 * parse_size() - Read a number of bytes, with K, M or G for powers of 1024.
 * @name: what it is, for the error message
 * @text: the word
 *
 * Return: the number. Ends the program if it is none.
 */
uint64_t parse_size(const char *name, const char *text)
{
	static const char suffixes[] = "KMG";
	const char *suffix;
	unsigned int shift;
	uint64_t value;
	char *end;

	value = parse_digits(name, text, &end);
	if (!*end)
		return value;
	suffix = strchr(suffixes, toupper((unsigned char)*end));
	if (!suffix || end[1])
		not_a_number(name, text);
	shift = 10 * (suffix - suffixes + 1);
	if (value > UINT64_MAX >> shift)
		too_large(name, text);
	return value << shift;
}

/**
 * parse_seconds() - Read a time in seconds, which may have a fraction.
 * @name: what it is, for the error message
 * @text: the word
 *
 * Return: nanoseconds. Ends the program if it is no time.
 */
int64_t parse_seconds(const char *name, const char *text)
{
	double value;
	char *end;

	value = strtod(text, &end);
	/* It would take infinity, exponents and signs as well. */
	if (end == text || *end || text[strspn(text, "0123456789.")])
		not_a_number(name, text);
	if (value > SECONDS_MAX)
		too_large(name, text);
	return value * 1e9;
}
