/*
 * log.c: one write(2) a line, to a descriptor that never blocks.
 */
#include "shared/log.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shared/clock.h"

/* Below PIPE_BUF, so that a pipe takes a line whole or not at all. */
#define LOG_LINE_MAX	2048
#define LOG_FLAGS	(O_APPEND | O_CREAT | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)

static struct {
	int		 fd;		/* -1: standard error */
	enum log_level	 level;
	bool		 torn;		/* the last line lacks its end */
	pid_t		 pid;		/* whose dropped lines they are */
	uint64_t	 dropped;
} log_state = { .fd = -1, .level = LOG_WARN };

static const char *const log_level_names[] = {
	[LOG_FATAL] = "fatal",
	[LOG_ERROR] = "error",
	[LOG_WARN] = "warn",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};

int
log_open(const char *path)
{
	struct stat st;
	int fd;

	fd = open(path, O_WRONLY | LOG_FLAGS, 0640);
	/*
	 * A FIFO is held open for reading too: it can then be opened before
	 * its reader comes, and a reader that goes raises no SIGPIPE.
	 */
	if (fd == -1 && errno == ENXIO)
		fd = open(path, O_RDWR | LOG_FLAGS, 0640);
	else if (fd != -1 && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode)) {
		close(fd);
		fd = open(path, O_RDWR | LOG_FLAGS, 0640);
	}
	if (fd == -1)
		return -1;
	log_set_fd(fd);
	return 0;
}

void
log_set_fd(int fd)
{
	int old = log_state.fd;

	log_state.fd = fd;
	log_state.torn = false;
	if (old != -1)
		close(old);
}

int
log_fd(void)
{
	return log_state.fd;
}

void
log_close(void)
{
	if (log_state.fd != -1)
		close(log_state.fd);
	log_state.fd = -1;
	log_state.torn = false;
}

void
log_set_level(enum log_level level)
{
	log_state.level = level;
}

bool
log_wants(enum log_level level)
{
	return level <= log_state.level;
}

/* A child starts with its parent's count, which is not its own. */
static void
log_check_pid(pid_t pid)
{
	if (log_state.pid == pid)
		return;
	log_state.pid = pid;
	log_state.dropped = 0;
}

uint64_t
log_dropped(void)
{
	log_check_pid(getpid());
	return log_state.dropped;
}

/* "date time.ms PID level: " at DST; its length. */
static size_t
log_format_head(char *dst, size_t size, enum log_level level, pid_t pid)
{
	struct timespec now;
	struct tm tm;
	size_t len;
	int n;

	clock_gettime(CLOCK_REALTIME, &now);
	if (localtime_r(&now.tv_sec, &tm) == NULL)
		memset(&tm, 0, sizeof(tm));
	len = strftime(dst, size, "%Y-%m-%d %H:%M:%S", &tm);
	n = snprintf(dst + len, size - len, ".%03ld %ld %s: ",
	    now.tv_nsec / 1000000, (long)pid, log_level_names[level]);
	return len + (size_t)n;
}

/* An event is one line, whatever the text holds. */
static void
log_flatten(char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)p[i] < ' ' || p[i] == 0x7f)
			p[i] = '?';
}

/* One write of the LEN bytes at LINE, which end in a newline. */
static void
log_put(const char *line, size_t len)
{
	int fd = log_state.fd == -1 ? STDERR_FILENO : log_state.fd;
	ssize_t n;

	do {
		n = write(fd, line, len);
	} while (n == -1 && errno == EINTR);
	if (n == (ssize_t)len) {
		log_state.torn = false;
		return;
	}
	log_state.dropped++;
	if (n > 0)
		log_state.torn = true;
}

static void	log_vwrite(enum log_level, int, const char *, va_list)
		    PRINTF_LIKE(3, 0);
static void	log_fatal_noexit(const char *, ...) PRINTF_LIKE(1, 2);

