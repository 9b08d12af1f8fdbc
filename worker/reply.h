/*
 * reply.h: what backends report of their legs.
 */
#ifndef WORKER_REPLY_H
#define WORKER_REPLY_H

#include "worker/request.h"

/* The leg is out of its queue and was answered with R, whose bytes lie in SRC.
 * It is freed, or queued once more. */
void	 reply_arrived(struct backend *b, struct leg **leg,
	    const struct kvp_reply *r, struct lease *src);
/* The leg will not be answered in time; it stays in its queue. */
void	 reply_failed(struct backend *b, struct leg *leg, enum kvp_fail why);
/* One that failed before was sent, and its late reply will not come either. */
void	 reply_lost(struct backend *b, const struct leg *leg);

#endif /* WORKER_REPLY_H */
