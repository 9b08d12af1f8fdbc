#include "worker/request.h"

#include <string.h>

#include "worker/answer.h"
#include "worker/backend.h"
#include "worker/client.h"
#include "worker/pool.h"
#include "worker/replica.h"
#include "worker/route.h"
#include "worker/status.h"

/* What may wait for a client at the very most, in client_buffers. */
enum { REQUEST_UNREAD_MAX = 64 };

/* A multi-key answer's part that came before its turn. */
struct request_item {
	struct chain	 chain;
	bool		 here;
};

/* A key's part of a command, and where it goes. */
struct request_target {
	struct backend	*b;		/* NULL: nowhere */
	unsigned	 host;		/* to blame then */
	enum kvp_fail	 why;
	bool		 stand_in;
	bool		 elsewhere;	/* in the read group */
};

static const struct kvp_reply request_miss = { .class = KVP_REPLY_MISS };

_Static_assert(COUNTER_FAIL_BACKUP - COUNTER_FAIL_NO_HOST ==
    KVP_FAIL_BACKUP - KVP_FAIL_NO_HOST, "a counter for every reason");

/*
 * The lives of requests and legs.
 */

static void	request_unhold(struct request *req);

static struct request *
request_new(struct service *svc, struct client *c, const struct kvp_cmd *cmd,
    struct kvp_slice note)
{
	struct worker *w = svc->w;
	struct request *req = slab_get(&w->requests);

	if (req == NULL)
		return NULL;
	*req = (struct request){
		.cmd = *cmd, .svc = svc, .client = c, .n_parts = 1,
		.failed_host = UINT32_MAX
	};
	if (note.len > 0) {
		ASSERT(note.len <= KVP_NOTE_MAX);
		if ((req->note = lease_get(&w->bufs, note.len)) == NULL) {
			slab_put(&w->requests, &req);
			return NULL;
		}
		memcpy(req->note->data, note.p, note.len);
		req->note_len = (uint32_t)note.len;
	}
	if (c != NULL) {
		STAILQ_INSERT_TAIL(&c->reqs, req, next);
		c->n_reqs++;
	}
	return req;
}

static struct request_item *
request_items(const struct request *req)
{
	return (struct request_item *)(void *)req->items->data;
}

static void
request_drop_items(struct request *req)
{
	struct buf_pool *bufs = &req->svc->w->bufs;
	uint32_t i;

	if (req->items == NULL)
		return;
	for (i = 0; i < req->n_items; i++)
		chain_clear(bufs, &request_items(req)[i].chain);
	lease_put(bufs, &req->items);
}

/* Free REQ when neither client nor leg has it any more, and nothing that its
 * answer waits for. */
static void
request_release(struct request *req)
{
	struct worker *w = req->svc->w;

	if (req->client != NULL || req->n_legs > 0 || req->n_holds > 0)
		return;
	if (req->holds != NULL)
		request_unhold(req->holds);
	chain_clear(&w->bufs, &req->reply);
	request_drop_items(req);
	if (req->copy != NULL)
		slab_put(&w->copies, &req->copy);
	if (req->note != NULL)
		lease_put(&w->bufs, &req->note);
	slab_put(&w->requests, &req);
}

/* REQ leaves its client: answered, or the client is gone.  Legs of it that
 * are still out count no more. */
static void
request_leave(struct request *req)
{
	struct client *c = req->client;

	c->n_reqs--;
	if (req->n_issued > req->n_ended && req->cmd.class != KVP_READ)
		c->lane_fixed = true;
	c->in_flight -= req->n_issued - req->n_ended;
	c->kept -= req->kept;
	req->kept = 0;
	if (c->feeding == req)
		c->feeding = NULL;
	req->client = NULL;
	request_release(req);
}

void
request_orphan_all(struct client *c)
{
	struct request *req;

	while ((req = STAILQ_FIRST(&c->reqs)) != NULL) {
		STAILQ_REMOVE_HEAD(&c->reqs, next);
		request_leave(req);
	}
}

