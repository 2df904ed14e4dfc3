// SPDX-License-Identifier: MIT
/*
 * The configuration file: lines of a name and a value.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "log.h"

/* Far more than all options need. */
#define CONFIG_MAX	65536

#define BLANKS		" \t\r"

static char *config_load(const char *path)
{
	/* O_NONBLOCK for what turns out to be a FIFO. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text = malloc(CONFIG_MAX + 1);
	ssize_t n = -1;
	struct stat st;
	size_t len = 0;
	int error;

	if (!text)
		errno = ENOMEM;
	if (fd < 0 || !text || fstat(fd, &st))
		goto fail;
	errno = EINVAL;
	if (!S_ISREG(st.st_mode))
		goto fail;
	while (len <= CONFIG_MAX) {
		n = read(fd, text + len, CONFIG_MAX + 1 - len);
		if (n <= 0)
			break;
		len += n;
	}
	if (n < 0)
		goto fail;
	errno = EFBIG;
	if (len > CONFIG_MAX)
		goto fail;
	errno = EILSEQ;
	if (memchr(text, 0, len))
		goto fail;
	text[len] = 0;
	close(fd);
	return text;

fail:
	error = errno;
	log_err("cannot read the configuration file %s: %s", path,
		strerror(error));
	if (fd >= 0)
		close(fd);
	free(text);
	errno = error;
	return NULL;
}

static char *config_trim(char *text)
{
	size_t len;

	text += strspn(text, BLANKS);
	len = strlen(text);
	while (len && strchr(BLANKS, text[len - 1]))
		len--;
	text[len] = 0;
	return text;
}

/**
 * config_read() - Read a configuration file.
 * @path:    of the file
 * @line:    called for each line that is not empty and does not begin with #
 * @context: for @line
 *
 * Return: the text that the names and values are pieces of, for free(); or NULL
 * and errno, after a line in the log.
 */
char *config_read(const char *path, config_line *line, void *context)
{
	char *text = config_load(path);
	char *rest = text;
	unsigned int number = 0;
	char *name, *value;
	char where[300];
	int ret;

	if (!text)
		return NULL;

	while (rest) {
		name = config_trim(strsep(&rest, "\n"));
		number++;
		if (!*name || *name == '#')
			continue;
		value = name + strcspn(name, BLANKS);
		if (*value)
			*value++ = 0;
		snprintf(where, sizeof(where), "%s:%u", path, number);
		ret = line(context, where, name, config_trim(value));
		if (ret) {
			free(text);
			errno = -ret;
			return NULL;
		}
	}
	return text;
}
