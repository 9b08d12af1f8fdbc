/*
 * check.h: is a snapshot fit to be the configuration?
 *
 * A child finds out: looking up names may take long, and an extension may do
 * what it will.
 */
#ifndef MASTER_CHECK_H
#define MASTER_CHECK_H

#include <ev.h>

#include "shared/config.h"
#include "worker/worker.h"

struct check;

struct check_birth {
	struct ev_loop	*loop;
	int		 snapshot;	/* config_snapshot's */
	const char	*prefix;
	const struct config *known;	/* its names need no look-up */
	/* In the child, with all signals blocked: let go of what is ours. */
	void		(*on_fork)(void *data);
	/* It is fit, and PLACES, of the configuration's N addresses in order
	 * but without their entries, say where all hosts are; or it is not, and
	 * ERR says why.  The check may be freed from here. */
	void		(*on_end)(void *data, const struct worker_place *places,
			    size_t n, const char *err);
	void		*data;
};

/* NULL with errno: there is no child. */
struct check *check_start(const struct check_birth *birth) MUST_CHECK;
/* The child is killed where it is still there, and gone when this returns: it
 * has all that the master has, the sockets too. */
void	 check_free(struct check **check);
/* In another child: close what only the master reads.  CHECK may be NULL. */
void	 check_forget(const struct check *check);
/* The child PID has ended; false: it is not this one. */
bool	 check_reap(struct check *check, pid_t pid);

#endif /* MASTER_CHECK_H */
