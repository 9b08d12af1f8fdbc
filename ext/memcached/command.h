/*
 * command.h: what a client wants and what a server answered, in no dialect.
 *
 * A client dialect makes a command out of bytes, a backend dialect makes
 * bytes out of it; neither knows the other.  A command lives in the memory
 * that the core gives every kvp_cmd, a result in that of a kvp_reply.
 */
#ifndef MEMCACHED_COMMAND_H
#define MEMCACHED_COMMAND_H

#include "ext/kvp_ext.h"

enum {
	COMMAND_KEY_MAX = 250,
	/* Relative times to live end here; what is above is a date. */
	COMMAND_RELATIVE_MAX = 30 * 24 * 60 * 60
};

/* Nothing longer is swallowed: the connection is closed. */
#define COMMAND_SWALLOW_MAX ((uint64_t)1 << 30)

enum command_op {
	COMMAND_LOCAL,		/* no server is asked */
	COMMAND_GET,
	COMMAND_SET,
	COMMAND_ADD,
	COMMAND_REPLACE,
	COMMAND_APPEND,
	COMMAND_PREPEND,
	COMMAND_CAS,
	COMMAND_DELETE,
	COMMAND_INCR,
	COMMAND_DECR,
	COMMAND_TOUCH,
	COMMAND_FLUSH,
	COMMAND_GIVE_BACK,	/* a recache token that a read has won */
	COMMAND_N_OPS
};

/* command.bits */
#define COMMAND_QUIET	 0x01	/* noreply */
#define COMMAND_WANT_CAS 0x02	/* the read returns it */
#define COMMAND_TIMED	 0x04	/* a get that touches, a flush with a delay */

/* How the proxy itself answers, and what has gone wrong so far. */
enum command_answer {
	COMMAND_ANSWER_NONE,
	COMMAND_ANSWER_UNKNOWN,		/* not a command */
	COMMAND_ANSWER_FORMAT,		/* a bad word in the line */
	COMMAND_ANSWER_CHUNK,		/* a value that cannot be told apart */
	COMMAND_ANSWER_EXPTIME,
	COMMAND_ANSWER_DELTA,
	COMMAND_ANSWER_DELETE_USAGE,
	COMMAND_ANSWER_NO_FLUSH,
	COMMAND_ANSWER_NO_SHUTDOWN,
	COMMAND_ANSWER_END,		/* a read of no keys */
	COMMAND_ANSWER_OK,
	COMMAND_ANSWER_VERSION,
	COMMAND_ANSWER_CLIENT_ERROR,	/* some server said so */
	COMMAND_ANSWER_SERVER_ERROR,	/* likewise; worse */
	COMMAND_N_ANSWERS
};

/* It may alias: the core knows this memory as words. */
struct command {
	uint8_t		 op;		/* enum command_op */
	uint8_t		 bits;		/* COMMAND_... */
	uint8_t		 answer;	/* enum command_answer */
	uint8_t		 dialect;	/* enum client_kind, of whom asked */
	uint32_t	 client_flags;
	int32_t		 exptime;	/* as memcached's: negative is past */
	uint64_t	 number;	/* the CAS to match, or the delta */
} __attribute__((may_alias));

enum result_status {
	RESULT_OK,
	RESULT_NOT_STORED,
	RESULT_EXISTS,
	RESULT_NOT_FOUND
};

/* What a reply said besides its class and body. */
struct result {
	uint64_t	 cas;
	uint32_t	 client_flags;
	uint8_t		 status;	/* enum result_status */
	bool		 won;		/* with it came a recache token */
} __attribute__((may_alias));

_Static_assert(sizeof(struct command) <= sizeof(((struct kvp_cmd *)0)->mem),
    "a command fits into the core's memory for it");
_Static_assert(sizeof(struct result) <= sizeof(((struct kvp_reply *)0)->mem),
    "a result fits into the core's memory for it");

static inline struct command *
command_of(struct kvp_cmd *cmd)
{
	return (struct command *)cmd->mem;
}

static inline const struct command *
command_peek(const struct kvp_cmd *cmd)
{
	return (const struct command *)cmd->mem;
}

static inline struct result *
result_of(struct kvp_reply *r)
{
	return (struct result *)r->mem;
}

static inline const struct result *
result_peek(const struct kvp_reply *r)
{
	return (const struct result *)r->mem;
}

/* What a server is asked for: a store that is too large becomes a delete, for
 * the old value must not outlive it. */
static inline enum command_op
command_wire_op(const struct kvp_cmd *cmd)
{
	return cmd->flags & KVP_CMD_TOO_LARGE ? COMMAND_DELETE :
	    (enum command_op)command_peek(cmd)->op;
}

static inline bool
command_is_store(enum command_op op)
{
	return op >= COMMAND_SET && op <= COMMAND_CAS;
}

/* The contract's follow, effect, age and flush (see kvp_ext.h). */
bool	 command_follow(const struct kvp_cmd *cmd, const struct kvp_reply *r,
	    struct kvp_cmd *next);
bool	 command_effect(const struct kvp_cmd *cmd, enum kvp_outcome outcome,
	    const struct kvp_reply *r, struct kvp_cmd *copy);
void	 command_age(struct kvp_cmd *copy, uint32_t waited_s);
void	 command_flush(struct kvp_cmd *cmd);

#endif /* MEMCACHED_COMMAND_H */
