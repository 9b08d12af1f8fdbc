#include "worker/client.h"

#include <errno.h>
#include <unistd.h>

#include "shared/log.h"
#include "worker/budget.h"
#include "worker/door.h"
#include "worker/handover.h"
#include "worker/io.h"
#include "worker/intake.h"
#include "worker/order.h"
#include "worker/patience.h"
#include "worker/pool.h"

enum {
	CLIENT_BUDGET = 256,		/* keys of one client in a turn */
	CLIENT_WINDOW_FIRST = 16,	/* legs, before any has been answered */
	CLIENT_BULK = 64 * 1024,	/* mean size of large values */
	CLIENT_LINGER_US = 1000000,
	CLIENT_LINGER_BYTES = 16 * 1024 * 1024
};

static const char *const client_state_name[] = {
	[CLIENT_OPEN] = "open",
	[CLIENT_CLOSING] = "closing",
	[CLIENT_LINGERING] = "lingering",
	[CLIENT_CLOSED] = "closed",
};

/* Have the loop watch for what C can use now. */
static void
client_watch(struct client *c)
{
	struct ev_loop *loop = c->w->loop;
	int events = 0;

	if (c->state == CLIENT_LINGERING || (c->state == CLIENT_OPEN &&
	    !c->eof && !c->stalled && !c->is_ready && !c->waits &&
	    !c->svc->draining && !c->w->giving))
		events |= EV_READ;
	if (c->blocked)
		events |= EV_WRITE;
	if (ev_is_active(&c->io)) {
		if ((c->io.events & (EV_READ | EV_WRITE)) == events)
			return;
		ev_io_stop(loop, &c->io);
	}
	if (events == 0)
		return;
	ev_io_set(&c->io, c->io.fd, events);
	ev_io_start(loop, &c->io);
}

static void
client_set_state(struct client *c, enum client_state state)
{
	static const unsigned edges[] = {
		[CLIENT_OPEN] = 1 << CLIENT_CLOSING | 1 << CLIENT_CLOSED,
		[CLIENT_CLOSING] = 1 << CLIENT_LINGERING | 1 << CLIENT_CLOSED,
		[CLIENT_LINGERING] = 1 << CLIENT_CLOSED,
		[CLIENT_CLOSED] = 0,
	};
	struct worker *w = c->w;

	ASSERT(edges[c->state] & 1u << state);
	if (log_wants(LOG_DEBUG))
		log_debug("c%llu: %s -> %s", (unsigned long long)c->id,
		    client_state_name[c->state], client_state_name[state]);
	if (c->state == CLIENT_OPEN)
		budget_leave(c);
	if (state == CLIENT_LINGERING) {
		TAILQ_REMOVE(&w->all_clients, c, link);
		TAILQ_INSERT_TAIL(&w->lingering, c, link);
	} else if (state == CLIENT_CLOSED) {
		if (c->state == CLIENT_LINGERING)
			TAILQ_REMOVE(&w->lingering, c, link);
		else
			TAILQ_REMOVE(&w->all_clients, c, link);
		STAILQ_INSERT_TAIL(&w->graveyard, c, dead_next);
	}
	c->state = (uint8_t)state;
}

void
client_release(struct client *c)
{
	struct worker *w = c->w;

	door_leave(c->svc);
	client_set_state(c, CLIENT_CLOSED);
	request_orphan_all(c);
	ev_io_stop(w->loop, &c->io);
	(void)close(c->io.fd);
	c->io.fd = -1;
	input_clear(&w->bufs, &c->in);
	chain_clear(&w->bufs, &c->out);
	worker_client_gone(w);
}

void
client_close(struct client *c, enum counter reason)
{
	if (c->state == CLIENT_CLOSED)
		return;
	/* What began as another close keeps its reason. */
	service_count(c->svc, c->state == CLIENT_OPEN ? reason :
	    COUNTER_CLOSE_CLIENT + (enum counter)c->reason, 1);
	client_release(c);
}

void
client_free(struct client **client)
{
	struct client *c = *client;

	*client = NULL;
	ASSERT(c->state == CLIENT_CLOSED && !c->is_ready && !c->dirty);
	slab_put(&c->w->clients, &c);
}