/* T: where it will go; NULL: where its key belongs. */
static struct leg *
leg_new(struct request *req, uint32_t index, struct kvp_slice key,
    const struct request_target *t)
{
	struct worker *w = req->svc->w;
	bool large = key.len > LEG_KEY_SMALL;
	struct leg *leg;

	ASSERT(key.len <= KVP_KEY_MAX);
	leg = slab_get(large ? &w->legs_large : &w->legs_small);
	if (leg == NULL)
		return NULL;
	leg->req = req;
	leg->index = index;
	leg->queued_us = w->now_us;
	leg->key_len = (uint16_t)key.len;
	leg->large = large;
	leg->abandoned = false;
	leg->retried = false;
	leg->stand_in = t != NULL && t->stand_in;
	leg->elsewhere = t != NULL && t->elsewhere;
	leg->was_sent = false;
	leg->step = 0;
	leg->body = NULL;
	leg->body_p = NULL;
	leg->body_len = 0;
	if (key.len > 0)
		memcpy(leg->key, key.p, key.len);
	req->n_legs++;
	return leg;
}

void
request_leg_free(struct leg **leg)
{
	struct request *req = (*leg)->req;
	struct worker *w = req->svc->w;

	if ((*leg)->body != NULL)
		lease_put(&w->bufs, &(*leg)->body);
	if ((*leg)->large)
		slab_put(&w->legs_large, leg);
	else
		slab_put(&w->legs_small, leg);
	req->n_legs--;
	request_release(req);
}

/* Keep LEG's body, which lies in SRC, for its copy.  False: out of memory. */
static bool
leg_keep_body(struct leg *leg, struct kvp_slice body, struct lease *src)
{
	struct worker *w = leg->req->svc->w;

	if (body.len == 0)
		return true;
	if (src != NULL && body.len >= BUF_REF_MIN) {
		src->refs++;
		leg->body = src;
		leg->body_p = body.p;
	} else {
		if ((leg->body = lease_get(&w->bufs, body.len)) == NULL)
			return false;
		memcpy(leg->body->data, body.p, body.len);
		leg->body_p = leg->body->data;
	}
	leg->body_len = (uint32_t)body.len;
	return true;
}

struct leg *
request_new_copy(struct service *svc, const struct kvp_cmd *cmd,
    const struct leg *leg)
{
	const struct kvp_slice none = { NULL, 0 };
	const struct kvp_slice key = { leg->key, leg->key_len };
	struct worker *w = svc->w;
	struct request *req = request_new(svc, NULL, cmd, none);
	struct leg *twin;

	if (req == NULL)
		return NULL;
	if ((req->copy = slab_get(&w->copies)) == NULL ||
	    (twin = leg_new(req, 0, key, NULL)) == NULL) {
		request_release(req);
		return NULL;
	}
	if (leg->body != NULL) {
		leg->body->refs++;
		twin->body = leg->body;
		twin->body_p = leg->body_p;
		twin->body_len = leg->body_len;
	}
	return twin;
}

/*
 * The order of answers.
 */

static bool
request_is_next(const struct request *req)
{
	return STAILQ_FIRST(&req->client->reqs) == req;
}

/* The chain for what is rendered of REQ now, in order. */
static struct chain *
request_chain(struct request *req)
{
	bool whole = (req->cmd.flags & KVP_CMD_MANY) == 0 &&
	    req->cmd.class != KVP_EVERY;

	if (req->committed ||
	    (whole && request_is_next(req) && req->n_holds == 0))
		return &req->client->out;
	return &req->reply;
}

/* A multi-key answer that has grown too large to keep goes out unfinished. */
static void
request_commit(struct request *req)
{
	struct client *c = req->client;

	if (req->done || chain_is_empty(&req->reply) ||
	    (!req->committed &&
	    req->kept < (size_t)req->svc->cfg->client_buffer))
		return;
	/* What came early, in its items, is still kept. */
	c->kept -= req->reply.len;
	req->kept -= req->reply.len;
	chain_splice(&c->w->bufs, &c->out, &req->reply);
	req->committed = true;
	client_mark_dirty(c);
}

void
request_deliver(struct client *c)
{
	struct request *req;

	while ((req = STAILQ_FIRST(&c->reqs)) != NULL && req->done) {
		chain_splice(&c->w->bufs, &c->out, &req->reply);
		STAILQ_REMOVE_HEAD(&c->reqs, next);
		request_leave(req);
	}
	if (req != NULL)
		request_commit(req);
	client_mark_dirty(c);
	client_wake(c);
}

/* REQ's answer is whole. */
static void
request_done(struct request *req)
{
	struct client *c = req->client;

	req->whole = true;
	req->done = req->n_holds == 0;
	/* One that failed early leaves its other keys unasked. */
	if (c->feeding == req)
		c->feeding = NULL;
	if (req->done && request_is_next(req))
		request_deliver(c);
}

