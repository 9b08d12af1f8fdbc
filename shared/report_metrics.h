/*
 * report_metrics.h: what the segment says, as Prometheus reads it.
 *
 * The text format 0.0.4, or OpenMetrics 1.0.  A counter of the tables is called
 * as in `stats`, with "kvproxy_", "kvproxy_host_" or "kvproxy_service_" before
 * it, and "_total" behind it if it only grows; times are in seconds.
 */
#ifndef SHARED_REPORT_METRICS_H
#define SHARED_REPORT_METRICS_H

#include "shared/config.h"
#include "shared/report.h"

/* What the segment does not say, as the master has it. */
struct report_source {
	struct shm	*shm;		/* its names are those of the page */
	const struct config *cfg;
	const unsigned	*host_entry;	/* of its addrs, in the segment */
	unsigned	 n_workers;	/* that there should be */
	uint64_t	 max_connections; /* client connections in all */
};

/* And as the program has it that serves the page. */
struct report_group {
	char		*service, *role, *name;	/* role: the option */
	unsigned	*entries;	/* of hosts that may have keys */
	size_t		 n_entries;
};
struct report_setup {
	unsigned	 n_workers;
	uint64_t	 max_connections;
	struct report_group *groups;
	size_t		 n_groups;
};

/* Its way from the one to the other, which are of one version.  False: with
 * errno; what is there of SETUP is to be freed all the same. */
bool	 report_write_setup(FILE *out, const struct report_source *from)
	    MUST_CHECK;
bool	 report_read_setup(FILE *in, struct report_setup *setup) MUST_CHECK;
void	 report_free_setup(struct report_setup *setup);

/* Write all to OUT. */
void	 report_metrics(FILE *out, struct shm *shm,
	    const struct report_setup *setup, bool is_openmetrics);
/* The first group all of whose hosts that may have keys are out.  NULL: none is
 * down. */
const struct report_group *report_find_down(struct shm *shm,
	    const struct report_setup *setup) MUST_CHECK;

#endif /* SHARED_REPORT_METRICS_H */
