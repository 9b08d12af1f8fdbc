/*
 * text_render.c: answers in the classic text protocol.
 */
#include "ext/memcached/text.h"
#include "ext/memcached/wire.h"

enum {
	NAME_MAX_SHOWN = 512	/* of what the core calls a thing */
};

/* What text_render_value writes besides the key: "VALUE ", three numbers
 * with their spaces, the line end. */
_Static_assert(sizeof("VALUE ") + 3 * (WIRE_U64_MAX + 1) + 2 <= KVP_ROOM,
    "a line with a value fits into the least room");

static void
text_put(struct kvp_out *out, const void *src, size_t len)
{
	wire_put(out->dst + out->len, src, len);
	out->len += len;
}

#define text_put_str(out, str) text_put((out), (str), sizeof(str) - 1)

/*
 * Answers of the proxy.
 */

static void
text_render_local(const struct memcached *m, const struct command *c,
    struct kvp_out *out)
{
	static const struct kvp_slice answers[COMMAND_N_ANSWERS] = {
		[COMMAND_ANSWER_UNKNOWN] = WIRE_SLICE("ERROR\r\n"),
		[COMMAND_ANSWER_FORMAT] =
		    WIRE_SLICE("CLIENT_ERROR bad command line format\r\n"),
		[COMMAND_ANSWER_CHUNK] =
		    WIRE_SLICE("CLIENT_ERROR bad data chunk\r\n"),
		[COMMAND_ANSWER_EXPTIME] =
		    WIRE_SLICE("CLIENT_ERROR invalid exptime argument\r\n"),
		[COMMAND_ANSWER_DELTA] = WIRE_SLICE(
		    "CLIENT_ERROR invalid numeric delta argument\r\n"),
		[COMMAND_ANSWER_DELETE_USAGE] = WIRE_SLICE(
		    "CLIENT_ERROR bad command line format.  "
		    "Usage: delete <key> [noreply]\r\n"),
		[COMMAND_ANSWER_MANY_FLAGS_READ] = WIRE_SLICE(
		    "CLIENT_ERROR options flags are too long\r\n"),
		[COMMAND_ANSWER_MANY_FLAGS] =
		    WIRE_SLICE("CLIENT_ERROR options flags too long\r\n"),
		[COMMAND_ANSWER_FLAG_TWICE] =
		    WIRE_SLICE("CLIENT_ERROR duplicate flag\r\n"),
		[COMMAND_ANSWER_FLAG_UNKNOWN] =
		    WIRE_SLICE("CLIENT_ERROR invalid flag\r\n"),
		[COMMAND_ANSWER_FLAG_BAD] = WIRE_SLICE(
		    "CLIENT_ERROR invalid or duplicate flag\r\n"),
		[COMMAND_ANSWER_TOKEN] = WIRE_SLICE(
		    "CLIENT_ERROR bad token in command line format\r\n"),
		[COMMAND_ANSWER_KEY_CODE] =
		    WIRE_SLICE("CLIENT_ERROR error decoding key\r\n"),
		[COMMAND_ANSWER_OPAQUE] =
		    WIRE_SLICE("CLIENT_ERROR opaque token too long\r\n"),
		[COMMAND_ANSWER_MODE_LENGTH] = WIRE_SLICE(
		    "CLIENT_ERROR incorrect length for M token\r\n"),
		[COMMAND_ANSWER_STORE_MODE] = WIRE_SLICE(
		    "CLIENT_ERROR invalid mode for ms M token\r\n"),
		[COMMAND_ANSWER_COUNT_MODE] = WIRE_SLICE(
		    "CLIENT_ERROR invalid mode for ma M token\r\n"),
		[COMMAND_ANSWER_COUNT_INITIAL] = WIRE_SLICE(
		    "CLIENT_ERROR invalid numeric initial value\r\n"),
		[COMMAND_ANSWER_COUNT_DELTA] = WIRE_SLICE(
		    "CLIENT_ERROR invalid numeric delta value\r\n"),
		[COMMAND_ANSWER_NO_SHUTDOWN] =
		    WIRE_SLICE("ERROR: shutdown not enabled\r\n"),
		[COMMAND_ANSWER_TOO_LARGE] = WIRE_SLICE(
		    "SERVER_ERROR object too large for cache\r\n"),
		[COMMAND_ANSWER_END] = WIRE_SLICE("END\r\n"),
		[COMMAND_ANSWER_OK] = WIRE_SLICE("OK\r\n"),
		[COMMAND_ANSWER_MN] = WIRE_SLICE("MN\r\n"),
		[COMMAND_ANSWER_NO_FLUSH] =
		    WIRE_SLICE("CLIENT_ERROR flush_all not allowed\r\n"),
		[COMMAND_ANSWER_CLIENT_ERROR] =
		    WIRE_SLICE("CLIENT_ERROR a server refused\r\n"),
		[COMMAND_ANSWER_SERVER_ERROR] =
		    WIRE_SLICE("SERVER_ERROR a server failed\r\n"),
	};

