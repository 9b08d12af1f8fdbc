#include "worker/intake.h"

#include "worker/issue.h"
#include "worker/patience.h"

/* Does S lie in the LEN bytes at P? */
static bool
intake_has(struct kvp_slice s, const uint8_t *p, size_t len)
{
	return s.len == 0 || (s.p >= p && s.p <= p + len &&
	    s.len <= (size_t)(p + len - s.p));
}

unsigned
intake_feed(struct client *c, unsigned budget)
{
	const struct kvp_ext *fn = c->svc->fn;
	struct kvp_slice keys;
	uint8_t room[KVP_KEY_MAX];
	struct kvp_key key;
	unsigned n = 0;
	bool found;

	keys.p = input_bytes(&c->in) + c->feed_keys;
	keys.len = c->feed_len;
	/* It is fed no more with its last key, or when it fails. */
	while (c->feeding != NULL && n < budget && client_may_issue(c)) {
		found = fn->next_key(c->svc->ext, &c->feeding->cmd, keys,
		    &c->feed_at, &key, room);
		ASSERT(found && key.key.len <= KVP_KEY_MAX);
		ASSERT(intake_has(key.key, keys.p, keys.len) ||
		    intake_has(key.key, room, sizeof(room)));
		ASSERT(intake_has(key.body, keys.p, keys.len));
		n++;
		issue_feed(c->feeding, &key, c->in.lease);
	}
	if (c->feeding == NULL) {
		input_eat(&c->in, c->feed_frame);
		c->feed_frame = 0;
	}
	return n;
}

static bool
intake_may_have(const struct client *c, const struct kvp_request *found,
    ssize_t n, struct kvp_slice s)
{
	return intake_has(s, input_bytes(&c->in), (size_t)n) ||
	    intake_has(s, found->room, sizeof(found->room));
}

/* An extension is believed only what can be true. */
static void
intake_check(const struct client *c, const struct kvp_request *found,
    ssize_t n)
{
	ASSERT(found->cmd.class <= KVP_LOCAL);
	if (found->cmd.class != KVP_LOCAL) {
		ASSERT(found->key.key.len <= KVP_KEY_MAX);
		ASSERT(intake_may_have(c, found, n, found->key.key));
		ASSERT(intake_may_have(c, found, n, found->key.body));
		if (found->cmd.flags & KVP_CMD_MANY)
			ASSERT(intake_has(found->keys,
			    input_bytes(&c->in), (size_t)n) &&
			    found->cmd.n_keys > 0);
	}
	ASSERT(found->note.len <= KVP_NOTE_MAX);
	ASSERT(intake_may_have(c, found, n, found->note));
}

unsigned
intake_parse(struct client *c, unsigned budget)
{
	struct kvp_request found;
	ssize_t n;

	ASSERT(budget > 0);
	/* Not the whole of it: the parser's room is large. */
	found.cmd = (struct kvp_cmd){ .class = KVP_LOCAL };
	found.key = (struct kvp_key){ .key = { NULL, 0 } };
	found.keys = found.note = (struct kvp_slice){ NULL, 0 };
	found.swallow = found.need = 0;
	n = c->svc->fn->parse(c->svc->ext, &c->conn, input_bytes(&c->in),
	    c->in.len, &found);
	if (n < 0) {
		client_finish(c, COUNTER_CLOSE_BAD);
		return 0;
	}
	if (n == 0) {
		ASSERT(found.need > c->in.len);
		if (c->need == 0)
			c->begun_us = c->w->now_us;
		c->need = found.need;
		if (c->need > (size_t)c->svc->cfg->max_packet + BUF_SCRATCH)
			client_finish(c, COUNTER_CLOSE_TOO_LONG);
		return 0;
	}
	ASSERT((size_t)n <= c->in.len);
	intake_check(c, &found, n);
	c->need = 0;
	c->swallow = found.swallow;
	if (UNLIKELY(c->swallow > 0))
		c->begun_us = c->w->now_us;
	c->feeding = issue_start(c, &found, c->in.lease);
	if (c->feeding == NULL) {
		input_eat(&c->in, (size_t)n);
		return UNLIKELY(request_is_report(&found.cmd)) ? budget : 1;
	}
	c->feed_at = 0;
	c->feed_keys = (size_t)(found.keys.p - input_bytes(&c->in));
	c->feed_len = found.keys.len;
	c->feed_frame = (size_t)n;
	return 1;
}

void
intake_swallow(struct client *c)
{
	size_t n = (size_t)MIN(c->swallow, c->in.len);

	input_eat(&c->in, n);
	c->swallow -= n;
	c->begun_us += patience_for(n);
}
