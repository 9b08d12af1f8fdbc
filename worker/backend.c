#include "worker/backend.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "shared/log.h"
#include "worker/io.h"
#include "worker/legs.h"
#include "worker/replica.h"
#include "worker/reply.h"
#include "worker/resolve.h"

enum {
	BACKEND_PAUSE_MIN_MS = 50,	/* between tries, doubling */
	BACKEND_YOUNG_US = 1000000,	/* a connection that dies before this */
	BACKEND_YOUNG_MAX = 2,		/* more often in a row: slowly */
	/* A lost packet is sent again after 200 ms at the earliest, so that
	 * one is no second event, and no reason to close. */
	BACKEND_RESEND_US = 300000,
	BACKEND_SILENT_MIN_US = 500000
};

static const char *const backend_state_name[] = {
	[BACKEND_DOWN] = "down",
	[BACKEND_CONNECTING] = "connecting",
	[BACKEND_GREETING] = "greeting",
	[BACKEND_UP] = "up",
};

static void	backend_connect(struct backend *b);
static void	backend_arm(struct backend *b);
static void	backend_receive(struct backend *b);

static counter_cell *
backend_count(struct backend *b, enum host_counter c)
{
	return &b->cells[c];
}

/* One line a second about a host at the most: numbers are in the counters. */
static void
backend_warn(struct backend *b, const char *what)
{
	unsigned held;

	if (log_gate_pass(&b->gate, &held))
		log_warnx("b%u %s: %s%s", b->number, resolve_text(b->place),
		    what, held > 0 ? " (and more)" : "");
}

static void
backend_watch(struct backend *b, int events)
{
	if (ev_is_active(&b->io) &&
	    (b->io.events & (EV_READ | EV_WRITE)) == events)
		return;
	ev_io_stop(b->w->loop, &b->io);
	ev_io_set(&b->io, b->io.fd, events);
	ev_io_start(b->w->loop, &b->io);
}

static void
backend_set_state(struct backend *b, enum backend_state state)
{
	static const unsigned edges[] = {
		[BACKEND_DOWN] = 1 << BACKEND_CONNECTING,
		[BACKEND_CONNECTING] = 1 << BACKEND_GREETING |
		    1 << BACKEND_DOWN,
		[BACKEND_GREETING] = 1 << BACKEND_UP | 1 << BACKEND_DOWN,
		[BACKEND_UP] = 1 << BACKEND_DOWN,
	};

	ASSERT(edges[b->state] & 1u << state);
	log_debug("b%u %s: %s -> %s", b->number, resolve_text(b->place),
	    backend_state_name[b->state], backend_state_name[state]);
	if (state == BACKEND_UP) {
		counter_add(backend_count(b, HOST_CONNECTS), 1);
		counter_add(backend_count(b, HOST_UP), 1);
		service_count(b->svc, COUNTER_SERVERS, 1);
	} else if (b->state == BACKEND_UP) {
		counter_sub(backend_count(b, HOST_UP), 1);
		service_count(b->svc, COUNTER_SERVERS, (uint64_t)-1);
	}
	b->state = state;
	b->since_us = b->w->now_us;
}

static void
backend_settle(struct backend *b)
{
	if (b->settled)
		return;
	b->settled = true;
	worker_backend_settled(b->w);
}

static void
backend_mark_dirty(struct backend *b)
{
	if (b->dirty || b->blocked || b->state != BACKEND_UP)
		return;
	b->dirty = true;
	STAILQ_INSERT_TAIL(&b->w->dirty_backends, b, dirty_next);
}

int
backend_add(struct backend *b, struct leg *leg, const struct kvp_key *key,
    struct lease *src)
{
	const struct config_service *cfg = b->svc->cfg;
	uint64_t copy_due_us = b->copy_due_us;
	bool first = b->due == NULL;
	int why;

	/* Before the first greeting there is no dialect to encode in. */
	if (b->failing || !b->greeted)
		return KVP_FAIL_DOWN;
	if (b->broken)
		return KVP_FAIL_MEMORY;
	if (b->n_legs >= (unsigned)cfg->server_queue ||
	    b->out.len >= (size_t)cfg->server_buffer)
		return KVP_FAIL_QUEUE_FULL;
	if ((why = legs_encode(b, leg, key, src)) >= 0)
		return why;
	counter_add(backend_count(b, HOST_REQUESTS), 1);
	if (first || b->copy_due_us != copy_due_us)
		backend_arm(b);
	backend_mark_dirty(b);
	return -1;
}

