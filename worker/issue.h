/*
 * issue.h: giving commands to backends.
 */
#ifndef WORKER_ISSUE_H
#define WORKER_ISSUE_H

#include "worker/request.h"

/* Start what C's parser found, with bytes that lie in SRC: issue its legs or
 * answer it.  Of a multi-key command only the request is made, and returned:
 * issue_feed issues its keys.  Else NULL. */
struct request *issue_start(struct client *c,
	    const struct kvp_request *found, struct lease *src);

/* Issue REQ's next key.  With the last one, or when REQ fails, its client is
 * no more feeding it. */
void	 issue_feed(struct request *req, const struct kvp_key *key,
	    struct lease *src);

/* Ask B a command of our own, CMD of KEY; the answer of HOLDS, which may be
 * NULL, waits for its reply. */
void	 issue_aside(struct backend *b, struct kvp_slice key,
	    const struct kvp_cmd *cmd, struct request *holds);
/* Ask for LEG's key again; its deadline stays, but for what stands before it.
 * False: it cannot be asked. */
bool	 issue_again(struct backend *b, struct leg *leg) MUST_CHECK;

/* Empty those hosts of SVC that rejoin, where that is this worker's task. */
void	 issue_flush_rejoining(struct service *svc);

#endif /* WORKER_ISSUE_H */
