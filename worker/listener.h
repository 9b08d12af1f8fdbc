/*
 * listener.h: a worker's listening sockets.
 *
 * Each belongs to an address and to a slot; the worker accepts from its own
 * slot's, and from those of slots that have no worker.
 */
#ifndef WORKER_LISTENER_H
#define WORKER_LISTENER_H

#include "worker/core.h"

/* So long does a socket that is no more wanted accept those that were
 * connecting to it. */
enum { LISTENER_LEAVE_US = 300000 };

/* SLOT's sockets are the N of LISTENS, whose descriptors are taken over, and
 * no others; SERVICES are those that LISTENS speaks of.  What was accepted from
 * before goes on, what is new begins where START.  A socket that is no more
 * wanted is drained.  False: out of memory. */
bool	 listener_set(struct worker *w, unsigned slot,
	    const struct worker_listen *listens, size_t n,
	    struct service *const *services, bool start) MUST_CHECK;

/* Begin to accept from all; connections queue in the kernel before. */
void	 listener_start_all(struct worker *w);
/* Accept what is in the kernel's queues, and end. */
void	 listener_drain_all(struct worker *w);
/* End; who else has these sockets accepts. */
void	 listener_close_slot(struct worker *w, unsigned slot);
void	 listener_close_all(struct worker *w);

/* Drain and close those that are no more wanted, when their time is over.
 * True: there are none. */
bool	 listener_sweep(struct worker *w);

#endif /* WORKER_LISTENER_H */
