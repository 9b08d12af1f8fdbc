/*
 * worker.h: one worker process, from fork to exit.
 *
 * The master forks and calls worker_run, which returns the exit status.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stdio.h>

#include "shared/config.h"
#include "shared/shm.h"

struct extload;

/* What a worker is born with.  All of it was made before the fork. */
struct worker_birth {
	const struct config *cfg;
	struct extload	*const *ext;	/* one a service, in order */
	struct shm	*shm;
	unsigned	 slot;		/* its slot in the segment */
	int		 cpu;		/* pin to it, -1: none */
	int		 control;	/* to the master; EOF: it is gone */
	const int	*listen_fds;	/* [n_slots][services], in order */
	unsigned	 n_slots;
	const unsigned	*host_entry;	/* config.addrs -> the hosts table */
};

/* What the master says down the control socket, two bytes each: the order, and
 * the slot that it is about (0 where it is about none). */
enum worker_order {
	WORKER_DRAIN = 'd',	/* accept nothing more, answer, exit */
	WORKER_ADOPT = 'a',	/* accept from the slot's sockets too */
	WORKER_RETURN = 'r',	/* no longer: it has a worker again */
	WORKER_LOOK = 'h'	/* at the hosts: some state has changed */
};

/* What a worker says up its control socket, a byte each. */
enum worker_report {
	WORKER_READY = 'r',	/* it serves */
	WORKER_ALARM = 'a'	/* something of a host calls for a decision */
};

/* Run until the master says so or is gone.  The caller has made the process
 * this worker's own (signals, descriptors); 0: a clean end. */
int	 worker_run(const struct worker_birth *birth) MUST_CHECK;

/* explain.c */

/* Say on OUT where commands for KEY of SERVICE, one of CFG's, go and why, a
 * line each: as a worker would have it, with the hosts' states of the instance
 * that runs, if any.  Only reads.  False: ERR (CONFIG_ERR_MAX bytes) says why
 * not. */
bool	 explain_route(const struct config *cfg,
	    const struct config_service *service, const char *key, FILE *out,
	    char *err) MUST_CHECK;

#endif /* WORKER_WORKER_H */