/*
 * The connection's end, and its renewal.
 */

static void
backend_disconnect(struct backend *b)
{
	ev_io_stop(b->w->loop, &b->io);
	(void)close(b->io.fd);
	b->io.fd = -1;
	input_clear(&b->w->bufs, &b->in);
	b->need = 0;
	b->swallow = 0;
	b->blocked = b->broken = b->rx_more = b->stale = false;
	backend_set_state(b, BACKEND_DOWN);
}

/* It cannot be reached: nothing waits for it; try later. */
static void
backend_give_up(struct backend *b, enum kvp_fail why)
{
	struct leg_queue lost = TAILQ_HEAD_INITIALIZER(lost);

	b->failing = true;
	legs_mark_sent(b);
	TAILQ_CONCAT(&lost, &b->legs, next);
	legs_clear(b);
	replica_take_back(b, &lost);
	legs_end_all(b, &lost, why);
	b->pause_ms = MIN(MAX(b->pause_ms * 2, BACKEND_PAUSE_MIN_MS),
	    b->svc->cfg->failover_interval_ms);
	resolve_again(b->place);
	backend_settle(b);
	backend_arm(b);
}

/* A failure event; one silence or one try to connect is one, however long.
 * With the threshold's last one the master is told. */
static void
backend_event(struct backend *b)
{
	struct shm *shm = b->w->birth->shm;
	counter_cell *cell = b->cells;
	uint64_t n = counter_get(&cell[HOST_EVENTS]);

	b->event_us = b->w->now_us;
	counter_set(&cell[HOST_EVENT_0_US + n % HOST_EVENT_TIMES],
	    b->event_us);
	counter_add(&cell[HOST_EVENTS], 1);
	counter_add(&cell[HOST_EVENTS_IN_A_ROW], 1);
	/* Out already: it must be greeted anew to be put back. */
	if (shm_host_state(shm, b->entry) == SHM_HOST_OUT)
		b->stale = b->state == BACKEND_UP;
	else if (shm_host_events(shm, b->entry) >=
	    (uint64_t)b->svc->cfg->failover_threshold)
		worker_report(b->w, WORKER_ALARM);
}

static void
backend_connect_failed(struct backend *b, const char *what)
{
	counter_add(backend_count(b, HOST_CONNECT_ERRORS), 1);
	if (b->event_us < b->since_us || b->event_us == 0)
		backend_event(b);
	backend_warn(b, what);
	if (b->io.fd >= 0)
		backend_disconnect(b);
	backend_give_up(b, KVP_FAIL_DOWN);
}

/* A connection that was up is lost.  What was not sent, and reads, are asked
 * again on a new one; a host whose connections keep dying young, with no good
 * reply between, gets it after a pause, and nothing waits for that.  Nor does
 * anything follow half a frame to the next connection. */
static void
backend_lose(struct backend *b, const char *what)
{
	struct leg_queue again = TAILQ_HEAD_INITIALIZER(again);
	struct leg_queue lost = TAILQ_HEAD_INITIALIZER(lost);
	bool broken = b->broken;

	if (b->w->now_us - b->since_us >= BACKEND_YOUNG_US) {
		b->quick_deaths = 0;
		b->pause_ms = 0;
	} else
		b->quick_deaths++;
	backend_warn(b, what);
	legs_part_sent(b, &again, &lost);
	backend_disconnect(b);
	if (broken || b->quick_deaths > BACKEND_YOUNG_MAX) {
		backend_give_up(b, broken ? KVP_FAIL_MEMORY : KVP_FAIL_DOWN);
		replica_take_back(b, &again);
		legs_end_all(b, &lost, KVP_FAIL_CLOSED);
		legs_end_all(b, &again, KVP_FAIL_CLOSED);
		return;
	}
	legs_requeue(b, &again);
	legs_end_all(b, &lost, KVP_FAIL_CLOSED);
	backend_connect(b);
}