void
client_mark_dirty(struct client *c)
{
	/* A blocked one may go to another worker with what waits for it. */
	if (c->dirty || c->state == CLIENT_CLOSED ||
	    (c->blocked && !c->broken && !c->w->giving))
		return;
	c->dirty = true;
	STAILQ_INSERT_TAIL(&c->w->dirty_clients, c, dirty_next);
}

static void
client_mark_ready(struct client *c)
{
	if (c->is_ready || c->state != CLIENT_OPEN)
		return;
	c->is_ready = true;
	STAILQ_INSERT_TAIL(&c->w->ready, c, ready_next);
}

void
client_break(struct client *c)
{
	c->broken = true;
	client_mark_dirty(c);
}

void
client_finish(struct client *c, enum counter reason)
{
	if (c->state != CLIENT_OPEN)
		return;
	c->reason = (uint8_t)(reason - COUNTER_CLOSE_CLIENT);
	client_set_state(c, CLIENT_CLOSING);
	client_watch(c);
	client_mark_dirty(c);
}

/* All is answered and sent: tell the peer, and give it time to read that
 * before unread input of its own could reset the connection. */
static void
client_linger(struct client *c)
{
	struct worker *w = c->w;

	if (c->eof) {
		client_close(c, COUNTER_CLOSE_CLIENT);
		return;
	}
	client_set_state(c, CLIENT_LINGERING);
	input_clear(&w->bufs, &c->in);
	io_shutdown(c->io.fd);
	c->linger_us = w->now_us + CLIENT_LINGER_US;
	if (TAILQ_FIRST(&w->lingering) == c) {
		ev_timer_stop(w->loop, &w->linger_timer);
		ev_timer_set(&w->linger_timer, CLIENT_LINGER_US / 1e6, 0.);
		ev_timer_start(w->loop, &w->linger_timer);
	}
	client_watch(c);
}

void
client_on_linger_timer(struct ev_loop *loop, ev_timer *ev, int revents)
{
	struct worker *w = ev->data;
	struct client *c;

	(void)revents;
	turn_now(w);
	while ((c = TAILQ_FIRST(&w->lingering)) != NULL &&
	    c->linger_us <= w->now_us)
		client_close(c, COUNTER_CLOSE_CLIENT);
	if (c == NULL)
		return;
	ev_timer_set(ev, (double)(c->linger_us - w->now_us + 1000) / 1e6, 0.);
	ev_timer_start(loop, ev);
}

/*
 * What may be done now.
 */

/* C does not read, and too much waits for those who do not. */
static bool
client_is_over_budget(const struct client *c)
{
	return c->blocked && budget_is_exceeded(c->w);
}

/* A window of legs, fewer while its values are large, and none while too much
 * waits for it. */
bool
client_may_issue(const struct client *c)
{
	size_t most = (size_t)c->svc->cfg->client_buffer;

	if (c->in_flight >= c->window || c->out.len >= most || c->kept >= most)
		return false;
	if (client_is_over_budget(c))
		return false;
	/* Answers that wait for an earlier one may have no bytes. */
	if (c->n_reqs >= (uint32_t)c->svc->cfg->client_window &&
	    c->feeding == NULL)
		return false;
	if ((size_t)c->in_flight * c->value_len > 4 * most)
		return false;
	/* What is under way in a lane that is gone must not be overtaken. */
	if (UNLIKELY(c->lane_gone) && c->in_flight > 0)
		return false;
	return c->feeding == NULL || order_has_room(c->feeding);
}

/* C, which is stalled, may be so for its own sake or for worker_buffer's. */
static void
client_note_pause(struct client *c)
{
	if (c->paused || !client_is_over_budget(c))
		return;
	c->paused = true;
	service_count(c->svc, COUNTER_BUFFER_PAUSES, 1);
}

void
client_wake(struct client *c)
{
	if (!c->stalled)
		return;
	if (!client_may_issue(c)) {
		client_note_pause(c);
		return;
	}
	c->stalled = c->paused = false;
	c->begun_us = c->active_us = c->w->now_us;
	client_mark_ready(c);
}

void
client_resume(struct client *c)
{
	c->begun_us = c->active_us = c->w->now_us;
	client_watch(c);
}

/* A running mean of the values that C stores and reads. */
static void
client_note_value(struct client *c, size_t len)
{
	if (len > 0)
		c->value_len =
		    (uint32_t)((c->value_len * (uint64_t)7 + len) / 8);
}

