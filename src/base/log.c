/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = { "error", "warning", "info", "debug" };

static void emit(const struct log *log, enum log_level level, const char *fmt, va_list ap)
{
	char line[1200];
	int n = snprintf(line, sizeof(line), "bothy-vm: %s: ", level_names[level]);
	int m = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);

	if (m < 0)
		return;
	n += m;
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	if (write(log->fd, line, n) < 0)
		return; /* nowhere left to complain to */
}

void log_line(const struct log *log, enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (!log || level > log->level)
		return;
	va_start(ap, fmt);
	emit(log, level, fmt, ap);
	va_end(ap);
}

void log_guest(const struct log *log, struct log_limit *limit, const char *fmt, ...)
{
	enum { BURST = 10 };
	struct timespec ts;
	int64_t now, start;
	uint32_t n;
	va_list ap;

	if (!log || log->level < LOG_LEVEL_WARN)
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	start = atomic_load_explicit(&limit->window_ns, memory_order_relaxed);
	if (now - start > 1000000000) {
		n = atomic_exchange(&limit->count, 0);
		atomic_store(&limit->window_ns, now);
		if (n > BURST)
			log_line(log, LOG_LEVEL_WARN, "(%u like messages dropped)", n - BURST);
	}
	if (atomic_fetch_add(&limit->count, 1) >= BURST)
		return;
	va_start(ap, fmt);
	emit(log, LOG_LEVEL_WARN, fmt, ap);
	va_end(ap);
}