/* The peer closed, or the socket failed. */
static void
backend_lose_closed(struct backend *b, const char *what)
{
	struct leg *leg = TAILQ_FIRST(&b->legs);

	if (leg != NULL && leg->start < b->sent) {
		counter_add(backend_count(b, HOST_CLOSES), 1);
		backend_event(b);
	} else
		counter_add(backend_count(b, HOST_IDLE_CLOSES), 1);
	backend_lose(b, what);
}

/* What it sends cannot be trusted any more. */
static void
backend_lose_desync(struct backend *b, const char *what)
{
	counter_add(backend_count(b, HOST_DESYNCS), 1);
	backend_event(b);
	backend_lose(b, what);
}

/* It answered before it had the whole request, as a server does that will not
 * have a value: what it takes the rest for cannot be known.  It is no fault of
 * the host's. */
static void
backend_lose_early(struct backend *b)
{
	counter_add(backend_count(b, HOST_EARLY_CLOSES), 1);
	backend_lose(b, "closed, it answered before it had all");
}

/* Whatever its state, it is of no use any more. */
static void
backend_drop(struct backend *b, const char *what)
{
	if (b->state == BACKEND_UP)
		backend_lose_closed(b, what);
	else
		backend_connect_failed(b, what);
}

/* The host is out and nothing is under way: see whether a new connection to
 * it would be answered. */
static void
backend_probe(struct backend *b)
{
	if (!b->stale || b->state != BACKEND_UP || !TAILQ_EMPTY(&b->legs))
		return;
	backend_disconnect(b);
	backend_give_up(b, KVP_FAIL_DOWN);
}

void
backend_set_out(struct backend *b, bool out)
{
	b->stale = out && b->state == BACKEND_UP;
	backend_probe(b);
	if (out || b->state == BACKEND_UP)
		return;
	/* Another connection got through: requests may wait for this one. */
	b->failing = false;
	if (b->state == BACKEND_DOWN)
		backend_connect(b);
}

/* No byte has come for too long: do not wait for it any more.  Nothing is
 * moved to the next connection, which would have to wait as well. */
static void
backend_lose_silent(struct backend *b)
{
	counter_add(backend_count(b, HOST_SILENCES), 1);
	backend_warn(b, "closed, it does not answer");
	backend_disconnect(b);
	backend_give_up(b, KVP_FAIL_TIMEOUT);
}

/*
 * Time.
 */

static uint64_t
backend_quiet_since_us(const struct backend *b)
{
	const struct leg *leg = TAILQ_FIRST(&b->legs);

	return leg != NULL ? MAX(b->rx_us, leg->queued_us) : UINT64_MAX / 2;
}

static uint64_t
backend_silent_us(const struct backend *b)
{
	uint64_t most = MAX(2 * backend_recv_timeout_us(b),
	    BACKEND_SILENT_MIN_US);

	/* Copies are patient: on another connection they could overtake those
	 * that the host has received and not yet read. */
	if (b->n_copies > 0)
		most = MAX(most,
		    (uint64_t)b->svc->cfg->async_timeout_ms * 1000);
	return backend_quiet_since_us(b) + most;
}

static uint64_t
backend_next_due_us(const struct backend *b)
{
	uint64_t due = UINT64_MAX, wait;

	if (b->due != NULL)
		due = leg_asked_us(b->due) + backend_recv_timeout_us(b);
	if (b->copy_due_us != 0)
		due = MIN(due, b->copy_due_us);
	switch (b->state) {
	case BACKEND_DOWN:
		wait = b->since_us + (uint64_t)b->pause_ms * 1000;
		break;
	case BACKEND_CONNECTING:
	case BACKEND_GREETING:
		wait = b->since_us +
		    (uint64_t)b->svc->cfg->connect_timeout_ms * 1000;
		break;
	default:
		wait = TAILQ_EMPTY(&b->legs) ? UINT64_MAX :
		    backend_silent_us(b);
	}
	return MIN(due, wait);
}

/* Have the timer fire when something is due, or before. */
static void
backend_arm(struct backend *b)
{
	uint64_t due = backend_next_due_us(b), now = b->w->now_us;
	uint64_t after;

	if (due == UINT64_MAX || (b->armed_us != 0 && b->armed_us <= due))
		return;
	after = due > now ? due - now : 0;
	ev_timer_stop(b->w->loop, &b->timer);
	ev_timer_set(&b->timer, (double)(after + 1000) / 1e6, 0.);
	ev_timer_start(b->w->loop, &b->timer);
	b->armed_us = due;
}

