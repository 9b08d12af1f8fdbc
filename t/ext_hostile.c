/*
 * ext_hostile.c: an extension that does what the core must not believe.
 *
 * Its protocol is lines.  "ok" is answered; "get KEY" asks a server for KEY
 * and is answered whatever the server says.  Other words, and some keys, are
 * the names of faults.
 */
#include <stdlib.h>
#include <string.h>

#include "ext/kvp_ext.h"

static int hostile_self;

static void *
hostile_open(const struct kvp_conf *conf, char *err, size_t room)
{
	(void)conf;
	(void)err;
	(void)room;
	return &hostile_self;
}

static void
hostile_close(void *ext)
{
	(void)ext;
}

static bool
hostile_is(struct kvp_slice s, const char *word)
{
	return s.len == strlen(word) && memcmp(s.p, word, s.len) == 0;
}

/* A key that lies in no input. */
static ssize_t
hostile_take_key(struct kvp_request *req, const uint8_t *p, size_t len,
    ssize_t n)
{
	req->cmd.class = KVP_READ;
	req->cmd.n_keys = 1;
	req->key.key = (struct kvp_slice){ p, len };
	return n;
}

static ssize_t
hostile_parse(void *ext, struct kvp_conn *client, const uint8_t *p, size_t len,
    struct kvp_request *req)
{
	static const uint8_t elsewhere[4] = "key";
	const uint8_t *end = memchr(p, '\n', len);
	struct kvp_slice line;
	ssize_t n;

	(void)ext;
	(void)client;
	req->need = len + 1;
	if (end == NULL)
		return 0;
	line = (struct kvp_slice){ p, (size_t)(end - p) };
	n = end - p + 1;
	if (line.len > 4 && memcmp(p, "get ", 4) == 0)
		return hostile_take_key(req, p + 4, line.len - 4, n);
	if (hostile_is(line, "negative"))
		return -1;
	if (hostile_is(line, "past the end"))
		return (ssize_t)len + 1;
	if (hostile_is(line, "no progress"))
		req->need = len;
	if (hostile_is(line, "endless"))
		req->need = SIZE_MAX;
	if (req->need != len + 1)
		return 0;
	if (hostile_is(line, "key elsewhere"))
		return hostile_take_key(req, elsewhere, 3, n);
	if (hostile_is(line, "key past the end"))
		return hostile_take_key(req, p, SIZE_MAX - 1, n);
	if (hostile_is(line, "abort"))
		abort();
	if (hostile_is(line, "loop"))
		for (volatile bool on = true; on;)
			;
	req->cmd.class = KVP_LOCAL;
	req->cmd.local = KVP_LOCAL_ANSWER;
	req->cmd.mem[0] = hostile_is(line, "no room");
	return n;
}

static bool
hostile_next_key(void *ext, const struct kvp_cmd *cmd, struct kvp_slice keys,
    size_t *at, struct kvp_key *key, uint8_t *room)
{
	(void)ext;
	(void)cmd;
	(void)keys;
	(void)at;
	(void)key;
	(void)room;
	return false;
}

static bool
hostile_encode(void *ext, struct kvp_conn *backend, const struct kvp_cmd *cmd,
    const struct kvp_key *key, uint32_t opaque, struct kvp_out *out)
{
	(void)ext;
	(void)backend;
	(void)cmd;
	(void)opaque;
	memcpy(out->dst, "get ", 4);
	memcpy(out->dst + 4, key->key.p, key->key.len);
	memcpy(out->dst + 4 + key->key.len, "\r\n", 2);
	out->len = key->key.len + 6;
	return true;
}

static size_t
hostile_greet(void *ext, struct kvp_conn *backend, uint8_t *dst, size_t room)
{
	(void)ext;
	(void)backend;
	(void)dst;
	(void)room;
	return 0;
}

static ssize_t
hostile_greeted(void *ext, struct kvp_conn *backend, const uint8_t *p,
    size_t len)
{
	(void)ext;
	(void)backend;
	(void)p;
	(void)len;
	return -1;
}

