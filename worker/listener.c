#include "worker/listener.h"

#include <errno.h>
#include <unistd.h>

#include "shared/log.h"
#include "worker/client.h"
#include "worker/door.h"
#include "worker/handover.h"
#include "worker/io.h"

enum {
	LISTENER_BATCH = 64,		/* connections accepted in a turn */
	LISTENER_DRAIN = 16384		/* and before the end */
};

/* How long to wait where there is no descriptor or memory for one more. */
static const double listener_pause_s = 0.1;

struct listener {
	LIST_ENTRY(listener) link;
	ev_io		 io;
	ev_timer	 pause;
	struct service	*svc;
	uint32_t	 id;		/* of its address */
	unsigned	 slot;
	uint64_t	 leave_us;	/* when it is closed; 0: it stays */
	bool		 is_wanted;	/* listener_set's */
	struct log_gate	 gate;
};

/* Not during a pause; and one of a service that is being prepared waits for
 * that. */
static void
listener_start(struct listener *l)
{
	if (l->svc->route != NULL && !ev_is_active(&l->pause))
		ev_io_start(l->svc->w->loop, &l->io);
}

static void
listener_on_pause_over(struct ev_loop *loop, ev_timer *ev, int revents)
{
	(void)loop;
	(void)revents;
	listener_start(ev->data);
}

/* The peer may have gone before it was accepted; that is no trouble of ours. */
static void
listener_on_error(struct listener *l)
{
	struct worker *w = l->svc->w;
	unsigned held;

	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	service_count(l->svc, COUNTER_ACCEPT_ERRORS, 1);
	if (log_gate_pass(&l->gate, &held))
		log_warn("%s: cannot accept", l->svc->cfg->name);
	ev_io_stop(w->loop, &l->io);
	ev_timer_set(&l->pause, listener_pause_s, 0.);
	ev_timer_start(w->loop, &l->pause);
}

/* No descriptor is left.  The kernel says so without looking whether anybody
 * is there, so no more than one is turned away at a time. */
static void
listener_turn_away(struct listener *l)
{
	struct door *door = l->svc->w->door;
	int fd;

	if (!door_make_room(door) ||
	    (fd = io_accept(l->io.fd, l->svc->cfg)) < 0) {
		listener_on_error(l);
		return;
	}
	service_count(l->svc, COUNTER_ACCEPT_ERRORS, 1);
	door_refuse(door, l->svc, fd);
}

/* False: there is none, or no descriptor for it. */
static bool
listener_accept(struct listener *l)
{
	struct door *door = l->svc->w->door;
	int fd = io_accept(l->io.fd, l->svc->cfg);

	if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		listener_turn_away(l);
		return false;
	}
	if (fd < 0) {
		listener_on_error(l);
		return false;
	}
	if (handover_share(l->svc->w->handover, l->svc, fd))
		return true;
	if (door_admit(door, l->svc))
		(void)client_new(l->svc, fd, false);
	else
		door_refuse(door, l->svc, fd);
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

static struct listener *
listener_new(struct service *svc, const struct worker_listen *from,
    unsigned slot)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->svc = svc;
	l->id = from->id;
	l->slot = slot;
	ev_io_init(&l->io, listener_on_readable, from->fd, EV_READ);
	ev_timer_init(&l->pause, listener_on_pause_over, 0., 0.);
	l->io.data = l->pause.data = l;
	LIST_INSERT_HEAD(&svc->w->listeners, l, link);
	return l;
}

static void
listener_stop(struct listener *l)
{
	ev_io_stop(l->svc->w->loop, &l->io);
	ev_timer_stop(l->svc->w->loop, &l->pause);
}

static void
listener_free(struct listener *l)
{
	listener_stop(l);
	LIST_REMOVE(l, link);
	(void)close(l->io.fd);
	free(l);
}

static void
listener_drain(struct listener *l)
{
	/* Others may serve the socket too, so it need not come to an end. */
	int i = 0;

	while (l->svc->route != NULL && i < LISTENER_DRAIN &&
	    listener_accept(l))
		i++;
	listener_stop(l);
}

static struct listener *
listener_find(struct worker *w, unsigned slot, uint32_t id)
{
	struct listener *l;

	LIST_FOREACH(l, &w->listeners, link)
		if (l->slot == slot && l->id == id)
			return l;
	return NULL;
}

/* False: out of memory. */
static bool
listener_want(struct worker *w, unsigned slot,
    const struct worker_listen *from, struct service *svc, bool start)
{
	struct listener *l = listener_find(w, slot, from->id);

	if (l != NULL)
		(void)close(from->fd);
	else if ((l = listener_new(svc, from, slot)) == NULL)
		return false;
	l->svc = svc;
	l->is_wanted = true;
	l->leave_us = 0;
	if (svc->route == NULL)
		listener_stop(l);
	else if (start)
		listener_start(l);
	return true;
}

bool
listener_set(struct worker *w, unsigned slot,
    const struct worker_listen *listens, size_t n,
    struct service *const *services, bool start)
{
	struct listener *l;
	size_t i;

	LIST_FOREACH(l, &w->listeners, link)
		l->is_wanted = l->slot != slot;
	for (i = 0; i < n; i++)
		if (!listener_want(w, slot, &listens[i],
		    services[listens[i].service], start))
			return false;
	LIST_FOREACH(l, &w->listeners, link)
		if (!l->is_wanted && l->leave_us == 0) {
			l->leave_us = w->now_us + LISTENER_LEAVE_US;
			worker_sweep_later(w);
		}
	return true;
}

void
listener_start_all(struct worker *w)
{
	struct listener *l;

	LIST_FOREACH(l, &w->listeners, link)
		listener_start(l);
}

void
listener_drain_all(struct worker *w)
{
	struct listener *l;

	LIST_FOREACH(l, &w->listeners, link)
		listener_drain(l);
}

void
listener_close_slot(struct worker *w, unsigned slot)
{
	struct listener *l, *next;

	for (l = LIST_FIRST(&w->listeners); l != NULL; l = next) {
		next = LIST_NEXT(l, link);
		if (l->slot == slot)
			listener_free(l);
	}
}

void
listener_close_all(struct worker *w)
{
	while (!LIST_EMPTY(&w->listeners))
		listener_free(LIST_FIRST(&w->listeners));
}

bool
listener_sweep(struct worker *w)
{
	struct listener *l, *next;
	bool done = true;

	for (l = LIST_FIRST(&w->listeners); l != NULL; l = next) {
		next = LIST_NEXT(l, link);
		if (l->leave_us == 0)
			continue;
		if (w->now_us < l->leave_us) {
			done = false;
			continue;
		}
		listener_drain(l);
		listener_free(l);
	}
	return done;
}
