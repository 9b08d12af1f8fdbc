/*
 * binary_render.c: answers in the binary protocol, with memcached 1.6.18's
 * statuses and texts.
 */
#include "ext/memcached/binary.h"
#include "ext/memcached/wire.h"

enum {
	FLAGS_LEN = 4,		/* extras of a value */
	COUNTER_LEN = 8,
	NAME_MAX_SHOWN = 512	/* of what the core calls a thing */
};

_Static_assert(BINARY_HEADER + FLAGS_LEN + NAME_MAX_SHOWN <= KVP_ROOM &&
    BINARY_HEADER + COMMAND_FAILURE_MAX <= KVP_ROOM,
    "what stands before a value fits into the least room");

/* What a response's header says besides what its request said. */
struct binary_head {
	enum binary_status status;
	uint8_t		 extras_len;
	size_t		 key_len;
	size_t		 body_len;	/* with extras and key */
	uint64_t	 cas;
};

static uint8_t *
binary_put_u16(uint8_t *p, uint16_t n)
{
	*p++ = (uint8_t)(n >> 8);
	*p++ = (uint8_t)n;
	return p;
}

static uint8_t *
binary_put_u32(uint8_t *p, uint32_t n)
{
	return binary_put_u16(binary_put_u16(p, (uint16_t)(n >> 16)),
	    (uint16_t)n);
}

static uint8_t *
binary_put_u64(uint8_t *p, uint64_t n)
{
	return binary_put_u32(binary_put_u32(p, (uint32_t)(n >> 32)),
	    (uint32_t)n);
}

static uint8_t *
binary_put_head(uint8_t *p, const struct command *c,
    const struct binary_head *h)
{
	*p++ = BINARY_RESPONSE;
	*p++ = c->opcode;
	p = binary_put_u16(p, (uint16_t)h->key_len);
	*p++ = h->extras_len;
	*p++ = 0;
	p = binary_put_u16(p, (uint16_t)h->status);
	p = binary_put_u32(p, (uint32_t)h->body_len);
	p = wire_put(p, &c->opaque, sizeof(c->opaque));
	return binary_put_u64(p, h->cas);
}

static void
binary_end(struct kvp_out *out, const uint8_t *p)
{
	out->len = (size_t)(p - out->dst);
}

/* A response of STATUS with the TEXT that goes with it. */
static void
binary_say(const struct command *c, enum binary_status status,
    struct kvp_slice text, struct kvp_out *out)
{
	struct binary_head h = { .status = status, .body_len = text.len };
	uint8_t *p = binary_put_head(out->dst, c, &h);

	if (text.len > 0)
		p = wire_put(p, text.p, text.len);
	binary_end(out, p);
}

static void
binary_say_status(const struct command *c, enum binary_status status,
    struct kvp_out *out)
{
	static const struct {
		uint16_t	 status;
		struct kvp_slice text;
	} texts[] = {
		{ BINARY_NOT_FOUND, WIRE_SLICE("Not found") },
		{ BINARY_EXISTS, WIRE_SLICE("Data exists for key.") },
		{ BINARY_TOO_LARGE, WIRE_SLICE("Too large.") },
		{ BINARY_INVALID, WIRE_SLICE("Invalid arguments") },
		{ BINARY_NOT_STORED, WIRE_SLICE("Not stored.") },
		{ BINARY_NOT_A_NUMBER, WIRE_SLICE(
		    "Non-numeric server-side value for incr or decr") },
		{ BINARY_NOT_ALLOWED, WIRE_SLICE("Auth failure.") },
		{ BINARY_UNKNOWN, WIRE_SLICE("Unknown command") },
		{ BINARY_NO_MEMORY, WIRE_SLICE("Out of memory") },
		{ BINARY_FAILED, WIRE_SLICE("a server failed") },
	};
	static const struct kvp_slice none = { NULL, 0 };
	size_t i;

	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].status == status) {
			binary_say(c, status, texts[i].text, out);
			return;
		}
	binary_say(c, status, none, out);
}

/*
 * Answers of the proxy.
 */

static void
binary_render_local(const struct memcached *m, const struct command *c,
    struct kvp_out *out)
{
	const struct kvp_slice version = {
		(const uint8_t *)m->version, m->version_len
	};

