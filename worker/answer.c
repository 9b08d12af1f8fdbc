#include "worker/answer.h"

#include <stdio.h>
#include <string.h>

#include "worker/client.h"
#include "worker/pool.h"

enum {
	ANSWER_OUT_FIRST = 4096,	/* a client's output starts so large */
	ANSWER_OUT_NEXT = 16384,
	ANSWER_NAMES_MAX = 512		/* of unreachable hosts, in an error */
};

/* Where an answer is written to: straight to a chain that more will follow
 * on, the client's output or a request's long answer; or, what is short and
 * must wait, through the worker's own room, so that the chain takes no more
 * than it needs. */
struct answer_sink {
	struct worker	*w;
	struct chain	*chain;
	bool		 straight;
	size_t		 before;	/* bytes the chain had */
	struct kvp_out	 out;
};

static bool
answer_is_long(const struct request *req)
{
	return req->cmd.flags & KVP_CMD_MANY || req->cmd.class == KVP_EVERY ||
	    request_is_report(&req->cmd);
}

static bool
answer_sink_begin(struct answer_sink *s, const struct request *req,
    struct chain *chain, size_t extra)
{
	size_t fit;

	s->w = req->svc->w;
	s->chain = chain;
	s->straight = chain == &req->client->out ||
	    (chain == &req->reply && answer_is_long(req));
	s->before = chain->len;
	s->out = (struct kvp_out){ .room = KVP_ROOM + extra };
	if (s->straight) {
		fit = chain_is_empty(chain) ? ANSWER_OUT_FIRST :
		    ANSWER_OUT_NEXT;
		s->out.dst = chain_room(&s->w->bufs, chain, s->out.room, fit);
	} else {
		s->out.dst = s->w->room;
		ASSERT(s->out.room <= sizeof(s->w->room));
	}
	return s->out.dst != NULL;
}

static bool
answer_sink_end(struct answer_sink *s, struct lease *src)
{
	struct buf_pool *bufs = &s->w->bufs;
	const struct kvp_out *out = &s->out;
	size_t fit = s->straight ? ANSWER_OUT_NEXT : 0;

	ASSERT(out->len <= out->room);
	if (s->straight)
		chain_extend(s->chain, out->len);
	else if (!chain_append(bufs, s->chain, out->dst, out->len,
	    out->len + (src == NULL || out->body.len < BUF_REF_MIN ?
	    out->body.len + out->tail.len : 0)))
		return false;
	if (out->body.len > 0 && !(src != NULL ?
	    chain_append_from(bufs, s->chain, src, out->body.p, out->body.len,
	    fit) :
	    chain_append(bufs, s->chain, out->body.p, out->body.len, fit)))
		return false;
	return out->tail.len == 0 || chain_append(bufs, s->chain,
	    out->tail.p, out->tail.len, fit);
}

/* Close the sink; count what is kept. */
static void
answer_end(struct request *req, struct answer_sink *s, struct lease *src)
{
	if (!answer_sink_end(s, src))
		client_break(req->client);
	if (s->chain != &req->client->out) {
		req->kept += s->chain->len - s->before;
		req->client->kept += s->chain->len - s->before;
	}
}

void
answer_render(struct request *req, struct chain *chain,
    const struct kvp_key *key, const struct kvp_reply *r, enum kvp_part part,
    struct lease *src)
{
	struct client *c = req->client;
	struct answer_sink s;

	if (!answer_sink_begin(&s, req, chain,
	    (key != NULL ? key->key.len : 0) + req->note_len)) {
		client_break(c);
		return;
	}
	req->svc->fn->render(req->svc->ext, &c->conn, &req->cmd, key,
	    request_note(req), r, part, &s.out);
	answer_end(req, &s, src);
}

static const char *
answer_failed_hosts(const struct request *req, char *dst, size_t size)
{
	const struct pool *pool = req->svc->pool;
	unsigned i, n_hosts = pool_n_hosts(pool);
	size_t at = 0;
	int n;

	if (req->cmd.class != KVP_EVERY)
		return req->failed_host < n_hosts ?
		    pool_name(pool, req->failed_host) : NULL;
	dst[0] = '\0';
	for (i = 0; i < MIN(n_hosts, 64); i++) {
		if ((req->failed_hosts & (uint64_t)1 << i) == 0)
			continue;
		/* The last bit is that of all hosts behind it too. */
		n = snprintf(dst + at, size - at, "%s%s", at > 0 ? "," : "",
		    i == 63 && n_hosts > 64 ? "others" : pool_name(pool, i));
		if (n < 0 || (size_t)n >= size - at) {
			dst[at] = '\0';
			break;
		}
		at += (size_t)n;
	}
	return dst;
}

void
answer_render_failure(struct request *req, struct chain *chain)
{
	struct client *c = req->client;
	char names[ANSWER_NAMES_MAX];
	struct answer_sink s;

	if (!answer_sink_begin(&s, req, chain, req->note_len)) {
		client_break(c);
		return;
	}
	req->svc->fn->fail(req->svc->ext, &c->conn, &req->cmd,
	    request_note(req), (enum kvp_fail)req->why,
	    answer_failed_hosts(req, names, sizeof(names)), &s.out);
	answer_end(req, &s, NULL);
}

void
answer_admin(struct request *req, const char *name, const void *value,
    size_t len)
{
	struct answer_sink s;
	struct kvp_slice n = { (const uint8_t *)name,
	    name != NULL ? strlen(name) : 0 };
	struct kvp_slice v = { value, len };

	if (!answer_sink_begin(&s, req, &req->reply,
	    req->note_len + KVP_KEY_MAX)) {
		client_break(req->client);
		return;
	}
	req->svc->fn->admin(req->svc->ext, &req->client->conn, &req->cmd,
	    request_note(req), n, v, &s.out);
	answer_end(req, &s, NULL);
}
