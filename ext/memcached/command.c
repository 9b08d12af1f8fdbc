#include "ext/memcached/command.h"
#include "ext/memcached/wire.h"

static void
command_make(struct kvp_cmd *cmd, enum kvp_class class, enum command_op op)
{
	*cmd = (struct kvp_cmd){ .class = (uint8_t)class };
	cmd->n_keys = class == KVP_EVERY ? 0 : 1;
	*command_of(cmd) = (struct command){ .op = (uint8_t)op };
}

/* A read in meta wins the right to renew a stale item, which a client that
 * cannot say so must not keep from others.  Giving it back changes the item's
 * CAS, so not where the client has just been told it. */
bool
command_follow(const struct kvp_cmd *cmd, const struct kvp_reply *r,
    struct kvp_cmd *next)
{
	const struct command *c = command_peek(cmd);

	if (r->class != KVP_REPLY_HIT || !result_peek(r)->won ||
	    (c->bits & COMMAND_WANT_CAS))
		return false;
	command_make(next, KVP_WRITE, COMMAND_GIVE_BACK);
	return true;
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
		return COMMAND_DELETE;
	default:
		return COMMAND_LOCAL;
	}
}

bool
command_effect(const struct kvp_cmd *cmd, enum kvp_outcome outcome,
    const struct kvp_reply *r, struct kvp_cmd *copy)
{
	const struct command *c = command_peek(cmd);
	enum command_op op;

	if (cmd->class != KVP_WRITE || c->op == COMMAND_GIVE_BACK)
		return false;
	if (outcome == KVP_OUTCOME_UNKNOWN ||
	    (cmd->flags & KVP_CMD_TOO_LARGE) != 0)
		op = COMMAND_DELETE;
	else
		op = command_effect_op(c, r);
	if (op == COMMAND_LOCAL)
		return false;
	command_make(copy, KVP_WRITE, op);
	if (op == COMMAND_DELETE)
		return true;
	command_of(copy)->client_flags = c->client_flags;
	command_of(copy)->exptime = c->exptime;
	if (op == COMMAND_INCR || op == COMMAND_DECR)
		command_of(copy)->number = c->number;
	return true;
}

void
command_age(struct kvp_cmd *copy, uint32_t waited_s)
{
	struct command *c = command_of(copy);
	bool lives = c->op == COMMAND_SET || c->op == COMMAND_TOUCH;

	if (!lives || c->exptime <= 0 || c->exptime > COMMAND_RELATIVE_MAX)
		return;
	if (waited_s >= (uint32_t)c->exptime)
		command_make(copy, KVP_WRITE, COMMAND_DELETE);
	else
		c->exptime -= (int32_t)waited_s;
}

void
command_flush(struct kvp_cmd *cmd)
{
	command_make(cmd, KVP_EVERY, COMMAND_FLUSH);
}
