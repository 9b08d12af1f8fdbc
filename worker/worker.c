#include "worker/worker.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "shared/fdpass.h"
#include "shared/log.h"
#include "worker/backend.h"
#include "worker/client.h"
#include "worker/door.h"
#include "worker/handover.h"
#include "worker/issue.h"
#include "worker/listener.h"
#include "worker/patience.h"
#include "worker/pool.h"
#include "worker/reload.h"
#include "worker/replica.h"
#include "worker/resolve.h"
#include "worker/route.h"
#include "worker/service.h"
#include "worker/slow.h"

/* How long a worker waits for its backends before it serves without them. */
static const double worker_settle_s = 2.;
static const double worker_sweep_every_s = 0.05;
static const double worker_beat_every_s = 0.25;

static void
worker_stop(struct worker *w)
{
	ev_break(w->loop, EVBREAK_ALL);
}

void
worker_fail(struct worker *w, const char *why)
{
	log_errorx("worker %u: %s", w->birth->slot, why);
	w->is_failed = true;
	worker_stop(w);
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
	if (w->serving || w->draining || w->is_surplus)
		return;
	w->serving = true;
	ev_timer_stop(w->loop, &w->settle_timer);
	listener_start_all(w);
	handover_start(w->handover);
	worker_report(w, WORKER_READY);
}

/* Clients that come before the backends have been tried would only get errors,
 * so they wait in the kernel, but not for long. */
void
worker_backend_settled(struct worker *w)
{
	if (--w->backends_unsettled > 0)
		return;
	worker_serve(w);
	reload_settled(w);
}

static void
worker_on_settle_timer(struct ev_loop *loop, ev_timer *ev, int revents)
{
	(void)loop;
	(void)revents;
	worker_serve(ev->data);
}

/* The master's watchdog sees whether this goes on. */
static void
worker_on_beat_timer(struct ev_loop *loop, ev_timer *ev, int revents)
{
	struct worker *w = ev->data;
	const uint64_t dropped = log_dropped();

	(void)loop;
	(void)revents;
	counter_add(&w->slot->heartbeat, 1);
	worker_count(w, COUNTER_LOG_DROPPED, dropped - w->log_dropped);
	w->log_dropped = dropped;
	turn_now(w);
	slow_end_second(w);
}

/*
 * What leaves.
 */

static void
worker_on_sweep_timer(struct ev_loop *loop, ev_timer *ev, int revents)
{
	struct worker *w = ev->data;
	bool listeners, services;

	(void)revents;
	turn_now(w);
	listeners = listener_sweep(w);
	services = service_sweep(w);
	if (listeners && services)
		ev_timer_stop(loop, ev);
}

void
worker_sweep_later(struct worker *w)
{
	if (!ev_is_active(&w->sweep_timer))
		ev_timer_again(w->loop, &w->sweep_timer);
}

/*
 * The end.
 */

void
worker_client_gone(struct worker *w)
{
	size_t i;

	if ((!w->draining && !w->is_surplus) || !TAILQ_EMPTY(&w->all_clients) ||
	    !TAILQ_EMPTY(&w->lingering))
		return;
	/* Writes that are under way still will have to be copied. */
	for (i = 0; i < w->n_services; i++)
		if (w->services[i]->replica != NULL &&
		    w->requests.n_used > 0)
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
	size_t i;

	if (w->draining)
		return;
	w->draining = true;
	/* Nobody takes any more: what has come is answered here. */
	w->giving = false;
	listener_drain_all(w);
	handover_take_all(w->handover);
	ev_timer_set(&w->drain_timer,
	    (double)w->conf->cfg->shutdown_timeout_ms / 1000., 0.);
	ev_timer_start(w->loop, &w->drain_timer);
	for (i = 0; i < w->n_services; i++)
		w->services[i]->draining = true;
	TAILQ_FOREACH(c, &w->all_clients, link)
		client_drain(c);
	worker_client_gone(w);
}

