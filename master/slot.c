/*
 * slot.c: the only place that makes workers.
 */
#include "master/slot.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "master/child.h"
#include "master/orders.h"
#include "shared/clock.h"
#include "shared/log.h"

#define SLOT_YOUNG_MS	1000	/* who dies before has not really lived */
#define SLOT_PAUSE_MS	50	/* the first pause; each is twice the last */
#define SLOT_PAUSE_MAX_MS 200	/* new clients wait in its socket meanwhile */
#define SLOT_SLACK_MS	1000	/* on top of shutdown_timeout */
#define SLOT_BEATS_SLOW	3	/* looks that find no heartbeat: others help */
#define SLOT_BEATS_MAX	10	/* looks that find no heartbeat: it hangs */

struct slot {
	const struct slot_common *common;
	unsigned	 i;
	int		 cpu;
	enum slot_state	 state;
	pid_t		 pid;		/* 0: no worker */
	int		 status;	/* of the worker that was reaped */
	int		 control;	/* -1: no worker */
	bool		 is_killed;	/* by us */
	uint64_t	 spawned_ms;
	unsigned	 pause_ms;	/* the last one; 0: none */
	uint64_t	 beat;		/* that was seen last */
	unsigned	 n_beatless;	/* looks since */
	uint64_t	 look;		/* generation of the last WORKER_LOOK */
	ev_io		 io;		/* on control */
	struct orders	 orders;	/* likewise */
	ev_timer	 timer;		/* gives SLOT_TIMEOUT */
	char		 why[128];
};

typedef enum slot_state (*slot_action_fn)(struct slot *);

const char *const slot_state_names[SLOT_N_STATES] = {
	[SLOT_EMPTY] = "empty",
	[SLOT_STARTING] = "starting",
	[SLOT_RUNNING] = "running",
	[SLOT_PAUSED] = "paused",
	[SLOT_STOPPING] = "stopping",
};

static struct shm_slot *
slot_shm(const struct slot *s)
{
	return shm_slot(s->common->shm, s->i);
}

static void
slot_arm(struct slot *s, int64_t ms)
{
	ev_timer_stop(s->common->loop, &s->timer);
	ev_timer_set(&s->timer, (double)ms / 1000, 0);
	ev_timer_start(s->common->loop, &s->timer);
}

/* No worker now; the next one after a pause. */
static enum slot_state
slot_pause(struct slot *s)
{
	s->pause_ms = s->pause_ms == 0 ? SLOT_PAUSE_MS :
	    MIN(s->pause_ms * 2, SLOT_PAUSE_MAX_MS);
	log_warnx("%s; next try in %u ms", s->why, s->pause_ms);
	slot_arm(s, s->pause_ms);
	return SLOT_PAUSED;
}

