#include "worker/reply.h"

#include "worker/backend.h"
#include "worker/budget.h"
#include "worker/client.h"
#include "worker/issue.h"
#include "worker/latency.h"
#include "worker/order.h"
#include "worker/replica.h"
#include "worker/slow.h"

/* What may wait for a client at the very most, in client_buffers. */
enum { REPLY_UNREAD_MAX = 64 };

/* Count what R says to LEG's client, of a key. */
static void
reply_count_answer(struct service *svc, const struct leg *leg,
    const struct kvp_reply *r)
{
	const struct kvp_cmd *cmd = &leg->req->cmd;
	bool yes = r->class == KVP_REPLY_HIT || r->class == KVP_REPLY_STORED;

	if (r->class == KVP_REPLY_ERROR)
		service_count(svc, COUNTER_REPLY_ERRORS, 1);
	else if (cmd->flags & KVP_CMD_FETCHES)
		service_count(svc, yes ? COUNTER_HITS : COUNTER_MISSES, 1);
	else if (cmd->flags & KVP_CMD_TOUCHES)
		service_count(svc, yes ? COUNTER_TOUCH_HITS :
		    COUNTER_TOUCH_MISSES, 1);
	else if (cmd->class == KVP_WRITE)
		service_count(svc, yes ? COUNTER_STORED : COUNTER_NOT_STORED,
		    1);
}

/* B's host is out, and B has never been idle since, to be renewed: an answer to
 * what was asked since is as good as a greeting. */
static void
reply_is_proof(struct worker *w, struct backend *b, const struct leg *leg)
{
	if (leg->queued_us <= shm_host(w->birth->shm, b->entry)->since_us)
		return;
	b->stale = false;
	counter_set(&b->cells[HOST_LAST_GREETED_US],
	    w->now_us);
	worker_report(w, WORKER_ALARM);
}

static void
reply_count(struct worker *w, struct backend *b,
    const struct leg *leg, const struct kvp_reply *r)
{
	counter_cell *host = b->cells;

	ASSERT(r->class <= KVP_REPLY_ERROR);
	if (leg->abandoned)
		service_count(b->svc, COUNTER_LATE_REPLIES, 1);
	else if (leg->req->client != NULL &&
	    !(leg->req->cmd.flags & KVP_CMD_TOO_LARGE))
		reply_count_answer(b->svc, leg, r);
	if (r->flags & KVP_REPLY_FAILED) {
		if (!leg->abandoned)
			worker_host_failed(w, b->entry);
		return;
	}
	counter_set(&host[HOST_CONTINUOUS], 0);
	counter_set(&host[HOST_EVENTS_IN_A_ROW], 0);
	counter_set(&host[HOST_LAST_GOOD_US], w->now_us);
	if (UNLIKELY(b->stale))
		reply_is_proof(w, b, leg);
	if (UNLIKELY(leg->req->is_rejoin) &&
	    leg->req->cmd.class == KVP_EVERY && r->class == KVP_REPLY_STORED) {
		counter_set(&host[HOST_FLUSHED_US], leg->queued_us);
		worker_report(w, WORKER_ALARM);
	}
}

/* Has REQ's client asked for a change since? */
static bool
reply_change_follows(const struct request *req)
{
	while ((req = STAILQ_NEXT(req, next)) != NULL)
		if (req->cmd.class == KVP_WRITE || req->cmd.class == KVP_EVERY)
			return true;
	return false;
}

/* True: the leg is asked again, and this reply forgotten. */
static bool
reply_follow(struct backend *b, struct leg *leg, const struct kvp_reply *r)
{
	struct service *svc = b->svc;
	struct kvp_key key = leg_key(leg);
	struct kvp_cmd next;
	bool awaited = !leg->abandoned && leg->req->client != NULL &&
	    !leg->req->whole;
	unsigned what;

	what = svc->fn->follow(svc->ext, &leg->req->cmd, &key, r, &next);
	if (what & KVP_FOLLOW_ASIDE)
		issue_aside(b, key.key, &next,
		    awaited && (what & KVP_FOLLOW_HOLD) ? leg->req : NULL);
	return (what & KVP_FOLLOW_AGAIN) != 0 && awaited &&
	    !reply_change_follows(leg->req) && issue_again(b, leg);
}

