#include "master/listen.h"

#include <sys/socket.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A socket bound to PORT of all addresses; shared or alone. */
static int
listen_bind(unsigned port, bool is_shared, char *err, size_t room)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	const int on = 1;
	int fd;

	sin.sin_port = htons((uint16_t)port);
	sin.sin_addr.s_addr = htonl(INADDR_ANY);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		goto fail;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1)
		goto fail;
	if (is_shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on,
	    sizeof(on)) == -1)
		goto fail;
	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == -1)
		goto fail;
	return fd;
fail:
	snprintf(err, room, "cannot listen on 0.0.0.0:%u: %s", port,
	    strerror(errno));
	if (fd != -1)
		close(fd);
	return -1;
}

/* With SO_REUSEADDR alone, binding fails while anybody listens there, and
 * does not fail for connections in TIME_WAIT. */
bool
listen_probe(unsigned port, char *err, size_t room)
{
	int fd = listen_bind(port, false, err, room);

	if (fd == -1)
		return false;
	close(fd);
	return true;
}

int
listen_open(unsigned port, int backlog, char *err, size_t room)
{
	int fd = listen_bind(port, true, err, room);

	if (fd != -1 && listen(fd, backlog) == -1) {
		snprintf(err, room, "cannot listen on 0.0.0.0:%u: %s", port,
		    strerror(errno));
		close(fd);
		fd = -1;
	}
	return fd;
}
