/*
 * latency.h: how long requests took, into the worker's slot.
 *
 * By the worker's clock, which it reads a few times a turn: what is quicker
 * than a turn counts as taking no time.  A build with --disable-latency has
 * none of it.
 */
#ifndef WORKER_LATENCY_H
#define WORKER_LATENCY_H

#include "worker/backend.h"
#include "worker/request.h"

_Static_assert((int)SHM_LATENCY_READ == KVP_READ &&
    (int)SHM_LATENCY_WRITE == KVP_WRITE &&
    (int)SHM_LATENCY_EVERY == KVP_EVERY, "classes are classes of latency");

static inline enum shm_latency
latency_class(const struct request *req)
{
	return UNLIKELY(req->cmd.flags & KVP_CMD_MANY) ? SHM_LATENCY_MULTI :
	    (enum shm_latency)req->cmd.class;
}

/* REQ's client has its answer. */
static inline void
latency_note_request(const struct request *req)
{
#ifdef KVP_LATENCY
	struct worker *w = req->svc->w;

	if (req->cmd.class != KVP_LOCAL)
		hist_add(&w->slot->latency[latency_class(req)],
		    w->now_us - req->begun_us);
#else
	(void)req;
#endif
}

/* B has answered LEG, in time. */
static inline void
latency_note_leg(const struct backend *b, const struct leg *leg)
{
#ifdef KVP_LATENCY
	hist_add(b->latency, b->w->now_us - leg->queued_us);
#else
	(void)b;
	(void)leg;
#endif
}

#endif /* WORKER_LATENCY_H */
