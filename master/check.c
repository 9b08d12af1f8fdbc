#include "master/check.h"

#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "master/setup.h"
#include "shared/hosts.h"

#define CHECK_TIMEOUT_S	10

struct check {
	struct check_birth birth;
	pid_t		 pid;		/* 0: it was reaped */
	ev_io		 io;		/* what the child says, to its end */
	ev_timer	 timer;
	char		*said;
	size_t		 len, room;
};

/* What the child says begins with one of these. */
#define CHECK_GOOD	'g'		/* then the places */
#define CHECK_BAD	'b'		/* then why */

/*
 * The child.
 */

/* ADDR is where it was, if it is known. */
static bool
check_find(void *data, struct config_addr *addr, const char **why)
{
	const struct config *known = data;

	for (size_t i = 0; i < known->n_addrs; i++)
		if (strcmp(known->addrs[i].normal, addr->normal) == 0) {
			addr->sa = known->addrs[i].sa;
			addr->sa_len = known->addrs[i].sa_len;
			return true;
		}
	return hosts_resolve(addr->name, &addr->sa, &addr->sa_len, why);
}

static bool
check_say(int fd, const void *p, size_t len)
{
	ssize_t n;

	while (len > 0) {
		n = write(fd, p, len);
		if (n == -1)
			return false;
		p = (const char *)p + n;
		len -= (size_t)n;
	}
	return true;
}

static bool
check_say_places(int fd, const struct config *cfg)
{
	bool ok = check_say(fd, &(char){ CHECK_GOOD }, 1);

	for (size_t i = 0; ok && i < cfg->n_addrs; i++) {
		struct worker_place place = {
			.sa = cfg->addrs[i].sa,
			.sa_len = cfg->addrs[i].sa_len,
		};

		ok = check_say(fd, &place, sizeof(place));
	}
	return ok;
}

static void	check_be_child(const struct check_birth *, int, pid_t)
		    NORETURN;

static void
check_be_child(const struct check_birth *birth, int fd, pid_t master)
{
	const struct config_lookup lookup = {
		check_find, (void *)birth->known
	};
	const struct setup_source from = {
		.snapshot = birth->snapshot,
		.path = birth->known->path,
		.prefix = birth->prefix,
		.lookup = &lookup,
	};
	char err[CONFIG_ERR_MAX];
	struct setup setup;
	sigset_t none;
	bool ok;

	birth->on_fork(birth->data);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != master)
		_exit(1);
	/* A broken pipe ends us, and so does who stops the master. */
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (setup_load(&setup, &from, err))
		ok = check_say_places(fd, setup.cfg);
	else
		ok = check_say(fd, &(char){ CHECK_BAD }, 1) &&
		    check_say(fd, err, strlen(err));
	_exit(ok ? 0 : 1);
}

/*
 * The parent.
 */

static void
check_end(struct check *c, const char *err)
{
	const struct check_birth *birth = &c->birth;

	ev_io_stop(birth->loop, &c->io);
	ev_timer_stop(birth->loop, &c->timer);
	birth->on_end(birth->data, err != NULL ? NULL :
	    (const struct worker_place *)(const void *)c->said,
	    err != NULL ? 0 : c->len / sizeof(struct worker_place), err);
}

/* The child has said all. */
static void
check_on_said(struct check *c)
{
	char first;

	if (c->len == 0) {
		check_end(c, "the process that checks it has died");
		return;
	}
	first = c->said[0];
	c->len--;
	memmove(c->said, c->said + 1, c->len);
	c->said[c->len] = '\0';
	check_end(c, first == CHECK_GOOD ? NULL : c->said);
}

static void
check_on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
	struct check *c = io->data;
	char *more;
	ssize_t n;

	(void)loop;
	(void)revents;
	if (c->len == c->room) {
		more = realloc(c->said, c->room * 2);
		if (more == NULL) {
			check_end(c, "out of memory");
			return;
		}
		c->said = more;
		c->room *= 2;
	}
	n = read(io->fd, c->said + c->len, c->room - c->len);
	if (n > 0)
		c->len += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		check_on_said(c);
}

static void
check_on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
	(void)loop;
	(void)revents;
	check_end(timer->data, "its names cannot be looked up in time");
}

/* With all signals blocked, as no handler of the master's may run in it. */
static pid_t
check_fork(const struct check_birth *birth, const int ends[2])
{
	const pid_t master = getpid();
	sigset_t all, mask;
	pid_t pid;
	int saved;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &mask);
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		check_be_child(birth, ends[1], master);
	}
	saved = errno;
	sigprocmask(SIG_SETMASK, &mask, NULL);
	errno = saved;
	return pid;
}

static void
check_watch(struct check *c, int fd)
{
	ev_io_init(&c->io, check_on_readable, fd, EV_READ);
	ev_timer_init(&c->timer, check_on_timer, CHECK_TIMEOUT_S, 0.);
	c->io.data = c->timer.data = c;
	ev_now_update(c->birth.loop);
	ev_io_start(c->birth.loop, &c->io);
	ev_timer_start(c->birth.loop, &c->timer);
}

struct check *
check_start(const struct check_birth *birth)
{
	struct check *c = calloc(1, sizeof(*c));
	int ends[2] = { -1, -1 };

	if (c == NULL)
		return NULL;
	c->birth = *birth;
	c->room = 4096;
	c->said = malloc(c->room);
	if (c->said == NULL || pipe2(ends, O_CLOEXEC) == -1)
		goto fail;
	c->pid = check_fork(birth, ends);
	if (c->pid == -1)
		goto fail;
	close(ends[1]);
	(void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
	check_watch(c, ends[0]);
	return c;
fail:
	if (ends[0] != -1) {
		close(ends[0]);
		close(ends[1]);
	}
	free(c->said);
	free(c);
	return NULL;
}

void
check_free(struct check **check)
{
	struct check *c = *check;

	if (c == NULL)
		return;
	*check = NULL;
	ev_io_stop(c->birth.loop, &c->io);
	ev_timer_stop(c->birth.loop, &c->timer);
	close(c->io.fd);
	if (c->pid != 0) {
		kill(c->pid, SIGKILL);
		while (waitpid(c->pid, NULL, 0) == -1 && errno == EINTR)
			;
	}
	free(c->said);
	free(c);
}

void
check_forget(const struct check *c)
{
	if (c != NULL)
		close(c->io.fd);
}

bool
check_reap(struct check *c, pid_t pid)
{
	if (c == NULL || c->pid != pid)
		return false;
	c->pid = 0;
	return true;
}