void
client_leg_begins(struct client *c, size_t len)
{
	client_note_value(c, len);
	if (c->in_flight == 0 && (!c->lane_fixed || c->lane_gone)) {
		c->lane = pool_lane(c->svc->pool, c->id,
		    c->value_len > CLIENT_BULK);
		c->lane_gone = false;
	}
	c->in_flight++;
}

void
client_leg_ended(struct client *c, size_t len)
{
	c->in_flight--;
	client_note_value(c, len);
	if (c->window < (uint32_t)c->svc->cfg->client_window)
		c->window++;
	if (c->stalled)
		client_wake(c);
}

/* Nothing is under way, though a request may have begun to come. */
static bool
client_is_answered(const struct client *c)
{
	return STAILQ_EMPTY(&c->reqs) && chain_is_empty(&c->out) &&
	    !c->is_ready && !c->stalled;
}

bool
client_is_idle(const struct client *c)
{
	return client_is_answered(c) && c->in.len == 0 && c->swallow == 0;
}

bool
client_awaits_rest(const struct client *c)
{
	return c->state == CLIENT_OPEN && c->feed_frame == 0 &&
	    (c->in.len > 0 || c->swallow > 0) && !c->is_ready &&
	    !c->stalled && !c->waits && !c->w->giving;
}

/* What follows from what was just done. */
static void
client_after(struct client *c)
{
	if (c->state == CLIENT_CLOSED || c->state == CLIENT_LINGERING)
		return;
	if (client_is_answered(c)) {
		if (c->state == CLIENT_CLOSING) {
			client_linger(c);
			return;
		}
		if (c->eof) {
			client_close(c, COUNTER_CLOSE_CLIENT);
			return;
		}
		if (c->svc->draining) {
			client_finish(c, COUNTER_CLOSE_STOP);
			return;
		}
	}
	if (UNLIKELY(c->w->giving))
		client_give(c);
	if (c->state != CLIENT_CLOSED)
		client_watch(c);
}

void
client_give(struct client *c)
{
	if (c->state == CLIENT_OPEN && STAILQ_EMPTY(&c->reqs) && !c->broken)
		(void)handover_give(c->w->handover, c);
}

void
client_go_on(struct client *c)
{
	client_mark_ready(c);
	client_mark_dirty(c);
	client_watch(c);
}

/*
 * What has come.
 */

/* Parse and start what is there, within the budget; how many keys. */
static unsigned
client_run_input(struct client *c)
{
	unsigned n = 0, done;

	while (c->state == CLIENT_OPEN && c->in.len > 0 && !c->broken) {
		if (c->feed_frame == 0 && c->swallow > 0) {
			intake_swallow(c);
			continue;
		}
		/* The rest is another worker's. */
		if (UNLIKELY(c->w->giving) && c->feed_frame == 0)
			break;
		if (n >= CLIENT_BUDGET) {
			client_mark_ready(c);
			break;
		}
		if (!client_may_issue(c)) {
			c->stalled = true;
			service_count(c->svc, COUNTER_PAUSES, 1);
			client_note_pause(c);
			break;
		}
		if (c->feed_frame > 0)
			n += intake_feed(c, CLIENT_BUDGET - n);
		else if ((done = intake_parse(c, CLIENT_BUDGET - n)) > 0)
			n += done;
		else
			break;
	}
	return n;
}

/* Of a call that failed with errno: who hangs up may do so rudely. */
static enum counter
client_why_failed(void)
{
	return errno == ECONNRESET || errno == EPIPE ? COUNTER_CLOSE_CLIENT :
	    COUNTER_CLOSE_ERROR;
}

/* Receive once.  False: C is closed. */
static bool
client_receive(struct client *c)
{
	struct buf_pool *bufs = &c->w->bufs;
	enum io_result res;
	size_t room, n;
	uint8_t *p;

	if ((room = input_room(bufs, &c->in, c->need, &p)) == 0) {
		client_close(c, COUNTER_CLOSE_MEMORY);
		return false;
	}
	res = io_recv(c->io.fd, p, room, &n);
	switch (res) {
	case IO_DONE:
		c->in.len += (uint32_t)n;
		c->active_us = c->w->now_us;
		service_count(c->svc, COUNTER_BYTES_READ, n);
		break;
	case IO_AGAIN:
		break;
	case IO_EOF:
		c->eof = true;
		break;
	case IO_FAILED:
		client_close(c, client_why_failed());
		return false;
	}
	return true;
}