/* One thing less that REQ's answer waits for. */
static void
request_unhold(struct request *req)
{
	req->n_holds--;
	if (req->client != NULL && req->whole && !req->done)
		request_done(req);
	else
		request_release(req);
}

/* Take back what was rendered of REQ and has not gone out. */
static void
request_cut(struct request *req)
{
	chain_clear(&req->svc->w->bufs, &req->reply);
	request_drop_items(req);
	req->client->kept -= req->kept;
	req->kept = 0;
}

static void
request_fail(struct request *req)
{
	struct worker *w = req->svc->w;

	request_cut(req);
	worker_count(w, COUNTER_FAILED_REQUESTS, 1);
	answer_render_failure(req, request_chain(req));
	request_done(req);
}

/*
 * The parts of a multi-key answer.
 */

bool
request_has_room(const struct request *req)
{
	return req->n_issued - req->n_rendered <
	    (uint32_t)req->svc->cfg->client_window;
}

static struct request_item *
request_item_slot(struct request *req, uint32_t index)
{
	struct worker *w = req->svc->w;
	size_t size;

	if (req->items == NULL) {
		req->n_items = MIN(req->n_parts,
		    (uint32_t)req->svc->cfg->client_window);
		size = req->n_items * sizeof(struct request_item);
		if ((req->items = lease_get(&w->bufs, size)) == NULL)
			return NULL;
		memset(req->items->data, 0, size);
	}
	return &request_items(req)[index % req->n_items];
}

/* What came early and has its turn now. */
static void
request_render_early(struct request *req)
{
	struct request_item *item;

	if (req->items == NULL)
		return;
	for (;;) {
		item = &request_items(req)[req->n_rendered % req->n_items];
		if (!item->here)
			break;
		chain_splice(&req->svc->w->bufs, &req->reply, &item->chain);
		item->here = false;
		req->n_rendered++;
	}
}

static void
request_render_item(struct request *req, uint32_t index,
    const struct kvp_key *key, const struct kvp_reply *r, struct lease *src)
{
	struct request_item *item;

	if (req->cmd.class == KVP_EVERY || index == req->n_rendered) {
		answer_render(req, &req->reply, key, r, KVP_PART_ITEM, src);
		req->n_rendered++;
		request_render_early(req);
	} else if ((item = request_item_slot(req, index)) != NULL) {
		answer_render(req, &item->chain, key, r, KVP_PART_ITEM, src);
		item->here = true;
	} else
		client_break(req->client);
	if (request_is_next(req))
		request_commit(req);
	client_wake(req->client);
}

/* An item is an error, of which the extension took note: the end says it, in
 * the place of all. */
static void
request_end_in_error(struct request *req)
{
	request_cut(req);
	answer_render(req, &req->reply, NULL, NULL, KVP_PART_END, NULL);
	request_done(req);
}

/* One more part of REQ has ended; the last one ends the answer. */
static void
request_ended(struct request *req)
{
	if (req->n_ended < req->n_parts)
		return;
	if (req->failed_hosts != 0) {
		request_fail(req);
		return;
	}
	answer_render(req, &req->reply, NULL, NULL, KVP_PART_END, NULL);
	request_done(req);
}

static void
request_take_reply(struct request *req, uint32_t index,
    const struct kvp_key *key, const struct kvp_reply *r, struct lease *src)
{
	if (req->cmd.flags & KVP_CMD_MANY || req->cmd.class == KVP_EVERY) {
		request_render_item(req, index, key, r, src);
		if (r->class == KVP_REPLY_ERROR && req->cmd.class != KVP_EVERY)
			request_end_in_error(req);
		else
			request_ended(req);
		return;
	}
	answer_render(req, request_chain(req), key, r, KVP_PART_ONLY, src);
	request_done(req);
}

/* One part of REQ has come to its end, with LEN bytes of value.  False: the
 * client is gone or was answered already. */
static bool
request_end_part(struct request *req, size_t len)
{
	if (req->client == NULL)
		return false;
	req->n_ended++;
	client_leg_ended(req->client, len);
	return !req->whole;
}