	if (c->answer == COMMAND_ANSWER_VERSION) {
		text_put_str(out, "VERSION ");
		text_put(out, m->version, m->version_len);
		text_put_str(out, "\r\n");
	} else if (c->answer != COMMAND_ANSWER_NONE)
		text_put(out, answers[c->answer].p, answers[c->answer].len);
}

/*
 * Answers of servers.
 */

void
text_put_error(const struct kvp_reply *r, struct kvp_out *out)
{
	out->body = r->body;
	out->tail = (struct kvp_slice)WIRE_SLICE("\r\n");
}

void
text_put_too_large(struct kvp_out *out)
{
	text_put_str(out, "SERVER_ERROR object too large for cache\r\n");
}

static void
text_render_value(const struct command *c, const struct kvp_key *key,
    const struct kvp_reply *r, struct kvp_out *out)
{
	const struct result *res = result_peek(r);
	uint8_t *p = wire_put_str(out->dst + out->len, "VALUE ");

	p = wire_put(p, key->key.p, key->key.len);
	*p++ = ' ';
	p = wire_put_u64(p, res->client_flags);
	*p++ = ' ';
	p = wire_put_u64(p, r->body.len);
	if (c->asks & COMMAND_ASK(CAS)) {
		*p++ = ' ';
		p = wire_put_u64(p, res->cas);
	}
	p = wire_put_str(p, "\r\n");
	out->len = (size_t)(p - out->dst);
	out->body = r->body;
}

static void
text_render_get(const struct command *c, const struct kvp_key *key,
    const struct kvp_reply *r, struct kvp_out *out)
{
	if (r->class != KVP_REPLY_HIT) {
		text_put_str(out, "END\r\n");
		return;
	}
	text_render_value(c, key, r, out);
	out->tail = (struct kvp_slice)WIRE_SLICE("\r\nEND\r\n");
}

/* How a write ended. */
static void
text_render_status(const struct command *c, const struct kvp_reply *r,
    struct kvp_out *out)
{
	static const struct kvp_slice words[] = {
		[RESULT_OK] = WIRE_SLICE("STORED\r\n"),
		[RESULT_NOT_STORED] = WIRE_SLICE("NOT_STORED\r\n"),
		[RESULT_EXISTS] = WIRE_SLICE("EXISTS\r\n"),
		[RESULT_NOT_FOUND] = WIRE_SLICE("NOT_FOUND\r\n"),
	};
	const struct kvp_slice *word = &words[result_peek(r)->status];

	if (result_peek(r)->status == RESULT_OK && c->op == COMMAND_DELETE)
		text_put_str(out, "DELETED\r\n");
	else if (result_peek(r)->status == RESULT_OK &&
	    c->op == COMMAND_TOUCH)
		text_put_str(out, "TOUCHED\r\n");
	else
		text_put(out, word->p, word->len);
}

