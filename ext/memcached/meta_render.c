/*
 * meta_render.c: answers in the meta protocol.
 *
 * What a client asked for stands in the order it asked in.  Its opaque and
 * its key come back as it wrote them; those that servers are asked with never
 * show.
 */
#include "ext/memcached/base64.h"
#include "ext/memcached/meta.h"
#include "ext/memcached/text.h"
#include "ext/memcached/wire.h"

/* A line without key and opaque: "VA", a length, seven fields of a space, a
 * letter and a number, two letters, three letters more, the line end, and
 * the number of a counter. */
_Static_assert(2 + 1 + WIRE_U64_MAX + 7 * (2 + WIRE_U64_MAX) + 4 + 6 + 2 +
    WIRE_U64_MAX + 2 + BASE64_LEN(COMMAND_KEY_MAX) <= KVP_ROOM,
    "a line fits into the least room");

/* What failing commands bring all the same. */
enum { META_ECHOES = COMMAND_ASK(KEY) | COMMAND_ASK(OPAQUE) };

static uint8_t *
meta_put_key(uint8_t *p, const struct command *c, struct kvp_slice key)
{
	if ((c->bits & COMMAND_BASE64) == 0)
		return wire_put(p, key.p, key.len);
	p = base64_put(p, key);
	return wire_put_str(p, " b");
}

static uint8_t *
meta_put_field(uint8_t *p, const struct command *c, enum command_field field,
    struct kvp_slice key, struct kvp_slice note, const struct result *res)
{
	switch (field) {
	case COMMAND_FIELD_KEY:
		return meta_put_key(wire_put_str(p, " k"), c, key);
	case COMMAND_FIELD_OPAQUE:
		p = wire_put_str(p, " O");
		return note.len > 0 ? wire_put(p, note.p, note.len) : p;
	case COMMAND_FIELD_FLAGS:
		return wire_put_u64(wire_put_str(p, " f"), res->client_flags);
	case COMMAND_FIELD_CAS:
		return wire_put_u64(wire_put_str(p, " c"), res->cas);
	case COMMAND_FIELD_TTL:
		if (res->bits & RESULT_IMMORTAL)
			return wire_put_str(p, " t-1");
		return wire_put_u64(wire_put_str(p, " t"), res->ttl);
	case COMMAND_FIELD_ACCESS:
		return wire_put_u64(wire_put_str(p, " l"), res->access);
	case COMMAND_FIELD_HIT:
		p = wire_put_str(p, " h");
		return wire_put_u64(p, (res->bits & RESULT_HIT_BEFORE) != 0);
	case COMMAND_FIELD_SIZE:
		return wire_put_u64(wire_put_str(p, " s"), res->number);
	default:
		return p;	/* changes something, brings nothing */
	}
}

/* The fields that C asked for, those of SHOWN. */
static uint8_t *
meta_put_fields(uint8_t *p, const struct command *c, unsigned shown,
    struct kvp_slice key, struct kvp_slice note, const struct result *res)
{
	uint64_t order = c->order;

	for (; order != 0; order >>= 4)
		if (shown & 1u << (order & 15))
			p = meta_put_field(p, c,
			    (enum command_field)(order & 15), key, note, res);
	return p;
}

static uint8_t *
meta_put_stale(uint8_t *p, const struct result *res)
{
	if (res->bits & RESULT_TAKEN)
		p = wire_put_str(p, " Z");
	if (res->bits & RESULT_STALE)
		p = wire_put_str(p, " X");
	if (res->bits & RESULT_WON)
		p = wire_put_str(p, " W");
	return p;
}

/* The code of an answer that brings no value. */
static uint8_t *
meta_put_code(uint8_t *p, const struct kvp_reply *r)
{
	if (r->class == KVP_REPLY_MISS)
		return wire_put_str(p, "EN");
	switch ((enum result_status)result_peek(r)->status) {
	case RESULT_NOT_STORED:
		return wire_put_str(p, "NS");
	case RESULT_EXISTS:
		return wire_put_str(p, "EX");
	case RESULT_NOT_FOUND:
		return wire_put_str(p, "NF");
	default:
		return wire_put_str(p, "HD");
	}
}

static void
meta_render_reply(const struct command *c, struct kvp_slice key,
    struct kvp_slice note, const struct kvp_reply *r, struct kvp_out *out)
{
	const struct result *res = result_peek(r);
	bool yes = r->class == KVP_REPLY_HIT || r->class == KVP_REPLY_STORED;
	bool value = yes && (c->bits & COMMAND_VALUE) != 0;
	bool count = command_is_count((enum command_op)c->op);
	uint8_t digits[WIRE_U64_MAX];
	size_t len = r->body.len;
	uint8_t *p = out->dst;

	if (count)
		len = (size_t)(wire_put_u64(digits, res->number) - digits);
	p = value ? wire_put_u64(wire_put_str(p, "VA "), len) :
	    meta_put_code(p, r);
	/* A store says its CAS whatever became of it. */
	p = meta_put_fields(p, c, yes ? UINT32_MAX :
	    command_is_store((enum command_op)c->op) ?
	    META_ECHOES | COMMAND_ASK(CAS) : META_ECHOES, key, note, res);
	if (r->class == KVP_REPLY_HIT)
		p = meta_put_stale(p, res);
	p = wire_put_str(p, "\r\n");
	if (value && count)
		p = wire_put_str(wire_put(p, digits, len), "\r\n");
	out->len = (size_t)(p - out->dst);
	if (value && !count) {
		out->body = r->body;
		out->tail = (struct kvp_slice)WIRE_SLICE("\r\n");
	}
}

/* Does q hide this?  A miss of a read, the success of a write; what is wrong
 * is always said. */
static bool
meta_is_hidden(const struct command *c, const struct kvp_reply *r)
{
	return (c->bits & COMMAND_QUIET) != 0 &&
	    r->class == (c->op == COMMAND_GET ? KVP_REPLY_MISS :
	    KVP_REPLY_STORED);
}

static void
meta_render(const struct memcached *m, struct kvp_cmd *cmd,
    const struct kvp_key *key, struct kvp_slice note,
    const struct kvp_reply *r, enum kvp_part part, struct kvp_out *out)
{
	const struct command *c = command_peek(cmd);

	(void)m;
	(void)part;
	if (cmd->flags & KVP_CMD_TOO_LARGE)
		text_put_too_large(out);
	else if (r->class == KVP_REPLY_ERROR)
		text_put_error(r, out);
	else if (!meta_is_hidden(c, r))
		meta_render_reply(c, key->key, note, r, out);
}

/* What the proxy itself answers to meta requests goes as to classic ones. */
const struct client_dialect client_meta = {
	.render = meta_render,
	.fail = text_put_failure,
};
