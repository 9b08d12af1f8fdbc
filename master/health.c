#include "master/health.h"

#include <stdlib.h>

#include "shared/clock.h"
#include "shared/log.h"

#define HEALTH_TICK_S	0.05		/* while some host is not up */
#define HEALTH_STEADY	10		/* intervals up: it does not flap */
#define HEALTH_HOLD_MAX_US UINT64_C(60000000)
#define HEALTH_FLUSH_US	UINT64_C(1000000) /* then ask another */
#define HEALTH_WARN_US	UINT64_C(60000000) /* between two that say the same */

struct health_host {
	unsigned	 entry;
	uint64_t	 threshold;
	uint64_t	 interval_us;
	bool		 flush;		/* before it is read again */
	unsigned	 flaps;		/* short returns, in a row */
	uint64_t	 back_us;	/* its last return, 0: none */
	uint64_t	 well_us;	/* since when it could return, 0: not */
	uint64_t	 generation;	/* that says that it rejoins */
	uint64_t	 asked_us;	/* when its flusher was */
	uint64_t	 warned_us;	/* that it is not emptied; 0: not */
};

struct health {
	struct ev_loop	*loop;
	struct shm	*shm;
	const struct health_hooks *hooks;
	ev_timer	 timer;
	double		 interval_s;	/* the shortest */
	uint64_t	 now_us;
	bool		 changed;	/* some state, in this check */
	bool		 asked;		/* some worker is to flush */
	size_t		 n_hosts;
	struct health_host hosts[];
};

static void
health_set_state(struct health *h, const struct health_host *host,
    enum shm_host_state state)
{
	shm_set_host_state(h->shm, host->entry, state, h->now_us);
	h->changed = true;
}

static void
health_eject(struct health *h, struct health_host *host, uint64_t n_events)
{
	struct shm_host *sh = shm_host(h->shm, host->entry);
	bool steady = host->back_us == 0 ||
	    h->now_us - host->back_us > HEALTH_STEADY * host->interval_us;

	host->flaps = steady ? 0 : host->flaps + 1;
	host->well_us = 0;
	counter_add(&sh->ejections, 1);
	health_set_state(h, host, SHM_HOST_OUT);
	log_warnx("%s: out, %llu failures in a row", sh->name,
	    (unsigned long long)n_events);
}

static void
health_put_back(struct health *h, struct health_host *host)
{
	struct shm_host *sh = shm_host(h->shm, host->entry);

	host->back_us = h->now_us;
	host->warned_us = 0;
	counter_add(&sh->returns, 1);
	health_set_state(h, host, SHM_HOST_UP);
	log_warnx("%s: in again", sh->name);
}

/* Has a worker been greeted since the host went out, and nothing failed
 * after? */
static bool
health_is_well(struct health *h, const struct health_host *host)
{
	uint64_t greeted = shm_host_last_us(h->shm, host->entry,
	    HOST_LAST_GREETED_US);
	uint64_t failed = 0, t;

	for (int i = 0; i < HOST_EVENT_TIMES; i++) {
		t = shm_host_last_us(h->shm, host->entry,
		    (enum host_counter)(HOST_EVENT_0_US + i));
		failed = MAX(failed, t);
	}
	return greeted > shm_host(h->shm, host->entry)->since_us &&
	    greeted > failed && shm_host_sum(h->shm, host->entry, HOST_UP) > 0;
}

/* How long it must have been well: the longer, the more often it did not
 * last. */
static uint64_t
health_hold_us(const struct health_host *host)
{
	if (host->flaps == 0)
		return 0;
	if (host->flaps > 16)
		return HEALTH_HOLD_MAX_US;
	return MIN(host->interval_us << (host->flaps - 1), HEALTH_HOLD_MAX_US);
}

