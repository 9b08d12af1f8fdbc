#include "master/pidfile.h"

#include <sys/file.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shared/log.h"

/* Ten pauses of 20 ms. */
#define PIDFILE_TRIES	11
#define PIDFILE_PAUSE_NS (20 * 1000 * 1000)

enum pidfile_result {
	PIDFILE_DONE,
	PIDFILE_AGAIN,	/* the file was taken away meanwhile */
	PIDFILE_HELD,
	PIDFILE_FAILED	/* errno says why */
};

static bool	pidfile_fail(struct pidfile *, char *, size_t, const char *,
		    ...) PRINTF_LIKE(4, 5);

/* "PATH: what" in ERR; always false, and nothing is held. */
static bool
pidfile_fail(struct pidfile *pf, char *err, size_t room, const char *fmt, ...)
{
	va_list ap;
	int n;

	n = snprintf(err, room, "%s: ", pf->path);
	if (n > 0 && (size_t)n < room) {
		va_start(ap, fmt);
		vsnprintf(err + n, room - (size_t)n, fmt, ap);
		va_end(ap);
	}
	pidfile_forget(pf);
	return false;
}

/* What stands in the file: a pid, 0: nothing, -1: no number at all. */
static long
pidfile_read(int fd)
{
	char text[24];
	ssize_t len, i;
	long pid = 0;

	len = pread(fd, text, sizeof(text), 0);
	if (len == -1 || len == (ssize_t)sizeof(text))
		return -1;
	for (i = 0; i < len && text[i] >= '0' && text[i] <= '9' && i < 10; i++)
		pid = pid * 10 + (text[i] - '0');
	for (; i < len; i++)
		if (strchr(" \t\r\n", text[i]) == NULL)
			return -1;
	return pid;
}

/* Is FD the file that now stands at PATH? */
static bool
pidfile_is_at(int fd, const char *path)
{
	struct stat ours, there;

	return fstat(fd, &ours) == 0 && lstat(path, &there) == 0 &&
	    ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

/* Open and lock.  A master that ends removes the file while it holds the
 * lock, so what was locked here may be no file any more: AGAIN. */
static enum pidfile_result
pidfile_lock(struct pidfile *pf)
{
	struct stat st;

	pf->fd = open(pf->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW |
	    O_NONBLOCK | O_NOCTTY, 0644);
	if (pf->fd == -1)
		return PIDFILE_FAILED;
	if (fstat(pf->fd, &st) == -1)
		return PIDFILE_FAILED;
	if (!S_ISREG(st.st_mode)) {
		errno = EINVAL;
		return PIDFILE_FAILED;
	}
	if (flock(pf->fd, LOCK_EX | LOCK_NB) == -1)
		return errno == EWOULDBLOCK ? PIDFILE_HELD : PIDFILE_FAILED;
	return pidfile_is_at(pf->fd, pf->path) ? PIDFILE_DONE : PIDFILE_AGAIN;
}

static bool
pidfile_write(int fd)
{
	char text[24];
	int len;

	len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) == -1)
		return false;
	errno = ENOSPC;		/* of a short write */
	return pwrite(fd, text, (size_t)len, 0) == len;
}

/* Say in ERR why the lock is not ours. */
static bool
pidfile_refuse(struct pidfile *pf, enum pidfile_result r, char *err,
    size_t room)
{
	long pid;

	if (r == PIDFILE_AGAIN)
		return pidfile_fail(pf, err, room,
		    "somebody keeps removing it");
	if (r == PIDFILE_HELD) {
		pid = pidfile_read(pf->fd);
		if (pid > 0)
			return pidfile_fail(pf, err, room,
			    "kvproxy is already running (pid %ld)", pid);
		return pidfile_fail(pf, err, room,
		    "kvproxy is already running, or just starting");
	}
	if (errno == ELOOP)
		return pidfile_fail(pf, err, room, "is a symbolic link");
	if (errno == EINVAL)
		return pidfile_fail(pf, err, room, "is not a regular file");
	return pidfile_fail(pf, err, room, "%s", strerror(errno));
}

bool
pidfile_open(struct pidfile *pf, const char *path, char *err, size_t room)
{
	const struct timespec pause = { .tv_nsec = PIDFILE_PAUSE_NS };
	enum pidfile_result r = PIDFILE_AGAIN;
	long left;

	pf->path = path;
	pf->fd = -1;
	/* Who asks whether a master runs holds the lock too, for a moment. */
	for (int i = 0; r != PIDFILE_DONE && i < PIDFILE_TRIES; i++) {
		if (i > 0) {
			pidfile_forget(pf);
			nanosleep(&pause, NULL);
		}
		r = pidfile_lock(pf);
		if (r == PIDFILE_FAILED)
			break;
	}
	if (r != PIDFILE_DONE)
		return pidfile_refuse(pf, r, err, room);
	/* A wrong pid_file= must not cost anybody a file. */
	left = pidfile_read(pf->fd);
	if (left == -1)
		return pidfile_fail(pf, err, room,
		    "holds something else than a pid");
	if (!pidfile_write(pf->fd))
		return pidfile_fail(pf, err, room, "%s", strerror(errno));
	pf->was_stale = left > 0;
	return true;
}

void
pidfile_close(struct pidfile *pf)
{
	if (pf->fd == -1)
		return;
	/* Where it cannot be removed, it at least names nobody. */
	if (pidfile_is_at(pf->fd, pf->path) && unlink(pf->path) == -1) {
		log_warn("%s: cannot be removed", pf->path);
		if (ftruncate(pf->fd, 0) == -1)
			log_warn("%s: cannot be emptied", pf->path);
	}
	pidfile_forget(pf);
}

void
pidfile_forget(struct pidfile *pf)
{
	if (pf->fd != -1)
		close(pf->fd);
	pf->fd = -1;
}
