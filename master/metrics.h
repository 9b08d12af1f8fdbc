/*
 * metrics.h: the metrics page, and its HTTP.
 *
 * It reads the shared segment and touches nothing else.  One loop, no threads,
 * 32 connections at the most, others wait.  One request a connection, which
 * must have come within 5 s, and its answer be taken within 30 s; where all 32
 * are there, or 64 MiB of answers wait to be taken, within half a second and
 * 2 s.  What is over these 64 MiB is one page at the most: who asks then for
 * another is told 503.
 */
#ifndef MASTER_METRICS_H
#define MASTER_METRICS_H

#include "shared/report_metrics.h"

struct metrics_birth {
	int		 listener;
	int		 control;	/* its end says: finish and go */
	struct shm	*shm;		/* read-only */
	const struct report_setup *setup;
};

/* Serve, until told to go and what was asked is answered, a second at most.
 * The process's exit status. */
int	 metrics_run(const struct metrics_birth *birth);

#endif /* MASTER_METRICS_H */
