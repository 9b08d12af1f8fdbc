/*
 * legs.h: a backend's queue of legs and the bytes that stand for them.
 *
 * b->legs are in the order of their bytes; b->out holds those from b->sent to
 * b->queued.  A leg's place in that stream says whether it was sent.
 */
#ifndef WORKER_LEGS_H
#define WORKER_LEGS_H

#include "worker/backend.h"

/* Encode LEG behind what is queued, with bytes that lie in SRC; -1, or an enum
 * kvp_fail that says why not. */
int	 legs_encode(struct backend *b, struct leg *leg,
	    const struct kvp_key *key, struct lease *src) MUST_CHECK;

/* The first leg, out of the queue; NULL: it is empty. */
struct leg *legs_take(struct backend *b);

/* b->due has been dealt with: on to the next one that somebody waits for. */
void	 legs_next_due(struct backend *b);

/* More of b->out was sent: note when, of the legs that are gone out wholly. */
void	 legs_note_sent(struct backend *b);

/* Tell those who wait for copies among b->legs whose time is over. */
void	 legs_expire_copies(struct backend *b);

/* Free a leg that is out of the queue and will not be answered; its request
 * fails for WHY, unless the leg was abandoned. */
void	 legs_end(struct backend *b, struct leg *leg, enum kvp_fail why);
void	 legs_end_all(struct backend *b, struct leg_queue *legs,
	    enum kvp_fail why);

/* Note of each leg whether it was sent, for those who will ask when the queue
 * is no more. */
void	 legs_mark_sent(struct backend *b);
/* Forget the queue and its bytes; the legs are the caller's. */
void	 legs_clear(struct backend *b);

/* The connection is lost.  Part the legs that were sent, wholly or not, from
 * the queue: reads that may be asked again go to AGAIN, the others to LOST. */
void	 legs_part_sent(struct backend *b, struct leg_queue *again,
	    struct leg_queue *lost);
/* Queue anew for the next connection: first AGAIN, then what was not sent,
 * whose bytes stand. */
void	 legs_requeue(struct backend *b, struct leg_queue *again);
/* That connection speaks another dialect than what is queued: reads of a key
 * alone are encoded again; of others the value is not at hand any more, so
 * they fail. */
void	 legs_translate(struct backend *b);

#endif /* WORKER_LEGS_H */
