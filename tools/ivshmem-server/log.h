/* SPDX-License-Identifier: MIT */
/*
 * Log lines on standard error, each with its level.
 */
#ifndef LOG_H
#define LOG_H

#include <syslog.h>

void log_open(void);
void log_set_level(int level);
void log_print(int level, const char *format, ...)
	__attribute((format(printf, 2, 3)));

#define log_err(...)	log_print(LOG_ERR, __VA_ARGS__)
#define log_warn(...)	log_print(LOG_WARNING, __VA_ARGS__)
#define log_info(...)	log_print(LOG_INFO, __VA_ARGS__)
#define log_debug(...)	log_print(LOG_DEBUG, __VA_ARGS__)

#endif /* LOG_H */