/* Others have our sockets from now on, and get our clients. */
static void
worker_give(struct worker *w)
{
	if (w->draining || w->is_surplus)
		return;
	w->is_surplus = true;
	listener_close_all(w);
	handover_give_all(w->handover);
}

/*
 * Orders.
 */

void
worker_look(struct worker *w)
{
	uint64_t generation = shm_generation(w->birth->shm);
	size_t i;

	for (i = 0; i < w->n_services; i++) {
		struct service *svc = w->services[i];

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
worker_adopt(struct worker *w, const struct worker_message *msg,
    const int *fds, size_t n)
{
	struct worker_listen listens[CONFIG_LISTENS_MAX];

	ASSERT(n == msg->n_listens);
	worker_message_unpack(msg, fds, listens);
	if (!listener_set(w, msg->slot, listens, n, reload_services(w),
	    !w->draining && !w->is_surplus))
		worker_fail(w, "out of memory");
	else if (w->draining)
		listener_drain_all(w);
}

/* FDS, the N descriptors, are taken over. */
static void
worker_obey(struct worker *w, const struct worker_message *msg,
    const int *fds, size_t n)
{
	ASSERT(msg->slot < SHM_WORKERS_MAX);
	switch ((enum worker_order)msg->order) {
	case WORKER_DRAIN:
		worker_drain(w);
		break;
	case WORKER_GIVE:
		worker_give(w);
		break;
	case WORKER_ADOPT:
		worker_adopt(w, msg, fds, n);
		break;
	case WORKER_RETURN:
		listener_close_slot(w, msg->slot);
		break;
	case WORKER_LOOK:
		worker_look(w);
		break;
	case WORKER_INBOX:
		ASSERT(n == 1);
		handover_set_inbox(w->handover, msg->slot, fds[0]);
		break;
	case WORKER_RELOAD:
		reload_start(w, msg, fds, n);
		break;
	case WORKER_LOG:
		ASSERT(n == 1);
		log_set_fd(fds[0]);
		break;
	}
}

/* False: there is no order. */
static bool
worker_read_order(struct worker *w)
{
	struct worker_message msg = { .n_listens = 0 };
	int fds[FDPASS_MAX];
	ssize_t len;
	size_t n;

	len = fdpass_recv(w->control.fd, &msg, sizeof(msg), fds, &n);
	if (len > 0 && (size_t)len == worker_message_len(&msg)) {
		worker_obey(w, &msg, fds, n);
		return true;
	}
	if (len == 0) {
		log_warnx("worker %u: the master is gone", w->birth->slot);
		worker_stop(w);
	} else if (len != -1 || errno != EAGAIN)
		worker_fail(w, "the master's order cannot be read");
	return false;
}

static void
worker_on_control(struct ev_loop *loop, ev_io *ev, int revents)
{
	struct worker *w = ev->data;

	(void)loop;
	(void)revents;
	turn_now(w);
	while (worker_read_order(w))
		;
}

void
worker_catch_up(struct worker *w)
{
	while (worker_read_order(w))
		;
	reload_finish(w);
}

/*
 * The whole.
 */

static bool
worker_init_services(struct worker *w)
{
	const struct worker_birth *b = w->birth;
	struct conf *conf = conf_new(b->cfg, b->host_entry);
	struct service **services;

	if (conf == NULL)
		return false;
	services = service_prepare_all(w, conf, b->ext);
	return services != NULL &&
	    service_commit_all(w, services, conf, b->ext) &&
	    listener_set(w, b->slot, b->listens, b->n_listens, w->services,
	    false);
}

static void
worker_init_slabs(struct worker *w)
{
	buf_pool_init(&w->bufs);
	slab_init(&w->clients, sizeof(struct client));
	slab_init(&w->requests, sizeof(struct request));
	slab_init(&w->copies, sizeof(struct copy));
	slab_init(&w->legs_small, sizeof(struct leg) + LEG_KEY_SMALL);
	slab_init(&w->legs_large, sizeof(struct leg) + KVP_KEY_MAX);
}

static void
worker_init_watchers(struct worker *w)
{
	turn_init(w);
	patience_init(w);
	ev_timer_init(&w->linger_timer, client_on_linger_timer, 0., 0.);
	ev_timer_init(&w->drain_timer, worker_on_drain_timer, 0., 0.);
	ev_timer_init(&w->settle_timer, worker_on_settle_timer,
	    worker_settle_s, 0.);
	ev_timer_init(&w->sweep_timer, worker_on_sweep_timer, 0.,
	    worker_sweep_every_s);
	ev_timer_init(&w->beat_timer, worker_on_beat_timer,
	    worker_beat_every_s, worker_beat_every_s);
	ev_io_init(&w->control, worker_on_control, w->birth->control,
	    EV_READ);
	w->linger_timer.data = w->drain_timer.data = w;
	w->settle_timer.data = w->sweep_timer.data = w;
	w->beat_timer.data = w->control.data = w;
	ev_timer_start(w->loop, &w->settle_timer);
	ev_timer_start(w->loop, &w->beat_timer);
	ev_io_start(w->loop, &w->control);
}

static bool
worker_init(struct worker *w, const struct worker_birth *birth)
{
	w->birth = birth;
	w->n_workers = birth->n_workers;
	w->slot = shm_slot(birth->shm, birth->slot);
	w->loop = ev_loop_new(EVFLAG_NOENV | EVFLAG_AUTO);
	if (w->loop == NULL)
		return false;
	worker_init_slabs(w);
	TAILQ_INIT(&w->all_clients);
	TAILQ_INIT(&w->lingering);
	TAILQ_INIT(&w->waiting);
	LIST_INIT(&w->listeners);
	worker_init_watchers(w);
	if ((w->resolve = resolve_new(w)) == NULL ||
	    (w->handover = handover_new(w)) == NULL ||
	    (w->door = door_new(w)) == NULL)
		return false;
	/* One of our own, so that none settles all while they are made. */
	w->backends_unsettled = 1;
	if (!worker_init_services(w))
		return false;
	atomic_store_explicit(&w->slot->seen_config, birth->reload,
	    memory_order_relaxed);
	worker_look(w);
	worker_backend_settled(w);
	return true;
}

static void
worker_stop_watchers(struct worker *w)
{
	turn_fini(w);
	patience_fini(w);
	ev_timer_stop(w->loop, &w->linger_timer);
	ev_timer_stop(w->loop, &w->drain_timer);
	ev_timer_stop(w->loop, &w->settle_timer);
	ev_timer_stop(w->loop, &w->sweep_timer);
	ev_timer_stop(w->loop, &w->beat_timer);
	ev_io_stop(w->loop, &w->control);
}

static void
worker_fini_slabs(struct worker *w)
{
	buf_pool_fini(&w->bufs);
	ASSERT(w->requests.n_used == 0 && w->copies.n_used == 0);
	ASSERT(w->legs_small.n_used == 0 && w->legs_large.n_used == 0);
	slab_fini(&w->clients);
	slab_fini(&w->requests);
	slab_fini(&w->copies);
	slab_fini(&w->legs_small);
	slab_fini(&w->legs_large);
}

static void
worker_fini(struct worker *w)
{
	struct client *c;

	w->draining = true;
	reload_drop(w);
	while ((c = TAILQ_FIRST(&w->all_clients)) != NULL ||
	    (c = TAILQ_FIRST(&w->lingering)) != NULL)
		client_close(c, COUNTER_CLOSE_STOP);
	listener_close_all(w);
	service_free_all(w);
	conf_put(&w->conf);
	handover_free(&w->handover);
	door_free(&w->door);
	resolve_free(&w->resolve);
	worker_stop_watchers(w);
	worker_fini_slabs(w);
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
	if (w->is_failed)
		return 1;
	worker_fini(w);
	return 0;
}
