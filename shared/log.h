/*
 * log.h: one line an event, to the log file.
 *
 * The process has one log.  Before log_open, lines go to standard error.
 * Writing never blocks and never fails the caller: a line that cannot be
 * written is dropped and counted.  Lines are
 * "2026-11-22 10:00:00.123 PID level: text".
 */
#ifndef SHARED_LOG_H
#define SHARED_LOG_H

#include "shared/base.h"

enum log_level { LOG_FATAL, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lets a line through once a second; says how many it held back.  Zeroed at
 * first. */
struct log_gate {
	int64_t		 last_s;
	unsigned	 held;
};

/* Append to PATH from now on (created 0640); -1 with errno, and the old log
 * stays.  PATH may be a FIFO that nobody reads yet.  The descriptor is for
 * children too, but not for other programs. */
int	 log_open(const char *path) MUST_CHECK;
/* Write to FD from now on, which is the log's own then. */
void	 log_set_fd(int fd);
/* The descriptor that lines go to; -1: standard error. */
int	 log_fd(void);
void	 log_close(void);
void	 log_set_level(enum log_level level);
bool	 log_wants(enum log_level level);
/* Lines of this process that could not be written. */
uint64_t log_dropped(void);

/* True: write the line now; *HELD lines of its kind were held back since. */
bool	 log_gate_pass(struct log_gate *gate, unsigned *held) MUST_CHECK;

/* The ones without x add ": " and strerror(errno).  errno is kept. */
void	 log_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
void	 log_errorx(const char *fmt, ...) PRINTF_LIKE(1, 2);
void	 log_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);
void	 log_warnx(const char *fmt, ...) PRINTF_LIKE(1, 2);
void	 log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);
void	 log_debug(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Say it and exit(1). */
void	 log_fatal(const char *fmt, ...) PRINTF_LIKE(1, 2) NORETURN;
void	 log_fatalx(const char *fmt, ...) PRINTF_LIKE(1, 2) NORETURN;

/* At most SIZE bytes at DST, NUL included: the LEN bytes at P as a word of
 * ASCII, with what cannot be seen, and the backslash, as \xNN, cut with "..."
 * where they are too many.  DST is returned. */
const char *log_escape(char *dst, size_t size, const void *p, size_t len);

#endif /* SHARED_LOG_H */
