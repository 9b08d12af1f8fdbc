#include "master/metrics_child.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "master/child.h"
#include "master/listen.h"
#include "shared/clock.h"
#include "shared/log.h"

#define METRICS_CHILD_YOUNG_MS	1000	/* who dies before has not lived */
#define METRICS_CHILD_PAUSE_MS	50	/* the first; each is twice the last */
#define METRICS_CHILD_PAUSE_MAX_MS 5000	/* nobody depends on it */
#define METRICS_CHILD_BACKLOG	1024

/* Where it listens. */
struct metrics_socket {
	int		 fd;		/* -1: nowhere */
	struct config_listen at;	/* its texts are ours */
};

struct metrics_child {
	struct metrics_child_birth birth;
	struct report_source source;
	struct metrics_socket now;
	struct metrics_socket next;	/* prepared; fd may be now's */
	pid_t		 pid;		/* 0: there is none */
	int		 control;	/* to close; -1 likewise */
	uint64_t	 spawned_ms;
	unsigned	 pause_ms;	/* the last one; 0: none */
	ev_timer	 timer;		/* the end of a pause */
};

/*
 * The child.
 */

/* What the program is given, as the words of its command line. */
enum {
	METRICS_LISTENER, METRICS_CONTROL, METRICS_SEGMENT, METRICS_SETUP,
	METRICS_LOG, METRICS_PROGRAM, METRICS_N_FDS
};

/* Of all descriptors but the first three only FDS stay, of which some may be
 * -1; the program itself is closed when it runs. */
static void
metrics_child_keep(const int fds[METRICS_N_FDS])
{
	int from = STDERR_FILENO + 1, next;

	for (;; from = next + 1) {
		next = INT_MAX;
		for (int i = 0; i < METRICS_N_FDS; i++)
			if (fds[i] >= from)
				next = MIN(next, fds[i]);
		if (next > from)
			close_range((unsigned)from, (unsigned)next - 1, 0);
		if (next == INT_MAX)
			break;
	}
	for (int i = 0; i < METRICS_PROGRAM; i++)
		if (fds[i] != -1)
			(void)fcntl(fds[i], F_SETFD, 0);
}

/* A file of memory with what the page tells of the configuration; or -1. */
static int
metrics_child_write_setup(const struct metrics_child *mc)
{
	int fd = memfd_create("kvproxy.setup", MFD_CLOEXEC);
	FILE *out = fd == -1 ? NULL : fdopen(fd, "w");

	/* It stays open: this process is to become another. */
	return out != NULL && report_write_setup(out, &mc->source) &&
	    lseek(fd, 0, SEEK_SET) == 0 ? fd : -1;
}

/* By its descriptor, for the user need not reach the program. */
static void	metrics_child_execute(const int [METRICS_N_FDS]) NORETURN;

static void
metrics_child_execute(const int fds[METRICS_N_FDS])
{
	static char words[METRICS_PROGRAM][16];
	char *args[METRICS_PROGRAM + 3] = {
		(char *)"kvproxy-metrics", (char *)KVPROXY_VERSION
	};

	for (int i = 0; i < METRICS_PROGRAM; i++) {
		snprintf(words[i], sizeof(words[i]), "%d", fds[i]);
		args[i + 2] = words[i];
	}
	fexecve(fds[METRICS_PROGRAM], args, environ);
	log_error("metrics: the program cannot be started");
	_exit(1);
}

static void	metrics_child_be(struct metrics_child *, const struct child *,
		    int) NORETURN;

static void
metrics_child_be(struct metrics_child *mc, const struct child *child,
    int control)
{
	const struct rlimit none = { 0, 0 };
	char path[PATH_MAX + 32];
	int fds[METRICS_N_FDS] = {
		[METRICS_LISTENER] = mc->now.fd,
		[METRICS_CONTROL] = control,
		[METRICS_SEGMENT] = shm_open_for_reader(mc->birth.shm),
		[METRICS_SETUP] = metrics_child_write_setup(mc),
		[METRICS_LOG] = log_fd(),
	};

	prctl(PR_SET_NAME, "kvproxy-metrics");
	snprintf(path, sizeof(path), "%s/bin/kvproxy-metrics",
	    mc->birth.prefix);
	fds[METRICS_PROGRAM] = open(path, O_PATH | O_CLOEXEC);
	if (fds[METRICS_PROGRAM] == -1 || fds[METRICS_SEGMENT] == -1 ||
	    fds[METRICS_SETUP] == -1) {
		log_error("metrics: %s cannot be started", path);
		_exit(1);
	}
	mc->now.fd = -1;
	mc->birth.on_fork(mc->birth.data);
	metrics_child_keep(fds);
	if (!child_settle(child, mc->birth.user, "metrics"))
		_exit(1);
	(void)setrlimit(RLIMIT_CORE, &none);
	metrics_child_execute(fds);
}

/*
 * The master's side.
 */

static void
metrics_child_pause(struct metrics_child *mc, const char *why)
{
	mc->pause_ms = mc->pause_ms == 0 ? METRICS_CHILD_PAUSE_MS :
	    MIN(mc->pause_ms * 2, METRICS_CHILD_PAUSE_MAX_MS);
	log_warnx("%s; next try in %u ms", why, mc->pause_ms);
	ev_timer_stop(mc->birth.loop, &mc->timer);
	ev_timer_set(&mc->timer, mc->pause_ms / 1000., 0.);
	ev_now_update(mc->birth.loop);
	ev_timer_start(mc->birth.loop, &mc->timer);
}

