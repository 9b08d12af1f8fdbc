/*
 * pool.h: a service's connections to the hosts of its group.
 */
#ifndef WORKER_POOL_H
#define WORKER_POOL_H

#include "worker/core.h"

/* Start connecting to every host of SVC's group, server_connections times.
 * NULL: out of memory. */
struct pool *pool_new(struct service *svc) MUST_CHECK;
void	 pool_free(struct pool **pool);

unsigned pool_n_hosts(const struct pool *pool);

/* Of several connections to a host the last is the lane of clients whose
 * values are large (BULK), so that no small value stands behind them; the
 * others share the rest of the clients.  What a client asks of one host keeps
 * its order as long as it keeps to its lane. */
unsigned pool_lane(const struct pool *pool, uint64_t client_id, bool bulk);
/* The connection to host I of the group in LANE. */
struct backend *pool_backend(struct pool *pool, unsigned i, unsigned lane);

#endif /* WORKER_POOL_H */
