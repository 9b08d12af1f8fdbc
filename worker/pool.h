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
/* The connection to host I of the group for the client CLIENT_ID: always the
 * same, so that what one client asks of one host keeps its order. */
struct backend *pool_backend(struct pool *pool, unsigned i,
	    uint64_t client_id);

#endif /* WORKER_POOL_H */