static void
request_part_failed(struct request *req, uint32_t index,
    const struct kvp_key *key, unsigned host, enum kvp_fail why)
{
	/* It may be done yet: nothing of this client may overtake it. */
	if (why == KVP_FAIL_TIMEOUT && req->client != NULL &&
	    req->cmd.class != KVP_READ)
		req->client->lane_fixed = true;
	if (!request_end_part(req, 0))
		return;
	if (req->cmd.flags & KVP_CMD_MISS_OK && why != KVP_FAIL_MEMORY &&
	    req->svc->cfg->read_failure == READ_FAILURE_MISS) {
		worker_count(req->svc->w, COUNTER_FAILED_AS_MISS, 1);
		request_take_reply(req, index, key, &request_miss, NULL);
		return;
	}
	if (req->failed_host == UINT32_MAX) {
		req->failed_host = host;
		req->why = (uint8_t)why;
	}
	if (req->cmd.class == KVP_EVERY) {
		req->failed_hosts |= (uint64_t)1 << MIN(host, 63);
		request_ended(req);
	} else
		request_fail(req);
}

/*
 * Issuing.
 */

static void
request_count_host_failure(struct worker *w, counter_cell *host)
{
	counter_add(&host[HOST_FAILED], 1);
	counter_add(&host[HOST_CONTINUOUS], 1);
	counter_set(&host[HOST_LAST_FAILED_US], w->now_us);
}

/* A leg for HOST of the pool has failed. */
static void
request_count_failure(const struct service *svc, unsigned host,
    enum kvp_fail why)
{
	struct worker *w = svc->w;

	worker_count(w, COUNTER_FAIL_NO_HOST + (enum counter)why, 1);
	if (host != POOL_NONE)
		request_count_host_failure(w, worker_host(w,
		    pool_backend(svc->pool, host, 0)->entry));
}

/* Give REQ's next part, KEY's, to T. */
static void
request_issue(struct request *req, const struct request_target *t,
    const struct kvp_key *key, struct lease *src)
{
	uint32_t index = req->n_issued++;
	struct backend *b = t->b;
	struct leg *leg;
	int why;

	if (b == NULL)
		why = (int)t->why;
	else if ((why = replica_clear_way(b)) >= 0)
		;
	else if ((leg = leg_new(req, index, key->key, t)) == NULL)
		why = KVP_FAIL_MEMORY;
	else if (req->svc->replica != NULL &&
	    !leg_keep_body(leg, key->body, src)) {
		request_leg_free(&leg);
		why = KVP_FAIL_MEMORY;
	} else if ((why = backend_add(b, leg, key, src)) < 0)
		return;
	else {
		/* The request has its client, so it stays. */
		request_leg_free(&leg);
	}
	request_count_failure(req->svc, t->host, (enum kvp_fail)why);
	request_part_failed(req, index, key, t->host, (enum kvp_fail)why);
}

/* A read of a host that is to be emptied. */
static void
request_miss_part(struct request *req, const struct kvp_key *key)
{
	uint32_t index = req->n_issued++;

	worker_count(req->svc->w, COUNTER_REJOIN_MISSES, 1);
	if (request_end_part(req, 0))
		request_take_reply(req, index, key, &request_miss, NULL);
}

/* The connection to HOST: the client's lane, but where copies go the one they
 * are in, for nothing may overtake them. */
static struct backend *
request_backend(const struct request *req, unsigned host)
{
	const struct service *svc = req->svc;
	bool backup = svc->replica != NULL &&
	    route_is_backup(svc->route, host);

	return pool_backend(svc->pool, host, backup ? 0 : req->client->lane);
}

static void
request_issue_key(struct request *req, const struct kvp_key *key,
    struct lease *src)
{
	struct service *svc = req->svc;
	struct client *c = req->client;
	struct route_choice choice;
	struct request_target t;
	struct kvp_key limited;

	client_leg_begins(c, key->body.len);
	choice = route_choose(svc->route, &req->cmd, key->key);
	if (choice.way == ROUTE_MISS) {
		request_miss_part(req, key);
		return;
	}
	t = (struct request_target){
		.host = choice.host, .elsewhere = choice.way == ROUTE_READ
	};
	if (choice.way == ROUTE_NOWHERE)
		t.why = choice.host == POOL_NONE ? KVP_FAIL_NO_HOST :
		    KVP_FAIL_DOWN;
	else
		t.b = request_backend(req, choice.host);
	if (UNLIKELY(choice.way == ROUTE_STAND_IN)) {
		t.stand_in = true;
		limited = *key;
		limited.ttl_max = request_stand_in_ttl(req);
		key = &limited;
		worker_count(c->w, COUNTER_STAND_INS, 1);
	}
	request_issue(req, &t, key, src);
}