static ssize_t
hostile_decode(void *ext, struct kvp_conn *backend, const struct kvp_cmd *cmd,
    const struct kvp_key *key, uint32_t opaque, const uint8_t *p, size_t len,
    struct kvp_reply *r)
{
	const uint8_t *end = memchr(p, '\n', len);
	ssize_t n;

	(void)ext;
	(void)backend;
	(void)cmd;
	(void)opaque;
	r->need = len + 1;
	if (end == NULL)
		return 0;
	n = end - p + 1;
	r->class = KVP_REPLY_MISS;
	if (hostile_is(key->key, "negative"))
		return -1;
	if (hostile_is(key->key, "past-the-end"))
		return (ssize_t)len + 1;
	if (hostile_is(key->key, "body-past-the-end"))
		r->body = (struct kvp_slice){ p, SIZE_MAX };
	if (hostile_is(key->key, "no-progress"))
		r->need = len;
	if (hostile_is(key->key, "endless"))
		r->need = SIZE_MAX;
	return r->need != len + 1 ? 0 : n;
}

static unsigned
hostile_follow(void *ext, const struct kvp_cmd *cmd, const struct kvp_key *key,
    const struct kvp_reply *r, struct kvp_cmd *next)
{
	(void)ext;
	(void)cmd;
	(void)key;
	(void)r;
	(void)next;
	return KVP_FOLLOW_NONE;
}

static void
hostile_render(void *ext, struct kvp_conn *client, struct kvp_cmd *cmd,
    const struct kvp_key *key, struct kvp_slice note,
    const struct kvp_reply *r, enum kvp_part part, struct kvp_out *out)
{
	(void)ext;
	(void)client;
	(void)key;
	(void)note;
	(void)r;
	(void)part;
	memcpy(out->dst, "OK\r\n", 4);
	out->len = cmd->mem[0] != 0 ? out->room + 1 : 4;
}

static void
hostile_fail(void *ext, struct kvp_conn *client, struct kvp_cmd *cmd,
    struct kvp_slice note, enum kvp_fail why, const char *host,
    struct kvp_out *out)
{
	(void)ext;
	(void)client;
	(void)cmd;
	(void)note;
	(void)why;
	(void)host;
	memcpy(out->dst, "FAILED\r\n", 8);
	out->len = 8;
}

static bool
hostile_effect(void *ext, const struct kvp_cmd *cmd, const struct kvp_key *key,
    enum kvp_outcome outcome, const struct kvp_reply *r, struct kvp_cmd *copy)
{
	(void)ext;
	(void)cmd;
	(void)key;
	(void)outcome;
	(void)r;
	(void)copy;
	return false;
}

static void
hostile_age(void *ext, struct kvp_cmd *copy, uint32_t waited_s)
{
	(void)ext;
	(void)copy;
	(void)waited_s;
}

static void
hostile_flush(void *ext, struct kvp_cmd *cmd)
{
	(void)ext;
	(void)cmd;
}

static void
hostile_admin(void *ext, struct kvp_conn *client, const struct kvp_cmd *cmd,
    struct kvp_slice note, struct kvp_slice name, struct kvp_slice value,
    struct kvp_out *out)
{
	(void)ext;
	(void)client;
	(void)cmd;
	(void)note;
	(void)name;
	(void)value;
	(void)out;
}

const struct kvp_ext kvp_extension = {
	.abi = KVP_ABI,
	.size = sizeof(struct kvp_ext),
	.name = "hostile",
	.open = hostile_open,
	.close = hostile_close,
	.parse = hostile_parse,
	.next_key = hostile_next_key,
	.encode = hostile_encode,
	.greet = hostile_greet,
	.greeted = hostile_greeted,
	.decode = hostile_decode,
	.follow = hostile_follow,
	.render = hostile_render,
	.fail = hostile_fail,
	.effect = hostile_effect,
	.age = hostile_age,
	.flush = hostile_flush,
	.admin = hostile_admin,
};
