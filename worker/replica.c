#include "worker/replica.h"

#include <limits.h>
#include <string.h>

#include "shared/log.h"
#include "worker/backend.h"
#include "worker/order.h"
#include "worker/pool.h"
#include "worker/route.h"

enum {
	REPLICA_WINDOW = 1024		/* copies in a host's queue */
};

static const double replica_tick_s = 0.1;	/* while there are copies */

struct replica {
	struct service	*svc;
	ev_timer	 timer;
	uint64_t	 n, n_max;	/* copies queued, here or at backends */
	uint64_t	 bytes, bytes_max;
	uint64_t	 lag_ms;	/* of the oldest, as last looked at */
	struct kvp_slice sync_str;
};

static uint64_t
replica_now_us(const struct replica *r)
{
	return r->svc->w->now_us;
}

/*
 * The lives of copies.
 */

static void
replica_set_gauge(struct replica *r, int64_t n, int64_t bytes)
{
	r->n += (uint64_t)n;
	r->bytes += (uint64_t)bytes;
	counter_add(&r->svc->cells[COUNTER_COPIES_QUEUED],
	    (uint64_t)n);
}

/* One that leaves and one of its name that has come since share a cell. */
static void
replica_set_lag(struct replica *r, uint64_t ms)
{
	const struct worker *w = r->svc->w;
	const struct service *other;

	r->lag_ms = ms;
	for (size_t i = 0; i < w->n_services; i++) {
		other = w->services[i];
		if (other->cells == r->svc->cells && other->replica != NULL)
			ms = MAX(ms, other->replica->lag_ms);
	}
	counter_set(&r->svc->cells[COUNTER_COPIES_LAG_MS], ms);
}

static struct replica *
replica_of(const struct leg *leg)
{
	return leg->req->svc->replica;
}

/* LEG's copy has come to its end: whoever waits for it is told. */
static void
replica_end(struct leg *leg, bool ok)
{
	struct copy *copy = leg->req->copy;
	struct replica *r = replica_of(leg);
	struct request *waiting = copy->sync_of;

	replica_set_gauge(r, -1, -(int64_t)copy->bytes);
	copy->sync_of = NULL;
	if (waiting != NULL)
		order_copied(waiting, ok, copy->host);
	if (r->n == 0)
		worker_client_gone(r->svc->w);
}

void
replica_failed(struct leg *leg, enum kvp_fail why)
{
	service_count(leg->req->svc, why == KVP_FAIL_TIMEOUT ?
	    COUNTER_COPIES_EXPIRED : COUNTER_COPIES_FAILED, 1);
	replica_end(leg, false);
}

static void
replica_give_up(struct leg *leg, enum kvp_fail why)
{
	replica_failed(leg, why);
	request_leg_free(&leg);
}

void
replica_too_late(struct leg *leg)
{
	struct copy *copy = leg->req->copy;
	struct request *waiting = copy->sync_of;

	copy->sync_of = NULL;
	if (waiting != NULL)
		order_copied(waiting, false, copy->host);
}

void
replica_replied(struct backend *b, struct leg **leg,
    const struct kvp_reply *reply)
{
	bool lenient = ((*leg)->req->cmd.flags & KVP_CMD_LENIENT) != 0;
	bool ok = (reply->flags & KVP_REPLY_FOLLOW) == 0 &&
	    (reply->class == KVP_REPLY_STORED ||
	    reply->class == KVP_REPLY_HIT ||
	    (lenient && reply->class != KVP_REPLY_ERROR));

	service_count(b->svc, reply->class == KVP_REPLY_ERROR ?
	    COUNTER_COPIES_FAILED : COUNTER_COPIES_SENT, 1);
	replica_end(*leg, ok);
	request_leg_free(leg);
	replica_pump(b);
}

void
replica_make_repeatable(struct leg *leg)
{
	const struct kvp_ext *fn = leg->req->svc->fn;
	struct request *req = leg->req;
	struct kvp_key key = leg_key(leg);
	struct kvp_cmd copy;

	if (req->cmd.flags & KVP_CMD_REPEATABLE)
		return;
	service_count(req->svc, COUNTER_COPIES_UNCERTAIN, 1);
	if (fn->effect(req->svc->ext, &req->cmd, &key, KVP_OUTCOME_UNKNOWN,
	    NULL, &copy))
		req->cmd = copy;
}

