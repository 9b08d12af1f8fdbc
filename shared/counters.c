/*
 * counters.c: names, kinds and sentences, as the table has them.
 */
#include "shared/counters.h"

#define COUNTERS_INFO_W(NAME, name, kind, text) \
	[COUNTER_##NAME] = { name, COUNTER_##kind, text },
#define COUNTERS_INFO_H(NAME, name, kind, text) \
	[HOST_##NAME] = { name, COUNTER_##kind, text },

const struct counter_info counters_worker[COUNTER_N] = {
	COUNTERS_WORKER(COUNTERS_INFO_W)
};

const struct counter_info counters_host[HOST_N] = {
	COUNTERS_HOST(COUNTERS_INFO_H)
};

bool
counters_is_of_service(enum counter c)
{
	return c != COUNTER_CLIENTS && c != COUNTER_CLIENTS_GIVEN &&
	    c != COUNTER_CLIENTS_TAKEN && c != COUNTER_BUFFERED &&
	    c != COUNTER_LOG_DROPPED;
}

bool
counters_is_internal(enum host_counter c)
{
	return c >= HOST_FIRST_INTERNAL && c <= HOST_LAST_INTERNAL;
}
