/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of one program or one VM: lines on a file descriptor. No globals; a
 * struct log hangs from whoever owns the thing that speaks.
 */
#ifndef BOTHY_BASE_LOG_H
#define BOTHY_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log {
	int fd;               /* written whole lines at a time; not owned */
	enum log_level level; /* lines above this are dropped */
};

/* A budget for lines that a guest can cause: @burst lines, then one every
 * second with the number that was dropped. Zero-initialise. Thread-safe
 * enough: a race costs a line, never memory. */
struct log_limit {
	_Atomic uint32_t count;
	_Atomic int64_t window_ns;
};

/* log may be NULL (silent). */
void log_line(const struct log *log, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A guest did something its specification forbids; rate-limited by @limit. */
void log_guest(const struct log *log, struct log_limit *limit, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(log, ...) log_line(log, LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(log, ...) log_line(log, LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(log, ...) log_line(log, LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_line(log, LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
