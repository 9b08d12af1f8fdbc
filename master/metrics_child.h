/*
 * metrics_child.h: the life of the process that serves the metrics page.
 *
 * There is one where the configuration has an address for it.  It is a program
 * of its own, so that no other process has libmicrohttpd and what that brings,
 * TLS above all, in its memory.  It is started anew with each configuration,
 * and after a pause that grows where it has died young; nothing else depends on
 * it.  The master holds its listening socket, so who asks meanwhile waits a
 * little and is not refused.
 */
#ifndef MASTER_METRICS_CHILD_H
#define MASTER_METRICS_CHILD_H

#include <sys/types.h>

#include <ev.h>

#include "shared/report_metrics.h"

struct metrics_child;
struct user;

struct metrics_child_birth {
	struct ev_loop	*loop;
	struct shm	*shm;
	const struct user *user;	/* that it becomes */
	const char	*prefix;	/* the installation's folder */
	/* In the child, with all signals blocked: let go of what is the
	 * master's; its descriptors are closed anyway. */
	void		 (*on_fork)(void *data);
	void		*data;
};

/* None is there yet.  NULL: out of memory. */
struct metrics_child *metrics_child_new(
	    const struct metrics_child_birth *birth) MUST_CHECK;
/* It and its socket are gone at once. */
void	 metrics_child_free(struct metrics_child **mc);

/* Have a socket for what CFG says, beside the one there is; where IS_PATIENT,
 * one that others of ours may hold a moment longer.  False: ERR (CONFIG_ERR_MAX
 * bytes) names the line and says why. */
bool	 metrics_child_prepare(struct metrics_child *mc,
	    const struct config *cfg, bool is_patient, char *err) MUST_CHECK;
/* What was prepared is not wanted. */
void	 metrics_child_undo(struct metrics_child *mc);
/* Tell of SOURCE, for whose configuration all is prepared: the process there
 * is answers what it was asked and goes, another one starts.  What SOURCE
 * points to lives until the next call. */
void	 metrics_child_follow(struct metrics_child *mc,
	    const struct report_source *source);
/* The same with what there is: the log was opened anew. */
void	 metrics_child_restart(struct metrics_child *mc);

/* The child PID has ended with STATUS; false: it is not this one. */
bool	 metrics_child_reap(struct metrics_child *mc, pid_t pid, int status);
/* In another child: close what is its and the master's.  MC may be NULL. */
void	 metrics_child_forget(struct metrics_child *mc);

#endif /* MASTER_METRICS_CHILD_H */
