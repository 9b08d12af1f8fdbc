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

struct resolve_name;

/* NULL: out of memory. */
struct resolve *resolve_new(struct worker *w) MUST_CHECK;
/* Whatever is under way ends.  All names have been put back. */
void	 resolve_free(struct resolve **resolve);

/* The name of ADDR, which is ENTRY in the shared table: the one that others
 * hold already, where there is such.  What ADDR has is copied.  Where names
 * cannot be looked up, the log says why, and their addresses stay.  NULL: out
 * of memory. */
struct resolve_name *resolve_hold(struct resolve *resolve,
	    const struct config_addr *addr, unsigned entry) MUST_CHECK;
void	 resolve_put(struct resolve_name **name);

/* As the configuration has it. */
const char *resolve_text(const struct resolve_name *name);
/* Where NAME is as far as is known; valid until the loop goes on. */
const struct sockaddr *resolve_get(const struct resolve_name *name,
	    socklen_t *len);
/* NAME could not be reached there: look it up, once a second at most.  Never
 * blocks. */
void	 resolve_again(struct resolve_name *name);

#endif /* WORKER_RESOLVE_H */
