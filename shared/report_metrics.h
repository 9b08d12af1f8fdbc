/*
 * report_metrics.h: what the segment says, as Prometheus reads it.
 *
 * The text format 0.0.4, or OpenMetrics 1.0.  A counter of the tables is called
 * as in `stats`, with "kvproxy_" or "kvproxy_host_" before it, and "_total"
 * behind it if it only grows; times are in seconds.
 */
#ifndef SHARED_REPORT_METRICS_H
#define SHARED_REPORT_METRICS_H

#include "shared/config.h"
#include "shared/report.h"

/* What the segment does not say. */
struct report_setup {
	const struct config *cfg;
	const unsigned	*host_entry;	/* of its addrs, in the segment */
	unsigned	 n_workers;	/* that there should be */
	uint64_t	 max_connections; /* client connections in all */
};

/* Write all to OUT. */
void	 report_metrics(FILE *out, struct shm *shm,
	    const struct report_setup *setup, bool is_openmetrics);
/* The first group all of whose hosts that may have keys are out, and the
 * service that has it.  False: none is down. */
bool	 report_find_down(struct shm *shm, const struct report_setup *setup,
	    const char **service, const char **group);

#endif /* SHARED_REPORT_METRICS_H */
