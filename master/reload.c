/*
 * reload.c: another configuration, from the signal to the workers.
 *
 * The file is read once.  A child says whether it is fit; then all that may
 * fail is done beside what serves; only then it comes into force.
 */
#include "master/master_int.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "master/notify.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/shm.h"

#define RELOAD_WAIT_S	0.02	/* between looks whether the last one is done */

/* What is to come into force. */
struct reload_next {
	struct setup	 setup;
	unsigned	*host_entry;
	unsigned	 n_workers;
	int		 plan;		/* for the workers */
};

void
reload_publish(struct master *m)
{
	struct shm_facts *facts = shm_facts(m->shm);
	const struct config *cfg = m->setup.cfg;

	places_commit(&m->places, cfg, m->host_entry, m->shm,
	    m->health == NULL ? 0 : clock_us());
	m->common.cfg = cfg;
	m->common.n_entries = m->places.n;
	facts->n_entries = m->places.n;
	facts->recv_timeout_ms = (uint32_t)cfg->services[0].recv_timeout_ms;
	facts->reloads = m->n_reloads;
}

/* --- making it --- */

/* The places that the check has found, one after the other. */
struct reload_places {
	const struct worker_place *place;
	size_t		 n, i;
};

static bool
reload_find(void *data, struct config_addr *addr, const char **why)
{
	struct reload_places *p = data;

	if (p->i == p->n) {
		*why = "was not looked up";
		return false;
	}
	addr->sa = p->place[p->i].sa;
	addr->sa_len = (socklen_t)p->place[p->i].sa_len;
	p->i++;
	return true;
}

static void
reload_say(const char *line)
{
	log_warnx("%s", line);
}

static bool
reload_load(struct master *m, struct reload_next *next,
    struct reload_places *places, char *err)
{
	const struct config_lookup lookup = { reload_find, places };
	const struct setup_source from = {
		.snapshot = m->snapshot,
		.path = m->setup.cfg->path,
		.prefix = m->birth->prefix,
		.lookup = &lookup,
		.warn = reload_say,
	};

	if (!setup_load(&next->setup, &from, err))
		return false;
	snprintf(err, CONFIG_ERR_MAX, "out of memory");
	return config_keep_restart(next->setup.cfg, m->setup.cfg,
	    reload_say) && m->birth->may_serve(next->setup.cfg, err);
}

/* The plan goes to the workers as a file of memory.  -1 with errno. */
static int
reload_write_plan(const struct reload_next *next)
{
	const struct config *cfg = next->setup.cfg;
	int fd = memfd_create("kvproxy.plan", MFD_CLOEXEC);
	struct worker_place place;

	if (fd == -1)
		return -1;
	for (size_t i = 0; i < cfg->n_addrs; i++) {
		memset(&place, 0, sizeof(place));
		place.entry = next->host_entry[i];
		place.sa = cfg->addrs[i].sa;
		place.sa_len = (uint32_t)cfg->addrs[i].sa_len;
		if (write(fd, &place, sizeof(place)) !=
		    (ssize_t)sizeof(place)) {
			close(fd);
			return -1;
		}
	}
	return fd;
}

/* Room in the segment for all hosts and slots, before anybody counts them. */
static bool
reload_reserve(struct master *m, const struct reload_next *next, char *err)
{
	for (unsigned i = 0; i < m->n_slots; i++)
		if (!shm_reserve(m->shm, i, m->places.n)) {
			snprintf(err, CONFIG_ERR_MAX,
			    "/dev/shm has no room for more hosts: %s",
			    strerror(errno));
			return false;
		}
	return crew_grow(m, next->n_workers, err, CONFIG_ERR_MAX);
}

/* A worker has clients for which the new configuration would leave it no
 * descriptors.  False: ERR says so. */
