#include "master/master.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "master/master_int.h"
#include "master/notify.h"
#include "shared/clock.h"
#include "shared/log.h"

#define MASTER_START_S	10	/* the workers must serve by then */
#define MASTER_TICK_S	0.5

static const char *const master_state_names[] = {
	[MASTER_STARTING] = "starting",
	[MASTER_SERVING] = "serving",
	[MASTER_STOPPING] = "stopping",
};

typedef void (*master_order_fn)(struct master *);

static void	master_order_stop(struct master *);
static void	master_order_reap(struct master *);
static void	master_order_reopen(struct master *);

/* The handlers only wake the loop, which carries the orders out. */
static const struct {
	int		 number;
	master_order_fn	 order;
} master_signals[] = {
	{ SIGTERM, master_order_stop },
	{ SIGINT, master_order_stop },
	{ SIGHUP, reload_order },
	{ SIGUSR1, master_order_reopen },
	{ SIGCHLD, master_order_reap },
};

_Static_assert(ARRAY_LEN(master_signals) == MASTER_N_SIGNALS,
    "a watcher for each signal");

static void
master_set_state(struct master *m, enum master_state state)
{
	log_debug("master: %s -> %s", master_state_names[m->state],
	    master_state_names[state]);
	m->state = state;
}

/* The start has failed; the first reason counts. */
static void
master_fail(struct master *m, const char *why)
{
	if (!m->is_failed)
		snprintf(m->err, m->err_room, "%s", why);
	m->is_failed = true;
}

static unsigned
master_count_slots(const struct master *m, enum slot_state state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->n_slots; i++)
		n += slot_state(m->slots[i]) == state;
	return n;
}

static void
master_tell_slots(struct master *m, enum slot_event event)
{
	for (unsigned i = 0; i < m->n_slots; i++)
		slot_tell(m->slots[i], event);
}

/* --- signals --- */

/* First ask, then kill. */
static void
master_order_stop(struct master *m)
{
	if (m->state == MASTER_STOPPING) {
		log_warnx("told to stop once more: the workers are killed");
		master_tell_slots(m, SLOT_KILL);
		return;
	}
	log_info("told to stop");
	notify_stopping();
	master_set_state(m, MASTER_STOPPING);
	/* Nobody gives clients to others any more. */
	for (unsigned i = 0; i < m->n_slots; i++)
		shm_slot(m->shm, i)->serves = 0;
	master_tell_slots(m, SLOT_DRAIN);
}

/* The log was moved away. */
static void
master_order_reopen(struct master *m)
{
	const struct worker_message msg = { .order = WORKER_LOG };
	int fd;

	if (log_open(m->setup.cfg->log_path) == -1) {
		log_error("%s: cannot be reopened", m->setup.cfg->log_path);
		return;
	}
	fd = log_fd();
	for (unsigned i = 0; i < m->n_slots; i++)
		if (slot_has_worker(m->slots[i]))
			slot_send(m->slots[i], &msg, &fd, 1);
	metrics_child_restart(m->metrics);
	log_info("%s: opened again", m->setup.cfg->log_path);
}

static void
master_bury(struct master *m, pid_t pid, int status)
{
	for (unsigned i = 0; i < m->n_slots; i++)
		if (slot_reap(m->slots[i], pid, status))
			return;
	if (!reload_reap(m, pid) &&
	    !metrics_child_reap(m->metrics, pid, status))
		log_debug("a child that is no worker has ended, pid %ld",
		    (long)pid);
}

static void
master_order_reap(struct master *m)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		master_bury(m, pid, status);
}

static void
master_on_signal(struct ev_loop *loop, ev_signal *signal, int revents)
{
	struct master *m = signal->data;

	(void)loop;
	(void)revents;
	master_signals[signal - m->signals].order(m);
}

static void
master_start_signals(struct master *m)
{
	sigset_t none;

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_LEN(master_signals); i++) {
		ev_signal_init(&m->signals[i], master_on_signal,
		    master_signals[i].number);
		m->signals[i].data = m;
		ev_signal_start(m->loop, &m->signals[i]);
	}
	/* Those too that whoever started us had blocked. */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
master_stop_signals(struct master *m)
{
	for (size_t i = 0; i < ARRAY_LEN(master_signals); i++)
		ev_signal_stop(m->loop, &m->signals[i]);
}

/* --- slots --- */

/* The signal watchers are stopped first, for libev knows signals by process,
 * not by loop.  The epoll set is shared with the master: destroying the loop
 * closes it without a change to it, and the descriptors in it are closed
 * after. */
void
master_let_go(struct master *m)
{
	master_stop_signals(m);
	ev_loop_destroy(m->loop);
	pidfile_forget(m->birth->lock);
	if (m->birth->ready_fd != -1)
		close(m->birth->ready_fd);
	metrics_child_forget(m->metrics);
	for (unsigned i = 0; i < m->n_slots; i++)
		slot_forget(m->slots[i]);
}

