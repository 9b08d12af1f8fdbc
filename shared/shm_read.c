/*
 * shm_read.c: what is there, and what the slots' cells come to, added up.
 *
 * Each cell has one writer and is read whole; nothing here waits for anybody.
 */
#include "shared/shm.h"

#include <string.h>

/*
 * Lists.
 */

static unsigned
shm_nth_host(struct shm *shm, unsigned n)
{
	return atomic_load_explicit(&shm_host(shm, n)->listed,
	    memory_order_acquire);
}

static unsigned
shm_nth_service(struct shm *shm, unsigned n)
{
	return atomic_load_explicit(&shm_service(shm, n)->listed,
	    memory_order_acquire);
}

/* To ENTRIES, each once, what is NTH of N; how many. */
static unsigned
shm_look_list(struct shm *shm, unsigned n, unsigned (*nth)(struct shm *shm,
    unsigned n), unsigned *entries)
{
	bool is_seen[SHM_HOSTS_MAX] = { false };
	unsigned entry, n_entries = 0;

	for (unsigned i = 0; i < n; i++) {
		entry = nth(shm, i);
		ASSERT(entry < SHM_HOSTS_MAX);
		if (!is_seen[entry])
			entries[n_entries++] = entry;
		is_seen[entry] = true;
	}
	return n_entries;
}

unsigned
shm_look_hosts(struct shm *shm, unsigned hosts[SHM_HOSTS_MAX])
{
	return shm_look_list(shm, MIN(shm_facts(shm)->n_hosts, SHM_HOSTS_MAX),
	    shm_nth_host, hosts);
}

unsigned
shm_look_services(struct shm *shm, unsigned services[SHM_SERVICES_MAX])
{
	return shm_look_list(shm, MIN(shm_facts(shm)->n_services,
	    SHM_SERVICES_MAX), shm_nth_service, services);
}

/*
 * Sums.
 */

static unsigned
shm_n_counted(struct shm *shm)
{
	return 1 + MIN(shm_facts(shm)->n_service_entries, SHM_SERVICES_MAX);
}

/* Of two cells of C. */
static uint64_t
shm_both(enum counter c, uint64_t a, uint64_t b)
{
	return counters_worker[c].kind == COUNTER_AGE ? MAX(a, b) : a + b;
}

uint64_t
shm_slot_sum(struct shm *shm, const struct shm_slot *slot, enum counter c)
{
	unsigned n_counted = shm_n_counted(shm);
	uint64_t sum = 0;

	for (unsigned s = 0; s < n_counted; s++)
		sum = shm_both(c, sum, counter_get(&slot->counter[s][c]));
	return sum;
}

uint64_t
shm_sum(struct shm *shm, enum counter c)
{
	unsigned n = shm_n_slots(shm);
	uint64_t sum = 0;

	/* The master has this one alone. */
	if (c == COUNTER_LOG_DROPPED)
		sum = shm_facts(shm)->log_dropped;
	for (unsigned i = 0; i < n; i++)
		sum = shm_both(c, sum,
		    shm_slot_sum(shm, shm_slot(shm, i), c));
	return sum;
}

uint64_t
shm_service_sum(struct shm *shm, unsigned service, enum counter c)
{
	unsigned n = shm_n_slots(shm);
	uint64_t sum = 0;

	ASSERT(service < SHM_SERVICES_MAX);
	for (unsigned i = 0; i < n; i++)
		sum = shm_both(c, sum, counter_get(&shm_slot(shm,
		    i)->counter[1 + service][c]));
	return sum;
}

uint64_t
shm_host_sum(struct shm *shm, unsigned host, enum host_counter c)
{
	unsigned n = shm_n_slots(shm);
	uint64_t sum = 0;

	ASSERT(host < SHM_HOSTS_MAX);
	for (unsigned i = 0; i < n; i++)
		sum += counter_get(&shm_slot(shm, i)->host[host][c]);
	return sum;
}

uint64_t
shm_host_last_us(struct shm *shm, unsigned host, enum host_counter c)
{
	unsigned n = shm_n_slots(shm);
	uint64_t last = 0, t;

	ASSERT(host < SHM_HOSTS_MAX);
	for (unsigned i = 0; i < n; i++) {
		t = counter_get(&shm_slot(shm, i)->host[host][c]);
		last = MAX(last, t);
	}
	return last;
}

