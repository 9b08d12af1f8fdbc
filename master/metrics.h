/*
 * metrics.h: the metrics page, and its HTTP.
 *
 * It reads the shared segment and touches nothing else.  One loop, no threads;
 * one request a connection, which must have come within 5 s, or half a second
 * where there are as many as it takes; so who is slow holds up nobody for long.
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