static void
master_on_fork(void *data, unsigned slot, struct worker_birth *birth)
{
	static struct worker_listen listens[CONFIG_LISTENS_MAX];
	struct master *m = data;

	master_let_go(m);
	reload_forget(m);
	*birth = (struct worker_birth) {
		.cfg = m->setup.cfg,
		.ext = m->setup.ext,
		.host_entry = m->host_entry,
		.reload = m->n_reloads,
		.n_workers = m->n_workers,
		.shm = m->shm,
		.slot = slot,
		.listens = listens,
		.n_listens = sockets_list(m->sockets, slot, true, listens),
		.inbox = m->inboxes.out[slot],
		.inboxes = m->inboxes.in,
	};
	sockets_close_others(m->sockets, slot);
	inbox_close_others(&m->inboxes, slot);
}

static void
master_on_slot(void *data, const struct slot *slot)
{
	struct master *m = data;

	if (m->state == MASTER_SERVING) {
		crew_keep_sockets(m, false);
		crew_forward_inboxes(m);
	}
	if (m->state != MASTER_STARTING)
		return;
	/* A worker that dies at once would do so again. */
	if (slot_state(slot) == SLOT_PAUSED)
		master_fail(m, slot_why(slot));
	if (master_count_slots(m, SLOT_RUNNING) == m->n_workers)
		master_set_state(m, MASTER_SERVING);
}

static void
master_on_alarm(void *data)
{
	struct master *m = data;

	if (m->health != NULL)
		health_check(m->health);
}

static bool
master_has_worker(void *data, unsigned i)
{
	const struct master *m = data;

	return slot_has_worker(m->slots[i]);
}

/* A worker that hangs is found; a slot that has become empty gets the worker
 * that it should have; nothing waits in the inbox of one that has none; and
 * sockets that have left are closed. */
static void
master_on_tick(struct ev_loop *loop, ev_timer *timer, int revents)
{
	struct master *m = timer->data;

	(void)loop;
	(void)revents;
	shm_facts(m->shm)->log_dropped = log_dropped();
	for (unsigned i = 0; i < m->n_slots; i++)
		slot_check_beat(m->slots[i]);
	if (m->state != MASTER_SERVING)
		return;
	crew_fill(m);
	crew_forward_inboxes(m);
	(void)sockets_sweep(m->sockets);
}

/* --- start and end --- */

static void
master_on_start_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
	struct master *m = timer->data;
	char why[64];

	(void)loop;
	(void)revents;
	snprintf(why, sizeof(why), "the workers do not serve after %d s",
	    MASTER_START_S);
	if (m->state == MASTER_STARTING)
		master_fail(m, why);
}

static bool
master_make_shm(struct master *m)
{
	struct shm_facts *facts;

	m->shm = shm_create(m->setup.cfg->pid_file, m->err, m->err_room);
	if (m->shm == NULL)
		return false;
	facts = shm_facts(m->shm);
	facts->master_pid = getpid();
	facts->started_ms = clock_ms();
	facts->started_unix_ms = clock_unix_ms();
	m->host_entry = places_find(&m->places, m->setup.cfg);
	if (m->host_entry == NULL ||
	    !places_find_services(&m->places, m->setup.cfg, m->shm))
		return false;
	reload_publish(m);
	return true;
}

static bool
master_make_health(struct master *m)
{
	m->health_hooks = (struct health_hooks) {
		.has_worker = master_has_worker,
		.tell_workers = crew_tell_workers,
		.data = m,
	};
	m->health = health_new(m->loop, m->setup.cfg, m->shm, m->host_entry,
	    &m->health_hooks);
	return m->health != NULL;
}

static bool
master_make_sockets(struct master *m)
{
	m->sockets = sockets_new();
	if (m->sockets == NULL || !sockets_prepare(m->sockets, m->setup.cfg,
	    m->n_workers, m->birth->lock->was_stale, m->err, m->err_room))
		return false;
	sockets_commit(m->sockets, m->setup.cfg);
	return true;
}

static void
master_on_metrics_fork(void *data)
{
	master_let_go(data);
}

/* Its socket, before there is anybody to serve it. */
static bool
master_make_metrics(struct master *m)
{
	const struct metrics_child_birth birth = {
		.loop = m->loop,
		.shm = m->shm,
		.user = m->birth->user,
		.prefix = m->birth->prefix,
		.on_fork = master_on_metrics_fork,
		.data = m,
	};
	char err[CONFIG_ERR_MAX];

	m->metrics = metrics_child_new(&birth);
	if (m->metrics == NULL)
		return false;
	if (metrics_child_prepare(m->metrics, m->setup.cfg,
	    m->birth->lock->was_stale, err))
		return true;
	snprintf(m->err, m->err_room, "%s", err);
	return false;
}