void
request_feed(struct request *req, const struct kvp_key *key, struct lease *src)
{
	if (req->n_issued + 1 == req->n_parts)
		req->client->feeding = NULL;
	request_issue_key(req, key, src);
}

/* A command of one's own on the leg's connection; the answer of HOLDS, which
 * may be NULL, waits for its reply. */
static void
request_ask_aside(struct backend *b, const struct kvp_key *key,
    const struct kvp_cmd *cmd, struct request *holds)
{
	const struct kvp_key first = { .key = key->key };
	struct service *svc = b->svc;
	struct request *req;
	struct leg *leg;

	req = request_new(svc, NULL, cmd, (struct kvp_slice){ NULL, 0 });
	if (req == NULL)
		return;
	if (holds != NULL) {
		req->holds = holds;
		holds->n_holds++;
	}
	if ((leg = leg_new(req, 0, key->key, NULL)) == NULL)
		request_release(req);
	else if (backend_add(b, leg, &first, NULL) >= 0)
		request_leg_free(&leg);
	else
		worker_count(svc->w, COUNTER_FOLLOW_UPS, 1);
}

/* Has REQ's client asked for a change since? */
static bool
request_change_follows(const struct request *req)
{
	while ((req = STAILQ_NEXT(req, next)) != NULL)
		if (req->cmd.class == KVP_WRITE || req->cmd.class == KVP_EVERY)
			return true;
	return false;
}

/* Ask for LEG's key again; its deadline stays, but for what stands before it.
 * False: it cannot be asked. */
static bool
request_ask_again(struct backend *b, struct leg *leg)
{
	struct kvp_key key;

	ASSERT(leg->req->cmd.class != KVP_EVERY && leg->step < UINT8_MAX);
	leg->step++;
	key = leg_key(leg);
	if (backend_add(b, leg, &key, NULL) >= 0)
		return false;
	worker_count(b->w, COUNTER_FOLLOW_UPS, 1);
	return true;
}

/* True: the leg is asked again, and this reply forgotten. */
static bool
request_follow(struct backend *b, struct leg *leg, const struct kvp_reply *r)
{
	struct service *svc = b->svc;
	struct kvp_key key = leg_key(leg);
	struct kvp_cmd next;
	bool awaited = !leg->abandoned && leg->req->client != NULL &&
	    !leg->req->whole;
	unsigned what;

	what = svc->fn->follow(svc->ext, &leg->req->cmd, &key, r, &next);
	if (what & KVP_FOLLOW_ASIDE)
		request_ask_aside(b, &key, &next,
		    awaited && (what & KVP_FOLLOW_HOLD) ? leg->req : NULL);
	return (what & KVP_FOLLOW_AGAIN) != 0 && awaited &&
	    !request_change_follows(leg->req) && request_ask_again(b, leg);
}

/*
 * What backends report.
 */

/* The counter of a reply of this class, to a read or to what writes. */
static enum counter
request_reply_counter(enum kvp_reply_class class, bool read)
{
	switch (class) {
	case KVP_REPLY_HIT:
		return read ? COUNTER_HITS : COUNTER_STORED;
	case KVP_REPLY_MISS:
		return read ? COUNTER_MISSES : COUNTER_NOT_STORED;
	case KVP_REPLY_STORED:
		return COUNTER_STORED;
	case KVP_REPLY_NOT_STORED:
		return COUNTER_NOT_STORED;
	default:
		return COUNTER_REPLY_ERRORS;
	}
}

static void
request_count_reply(struct worker *w, const struct backend *b,
    const struct leg *leg, const struct kvp_reply *r)
{
	counter_cell *host = worker_host(w, b->entry);

	ASSERT(r->class <= KVP_REPLY_ERROR);
	if (leg->abandoned)
		worker_count(w, COUNTER_LATE_REPLIES, 1);
	else if (leg->req->client != NULL)
		worker_count(w, request_reply_counter(
		    (enum kvp_reply_class)r->class,
		    leg->req->cmd.class == KVP_READ), 1);
	if (r->flags & KVP_REPLY_FAILED) {
		if (!leg->abandoned)
			request_count_host_failure(w, host);
		return;
	}
	counter_set(&host[HOST_CONTINUOUS], 0);
	counter_set(&host[HOST_EVENTS_IN_A_ROW], 0);
	counter_set(&host[HOST_LAST_GOOD_US], w->now_us);
	if (UNLIKELY(leg->req->is_rejoin) && r->class == KVP_REPLY_STORED) {
		counter_set(&host[HOST_FLUSHED_US], w->now_us);
		worker_report(w, WORKER_ALARM);
	}
}

