/*
 * listen.h: one listening socket.
 *
 * The workers' sockets of one address share it with SO_REUSEPORT.  That would
 * make a second instance silent, so the first socket is bound without it: it
 * fails where anybody listens there.  A unix socket's file that nobody listens
 * on is taken away.
 */
#ifndef MASTER_LISTEN_H
#define MASTER_LISTEN_H

#include "shared/config.h"

/* The first socket of L; a unix socket's file gets MODE.  Non-blocking and
 * closed on exec.  -1 with errno (EADDRINUSE: another has it), and ERR (ROOM
 * bytes) says what it is about. */
int	 listen_claim(const struct config_listen *l, unsigned mode, int backlog,
	    char *err, size_t room) MUST_CHECK;
/* The same, where a master was killed: its children may listen a moment longer,
 * which is waited for. */
int	 listen_await(const struct config_listen *l, unsigned mode,
	    int backlog, char *err, size_t room) MUST_CHECK;
/* One more of L, which is no unix socket, beside the first. */
int	 listen_join(const struct config_listen *l, int backlog, char *err,
	    size_t room) MUST_CHECK;

/* Have A and B one port, and one of them any address?  Then only sockets that
 * share it can be had for both. */
bool	 listen_overlaps(const struct sockaddr_storage *a,
	    const struct sockaddr_storage *b);

/* FD is to be closed soon: what is connecting to it may go on, but nobody new
 * begins to; and back again. */
void	 listen_refuse(int fd);
void	 listen_admit(int fd);

#endif /* MASTER_LISTEN_H */