/* LEG, a copy, has not done what it was to. */
static void
reply_follow_copy(struct backend *b, const struct leg *leg,
    const struct kvp_reply *r)
{
	struct service *svc = b->svc;
	struct kvp_key key = leg_key(leg);
	struct kvp_cmd next;

	if (svc->fn->follow(svc->ext, &leg->req->cmd, &key, r, &next) &
	    KVP_FOLLOW_ASIDE) {
		service_count(b->svc, COUNTER_COPIES_UNCERTAIN, 1);
		issue_aside(b, key.key, &next, NULL);
	}
}

/* Is there room for R, or is its client one that asked for a lot of large
 * values before any of them was known to be large, and does not read them? */
static bool
reply_is_bearable(const struct request *req, const struct kvp_reply *r)
{
	const struct client *c = req->client;
	size_t most = (size_t)req->svc->cfg->client_buffer;

	if (r->body.len < BUF_REF_MIN)
		return true;
	if (!c->blocked || !budget_is_exceeded(c->w))
		most *= REPLY_UNREAD_MAX;
	return c->out.len + c->kept + r->body.len <= most;
}

static void
reply_drop(struct request *req, const struct backend *b)
{
	service_count(b->svc, COUNTER_FAIL_UNREAD, 1);
	if (req->failed_host == UINT32_MAX) {
		req->failed_host = b->host;
		req->why = KVP_FAIL_UNREAD;
	}
	order_fail(req);
}

/* REQ's primary or its backup has not got what a client was to be told. */
static void
reply_refuse(struct request *req)
{
	service_count(req->svc, COUNTER_FAIL_NO_HOST +
	    (enum counter)req->why, 1);
	order_fail(req);
}

/* LEG, which may write, was answered with R: what its client has to wait
 * for. */
static enum replica_verdict
reply_replicate(struct backend *b, const struct leg *leg,
    const struct kvp_reply *r)
{
	struct replica *replica = b->svc->replica;

	if (LIKELY(replica == NULL) || leg->req->cmd.class != KVP_WRITE ||
	    leg->req->is_rejoin)
		return REPLICA_NOTHING;
	return replica_copy(replica, b, leg, r);
}

void
reply_arrived(struct backend *b, struct leg **legp,
    const struct kvp_reply *r, struct lease *src)
{
	struct leg *leg = *legp;
	struct kvp_key key = leg_key(leg);
	enum replica_verdict verdict;

	if (UNLIKELY(leg_is_copy(leg))) {
		reply_count(b->w, b, leg, r);
		if (r->flags & KVP_REPLY_FOLLOW)
			reply_follow_copy(b, leg, r);
		replica_replied(b, legp, r);
		return;
	}
	if (UNLIKELY(r->flags & KVP_REPLY_FOLLOW) &&
	    reply_follow(b, leg, r)) {
		*legp = NULL;
		return;
	}
	reply_count(b->w, b, leg, r);
	if (!leg->abandoned) {
		latency_note_leg(b, leg);
		slow_look(b, leg, false);
	}
	verdict = reply_replicate(b, leg, r);
	if (!leg->abandoned && order_end_part(leg->req, r->body.len)) {
		if (UNLIKELY(verdict == REPLICA_WAIT))
			order_hold(leg->req, &key, r, src);
		else if (UNLIKELY(verdict == REPLICA_REFUSED))
			reply_refuse(leg->req);
		else if (reply_is_bearable(leg->req, r))
			order_take_reply(leg->req, leg->index, &key, r, src);
		else
			reply_drop(leg->req, b);
	}
	request_leg_free(legp);
}

void
reply_failed(struct backend *b, struct leg *leg, enum kvp_fail why)
{
	struct kvp_key key = leg_key(leg);

	ASSERT(!leg->abandoned);
	if (leg->was_sent)
		reply_replicate(b, leg, NULL);
	leg->abandoned = true;
	slow_look(b, leg, true);
	order_part_failed(leg->req, leg->index, &key, b->host, why);
}

void
reply_lost(struct backend *b, const struct leg *leg)
{
	reply_replicate(b, leg, NULL);
}