	switch ((enum command_answer)c->answer) {
	case COMMAND_ANSWER_NONE:
		break;
	case COMMAND_ANSWER_OK:
		binary_say_status(c, BINARY_OK, out);
		break;
	case COMMAND_ANSWER_VERSION:
		binary_say(c, BINARY_OK, version, out);
		break;
	case COMMAND_ANSWER_UNKNOWN:
		binary_say_status(c, BINARY_UNKNOWN, out);
		break;
	case COMMAND_ANSWER_TOO_LARGE:
		binary_say_status(c, BINARY_TOO_LARGE, out);
		break;
	case COMMAND_ANSWER_NO_FLUSH:
		binary_say_status(c, BINARY_NOT_ALLOWED, out);
		break;
	case COMMAND_ANSWER_CLIENT_ERROR:
	case COMMAND_ANSWER_SERVER_ERROR:
		binary_say_status(c, BINARY_FAILED, out);
		break;
	default:
		binary_say_status(c, BINARY_INVALID, out);
	}
}

/*
 * Answers of servers.
 */

/* What a server's error line says in a status.  Others go out in words. */
static enum binary_status
binary_error_status(struct kvp_slice line)
{
	if (wire_is(line.p, line.len, "CLIENT_ERROR cannot increment or "
	    "decrement non-numeric value"))
		return BINARY_NOT_A_NUMBER;
	if (wire_begins(line.p, line.len,
	    "SERVER_ERROR object too large for cache"))
		return BINARY_TOO_LARGE;
	if (wire_begins(line.p, line.len, "SERVER_ERROR out of memory") ||
	    wire_begins(line.p, line.len, "SERVER_ERROR Out of memory"))
		return BINARY_NO_MEMORY;
	return BINARY_FAILED;
}

static void
binary_render_error(const struct command *c, const struct kvp_reply *r,
    struct kvp_out *out)
{
	enum binary_status status = binary_error_status(r->body);
	struct binary_head h = {
		.status = status, .body_len = r->body.len
	};

	if (status != BINARY_FAILED) {
		binary_say_status(c, status, out);
		return;
	}
	binary_end(out, binary_put_head(out->dst, c, &h));
	out->body = r->body;
}

/* The CAS of another server would be taken for the primary's. */
static void
binary_render_hit(const struct command *c, const struct kvp_key *key,
    const struct kvp_reply *r, struct kvp_out *out)
{
	const struct result *res = result_peek(r);
	bool show_key = (c->bits & COMMAND_SHOW_KEY) != 0;
	bool value = (c->bits & COMMAND_VALUE) != 0;
	struct binary_head h = {
		.extras_len = FLAGS_LEN, .cas = key->elsewhere ? 0 : res->cas,
		.key_len = show_key ? key->key.len : 0
	};
	uint8_t *p;

	h.body_len = FLAGS_LEN + h.key_len + (value ? r->body.len : 0);
	p = binary_put_head(out->dst, c, &h);
	p = binary_put_u32(p, res->client_flags);
	if (show_key)
		p = wire_put(p, key->key.p, key->key.len);
	binary_end(out, p);
	if (value)
		out->body = r->body;
}

static void
binary_render_miss(const struct command *c, struct kvp_slice key,
    struct kvp_out *out)
{
	if (c->bits & COMMAND_QUIET)
		return;
	if (c->bits & COMMAND_SHOW_KEY) {
		struct binary_head h = {
			.status = BINARY_NOT_FOUND, .key_len = key.len,
			.body_len = key.len
		};
		uint8_t *p = binary_put_head(out->dst, c, &h);

		binary_end(out, wire_put(p, key.p, key.len));
	} else
		binary_say_status(c, BINARY_NOT_FOUND, out);
}

static void
binary_render_yes(const struct command *c, const struct kvp_reply *r,
    struct kvp_out *out)
{
	const struct result *res = result_peek(r);
	bool count = command_is_count((enum command_op)c->op);
	struct binary_head h = {
		.body_len = count ? COUNTER_LEN : 0, .cas = res->cas
	};
	uint8_t *p;