static bool
reload_has_room(const struct master *m, const struct config *cfg, char *err)
{
	const size_t n_slots = MAX(m->n_slots, master_count_workers(cfg));
	const size_t need = worker_count_fds(cfg, n_slots);
	const size_t n_workers = master_count_workers(cfg);
	const uint64_t total = shm_sum(m->shm, COUNTER_CLIENTS);
	struct rlimit limit;
	uint64_t n;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		return true;
	if (n_workers < m->n_workers &&
	    total > n_workers * (limit.rlim_cur - MIN(need, limit.rlim_cur))) {
		snprintf(err, CONFIG_ERR_MAX, "%s: %zu workers cannot hold the "
		    "%llu clients that there are, with %llu descriptors each",
		    cfg->path, n_workers, (unsigned long long)total,
		    (unsigned long long)limit.rlim_cur);
		return false;
	}
	if (need <= worker_count_fds(m->setup.cfg, m->n_slots))
		return true;
	for (unsigned i = 0; i < m->n_slots; i++) {
		n = shm_slot_sum(m->shm, shm_slot(m->shm, i), COUNTER_CLIENTS);
		if (n + need <= limit.rlim_cur)
			continue;
		snprintf(err, CONFIG_ERR_MAX, "%s: worker %u, which has %llu "
		    "clients, would need %zu descriptors more, the limit is "
		    "%llu", cfg->path, i, (unsigned long long)n, need,
		    (unsigned long long)limit.rlim_cur);
		return false;
	}
	return true;
}

/* All that may fail.  False: ERR says why. */
static bool
reload_prepare(struct master *m, struct reload_next *next,
    struct reload_places *places, char *err)
{
	const struct config *cfg;

	if (!reload_load(m, next, places, err))
		return false;
	cfg = next->setup.cfg;
	if (!reload_has_room(m, cfg, err))
		return false;
	next->n_workers = master_count_workers(cfg);
	next->host_entry = places_find(&m->places, cfg);
	if (next->host_entry == NULL) {
		snprintf(err, CONFIG_ERR_MAX, "%s", errno == ENOSPC ?
		    "too many hosts in the life of this instance, which a "
		    "restart ends" : "out of memory");
		return false;
	}
	if (!places_find_services(&m->places, cfg, m->shm)) {
		snprintf(err, CONFIG_ERR_MAX, "%s: more than %d services in "
		    "the life of this instance, which a restart ends",
		    cfg->path, SHM_SERVICES_MAX);
		return false;
	}
	next->plan = reload_write_plan(next);
	if (next->plan == -1) {
		snprintf(err, CONFIG_ERR_MAX, "cannot write the plan: %s",
		    strerror(errno));
		return false;
	}
	if (!reload_reserve(m, next, err) ||
	    !sockets_prepare(m->sockets, cfg, m->n_slots, false, err,
	    CONFIG_ERR_MAX) ||
	    !metrics_child_prepare(m->metrics, cfg, false, err))
		return false;
	snprintf(err, CONFIG_ERR_MAX, "out of memory");
	return health_follow(&m->health, cfg, next->host_entry);
}

static void
reload_drop(struct reload_next *next)
{
	if (next->plan != -1)
		close(next->plan);
	free(next->host_entry);
	setup_free(&next->setup);
}

/* --- bringing it into force --- */

/* Tell SLOT's worker. */
static void
reload_tell(struct master *m, unsigned slot, int plan)
{
	struct worker_listen listens[CONFIG_LISTENS_MAX];
	struct worker_message msg = {
		.order = WORKER_RELOAD,
		.slot = (uint16_t)slot,
		.n_workers = m->n_workers,
		.reload = m->n_reloads,
	};
	int fds[CONFIG_LISTENS_MAX + 2] = { m->snapshot, plan };
	size_t n = sockets_list(m->sockets, slot, true, listens);

	worker_message_pack(&msg, fds + 2, listens, n);
	slot_send(m->slots[slot], &msg, fds, n + 2);
}

/* Nothing here fails. */
static void
reload_commit(struct master *m, struct reload_next *next)
{
	struct setup old = m->setup;

	m->setup = next->setup;
	free(m->host_entry);
	m->host_entry = next->host_entry;
	m->n_workers = next->n_workers;
	m->n_reloads++;
	sockets_commit(m->sockets, m->setup.cfg);
	reload_publish(m);
	log_set_level((enum log_level)m->setup.cfg->log_level);
	setup_name_changed(&m->setup, reload_say);
	for (unsigned i = 0; i < m->n_slots; i++)
		if (slot_state(m->slots[i]) == SLOT_STARTING ||
		    slot_state(m->slots[i]) == SLOT_RUNNING)
			reload_tell(m, i, next->plan);
	close(next->plan);
	setup_free(&old);
	crew_pin(m);
	crew_keep_sockets(m, true);
	crew_fill(m);
	master_follow_metrics(m);
}

