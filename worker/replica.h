/*
 * replica.h: copies of what writes did, for the hosts of hosts_backup.
 *
 * A copy goes to the host of the backup group that its key belongs to, and to
 * no other.  It is a request without a client, and its leg stands in that
 * host's first queue, behind all that came before.  While the host cannot be
 * reached its copies wait here, in order; what a lost connection had been sent
 * is sent again on the next one.  Copies have a deadline of their own,
 * async_timeout, and bounds: async_size and async_bytes, of which each worker
 * has its share.
 *
 * Of keys that begin with sync_str the client is answered when the backup has
 * the copy too, within one recv_timeout for both.
 */
#ifndef WORKER_REPLICA_H
#define WORKER_REPLICA_H

#include "worker/request.h"

/* A copy's own, behind request.copy. */
struct copy {
	struct request	*sync_of;	/* who waits for it, or NULL */
	uint64_t	 asked_us;	/* when its write was */
	uint64_t	 born_us;
	uint32_t	 aged_s;	/* taken off its time to live so far */
	uint32_t	 bytes;
	unsigned	 host;		/* in the pool */
	bool		 flushed;	/* it is a delete, for it is older than
					 * a flush_all */
};

/* What a write's client has to wait for. */
enum replica_verdict {
	REPLICA_NOTHING,	/* answer it */
	REPLICA_WAIT,		/* order_copied will be called */
	REPLICA_REFUSED		/* not on both: req->why says which lacks it */
};

/* NULL: out of memory. */
struct replica *replica_new(struct service *svc) MUST_CHECK;
/* Go by what the service's configuration says now, and by the number of
 * workers. */
void	 replica_configure(struct replica *replica);
/* What is still queued is lost, and counted so. */
void	 replica_free(struct replica **replica);
bool	 replica_is_empty(const struct replica *replica);

/* LEG, which writes, was answered with R by B, in time or late; NULL: it was
 * sent and no answer will come. */
enum replica_verdict replica_copy(struct replica *replica, struct backend *b,
	    const struct leg *leg, const struct kvp_reply *r);

/* What follows is for legs of copies, that is of requests with req->copy. */

/* B answered LEG, which is out of its queue, with R.  LEG is freed. */
void	 replica_replied(struct backend *b, struct leg **leg,
	    const struct kvp_reply *r);
/* No answer will come and LEG, out of all queues, is given up.  Not freed. */
void	 replica_failed(struct leg *leg, enum kvp_fail why);
/* LEG was sent and may have been done: what cannot be sent twice becomes a
 * delete. */
void	 replica_make_repeatable(struct leg *leg);
/* LEG is about to be sent to B, for the first time or again: its time to live
 * is what is left of it, and where a flush_all came after its write it is a
 * delete. */
void	 replica_freshen(struct backend *b, struct leg *leg);
/* The time is over in which LEG's client waits for it. */
void	 replica_too_late(struct leg *leg);
/* B cannot be reached: its copies among LEGS wait here, before those that do
 * already. */
void	 replica_take_back(struct backend *b, struct leg_queue *legs);
/* B takes legs: those that wait for it. */
void	 replica_pump(struct backend *b);
/* A leg that is no copy is about to be queued at B: have all that wait queued
 * before it.  -1, or an enum kvp_fail that says why they cannot. */
int	 replica_clear_way(struct backend *b) MUST_CHECK;

static inline bool
leg_is_copy(const struct leg *leg)
{
	return leg->req->copy != NULL;
}

/* When whoever waits for LEG began to. */
static inline uint64_t
leg_asked_us(const struct leg *leg)
{
	return leg_is_copy(leg) ? leg->req->copy->asked_us : leg->queued_us;
}

#endif /* WORKER_REPLICA_H */
