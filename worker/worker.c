#include "worker/worker.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "shared/log.h"
#include "worker/backend.h"
#include "worker/client.h"
#include "worker/extload.h"
#include "worker/issue.h"
#include "worker/listener.h"
#include "worker/pool.h"
#include "worker/replica.h"
#include "worker/resolve.h"
#include "worker/route.h"

/* How long a worker waits for its backends before it serves without them. */
static const double worker_settle_s = 2.;

static void
worker_stop(struct worker *w)
{
	ev_break(w->loop, EVBREAK_ALL);
}

/* Start, stop or drain the listeners of SLOT. */
static void
worker_tell_listeners(struct worker *w, unsigned slot,
    void (*tell)(struct listener *))
{
	size_t i;

	for (i = 0; i < w->n_services; i++)
		tell(w->listeners[slot * w->n_services + i]);
}

void
worker_report(struct worker *w, enum worker_report report)
{
	char byte = (char)report;

	/* A master that does not listen is gone, which EOF will tell; one that
	 * has not read the last ones will look at everything when it does. */
	if (write(w->birth->control, &byte, 1) != 1 && errno != EAGAIN)
		log_warn("worker %u: cannot report to the master",
		    w->birth->slot);
}

static void
worker_serve(struct worker *w)
{

	if (w->serving || w->draining)
		return;
	w->serving = true;
	ev_timer_stop(w->loop, &w->settle_timer);
	worker_tell_listeners(w, w->birth->slot, listener_start);
	worker_report(w, WORKER_READY);
}

/* Clients that come before the backends have been tried would only get errors,
 * so they wait in the kernel, but not for long. */
void
worker_backend_settled(struct worker *w)
{
	if (--w->backends_unsettled == 0)
		worker_serve(w);
}

static void
worker_on_settle_timer(struct ev_loop *loop, ev_timer *ev, int revents)
{
	(void)loop;
	(void)revents;
	worker_serve(ev->data);
}

void
worker_client_gone(struct worker *w)
{
	size_t i;

	if (!w->draining || !TAILQ_EMPTY(&w->all_clients) ||
	    !TAILQ_EMPTY(&w->lingering))
		return;
	for (i = 0; i < w->n_services; i++)
		if (!replica_is_empty(w->services[i].replica))
			return;
	worker_stop(w);
}

static void
worker_on_drain_timer(struct ev_loop *loop, ev_timer *ev, int revents)
{
	struct worker *w = ev->data;

	(void)loop;
	(void)revents;
	if (!TAILQ_EMPTY(&w->all_clients))
		log_warnx("worker %u: stops with requests in flight",
		    w->birth->slot);
	worker_stop(w);
}

/* Accept nothing more, answer what was read, and go. */
static void
worker_drain(struct worker *w)
{
	struct client *c;
	unsigned i;

	if (w->draining)
		return;
	w->draining = true;
	for (i = 0; i < w->birth->n_slots; i++)
		if (i == w->birth->slot || w->adopts[i])
			worker_tell_listeners(w, i, listener_drain);
	ev_timer_set(&w->drain_timer,
	    (double)w->birth->cfg->shutdown_timeout_ms / 1000., 0.);
	ev_timer_start(w->loop, &w->drain_timer);
	TAILQ_FOREACH(c, &w->all_clients, link)
		client_drain(c);
	worker_client_gone(w);
}

/* Go by the hosts' states from the next request on, and say so. */
static void
worker_look(struct worker *w)
{
	uint64_t generation = shm_generation(w->birth->shm);
	size_t i;

	for (i = 0; i < w->n_services; i++) {
		struct service *svc = &w->services[i];

		if (pool_look(svc->pool))
			route_look(svc->route);
		issue_flush_rejoining(svc);
	}
	atomic_store_explicit(&w->slot->seen_generation, generation,
	    memory_order_release);
}

/* The order to look may still be under way, while another worker has obeyed:
 * what a client asks of both must not meet two states of a host. */
void
worker_look_if_new(struct worker *w)
{
	if (UNLIKELY(shm_generation(w->birth->shm) !=
	    atomic_load_explicit(&w->slot->seen_generation,
	    memory_order_relaxed)))
		worker_look(w);
}

/* Be the worker of a slot that has none, too, until it has one again. */
static void
worker_adopt(struct worker *w, unsigned slot)
{
	if (w->draining || slot == w->birth->slot)
		return;
	w->adopts[slot] = true;
	worker_tell_listeners(w, slot, listener_start);
}

static void
worker_return(struct worker *w, unsigned slot)
{
	if (!w->adopts[slot])
		return;
	w->adopts[slot] = false;
	worker_tell_listeners(w, slot, listener_stop);
}

static void
worker_obey(struct worker *w, enum worker_order order, unsigned slot)
{
	ASSERT(slot < w->birth->n_slots);
	switch (order) {
	case WORKER_DRAIN:
		worker_drain(w);
		break;
	case WORKER_ADOPT:
		worker_adopt(w, slot);
		break;
	case WORKER_RETURN:
		worker_return(w, slot);
		break;
	case WORKER_LOOK:
		worker_look(w);
		break;
	}
}