/* Is there room for R, or is its client one that asked for a lot of large
 * values before any of them was known to be large, and does not read them? */
static bool
request_is_bearable(const struct request *req, const struct kvp_reply *r)
{
	const struct client *c = req->client;

	return r->body.len < BUF_REF_MIN ||
	    c->out.len + c->kept + r->body.len <=
	    REQUEST_UNREAD_MAX * (size_t)req->svc->cfg->client_buffer;
}

static void
request_drop_reply(struct request *req, const struct backend *b)
{
	worker_count(b->w, COUNTER_FAIL_UNREAD, 1);
	if (req->failed_host == UINT32_MAX) {
		req->failed_host = b->host;
		req->why = KVP_FAIL_UNREAD;
	}
	request_fail(req);
}

/* REQ's primary or its backup has not got what a client was to be told. */
static void
request_refuse(struct request *req)
{
	worker_count(req->svc->w, COUNTER_FAIL_NO_HOST +
	    (enum counter)req->why, 1);
	request_fail(req);
}

/* REQ's primary has answered; its client is answered when the backup has. */
static void
request_hold(struct request *req, const struct kvp_key *key,
    const struct kvp_reply *r, struct lease *src)
{
	req->n_holds++;
	answer_render(req, &req->reply, key, r, KVP_PART_ONLY, src);
	request_done(req);
}

void
request_copied(struct request *req, bool ok, unsigned host)
{
	if (!ok && req->client != NULL) {
		worker_count(req->svc->w, COUNTER_FAIL_BACKUP, 1);
		req->failed_host = host;
		req->why = KVP_FAIL_BACKUP;
		request_fail(req);
	}
	request_unhold(req);
}

/* LEG, which may write, was answered with R: what its client has to wait
 * for. */
static enum replica_verdict
request_replicate(struct backend *b, const struct leg *leg,
    const struct kvp_reply *r)
{
	struct replica *replica = b->svc->replica;

	if (LIKELY(replica == NULL) || leg->req->cmd.class != KVP_WRITE)
		return REPLICA_NOTHING;
	return replica_copy(replica, b, leg, r);
}

void
request_leg_replied(struct backend *b, struct leg **legp,
    const struct kvp_reply *r, struct lease *src)
{
	struct leg *leg = *legp;
	struct kvp_key key = leg_key(leg);
	enum replica_verdict verdict;

	if (UNLIKELY(leg_is_copy(leg))) {
		request_count_reply(b->w, b, leg, r);
		replica_replied(b, legp, r);
		return;
	}
	if (UNLIKELY(r->flags & KVP_REPLY_FOLLOW) &&
	    request_follow(b, leg, r)) {
		*legp = NULL;
		return;
	}
	request_count_reply(b->w, b, leg, r);
	verdict = request_replicate(b, leg, r);
	if (!leg->abandoned && request_end_part(leg->req, r->body.len)) {
		if (UNLIKELY(verdict == REPLICA_WAIT))
			request_hold(leg->req, &key, r, src);
		else if (UNLIKELY(verdict == REPLICA_REFUSED))
			request_refuse(leg->req);
		else if (request_is_bearable(leg->req, r))
			request_take_reply(leg->req, leg->index, &key, r, src);
		else
			request_drop_reply(leg->req, b);
	}
	request_leg_free(legp);
}

void
request_leg_failed(struct backend *b, struct leg *leg, enum kvp_fail why)
{
	struct kvp_key key = leg_key(leg);

	ASSERT(!leg->abandoned);
	if (leg->was_sent)
		request_replicate(b, leg, NULL);
	leg->abandoned = true;
	request_count_failure(b->svc, b->host, why);
	request_part_failed(leg->req, leg->index, &key, b->host, why);
}

void
request_leg_lost(struct backend *b, const struct leg *leg)
{
	request_replicate(b, leg, NULL);
}

/*
 * Starting.
 */

