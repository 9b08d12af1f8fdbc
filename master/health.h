/*
 * health.h: which hosts are given requests, and which are out.
 *
 * Workers count failure events and good replies of each host in their slots.
 * Here these are added up: a host with failover_threshold events since the last
 * good reply is taken out, at once on a worker's alarm and at the latest after
 * failover_interval.  It is put back when some worker has connected to it and
 * was greeted; one that comes and goes must stay connected for longer each
 * time.  With rejoin = flush it comes back in two steps: when all workers give
 * it writes and nobody reads from it, one of them empties it.
 */
#ifndef MASTER_HEALTH_H
#define MASTER_HEALTH_H

#include <ev.h>

#include "shared/config.h"
#include "shared/shm.h"

struct health;

/* What it asks of the master. */
struct health_hooks {
	/* Is there a worker in slot I? */
	bool		 (*has_worker)(void *data, unsigned i);
	/* Have all workers look at the hosts. */
	void		 (*tell_workers)(void *data);
	void		*data;
};

/* All hosts of CFG are up; HOST_ENTRY gives their entries in SHM.  All that is
 * passed lives longer.  NULL: out of memory. */
struct health *health_new(struct ev_loop *loop, const struct config *cfg,
	    struct shm *shm, const unsigned *host_entry,
	    const struct health_hooks *hooks) MUST_CHECK;
void	 health_free(struct health **health);

/* Go by CFG from now on; what is known of hosts that it has stays known.
 * False: out of memory, and nothing has changed. */
bool	 health_follow(struct health **health, const struct config *cfg,
	    const unsigned *host_entry) MUST_CHECK;

/* Look at all hosts now: a worker has given the alarm. */
void	 health_check(struct health *health);

#endif /* MASTER_HEALTH_H */