/* Fail the legs whose time is over; they stay, to know their late replies. */
static void
backend_expire(struct backend *b)
{
	uint64_t now = b->w->now_us, timeout = backend_recv_timeout_us(b);
	uint64_t since = backend_quiet_since_us(b);
	struct leg *leg;

	if (b->due == NULL || now - leg_asked_us(b->due) < timeout)
		return;
	if (now >= since + timeout && (b->event_us <= since ||
	    now >= b->event_us + MAX(timeout, BACKEND_RESEND_US))) {
		backend_event(b);
		backend_warn(b, "does not answer in time");
	}
	while ((leg = b->due) != NULL &&
	    now - leg_asked_us(leg) >= timeout) {
		legs_next_due(b);
		if (leg_is_copy(leg)) {
			replica_too_late(leg);
			continue;
		}
		counter_add(backend_count(b, HOST_TIMEOUTS), 1);
		reply_failed(b, leg, KVP_FAIL_TIMEOUT);
	}
}

static void
backend_on_timer(struct ev_loop *loop, ev_timer *ev, int revents)
{
	struct backend *b = ev->data;
	uint64_t connect_us = (uint64_t)b->svc->cfg->connect_timeout_ms * 1000;

	(void)loop;
	(void)revents;
	turn_now(b->w);
	b->armed_us = 0;
	switch (b->state) {
	case BACKEND_DOWN:
		if (b->w->now_us - b->since_us >= (uint64_t)b->pause_ms * 1000)
			backend_connect(b);
		break;
	case BACKEND_CONNECTING:
	case BACKEND_GREETING:
		backend_expire(b);
		legs_expire_copies(b);
		if (b->w->now_us - b->since_us >= connect_us)
			backend_connect_failed(b, b->state == BACKEND_GREETING ?
			    "does not answer the greeting" :
			    "cannot be connected to in time");
		break;
	case BACKEND_UP:
		if (backend_next_due_us(b) > b->w->now_us)
			break;
		/* What is here counts as in time.  The loop may not have
		 * looked: after a SIGSTOP it runs its timers first. */
		backend_receive(b);
		if (b->state != BACKEND_UP || b->rx_more)
			break;
		backend_expire(b);
		legs_expire_copies(b);
		if (!TAILQ_EMPTY(&b->legs) &&
		    b->w->now_us >= backend_silent_us(b))
			backend_lose_silent(b);
		break;
	}
	backend_arm(b);
	turn_work(b->w, 0);
}

/*
 * Bytes.
 */

static void
backend_up(struct backend *b)
{
	bool other = memcmp(&b->conn, &b->greeting, sizeof(b->conn)) != 0;

	backend_set_state(b, BACKEND_UP);
	b->failing = false;
	b->greeted = true;
	b->conn = b->greeting;
	b->rx_us = b->w->now_us;
	if (other)
		legs_translate(b);
	backend_settle(b);
	counter_set(backend_count(b, HOST_LAST_GREETED_US), b->w->now_us);
	if (shm_host_state(b->w->birth->shm, b->entry) != SHM_HOST_UP)
		worker_report(b->w, WORKER_ALARM);
	replica_pump(b);
	if (!chain_is_empty(&b->out))
		backend_mark_dirty(b);
	backend_arm(b);
	log_info("b%u %s: up", b->number, resolve_text(b->place));
}

static void
backend_greet(struct backend *b)
{
	struct buf_pool *bufs = &b->w->bufs;
	struct chain hello = { NULL, NULL, 0 };
	enum io_result res = IO_DONE;
	size_t n;
	uint8_t *p;

	backend_set_state(b, BACKEND_GREETING);
	backend_watch(b, EV_READ);
	b->greeting = (struct kvp_conn){ { 0, 0 } };
	if ((p = chain_room(bufs, &hello, KVP_ROOM, 0)) == NULL) {
		backend_connect_failed(b, "out of memory");
		return;
	}
	n = b->svc->fn->greet(b->svc->ext, &b->greeting, p, KVP_ROOM);
	ASSERT(n <= KVP_ROOM);
	chain_extend(&hello, n);
	if (n > 0)
		res = io_send(b->io.fd, bufs, &hello, &n);
	chain_clear(bufs, &hello);
	if (res != IO_DONE)
		backend_connect_failed(b, "does not take the greeting");
	else if (n == 0)
		backend_up(b);
	else
		backend_arm(b);
}

