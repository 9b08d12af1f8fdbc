/*
 * route.h: which host a key belongs to.
 */
#ifndef WORKER_ROUTE_H
#define WORKER_ROUTE_H

#include "worker/core.h"

/* The route of SVC's keys over its group.  NULL: out of memory. */
struct route *route_new(struct service *svc) MUST_CHECK;
void	 route_free(struct route **route);

/* The connection for KEY in LANE (pool.h); NULL: the group gives keys to no
 * host. */
struct backend *route_key(const struct route *route, struct kvp_slice key,
	    unsigned lane);

#endif /* WORKER_ROUTE_H */
