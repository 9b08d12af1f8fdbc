#include "worker/issue.h"

#include <string.h>

#include "worker/answer.h"
#include "worker/backend.h"
#include "worker/client.h"
#include "worker/order.h"
#include "worker/pool.h"
#include "worker/replica.h"
#include "worker/route.h"
#include "worker/status.h"

/* A key's part of a command, and where it goes. */
struct issue_target {
	struct backend	*b;		/* NULL: nowhere */
	unsigned	 host;		/* to blame then */
	enum kvp_fail	 why;
	bool		 stand_in;
	bool		 elsewhere;	/* in the read group */
};

static const struct kvp_slice issue_no_note = { NULL, 0 };

/* Keep LEG's body, which lies in SRC, for its copy; where SRC is much larger
 * it would hold more than async_bytes counts.  False: out of memory. */
static bool
issue_keep_body(struct leg *leg, struct kvp_slice body, struct lease *src)
{
	struct worker *w = leg->req->svc->w;

	if (body.len == 0)
		return true;
	if (src != NULL && body.len >= MAX(BUF_REF_MIN, src->cap / 2)) {
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

static struct leg *
issue_new_leg(struct request *req, uint32_t index,
    const struct issue_target *t, const struct kvp_key *key,
    struct lease *src)
{
	struct leg *leg = request_new_leg(req, index, key->key);

	if (leg == NULL)
		return NULL;
	leg->stand_in = t->stand_in;
	leg->elsewhere = t->elsewhere;
	if (req->svc->replica != NULL &&
	    !issue_keep_body(leg, key->body, src))
		request_leg_free(&leg);
	return leg;
}

/* Give REQ's next part, KEY's, to T. */
static void
issue_part(struct request *req, const struct issue_target *t,
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
	else if ((leg = issue_new_leg(req, index, t, key, src)) == NULL)
		why = KVP_FAIL_MEMORY;
	else if ((why = backend_add(b, leg, key, src)) < 0)
		return;
	else {
		/* The request has its client, so it stays. */
		request_leg_free(&leg);
	}
	order_part_failed(req, index, key, t->host, (enum kvp_fail)why);
}

/* A read of a host that is to be emptied. */
static void
issue_miss(struct request *req, const struct kvp_key *key)
{
	uint32_t index = req->n_issued++;

	service_count(req->svc, COUNTER_REJOIN_MISSES, 1);
	if (order_end_part(req, 0))
		order_take_miss(req, index, key);
}

/* The connection to HOST: the client's lane, but where copies go the one they
 * are in, for nothing may overtake them. */
static struct backend *
issue_backend(const struct request *req, unsigned host)
{
	const struct service *svc = req->svc;
	bool backup = svc->replica != NULL &&
	    route_is_backup(svc->route, host);

	return pool_backend(svc->pool, host, backup ? 0 : req->client->lane);
}

/* REQ, which is no client's, asks B alone, of KEY.  False: it cannot be asked,
 * and REQ is freed. */
static bool
issue_alone(struct request *req, struct backend *b, const struct kvp_key *key)
{
	struct leg *leg = request_new_leg(req, 0, key->key);

	if (leg == NULL) {
		request_release(req);
		return false;
	}
	if (backend_add(b, leg, key, NULL) < 0)
		return true;
	request_leg_free(&leg);
	return false;
}

/* What REQ does depends on what B, which is to be emptied, still has of KEY:
 * so it is emptied of that at once. */
static void
issue_delete_first(struct request *req, struct backend *b,
    const struct kvp_key *key)
{
	const struct kvp_key bare = { .key = key->key };
	struct service *svc = req->svc;
	struct request *first;
	struct kvp_cmd cmd;

	if (!svc->fn->effect(svc->ext, &req->cmd, &bare, KVP_OUTCOME_UNKNOWN,
	    NULL, &cmd))
		return;
	first = request_new(svc, NULL, &cmd, issue_no_note);
	if (first == NULL)
		return;
	first->is_rejoin = true;
	(void)issue_alone(first, b, &bare);
}

static void
issue_key(struct request *req, const struct kvp_key *key,
    struct lease *src)
{
	struct service *svc = req->svc;
	struct client *c = req->client;
	struct route_choice choice;
	struct issue_target t;
	struct kvp_key limited;

	client_leg_begins(c, key->body.len);
	choice = route_choose(svc->route, &req->cmd, key->key);
	if (choice.way == ROUTE_MISS) {
		issue_miss(req, key);
		return;
	}
	t = (struct issue_target){
		.host = choice.host, .elsewhere = choice.way == ROUTE_READ
	};
	if (choice.way == ROUTE_NOWHERE)
		t.why = choice.host == POOL_NONE ? KVP_FAIL_NO_HOST :
		    KVP_FAIL_DOWN;
	else {
		t.b = issue_backend(req, choice.host);
		if (UNLIKELY(choice.rejoins))
			issue_delete_first(req, t.b, key);
	}
	if (UNLIKELY(choice.way == ROUTE_STAND_IN)) {
		t.stand_in = true;
		limited = *key;
		limited.ttl_max = request_stand_in_ttl(req);
		key = &limited;
		service_count(c->svc, COUNTER_STAND_INS, 1);
	}
	issue_part(req, &t, key, src);
}

void
issue_feed(struct request *req, const struct kvp_key *key, struct lease *src)
{
	if (req->n_issued + 1 == req->n_parts)
		req->client->feeding = NULL;
	issue_key(req, key, src);
}

void
issue_aside(struct backend *b, struct kvp_slice key,
    const struct kvp_cmd *cmd, struct request *holds)
{
	const struct kvp_key first = { .key = key };
	struct service *svc = b->svc;
	struct request *req = request_new(svc, NULL, cmd, issue_no_note);

	if (req == NULL)
		return;
	if (holds != NULL) {
		req->holds = holds;
		holds->n_holds++;
	}
	if (issue_alone(req, b, &first))
		service_count(svc, COUNTER_FOLLOW_UPS, 1);
}

bool
issue_again(struct backend *b, struct leg *leg)
{
	struct kvp_key key;

	ASSERT(leg->req->cmd.class != KVP_EVERY && leg->step < UINT8_MAX);
	leg->step++;
	key = leg_key(leg);
	if (backend_add(b, leg, &key, NULL) >= 0)
		return false;
	service_count(b->svc, COUNTER_FOLLOW_UPS, 1);
	return true;
}

static void
issue_count(struct service *svc, const struct kvp_cmd *cmd)
{
	service_count(svc, COUNTER_REQUESTS, 1);
	service_count(svc, cmd->class == KVP_READ ? COUNTER_READS :
	    COUNTER_WRITES, 1);
	if (cmd->flags & KVP_CMD_FETCHES)
		service_count(svc, COUNTER_KEYS_READ, MAX(cmd->n_keys, 1));
	else if (cmd->flags & KVP_CMD_STORES)
		service_count(svc, COUNTER_STORES, MAX(cmd->n_keys, 1));
	else if (cmd->flags & KVP_CMD_TOUCHES)
		service_count(svc, COUNTER_TOUCHES, MAX(cmd->n_keys, 1));
	if (cmd->flags & KVP_CMD_TOO_LARGE)
		service_count(svc, COUNTER_TOO_LARGE, 1);
}

static void
issue_local(struct request *req)
{
	struct client *c = req->client;
	uint16_t flags = req->cmd.flags;

	if (flags & KVP_CMD_BAD)
		service_count(c->svc, COUNTER_BAD_REQUESTS, 1);
	if (flags & KVP_CMD_TOO_LARGE)
		service_count(c->svc, COUNTER_TOO_LARGE, 1);
	switch (req->cmd.local) {
	case KVP_LOCAL_STATUS:
		status_answer_block(req);
		break;
	case KVP_LOCAL_STATS:
		status_answer_stats(req);
		break;
	case KVP_LOCAL_RESET:
		status_answer_reset(req);
		break;
	default:
		answer_render(req, order_chain(req), NULL, NULL,
		    KVP_PART_ONLY, NULL);
	}
	order_done(req);
	if (flags & KVP_CMD_CLOSE)
		client_finish(c, flags & KVP_CMD_BAD ? COUNTER_CLOSE_BAD :
		    COUNTER_CLOSE_QUIT);
}

static void
issue_every(struct request *req, const struct kvp_key *key,
    struct lease *src)
{
	struct service *svc = req->svc;
	struct client *c = req->client;
	unsigned i, n = pool_n_hosts(svc->pool), n_parts = 0;

	for (i = 0; i < n; i++)
		n_parts += pool_has(svc->pool, i);
	/* The last one may end the request; none before it can. */
	req->n_parts = n_parts;
	for (i = 0; i < n; i++) {
		struct issue_target t = { .host = i };

		if (!pool_has(svc->pool, i))
			continue;
		t.b = issue_backend(req, i);
		if (req->cmd.flags & KVP_CMD_EMPTIES)
			counter_set(&worker_host(svc->w, t.b->entry)[
			    HOST_LAST_FLUSH_US], svc->w->now_us);
		client_leg_begins(c, 0);
		issue_part(req, &t, key, src);
	}
	/* What is asked from here on is later, in this turn too. */
	svc->w->now_us++;
}

static void
issue_flush(struct service *svc, unsigned host)
{
	const struct kvp_key none = { .key = { NULL, 0 } };
	struct request *req;
	struct kvp_cmd cmd;

	svc->fn->flush(svc->ext, &cmd);
	req = request_new(svc, NULL, &cmd, issue_no_note);
	if (req == NULL)
		return;
	req->is_rejoin = true;
	/* Should it fail, the master will give the task again. */
	(void)issue_alone(req, pool_backend(svc->pool, host, 0), &none);
}

void
issue_flush_rejoining(struct service *svc)
{
	unsigned i, n = pool_n_hosts(svc->pool);

	for (i = 0; i < n; i++) {
		if (!pool_has(svc->pool, i) || !pool_take_flush(svc->pool, i))
			continue;
		/* It counts if it is later than the task, which may be of
		 * this turn. */
		turn_now(svc->w);
		issue_flush(svc, i);
	}
}

struct request *
issue_start(struct client *c, const struct kvp_request *found,
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
		issue_local(req);
		return NULL;
	}
	issue_count(svc, &found->cmd);
	if (found->cmd.class == KVP_EVERY) {
		issue_every(req, &found->key, src);
		return NULL;
	}
	if (found->cmd.flags & KVP_CMD_MANY) {
		req->n_parts = found->cmd.n_keys;
		req->n_items = MIN(req->n_parts,
		    (uint32_t)svc->cfg->client_window);
		answer_render(req, &req->reply, NULL, NULL, KVP_PART_BEGIN,
		    NULL);
		return req;
	}
	issue_key(req, &found->key, src);
	return NULL;
}