/* Leave a core or not, as the configuration says. */
static void
slot_set_core(const struct slot_common *common)
{
	const struct rlimit none = { 0, 0 };

	if (!common->cfg->core_dump)
		(void)setrlimit(RLIMIT_CORE, &none);
	else
		/* A change of user takes it away. */
		(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static void
slot_set_cpu(const struct slot *s, pid_t pid)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (s->cpu != -1)
		CPU_SET(s->cpu, &set);
	else if (sched_getaffinity(0, sizeof(set), &set) == -1)
		return;
	if (sched_setaffinity(pid, sizeof(set), &set) == -1 && s->cpu != -1)
		log_warn("worker %u: cannot be pinned to core %d", s->i,
		    s->cpu);
}

/* The child's way to worker_run. */
static void	slot_be_worker(struct slot *, const struct child *, int)
		    NORETURN;

static void
slot_be_worker(struct slot *s, const struct child *child, int control)
{
	const struct slot_common *common = s->common;
	static struct worker_birth birth;
	char who[32];

	common->on_fork(common->data, s->i, &birth);
	birth.control = control;
	if (s->cpu != -1)
		slot_set_cpu(s, 0);
	snprintf(who, sizeof(who), "worker %u", s->i);
	if (!child_settle(child, common->user, who))
		_exit(1);
	slot_set_core(common);
	_exit(worker_run(&birth));
}

/* The parent's side of a fork that went well. */
static enum slot_state
slot_watch(struct slot *s, pid_t pid, int control)
{
	struct shm_slot *shm = slot_shm(s);

	s->pid = pid;
	s->control = control;
	s->is_killed = false;
	s->n_beatless = 0;
	s->look = 0;
	s->spawned_ms = clock_ms();
	atomic_store_explicit(&shm->pid, pid, memory_order_relaxed);
	atomic_store_explicit(&shm->spawned_ms, s->spawned_ms,
	    memory_order_relaxed);
	atomic_store_explicit(&shm->beat_ms, s->spawned_ms,
	    memory_order_relaxed);
	atomic_fetch_add_explicit(&shm->starts, 1, memory_order_relaxed);
	ev_io_set(&s->io, control, EV_READ);
	orders_open(&s->orders, control);
	ev_io_start(s->common->loop, &s->io);
	return SLOT_STARTING;
}

static enum slot_state
slot_spawn(struct slot *s)
{
	int pair[2] = { -1, -1 };
	struct child child;
	pid_t pid = -1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
	    0, pair) == 0)
		pid = child_fork(&child);
	if (pid == 0) {
		close(pair[0]);
		slot_be_worker(s, &child, pair[1]);
	}
	if (pid == -1)
		snprintf(s->why, sizeof(s->why),
		    "worker %u cannot be started: %s", s->i, strerror(errno));
	if (pair[1] != -1)
		close(pair[1]);
	if (pid != -1)
		return slot_watch(s, pid, pair[0]);
	if (pair[0] != -1)
		close(pair[0]);
	return slot_pause(s);
}

static enum slot_state
slot_serve(struct slot *s)
{
	log_info("worker %u (pid %ld) serves", s->i, (long)s->pid);
	return SLOT_RUNNING;
}

/* Write the obituary and clear up; how long it lived. */
static uint64_t
slot_bury(struct slot *s)
{
	const uint64_t lived_ms = clock_ms() - s->spawned_ms;
	char how[64];

	if (WIFSIGNALED(s->status))
		snprintf(how, sizeof(how), "killed by signal %d (%s)",
		    WTERMSIG(s->status), strsignal(WTERMSIG(s->status)));
	else
		snprintf(how, sizeof(how), "exit status %d",
		    WEXITSTATUS(s->status));
	snprintf(s->why, sizeof(s->why),
	    "worker %u (pid %ld) died: %s, after %.3f s", s->i, (long)s->pid,
	    how, (double)lived_ms / 1000);
	ev_timer_stop(s->common->loop, &s->timer);
	ev_io_stop(s->common->loop, &s->io);
	orders_close(&s->orders);
	close(s->control);
	s->control = -1;
	s->pid = 0;
	atomic_store_explicit(&slot_shm(s)->pid, 0, memory_order_relaxed);
	/* What it held for the backups is gone with it. */
	for (unsigned i = 0; i <= SHM_SERVICES_MAX; i++)
		counter_add(&slot_shm(s)->counter[i][COUNTER_COPIES_LOST],
		    counter_get(
		    &slot_shm(s)->counter[i][COUNTER_COPIES_QUEUED]));
	shm_zero_gauges(slot_shm(s), s->common->n_entries);
	return lived_ms;
}

/* It never served: whatever the reason is, it may well be there still. */
static enum slot_state
slot_bury_starting(struct slot *s)
{
	slot_bury(s);
	return slot_pause(s);
}

static enum slot_state
slot_bury_running(struct slot *s)
{
	if (slot_bury(s) < SLOT_YOUNG_MS)
		return slot_pause(s);
	s->pause_ms = 0;
	log_warnx("%s; next one at once", s->why);
	return slot_spawn(s);
}

static enum slot_state
slot_bury_stopping(struct slot *s)
{
	bool is_clean = WIFEXITED(s->status) && WEXITSTATUS(s->status) == 0;

	slot_bury(s);
	if (is_clean || s->is_killed)
		log_info("worker %u has stopped", s->i);
	else
		log_warnx("%s, while it stopped", s->why);
	return SLOT_EMPTY;
}

