#include "master/listen.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <linux/filter.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shared/log.h"

#define LISTEN_TRIES	50	/* for an address, 20 ms apart */
#define LISTEN_PAUSE_NS	(20 * 1000 * 1000)

static int
listen_set(int fd, int level, int option)
{
	const int on = 1;

	return setsockopt(fd, level, option, &on, sizeof(on));
}

static int
listen_fail(int fd, const struct config_listen *l, char *err, size_t room)
{
	int saved = errno;

	snprintf(err, room, "cannot listen on %s: %s", l->name,
	    strerror(saved));
	if (fd != -1)
		close(fd);
	errno = saved;
	return -1;
}

/* With SO_REUSEADDR alone, who binds or listens fails while anybody listens
 * there, and does not fail for connections in TIME_WAIT. */
static int
listen_open(const struct config_listen *l, int backlog, bool is_first,
    char *err, size_t room)
{
	const int family = l->sa.ss_family;
	int fd;

	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd != -1 && listen_set(fd, SOL_SOCKET, SO_REUSEADDR) == 0 &&
	    (family != AF_INET6 ||
	    listen_set(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0) &&
	    (is_first || listen_set(fd, SOL_SOCKET, SO_REUSEPORT) == 0) &&
	    bind(fd, (const struct sockaddr *)&l->sa, l->sa_len) == 0 &&
	    listen(fd, backlog) == 0 &&
	    (!is_first || listen_set(fd, SOL_SOCKET, SO_REUSEPORT) == 0))
		return fd;
	return listen_fail(fd, l, err, room);
}

/* Nobody listens at the socket file of L any more. */
static bool
listen_is_stale(const struct config_listen *l)
{
	const struct sockaddr_un *un =
	    (const struct sockaddr_un *)(const void *)&l->sa;
	struct stat st;
	bool is_stale;
	int fd;

	if (lstat(un->sun_path, &st) == -1 || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return false;
	is_stale = connect(fd, (const struct sockaddr *)un, l->sa_len) == -1 &&
	    errno == ECONNREFUSED;
	close(fd);
	return is_stale;
}

static int
listen_open_unix(const struct config_listen *l, unsigned mode, int backlog,
    char *err, size_t room)
{
	const char *path =
	    ((const struct sockaddr_un *)(const void *)&l->sa)->sun_path;
	mode_t mask;
	int fd, rc;

	if (listen_is_stale(l))
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return listen_fail(fd, l, err, room);
	/* From its first moment on. */
	mask = umask(0777 & ~(mode_t)mode);
	rc = bind(fd, (const struct sockaddr *)&l->sa, l->sa_len);
	umask(mask);
	if (rc == 0 && listen(fd, backlog) == 0)
		return fd;
	return listen_fail(fd, l, err, room);
}

int
listen_claim(const struct config_listen *l, unsigned mode, int backlog,
    char *err, size_t room)
{
	if (l->sa.ss_family == AF_UNIX)
		return listen_open_unix(l, mode, backlog, err, room);
	return listen_open(l, backlog, true, err, room);
}

int
listen_await(const struct config_listen *l, unsigned mode, int backlog,
    char *err, size_t room)
{
	const struct timespec pause = { .tv_nsec = LISTEN_PAUSE_NS };
	int fd, n = LISTEN_TRIES;

	for (;;) {
		fd = listen_claim(l, mode, backlog, err, room);
		if (fd != -1 || errno != EADDRINUSE || --n == 0)
			return fd;
		if (n == LISTEN_TRIES - 1)
			log_warnx("%s; waiting, for a master was killed", err);
		if (nanosleep(&pause, NULL) == -1)
			return -1;
	}
}

int
listen_join(const struct config_listen *l, int backlog, char *err, size_t room)
{
	return listen_open(l, backlog, false, err, room);
}

/* A filter sees the TCP header; of its flags, SYN without ACK begins. */
void
listen_refuse(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog filter = {
		.len = sizeof(code) / sizeof(code[0]), .filter = code
	};

	(void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter,
	    sizeof(filter));
}

void
listen_admit(int fd)
{
	const int unused = 0;

	(void)setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused,
	    sizeof(unused));
}

static in_port_t
listen_port(const struct sockaddr_storage *sa, bool *is_any)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;

	if (sa->ss_family == AF_INET6) {
		*is_any = IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
		return in6->sin6_port;
	}
	*is_any = in->sin_addr.s_addr == INADDR_ANY;
	return in->sin_port;
}

bool
listen_overlaps(const struct sockaddr_storage *a,
    const struct sockaddr_storage *b)
{
	bool a_is_any, b_is_any;

	return a->ss_family == b->ss_family && a->ss_family != AF_UNIX &&
	    listen_port(a, &a_is_any) == listen_port(b, &b_is_any) &&
	    (a_is_any || b_is_any);
}
