#include "worker/patience.h"

#include "worker/client.h"
#include "worker/io.h"

enum {
	PATIENCE_PARTS = 16,		/* ticks until all are looked at */
	PATIENCE_LOOKS = 8,		/* in the shortest timeout */
	PATIENCE_TICK_MS = 10,		/* at the least, and at the most */
	PATIENCE_TICK_MAX_MS = 1000
};

/* Has more than TIMEOUT_MS passed since SINCE_US? */
static bool
patience_is_over(const struct worker *w, uint64_t since_us,
    int64_t timeout_ms)
{
	return timeout_ms > 0 &&
	    w->now_us > since_us + (uint64_t)timeout_ms * 1000;
}

/* Is C, of whose request a part has come, too slow with the rest, or silent? */
static bool
patience_is_slow(const struct client *c)
{
	int64_t timeout_ms = c->svc->cfg->request_timeout_ms;

	return patience_is_over(c->w, c->begun_us + patience_for(c->in.len),
	    timeout_ms) || patience_is_over(c->w, c->active_us, timeout_ms);
}

/* C is due, but perhaps the loop has not come to read it. */
static bool
patience_is_unheard(const struct client *c)
{
	return io_waiting(c->io.fd) > 0;
}

static void
patience_look(struct client *c)
{
	const struct config_service *cfg = c->svc->cfg;
	const struct worker *w = c->w;

	if (c->state == CLIENT_CLOSING) {
		if (c->blocked && patience_is_over(w, c->active_us,
		    cfg->request_timeout_ms))
			client_close(c, COUNTER_CLOSE_SLOW);
	} else if (client_awaits_rest(c)) {
		if (patience_is_slow(c) && !patience_is_unheard(c))
			client_finish(c, COUNTER_CLOSE_SLOW);
	} else if (client_is_idle(c)) {
		if (patience_is_over(w, c->active_us, cfg->idle_timeout_ms) &&
		    !patience_is_unheard(c))
			client_close(c, COUNTER_CLOSE_IDLE);
	}
}

/* Milliseconds until the next look, by the shortest timeout of all. */
static int64_t
patience_tick_ms(const struct worker *w)
{
	int64_t shortest = INT64_MAX;
	size_t i;

	for (i = 0; i < w->n_services; i++) {
		const struct config_service *s = w->services[i]->cfg;

		if (s->idle_timeout_ms > 0)
			shortest = MIN(shortest, s->idle_timeout_ms);
		if (s->request_timeout_ms > 0)
			shortest = MIN(shortest, s->request_timeout_ms);
	}
	shortest /= PATIENCE_LOOKS * PATIENCE_PARTS;
	return MAX(MIN(shortest, PATIENCE_TICK_MAX_MS), PATIENCE_TICK_MS);
}

void
patience_start(struct worker *w)
{
	if (ev_is_active(&w->patience))
		return;
	ev_timer_set(&w->patience, (double)patience_tick_ms(w) / 1000, 0.);
	ev_timer_start(w->loop, &w->patience);
}

static void
patience_on_tick(struct ev_loop *loop, ev_timer *ev, int revents)
{
	struct worker *w = ev->data;
	size_t n = w->clients.n_used / PATIENCE_PARTS + 1;
	struct client *c;

	(void)loop;
	(void)revents;
	turn_now(w);
	while (n-- > 0 && (c = TAILQ_FIRST(&w->all_clients)) != NULL) {
		TAILQ_REMOVE(&w->all_clients, c, link);
		TAILQ_INSERT_TAIL(&w->all_clients, c, link);
		patience_look(c);
	}
	if (!TAILQ_EMPTY(&w->all_clients))
		patience_start(w);
}

void
patience_init(struct worker *w)
{
	ev_timer_init(&w->patience, patience_on_tick, 0., 0.);
	w->patience.data = w;
	/* What can be read is read first. */
	ev_set_priority(&w->patience, EV_MINPRI);
}

void
patience_fini(struct worker *w)
{
	ev_timer_stop(w->loop, &w->patience);
}
