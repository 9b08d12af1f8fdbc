/*
 * intake.h: what a client has sent becomes requests.
 *
 * The extension parses; it is believed only what can be true.
 */
#ifndef WORKER_INTAKE_H
#define WORKER_INTAKE_H

#include "worker/client.h"

/* Parse and start one request of C's input, which is not empty; how much of
 * BUDGET, what C may do in this turn, that has used up.  0: more bytes are
 * needed, or C closes. */
unsigned intake_parse(struct client *c, unsigned budget) MUST_CHECK;
/* Issue keys of the multi-key command at the input's start, BUDGET at most; how
 * many. */
unsigned intake_feed(struct client *c, unsigned budget);
/* Discard bytes that belong to no request. */
void	 intake_swallow(struct client *c);

#endif /* WORKER_INTAKE_H */
