/*
 * io.h: sockets of a worker; the only place that receives and sends.
 *
 * Nothing here blocks.  Readiness becomes one of four results, so that no
 * other file sees EAGAIN.
 */
#ifndef WORKER_IO_H
#define WORKER_IO_H

#include <sys/socket.h>

#include "shared/buf.h"
#include "shared/config.h"

/* What one receive or send moves at the most: so long does a large value stand
 * in the way of small ones. */
enum { IO_CHUNK = 128 * 1024 };

enum io_result {
	IO_DONE,	/* bytes moved */
	IO_AGAIN,	/* wait for readiness */
	IO_EOF,		/* the peer has finished sending */
	IO_FAILED	/* errno says why; close it */
};

/* At most ROOM bytes, and IO_CHUNK, to P; *N of them came. */
enum io_result io_recv(int fd, void *p, size_t room, size_t *n) MUST_CHECK;

/* What CHAIN holds, as far as the socket takes it, and IO_CHUNK; *N went out
 * and are gone from CHAIN.  IO_DONE: all of it. */
enum io_result io_send(int fd, struct buf_pool *pool, struct chain *chain,
    size_t *n) MUST_CHECK;

/* Accept one connection: a descriptor, ready for use, or -1 with errno.  How
 * its peer is watched over is as CFG has it. */
int	 io_accept(int listen_fd, const struct config_service *cfg)
	    MUST_CHECK;

/* Begin to connect: a descriptor or -1 with errno.  When it is writable,
 * io_connected says what came of it: 0 or an errno. */
int	 io_connect(const struct sockaddr *sa, socklen_t len,
	    const struct config_service *cfg) MUST_CHECK;
int	 io_connected(int fd) MUST_CHECK;

/* Receive and forget; *N bytes. */
enum io_result io_discard(int fd, size_t *n) MUST_CHECK;
/* Send LEN bytes to a new connection, which takes that much. */
void	 io_say(int fd, const void *p, size_t len);

/* Bytes that wait to be received. */
size_t	 io_waiting(int fd) MUST_CHECK;

/* No more will be sent; the peer sees EOF. */
void	 io_shutdown(int fd);

#endif /* WORKER_IO_H */
