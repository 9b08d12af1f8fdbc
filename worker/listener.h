/*
 * listener.h: a worker's listening socket for one service.
 */
#ifndef WORKER_LISTENER_H
#define WORKER_LISTENER_H

#include "worker/core.h"

/* Accept SVC's clients from FD, which stays the caller's.  NULL: out of
 * memory. */
struct listener *listener_new(struct service *svc, int fd) MUST_CHECK;
void	 listener_free(struct listener **listener);

/* Begin and end to accept; connections queue in the kernel meanwhile. */
void	 listener_start(struct listener *listener);
void	 listener_stop(struct listener *listener);
/* Accept what is in the kernel's queue, and end. */
void	 listener_drain(struct listener *listener);

#endif /* WORKER_LISTENER_H */
