#include "worker/order.h"

#include <string.h>

#include "worker/answer.h"
#include "worker/backend.h"
#include "worker/client.h"
#include "worker/latency.h"
#include "worker/pool.h"

/* A multi-key answer's part that came before its turn. */
struct order_item {
	struct chain	 chain;
	bool		 here;
};

_Static_assert(COUNTER_FAIL_BACKUP - COUNTER_FAIL_NO_HOST ==
    KVP_FAIL_BACKUP - KVP_FAIL_NO_HOST, "a counter for every reason");

static struct order_item *
order_items(const struct request *req)
{
	return (struct order_item *)(void *)req->items->data;
}

void
order_drop_items(struct request *req)
{
	struct buf_pool *bufs = &req->svc->w->bufs;
	uint32_t i;

	if (req->items == NULL)
		return;
	for (i = 0; i < req->n_items; i++)
		chain_clear(bufs, &order_items(req)[i].chain);
	lease_put(bufs, &req->items);
}

static bool
order_is_next(const struct request *req)
{
	return STAILQ_FIRST(&req->client->reqs) == req;
}

struct chain *
order_chain(struct request *req)
{
	bool whole = (req->cmd.flags & KVP_CMD_MANY) == 0 &&
	    req->cmd.class != KVP_EVERY;

	if (req->committed ||
	    (whole && order_is_next(req) && req->n_holds == 0))
		return &req->client->out;
	return &req->reply;
}

/* A multi-key answer that has grown too large to keep goes out unfinished. */
static void
order_commit(struct request *req)
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

static void
order_deliver(struct client *c)
{
	struct request *req;

	while ((req = STAILQ_FIRST(&c->reqs)) != NULL && req->done) {
		chain_splice(&c->w->bufs, &c->out, &req->reply);
		STAILQ_REMOVE_HEAD(&c->reqs, next);
		request_leave(req);
	}
	if (req != NULL)
		order_commit(req);
	client_mark_dirty(c);
	client_wake(c);
}

void
order_done(struct request *req)
{
	struct client *c = req->client;

	req->whole = true;
	req->done = req->n_holds == 0;
	if (req->done)
		latency_note_request(req);
	/* One that failed early leaves its other keys unasked. */
	if (c->feeding == req)
		c->feeding = NULL;
	if (req->done && order_is_next(req))
		order_deliver(c);
}

void
order_unhold(struct request *req)
{
	req->n_holds--;
	if (req->client != NULL && req->whole && !req->done)
		order_done(req);
	else
		request_release(req);
}

/* Take back what was rendered of REQ and has not gone out. */
static void
order_cut(struct request *req)
{
	chain_clear(&req->svc->w->bufs, &req->reply);
	order_drop_items(req);
	req->client->kept -= req->kept;
	req->kept = 0;
}

void
order_fail(struct request *req)
{
	order_cut(req);
	service_count(req->svc, COUNTER_FAILED_REQUESTS, 1);
	answer_render_failure(req, order_chain(req));
	order_done(req);
}

/*
 * The parts of a multi-key answer.
 */

bool
order_has_room(const struct request *req)
{
	return req->n_issued - req->n_rendered < req->n_items;
}

static struct order_item *
order_item_slot(struct request *req, uint32_t index)
{
	struct worker *w = req->svc->w;
	size_t size;

	if (req->items == NULL) {
		size = req->n_items * sizeof(struct order_item);
		if ((req->items = lease_get(&w->bufs, size)) == NULL)
			return NULL;
		memset(req->items->data, 0, size);
	}
	return &order_items(req)[index % req->n_items];
}

/* What came early and has its turn now. */
static void
order_render_early(struct request *req)
{
	struct order_item *item;

	if (req->items == NULL)
		return;
	for (;;) {
		item = &order_items(req)[req->n_rendered % req->n_items];
		if (!item->here)
			break;
		chain_splice(&req->svc->w->bufs, &req->reply, &item->chain);
		item->here = false;
		req->n_rendered++;
	}
}