static void
log_vwrite(enum log_level level, int err, const char *fmt, va_list ap)
{
	char buf[LOG_LINE_MAX];
	const size_t room = sizeof(buf) - 1;	/* less the newline */
	pid_t pid = getpid();
	size_t head, len;
	int n;

	log_check_pid(pid);
	buf[0] = '\n';		/* ends a torn line */
	head = 1 + log_format_head(buf + 1, room - 1, level, pid);
	len = head;
	n = vsnprintf(buf + len, room - len, fmt, ap);
	if (n > 0)
		len += (size_t)n;
	if (err != 0 && len < room) {
		n = snprintf(buf + len, room - len, ": %s", strerror(err));
		if (n > 0)
			len += (size_t)n;
	}
	if (len >= room) {
		len = room - 1;
		memcpy(buf + len - 3, "...", 3);
	}
	log_flatten(buf + head, len - head);
	buf[len++] = '\n';
	if (log_state.torn)
		log_put(buf, len);
	else
		log_put(buf + 1, len - 1);
}

/* The public functions differ in level and errno alone. */
#define LOG_WRITE(level, err) \
	do { \
		int log_saved_ = errno; \
		va_list log_ap_; \
		if (!log_wants(level)) \
			break; \
		va_start(log_ap_, fmt); \
		log_vwrite(level, err, fmt, log_ap_); \
		va_end(log_ap_); \
		errno = log_saved_; \
	} while (0)

void
log_error(const char *fmt, ...)
{
	LOG_WRITE(LOG_ERROR, errno);
}

void
log_errorx(const char *fmt, ...)
{
	LOG_WRITE(LOG_ERROR, 0);
}

void
log_warn(const char *fmt, ...)
{
	LOG_WRITE(LOG_WARN, errno);
}

void
log_warnx(const char *fmt, ...)
{
	LOG_WRITE(LOG_WARN, 0);
}

void
log_info(const char *fmt, ...)
{
	LOG_WRITE(LOG_INFO, 0);
}

void
log_debug(const char *fmt, ...)
{
	LOG_WRITE(LOG_DEBUG, 0);
}

void
log_fatal(const char *fmt, ...)
{
	LOG_WRITE(LOG_FATAL, errno);
	exit(1);
}

void
log_fatalx(const char *fmt, ...)
{
	LOG_WRITE(LOG_FATAL, 0);
	exit(1);
}

static void
log_fatal_noexit(const char *fmt, ...)
{
	LOG_WRITE(LOG_FATAL, 0);
}

void
base_assert_failed(const char *what, const char *file, int line)
{
	log_fatal_noexit("bug: %s:%d: %s", file, line, what);
	abort();
}

bool
log_gate_pass(struct log_gate *gate, unsigned *held)
{
	/* A second is stored as its number plus one: 0 is a fresh gate. */
	int64_t second = (int64_t)(clock_us() / 1000000) + 1;

	if (gate->last_s == second) {
		gate->held++;
		return false;
	}
	gate->last_s = second;
	*held = gate->held;
	gate->held = 0;
	return true;
}

const char *
log_escape(char *dst, size_t size, const void *p, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *s = p;
	size_t out = 0, cut = 0;

	if (size == 0)
		return dst;
	for (size_t i = 0; i < len; i++) {
		bool plain = s[i] > ' ' && s[i] < 0x7f && s[i] != '\\';

		if (out + (plain ? 1 : 4) >= size) {
			if (size > 3) {
				memcpy(dst + cut, "...", 3);
				cut += 3;
			}
			out = cut;
			break;
		}
		if (plain) {
			dst[out++] = (char)s[i];
		} else {
			dst[out++] = '\\';
			dst[out++] = 'x';
			dst[out++] = hex[s[i] >> 4];
			dst[out++] = hex[s[i] & 15];
		}
		if (out + 3 < size)
			cut = out;
	}
	dst[out] = '\0';
	return dst;
}
