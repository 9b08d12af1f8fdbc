/*
 * answer.h: having the extension write what a client gets.
 *
 * What is written straight to the client's output goes there in one copy; what
 * must wait goes to a chain of the request's, and counts as kept.  Where there
 * is no memory for it the client is broken (client_break).
 */
#ifndef WORKER_ANSWER_H
#define WORKER_ANSWER_H

#include "worker/request.h"

/* Render PART of REQ's answer to CHAIN, the client's output or one of REQ's.
 * KEY and R may be NULL; R's bytes lie in SRC. */
void	 answer_render(struct request *req, struct chain *chain,
	    const struct kvp_key *key, const struct kvp_reply *r,
	    enum kvp_part part, struct lease *src);

/* Render REQ's failure, req->why. */
void	 answer_render_failure(struct request *req, struct chain *chain);

/* Render to REQ, a local command: one statistic; without a value: that there
 * is none of that NAME; without a name: a block of text; neither: the end.
 * NAME and VALUE have at most KVP_KEY_MAX bytes together, a block any. */
void	 answer_admin(struct request *req, const char *name, const void *value,
	    size_t len);

#endif /* WORKER_ANSWER_H */