static void
worker_on_control(struct ev_loop *loop, ev_io *ev, int revents)
{
	struct worker *w = ev->data;
	unsigned char orders[16];	/* an even number */
	ssize_t n, i;

	(void)loop;
	(void)revents;
	n = read(ev->fd, orders, sizeof(orders));
	if (n == 0) {
		log_warnx("worker %u: the master is gone", w->birth->slot);
		worker_stop(w);
	}
	for (i = 0; i + 1 < n; i += 2)
		worker_obey(w, (enum worker_order)orders[i], orders[i + 1]);
}

static bool
worker_init_service(struct worker *w, size_t i)
{
	struct service *svc = &w->services[i];

	svc->w = w;
	svc->cfg = &w->birth->cfg->services[i];
	svc->fn = w->birth->ext[i]->fn;
	svc->ext = w->birth->ext[i]->ext;
	svc->pool = pool_new(svc);
	if (svc->pool == NULL)
		return false;
	if ((svc->route = route_new(svc)) == NULL)
		return false;
	if (svc->cfg->backup == NULL)
		return true;
	svc->replica = replica_new(svc);
	return svc->replica != NULL;
}

/* Ours, and those that we may have to adopt. */
static bool
worker_init_listeners(struct worker *w)
{
	size_t i, n = w->birth->n_slots * w->n_services;

	w->listeners = calloc(n, sizeof(struct listener *));
	if (w->listeners == NULL)
		return false;
	for (i = 0; i < n; i++) {
		w->listeners[i] = listener_new(&w->services[i % w->n_services],
		    w->birth->listen_fds[i]);
		if (w->listeners[i] == NULL)
			return false;
	}
	return true;
}

static bool
worker_init(struct worker *w, const struct worker_birth *birth)
{
	size_t i;

	w->birth = birth;
	w->slot = shm_slot(birth->shm, birth->slot);
	w->loop = ev_loop_new(EVFLAG_NOENV | EVFLAG_AUTO);
	w->n_services = birth->cfg->n_services;
	w->services = calloc(w->n_services, sizeof(*w->services));
	if (w->loop == NULL || w->services == NULL)
		return false;
	buf_pool_init(&w->bufs);
	slab_init(&w->clients, sizeof(struct client));
	slab_init(&w->requests, sizeof(struct request));
	slab_init(&w->copies, sizeof(struct copy));
	slab_init(&w->legs_small, sizeof(struct leg) + LEG_KEY_SMALL);
	slab_init(&w->legs_large, sizeof(struct leg) + KVP_KEY_MAX);
	TAILQ_INIT(&w->all_clients);
	TAILQ_INIT(&w->lingering);
	turn_init(w);
	ev_timer_init(&w->linger_timer, client_on_linger_timer, 0., 0.);
	ev_timer_init(&w->drain_timer, worker_on_drain_timer, 0., 0.);
	ev_timer_init(&w->settle_timer, worker_on_settle_timer,
	    worker_settle_s, 0.);
	ev_io_init(&w->control, worker_on_control, birth->control, EV_READ);
	w->linger_timer.data = w->drain_timer.data = w;
	w->settle_timer.data = w->control.data = w;
	ev_timer_start(w->loop, &w->settle_timer);
	ev_io_start(w->loop, &w->control);
	if ((w->resolve = resolve_new(w)) == NULL)
		return false;
	/* One of our own, so that none settles all while they are made. */
	w->backends_unsettled = 1;
	for (i = 0; i < w->n_services; i++)
		if (!worker_init_service(w, i))
			return false;
	if (!worker_init_listeners(w))
		return false;
	worker_look(w);
	worker_backend_settled(w);
	return true;
}

static void
worker_fini(struct worker *w)
{
	struct client *c;
	size_t i;

	while ((c = TAILQ_FIRST(&w->all_clients)) != NULL ||
	    (c = TAILQ_FIRST(&w->lingering)) != NULL)
		client_close(c, COUNTER_CLOSE_STOP);
	for (i = 0; i < w->n_services; i++) {
		replica_free(&w->services[i].replica);
		pool_free(&w->services[i].pool);
		route_free(&w->services[i].route);
	}
	for (i = 0; i < w->birth->n_slots * w->n_services; i++)
		listener_free(&w->listeners[i]);
	free(w->listeners);
	resolve_free(&w->resolve);
	turn_fini(w);
	ev_timer_stop(w->loop, &w->linger_timer);
	ev_timer_stop(w->loop, &w->drain_timer);
	ev_timer_stop(w->loop, &w->settle_timer);
	ev_io_stop(w->loop, &w->control);
	buf_pool_fini(&w->bufs);
	ASSERT(w->requests.n_used == 0 && w->copies.n_used == 0);
	ASSERT(w->legs_small.n_used == 0 && w->legs_large.n_used == 0);
	slab_fini(&w->clients);
	slab_fini(&w->requests);
	slab_fini(&w->copies);
	slab_fini(&w->legs_small);
	slab_fini(&w->legs_large);
	free(w->services);
	ev_loop_destroy(w->loop);
}

int
worker_run(const struct worker_birth *birth)
{
	static struct worker worker;	/* the process has one */
	struct worker *w = &worker;

	memset(w, 0, sizeof(*w));
	if (!worker_init(w, birth)) {
		log_errorx("worker %u: out of memory", birth->slot);
		return 1;
	}
	ev_run(w->loop, 0);
	worker_fini(w);
	return 0;
}