/* Of one worker: where all times that are kept are newer, there may have been
 * more than those. */
static uint64_t
shm_slot_events(const counter_cell *cell, uint64_t since_us)
{
	uint64_t n = 0;

	for (int i = 0; i < HOST_EVENT_TIMES; i++)
		n += counter_get(&cell[HOST_EVENT_0_US + i]) > since_us;
	return n < HOST_EVENT_TIMES ? n :
	    MAX(n, counter_get(&cell[HOST_EVENTS_IN_A_ROW]));
}

uint64_t
shm_host_events(struct shm *shm, unsigned host)
{
	uint64_t good = shm_host_last_us(shm, host, HOST_LAST_GOOD_US);
	uint64_t since = atomic_load_explicit(&shm_host(shm, host)->since_us,
	    memory_order_relaxed);
	unsigned n = shm_n_slots(shm);
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += shm_slot_events(shm_slot(shm, i)->host[host],
		    MAX(good, since));
	return sum;
}

uint64_t
shm_host_continuous(struct shm *shm, unsigned host)
{
	uint64_t good = shm_host_last_us(shm, host, HOST_LAST_GOOD_US);
	unsigned n = shm_n_slots(shm);
	const counter_cell *cell;
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		cell = shm_slot(shm, i)->host[host];
		if (counter_get(&cell[HOST_LAST_FAILED_US]) >= good)
			sum += counter_get(&cell[HOST_CONTINUOUS]);
	}
	return sum;
}

void
shm_look_latency(struct shm *shm, enum shm_latency what,
    struct hist_view *view)
{
	unsigned n = shm_n_slots(shm);

	memset(view, 0, sizeof(*view));
	for (unsigned i = 0; i < n; i++)
		hist_look(view, &shm_slot(shm, i)->latency[what]);
}

void
shm_look_host_latency(struct shm *shm, unsigned host, struct hist_view *view)
{
	unsigned n = shm_n_slots(shm);

	ASSERT(host < SHM_HOSTS_MAX);
	memset(view, 0, sizeof(*view));
	for (unsigned i = 0; i < n; i++)
		hist_look(view, &shm_slot(shm, i)->host_latency[host]);
}

/*
 * Resets.
 */

static void
shm_set_hist(struct hist *h, const struct hist_view *view)
{
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		counter_set(&h->n[i], view->n[i]);
	counter_set(&h->sum_us, view->sum_us);
}

static void
shm_set_base_host(struct shm_base_host *base, struct shm *shm, unsigned host)
{
	for (unsigned c = 0; c < HOST_N; c++)
		counter_set(&base->counter[c],
		    shm_host_sum(shm, host, (enum host_counter)c));
	counter_set(&base->ejections,
	    counter_get(&shm_host(shm, host)->ejections));
	counter_set(&base->returns,
	    counter_get(&shm_host(shm, host)->returns));
}

static void
shm_set_base_worker(struct shm_base_worker *base, struct shm *shm,
    const struct shm_slot *slot)
{
	for (unsigned c = 0; c < COUNTER_N; c++)
		counter_set(&base->counter[c],
		    shm_slot_sum(shm, slot, (enum counter)c));
	counter_set(&base->n_slow, slot->n_slow);
}

bool
shm_reset(struct shm *shm, unsigned slot, uint64_t now_us)
{
	struct shm_base *base = &shm_slot(shm, slot)->base;
	const struct shm_base *newest;
	const unsigned n_hosts = shm_facts(shm)->n_entries;
	const unsigned n_services = shm_facts(shm)->n_service_entries;
	const unsigned n_slots = shm_n_slots(shm);
	struct hist_view view;

	if (!shm_reserve_base(shm, slot))
		return false;
	for (unsigned c = 0; c < COUNTER_N; c++) {
		counter_set(&base->counter[c], shm_sum(shm, (enum counter)c));
		for (unsigned i = 0; i < n_services; i++)
			counter_set(&base->service[i][c],
			    shm_service_sum(shm, i, (enum counter)c));
	}
	for (unsigned i = 0; i < n_slots; i++)
		shm_set_base_worker(&base->worker[i], shm, shm_slot(shm, i));
	for (unsigned i = 0; i < SHM_LATENCY_N; i++) {
		shm_look_latency(shm, (enum shm_latency)i, &view);
		shm_set_hist(&base->latency[i], &view);
	}
	for (unsigned i = 0; i < n_hosts; i++) {
		shm_set_base_host(&base->host[i], shm, i);
		shm_look_host_latency(shm, i, &view);
		shm_set_hist(&base->host_latency[i], &view);
	}
	/* Another worker's turn may have begun later, and its reset before. */
	newest = shm_base(shm);
	if (newest != NULL && now_us <= newest->at_us)
		now_us = newest->at_us + 1;
	base->n_services = n_services;
	base->n_workers = n_slots;
	base->n_hosts = n_hosts;
	atomic_store_explicit(&base->at_us, now_us, memory_order_release);
	return true;
}

