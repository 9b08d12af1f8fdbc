/*
 * request.h: commands in flight and their legs.
 *
 * A request is one command of a client (or of our own: a follow-up).  A leg
 * is its part for one backend; a command of one key has one.  A request stays
 * until its client has been answered and its last leg has left its backend's
 * queue, so that a late reply can still be told from the next one.
 */
#ifndef WORKER_REQUEST_H
#define WORKER_REQUEST_H

#include "worker/core.h"

enum { LEG_KEY_SMALL = 64 };	/* longer keys are from the large slab */

struct leg {
	TAILQ_ENTRY(leg) next;		/* in its backend's queue */
	struct request	*req;
	uint64_t	 start;		/* its first byte in what is sent */
	uint64_t	 queued_us;
	uint64_t	 sent_us;	/* its last byte was; 0: it was not */
	uint32_t	 size;		/* bytes */
	uint32_t	 index;		/* of its key in the command */
	uint32_t	 opaque;
	uint16_t	 key_len;
	bool		 large;		/* which slab it is from */
	bool		 abandoned;	/* failed already; swallow its reply */
	bool		 retried;
	bool		 has_body;	/* cannot be encoded again */
	bool		 stand_in;	/* not where its key belongs */
	bool		 elsewhere;	/* in the read group */
	bool		 was_sent;	/* wholly or not, when it was lost */
	uint8_t		 step;		/* see kvp_key */
	struct lease	*body;		/* where it may be copied; or NULL */
	const uint8_t	*body_p;
	uint32_t	 body_len;
	uint8_t		 key[];
};

TAILQ_HEAD(leg_queue, leg);

struct request {
	struct kvp_cmd	 cmd;
	STAILQ_ENTRY(request) next;	/* in its client's queue */
	struct client	*client;	/* NULL: nobody waits for an answer */
	struct service	*svc;
	uint64_t	 begun_us;
	struct copy	*copy;		/* of a copy (see replica.h) */
	struct lease	*note;
	uint32_t	 note_len;
	struct request	*holds;		/* whose answer waits for this */
	uint32_t	 n_holds;	/* those that this one's waits for */
	uint32_t	 n_legs;	/* in backends' queues */
	uint32_t	 n_parts;	/* keys, or hosts of KVP_EVERY */
	uint32_t	 n_issued;	/* of these: given to a backend */
	uint32_t	 n_ended;	/* answered or failed */
	uint32_t	 n_rendered;	/* in order */
	bool		 is_rejoin;	/* empties a host that rejoins, of all
					 * or of one key */
	bool		 whole;		/* the answer is, but is held */
	bool		 done;		/* it is, and may go out */
	bool		 committed;	/* part of it went out */
	uint8_t		 why;		/* enum kvp_fail, the first one */
	uint32_t	 failed_host;	/* and its host in the pool */
	uint64_t	 failed_hosts;	/* bit i: host i of the pool */
	size_t		 kept;		/* bytes rendered and not gone out */
	struct chain	 reply;
	struct lease	*items;		/* parts that came before their turn */
	uint32_t	 n_items;	/* at most, of a multi-key command */
};

STAILQ_HEAD(request_queue, request);

/* A request of CMD, the last of C's; C is NULL where nobody waits for it.  NOTE
 * is copied.  NULL: out of memory. */
struct request *request_new(struct service *svc, struct client *c,
	    const struct kvp_cmd *cmd, struct kvp_slice note) MUST_CHECK;
/* Free REQ when neither client nor leg has it any more, and nothing that its
 * answer waits for. */
void	 request_release(struct request *req);
/* REQ, out of its client's queue, leaves it: answered, or the client is gone.
 * Legs of it that are still out count no more. */
void	 request_leave(struct request *req);
/* C is going: its requests have no client any more. */
void	 request_orphan_all(struct client *c);

/* A leg of REQ's part INDEX, with a copy of KEY.  NULL: out of memory. */
struct leg *request_new_leg(struct request *req, uint32_t index,
	    struct kvp_slice key) MUST_CHECK;
/* A copy of what LEG did, to be filled in and queued: a leg whose request is
 * of CMD and shares LEG's body.  NULL: out of memory. */
struct leg *request_new_copy(struct service *svc, const struct kvp_cmd *cmd,
	    const struct leg *leg) MUST_CHECK;
/* LEG is out of its queue, and was answered or failed before. */
void	 request_leg_free(struct leg **leg);

/* Seconds that what REQ writes to a stand-in may live, 0: any. */
static inline uint32_t
request_stand_in_ttl(const struct request *req)
{
	return (uint32_t)((req->svc->cfg->failover_ttl_ms + 999) / 1000);
}

/* LEG's key; its body only where it was kept. */
static inline struct kvp_key
leg_key(const struct leg *leg)
{
	return (struct kvp_key){
		.key = { leg->key, leg->key_len }, .step = leg->step,
		.body = { leg->body_p, leg->body_len },
		.elsewhere = leg->elsewhere,
		.ttl_max = leg->stand_in ? request_stand_in_ttl(leg->req) : 0
	};
}

/* Is CMD answered out of the shared segment?  That may be long, and take as
 * long as many requests do. */
static inline bool
request_is_report(const struct kvp_cmd *cmd)
{
	return cmd->class == KVP_LOCAL && cmd->local != KVP_LOCAL_ANSWER;
}

static inline struct kvp_slice
request_note(const struct request *req)
{
	return (struct kvp_slice){
		req->note != NULL ? req->note->data : NULL, req->note_len
	};
}

#endif /* WORKER_REQUEST_H */
