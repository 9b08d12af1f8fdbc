#include "ext/memcached/command.h"

#include <time.h>

#include "ext/memcached/wire.h"

enum {
	NAME_MAX_SHOWN = 512	/* of what the core calls a host */
};

_Static_assert(NAME_MAX_SHOWN + 64 <= COMMAND_FAILURE_MAX,
    "a host's name and the longest reason fit");

struct command *
command_begin(struct kvp_request *req, enum kvp_class class,
    enum command_op op, uint16_t bits, enum client_kind dialect)
{
	struct command *c = command_of(&req->cmd);

	/* Not the whole of it: its room is large. */
	req->cmd = (struct kvp_cmd){ .class = (uint8_t)class };
	req->key = (struct kvp_key){ .key = { NULL, 0 } };
	req->keys = req->note = (struct kvp_slice){ NULL, 0 };
	req->swallow = 0;
	req->need = 0;
	c->op = (uint8_t)op;
	c->bits = bits;
	c->dialect = (uint8_t)dialect;
	return c;
}

static void
command_make(struct kvp_cmd *cmd, enum kvp_class class, enum command_op op)
{
	*cmd = (struct kvp_cmd){ .class = (uint8_t)class };
	cmd->n_keys = class == KVP_EVERY ? 0 : 1;
	*command_of(cmd) = (struct command){ .op = (uint8_t)op };
}

static void
command_make_give_back(struct kvp_cmd *cmd, uint64_t cas)
{
	command_make(cmd, KVP_WRITE, COMMAND_GIVE_BACK);
	command_of(cmd)->bits = COMMAND_MATCH;
	command_of(cmd)->cas = cas;
}

/* A read in meta wins the right to renew a stale item, which a client that
 * cannot say so must not keep from others.  Giving it back is marking the item
 * as stale anew, so only while it is the same still, which its CAS tells; where
 * that was not read, it is asked for first, and the client's answer waits, for
 * whoever asks after it must find the token free.  Marking changes the CAS, so
 * where the client is to be told that, it is read once more. */
unsigned
command_follow(const struct kvp_cmd *cmd, const struct kvp_key *key,
    const struct kvp_reply *r, struct kvp_cmd *next)
{
	const struct command *c = command_peek(cmd);
	const struct result *res = result_peek(r);

	if (command_misses_number(c, r)) {
		command_make(next, KVP_WRITE, COMMAND_DELETE);
		return KVP_FOLLOW_ASIDE;
	}
	if (c->op == COMMAND_SEE_STALE && (res->bits & RESULT_STALE) != 0) {
		command_make_give_back(next, res->cas);
		return KVP_FOLLOW_ASIDE;
	}
	if (c->op != COMMAND_GET || (res->bits & RESULT_WON) == 0)
		return KVP_FOLLOW_NONE;
	/* A meta client is told of it, but where it gets an error instead. */
	if (c->dialect == CLIENT_META && (r->class == KVP_REPLY_HIT ||
	    (res->bits & RESULT_STALE) == 0))
		return KVP_FOLLOW_NONE;
	if ((c->asks & COMMAND_ASK(CAS)) == 0) {
		command_make(next, KVP_WRITE, COMMAND_SEE_STALE);
		command_ask(command_of(next), COMMAND_FIELD_CAS);
		return KVP_FOLLOW_ASIDE | KVP_FOLLOW_HOLD;
	}
	command_make_give_back(next, res->cas);
	return key->step == 0 && r->class == KVP_REPLY_HIT ?
	    KVP_FOLLOW_ASIDE | KVP_FOLLOW_AGAIN : KVP_FOLLOW_ASIDE;
}

/* The copy of a command whose reply was R; COMMAND_LOCAL: there is none. */
static enum command_op
command_effect_op(const struct command *c, const struct kvp_reply *r)
{
	bool yes = r->class == KVP_REPLY_STORED || r->class == KVP_REPLY_HIT;

	switch ((enum command_op)c->op) {
	case COMMAND_SET:
	case COMMAND_ADD:
	case COMMAND_REPLACE:
	case COMMAND_CAS:
	case COMMAND_APPEND:
	case COMMAND_PREPEND:
		/* A server that cannot store drops the old value. */
		if (r->class == KVP_REPLY_ERROR &&
		    wire_begins(r->body.p, r->body.len, "SERVER_ERROR"))
			return COMMAND_DELETE;
		if (!yes)
			return COMMAND_LOCAL;
		return c->op == COMMAND_APPEND || c->op == COMMAND_PREPEND ?
		    (enum command_op)c->op : COMMAND_SET;
	case COMMAND_INCR:
	case COMMAND_DECR:
	case COMMAND_TOUCH:
		return yes ? (enum command_op)c->op : COMMAND_LOCAL;
	case COMMAND_GET:
		return yes && (c->bits & COMMAND_TIMED) ? COMMAND_TOUCH :
		    COMMAND_LOCAL;
	case COMMAND_DELETE:
		/* What is marked as stale here is marked there; what does
		 * not match is left alone. */
		if (result_peek(r)->status == RESULT_EXISTS)
			return COMMAND_LOCAL;
		return yes || (c->bits & COMMAND_INVALIDATE) == 0 ?
		    COMMAND_DELETE : COMMAND_LOCAL;
	default:
		return COMMAND_LOCAL;
	}
}

