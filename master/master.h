/*
 * master.h: the parent of the workers.
 *
 * It holds the listening sockets and the shared segment, forks a worker a
 * slot, replaces those that die, brings another configuration into force on
 * SIGHUP, and stops them all when it is told to.  It touches no byte of a
 * client's or a backend's.
 */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include "master/pidfile.h"
#include "master/setup.h"
#include "master/user.h"

struct master;

/* What a master is born with; it all lives longer than the master. */
struct master_birth {
	struct pidfile	*lock;		/* held; workers let go of it */
	int		 ready_fd;	/* workers close it; -1: none */
	const char	*prefix;	/* the installation's folder */
	const struct user *user;	/* that workers become */
	/* May SETUP come into force in the place of what is?  False: ERR
	 * (CONFIG_ERR_MAX bytes) says why not. */
	bool		 (*may_serve)(const struct config *cfg, char *err);
};

/* How many workers CFG asks for on this machine. */
unsigned master_count_workers(const struct config *cfg);
/* How many descriptors each of CFG's processes must be allowed, to serve
 * anybody at all: the most that one of them holds, and a few clients. */
size_t	 master_count_fds(const struct config *cfg);
/* Is a LIMIT of so many a process enough for CFG and its max_connections?
 * False: ERR (CONFIG_ERR_MAX bytes) says what is not. */
bool	 master_check_fds(const struct config *cfg, size_t limit, char *err)
	    MUST_CHECK;

/* Open the sockets, make the segment, fork the workers; returns when all of
 * them serve, or when a signal has said stop.  SETUP becomes the master's.  The
 * caller has blocked all signals: they are let in when they can be obeyed.
 * NULL: nothing is left, and ERR (ROOM bytes) says why: a worker died, say, or
 * took too long. */
struct master *master_new(const struct master_birth *birth,
	    struct setup *setup, char *err, size_t room) MUST_CHECK;
/* All workers have served, and no signal has said stop. */
bool	 master_is_serving(const struct master *m);
/* Watch, until a signal says stop and all workers are gone. */
void	 master_run(struct master *m);
/* Close and remove everything that master_new made; kills what workers are
 * left.  The process is to end after: all signals stay blocked. */
void	 master_free(struct master **master);

#endif /* MASTER_MASTER_H */
