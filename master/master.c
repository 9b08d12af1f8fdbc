#include "master/master.h"

#include <sys/wait.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ev.h>

#include "master/health.h"
#include "master/listen.h"
#include "master/slot.h"
#include "shared/log.h"
#include "shared/shm.h"

#define MASTER_START_S	10	/* the workers must serve by then */
#define MASTER_CLAIM_TRIES 50	/* for a port, 20 ms apart */
#define MASTER_CLAIM_NS	(20 * 1000 * 1000)
#define MASTER_OWN_FDS	16	/* log, segment, event loop and the like */
#define MASTER_CLIENT_FDS 16	/* with fewer for its clients none should run */

enum master_state { MASTER_STARTING, MASTER_SERVING, MASTER_STOPPING };

static const char *const master_state_names[] = {
	[MASTER_STARTING] = "starting",
	[MASTER_SERVING] = "serving",
	[MASTER_STOPPING] = "stopping",
};

typedef void (*master_order_fn)(struct master *);

static void	master_order_stop(struct master *);
static void	master_order_reload(struct master *);
static void	master_order_reap(struct master *);

/* The handlers only wake the loop, which carries the orders out. */
static const struct {
	int		 number;
	master_order_fn	 order;
} master_signals[] = {
	{ SIGTERM, master_order_stop },
	{ SIGINT, master_order_stop },
	{ SIGHUP, master_order_reload },
	{ SIGCHLD, master_order_reap },
};

struct master {
	const struct master_birth *birth;
	const struct config *cfg;
	struct ev_loop	*loop;
	ev_signal	 signals[ARRAY_LEN(master_signals)];
	ev_timer	 start_timer;
	enum master_state state;
	char		*err;		/* master_new's caller's */
	size_t		 err_room;
	bool		 is_failed;	/* the start; err says why */
	unsigned	 n_workers;
	int		*listen_fds;	/* [n_workers][n_services] */
	unsigned	*keeper;	/* who accepts from whose sockets */
	unsigned	*host_entry;	/* config.addrs -> hosts table */
	struct shm	*shm;
	struct slot_common common;
	struct slot	**slots;
	bool		 has_slots;	/* all of them */
	struct health	*health;
	struct health_hooks health_hooks;
};

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

	for (unsigned i = 0; i < m->n_workers; i++)
		n += slot_state(m->slots[i]) == state;
	return n;
}

static void
master_tell_slots(struct master *m, enum slot_event event)
{
	for (unsigned i = 0; i < m->n_workers; i++)
		slot_tell(m->slots[i], event);
}

/* The cores that we may run on, in CPUS; 0 where that cannot be known. */
static unsigned
master_find_cpus(int cpus[SHM_WORKERS_MAX])
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
	unsigned n = cfg->cpu_affinity ? master_find_cpus(cpus) : 0;

	return n > 0 ? n : (unsigned)MIN(cfg->thread_count, SHM_WORKERS_MAX);
}

size_t
master_count_fds(const struct config *cfg)
{
	const size_t n_workers = master_count_workers(cfg);
	const size_t n_listen = n_workers * cfg->n_services;
	size_t master = n_listen + n_workers, worker = n_listen;

	for (size_t i = 0; i < cfg->n_services; i++)
		worker += cfg->services[i].hosts->n_hosts *
		    (size_t)cfg->services[i].server_connections;
	return MAX(master, worker) + MASTER_OWN_FDS + MASTER_CLIENT_FDS;
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
	master_set_state(m, MASTER_STOPPING);
	master_tell_slots(m, SLOT_DRAIN);
}

static void
master_order_reload(struct master *m)
{
	(void)m;
	log_warnx("SIGHUP: reload is not built yet, restart instead");
}

