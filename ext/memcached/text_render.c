/*
 * text_render.c: answers in the classic text protocol.
 */
#include "ext/memcached/text.h"
#include "ext/memcached/wire.h"

enum {
	NAME_MAX_SHOWN = 512	/* of what the core calls a thing */
};

#define STATIC_SLICE(str) { (const uint8_t *)(str), sizeof(str) - 1 }

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
		[COMMAND_ANSWER_UNKNOWN] = STATIC_SLICE("ERROR\r\n"),
		[COMMAND_ANSWER_FORMAT] =
		    STATIC_SLICE("CLIENT_ERROR bad command line format\r\n"),
		[COMMAND_ANSWER_CHUNK] =
		    STATIC_SLICE("CLIENT_ERROR bad data chunk\r\n"),
		[COMMAND_ANSWER_EXPTIME] =
		    STATIC_SLICE("CLIENT_ERROR invalid exptime argument\r\n"),
		[COMMAND_ANSWER_DELTA] = STATIC_SLICE(
		    "CLIENT_ERROR invalid numeric delta argument\r\n"),
		[COMMAND_ANSWER_DELETE_USAGE] = STATIC_SLICE(
		    "CLIENT_ERROR bad command line format.  "
		    "Usage: delete <key> [noreply]\r\n"),
		[COMMAND_ANSWER_NO_FLUSH] =
		    STATIC_SLICE("CLIENT_ERROR flush_all not allowed\r\n"),
		[COMMAND_ANSWER_NO_SHUTDOWN] =
		    STATIC_SLICE("ERROR: shutdown not enabled\r\n"),
		[COMMAND_ANSWER_END] = STATIC_SLICE("END\r\n"),
		[COMMAND_ANSWER_OK] = STATIC_SLICE("OK\r\n"),
		[COMMAND_ANSWER_CLIENT_ERROR] =
		    STATIC_SLICE("CLIENT_ERROR a server refused\r\n"),
		[COMMAND_ANSWER_SERVER_ERROR] =
		    STATIC_SLICE("SERVER_ERROR a server failed\r\n"),
	};

	if (c->answer == COMMAND_ANSWER_VERSION)
		text_put(out, m->version, m->version_len);
	else if (c->answer != COMMAND_ANSWER_NONE)
		text_put(out, answers[c->answer].p, answers[c->answer].len);
}

/*
 * Answers of servers.
 */

static void
text_render_error(const struct kvp_reply *r, struct kvp_out *out)
{
	out->body = r->body;
	out->tail = (struct kvp_slice)STATIC_SLICE("\r\n");
}

/* Errors of a server to one of several parts; the worst is what is said. */
static void
text_note_error(struct command *c, const struct kvp_reply *r)
{
	enum command_answer answer = COMMAND_ANSWER_SERVER_ERROR;

	if (c->op == COMMAND_FLUSH && wire_is(r->body.p, r->body.len,
	    "CLIENT_ERROR flush_all not allowed"))
		answer = COMMAND_ANSWER_NO_FLUSH;
	else if (wire_begins(r->body.p, r->body.len, "CLIENT_ERROR"))
		answer = COMMAND_ANSWER_CLIENT_ERROR;
	if (c->answer < answer)
		c->answer = (uint8_t)answer;
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
	if (c->bits & COMMAND_WANT_CAS) {
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
	out->tail = (struct kvp_slice)STATIC_SLICE("\r\nEND\r\n");
}

/* How a write ended. */
static void
text_render_status(const struct command *c, const struct kvp_reply *r,
    struct kvp_out *out)
{
	static const struct kvp_slice words[] = {
		[RESULT_OK] = STATIC_SLICE("STORED\r\n"),
		[RESULT_NOT_STORED] = STATIC_SLICE("NOT_STORED\r\n"),
		[RESULT_EXISTS] = STATIC_SLICE("EXISTS\r\n"),
		[RESULT_NOT_FOUND] = STATIC_SLICE("NOT_FOUND\r\n"),
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
	bool number = c->op == COMMAND_INCR || c->op == COMMAND_DECR;

	if (cmd->flags & KVP_CMD_TOO_LARGE)
		text_put_str(out,
		    "SERVER_ERROR object too large for cache\r\n");
	else if (r->class == KVP_REPLY_ERROR)
		text_render_error(r, out);
	else if (c->op == COMMAND_GET)
		text_render_get(c, key, r, out);
	else if (c->op == COMMAND_FLUSH)
		text_put_str(out, "OK\r\n");
	else if (number && r->class == KVP_REPLY_STORED) {
		out->body = r->body;
		out->tail = (struct kvp_slice)STATIC_SLICE("\r\n");
	} else
		text_render_status(c, r, out);
}

/* One part of several. */
static void
text_render_item(struct command *c, const struct kvp_key *key,
    const struct kvp_reply *r, struct kvp_out *out)
{
	if (r->class == KVP_REPLY_ERROR)
		text_note_error(c, r);
	else if (c->op == COMMAND_GET && r->class == KVP_REPLY_HIT) {
		text_render_value(c, key, r, out);
		out->tail = (struct kvp_slice)STATIC_SLICE("\r\n");
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

void
text_render(const struct memcached *m, struct kvp_cmd *cmd,
    const struct kvp_key *key, const struct kvp_reply *r, enum kvp_part part,
    struct kvp_out *out)
{
	struct command *c = command_of(cmd);

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
text_fail(const struct kvp_cmd *cmd, enum kvp_fail why, const char *host,
    struct kvp_out *out)
{
	static const struct kvp_slice words[] = {
		[KVP_FAIL_NO_HOST] = STATIC_SLICE("no server for this key"),
		[KVP_FAIL_DOWN] = STATIC_SLICE("cannot be reached"),
		[KVP_FAIL_TIMEOUT] = STATIC_SLICE("timed out"),
		[KVP_FAIL_CLOSED] = STATIC_SLICE("closed the connection"),
		[KVP_FAIL_PROTOCOL] =
		    STATIC_SLICE("sent a reply that makes no sense"),
		[KVP_FAIL_QUEUE_FULL] =
		    STATIC_SLICE("has too many requests waiting"),
		[KVP_FAIL_MEMORY] = STATIC_SLICE("out of memory"),
		[KVP_FAIL_UNSUPPORTED] =
		    STATIC_SLICE("cannot be asked this in its protocol"),
		[KVP_FAIL_BACKUP] = STATIC_SLICE(
		    "did not take the copy, the value is on the primary only")
	};
	bool names = why != KVP_FAIL_NO_HOST && why != KVP_FAIL_MEMORY;

	if (command_peek(cmd)->bits & COMMAND_QUIET)
		return;
	if (cmd->flags & KVP_CMD_TOO_LARGE) {
		text_put_str(out,
		    "SERVER_ERROR object too large for cache\r\n");
		return;
	}
	text_put_str(out, "SERVER_ERROR ");
	if (names && host != NULL)
		text_put(out, host, strnlen(host, NAME_MAX_SHOWN));
	else if (names)
		text_put_str(out, "the server");
	if (names)
		text_put_str(out, " ");
	text_put(out, words[why].p, words[why].len);
	text_put_str(out, "\r\n");
}

/*
 * Answers of the core.
 */

void
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
		out->tail = (struct kvp_slice)STATIC_SLICE("\r\n");
	} else if (value.len > 0)
		out->body = value;
	else if (cmd->local == KVP_LOCAL_STATS)
		text_put_str(out, "END\r\n");
}

const struct client_dialect client_text = {
	.parse = text_parse,
	.next_key = text_next_key,
	.render = text_render,
	.fail = text_fail,
	.admin = text_admin,
};