/* What of C, which was answered with R, the copy does alike. */
static void
command_copy(struct command *copy, const struct command *c,
    const struct kvp_reply *r)
{
	static const uint16_t kept[COMMAND_N_OPS] = {
		[COMMAND_DELETE] = COMMAND_INVALIDATE | COMMAND_TIMED,
		[COMMAND_INCR] = COMMAND_VIVIFY | COMMAND_TIMED,
		[COMMAND_DECR] = COMMAND_VIVIFY | COMMAND_TIMED,
	};

	copy->bits = c->bits & kept[copy->op];
	if (command_is_count((enum command_op)copy->op)) {
		copy->bits |= COMMAND_EXPECT;
		copy->cas = result_peek(r)->number;
		/* A backup that lacks a counter must not begin one of its
		 * own. */
		if (copy->cas != c->initial)
			copy->bits &= (uint16_t)~COMMAND_VIVIFY;
	}
	/* It must not win a recache token that it cannot use. */
	if (copy->op == COMMAND_TOUCH)
		copy->bits |= COMMAND_CLASSIC;
	copy->client_flags = c->client_flags;
	copy->exptime = c->exptime;
	copy->vivify = c->vivify;
	copy->delta = c->delta;
	copy->initial = c->initial;
	if (copy->bits & COMMAND_VIVIFY)
		command_ask(copy, COMMAND_FIELD_VIVIFY);
	if (command_is_count((enum command_op)copy->op) &&
	    (copy->bits & COMMAND_TIMED) != 0)
		command_ask(copy, COMMAND_FIELD_EXPTIME);
}

bool
command_effect(const struct kvp_cmd *cmd, enum kvp_outcome outcome,
    const struct kvp_reply *r, struct kvp_cmd *copy)
{
	const struct command *c = command_peek(cmd);
	bool gone = outcome == KVP_OUTCOME_UNKNOWN ||
	    (cmd->flags & KVP_CMD_TOO_LARGE) != 0;
	enum command_op op;

	if (cmd->class != KVP_WRITE || c->op == COMMAND_GIVE_BACK ||
	    c->op == COMMAND_SEE_STALE)
		return false;
	op = gone ? COMMAND_DELETE : command_effect_op(c, r);
	if (op == COMMAND_LOCAL)
		return false;
	command_make(copy, KVP_WRITE, op);
	if (op == COMMAND_SET || op == COMMAND_DELETE || op == COMMAND_TOUCH)
		copy->flags |= KVP_CMD_REPEATABLE;
	if (op == COMMAND_DELETE || op == COMMAND_TOUCH)
		copy->flags |= KVP_CMD_LENIENT;
	/* A delete in another command's place is one and no more. */
	if (op == (enum command_op)c->op ? !gone : op != COMMAND_DELETE)
		command_copy(command_of(copy), c, r);
	return true;
}

void
command_age(struct kvp_cmd *copy, uint32_t waited_s)
{
	struct command *c = command_of(copy);
	bool lives = c->op == COMMAND_SET || c->op == COMMAND_TOUCH;

	if (!lives || c->exptime <= 0 || c->exptime > COMMAND_RELATIVE_MAX)
		return;
	if (waited_s >= (uint32_t)c->exptime) {
		command_make(copy, KVP_WRITE, COMMAND_DELETE);
		copy->flags = KVP_CMD_REPEATABLE | KVP_CMD_LENIENT;
	} else
		c->exptime -= (int32_t)waited_s;
}

/* A time to live of at most MOST seconds; dates are above COMMAND_RELATIVE_MAX,
 * and negative is past. */
static int32_t
command_shorten(int32_t exptime, uint32_t most)
{
	int64_t left = exptime;

	if (exptime < 0)
		return exptime;
	if (most > COMMAND_RELATIVE_MAX)
		most = COMMAND_RELATIVE_MAX;
	if (exptime > COMMAND_RELATIVE_MAX)
		left -= (int64_t)time(NULL);
	return exptime == 0 || left > (int64_t)most ? (int32_t)most : exptime;
}

const struct command *
command_limit(const struct command *c, uint32_t most, struct command *copy)
{
	if (most == 0)
		return c;
	*copy = *c;
	if (command_is_store((enum command_op)c->op) ||
	    c->op == COMMAND_TOUCH || (c->bits & COMMAND_TIMED) != 0)
		copy->exptime = command_shorten(c->exptime, most);
	if (c->bits & COMMAND_VIVIFY)
		copy->vivify = command_shorten(c->vivify, most);
	return copy;
}

void
command_flush(struct kvp_cmd *cmd)
{
	command_make(cmd, KVP_EVERY, COMMAND_FLUSH);
	cmd->flags = KVP_CMD_EMPTIES;
}

void
command_note_error(struct command *c, const struct kvp_reply *r)
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

uint8_t *
command_put_failure(uint8_t *p, enum kvp_fail why, const char *host)
{
	static const char *const words[] = {
		[KVP_FAIL_NO_HOST] = "no server for this key",
		[KVP_FAIL_DOWN] = "cannot be reached",
		[KVP_FAIL_TIMEOUT] = "timed out",
		[KVP_FAIL_CLOSED] = "closed the connection",
		[KVP_FAIL_PROTOCOL] = "sent a reply that makes no sense",
		[KVP_FAIL_QUEUE_FULL] = "has too many requests waiting",
		[KVP_FAIL_MEMORY] = "out of memory",
		[KVP_FAIL_UNSUPPORTED] = "cannot be asked this in its protocol",
		[KVP_FAIL_UNREAD] = "too many answers are left unread",
		[KVP_FAIL_BACKUP] = "did not take the copy, "
		    "only the primary has done it"
	};

	/* Those that are no fault of the host's do not name it. */
	if (why != KVP_FAIL_NO_HOST && why != KVP_FAIL_MEMORY &&
	    why != KVP_FAIL_UNREAD) {
		if (host == NULL)
			host = "the server";
		p = wire_put(p, host, strnlen(host, NAME_MAX_SHOWN));
		*p++ = ' ';
	}
	return wire_put(p, words[why], strlen(words[why]));
}
