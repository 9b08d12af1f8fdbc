/*
 * report.h: what the shared segment says, for people and for programs.
 *
 * Whoever has the segment mapped can tell all of it; nothing here waits for
 * anybody.  Workers go on meanwhile, so numbers that are read one after the
 * other may differ by what was done between.
 */
#ifndef SHARED_REPORT_H
#define SHARED_REPORT_H

#include <stdio.h>

#include "shared/shm.h"

/* The block of `status`. */
void	 report_block(FILE *out, struct shm *shm);
/* The block, and below it what an operator wants to know. */
void	 report_text(FILE *out, struct shm *shm);
/* Everything, as JSON. */
void	 report_json(FILE *out, struct shm *shm);

#endif /* SHARED_REPORT_H */
