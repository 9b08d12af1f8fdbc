/*
 * status.h: what a person or a client library is told over the client port.
 *
 * Everything is summed over all workers, from the shared segment.
 */
#ifndef WORKER_STATUS_H
#define WORKER_STATUS_H

#include "worker/request.h"

/* Answer REQ, a local command, with the block of `status`. */
void	 status_answer_block(struct request *req);

/* Answer it with the statistics that its note names: backends, slow and so
 * on (see the table there); without one, with the totals. */
void	 status_answer_stats(struct request *req);
/* REQ has what `stats` shows begin anew: for all workers, and for nothing else;
 * where there is no memory for that, it is told so. */
void	 status_answer_reset(struct request *req);

#endif /* WORKER_STATUS_H */
