/*
 * counters.h: numbers that one worker writes and everybody reads.
 *
 * A counter has one writer, so it is a relaxed load and store, never a locked
 * add.  Readers sum over the workers' slots (shm.h).
 */
#ifndef SHARED_COUNTERS_H
#define SHARED_COUNTERS_H

#include <stdatomic.h>

#include "shared/base.h"
#include "shared/counters_tbl.h"

#define COUNTERS_ENUM_W(NAME, ...) COUNTER_##NAME,
#define COUNTERS_ENUM_H(NAME, ...) HOST_##NAME,
enum counter { COUNTERS_WORKER(COUNTERS_ENUM_W) COUNTER_N };
enum host_counter { COUNTERS_HOST(COUNTERS_ENUM_H) HOST_N };

enum counter_kind { COUNTER_TOTAL, COUNTER_GAUGE, COUNTER_AGE };
enum counter_of {
	COUNTER_OF_SERVICE, COUNTER_OF_WORKER,
	COUNTER_OF_HOST, COUNTER_OF_INTERNAL
};

/* How many of a worker's newest failure events have their time kept. */
#define HOST_EVENT_TIMES (HOST_EVENT_3_US - HOST_EVENT_0_US + 1)

struct counter_info {
	const char	*name;
	enum counter_kind kind;
	enum counter_of	 of;
	const char	*text;
};

extern const struct counter_info counters_worker[COUNTER_N];
extern const struct counter_info counters_host[HOST_N];

/* Is C a cell of a host that is no number for people? */
bool	 counters_is_internal(enum host_counter c);
/* Is C counted for each service?  Others are the worker's as a whole. */
bool	 counters_is_of_service(enum counter c);

typedef _Atomic uint64_t counter_cell;	/* the one typedef: C11 spells it so */

static inline void
counter_add(counter_cell *c, uint64_t n)
{
	atomic_store_explicit(c,
	    atomic_load_explicit(c, memory_order_relaxed) + n,
	    memory_order_relaxed);
}

static inline void
counter_sub(counter_cell *c, uint64_t n)
{
	counter_add(c, -n);
}

static inline void
counter_set(counter_cell *c, uint64_t v)
{
	atomic_store_explicit(c, v, memory_order_relaxed);
}

static inline uint64_t
counter_get(const counter_cell *c)
{
	return atomic_load_explicit((counter_cell *)c, memory_order_relaxed);
}

#endif /* SHARED_COUNTERS_H */