	if (c->bits & COMMAND_QUIET)
		return;
	p = binary_put_head(out->dst, c, &h);
	binary_end(out, count ? binary_put_u64(p, res->number) : p);
}

/* Why a write was not done; a quiet one says it too. */
static enum binary_status
binary_no_status(const struct command *c, enum result_status status)
{
	if (status == RESULT_EXISTS)
		return BINARY_EXISTS;
	if (status == RESULT_NOT_FOUND || c->op == COMMAND_REPLACE)
		return BINARY_NOT_FOUND;
	return c->op == COMMAND_ADD ? BINARY_EXISTS : BINARY_NOT_STORED;
}

static void
binary_render_reply(const struct kvp_cmd *cmd, const struct kvp_key *key,
    const struct kvp_reply *r, struct kvp_out *out)
{
	const struct command *c = command_peek(cmd);

	if (cmd->flags & KVP_CMD_TOO_LARGE) {
		binary_say_status(c, BINARY_TOO_LARGE, out);
		return;
	}
	switch ((enum kvp_reply_class)r->class) {
	case KVP_REPLY_HIT:
		binary_render_hit(c, key, r, out);
		break;
	case KVP_REPLY_MISS:
		binary_render_miss(c, key->key, out);
		break;
	case KVP_REPLY_STORED:
		binary_render_yes(c, r, out);
		break;
	case KVP_REPLY_NOT_STORED:
		binary_say_status(c, binary_no_status(c,
		    (enum result_status)result_peek(r)->status), out);
		break;
	case KVP_REPLY_ERROR:
		binary_render_error(c, r, out);
		break;
	}
}

static void
binary_render(const struct memcached *m, struct kvp_cmd *cmd,
    const struct kvp_key *key, struct kvp_slice note,
    const struct kvp_reply *r, enum kvp_part part, struct kvp_out *out)
{
	struct command *c = command_of(cmd);

	(void)note;
	if (part == KVP_PART_ITEM) {
		if (r->class == KVP_REPLY_ERROR)
			command_note_error(c, r);
	} else if (part == KVP_PART_END) {
		if (c->answer != COMMAND_ANSWER_NONE)
			binary_render_local(m, c, out);
		else if ((c->bits & COMMAND_QUIET) == 0)
			binary_say_status(c, BINARY_OK, out);
	} else if (r == NULL)
		binary_render_local(m, c, out);
	else
		binary_render_reply(cmd, key, r, out);
}

/*
 * Failures.
 */

static void
binary_fail(const struct kvp_cmd *cmd, enum kvp_fail why, const char *host,
    struct kvp_out *out)
{
	const struct command *c = command_peek(cmd);
	uint8_t text[COMMAND_FAILURE_MAX];
	struct kvp_slice s = { text, 0 };

	if (cmd->flags & KVP_CMD_TOO_LARGE)
		binary_say_status(c, BINARY_TOO_LARGE, out);
	else if (why == KVP_FAIL_UNSUPPORTED)
		binary_say_status(c, BINARY_INVALID, out);
	else if (why == KVP_FAIL_MEMORY)
		binary_say_status(c, BINARY_NO_MEMORY, out);
	else {
		s.len = (size_t)(command_put_failure(text, why, host) - text);
		binary_say(c, BINARY_FAILED, s, out);
	}
}

/*
 * Answers of the core.
 */

static void
binary_admin(const struct kvp_cmd *cmd, struct kvp_slice name,
    struct kvp_slice value, struct kvp_out *out)
{
	const struct command *c = command_peek(cmd);
	struct binary_head h = { .key_len = name.len };

	if (name.len > 0 && value.p == NULL) {
		binary_say_status(c, BINARY_NOT_FOUND, out);
		return;
	}
	if (h.key_len > NAME_MAX_SHOWN)
		h.key_len = NAME_MAX_SHOWN;
	h.body_len = h.key_len + value.len;
	binary_end(out, binary_put_head(out->dst, c, &h));
	if (h.key_len > 0) {
		wire_put(out->dst + out->len, name.p, h.key_len);
		out->len += h.key_len;
	}
	out->body = value;
}

const struct client_dialect client_binary = {
	.render = binary_render,
	.fail = binary_fail,
	.admin = binary_admin,
};
