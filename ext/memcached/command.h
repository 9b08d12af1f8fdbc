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
	COMMAND_FAILURE_MAX = 640,
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
	COMMAND_SEE_STALE,	/* is it to be given back still? */
	COMMAND_N_OPS
};

/* command.bits */
#define COMMAND_QUIET	   0x01	/* success is not answered */
#define COMMAND_VALUE	   0x02	/* the reply brings the value */
#define COMMAND_TIMED	   0x04	/* exptime is given: a get that touches, a
				 * flush with a delay, incr and delete */
#define COMMAND_MATCH	   0x08	/* only where the CAS is `cas` */
#define COMMAND_VIVIFY	   0x10	/* what misses is made, to live `vivify` */
#define COMMAND_NO_BUMP	   0x20	/* the read counts for nothing */
#define COMMAND_INVALIDATE 0x40	/* mark it as stale instead */
#define COMMAND_BASE64	   0x80	/* the client's key is encoded so */
#define COMMAND_CAS_IF_CAN 0x100 /* no reply's CAS is no error */
#define COMMAND_SHOW_KEY   0x200 /* a binary answer brings the key */
#define COMMAND_CLASSIC	   0x400 /* in the classic protocol also to servers
				 * that speak meta, for that would do more */
#define COMMAND_EXPECT	   0x800 /* a counter's copy: it is to come to the
				 * number that stands in `cas` */

/* What a reply is to bring, and what a meta request does on the way, for the
 * order of the two matters. */
enum command_field {
	COMMAND_FIELD_END,
	COMMAND_FIELD_KEY,		/* k */
	COMMAND_FIELD_OPAQUE,		/* O */
	COMMAND_FIELD_FLAGS,		/* f */
	COMMAND_FIELD_CAS,		/* c */
	COMMAND_FIELD_TTL,		/* t */
	COMMAND_FIELD_ACCESS,		/* l */
	COMMAND_FIELD_HIT,		/* h */
	COMMAND_FIELD_SIZE,		/* s */
	COMMAND_FIELD_EXPTIME,		/* T */
	COMMAND_FIELD_VIVIFY,		/* N */
	COMMAND_FIELD_RECACHE		/* R */
};

#define COMMAND_ASK(field) (1u << COMMAND_FIELD_##field)

/* Those that stand in a server's reply. */
#define COMMAND_REPLY_FIELDS \
	(COMMAND_ASK(FLAGS) | COMMAND_ASK(CAS) | COMMAND_ASK(TTL) | \
	COMMAND_ASK(ACCESS) | COMMAND_ASK(HIT) | COMMAND_ASK(SIZE))

/* How the proxy itself answers, and what has gone wrong so far. */
enum command_answer {
	COMMAND_ANSWER_NONE,
	COMMAND_ANSWER_UNKNOWN,		/* not a command */
	COMMAND_ANSWER_FORMAT,		/* a bad word, or a bad header */
	COMMAND_ANSWER_CHUNK,		/* a value that cannot be told apart */
	COMMAND_ANSWER_EXPTIME,
	COMMAND_ANSWER_DELTA,
	COMMAND_ANSWER_DELETE_USAGE,
	COMMAND_ANSWER_MANY_FLAGS_READ,	/* of meta from here on */
	COMMAND_ANSWER_MANY_FLAGS,
	COMMAND_ANSWER_FLAG_TWICE,
	COMMAND_ANSWER_FLAG_UNKNOWN,
	COMMAND_ANSWER_FLAG_BAD,
	COMMAND_ANSWER_TOKEN,
	COMMAND_ANSWER_KEY_CODE,
	COMMAND_ANSWER_OPAQUE,
	COMMAND_ANSWER_MODE_LENGTH,
	COMMAND_ANSWER_STORE_MODE,
	COMMAND_ANSWER_COUNT_MODE,
	COMMAND_ANSWER_COUNT_INITIAL,
	COMMAND_ANSWER_COUNT_DELTA,	/* to here */
	COMMAND_ANSWER_NO_SHUTDOWN,
	COMMAND_ANSWER_TOO_LARGE,
	COMMAND_ANSWER_END,		/* a read of no keys */
	COMMAND_ANSWER_OK,
	COMMAND_ANSWER_MN,
	COMMAND_ANSWER_VERSION,
	COMMAND_ANSWER_NO_FLUSH,
	COMMAND_ANSWER_CLIENT_ERROR,	/* some server said so */
	COMMAND_ANSWER_SERVER_ERROR,	/* likewise; worse */
	COMMAND_N_ANSWERS
};