/*
 * Queues.
 */

/* Has somebody emptied B's host since what was asked for then? */
static bool
replica_is_flushed(const struct backend *b, uint64_t asked_us)
{
	return shm_host_last_us(b->w->birth->shm, b->entry,
	    HOST_LAST_FLUSH_US) >= asked_us;
}

/* Its time to live goes on while it waits. */
static void
replica_age(struct leg *leg)
{
	struct service *svc = leg->req->svc;
	struct copy *copy = leg->req->copy;
	uint32_t waited_s =
	    (uint32_t)((svc->w->now_us - copy->born_us) / 1000000);

	if (waited_s == copy->aged_s)
		return;
	svc->fn->age(svc->ext, &leg->req->cmd, waited_s - copy->aged_s);
	copy->aged_s = waited_s;
}

/* A flush_all came after LEG's write.  It may have been refused here or there,
 * or have come before the write at the primary: only that the key is on
 * neither is true of both in any case. */
static void
replica_make_flushed(struct leg *leg)
{
	struct request *req = leg->req;
	struct kvp_key key = leg_key(leg);
	struct kvp_cmd copy;

	service_count(req->svc, COUNTER_COPIES_FLUSHED, 1);
	req->copy->flushed = true;
	replica_too_late(leg);
	if (req->svc->fn->effect(req->svc->ext, &req->cmd, &key,
	    KVP_OUTCOME_UNKNOWN, NULL, &copy))
		req->cmd = copy;
}

void
replica_freshen(struct backend *b, struct leg *leg)
{
	if (!leg->req->copy->flushed &&
	    replica_is_flushed(b, leg->req->copy->asked_us))
		replica_make_flushed(leg);
	replica_age(leg);
}

/* Give LEG to B.  -1: done; else why not, and LEG is the caller's. */
static int
replica_send(struct backend *b, struct leg *leg)
{
	struct kvp_key key;

	key = leg_key(leg);
	return backend_add(b, leg, &key, leg->body);
}

/* Give B what waits for it, while it has fewer than MOST copies.  -1: nothing
 * waits any more; else why the first one does. */
static int
replica_pump_most(struct backend *b, unsigned most)
{
	struct leg_queue *waiting = &b->waiting;
	struct leg *leg;
	int why;

	while ((leg = TAILQ_FIRST(waiting)) != NULL) {
		if (b->n_copies >= most)
			return KVP_FAIL_QUEUE_FULL;
		TAILQ_REMOVE(waiting, leg, next);
		replica_freshen(b, leg);
		if ((why = replica_send(b, leg)) < 0)
			continue;
		if (why == KVP_FAIL_QUEUE_FULL || why == KVP_FAIL_DOWN) {
			TAILQ_INSERT_HEAD(waiting, leg, next);
			return why;
		}
		replica_give_up(leg, (enum kvp_fail)why);
	}
	return -1;
}

void
replica_pump(struct backend *b)
{
	if (b->svc->replica != NULL)
		(void)replica_pump_most(b, REPLICA_WINDOW);
}

int
replica_clear_way(struct backend *b)
{
	if (LIKELY(b->svc->replica == NULL))
		return -1;
	return replica_pump_most(b, UINT_MAX);
}

void
replica_take_back(struct backend *b, struct leg_queue *legs)
{
	struct leg *leg, *prev;

	if (b->svc->replica == NULL)
		return;
	for (leg = TAILQ_LAST(legs, leg_queue); leg != NULL; leg = prev) {
		prev = TAILQ_PREV(leg, leg_queue, next);
		if (!leg_is_copy(leg))
			continue;
		TAILQ_REMOVE(legs, leg, next);
		TAILQ_INSERT_HEAD(&b->waiting, leg, next);
		replica_too_late(leg);
		if (leg->was_sent)
			replica_make_repeatable(leg);
	}
}

