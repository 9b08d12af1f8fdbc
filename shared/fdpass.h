/*
 * fdpass.h: messages with descriptors, between processes of one instance.
 *
 * Over a SOCK_SEQPACKET socket pair that does not block: a message arrives
 * whole or not at all.
 */
#ifndef SHARED_FDPASS_H
#define SHARED_FDPASS_H

#include "shared/base.h"

#define FDPASS_MAX	160	/* descriptors in a message */

/* Send the LEN bytes at P with N descriptors, which stay the caller's.  False
 * with errno: EAGAIN where the other side does not keep up. */
bool	 fdpass_send(int sock, const void *p, size_t len, const int *fds,
	    size_t n) MUST_CHECK;

/* Receive one message of at most ROOM bytes to P; *N descriptors, to be closed
 * on exec, go to FDS and are the caller's.  The message's length; 0: the other
 * side is gone; -1 with errno: EAGAIN where there is none, EPROTO where it is
 * too long, which is thrown away. */
ssize_t	 fdpass_recv(int sock, void *p, size_t room, int fds[FDPASS_MAX],
	    size_t *n) MUST_CHECK;

#endif /* SHARED_FDPASS_H */
