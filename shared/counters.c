/*
 * counters.c: what the table says of each counter.
 */
#include "shared/counters.h"

#define COUNTERS_INFO_W(NAME, name, kind, of, text) \
	[COUNTER_##NAME] = { name, COUNTER_##kind, COUNTER_OF_##of, text },
#define COUNTERS_INFO_H(NAME, name, kind, of, text) \
	[HOST_##NAME] = { name, COUNTER_##kind, COUNTER_OF_##of, text },

const struct counter_info counters_worker[COUNTER_N] = {
	COUNTERS_WORKER(COUNTERS_INFO_W)
};

const struct counter_info counters_host[HOST_N] = {
	COUNTERS_HOST(COUNTERS_INFO_H)
};

bool
counters_is_of_service(enum counter c)
{
	return counters_worker[c].of == COUNTER_OF_SERVICE;
}

bool
counters_is_internal(enum host_counter c)
{
	return counters_host[c].of == COUNTER_OF_INTERNAL;
}