static void
backend_on_connected(struct backend *b)
{
	int err = io_connected(b->io.fd);

	if (err != 0)
		backend_connect_failed(b, strerror(err));
	else
		backend_greet(b);
}

static void
backend_connect(struct backend *b)
{
	socklen_t len;
	const struct sockaddr *sa = resolve_get(b->place, &len);
	int fd = io_connect(sa, len, b->svc->cfg);

	if (fd < 0) {
		b->since_us = b->w->now_us;
		backend_connect_failed(b, strerror(errno));
		return;
	}
	b->io.fd = fd;
	backend_set_state(b, BACKEND_CONNECTING);
	backend_watch(b, EV_WRITE);
	backend_arm(b);
}

/* False: the connection is lost. */
static bool
backend_read_greeting(struct backend *b)
{
	ssize_t n = b->svc->fn->greeted(b->svc->ext, &b->greeting,
	    input_bytes(&b->in), b->in.len);

	if (n < 0 || (size_t)n > b->in.len ||
	    (n == 0 && b->in.len > KVP_GREET_MAX)) {
		backend_connect_failed(b,
		    "answers the greeting in a way we do not understand");
		return false;
	}
	if (n > 0) {
		input_eat(&b->in, (size_t)n);
		backend_up(b);
	}
	return true;
}

static bool
backend_reply_is_sane(const struct backend *b, ssize_t n,
    const struct kvp_reply *r)
{
	const uint8_t *p = input_bytes(&b->in);
	size_t most = (size_t)b->svc->cfg->max_packet + BUF_SCRATCH;

	if (n < 0 || (size_t)n > b->in.len)
		return false;
	if (n == 0)
		return r->need > b->in.len && r->need <= most;
	return r->body.len == 0 || r->body.p < p ||
	    r->body.p > p + n || r->body.len <= (size_t)(p + n - r->body.p);
}

/* The reply to the queue's first leg, if it is whole.  False: stop here. */
static bool
backend_read_reply(struct backend *b)
{
	struct leg *leg = TAILQ_FIRST(&b->legs);
	struct kvp_reply r;
	struct kvp_key key;
	bool early;
	ssize_t n;

	if (leg == NULL || leg->start >= b->sent) {
		backend_lose_desync(b, "closed, it sent a reply to nothing");
		return false;
	}
	r = (struct kvp_reply){ .class = KVP_REPLY_ERROR };
	key = leg_key(leg);
	n = b->svc->fn->decode(b->svc->ext, &b->conn, &leg->req->cmd, &key,
	    leg->opaque, input_bytes(&b->in), b->in.len, &r);
	if (!backend_reply_is_sane(b, n, &r)) {
		leg = legs_take(b);
		leg->was_sent = true;
		legs_end(b, leg, KVP_FAIL_PROTOCOL);
		backend_lose_desync(b, "closed, its reply made no sense");
		return false;
	}
	b->need = n == 0 ? r.need : 0;
	if (n == 0)
		return false;
	leg = legs_take(b);
	/* A good reply ends the count of what went wrong before. */
	if ((r.flags & (KVP_REPLY_FATAL | KVP_REPLY_FAILED)) == 0) {
		b->quick_deaths = 0;
		b->pause_ms = 0;
	}
	early = leg->start + leg->size > b->sent;
	input_eat(&b->in, (size_t)n);
	b->swallow = r.swallow;
	reply_arrived(b, &leg, &r, b->in.lease);
	if (r.flags & KVP_REPLY_FATAL)
		backend_lose_desync(b,
		    "closed, it did not understand a request");
	else if (early && r.class != KVP_REPLY_ERROR)
		backend_lose_desync(b, "closed, it answered too early");
	else if (early)
		backend_lose_early(b);
	else
		return true;
	return false;
}