/* The worker drains: receive of what had come by then.  False: C is closed. */
static bool
client_look(struct client *c)
{
	size_t before = c->in.len, got;

	if (c->eof || !client_may_issue(c)) {
		c->look = c->eof ? 0 : c->look;
		return true;
	}
	if (!client_receive(c))
		return false;
	got = c->in.len - before;
	c->look = got == 0 ? 0 : c->look - MIN(c->look, got);
	return true;
}

void
client_run(struct client *c)
{
	unsigned n;

	c->is_ready = false;
	if (c->state != CLIENT_OPEN)
		return;
	if (c->look > 0 && !client_look(c))
		return;
	n = client_run_input(c);
	if (c->look > 0 && !c->stalled)
		client_mark_ready(c);
	if (c->state != CLIENT_OPEN)
		input_clear(&c->w->bufs, &c->in);
	else if (!input_settle(&c->w->bufs, &c->in,
	    budget_ask(c) ? c->need : 0, false))
		client_close(c, COUNTER_CLOSE_MEMORY);
	client_after(c);
	turn_work(c->w, n);
}

/*
 * Bytes.
 */

static void
client_on_linger_readable(struct client *c)
{
	struct input none = { NULL, 0, 0 };
	enum io_result res;
	size_t room, n;
	uint8_t *p;

	if ((room = input_room(&c->w->bufs, &none, 0, &p)) == 0) {
		client_close(c, COUNTER_CLOSE_MEMORY);
		return;
	}
	res = io_recv(c->io.fd, p, room, &n);
	input_clear(&c->w->bufs, &none);
	c->lingered += n;
	if (res == IO_EOF || res == IO_FAILED ||
	    c->lingered > CLIENT_LINGER_BYTES)
		client_close(c, COUNTER_CLOSE_CLIENT);
}

void
client_drain(struct client *c)
{
	if (c->state != CLIENT_OPEN)
		return;
	c->look = io_waiting(c->io.fd);
	if (!c->stalled)
		client_mark_ready(c);
}

void
client_flush(struct client *c)
{
	enum io_result res;
	size_t n;

	c->dirty = false;
	if (c->state == CLIENT_CLOSED || c->state == CLIENT_LINGERING)
		return;
	if (c->broken) {
		client_close(c, COUNTER_CLOSE_MEMORY);
		return;
	}
	res = io_send(c->io.fd, &c->w->bufs, &c->out, &n);
	service_count(c->svc, COUNTER_BYTES_WRITTEN, n);
	if (res == IO_FAILED) {
		client_close(c, client_why_failed());
		return;
	}
	c->blocked = res == IO_AGAIN;
	if (n > 0)
		c->active_us = c->w->now_us;
	/* Room that was taken for an answer of no bytes. */
	if (chain_is_empty(&c->out))
		chain_clear(&c->w->bufs, &c->out);
	client_wake(c);
	client_after(c);
}

static void
client_on_io(struct ev_loop *loop, ev_io *ev, int revents)
{
	struct client *c = ev->data;

	(void)loop;
	if (revents & EV_WRITE) {
		c->blocked = false;
		client_mark_dirty(c);
	}
	if ((revents & EV_READ) == 0 || c->is_ready)
		return;
	if (c->state == CLIENT_LINGERING)
		client_on_linger_readable(c);
	else if (c->state == CLIENT_OPEN && client_receive(c))
		client_run(c);
}

struct client *
client_new(struct service *svc, int fd, bool is_given)
{
	struct worker *w = svc->w;
	struct client *c = slab_get(&w->clients);

	if (c == NULL) {
		(void)close(fd);
		door_leave(svc);
		service_count(svc, COUNTER_ACCEPT_ERRORS, 1);
		return NULL;
	}
	*c = (struct client){
		.w = w, .svc = svc, .id = w->next_client_id++,
		.state = CLIENT_OPEN,
		.window = (uint32_t)MIN(CLIENT_WINDOW_FIRST,
		    svc->cfg->client_window),
		.active_us = w->now_us
	};
	STAILQ_INIT(&c->reqs);
	ev_io_init(&c->io, client_on_io, fd, 0);
	c->io.data = c;
	TAILQ_INSERT_TAIL(&w->all_clients, c, link);
	patience_start(w);
	service_count(svc, COUNTER_CLIENTS_TOTAL, !is_given);
	client_watch(c);
	return c;
}
