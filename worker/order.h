/*
 * order.h: the order of answers.
 *
 * Answers go out in the order of the client's requests, and the items of a
 * multi-key answer in the order of its keys.  What comes too early is rendered
 * and kept.  The answer of a multi-key command goes out when it is whole, so
 * that a failure can take its place; one that outgrows client_buffer goes out
 * as far as it is, and a later failure takes the place of its end.
 *
 * A request whose answer is whole is held while it waits for something else: a
 * copy, or what was asked aside.
 *
 * Where nothing else is said, the request has a client.
 */
#ifndef WORKER_ORDER_H
#define WORKER_ORDER_H

#include "worker/request.h"

/* May REQ have one more leg, or must it wait for the order of its answer? */
bool	 order_has_room(const struct request *req);

/* One part of REQ, which may have no client, has come to its end, with LEN
 * bytes of value.  False: the client is gone or was answered already. */
bool	 order_end_part(struct request *req, size_t len) MUST_CHECK;
/* REQ's part INDEX, which has ended, was answered with R, whose bytes lie in
 * SRC, or with a miss. */
void	 order_take_reply(struct request *req, uint32_t index,
	    const struct kvp_key *key, const struct kvp_reply *r,
	    struct lease *src);
void	 order_take_miss(struct request *req, uint32_t index,
	    const struct kvp_key *key);
/* REQ's part INDEX ends: it failed at HOST of the pool, or POOL_NONE.  REQ may
 * have no client. */
void	 order_part_failed(struct request *req, uint32_t index,
	    const struct kvp_key *key, unsigned host, enum kvp_fail why);

/* Where what is rendered of REQ now belongs. */
struct chain *order_chain(struct request *req);
/* REQ's answer is whole. */
void	 order_done(struct request *req);
/* A failure, req->why, takes the place of what has not gone out. */
void	 order_fail(struct request *req);

/* REQ's primary has answered with R; its client is answered when the backup
 * has: order_copied. */
void	 order_hold(struct request *req, const struct kvp_key *key,
	    const struct kvp_reply *r, struct lease *src);
/* The copy that REQ has waited for is at HOST, or not (not OK).  REQ may have
 * no client. */
void	 order_copied(struct request *req, bool ok, unsigned host);
/* One thing less that REQ's answer waits for.  It may have no client. */
void	 order_unhold(struct request *req);

/* Free what came before its turn. */
void	 order_drop_items(struct request *req);

#endif /* WORKER_ORDER_H */
