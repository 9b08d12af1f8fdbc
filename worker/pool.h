/*
 * pool.h: the hosts that a service talks to, and the connections to them.
 *
 * A host is there once, whatever groups it is in, so that all that goes to it
 * stands in the same queues.  A host has server_connections connections.  The
 * last one is the lane of clients whose values are large, so that these do not
 * stand before small ones; the others are shared by client.
 *
 * A host has the same number for as long as the pool knows it.  With a reload
 * it may come to be in no group any more: then it leaves, when nothing is
 * under way to it, and its number is given to another at a later reload.
 */
#ifndef WORKER_POOL_H
#define WORKER_POOL_H

#include "worker/core.h"

#define POOL_NONE	UINT32_MAX

/* A pool of SVC's without hosts.  NULL: out of memory. */
struct pool *pool_new(struct service *svc) MUST_CHECK;
/* A pool without connections, for who only asks where keys go: the hosts of
 * SERVICE's groups, with the states that STATES has for CFG's addresses. */
struct pool *pool_new_states(const struct config *cfg,
	    const struct config_service *service,
	    const enum shm_host_state *states) MUST_CHECK;
void	 pool_free(struct pool **pool);

/* Connect to those hosts of SERVICE's groups, one of CFG's, that are not there
 * yet, and as often as it says; HOST_ENTRY gives the shared entries of CFG's
 * addresses.  Nothing that is there changes.  False: out of memory. */
bool	 pool_prepare(struct pool *pool, const struct config *cfg,
	    const struct config_service *service, const unsigned *host_entry)
	    MUST_CHECK;
/* From now on the hosts are those that were prepared last, and no others. */
void	 pool_commit(struct pool *pool);
/* No host is wanted any more. */
void	 pool_leave(struct pool *pool);
/* Close what has left and has nothing under way.  True: nothing is left of
 * that. */
bool	 pool_sweep(struct pool *pool);
/* Numbers of hosts are below this, but for those that are only prepared;
 * pool_has says which have one. */
unsigned pool_n_hosts(const struct pool *pool);
bool	 pool_has(const struct pool *pool, unsigned host);
/* The host at config.addrs[ADDR], which is in some group. */
unsigned pool_find(const struct pool *pool, unsigned addr);
const char *pool_name(const struct pool *pool, unsigned host);
unsigned pool_entry(const struct pool *pool, unsigned host);
enum shm_host_state pool_state(const struct pool *pool, unsigned host);
/* Is this worker to empty the host, and was not told so before?  It is told
 * now. */
bool	 pool_take_flush(struct pool *pool, unsigned host) MUST_CHECK;

/* The lane of a client, with large values or not. */
unsigned pool_lane(const struct pool *pool, uint64_t client_id, bool bulk);
unsigned pool_n_lanes(const struct pool *pool);
/* LANE is below pool_n_lanes, HOST one that the pool has; lane 0 also of one
 * that leaves. */
struct backend *pool_backend(struct pool *pool, unsigned host, unsigned lane);

/* Take over the hosts' states as the master has them now.  True: some state
 * has changed. */
bool	 pool_look(struct pool *pool);

#endif /* WORKER_POOL_H */