static void
master_bury(struct master *m, pid_t pid, int status)
{
	for (unsigned i = 0; i < m->n_workers; i++)
		if (slot_reap(m->slots[i], pid, status))
			return;
	log_debug("a child that is no worker has ended, pid %ld", (long)pid);
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
	signal(SIGUSR1, SIG_IGN);
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

/* The sockets of slot I. */
static int *
master_listen_fds(const struct master *m, unsigned i)
{
	return m->listen_fds + i * m->cfg->n_services;
}

static void
master_close_listen_fds(struct master *m, unsigned i)
{
	int *fds = master_listen_fds(m, i);

	for (size_t s = 0; s < m->cfg->n_services; s++) {
		if (fds[s] != -1)
			close(fds[s]);
		fds[s] = -1;
	}
}

/* In a new worker.  The signal watchers are stopped first, for libev knows
 * signals by process, not by loop.  The epoll set is shared with the master:
 * destroying the loop closes it without a change to it, and the descriptors
 * in it are closed after. */
static void
master_on_fork(void *data)
{
	struct master *m = data;

	master_stop_signals(m);
	ev_loop_destroy(m->loop);
	pidfile_forget(m->birth->lock);
	if (m->birth->ready_fd != -1)
		close(m->birth->ready_fd);
	for (unsigned i = 0; i < m->n_workers; i++)
		slot_forget(m->slots[i]);
}

/* Who is to accept from the sockets of slot I: its own worker, or as long as
 * that does not serve the next one that does; n_workers: nobody is there. */
static unsigned
master_find_keeper(const struct master *m, unsigned i)
{
	unsigned keeper;

	for (unsigned n = 0; n < m->n_workers; n++) {
		keeper = (i + n) % m->n_workers;
		if (slot_state(m->slots[keeper]) == SLOT_RUNNING)
			return keeper;
	}
	return m->n_workers;
}

/* No new client waits because the kernel has given it to a worker that is
 * dead, or tries its backends still. */
static void
master_keep_sockets(struct master *m)
{
	unsigned old, now;

	for (unsigned i = 0; i < m->n_workers; i++) {
		old = m->keeper[i];
		now = master_find_keeper(m, i);
		m->keeper[i] = now;
		if (now == old)
			continue;
		if (old != i && old < m->n_workers &&
		    slot_state(m->slots[old]) == SLOT_RUNNING)
			slot_order(m->slots[old], WORKER_RETURN, i);
		if (now != i && now < m->n_workers)
			slot_order(m->slots[now], WORKER_ADOPT, i);
	}
}

static void
master_on_slot(void *data, const struct slot *slot)
{
	struct master *m = data;

	if (m->state == MASTER_SERVING)
		master_keep_sockets(m);
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

static void
master_tell_workers(void *data)
{
	struct master *m = data;

	for (unsigned i = 0; i < m->n_workers; i++)
		if (slot_has_worker(m->slots[i]))
			slot_order(m->slots[i], WORKER_LOOK, 0);
}

static bool
master_make_health(struct master *m)
{
	m->health_hooks = (struct health_hooks) {
		.has_worker = master_has_worker,
		.tell_workers = master_tell_workers,
		.data = m,
	};
	m->health = health_new(m->loop, m->cfg, m->shm, m->host_entry,
	    &m->health_hooks);
	return m->health != NULL;
}

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
master_make_slots(struct master *m)
{
	int cpus[SHM_WORKERS_MAX];
	unsigned n_cpus = m->cfg->cpu_affinity ? master_find_cpus(cpus) : 0;

	m->common = (struct slot_common) {
		.loop = m->loop,
		.cfg = m->cfg,
		.ext = m->birth->ext,
		.shm = m->shm,
		.host_entry = m->host_entry,
		.listen_fds = m->listen_fds,
		.n_slots = m->n_workers,
		.on_fork = master_on_fork,
		.on_change = master_on_slot,
		.on_alarm = master_on_alarm,
		.data = m,
	};
	for (unsigned i = 0; i < m->n_workers; i++) {
		m->keeper[i] = i;
		m->slots[i] = slot_new(&m->common, i,
		    i < n_cpus ? cpus[i] : -1);
		if (m->slots[i] == NULL)
			return false;
	}
	m->has_slots = true;
	return true;
}

/* --- start and end --- */

/* The first socket of S.  The workers of a master that was killed may listen a
 * moment longer. */
static int
master_claim_port(struct master *m, const struct config_service *s)
{
	const struct timespec pause = { .tv_nsec = MASTER_CLAIM_NS };
	int fd, n = m->birth->lock->was_stale ? MASTER_CLAIM_TRIES : 1;

	for (;;) {
		fd = listen_claim((unsigned)s->port, (int)s->backlog, m->err,
		    m->err_room);
		if (fd != -1 || errno != EADDRINUSE || --n == 0)
			return fd;
		if (n == MASTER_CLAIM_TRIES - 1)
			log_warnx("%s; waiting, for a master was killed",
			    m->err);
		if (nanosleep(&pause, NULL) == -1)
			return -1;
	}
}

static bool
master_open_sockets(struct master *m)
{
	const struct config_service *s;
	int fd;

	for (size_t i = 0; i < m->cfg->n_services; i++) {
		s = &m->cfg->services[i];
		for (unsigned w = 0; w < m->n_workers; w++) {
			fd = w == 0 ? master_claim_port(m, s) :
			    listen_join((unsigned)s->port, (int)s->backlog,
			    m->err, m->err_room);
			if (fd == -1)
				return false;
			master_listen_fds(m, w)[i] = fd;
		}
	}
	return true;
}

/* Touching a page that a full /dev/shm does not have kills: the slots' pages
 * are there before anybody counts or fills the slots. */
static bool
master_reserve_slots(struct master *m)
{
	for (unsigned i = 0; i < m->n_workers; i++) {
		if (shm_reserve(m->shm, i, (unsigned)m->cfg->n_addrs))
			continue;
		snprintf(m->err, m->err_room,
		    "/dev/shm has no room for %u workers: %s", m->n_workers,
		    strerror(errno));
		return false;
	}
	shm_set_n_slots(m->shm, m->n_workers);
	return true;
}

static bool
master_make_shm(struct master *m)
{
	struct timespec now;
	struct shm_facts *facts;
	struct shm_host *host;

	m->shm = shm_create(m->cfg->pid_file, m->err, m->err_room);
	if (m->shm == NULL)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	facts = shm_facts(m->shm);
	facts->master_pid = getpid();
	facts->started_ms = (uint64_t)now.tv_sec * 1000 +
	    (uint64_t)now.tv_nsec / 1000000;
	facts->recv_timeout_ms = (uint32_t)m->cfg->services[0].recv_timeout_ms;
	facts->n_hosts = (uint32_t)m->cfg->n_addrs;
	for (unsigned i = 0; i < m->cfg->n_addrs; i++) {
		host = shm_host(m->shm, i);
		snprintf(host->name, sizeof(host->name), "%s",
		    m->cfg->addrs[i].name);
		host->in_use = 1;
		shm_set_host_state(m->shm, i, SHM_HOST_UP, 0);
		m->host_entry[i] = i;
	}
	return master_reserve_slots(m);
}

/* Spawn all, and wait until they serve or a signal says stop. */
static bool
master_start_slots(struct master *m)
{
	ev_timer_init(&m->start_timer, master_on_start_timer, MASTER_START_S,
	    0);
	m->start_timer.data = m;
	ev_now_update(m->loop);
	ev_timer_start(m->loop, &m->start_timer);
	for (unsigned i = 0; i < m->n_workers && !m->is_failed; i++)
		slot_tell(m->slots[i], SLOT_START);
	while (m->state == MASTER_STARTING && !m->is_failed)
		ev_run(m->loop, EVRUN_ONCE);
	ev_timer_stop(m->loop, &m->start_timer);
	return !m->is_failed;
}

static bool
master_alloc(struct master *m)
{
	size_t n_fds;

	m->n_workers = master_count_workers(m->cfg);
	n_fds = m->n_workers * m->cfg->n_services;
	m->listen_fds = calloc(n_fds, sizeof(*m->listen_fds));
	m->keeper = calloc(m->n_workers, sizeof(*m->keeper));
	m->host_entry = calloc(m->cfg->n_addrs + 1, sizeof(*m->host_entry));
	m->slots = calloc(m->n_workers, sizeof(*m->slots));
	m->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	if (m->listen_fds == NULL || m->keeper == NULL ||
	    m->host_entry == NULL || m->slots == NULL || m->loop == NULL)
		return false;
	for (size_t i = 0; i < n_fds; i++)
		m->listen_fds[i] = -1;
	return true;
}

struct master *
master_new(const struct master_birth *birth, char *err, size_t room)
{
	struct master *m = calloc(1, sizeof(*m));

	snprintf(err, room, "out of memory");
	if (m == NULL)
		return NULL;
	m->birth = birth;
	m->cfg = birth->cfg;
	m->err = err;
	m->err_room = room;
	if (!master_alloc(m))
		goto fail;
	master_start_signals(m);
	if (!master_open_sockets(m) || !master_make_shm(m))
		goto fail;
	if (!master_make_slots(m) || !master_make_health(m)) {
		snprintf(err, room, "out of memory");
		goto fail;
	}
	if (!master_start_slots(m))
		goto fail;
	shm_set_ready(m->shm);
	if (m->state == MASTER_SERVING)
		log_info("%u workers serve", m->n_workers);
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
	    master_count_slots(m, SLOT_EMPTY) < m->n_workers)
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
	while (master_count_slots(m, SLOT_EMPTY) < m->n_workers) {
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
	health_free(&m->health);
	/* One more signal must not leave anything behind. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (m->has_slots)
		master_end_slots(m);
	for (unsigned i = 0; m->slots != NULL && i < m->n_workers; i++)
		slot_free(&m->slots[i]);
	if (m->shm != NULL)
		shm_unlink_made(m->shm);
	shm_close(&m->shm);
	for (unsigned i = 0; m->listen_fds != NULL && i < m->n_workers; i++)
		master_close_listen_fds(m, i);
	if (m->loop != NULL) {
		master_stop_signals(m);
		ev_loop_destroy(m->loop);
	}
	free(m->listen_fds);
	free(m->keeper);
	free(m->host_entry);
	free(m->slots);
	free(m);
}