const struct shm_base *
shm_base(struct shm *shm)
{
	unsigned n = shm_n_slots(shm);
	const struct shm_base *newest = NULL;
	uint64_t at_us, last_us = 0;

	for (unsigned i = 0; i < n; i++) {
		at_us = atomic_load_explicit(&shm_slot(shm, i)->base.at_us,
		    memory_order_acquire);
		if (at_us > last_us) {
			newest = &shm_slot(shm, i)->base;
			last_us = at_us;
		}
	}
	return newest;
}

/*
 * Slow requests.
 */

void
shm_add_slow(struct shm_slot *slot, const struct shm_slow_view *v)
{
	struct shm_slow *s = &slot->slow[slot->n_slow % SHM_SLOW_N];
	uint64_t seq = s->seq | 1, word;

	atomic_store_explicit(&s->seq, seq, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	s->at_ms = v->at_ms;
	s->total_us = v->total_us;
	s->queued_us = v->queued_us;
	s->host = v->host;
	s->what = (uint16_t)v->what;
	s->is_failed = v->is_failed;
	s->key_len = v->key_len;
	for (unsigned i = 0; i < SHM_SLOW_KEY / 8; i++) {
		memcpy(&word, v->key + i * 8, 8);
		s->key[i] = word;
	}
	atomic_store_explicit(&s->seq, seq + 1, memory_order_release);
	slot->n_slow++;
}

/* False: there is none, or it is being written. */
static bool
shm_read_slow(struct shm_slow *s, struct shm_slow_view *v)
{
	uint64_t seq = atomic_load_explicit(&s->seq, memory_order_acquire);
	uint64_t word;

	if (seq == 0 || seq % 2 != 0)
		return false;
	v->at_ms = s->at_ms;
	v->total_us = s->total_us;
	v->queued_us = s->queued_us;
	v->host = s->host;
	v->what = (enum shm_latency)s->what;
	v->is_failed = s->is_failed != 0;
	v->key_len = (size_t)s->key_len;
	for (unsigned i = 0; i < SHM_SLOW_KEY / 8; i++) {
		word = s->key[i];
		memcpy(v->key + i * 8, &word, 8);
	}
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&s->seq, memory_order_relaxed) == seq &&
	    v->host < SHM_HOSTS_MAX && v->what < SHM_LATENCY_N;
}

/* V among the N that VIEWS has, newest first; how many it has then. */
static unsigned
shm_sort_slow(struct shm_slow_view *views, unsigned n,
    const struct shm_slow_view *v)
{
	unsigned at = n;

	for (; at > 0 && views[at - 1].at_ms < v->at_ms; at--)
		if (at < SHM_SLOW_N)
			views[at] = views[at - 1];
	if (at < SHM_SLOW_N)
		views[at] = *v;
	return MIN(n + 1, SHM_SLOW_N);
}

unsigned
shm_look_slow(struct shm *shm, const struct shm_base *base,
    struct shm_slow_view *views)
{
	const unsigned n_slots = shm_n_slots(shm);
	struct shm_slow_view v;
	struct shm_slot *slot;
	uint64_t n_slow, least;
	unsigned n = 0;

	for (unsigned i = 0; i < n_slots; i++) {
		slot = shm_slot(shm, i);
		n_slow = slot->n_slow;
		least = n_slow - MIN(n_slow, SHM_SLOW_N);
		if (base != NULL && i < base->n_workers)
			least = MAX(least, counter_get(
			    &base->worker[i].n_slow));
		/* From its newest on: many end in one millisecond. */
		while (n_slow-- > least)
			if (shm_read_slow(&slot->slow[n_slow % SHM_SLOW_N],
			    &v))
				n = shm_sort_slow(views, n, &v);
	}
	return n;
}
