/*
 * slow.h: requests that took longer than slow_ms.
 *
 * Each is remembered in the worker's slot (`stats slow`), and logged, so many a
 * second at the most.
 */
#ifndef WORKER_SLOW_H
#define WORKER_SLOW_H

#include "worker/backend.h"
#include "worker/request.h"

/* Go by what W's configuration says now. */
void	 slow_configure(struct worker *w);
/* LEG, for which somebody has waited, was answered by B or has failed. */
void	 slow_note(struct backend *b, const struct leg *leg, bool is_failed);
/* W's time goes on: say how many were not logged in a second that is over. */
void	 slow_end_second(struct worker *w);

/* As slow_note, where it may well have been quick. */
static inline void
slow_look(struct backend *b, const struct leg *leg, bool is_failed)
{
	if (UNLIKELY(b->w->now_us - leg->queued_us >= b->w->slow_us))
		slow_note(b, leg, is_failed);
}

#endif /* WORKER_SLOW_H */