/* Drop what has waited for too long for B, and send what may go; how long the
 * oldest has waited. */
static uint64_t
replica_look_after(struct replica *r, struct backend *b)
{
	uint64_t most_us = (uint64_t)r->svc->cfg->async_timeout_ms * 1000;
	uint64_t now = replica_now_us(r);
	struct leg *leg;

	while ((leg = TAILQ_FIRST(&b->waiting)) != NULL &&
	    now - leg->req->copy->born_us >= most_us) {
		TAILQ_REMOVE(&b->waiting, leg, next);
		replica_give_up(leg, KVP_FAIL_TIMEOUT);
	}
	/* The queue may have been full of others' legs. */
	replica_pump(b);
	/* What waits here is younger than what is under way. */
	leg = TAILQ_FIRST(&b->waiting);
	return MAX(backend_copy_lag_us(b),
	    leg != NULL ? now - leg->req->copy->born_us : 0);
}

static void
replica_on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
	struct replica *r = timer->data;
	uint64_t lag, most = 0;
	struct backend *b;
	unsigned i, n = pool_n_hosts(r->svc->pool);

	(void)revents;
	turn_now(r->svc->w);
	for (i = 0; i < n; i++)
		if ((b = pool_backend(r->svc->pool, i, 0)) != NULL) {
			lag = replica_look_after(r, b);
			most = MAX(most, lag);
		}
	replica_set_lag(r, most / 1000);
	if (r->n == 0)
		ev_timer_stop(loop, &r->timer);
}

/*
 * Making copies.
 */

static struct leg *
replica_make(struct replica *r, const struct leg *leg,
    const struct kvp_cmd *cmd, unsigned host)
{
	struct worker *w = r->svc->w;
	uint32_t bytes = leg->key_len + leg->body_len;
	struct leg *twin;

	if (r->n >= r->n_max || r->bytes + bytes > r->bytes_max ||
	    (twin = request_new_copy(r->svc, cmd, leg)) == NULL) {
		service_count(r->svc, COUNTER_COPIES_DROPPED, 1);
		return NULL;
	}
	*twin->req->copy = (struct copy){
		.asked_us = leg->queued_us, .born_us = w->now_us,
		.bytes = bytes, .host = host
	};
	replica_set_gauge(r, 1, bytes);
	service_count(r->svc, COUNTER_COPIES, 1);
	if (!ev_is_active(&r->timer))
		ev_timer_again(w->loop, &r->timer);
	return twin;
}

static bool
replica_is_sync(const struct replica *r, const struct leg *leg)
{
	return r->sync_str.len > 0 && leg->key_len >= r->sync_str.len &&
	    memcmp(leg->key, r->sync_str.p, r->sync_str.len) == 0;
}

static enum replica_verdict
replica_refuse(struct request *req, enum kvp_fail why, unsigned host)
{
	req->why = (uint8_t)why;
	req->failed_host = host;
	return REPLICA_REFUSED;
}

/* The backup itself has stood in for KEY's primary, which lacks it. */
static enum replica_verdict
replica_stood_in(const struct replica *r, const struct leg *leg, bool sync)
{
	if (!sync || !leg->stand_in)
		return REPLICA_NOTHING;
	return replica_refuse(leg->req, KVP_FAIL_DOWN,
	    route_owner(r->svc->route, leg_key(leg).key));
}

/* Queue TWIN, behind those that wait.  With SYNC: REQ waits for it. */
static enum replica_verdict
replica_queue(struct replica *r, struct leg *twin, struct request *sync)
{
	unsigned host = twin->req->copy->host;
	struct backend *b = pool_backend(r->svc->pool, host, 0);
	int why = KVP_FAIL_QUEUE_FULL;

	twin->req->copy->sync_of = sync;
	if (TAILQ_EMPTY(&b->waiting) && b->n_copies < REPLICA_WINDOW)
		why = replica_send(b, twin);
	if (why < 0)
		return sync != NULL ? REPLICA_WAIT : REPLICA_NOTHING;
	twin->req->copy->sync_of = NULL;
	if (why == KVP_FAIL_QUEUE_FULL || why == KVP_FAIL_DOWN)
		TAILQ_INSERT_TAIL(&b->waiting, twin, next);
	else
		replica_give_up(twin, (enum kvp_fail)why);
	return sync != NULL ?
	    replica_refuse(sync, KVP_FAIL_BACKUP, host) : REPLICA_NOTHING;
}