static void
request_count_start(struct worker *w, const struct kvp_cmd *cmd)
{
	worker_count(w, COUNTER_REQUESTS, 1);
	if (cmd->class == KVP_READ) {
		worker_count(w, COUNTER_READS, 1);
		worker_count(w, COUNTER_KEYS_READ, MAX(cmd->n_keys, 1));
	} else
		worker_count(w, COUNTER_WRITES, 1);
	if (cmd->flags & KVP_CMD_TOO_LARGE)
		worker_count(w, COUNTER_TOO_LARGE, 1);
}

static void
request_answer_local(struct request *req)
{
	struct client *c = req->client;
	uint16_t flags = req->cmd.flags;

	if (flags & KVP_CMD_BAD)
		worker_count(c->w, COUNTER_BAD_REQUESTS, 1);
	if (flags & KVP_CMD_TOO_LARGE)
		worker_count(c->w, COUNTER_TOO_LARGE, 1);
	switch (req->cmd.local) {
	case KVP_LOCAL_STATUS:
		status_answer_block(req);
		break;
	case KVP_LOCAL_STATS:
		status_answer_stats(req);
		break;
	default:
		answer_render(req, request_chain(req), NULL, NULL,
		    KVP_PART_ONLY, NULL);
	}
	request_done(req);
	if (flags & KVP_CMD_CLOSE)
		client_finish(c, flags & KVP_CMD_BAD ? COUNTER_CLOSE_BAD :
		    COUNTER_CLOSE_QUIT);
}

static void
request_issue_every(struct request *req, const struct kvp_key *key,
    struct lease *src)
{
	struct service *svc = req->svc;
	struct client *c = req->client;
	unsigned i, n = pool_n_hosts(svc->pool);

	/* The last one may end the request; none before it can. */
	req->n_parts = n;
	for (i = 0; i < n; i++) {
		const struct request_target t = {
			.b = request_backend(req, i), .host = i
		};

		if (req->cmd.flags & KVP_CMD_EMPTIES)
			counter_set(&worker_host(svc->w, t.b->entry)[
			    HOST_LAST_FLUSH_US], svc->w->now_us);
		client_leg_begins(c, 0);
		request_issue(req, &t, key, src);
	}
	/* What is asked from here on is later, in this turn too. */
	svc->w->now_us++;
}

static void
request_flush_host(struct service *svc, unsigned host)
{
	struct backend *b = pool_backend(svc->pool, host, 0);
	const struct kvp_key none = { .key = { NULL, 0 } };
	struct request *req;
	struct kvp_cmd cmd;
	struct leg *leg;

	svc->fn->flush(svc->ext, &cmd);
	req = request_new(svc, NULL, &cmd, (struct kvp_slice){ NULL, 0 });
	if (req == NULL)
		return;
	req->is_rejoin = true;
	if ((leg = leg_new(req, 0, none.key, NULL)) == NULL)
		request_release(req);
	else if (backend_add(b, leg, &none, NULL) >= 0)
		request_leg_free(&leg);
}

/* Should it fail, the master will give the task again. */
void
request_flush_rejoining(struct service *svc)
{
	struct worker *w = svc->w;
	unsigned i, n = pool_n_hosts(svc->pool);

	for (i = 0; i < n; i++) {
		unsigned entry = pool_backend(svc->pool, i, 0)->entry;

		if (pool_state(svc->pool, i) == SHM_HOST_REJOINING &&
		    shm_host(w->birth->shm, entry)->flusher == w->birth->slot)
			request_flush_host(svc, i);
	}
}

struct request *
request_start(struct client *c, const struct kvp_request *found,
    struct lease *src)
{
	struct service *svc = c->svc;
	struct request *req;

	req = request_new(svc, c, &found->cmd, found->note);
	if (req == NULL) {
		client_break(c);
		return NULL;
	}
	if (found->cmd.class == KVP_LOCAL) {
		request_answer_local(req);
		return NULL;
	}
	request_count_start(c->w, &found->cmd);
	if (found->cmd.class == KVP_EVERY) {
		request_issue_every(req, &found->key, src);
		return NULL;
	}
	if (found->cmd.flags & KVP_CMD_MANY) {
		req->n_parts = found->cmd.n_keys;
		answer_render(req, &req->reply, NULL, NULL, KVP_PART_BEGIN,
		    NULL);
		return req;
	}
	request_issue_key(req, &found->key, src);
	return NULL;
}