static void
backend_read_input(struct backend *b)
{
	size_t eat;

	while (b->in.len > 0) {
		if (b->state == BACKEND_GREETING) {
			if (!backend_read_greeting(b) ||
			    b->state == BACKEND_GREETING)
				break;
		} else if (b->swallow > 0) {
			eat = (size_t)MIN(b->swallow, b->in.len);
			input_eat(&b->in, eat);
			b->swallow -= eat;
		} else if (!backend_read_reply(b))
			break;
	}
}

/* Receive once, and read what has come. */
static void
backend_receive(struct backend *b)
{
	struct buf_pool *bufs = &b->w->bufs;
	enum io_result res;
	size_t room, n;
	uint8_t *p;
	int fd = b->io.fd;

	if ((room = input_room(bufs, &b->in, b->need, &p)) == 0) {
		backend_drop(b, "closed, out of memory");
		return;
	}
	res = io_recv(fd, p, room, &n);
	if (res == IO_EOF || res == IO_FAILED) {
		backend_drop(b, res == IO_EOF ? "closed by the host" :
		    strerror(errno));
		return;
	}
	b->rx_more = n >= MIN(room, (size_t)IO_CHUNK);
	if (n > 0) {
		b->in.len += (uint32_t)n;
		b->rx_us = b->w->now_us;
		counter_add(backend_count(b, HOST_BYTES_READ), n);
	}
	backend_read_input(b);
	if (!input_settle(bufs, &b->in, b->need, true))
		backend_drop(b, "closed, out of memory");
	else
		backend_probe(b);
}

uint64_t
backend_copy_lag_us(const struct backend *b)
{
	const struct leg *leg;

	TAILQ_FOREACH(leg, &b->legs, next)
		if (leg_is_copy(leg))
			return b->w->now_us - leg->req->copy->born_us;
	return 0;
}

void
backend_flush(struct backend *b)
{
	enum io_result res;
	size_t n;

	b->dirty = false;
	if (b->state != BACKEND_UP)
		return;
	if (b->broken) {
		backend_drop(b, "closed, out of memory");
		return;
	}
	res = io_send(b->io.fd, &b->w->bufs, &b->out, &n);
	b->sent += n;
	legs_note_sent(b);
	counter_add(backend_count(b, HOST_BYTES_WRITTEN), n);
	if (res == IO_FAILED) {
		/* It may have said why; if not, the receive finds the end. */
		backend_receive(b);
		if (b->state == BACKEND_UP)
			backend_watch(b, EV_READ);
		return;
	}
	if ((res == IO_AGAIN) != b->blocked) {
		b->blocked = res == IO_AGAIN;
		backend_watch(b, b->blocked ? EV_READ | EV_WRITE : EV_READ);
	}
}

static void
backend_on_io(struct ev_loop *loop, ev_io *ev, int revents)
{
	struct backend *b = ev->data;

	(void)loop;
	if (b->state == BACKEND_CONNECTING)
		backend_on_connected(b);
	else if (revents & EV_READ)
		backend_receive(b);
	/* Only if it is still the connection that waited to be writable. */
	if (revents & EV_WRITE && b->blocked)
		backend_flush(b);
	turn_work(b->w, 0);
}

void
backend_init(struct backend *b, struct service *svc,
    struct resolve_name *place, unsigned host, unsigned entry,
    unsigned number)
{
	struct worker *w = svc->w;

	*b = (struct backend){
		.w = w, .svc = svc, .place = place, .host = host,
		.number = number, .entry = entry,
		.cells = worker_host(w, entry),
		.latency = &w->slot->host_latency[entry]
	};
	TAILQ_INIT(&b->legs);
	TAILQ_INIT(&b->waiting);
	ev_io_init(&b->io, backend_on_io, -1, 0);
	ev_timer_init(&b->timer, backend_on_timer, 0., 0.);
	b->io.data = b->timer.data = b;
	/* A reply that is here counts as in time, even after a stall. */
	ev_set_priority(&b->io, 1);
	w->backends_unsettled++;
	backend_connect(b);
}

void
backend_fini(struct backend *b)
{
	struct leg *leg;

	ev_timer_stop(b->w->loop, &b->timer);
	backend_settle(b);
	while ((leg = legs_take(b)) != NULL) {
		if (leg_is_copy(leg))
			replica_too_late(leg);
		request_leg_free(&leg);
	}
	if (b->io.fd >= 0)
		backend_disconnect(b);
	chain_clear(&b->w->bufs, &b->out);
}