static void
health_check_out(struct health *h, struct health_host *host)
{
	if (!health_is_well(h, host)) {
		host->well_us = 0;
		return;
	}
	if (host->well_us == 0)
		host->well_us = h->now_us;
	if (h->now_us - host->well_us < health_hold_us(host))
		return;
	if (!host->flush) {
		health_put_back(h, host);
		return;
	}
	/* It takes writes again, so that a failure from now on is a flap. */
	host->back_us = h->now_us;
	health_set_state(h, host, SHM_HOST_REJOINING);
	host->generation = shm_generation(h->shm) + 1;
}

/* Do all workers know that the host rejoins? */
static bool
health_all_know(const struct health *h, const struct health_host *host)
{
	unsigned n = shm_n_slots(h->shm);

	for (unsigned i = 0; i < n; i++)
		if (h->hooks->has_worker(h->hooks->data, i) &&
		    atomic_load_explicit(
		    &shm_slot(h->shm, i)->seen_generation,
		    memory_order_acquire) < host->generation)
			return false;
	return true;
}

/* The first worker behind slot LAST, which may be none, in a circle. */
static uint32_t
health_next_worker(const struct health *h, uint32_t last)
{
	unsigned n = shm_n_slots(h->shm), slot;

	for (unsigned i = 1; i <= n; i++) {
		slot = (unsigned)(((uint64_t)last + i) % n);
		if (h->hooks->has_worker(h->hooks->data, slot))
			return slot;
	}
	return SHM_NO_FLUSHER;
}

/* Reads of HOST are misses for as long as it cannot be emptied. */
static void
health_warn_not_emptied(struct health *h, struct health_host *host)
{
	if (host->warned_us != 0 && h->now_us - host->warned_us <
	    HEALTH_WARN_US)
		return;
	host->warned_us = h->now_us;
	log_warnx("%s: is not read, for it cannot be emptied (rejoin = flush): "
	    "does it refuse flush_all?", shm_host(h->shm, host->entry)->name);
}

static void
health_check_rejoining(struct health *h, struct health_host *host)
{
	struct shm_host *sh = shm_host(h->shm, host->entry);
	bool is_asked = sh->flusher != SHM_NO_FLUSHER;

	if (is_asked && shm_host_last_us(h->shm, host->entry,
	    HOST_FLUSHED_US) > host->asked_us) {
		health_put_back(h, host);
		return;
	}
	if (is_asked ? h->now_us - host->asked_us < HEALTH_FLUSH_US :
	    !health_all_know(h, host))
		return;
	if (is_asked)
		health_warn_not_emptied(h, host);
	/* Whoever sees that it is to do it sees which time it is. */
	sh->flush_n++;
	sh->flusher = health_next_worker(h, sh->flusher);
	host->asked_us = h->now_us;
	h->asked = true;
}

static void
health_check_host(struct health *h, struct health_host *host)
{
	enum shm_host_state state = shm_host_state(h->shm, host->entry);
	uint64_t n_events;

	if (state == SHM_HOST_OUT) {
		health_check_out(h, host);
		return;
	}
	n_events = shm_host_events(h->shm, host->entry);
	if (n_events >= host->threshold)
		health_eject(h, host, n_events);
	else if (state == SHM_HOST_REJOINING)
		health_check_rejoining(h, host);
}

static bool
health_all_up(const struct health *h)
{
	for (size_t i = 0; i < h->n_hosts; i++)
		if (shm_host_state(h->shm, h->hosts[i].entry) != SHM_HOST_UP)
			return false;
	return true;
}

void
health_check(struct health *h)
{
	h->now_us = clock_us();
	h->changed = h->asked = false;
	for (size_t i = 0; i < h->n_hosts; i++)
		health_check_host(h, &h->hosts[i]);
	if (h->changed)
		shm_next_generation(h->shm);
	if (h->changed || h->asked)
		h->hooks->tell_workers(h->hooks->data);
	h->timer.repeat = health_all_up(h) ? h->interval_s : HEALTH_TICK_S;
	ev_timer_again(h->loop, &h->timer);
}

