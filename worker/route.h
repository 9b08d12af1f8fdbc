/*
 * route.h: where a request goes.
 *
 * A key belongs to one host of the service's `hosts`.  Reads that any copy can
 * answer go to `hosts_read` where that is given and has a host that is up.  A
 * host that is out has stand-ins, as `failover` says; one that rejoins takes
 * writes and answers reads with a miss, for it is to be emptied.
 */
#ifndef WORKER_ROUTE_H
#define WORKER_ROUTE_H

#include "worker/core.h"

enum route_way {
	ROUTE_OWNER,		/* where the key belongs */
	ROUTE_READ,		/* to the read group */
	ROUTE_STAND_IN,		/* another host, for the owner is out */
	ROUTE_MISS,		/* nowhere: it is a miss */
	ROUTE_NOWHERE		/* it fails at once */
};

struct route_choice {
	enum route_way	 way;
	unsigned	 host;		/* in the pool, POOL_NONE: there is
					 * none; of ROUTE_NOWHERE: to blame */
	bool		 rejoins;	/* what it still has must not count */
};

/* The rings of SVC, over its pool.  NULL: out of memory. */
struct route *route_new(struct service *svc) MUST_CHECK;
void	 route_free(struct route **route);

/* Where CMD's part for KEY goes. */
struct route_choice route_choose(const struct route *route,
	    const struct kvp_cmd *cmd, struct kvp_slice key);

/* The host that KEY belongs to, the one of the read group that its reads do,
 * and the one that its copies do, up or not; POOL_NONE: there is none. */
unsigned route_owner(const struct route *route, struct kvp_slice key);
unsigned route_reader(const struct route *route, struct kvp_slice key);
unsigned route_backup(const struct route *route, struct kvp_slice key);
/* Do copies go to HOST of the pool? */
bool	 route_is_backup(const struct route *route, unsigned host);

/* The pool's states have changed. */
void	 route_look(struct route *route);

#endif /* WORKER_ROUTE_H */
