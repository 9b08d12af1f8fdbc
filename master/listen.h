/*
 * listen.h: listening sockets, one a worker, for one port.
 *
 * They share the port (SO_REUSEPORT): the kernel spreads new connections over
 * them.  The master opens them before it forks and holds them for life, so
 * that the death of a worker resets nobody who waits in its queue.
 */
#ifndef MASTER_LISTEN_H
#define MASTER_LISTEN_H

#include "shared/base.h"

/* The first listening socket on PORT of all IPv4 addresses, non-blocking.  It
 * is alone there until it listens, for sharing the port would make a second
 * start silent; after that listen_join may join it.  BACKLOG connections may
 * wait (bounded by the kernel's net.core.somaxconn).  -1 with errno: ERR (ROOM
 * bytes) names the address and says why not. */
int	 listen_claim(unsigned port, int backlog, char *err, size_t room)
	    MUST_CHECK;

/* One more, beside one that we have claimed. */
int	 listen_join(unsigned port, int backlog, char *err, size_t room)
	    MUST_CHECK;

#endif /* MASTER_LISTEN_H */
