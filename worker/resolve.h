/*
 * resolve.h: where hosts are that are given by name.
 *
 * The master has looked their names up when it started.  When a connection to
 * such a host fails, its name is looked up again, in the worker's loop, and
 * nobody waits for that: the last address serves until there is another, and
 * goes on to serve where the look-up fails.  Of several addresses the one in
 * use is kept while the name still has it; else all workers take the same.
 * Addresses that are numbers or paths stay as they are.
 */
#ifndef WORKER_RESOLVE_H
#define WORKER_RESOLVE_H

#include "worker/core.h"

struct resolve;

/* Of all addresses that W's configuration has.  Where no name can be looked
 * up, the log says why, and the addresses stay.  NULL: out of memory. */
struct resolve *resolve_new(struct worker *w) MUST_CHECK;
/* Whatever is under way ends. */
void	 resolve_free(struct resolve **resolve);

/* Where ADDR, one of the configuration's, is as far as is known; valid until
 * the loop goes on. */
const struct sockaddr *resolve_get(const struct resolve *resolve,
	    const struct config_addr *addr, socklen_t *len);

/* ADDR could not be reached there: look its name up, once a second at most.
 * Never blocks. */
void	 resolve_again(struct resolve *resolve,
	    const struct config_addr *addr);

#endif /* WORKER_RESOLVE_H */
