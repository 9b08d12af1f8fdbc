/*
 * pool.h: the hosts that a service talks to, and the connections to them.
 *
 * A host is there once, whatever groups it is in, so that all that goes to it
 * stands in the same queues.  A host has server_connections connections.  The
 * last one is the lane of clients whose values are large, so that these do not
 * stand before small ones; the others are shared by client.
 */
#ifndef WORKER_POOL_H
#define WORKER_POOL_H

#include "worker/core.h"

#define POOL_NONE	UINT32_MAX

/* Connect to all hosts of SVC's groups.  NULL: out of memory. */
struct pool *pool_new(struct service *svc) MUST_CHECK;
/* A pool without connections, for who only asks where keys go: the hosts of
 * SERVICE's groups, with the states that STATES has for CFG's addresses. */
struct pool *pool_new_states(const struct config *cfg,
	    const struct config_service *service,
	    const enum shm_host_state *states) MUST_CHECK;
void	 pool_free(struct pool **pool);

unsigned pool_n_hosts(const struct pool *pool);
/* The host at config.addrs[ADDR], which is in some group. */
unsigned pool_find(const struct pool *pool, unsigned addr);
const char *pool_name(const struct pool *pool, unsigned host);
enum shm_host_state pool_state(const struct pool *pool, unsigned host);

/* The lane of a client, with large values or not. */
unsigned pool_lane(const struct pool *pool, uint64_t client_id, bool bulk);
struct backend *pool_backend(struct pool *pool, unsigned host, unsigned lane);

/* Go by what the master says of the hosts now.  True: something changed. */
bool	 pool_look(struct pool *pool);

#endif /* WORKER_POOL_H */