static void
metrics_child_spawn(struct metrics_child *mc)
{
	int ends[2] = { -1, -1 };
	struct child child;
	pid_t pid = -1;
	char why[128];

	if (pipe2(ends, O_CLOEXEC) == 0)
		pid = child_fork(&child);
	if (pid == 0) {
		close(ends[1]);
		metrics_child_be(mc, &child, ends[0]);
	}
	snprintf(why, sizeof(why), "the metrics process cannot be started: %s",
	    strerror(errno));
	if (ends[0] != -1)
		close(ends[0]);
	if (pid == -1) {
		if (ends[1] != -1)
			close(ends[1]);
		metrics_child_pause(mc, why);
		return;
	}
	mc->pid = pid;
	mc->control = ends[1];
	mc->spawned_ms = clock_ms();
	log_info("metrics: process %ld serves %s", (long)pid,
	    mc->now.at.name);
}

static void
metrics_child_on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
	(void)loop;
	(void)revents;
	metrics_child_spawn(timer->data);
}

/* The one there is may go; it is nobody's business any more. */
static void
metrics_child_let_go(struct metrics_child *mc)
{
	ev_timer_stop(mc->birth.loop, &mc->timer);
	if (mc->control != -1)
		close(mc->control);
	mc->control = -1;
	mc->pid = 0;
}

void
metrics_child_restart(struct metrics_child *mc)
{
	metrics_child_let_go(mc);
	if (mc->now.fd != -1)
		metrics_child_spawn(mc);
}

bool
metrics_child_reap(struct metrics_child *mc, pid_t pid, int status)
{
	char how[64], why[160];

	if (mc == NULL || mc->pid != pid)
		return false;
	metrics_child_let_go(mc);
	if (WIFSIGNALED(status))
		snprintf(how, sizeof(how), "killed by signal %d (%s)",
		    WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(how, sizeof(how), "exit status %d",
		    WEXITSTATUS(status));
	snprintf(why, sizeof(why), "metrics: process %ld died: %s", (long)pid,
	    how);
	if (clock_ms() - mc->spawned_ms < METRICS_CHILD_YOUNG_MS) {
		metrics_child_pause(mc, why);
		return true;
	}
	mc->pause_ms = 0;
	log_warnx("%s; next one at once", why);
	metrics_child_spawn(mc);
	return true;
}

/*
 * Its socket.
 */

static void
metrics_child_drop(struct metrics_socket *s)
{
	if (s->fd != -1)
		close(s->fd);
	free((char *)s->at.name);
	free((char *)s->at.normal);
	*s = (struct metrics_socket){ .fd = -1 };
}

/* Listen at L; false as metrics_child_prepare. */
static bool
metrics_child_open(struct metrics_child *mc, const struct config_listen *l,
    bool is_patient, char *err, size_t room)
{
	struct metrics_socket *next = &mc->next;

	next->at = *l;
	next->at.name = strdup(l->name);
	next->at.normal = strdup(l->normal);
	if (next->at.name == NULL || next->at.normal == NULL) {
		snprintf(err, room, "out of memory");
		return false;
	}
	if (mc->now.fd != -1 && strcmp(mc->now.at.normal, l->normal) == 0)
		next->fd = mc->now.fd;
	else if (mc->now.fd != -1 && listen_overlaps(&mc->now.at.sa, &l->sa))
		next->fd = listen_join(l, METRICS_CHILD_BACKLOG, err, room);
	else
		next->fd = (is_patient ? listen_await : listen_claim)(l, 0,
		    METRICS_CHILD_BACKLOG, err, room);
	return next->fd != -1;
}

bool
metrics_child_prepare(struct metrics_child *mc, const struct config *cfg,
    bool is_patient, char *err)
{
	char why[256];

	if (cfg->metrics_listen == NULL || metrics_child_open(mc,
	    cfg->metrics_listen, is_patient, why, sizeof(why)))
		return true;
	metrics_child_undo(mc);
	return config_fail_core(cfg, "metrics", err, "%s", why);
}

void
metrics_child_undo(struct metrics_child *mc)
{
	if (mc->next.fd == mc->now.fd)
		mc->next.fd = -1;
	metrics_child_drop(&mc->next);
}

void
metrics_child_follow(struct metrics_child *mc,
    const struct report_source *source)
{
	if (mc->next.fd == mc->now.fd)
		mc->now.fd = -1;
	metrics_child_drop(&mc->now);
	mc->now = mc->next;
	mc->next = (struct metrics_socket){ .fd = -1 };
	mc->source = *source;
	mc->pause_ms = 0;
	metrics_child_restart(mc);
}

/*
 * Birth and end.
 */

struct metrics_child *
metrics_child_new(const struct metrics_child_birth *birth)
{
	struct metrics_child *mc = calloc(1, sizeof(*mc));

	if (mc == NULL)
		return NULL;
	mc->birth = *birth;
	mc->now.fd = mc->next.fd = mc->control = -1;
	ev_init(&mc->timer, metrics_child_on_timer);
	mc->timer.data = mc;
	return mc;
}

void
metrics_child_free(struct metrics_child **metrics_child)
{
	struct metrics_child *mc = *metrics_child;
	const pid_t pid = mc != NULL ? mc->pid : 0;

	if (mc == NULL)
		return;
	*metrics_child = NULL;
	metrics_child_let_go(mc);
	if (pid != 0 && kill(pid, SIGKILL) == 0)
		while (waitpid(pid, NULL, 0) == -1 && errno == EINTR)
			;
	metrics_child_undo(mc);
	metrics_child_drop(&mc->now);
	free(mc);
}

void
metrics_child_forget(struct metrics_child *mc)
{
	if (mc == NULL)
		return;
	if (mc->control != -1)
		close(mc->control);
	if (mc->next.fd != -1 && mc->next.fd != mc->now.fd)
		close(mc->next.fd);
	if (mc->now.fd != -1)
		close(mc->now.fd);
	mc->now.fd = mc->next.fd = mc->control = -1;
}