static void
reload_refuse(struct master *m, const char *err)
{
	struct shm_facts *facts = shm_facts(m->shm);

	log_errorx("not reloaded: %s", err);
	facts->reload_errors++;
	facts->last_reload_ms = clock_us() / 1000;
}

/* The snapshot is fit, and PLACES says where its hosts are. */
static void
reload_take(struct master *m, const struct worker_place *place, size_t n)
{
	struct reload_places places = { place, n, 0 };
	struct reload_next next = { .plan = -1 };
	char err[CONFIG_ERR_MAX];

	if (!reload_prepare(m, &next, &places, err)) {
		sockets_undo(m->sockets);
		places_undo(&m->places);
		metrics_child_undo(m->metrics);
		reload_drop(&next);
		reload_refuse(m, err);
		return;
	}
	reload_commit(m, &next);
	shm_facts(m->shm)->last_reload_ms = clock_us() / 1000;
	log_info("reloaded %s", m->setup.cfg->path);
}

/* --- the check --- */

static void
reload_on_check_fork(void *data)
{
	struct master *m = data;

	master_let_go(m);
}

static void
reload_end_check(struct master *m)
{
	check_free(&m->check);
	if (m->snapshot != -1)
		close(m->snapshot);
	m->snapshot = -1;
}

static void
reload_on_checked(void *data, const struct worker_place *places, size_t n,
    const char *err)
{
	struct master *m = data;

	if (m->state != MASTER_SERVING)
		;
	else if (err != NULL)
		reload_refuse(m, err);
	else
		reload_take(m, places, n);
	reload_end_check(m);
	if (m->is_check_late)
		reload_order(m);
	else
		notify_ready();
}

static void
reload_start_check(struct master *m)
{
	const struct check_birth birth = {
		.loop = m->loop,
		.snapshot = m->snapshot,
		.prefix = m->birth->prefix,
		.known = m->setup.cfg,
		.on_fork = reload_on_check_fork,
		.on_end = reload_on_checked,
		.data = m,
	};
	char err[128];

	m->check = check_start(&birth);
	if (m->check != NULL)
		return;
	snprintf(err, sizeof(err), "cannot start a process that checks it: %s",
	    strerror(errno));
	reload_refuse(m, err);
	reload_end_check(m);
}

/* Some worker has not brought the last one into force yet, for it connects to
 * new hosts first.  The next one would have it serve without them. */
static bool
reload_is_under_way(const struct master *m)
{
	for (unsigned i = 0; i < m->n_slots; i++)
		if ((slot_state(m->slots[i]) == SLOT_RUNNING ||
		    slot_state(m->slots[i]) == SLOT_STARTING) &&
		    shm_slot(m->shm, i)->seen_config < m->n_reloads)
			return true;
	return false;
}

static void
reload_on_late_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
	(void)loop;
	(void)revents;
	reload_order(timer->data);
}

static void
reload_wait(struct master *m)
{
	m->is_check_late = true;
	if (m->check != NULL || m->state == MASTER_STARTING ||
	    ev_is_active(&m->late_timer))
		return;
	ev_timer_init(&m->late_timer, reload_on_late_timer, RELOAD_WAIT_S, 0.);
	m->late_timer.data = m;
	ev_timer_start(m->loop, &m->late_timer);
}

void
reload_order(struct master *m)
{
	char err[CONFIG_ERR_MAX];

	if (m->state == MASTER_STOPPING)
		return;
	/* Of many that are asked for meanwhile, one is done. */
	if (m->check != NULL || m->state == MASTER_STARTING ||
	    reload_is_under_way(m)) {
		reload_wait(m);
		return;
	}
	m->is_check_late = false;
	notify_reloading();
	m->snapshot = config_snapshot(m->setup.cfg->path, err);
	if (m->snapshot == -1)
		reload_refuse(m, err);
	else
		reload_start_check(m);
	if (m->check == NULL)
		notify_ready();
}

bool
reload_reap(struct master *m, pid_t pid)
{
	return check_reap(m->check, pid);
}

void
reload_forget(const struct master *m)
{
	check_forget(m->check);
	if (m->snapshot != -1)
		close(m->snapshot);
}

void
reload_fini(struct master *m)
{
	if (ev_is_active(&m->late_timer))
		ev_timer_stop(m->loop, &m->late_timer);
	reload_end_check(m);
}