void
master_follow_metrics(struct master *m)
{
	const struct config *cfg = m->setup.cfg;
	struct report_source source = {
		.shm = m->shm,
		.cfg = cfg,
		.host_entry = m->host_entry,
		.n_workers = m->n_workers,
		.max_connections = (uint64_t)cfg->max_connections,
	};
	struct rlimit limit;

	if (cfg->max_connections == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0)
		source.max_connections = crew_most_clients(cfg,
		    (size_t)limit.rlim_cur);
	metrics_child_follow(m->metrics, &source);
}

/* Spawn all, and wait until they serve or a signal says stop. */
static bool
master_start_slots(struct master *m)
{
	ev_timer_init(&m->start_timer, master_on_start_timer, MASTER_START_S,
	    0);
	ev_timer_init(&m->tick_timer, master_on_tick, MASTER_TICK_S,
	    MASTER_TICK_S);
	m->start_timer.data = m->tick_timer.data = m;
	ev_now_update(m->loop);
	ev_timer_start(m->loop, &m->start_timer);
	for (unsigned i = 0; i < m->n_workers && !m->is_failed; i++)
		slot_tell(m->slots[i], SLOT_START);
	while (m->state == MASTER_STARTING && !m->is_failed)
		ev_run(m->loop, EVRUN_ONCE);
	ev_timer_stop(m->loop, &m->start_timer);
	ev_timer_start(m->loop, &m->tick_timer);
	return !m->is_failed;
}

static void
master_init(struct master *m)
{
	m->n_workers = master_count_workers(m->setup.cfg);
	m->snapshot = -1;
	inbox_init(&m->inboxes);
	m->common = (struct slot_common) {
		.loop = m->loop,
		.cfg = m->setup.cfg,
		.shm = m->shm,
		.user = m->birth->user,
		.on_fork = master_on_fork,
		.on_change = master_on_slot,
		.on_alarm = master_on_alarm,
		.data = m,
	};
}

struct master *
master_new(const struct master_birth *birth, struct setup *setup, char *err,
    size_t room)
{
	struct master *m = calloc(1, sizeof(*m));

	snprintf(err, room, "out of memory");
	if (m == NULL)
		return NULL;
	m->birth = birth;
	m->setup = *setup;
	memset(setup, 0, sizeof(*setup));
	m->err = err;
	m->err_room = room;
	m->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	master_init(m);
	if (m->loop == NULL)
		goto fail;
	master_start_signals(m);
	if (!master_make_sockets(m) || !master_make_shm(m))
		goto fail;
	m->common.shm = m->shm;
	if (!master_make_metrics(m))
		goto fail;
	if (!crew_grow(m, m->n_workers, err, room))
		goto fail;
	crew_pin(m);
	if (!master_make_health(m)) {
		snprintf(err, room, "out of memory");
		goto fail;
	}
	if (!master_start_slots(m))
		goto fail;
	shm_set_ready(m->shm);
	master_follow_metrics(m);
	if (m->state == MASTER_SERVING)
		log_info("%u workers serve", m->n_workers);
	/* A reload may have been asked for meanwhile. */
	if (m->is_check_late)
		reload_order(m);
	return m;
fail:
	master_free(&m);
	return NULL;
}

bool
master_is_serving(const struct master *m)
{
	return m->state == MASTER_SERVING;
}

void
master_run(struct master *m)
{
	while (m->state != MASTER_STOPPING ||
	    master_count_slots(m, SLOT_EMPTY) < m->n_slots)
		ev_run(m->loop, EVRUN_ONCE);
	log_info("all workers have stopped");
}

/* Kill and reap what is left. */
static void
master_end_slots(struct master *m)
{
	int status;
	pid_t pid;

	m->state = MASTER_STOPPING;
	master_tell_slots(m, SLOT_KILL);
	while (master_count_slots(m, SLOT_EMPTY) < m->n_slots) {
		pid = waitpid(-1, &status, 0);
		if (pid > 0)
			master_bury(m, pid, status);
		else if (errno != EINTR)
			break;
	}
}

void
master_free(struct master **master)
{
	struct master *m = *master;
	sigset_t all;

	if (m == NULL)
		return;
	*master = NULL;
	reload_fini(m);
	health_free(&m->health);
	/* One more signal must not leave anything behind. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	metrics_child_free(&m->metrics);
	master_end_slots(m);
	for (unsigned i = 0; i < SHM_WORKERS_MAX; i++)
		slot_free(&m->slots[i]);
	if (m->shm != NULL)
		shm_unlink_made(m->shm);
	shm_close(&m->shm);
	sockets_free(&m->sockets);
	inbox_fini(&m->inboxes);
	places_fini(&m->places);
	if (m->loop != NULL) {
		ev_timer_stop(m->loop, &m->tick_timer);
		master_stop_signals(m);
		ev_loop_destroy(m->loop);
	}
	free(m->host_entry);
	setup_free(&m->setup);
	free(m);
}