/* It may alias: the core knows this memory as words. */
struct command {
	uint8_t		 op;		/* enum command_op */
	uint8_t		 answer;	/* enum command_answer */
	uint8_t		 dialect;	/* enum client_kind, of whom asked */
	uint8_t		 opcode;	/* a binary request's */
	uint16_t	 bits;		/* COMMAND_... */
	uint16_t	 asks;		/* COMMAND_ASK of what is in order */
	uint64_t	 order;		/* command_fields, four bits each */
	uint32_t	 opaque;	/* a binary request's, as it came */
	uint32_t	 client_flags;
	int32_t		 exptime;	/* as memcached's: negative is past */
	int32_t		 vivify;	/* the same, of what a miss makes */
	int32_t		 recache;	/* renew what lives no longer */
	uint64_t	 cas;		/* to match */
	uint64_t	 delta;
	uint64_t	 initial;	/* of a counter that a miss makes */
} __attribute__((may_alias));

/* Whose words a command was in. */
enum client_kind {
	CLIENT_TEXT,
	CLIENT_META,
	CLIENT_BINARY
};

enum result_status {
	RESULT_OK,
	RESULT_NOT_STORED,
	RESULT_EXISTS,
	RESULT_NOT_FOUND
};

/* result.bits */
#define RESULT_WON	0x01	/* with it came a recache token */
#define RESULT_STALE	0x02
#define RESULT_TAKEN	0x04	/* another has the token */
#define RESULT_HIT_BEFORE 0x08
#define RESULT_IMMORTAL	0x10	/* it has no time to live */
#define RESULT_WIDE_FLAGS 0x20	/* of more than 32 bits */

/* What a reply said besides its class and body. */
struct result {
	uint64_t	 cas;
	uint64_t	 number;	/* a counter's; else the value's size */
	uint32_t	 client_flags;
	uint32_t	 ttl;
	uint32_t	 access;	/* seconds since the last one */
	uint8_t		 status;	/* enum result_status */
	uint8_t		 bits;		/* RESULT_... */
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

/* What a server is asked for: a set that is too large becomes a delete, for
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

static inline bool
command_is_count(enum command_op op)
{
	return op == COMMAND_INCR || op == COMMAND_DECR;
}

/* C is a copy that has come to another number than its original: R. */
static inline bool
command_misses_number(const struct command *c, const struct kvp_reply *r)
{
	return (c->bits & COMMAND_EXPECT) != 0 &&
	    r->class == KVP_REPLY_STORED && result_peek(r)->number != c->cas;
}

/* Begin REQ anew, with a command of DIALECT's to be filled in. */
struct command *command_begin(struct kvp_request *req, enum kvp_class class,
	    enum command_op op, uint16_t bits, enum client_kind dialect);

/* The flag that says what memcached counts CMD as; a get that touches is a
 * touch there. */
static inline uint16_t
command_counts_as(const struct kvp_cmd *cmd)
{
	const struct command *c = command_peek(cmd);

	if (c->op == COMMAND_GET)
		return c->bits & COMMAND_TIMED ? KVP_CMD_TOUCHES :
		    KVP_CMD_FETCHES;
	if (command_is_store((enum command_op)c->op))
		return cmd->flags & KVP_CMD_TOO_LARGE ? 0 : KVP_CMD_STORES;
	return c->op == COMMAND_TOUCH ? KVP_CMD_TOUCHES : 0;
}

/* C asks for F too, behind what it asks for already. */
static inline void
command_ask(struct command *c, enum command_field f)
{
	c->order |= (uint64_t)f << 4 * __builtin_popcount(c->asks);
	c->asks |= (uint16_t)(1u << f);
}

/* What C writes may live MOST seconds at the most; in COPY, which is returned,
 * or C itself where MOST is 0. */
const struct command *command_limit(const struct command *c, uint32_t most,
	    struct command *copy);

/* Take note of a server's error to one of several parts; the worst is what
 * the client will be told. */
void	 command_note_error(struct command *c, const struct kvp_reply *r);

/* Write why the proxy failed a command, naming HOST (NULL: some server), at
 * most COMMAND_FAILURE_MAX bytes.  Where the next byte goes. */
uint8_t	*command_put_failure(uint8_t *p, enum kvp_fail why, const char *host);

/* The contract's follow, effect, age and flush (see kvp_ext.h). */
unsigned command_follow(const struct kvp_cmd *cmd, const struct kvp_key *key,
	    const struct kvp_reply *r, struct kvp_cmd *next);
bool	 command_effect(const struct kvp_cmd *cmd, enum kvp_outcome outcome,
	    const struct kvp_reply *r, struct kvp_cmd *copy);
void	 command_age(struct kvp_cmd *copy, uint32_t waited_s);
void	 command_flush(struct kvp_cmd *cmd);

#endif /* MEMCACHED_COMMAND_H */