static void
text_render_reply(const struct kvp_cmd *cmd, const struct kvp_key *key,
    const struct kvp_reply *r, struct kvp_out *out)
{
	const struct command *c = command_peek(cmd);
	bool count = command_is_count((enum command_op)c->op);

	if (cmd->flags & KVP_CMD_TOO_LARGE)
		text_put_too_large(out);
	else if (r->class == KVP_REPLY_ERROR)
		text_put_error(r, out);
	else if (c->op == COMMAND_GET)
		text_render_get(c, key, r, out);
	else if (c->op == COMMAND_FLUSH)
		text_put_str(out, "OK\r\n");
	else if (count && r->class == KVP_REPLY_STORED) {
		uint8_t *p = wire_put_u64(out->dst, result_peek(r)->number);

		out->len = (size_t)(wire_put_str(p, "\r\n") - out->dst);
	} else
		text_render_status(c, r, out);
}

/* One part of several. */
static void
text_render_item(struct command *c, const struct kvp_key *key,
    const struct kvp_reply *r, struct kvp_out *out)
{
	if (r->class == KVP_REPLY_ERROR)
		command_note_error(c, r);
	else if (c->op == COMMAND_GET && r->class == KVP_REPLY_HIT) {
		text_render_value(c, key, r, out);
		out->tail = (struct kvp_slice)WIRE_SLICE("\r\n");
	}
}

static void
text_render_end(const struct memcached *m, const struct command *c,
    struct kvp_out *out)
{
	if (c->answer != COMMAND_ANSWER_NONE)
		text_render_local(m, c, out);
	else if (c->op == COMMAND_FLUSH)
		text_put_str(out, "OK\r\n");
	else
		text_put_str(out, "END\r\n");
}

static void
text_render(const struct memcached *m, struct kvp_cmd *cmd,
    const struct kvp_key *key, struct kvp_slice note,
    const struct kvp_reply *r, enum kvp_part part, struct kvp_out *out)
{
	struct command *c = command_of(cmd);

	(void)note;
	if (part == KVP_PART_ITEM)
		text_render_item(c, key, r, out);
	if (c->bits & COMMAND_QUIET) {
		*out = (struct kvp_out){ .dst = out->dst, .room = out->room };
		return;
	}
	if (part == KVP_PART_END)
		text_render_end(m, c, out);
	else if (part == KVP_PART_ONLY && r == NULL)
		text_render_local(m, c, out);
	else if (part == KVP_PART_ONLY)
		text_render_reply(cmd, key, r, out);
}

/*
 * Failures.
 */

void
text_put_failure(const struct kvp_cmd *cmd, enum kvp_fail why,
    const char *host, struct kvp_out *out)
{
	uint8_t *p;

	if (cmd->flags & KVP_CMD_TOO_LARGE) {
		text_put_too_large(out);
		return;
	}
	p = wire_put_str(out->dst, "SERVER_ERROR ");
	p = command_put_failure(p, why, host);
	out->len = (size_t)(wire_put_str(p, "\r\n") - out->dst);
}

static void
text_fail(const struct kvp_cmd *cmd, enum kvp_fail why, const char *host,
    struct kvp_out *out)
{
	if ((command_peek(cmd)->bits & COMMAND_QUIET) == 0)
		text_put_failure(cmd, why, host, out);
}

/*
 * Answers of the core.
 */

static void
text_admin(const struct kvp_cmd *cmd, struct kvp_slice name,
    struct kvp_slice value, struct kvp_out *out)
{
	if (name.len > 0 && value.p == NULL)
		text_put_str(out, "ERROR\r\n");
	else if (name.len > 0) {
		text_put_str(out, "STAT ");
		text_put(out, name.p, name.len < NAME_MAX_SHOWN ? name.len :
		    NAME_MAX_SHOWN);
		text_put_str(out, " ");
		out->body = value;
		out->tail = (struct kvp_slice)WIRE_SLICE("\r\n");
	} else if (value.len > 0)
		out->body = value;
	else if (cmd->local == KVP_LOCAL_STATS)
		text_put_str(out, "END\r\n");
	else if (cmd->local == KVP_LOCAL_RESET)
		text_put_str(out, "RESET\r\n");
}

const struct client_dialect client_text = {
	.render = text_render,
	.fail = text_fail,
	.admin = text_admin,
};
