/*
 * patience.h: how long clients may keep us waiting.
 *
 * A client that has nothing under way and has sent nothing for idle_timeout is
 * closed.  So is one whose request has begun to come and is not whole after
 * request_timeout; each KiB of it that has come gives it another second, so a
 * large value may take its time, but it may not be silent for request_timeout.
 * While it is us who do not read, no time passes.
 *
 * No client has a timer: a tick looks at a part of them, in turn, so that each
 * is looked at eight times in the shortest time that is set.  One may be
 * closed that much late.
 */
#ifndef WORKER_PATIENCE_H
#define WORKER_PATIENCE_H

#include "worker/core.h"

void	 patience_init(struct worker *w);
void	 patience_fini(struct worker *w);
/* There is a client. */
void	 patience_start(struct worker *w);

/* Microseconds that LEN bytes of a request give it. */
static inline uint64_t
patience_for(size_t len)
{
	return (uint64_t)len * 1000000 / 1024;
}

#endif /* WORKER_PATIENCE_H */