static void
order_render_item(struct request *req, uint32_t index,
    const struct kvp_key *key, const struct kvp_reply *r, struct lease *src)
{
	struct order_item *item;

	if (req->cmd.class == KVP_EVERY || index == req->n_rendered) {
		answer_render(req, &req->reply, key, r, KVP_PART_ITEM, src);
		req->n_rendered++;
		order_render_early(req);
	} else if ((item = order_item_slot(req, index)) != NULL) {
		answer_render(req, &item->chain, key, r, KVP_PART_ITEM, src);
		item->here = true;
	} else
		client_break(req->client);
	if (order_is_next(req))
		order_commit(req);
	client_wake(req->client);
}

/* An item is an error, of which the extension took note: the end says it, in
 * the place of all. */
static void
order_end_in_error(struct request *req)
{
	order_cut(req);
	answer_render(req, &req->reply, NULL, NULL, KVP_PART_END, NULL);
	order_done(req);
}

/* One more part of REQ has ended; the last one ends the answer. */
static void
order_ended(struct request *req)
{
	if (req->n_ended < req->n_parts)
		return;
	if (req->failed_hosts != 0) {
		order_fail(req);
		return;
	}
	answer_render(req, &req->reply, NULL, NULL, KVP_PART_END, NULL);
	order_done(req);
}

void
order_take_reply(struct request *req, uint32_t index,
    const struct kvp_key *key, const struct kvp_reply *r, struct lease *src)
{
	if (req->cmd.flags & KVP_CMD_MANY || req->cmd.class == KVP_EVERY) {
		order_render_item(req, index, key, r, src);
		if (r->class == KVP_REPLY_ERROR && req->cmd.class != KVP_EVERY)
			order_end_in_error(req);
		else
			order_ended(req);
		return;
	}
	answer_render(req, order_chain(req), key, r, KVP_PART_ONLY, src);
	order_done(req);
}

void
order_take_miss(struct request *req, uint32_t index,
    const struct kvp_key *key)
{
	static const struct kvp_reply miss = { .class = KVP_REPLY_MISS };

	order_take_reply(req, index, key, &miss, NULL);
}

/*
 * What became of the parts.
 */

bool
order_end_part(struct request *req, size_t len)
{
	if (req->client == NULL)
		return false;
	req->n_ended++;
	client_leg_ended(req->client, len);
	return !req->whole;
}

void
order_part_failed(struct request *req, uint32_t index,
    const struct kvp_key *key, unsigned host, enum kvp_fail why)
{
	service_count(req->svc, COUNTER_FAIL_NO_HOST + (enum counter)why, 1);
	if (host != POOL_NONE)
		worker_host_failed(req->svc->w,
		    pool_entry(req->svc->pool, host));
	/* It may be done yet: nothing of this client may overtake it. */
	if (why == KVP_FAIL_TIMEOUT && req->client != NULL &&
	    req->cmd.class != KVP_READ)
		req->client->lane_fixed = true;
	if (!order_end_part(req, 0))
		return;
	if (req->cmd.flags & KVP_CMD_MISS_OK && why != KVP_FAIL_MEMORY &&
	    req->svc->cfg->read_failure == READ_FAILURE_MISS) {
		service_count(req->svc, COUNTER_FAILED_AS_MISS, 1);
		order_take_miss(req, index, key);
		return;
	}
	if (req->failed_host == UINT32_MAX) {
		req->failed_host = host;
		req->why = (uint8_t)why;
	}
	if (req->cmd.class == KVP_EVERY) {
		req->failed_hosts |= (uint64_t)1 << MIN(host, 63);
		order_ended(req);
	} else
		order_fail(req);
}

void
order_hold(struct request *req, const struct kvp_key *key,
    const struct kvp_reply *r, struct lease *src)
{
	req->n_holds++;
	answer_render(req, &req->reply, key, r, KVP_PART_ONLY, src);
	order_done(req);
}

void
order_copied(struct request *req, bool ok, unsigned host)
{
	if (!ok && req->client != NULL) {
		service_count(req->svc, COUNTER_FAIL_BACKUP, 1);
		req->failed_host = host;
		req->why = KVP_FAIL_BACKUP;
		order_fail(req);
	}
	order_unhold(req);
}
