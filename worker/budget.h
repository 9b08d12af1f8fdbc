/*
 * budget.h: worker_buffer, what all clients of a worker may have buffered.
 *
 * Above it, a client whose socket takes no more is not read, and has room for
 * one client_buffer of large values: so those that do not read pay for it
 * themselves, and the others never wait for them.
 *
 * Half of it is for large requests that are arriving.  One that would exceed
 * this waits, unread, behind those that came before; what has begun to arrive
 * is read to its end, so that these make room again.
 */
#ifndef WORKER_BUDGET_H
#define WORKER_BUDGET_H

#include "worker/client.h"

/* Is more in buffers than there should be? */
static inline bool
budget_is_exceeded(const struct worker *w)
{
	return w->bufs.leased > (size_t)w->conf->cfg->worker_buffer;
}

/* C's input was parsed: what is to come next has at least c->need bytes.
 * False: C waits, and is not to be read until client_resume. */
bool	 budget_ask(struct client *c) MUST_CHECK;
/* C receives no more. */
void	 budget_leave(struct client *c);

#endif /* WORKER_BUDGET_H */
