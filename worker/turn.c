/*
 * turn.c: batching.  See core.h for what a turn is.
 */
#include "worker/core.h"


#include "shared/clock.h"
#include "worker/backend.h"
#include "worker/client.h"

/* A turn that grows longer than this is flushed before its end, or one burst
 * would hold up the answers of all. */
enum { TURN_WORK_MAX = 256, TURN_US_MAX = 1000 };

void
turn_now(struct worker *w)
{
	uint64_t now = clock_us();

	w->now_us = MAX(w->now_us, now);
}

static void
turn_flush(struct worker *w)
{
	struct backend *b;
	struct client *c;

	while ((b = STAILQ_FIRST(&w->dirty_backends)) != NULL) {
		STAILQ_REMOVE_HEAD(&w->dirty_backends, dirty_next);
		backend_flush(b);
	}
	while ((c = STAILQ_FIRST(&w->dirty_clients)) != NULL) {
		STAILQ_REMOVE_HEAD(&w->dirty_clients, dirty_next);
		client_flush(c);
	}
	w->work = 0;
	w->flushed_us = w->now_us;
}

void
turn_work(struct worker *w, unsigned n)
{
	w->work += n;
	turn_now(w);
	if (w->work >= TURN_WORK_MAX ||
	    w->now_us - w->flushed_us >= TURN_US_MAX)
		turn_flush(w);
}

/* Every client that is ready now gets one more budget; what is ready again
 * afterwards waits for the next turn. */
static void
turn_run_ready(struct worker *w)
{
	struct client_queue now = STAILQ_HEAD_INITIALIZER(now);
	struct client *c;

	STAILQ_CONCAT(&now, &w->ready);
	while ((c = STAILQ_FIRST(&now)) != NULL) {
		STAILQ_REMOVE_HEAD(&now, ready_next);
		client_run(c);
	}
}

/* Free what was closed; what still stands in a list waits. */
static void
turn_sweep(struct worker *w)
{
	struct client_queue closed = STAILQ_HEAD_INITIALIZER(closed);
	struct client *c;

	STAILQ_CONCAT(&closed, &w->graveyard);
	while ((c = STAILQ_FIRST(&closed)) != NULL) {
		STAILQ_REMOVE_HEAD(&closed, dead_next);
		if (c->is_ready)
			STAILQ_INSERT_TAIL(&w->graveyard, c, dead_next);
		else
			client_free(&c);
	}
}

static void
turn_on_prepare(struct ev_loop *loop, ev_prepare *ev, int revents)
{
	struct worker *w = ev->data;

	(void)revents;
	turn_run_ready(w);
	turn_flush(w);
	turn_sweep(w);
	counter_set(&w->slot->counter[0][COUNTER_BUFFERED], w->bufs.leased);
	if (STAILQ_EMPTY(&w->ready))
		ev_idle_stop(loop, &w->idle);
	else
		ev_idle_start(loop, &w->idle);
}

static void
turn_on_check(struct ev_loop *loop, ev_check *ev, int revents)
{
	struct worker *w = ev->data;

	(void)loop;
	(void)revents;
	turn_now(w);
	w->flushed_us = w->now_us;
	worker_look_if_new(w);
}

/* Its being active is what keeps the loop from sleeping. */
static void
turn_on_idle(struct ev_loop *loop, ev_idle *ev, int revents)
{
	(void)loop;
	(void)ev;
	(void)revents;
}

void
turn_init(struct worker *w)
{
	STAILQ_INIT(&w->dirty_backends);
	STAILQ_INIT(&w->dirty_clients);
	STAILQ_INIT(&w->ready);
	STAILQ_INIT(&w->graveyard);
	ev_prepare_init(&w->prepare, turn_on_prepare);
	ev_check_init(&w->check, turn_on_check);
	ev_idle_init(&w->idle, turn_on_idle);
	w->prepare.data = w->check.data = w->idle.data = w;
	ev_set_priority(&w->check, EV_MAXPRI);
	ev_prepare_start(w->loop, &w->prepare);
	ev_check_start(w->loop, &w->check);
	turn_now(w);
}

void
turn_fini(struct worker *w)
{
	ev_prepare_stop(w->loop, &w->prepare);
	ev_check_stop(w->loop, &w->check);
	ev_idle_stop(w->loop, &w->idle);
}
