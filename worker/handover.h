/*
 * handover.h: clients go from one worker to another, and notice nothing.
 *
 * At a request boundary: nothing that was asked is unanswered.  The descriptor
 * goes with what the protocol remembers of the connection, with bytes that were
 * received and not parsed, and with answers that are not sent yet.  Each
 * worker has an inbox, a socket that outlives it; all others know the way to
 * it.
 */
#ifndef WORKER_HANDOVER_H
#define WORKER_HANDOVER_H

#include "worker/core.h"

/* With what W was born with.  NULL: out of memory. */
struct handover *handover_new(struct worker *w) MUST_CHECK;
void	 handover_free(struct handover **handover);
/* Take what comes from now on. */
void	 handover_start(struct handover *handover);
/* Take all that has come by now: no more is to come. */
void	 handover_take_all(struct handover *handover);
/* FD, which is taken over, is the way to SLOT's inbox. */
void	 handover_set_inbox(struct handover *handover, unsigned slot, int fd);

/* Give away all clients, each when nothing of it is under way; but first the
 * copies that wait go, if they do not take too long. */
void	 handover_give_all(struct handover *handover);
/* C's worker gives, and nothing of C's is under way: it goes, now or when
 * there is room in an inbox.  True: it is gone, and closed here. */
bool	 handover_give(struct handover *handover, struct client *c);

/* Give FD, which SVC has just accepted, to a worker that has far fewer clients,
 * if there is one.  True: it is gone. */
bool	 handover_share(struct handover *handover, struct service *svc,
	    int fd);

#endif /* WORKER_HANDOVER_H */
