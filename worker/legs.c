#include "worker/legs.h"

#include "worker/client.h"
#include "worker/replica.h"
#include "worker/reply.h"

enum { LEGS_OUT_FIT = 16384 };		/* a segment of output */

/* Can LEG come to the end of its client's patience? */
static bool
leg_is_due(const struct leg *leg)
{
	return !leg->abandoned && (!leg_is_copy(leg) ||
	    leg->req->copy->sync_of != NULL);
}

void
legs_next_due(struct backend *b)
{
	do
		b->due = TAILQ_NEXT(b->due, next);
	while (b->due != NULL && !leg_is_due(b->due));
}

/* An awaited copy was asked for before the legs that stand before it may have
 * been: it comes due out of turn. */
static void
legs_note_copy_due(struct backend *b, const struct leg *leg)
{
	uint64_t due = leg_asked_us(leg) + backend_recv_timeout_us(b);

	if (b->copy_due_us == 0 || due < b->copy_due_us)
		b->copy_due_us = due;
}

void
legs_note_sent(struct backend *b)
{
	struct leg *leg = b->unsent;

	while (leg != NULL && leg->start + leg->size <= b->sent) {
		leg->sent_us = b->w->now_us;
		leg = TAILQ_NEXT(leg, next);
	}
	b->unsent = leg;
}

void
legs_expire_copies(struct backend *b)
{
	uint64_t timeout = backend_recv_timeout_us(b);
	struct leg *leg;

	if (b->copy_due_us == 0 || b->w->now_us < b->copy_due_us)
		return;
	b->copy_due_us = 0;
	TAILQ_FOREACH(leg, &b->legs, next) {
		if (!leg_is_copy(leg) || !leg_is_due(leg))
			continue;
		if (b->w->now_us - leg_asked_us(leg) >= timeout)
			replica_too_late(leg);
		else
			legs_note_copy_due(b, leg);
	}
	if (b->due != NULL && !leg_is_due(b->due))
		legs_next_due(b);
}

/* LEG is behind all others now. */
static void
legs_append(struct backend *b, struct leg *leg)
{
	TAILQ_INSERT_TAIL(&b->legs, leg, next);
	b->n_legs++;
	b->n_copies += leg_is_copy(leg);
	if (b->unsent == NULL)
		b->unsent = leg;
	if (!leg_is_due(leg))
		return;
	if (b->due == NULL)
		b->due = leg;
	if (leg_is_copy(leg))
		legs_note_copy_due(b, leg);
}

struct leg *
legs_take(struct backend *b)
{
	struct leg *leg = TAILQ_FIRST(&b->legs);

	if (leg == NULL)
		return NULL;
	if (b->due == leg)
		legs_next_due(b);
	if (b->unsent == leg)
		b->unsent = TAILQ_NEXT(leg, next);
	TAILQ_REMOVE(&b->legs, leg, next);
	b->n_legs--;
	b->n_copies -= leg_is_copy(leg);
	return leg;
}

int
legs_encode(struct backend *b, struct leg *leg, const struct kvp_key *key,
    struct lease *src)
{
	struct buf_pool *bufs = &b->w->bufs;
	struct kvp_out out = { .room = KVP_ROOM + key->key.len };
	bool ok;

	out.dst = chain_room(bufs, &b->out, out.room, LEGS_OUT_FIT);
	if (out.dst == NULL)
		return KVP_FAIL_MEMORY;
	if (!b->svc->fn->encode(b->svc->ext, &b->conn, &leg->req->cmd, key,
	    b->opaque, &out))
		return KVP_FAIL_UNSUPPORTED;
	ASSERT(out.len <= out.room);
	leg->opaque = b->opaque++;
	leg->start = b->queued;
	leg->size = (uint32_t)(out.len + out.body.len + out.tail.len);
	chain_extend(&b->out, out.len);
	leg->has_body = key->body.len > 0;
	leg->was_sent = false;
	ok = out.body.len == 0 || (src != NULL ?
	    chain_append_from(bufs, &b->out, src, out.body.p, out.body.len,
	    LEGS_OUT_FIT) :
	    chain_append(bufs, &b->out, out.body.p, out.body.len,
	    LEGS_OUT_FIT));
	ok = ok && (out.tail.len == 0 || chain_append(bufs, &b->out,
	    out.tail.p, out.tail.len, LEGS_OUT_FIT));
	b->queued += leg->size;
	/* Half a frame is queued: the connection is of no use any more. */
	if (!ok)
		b->broken = true;
	legs_append(b, leg);
	return -1;
}

void
legs_end(struct backend *b, struct leg *leg, enum kvp_fail why)
{
	if (leg_is_copy(leg))
		replica_failed(leg, why);
	else if (!leg->abandoned)
		reply_failed(b, leg, why);
	else if (leg->was_sent)
		reply_lost(b, leg);
	request_leg_free(&leg);
}

void
legs_end_all(struct backend *b, struct leg_queue *legs, enum kvp_fail why)
{
	struct leg *leg;

	while ((leg = TAILQ_FIRST(legs)) != NULL) {
		TAILQ_REMOVE(legs, leg, next);
		legs_end(b, leg, why);
	}
}