enum replica_verdict
replica_copy(struct replica *r, struct backend *b, const struct leg *leg,
    const struct kvp_reply *reply)
{
	const struct kvp_ext *fn = r->svc->fn;
	struct request *req = leg->req;
	struct kvp_key key = leg_key(leg);
	struct kvp_cmd cmd;
	struct leg *twin;
	unsigned host;
	bool sync;

	if (!fn->effect(r->svc->ext, &req->cmd, &key, reply != NULL ?
	    KVP_OUTCOME_REPLY : KVP_OUTCOME_UNKNOWN, reply, &cmd))
		return REPLICA_NOTHING;
	sync = replica_is_sync(r, leg) && !leg->abandoned && reply != NULL &&
	    req->client != NULL && (req->cmd.flags & KVP_CMD_MANY) == 0;
	host = route_backup(r->svc->route, key.key);
	if (host == POOL_NONE || host == b->host)
		return replica_stood_in(r, leg, sync);
	if (reply == NULL)
		service_count(r->svc, COUNTER_COPIES_UNKNOWN, 1);
	twin = replica_make(r, leg, &cmd, host);
	if (twin == NULL)
		return sync ? replica_refuse(req, KVP_FAIL_BACKUP, host) :
		    REPLICA_NOTHING;
	/* A flush_all that came behind the write is before its copy. */
	if (replica_is_flushed(pool_backend(r->svc->pool, host, 0),
	    leg->queued_us)) {
		replica_make_flushed(twin);
		(void)replica_queue(r, twin, NULL);
		return sync ? replica_refuse(req, KVP_FAIL_BACKUP, host) :
		    REPLICA_NOTHING;
	}
	return replica_queue(r, twin, sync ? req : NULL);
}

/*
 * The whole.
 */

struct replica *
replica_new(struct service *svc)
{
	struct replica *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->svc = svc;
	ev_timer_init(&r->timer, replica_on_timer, 0., replica_tick_s);
	r->timer.data = r;
	return r;
}

void
replica_configure(struct replica *r)
{
	const struct config_service *cfg = r->svc->cfg;
	uint64_t n_workers = MAX(r->svc->w->n_workers, 1);

	r->n_max = ((uint64_t)cfg->async_size + n_workers - 1) / n_workers;
	r->bytes_max = (uint64_t)cfg->async_bytes / n_workers;
	r->sync_str = (struct kvp_slice){ NULL, 0 };
	if (cfg->sync_str != NULL)
		r->sync_str = (struct kvp_slice){
			(const uint8_t *)cfg->sync_str, strlen(cfg->sync_str)
		};
}

void
replica_free(struct replica **replica)
{
	struct replica *r = *replica;
	struct backend *b;
	struct leg *leg;
	unsigned i;

	if (r == NULL)
		return;
	*replica = NULL;
	if (r->n > 0)
		log_warnx("worker %u: %llu copies for the backup are lost",
		    r->svc->w->birth->slot, (unsigned long long)r->n);
	service_count(r->svc, COUNTER_COPIES_LOST, r->n);
	replica_set_gauge(r, -(int64_t)r->n, -(int64_t)r->bytes);
	replica_set_lag(r, 0);
	ev_timer_stop(r->svc->w->loop, &r->timer);
	for (i = 0; i < pool_n_hosts(r->svc->pool); i++) {
		b = pool_backend(r->svc->pool, i, 0);
		while (b != NULL && (leg = TAILQ_FIRST(&b->waiting)) != NULL) {
			TAILQ_REMOVE(&b->waiting, leg, next);
			request_leg_free(&leg);
		}
	}
	free(r);
}

bool
replica_is_empty(const struct replica *r)
{
	return r == NULL || r->n == 0;
}
