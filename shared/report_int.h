/*
 * report_int.h: what the files of report share; nobody else includes it.
 *
 * report.c writes for people, report_json.c and report_metrics.c for programs.
 */
#ifndef SHARED_REPORT_INT_H
#define SHARED_REPORT_INT_H

#include "shared/report.h"

/* A counter over all workers, as people are told it. */
uint64_t report_host_total(struct shm *shm, unsigned host,
	    enum host_counter c);

/* What the worker of SLOT is doing, a word. */
const char *report_worker_state(const struct shm_slot *slot);

/* How long ago MS was. */
uint64_t report_age_ms(uint64_t now_ms, uint64_t ms);
/* A time as people say it, in its two largest units, cut. */
void	 report_put_time(FILE *out, uint64_t ms);

#endif /* SHARED_REPORT_INT_H */