static void
health_on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
	(void)loop;
	(void)revents;
	health_check(timer->data);
}

/* What SERVICE wants for the hosts of GROUP: where services differ, the
 * stricter.  A backup comes back as it was, after what is queued for it, or
 * copies would be lost. */
static void
health_add_group(struct health *h, const struct config_service *service,
    const struct config_group *group)
{
	for (size_t i = 0; group != NULL && i < group->n_hosts; i++) {
		struct health_host *host = &h->hosts[group->hosts[i].addr];

		host->threshold = MIN(host->threshold,
		    (uint64_t)service->failover_threshold);
		host->interval_us = MIN(host->interval_us,
		    (uint64_t)service->failover_interval_ms * 1000);
		if (group != service->backup)
			host->flush |= service->rejoin == REJOIN_FLUSH;
	}
}

static void
health_add_services(struct health *h, const struct config *cfg)
{
	for (size_t i = 0; i < cfg->n_services; i++) {
		const struct config_service *s = &cfg->services[i];

		health_add_group(h, s, s->hosts);
		health_add_group(h, s, s->backup);
		health_add_group(h, s, s->read);
	}
	for (size_t i = 0; i < cfg->n_services; i++) {
		const struct config_group *backup = cfg->services[i].backup;

		for (size_t j = 0; backup != NULL && j < backup->n_hosts; j++)
			h->hosts[backup->hosts[j].addr].flush = false;
	}
}

struct health *
health_new(struct ev_loop *loop, const struct config *cfg, struct shm *shm,
    const unsigned *host_entry, const struct health_hooks *hooks)
{
	struct health *h = calloc(1, sizeof(*h) +
	    cfg->n_addrs * sizeof(h->hosts[0]));
	uint64_t interval_us = UINT64_MAX;

	if (h == NULL)
		return NULL;
	h->loop = loop;
	h->shm = shm;
	h->hooks = hooks;
	h->n_hosts = cfg->n_addrs;
	for (size_t i = 0; i < h->n_hosts; i++) {
		h->hosts[i].entry = host_entry[i];
		h->hosts[i].threshold = h->hosts[i].interval_us = UINT64_MAX;
	}
	health_add_services(h, cfg);
	for (size_t i = 0; i < h->n_hosts; i++)
		interval_us = MIN(interval_us, h->hosts[i].interval_us);
	h->interval_s = (double)interval_us / 1e6;
	ev_timer_init(&h->timer, health_on_timer, 0., h->interval_s);
	h->timer.data = h;
	ev_timer_again(loop, &h->timer);
	return h;
}

static const struct health_host *
health_find(const struct health *h, unsigned entry)
{
	for (size_t i = 0; i < h->n_hosts; i++)
		if (h->hosts[i].entry == entry)
			return &h->hosts[i];
	return NULL;
}

bool
health_follow(struct health **health, const struct config *cfg,
    const unsigned *host_entry)
{
	struct health *old = *health;
	struct health *h = health_new(old->loop, cfg, old->shm, host_entry,
	    old->hooks);

	if (h == NULL)
		return false;
	for (size_t i = 0; i < h->n_hosts; i++) {
		const struct health_host *was = health_find(old,
		    h->hosts[i].entry);
		struct health_host *now = &h->hosts[i];

		if (was == NULL)
			continue;
		now->flaps = was->flaps;
		now->back_us = was->back_us;
		now->well_us = was->well_us;
		now->generation = was->generation;
		now->asked_us = was->asked_us;
		now->warned_us = was->warned_us;
	}
	health_free(health);
	*health = h;
	h->timer.repeat = HEALTH_TICK_S;
	ev_timer_again(h->loop, &h->timer);
	return true;
}

void
health_free(struct health **health)
{
	if (*health == NULL)
		return;
	ev_timer_stop((*health)->loop, &(*health)->timer);
	free(*health);
	*health = NULL;
}
