#include "master/listen.h"

#include <sys/socket.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int
listen_set(int fd, int option)
{
	const int on = 1;

	return setsockopt(fd, SOL_SOCKET, option, &on, sizeof(on));
}

/* With SO_REUSEADDR alone, who binds or listens fails while anybody listens
 * there, and does not fail for connections in TIME_WAIT. */
static int
listen_open(unsigned port, int backlog, bool is_first, char *err, size_t room)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	int fd, saved;

	sin.sin_port = htons((uint16_t)port);
	sin.sin_addr.s_addr = htonl(INADDR_ANY);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd != -1 && listen_set(fd, SO_REUSEADDR) == 0 &&
	    (is_first || listen_set(fd, SO_REUSEPORT) == 0) &&
	    bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 &&
	    listen(fd, backlog) == 0 &&
	    (!is_first || listen_set(fd, SO_REUSEPORT) == 0))
		return fd;
	saved = errno;
	snprintf(err, room, "cannot listen on 0.0.0.0:%u: %s", port,
	    strerror(saved));
	if (fd != -1)
		close(fd);
	errno = saved;
	return -1;
}

int
listen_claim(unsigned port, int backlog, char *err, size_t room)
{
	return listen_open(port, backlog, true, err, room);
}

int
listen_join(unsigned port, int backlog, char *err, size_t room)
{
	return listen_open(port, backlog, false, err, room);
}