/* One that cannot be told dies of the timer. */
static enum slot_state
slot_drain(struct slot *s)
{
	slot_order(s, WORKER_DRAIN, 0);
	slot_arm(s, s->common->cfg->shutdown_timeout_ms + SLOT_SLACK_MS);
	return SLOT_STOPPING;
}

/* Copies for the backups go as they would have gone. */
static enum slot_state
slot_give(struct slot *s)
{
	const struct config *cfg = s->common->cfg;
	int64_t copies_ms = 0;

	for (size_t i = 0; i < cfg->n_services; i++)
		copies_ms = MAX(copies_ms, cfg->services[i].async_timeout_ms);
	slot_order(s, WORKER_GIVE, 0);
	slot_arm(s, cfg->shutdown_timeout_ms + copies_ms + SLOT_SLACK_MS);
	return SLOT_STOPPING;
}

/* What it was, until it is reaped. */
static enum slot_state
slot_kill_hanging(struct slot *s)
{
	log_errorx("worker %u (pid %ld) hangs: killed", s->i, (long)s->pid);
	kill(s->pid, SIGKILL);
	return s->state;
}

static enum slot_state
slot_kill(struct slot *s)
{
	s->is_killed = true;
	kill(s->pid, SIGKILL);
	return SLOT_STOPPING;
}

static enum slot_state
slot_kill_late(struct slot *s)
{
	log_warnx("worker %u (pid %ld) does not stop: killed", s->i,
	    (long)s->pid);
	return slot_kill(s);
}

static enum slot_state
slot_give_up(struct slot *s)
{
	ev_timer_stop(s->common->loop, &s->timer);
	return SLOT_EMPTY;
}

/* What is not here changes nothing. */
static const slot_action_fn slot_table[SLOT_N_STATES][SLOT_N_EVENTS] = {
	[SLOT_EMPTY] = {
		[SLOT_START] = slot_spawn,
	},
	[SLOT_STARTING] = {
		[SLOT_READY] = slot_serve,
		[SLOT_DIED] = slot_bury_starting,
		[SLOT_DRAIN] = slot_drain,
		[SLOT_GIVE] = slot_give,
		[SLOT_HANGS] = slot_kill_hanging,
		[SLOT_KILL] = slot_kill,
	},
	[SLOT_RUNNING] = {
		[SLOT_DIED] = slot_bury_running,
		[SLOT_DRAIN] = slot_drain,
		[SLOT_GIVE] = slot_give,
		[SLOT_HANGS] = slot_kill_hanging,
		[SLOT_KILL] = slot_kill,
	},
	[SLOT_PAUSED] = {
		[SLOT_TIMEOUT] = slot_spawn,
		[SLOT_DRAIN] = slot_give_up,
		[SLOT_GIVE] = slot_give_up,
		[SLOT_KILL] = slot_give_up,
	},
	[SLOT_STOPPING] = {
		[SLOT_DIED] = slot_bury_stopping,
		[SLOT_DRAIN] = slot_drain,
		[SLOT_TIMEOUT] = slot_kill_late,
		[SLOT_KILL] = slot_kill,
	},
};

/* May others give it clients? */
static void
slot_say_serves(struct slot *s)
{
	atomic_store_explicit(&slot_shm(s)->serves, slot_serves(s),
	    memory_order_relaxed);
}

void
slot_tell(struct slot *s, enum slot_event event)
{
	const slot_action_fn action = slot_table[s->state][event];
	const enum slot_state old = s->state;

	if (action == NULL)
		return;
	s->state = action(s);
	if (s->state == old)
		return;
	slot_say_serves(s);
	log_debug("worker %u: %s -> %s", s->i, slot_state_names[old],
	    slot_state_names[s->state]);
	s->common->on_change(s->common->data, s);
}

