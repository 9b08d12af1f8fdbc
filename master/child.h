/*
 * child.h: how the master forks a child that is to stay.
 *
 * Signals are blocked meanwhile, for no handler of the master's may run in the
 * child.  The child lets go of what is the master's and then settles down.
 */
#ifndef MASTER_CHILD_H
#define MASTER_CHILD_H

#include <sys/types.h>

#include <signal.h>

#include "shared/base.h"

struct user;

struct child {
	pid_t		 master;
	sigset_t	 mask;		/* the master's */
};

/* 0 in the child, whose signals are still blocked; -1 with errno. */
pid_t	 child_fork(struct child *c) MUST_CHECK;
/* In the child: signals that whoever stops the master sends to all are ignored,
 * others let in; it becomes USER for good, gains nothing from what it may run,
 * and dies with the master.  False: it must not go on; the log says why, of
 * WHO. */
bool	 child_settle(const struct child *c, const struct user *user,
	    const char *who) MUST_CHECK;

#endif /* MASTER_CHILD_H */
