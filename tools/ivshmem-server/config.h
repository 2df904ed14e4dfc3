/* SPDX-License-Identifier: MIT */
/*
 * The configuration file: lines of a name and a value.
 */
#ifndef CONFIG_H
#define CONFIG_H

/**
 * typedef config_line - What config_read() calls for each line.
 * @context: as config_read() got it
 * @where:   "FILE:LINE", for messages
 * @name:    the line's first word
 * @value:   the rest, without blanks around it; may be empty
 *
 * Return: 0, or a negative errno after a line in the log.
 */
typedef int config_line(void *context, const char *where, char *name,
			char *value);

char *config_read(const char *path, config_line *line, void *context);

#endif /* CONFIG_H */
