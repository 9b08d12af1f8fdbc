/*
 * crew.c: all slots together: how many there are to be, and who serves whose
 * sockets.
 */
#include "master/master_int.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define CREW_OWN_FDS	16	/* log, segment, event loop and the like */
#define CREW_CLIENT_FDS 16	/* with fewer for its clients none should run */

/* The cores that we may run on, in CPUS; 0 where that cannot be known. */
static unsigned
crew_find_cpus(int cpus[SHM_WORKERS_MAX])
{
	unsigned n = 0;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == -1)
		return 0;
	for (int cpu = 0; cpu < CPU_SETSIZE && n < SHM_WORKERS_MAX; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[n++] = cpu;
	return n;
}

unsigned
master_count_workers(const struct config *cfg)
{
	int cpus[SHM_WORKERS_MAX];
	unsigned n = cfg->cpu_affinity ? crew_find_cpus(cpus) : 0;

	return n > 0 ? n : (unsigned)MIN(cfg->thread_count, SHM_WORKERS_MAX);
}

size_t
master_count_fds(const struct config *cfg)
{
	const size_t n_workers = master_count_workers(cfg);
	size_t n_listens = 0;

	for (size_t i = 0; i < cfg->n_services; i++)
		n_listens += cfg->services[i].n_listens;
	/* Of each slot its sockets, its control and both ends of its inbox. */
	return MAX(n_workers * (n_listens + 3) + CREW_OWN_FDS,
	    worker_count_fds(cfg, n_workers)) + CREW_CLIENT_FDS;
}

size_t
crew_most_clients(const struct config *cfg, size_t limit)
{
	const size_t n_workers = master_count_workers(cfg);
	size_t most;

	return __builtin_mul_overflow(limit - worker_count_fds(cfg, n_workers),
	    n_workers, &most) ? SIZE_MAX : most;
}

bool
master_check_fds(const struct config *cfg, size_t limit, char *err)
{
	const size_t n_workers = master_count_workers(cfg);
	const size_t n_fds = master_count_fds(cfg);
	size_t most;

	if (n_fds > limit) {
		snprintf(err, CONFIG_ERR_MAX,
		    "%.500s: needs %zu descriptors, the limit is %zu",
		    cfg->path, n_fds, limit);
		return false;
	}
	most = crew_most_clients(cfg, limit);
	if ((size_t)cfg->max_connections <= most)
		return true;
	return config_fail_core(cfg, "max_connections", err,
	    "%lld is more than the %zu that a limit of %zu descriptors "
	    "leaves for the clients of %zu worker%s",
	    (long long)cfg->max_connections, most, limit, n_workers,
	    n_workers > 1 ? "s" : "");
}

/* --- sockets and inboxes --- */

/* Who is to accept from the sockets of slot I: its own worker, or as long as
 * that does not serve the next one that does; n_slots: nobody is there. */
static unsigned
crew_find_keeper(const struct master *m, unsigned i)
{
	unsigned keeper, last = m->n_slots;

	for (unsigned n = 0; n < m->n_slots; n++) {
		keeper = (i + n) % m->n_slots;
		if (!slot_serves(m->slots[keeper]))
			continue;
		/* One that is about to go would have to hand them on. */
		if (keeper < m->n_workers)
			return keeper;
		last = keeper;
	}
	return last;
}

static void
crew_give_sockets(struct master *m, unsigned keeper, unsigned i)
{
	struct worker_listen listens[CONFIG_LISTENS_MAX];
	struct worker_message msg = {
		.order = WORKER_ADOPT, .slot = (uint16_t)i
	};
	int fds[CONFIG_LISTENS_MAX];
	size_t n = sockets_list(m->sockets, i, false, listens);

	worker_message_pack(&msg, fds, listens, n);
	slot_send(m->slots[keeper], &msg, fds, n);
}

/* No new client waits because the kernel has given it to a worker that is
 * dead, or tries its backends still. */
void
crew_keep_sockets(struct master *m, bool have_changed)
{
	unsigned old, now;

	for (unsigned i = 0; i < m->n_slots; i++) {
		old = m->keeper[i];
		now = crew_find_keeper(m, i);
		m->keeper[i] = now;
		if (now == old && !have_changed)
			continue;
		if (old != now && old != i && old < m->n_slots &&
		    slot_state(m->slots[old]) == SLOT_RUNNING)
			slot_order(m->slots[old], WORKER_RETURN, i);
		if (now != i && now < m->n_slots)
			crew_give_sockets(m, now, i);
	}
}

/* No client waits in the inbox of a slot whose worker does not read it. */
void
crew_forward_inboxes(struct master *m)
{
	for (unsigned i = 0; i < m->n_slots; i++)
		if (!slot_serves(m->slots[i]) && m->keeper[i] < m->n_slots)
			inbox_forward(&m->inboxes, i, m->keeper[i]);
}

/* --- slots --- */

void
crew_tell_workers(void *data)
{
	struct master *m = data;

	for (unsigned i = 0; i < m->n_slots; i++)
		slot_look(m->slots[i]);
}

/* Slot I is new: those that are there learn the way to its inbox. */
static void
crew_tell_inbox(struct master *m, unsigned i)
{
	const struct worker_message msg = {
		.order = WORKER_INBOX, .slot = (uint16_t)i
	};

	for (unsigned j = 0; j < m->n_slots; j++)
		if (slot_has_worker(m->slots[j]))
			slot_send(m->slots[j], &msg, &m->inboxes.in[i], 1);
}

bool
crew_grow(struct master *m, unsigned n, char *err, size_t room)
{
	for (unsigned i = m->n_slots; i < n; i++) {
		/* Touching a page that a full /dev/shm does not have kills. */
		if (!shm_reserve(m->shm, i, m->places.n)) {
			snprintf(err, room, "/dev/shm has no room for %u "
			    "workers: %s", n, strerror(errno));
			return false;
		}
		if (!inbox_open(&m->inboxes, i)) {
			snprintf(err, room, "cannot make an inbox: %s",
			    strerror(errno));
			return false;
		}
		if (m->slots[i] == NULL)
			m->slots[i] = slot_new(&m->common, i);
		if (m->slots[i] == NULL) {
			snprintf(err, room, "out of memory");
			return false;
		}
		crew_tell_inbox(m, i);
		m->keeper[i] = i;
		m->n_slots = i + 1;
	}
	shm_set_n_slots(m->shm, m->n_slots);
	return true;
}

void
crew_pin(struct master *m)
{
	int cpus[SHM_WORKERS_MAX];
	unsigned n = m->setup.cfg->cpu_affinity ? crew_find_cpus(cpus) : 0;

	for (unsigned i = 0; i < m->n_slots; i++)
		slot_pin(m->slots[i], i < n ? cpus[i] : -1);
}

void
crew_fill(struct master *m)
{
	for (unsigned i = 0; i < m->n_slots; i++)
		slot_tell(m->slots[i], i < m->n_workers ? SLOT_START :
		    SLOT_GIVE);
}
