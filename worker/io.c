#include "worker/io.h"

#include <sys/ioctl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <errno.h>
#include <unistd.h>

enum {
	IO_IOV = 64,
	IO_DISCARD = 16 * 1024,
	IO_PROBES = 4		/* without an answer: the peer is gone */
};

enum io_result
io_recv(int fd, void *p, size_t room, size_t *n)
{
	ssize_t got = recv(fd, p, MIN(room, (size_t)IO_CHUNK), 0);

	*n = 0;
	if (got > 0) {
		*n = (size_t)got;
		return IO_DONE;
	}
	if (got == 0)
		return IO_EOF;
	return errno == EAGAIN || errno == EINTR ? IO_AGAIN : IO_FAILED;
}

enum io_result
io_send(int fd, struct buf_pool *pool, struct chain *chain, size_t *n)
{
	struct iovec iov[IO_IOV];
	struct msghdr msg = { .msg_iov = iov };
	ssize_t sent;

	*n = 0;
	while (!chain_is_empty(chain) && *n < IO_CHUNK) {
		msg.msg_iovlen = (size_t)chain_iov(chain, iov, IO_IOV,
		    IO_CHUNK - *n);
		if (msg.msg_iovlen == 1)
			sent = send(fd, iov[0].iov_base, iov[0].iov_len,
			    MSG_NOSIGNAL);
		else
			sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
		if (sent < 0) {
			if (errno == EINTR)
				continue;
			return errno == EAGAIN ? IO_AGAIN : IO_FAILED;
		}
		*n += (size_t)sent;
		chain_drop(pool, chain, (size_t)sent);
	}
	return chain_is_empty(chain) ? IO_DONE : IO_AGAIN;
}

static void
io_set(int fd, int level, int option, int value)
{
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

/* A peer that is gone without a word is given up after twice keepalive, one
 * quiet and one of probes; where there is a tcp_user_timeout, after that. */
static void
io_set_keepalive(int fd, int64_t keepalive_ms)
{
	int idle_s = (int)((keepalive_ms + 999) / 1000);

	if (idle_s == 0)
		return;
	io_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	io_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
	io_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, MAX(idle_s / IO_PROBES, 1));
	io_set(fd, IPPROTO_TCP, TCP_KEEPCNT, IO_PROBES);
}

static void
io_set_tcp(int fd, int family, const struct config_service *cfg)
{
	if (family == AF_UNIX)
		return;
	/* Replies are written when they are complete, so waiting for more to
	 * send would only cost time. */
	io_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	io_set_keepalive(fd, cfg->keepalive_ms);
	if (cfg->tcp_user_timeout_ms > 0)
		io_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
		    (int)cfg->tcp_user_timeout_ms);
}

int
io_accept(int listen_fd, const struct config_service *cfg)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int fd;

	fd = accept4(listen_fd, (struct sockaddr *)&sa, &len,
	    SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		io_set_tcp(fd, sa.ss_family, cfg);
	return fd;
}

int
io_connect(const struct sockaddr *sa, socklen_t len,
    const struct config_service *cfg)
{
	int fd, saved;

	fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
	    0);
	if (fd < 0)
		return -1;
	io_set_tcp(fd, sa->sa_family, cfg);
	if (connect(fd, sa, len) == 0 || errno == EINPROGRESS)
		return fd;
	saved = errno;
	(void)close(fd);
	errno = saved;
	return -1;
}

int
io_connected(int fd)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return errno;
	return err;
}

enum io_result
io_discard(int fd, size_t *n)
{
	uint8_t nobody[IO_DISCARD];

	return io_recv(fd, nobody, sizeof(nobody), n);
}

void
io_say(int fd, const void *p, size_t len)
{
	(void)!send(fd, p, len, MSG_NOSIGNAL);
}

void
io_shutdown(int fd)
{
	(void)shutdown(fd, SHUT_WR);
}

size_t
io_waiting(int fd)
{
	int n = 0;

	return ioctl(fd, FIONREAD, &n) == 0 && n > 0 ? (size_t)n : 0;
}
