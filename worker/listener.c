#include "worker/listener.h"

#include <errno.h>

#include "shared/log.h"
#include "worker/client.h"
#include "worker/io.h"

enum {
	LISTENER_BATCH = 64,		/* connections accepted in a turn */
	LISTENER_DRAIN = 16384		/* and before the end */
};

/* How long to wait where there is no descriptor or memory for one more. */
static const double listener_pause_s = 0.1;

struct listener {
	ev_io		 io;
	ev_timer	 pause;
	struct service	*svc;
	struct log_gate	 gate;
};

static void
listener_on_pause_over(struct ev_loop *loop, ev_timer *ev, int revents)
{
	struct listener *l = ev->data;

	(void)revents;
	ev_io_start(loop, &l->io);
}

/* The peer may have gone before it was accepted; that is no trouble of ours. */
static void
listener_on_error(struct listener *l)
{
	struct worker *w = l->svc->w;
	unsigned held;

	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	worker_count(w, COUNTER_ACCEPT_ERRORS, 1);
	if (log_gate_pass(&l->gate, &held))
		log_warn("%s: cannot accept", l->svc->cfg->name);
	ev_io_stop(w->loop, &l->io);
	ev_timer_set(&l->pause, listener_pause_s, 0.);
	ev_timer_start(w->loop, &l->pause);
}

/* False: there is none. */
static bool
listener_accept(struct listener *l)
{
	int fd = io_accept(l->io.fd);

	if (fd < 0) {
		listener_on_error(l);
		return false;
	}
	client_new(l->svc, fd);
	return true;
}

static void
listener_on_readable(struct ev_loop *loop, ev_io *ev, int revents)
{
	int i = 0;

	(void)loop;
	(void)revents;
	while (i < LISTENER_BATCH && listener_accept(ev->data))
		i++;
}

struct listener *
listener_new(struct service *svc, int fd)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->svc = svc;
	ev_io_init(&l->io, listener_on_readable, fd, EV_READ);
	ev_timer_init(&l->pause, listener_on_pause_over, 0., 0.);
	l->io.data = l->pause.data = l;
	return l;
}

void
listener_free(struct listener **listener)
{
	listener_stop(*listener);
	free(*listener);
	*listener = NULL;
}

void
listener_start(struct listener *l)
{
	ev_io_start(l->svc->w->loop, &l->io);
}

void
listener_drain(struct listener *l)
{
	/* Others may serve the socket too, so it need not come to an end. */
	int i = 0;

	while (i < LISTENER_DRAIN && listener_accept(l))
		i++;
	listener_stop(l);
}

void
listener_stop(struct listener *l)
{
	ev_io_stop(l->svc->w->loop, &l->io);
	ev_timer_stop(l->svc->w->loop, &l->pause);
}
