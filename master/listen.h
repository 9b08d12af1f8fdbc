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

/* Does nobody listen on PORT?  Sharing it would make a second start silent,
 * so this comes first, before a port's sockets are opened.  False: ERR (ROOM
 * bytes) names the address and says why not. */
bool	 listen_probe(unsigned port, char *err, size_t room) MUST_CHECK;

/* A listening socket on PORT of all IPv4 addresses, non-blocking, that shares
 * the port with others of ours.  BACKLOG connections may wait (bounded by the
 * kernel's net.core.somaxconn).  -1: ERR as above. */
int	 listen_open(unsigned port, int backlog, char *err, size_t room)
	    MUST_CHECK;

#endif /* MASTER_LISTEN_H */