static void
slot_on_control(struct ev_loop *loop, ev_io *io, int revents)
{
	struct slot *s = io->data;
	bool is_alarm = false;
	char report;
	ssize_t n;

	(void)revents;
	while ((n = read(s->control, &report, 1)) == 1)
		if (report == WORKER_READY)
			slot_tell(s, SLOT_READY);
		else if (report == WORKER_ALARM)
			is_alarm = true;
	/* It is about to be reaped. */
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		ev_io_stop(loop, io);
	if (is_alarm)
		s->common->on_alarm(s->common->data);
}

static void
slot_on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
	(void)loop;
	(void)revents;
	slot_tell(timer->data, SLOT_TIMEOUT);
}

static void
slot_on_refused(void *data, const struct worker_message *msg)
{
	const struct slot *s = data;

	log_error("worker %u (pid %ld) takes no orders ('%c'): killed", s->i,
	    (long)s->pid, msg->order);
	kill(s->pid, SIGKILL);
}

struct slot *
slot_new(const struct slot_common *common, unsigned i)
{
	struct slot *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->common = common;
	s->i = i;
	s->cpu = -1;
	s->control = -1;
	ev_init(&s->io, slot_on_control);
	orders_init(&s->orders, common->loop, slot_on_refused, s);
	ev_init(&s->timer, slot_on_timer);
	s->io.data = s->timer.data = s;
	return s;
}

void
slot_free(struct slot **slot)
{
	if (*slot == NULL)
		return;
	ASSERT((*slot)->state == SLOT_EMPTY);
	free(*slot);
	*slot = NULL;
}

bool
slot_serves(const struct slot *s)
{
	return s->state == SLOT_RUNNING && s->n_beatless < SLOT_BEATS_SLOW;
}

bool
slot_has_worker(const struct slot *s)
{
	return s->pid != 0;
}

bool
slot_reap(struct slot *s, pid_t pid, int status)
{
	if (s->pid != pid)
		return false;
	s->status = status;
	slot_tell(s, SLOT_DIED);
	return true;
}

void
slot_pin(struct slot *s, int cpu)
{
	if (s->cpu == cpu)
		return;
	s->cpu = cpu;
	if (s->pid != 0)
		slot_set_cpu(s, s->pid);
}

void
slot_send(struct slot *s, const struct worker_message *msg, const int *fds,
    size_t n)
{
	orders_send(&s->orders, msg, fds, n);
}

void
slot_order(struct slot *s, enum worker_order order, unsigned about)
{
	const struct worker_message msg = {
		.order = (uint8_t)order, .slot = (uint16_t)about
	};

	slot_send(s, &msg, NULL, 0);
}

void
slot_look(struct slot *s)
{
	uint64_t seen = atomic_load_explicit(&slot_shm(s)->seen_generation,
	    memory_order_acquire);

	/* One that has not looked since the last order will see this, too: a
	 * hundred hosts that fail at once must not fill its queue. */
	if (s->pid == 0 || seen < s->look)
		return;
	s->look = shm_generation(s->common->shm);
	slot_order(s, WORKER_LOOK, 0);
}

void
slot_check_beat(struct slot *s)
{
	uint64_t beat = counter_get(&slot_shm(s)->heartbeat);
	bool was_slow = s->n_beatless >= SLOT_BEATS_SLOW;

	if (s->pid == 0 || beat != s->beat) {
		s->beat = beat;
		s->n_beatless = 0;
		atomic_store_explicit(&slot_shm(s)->beat_ms, clock_ms(),
		    memory_order_relaxed);
	} else if (++s->n_beatless == SLOT_BEATS_MAX)
		slot_tell(s, SLOT_HANGS);
	if ((s->n_beatless >= SLOT_BEATS_SLOW) == was_slow)
		return;
	slot_say_serves(s);
	s->common->on_change(s->common->data, s);
}

void
slot_forget(struct slot *s)
{
	if (s->control != -1)
		close(s->control);
	s->control = -1;
	orders_drop(&s->orders);
}

enum slot_state
slot_state(const struct slot *s)
{
	return s->state;
}

const char *
slot_why(const struct slot *s)
{
	return s->why;
}
