/*
 * fault_calls.c: kvproxy, one of whose mallocs fails, whose futile sends are
 * counted and whose disk is full.
 *
 * Linked into a kvproxy with --wrap=malloc and so on.  The file that the
 * environment's KVPROXY_FAULT names, if it is there, says which malloc fails:
 * the Nth from now.  It is removed when that one is reached.  To the file that
 * KVPROXY_FUTILE names goes a byte for every send that found no room.  While
 * that which KVPROXY_FULL names is there, nothing can be allocated on disk.
 */
#include <sys/socket.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void	*__real_malloc(size_t size);
void	*__wrap_malloc(size_t size);
int	 __real_posix_fallocate(int fd, off_t at, off_t len);
int	 __wrap_posix_fallocate(int fd, off_t at, off_t len);
ssize_t	 __real_send(int fd, const void *p, size_t len, int flags);
ssize_t	 __wrap_send(int fd, const void *p, size_t len, int flags);
ssize_t	 __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t	 __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);

/* One malloc less to go.  True: it was the last. */
static int
fault_is_due(const char *path)
{
	char text[16] = "";
	FILE *f = fopen(path, "r+");
	int n = 0;

	if (f == NULL)
		return 0;
	if (fgets(text, sizeof(text), f) != NULL)
		n = atoi(text);
	rewind(f);
	fprintf(f, "%-8d", n - 1);
	fclose(f);
	return n == 1 && unlink(path) == 0;
}

void *
__wrap_malloc(size_t size)
{
	const char *path = getenv("KVPROXY_FAULT");

	if (path != NULL && fault_is_due(path)) {
		errno = ENOMEM;
		return NULL;
	}
	return __real_malloc(size);
}

int
__wrap_posix_fallocate(int fd, off_t at, off_t len)
{
	const char *path = getenv("KVPROXY_FULL");

	return path != NULL && access(path, F_OK) == 0 ? ENOSPC :
	    __real_posix_fallocate(fd, at, len);
}

/* What a send returned, and its errno. */
static ssize_t
fault_sent(ssize_t n)
{
	const char *path = getenv("KVPROXY_FUTILE");
	int fd, saved = errno;

	if (n >= 0 || saved != EAGAIN || path == NULL)
		return n;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, ".", 1) != 1)
		abort();
	close(fd);
	errno = saved;
	return n;
}

ssize_t
__wrap_send(int fd, const void *p, size_t len, int flags)
{
	return fault_sent(__real_send(fd, p, len, flags));
}

ssize_t
__wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return fault_sent(__real_sendmsg(fd, msg, flags));
}