void
legs_mark_sent(struct backend *b)
{
	struct leg *leg;

	TAILQ_FOREACH(leg, &b->legs, next)
		leg->was_sent = leg->start < b->sent;
}

void
legs_clear(struct backend *b)
{
	TAILQ_INIT(&b->legs);
	b->n_legs = b->n_copies = 0;
	b->due = b->unsent = NULL;
	b->copy_due_us = 0;
	b->queued = b->sent = 0;
	chain_clear(&b->w->bufs, &b->out);
}

/* Encode those of LEGS that are still awaited, again. */
static void
legs_add_again(struct backend *b, struct leg_queue *legs)
{
	struct kvp_key key;
	struct leg *leg;
	int why;

	while ((leg = TAILQ_FIRST(legs)) != NULL) {
		TAILQ_REMOVE(legs, leg, next);
		if (leg_is_copy(leg))
			replica_freshen(b, leg);
		key = leg_key(leg);
		if (leg->abandoned)
			request_leg_free(&leg);
		else if ((why = legs_encode(b, leg, &key, leg->body)) >= 0)
			legs_end(b, leg, (enum kvp_fail)why);
	}
}

/* A read may be tried once more, in its time, if its client has not written
 * there since: then it would not see what was there when it asked.  What it
 * brought besides its key is not at hand any more. */
static bool
legs_may_retry(const struct backend *b, const struct leg *leg)
{
	const struct client *c = leg->req->client;

	return leg->req->cmd.class == KVP_READ && !leg->retried &&
	    !leg->has_body && !leg->abandoned && c != NULL &&
	    !leg->req->whole &&
	    c->wrote_mark != b->w->write_mark &&
	    b->w->now_us - leg->queued_us < backend_recv_timeout_us(b);
}

void
legs_part_sent(struct backend *b, struct leg_queue *again,
    struct leg_queue *lost)
{
	struct leg *leg, *prev;

	b->w->write_mark++;
	/* From the newest to the oldest, to know who has written since. */
	for (leg = TAILQ_LAST(&b->legs, leg_queue); leg != NULL; leg = prev) {
		prev = TAILQ_PREV(leg, leg_queue, next);
		if (leg->start >= b->sent)
			continue;
		TAILQ_REMOVE(&b->legs, leg, next);
		if (leg_is_copy(leg)) {
			replica_make_repeatable(leg);
			TAILQ_INSERT_HEAD(again, leg, next);
			continue;
		}
		leg->was_sent = true;
		if (leg->req->cmd.class != KVP_READ && leg->req->client != NULL)
			leg->req->client->wrote_mark = b->w->write_mark;
		if (legs_may_retry(b, leg))
			TAILQ_INSERT_HEAD(again, leg, next);
		else
			TAILQ_INSERT_HEAD(lost, leg, next);
	}
}

void
legs_requeue(struct backend *b, struct leg_queue *again)
{
	struct buf_pool *bufs = &b->w->bufs;
	struct leg_queue unsent = TAILQ_HEAD_INITIALIZER(unsent);
	struct chain bytes = b->out;
	struct leg *leg;

	/* What timed out before it was sent need not be sent any more. */
	while ((leg = TAILQ_FIRST(&b->legs)) != NULL && leg->abandoned) {
		TAILQ_REMOVE(&b->legs, leg, next);
		request_leg_free(&leg);
	}
	if (leg != NULL)
		chain_drop(bufs, &bytes, leg->start - b->sent);
	else
		chain_clear(bufs, &bytes);
	TAILQ_CONCAT(&unsent, &b->legs, next);
	b->out = (struct chain){ NULL, NULL, 0 };
	legs_clear(b);

	TAILQ_FOREACH(leg, again, next) {
		leg->retried = true;
		service_count(b->svc, COUNTER_RETRIES, !leg_is_copy(leg));
	}
	legs_add_again(b, again);
	while ((leg = TAILQ_FIRST(&unsent)) != NULL) {
		TAILQ_REMOVE(&unsent, leg, next);
		legs_append(b, leg);
		leg->start = b->queued;
		b->queued += leg->size;
		service_count(b->svc, COUNTER_MOVED, 1);
	}
	chain_splice(bufs, &b->out, &bytes);
}

void
legs_translate(struct backend *b)
{
	struct leg_queue reads = TAILQ_HEAD_INITIALIZER(reads);
	struct leg_queue others = TAILQ_HEAD_INITIALIZER(others);
	struct leg *leg;

	while ((leg = TAILQ_FIRST(&b->legs)) != NULL) {
		TAILQ_REMOVE(&b->legs, leg, next);
		if (leg_is_copy(leg) ||
		    (leg->req->cmd.class == KVP_READ && !leg->has_body))
			TAILQ_INSERT_TAIL(&reads, leg, next);
		else
			TAILQ_INSERT_TAIL(&others, leg, next);
	}
	legs_clear(b);
	legs_end_all(b, &others, KVP_FAIL_CLOSED);
	legs_add_again(b, &reads);
}
