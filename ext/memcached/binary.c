/*
 * binary.c: requests in the binary protocol.
 *
 * What is accepted is what memcached 1.6.18 accepts, and a request's parts
 * must add up besides.  Where they do not, where a key is too long or a value
 * too large even to be swallowed, the connection is closed after the error.
 */
#include "ext/memcached/binary.h"
#include "ext/memcached/wire.h"

/* Where things stand in a header. */
enum {
	AT_OPCODE = 1,
	AT_KEY_LEN = 2,
	AT_EXTRAS_LEN = 4,
	AT_BODY_LEN = 8,
	AT_OPAQUE = 12,
	AT_CAS = 16
};

/* Extras of a counter. */
enum {
	COUNT_DELTA = BINARY_HEADER,
	COUNT_INITIAL = COUNT_DELTA + 8,
	COUNT_EXPTIME = COUNT_INITIAL + 8
};

/* The time to live of a counter that is not to be made. */
#define COUNT_MAKE_NONE UINT32_MAX

/* A packet being parsed. */
struct binary_packet {
	const struct memcached *m;
	const uint8_t	*p;
	size_t		 len;		/* what is there of it and after it */
	uint8_t		 extras;
	uint16_t	 key_len;
	uint32_t	 body_len;
	struct kvp_request *req;
};

struct binary_verb;
typedef ssize_t (*binary_parse_fn)(const struct binary_verb *v,
    const struct binary_packet *k);

/* binary_verb.shape */
#define SHAPE_KEY	0x01	/* has a key */
#define SHAPE_KEY_MAY	0x02	/* may have one */
#define SHAPE_VALUE	0x04	/* may have a value */
#define SHAPE_BARE	0x08	/* may do without its extras */

struct binary_verb {
	binary_parse_fn	 parse;		/* NULL: there is none */
	uint8_t		 op;
	uint8_t		 extras;
	uint8_t		 shape;
	uint16_t	 bits;
};

static uint32_t
binary_read_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	    (uint32_t)p[2] << 8 | p[3];
}

static uint64_t
binary_read_u64(const uint8_t *p)
{
	return (uint64_t)binary_read_u32(p) << 32 | binary_read_u32(p + 4);
}

/* Times are 32 bits without a sign, which servers have no room for. */
static int32_t
binary_read_exptime(const uint8_t *p)
{
	uint32_t n = binary_read_u32(p);

	return n > INT32_MAX ? INT32_MAX : (int32_t)n;
}

/*
 * Requests.
 */

static struct command *
binary_begin(const struct binary_packet *k, enum kvp_class class,
    enum command_op op, uint16_t bits)
{
	struct command *c = command_begin(k->req, class, op, bits,
	    CLIENT_BINARY);

	c->opcode = k->p[AT_OPCODE];
	memcpy(&c->opaque, k->p + AT_OPAQUE, sizeof(c->opaque));
	return c;
}

static struct kvp_slice
binary_key(const struct binary_packet *k)
{
	return (struct kvp_slice){ k->p + BINARY_HEADER + k->extras,
	    k->key_len };
}

static size_t
binary_value_len(const struct binary_packet *k)
{
	return k->body_len - k->extras - k->key_len;
}

/* The whole packet is there: its length. */
static ssize_t
binary_frame(const struct binary_packet *k)
{
	return BINARY_HEADER + (ssize_t)k->body_len;
}

static ssize_t
binary_answer(const struct binary_packet *k, enum command_answer answer)
{
	binary_begin(k, KVP_LOCAL, COMMAND_LOCAL, 0)->answer =
	    (uint8_t)answer;
	return binary_frame(k);
}

/* An error, after whose header the rest cannot be trusted. */
static ssize_t
binary_refuse_and_close(const struct binary_packet *k,
    enum command_answer answer)
{
	binary_answer(k, answer);
	k->req->cmd.flags = KVP_CMD_BAD | KVP_CMD_CLOSE;
	return BINARY_HEADER;
}

/* A command of one key has been read. */
static ssize_t
binary_accept(const struct binary_packet *k)
{
	k->req->key.key = binary_key(k);
	k->req->cmd.n_keys = 1;
	return binary_frame(k);
}

/*
 * Commands.
 */

static ssize_t
binary_parse_get(const struct binary_verb *v, const struct binary_packet *k)
{
	struct command *c = binary_begin(k, KVP_READ, COMMAND_GET, v->bits);

	k->req->cmd.flags = KVP_CMD_MISS_OK;
	if (k->m->binary_cas)
		k->req->cmd.flags |= KVP_CMD_PRIMARY;
	command_ask(c, COMMAND_FIELD_FLAGS);
	command_ask(c, COMMAND_FIELD_CAS);
	if (v->bits & COMMAND_TIMED) {
		k->req->cmd.class = KVP_WRITE;
		k->req->cmd.flags |= KVP_CMD_PRIMARY;
		command_ask(c, COMMAND_FIELD_EXPTIME);
		c->exptime = binary_read_exptime(k->p + BINARY_HEADER);
	}
	return binary_accept(k);
}

static ssize_t
binary_parse_store(const struct binary_verb *v, const struct binary_packet *k)
{
	const uint8_t *extras = k->p + BINARY_HEADER;
	struct command *c = binary_begin(k, KVP_WRITE,
	    (enum command_op)v->op, v->bits | COMMAND_CAS_IF_CAN);
	size_t len = binary_value_len(k);

	command_ask(c, COMMAND_FIELD_CAS);
	if (v->extras > 0) {
		c->client_flags = binary_read_u32(extras);
		c->exptime = binary_read_exptime(extras + 4);
	}
	c->cas = binary_read_u64(k->p + AT_CAS);
	if (c->cas != 0 && v->extras > 0)
		c->op = COMMAND_CAS;
	else if (c->cas != 0)
		c->bits |= COMMAND_MATCH;
	if (len > k->m->max_value) {
		if (v->op == COMMAND_SET)
			binary_accept(k);
		else
			binary_answer(k, COMMAND_ANSWER_TOO_LARGE);
		k->req->cmd.flags = KVP_CMD_TOO_LARGE;
		k->req->swallow = len;
		return BINARY_HEADER + k->extras + k->key_len;
	}
	k->req->key.body = (struct kvp_slice){
		extras + k->extras + k->key_len, len
	};
	return binary_accept(k);
}

static ssize_t
binary_parse_delete(const struct binary_verb *v, const struct binary_packet *k)
{
	struct command *c = binary_begin(k, KVP_WRITE, COMMAND_DELETE,
	    v->bits);

	c->cas = binary_read_u64(k->p + AT_CAS);
	if (c->cas != 0)
		c->bits |= COMMAND_MATCH;
	return binary_accept(k);
}

static ssize_t
binary_parse_count(const struct binary_verb *v, const struct binary_packet *k)
{
	struct command *c = binary_begin(k, KVP_WRITE,
	    (enum command_op)v->op,
	    v->bits | COMMAND_VALUE | COMMAND_CAS_IF_CAN);

	command_ask(c, COMMAND_FIELD_CAS);
	c->cas = binary_read_u64(k->p + AT_CAS);
	if (c->cas != 0)
		c->bits |= COMMAND_MATCH;
	c->delta = binary_read_u64(k->p + COUNT_DELTA);
	if (binary_read_u32(k->p + COUNT_EXPTIME) != COUNT_MAKE_NONE) {
		c->bits |= COMMAND_VIVIFY;
		command_ask(c, COMMAND_FIELD_VIVIFY);
		c->initial = binary_read_u64(k->p + COUNT_INITIAL);
		c->vivify = binary_read_exptime(k->p + COUNT_EXPTIME);
	}
	return binary_accept(k);
}

static ssize_t
binary_parse_flush(const struct binary_verb *v, const struct binary_packet *k)
{
	struct command *c;

	if (!k->m->allow_flush) {
		binary_answer(k, COMMAND_ANSWER_NO_FLUSH);
		k->req->cmd.flags = KVP_CMD_BAD;
		return binary_frame(k);
	}
	c = binary_begin(k, KVP_EVERY, COMMAND_FLUSH, v->bits);
	if (k->extras > 0)
		c->exptime = binary_read_exptime(k->p + BINARY_HEADER);
	if (c->exptime != 0)
		c->bits |= COMMAND_TIMED;
	else
		k->req->cmd.flags = KVP_CMD_EMPTIES;
	return binary_frame(k);
}

static ssize_t
binary_parse_stat(const struct binary_verb *v, const struct binary_packet *k)
{
	(void)v;
	binary_answer(k, COMMAND_ANSWER_NONE);
	k->req->cmd.local = KVP_LOCAL_STATS;
	k->req->note = binary_key(k);
	if (wire_is(k->req->note.p, k->req->note.len, "reset"))
		k->req->cmd.local = KVP_LOCAL_RESET;
	return binary_frame(k);
}

static ssize_t
binary_parse_version(const struct binary_verb *v,
    const struct binary_packet *k)
{
	(void)v;
	return binary_answer(k, COMMAND_ANSWER_VERSION);
}

/* NOOP, VERBOSITY: there is nothing to do. */
static ssize_t
binary_parse_noop(const struct binary_verb *v, const struct binary_packet *k)
{
	(void)v;
	return binary_answer(k, COMMAND_ANSWER_OK);
}

static ssize_t
binary_parse_quit(const struct binary_verb *v, const struct binary_packet *k)
{
	binary_answer(k, v->bits & COMMAND_QUIET ? COMMAND_ANSWER_NONE :
	    COMMAND_ANSWER_OK);
	k->req->cmd.flags = KVP_CMD_CLOSE;
	return binary_frame(k);
}

/*
 * Packets.
 */

#define QUIET	COMMAND_QUIET
#define STORE	8, SHAPE_KEY | SHAPE_VALUE
#define JOIN	0, SHAPE_KEY | SHAPE_VALUE
#define COUNT	20, SHAPE_KEY
#define READ	0, SHAPE_KEY
#define TOUCH	4, SHAPE_KEY

/* All that are not here are unknown, SASL's among them, as to a server
 * without it. */
static const struct binary_verb binary_verbs[UINT8_MAX + 1] = {
	[BINARY_GET] = { binary_parse_get, 0, READ, COMMAND_VALUE },
	[BINARY_GETQ] = { binary_parse_get, 0, READ, COMMAND_VALUE | QUIET },
	[BINARY_GETK] = { binary_parse_get, 0, READ,
	    COMMAND_VALUE | COMMAND_SHOW_KEY },
	[BINARY_GETKQ] = { binary_parse_get, 0, READ,
	    COMMAND_VALUE | COMMAND_SHOW_KEY | QUIET },
	[BINARY_TOUCH] = { binary_parse_get, 0, TOUCH, COMMAND_TIMED },
	[BINARY_GAT] = { binary_parse_get, 0, TOUCH,
	    COMMAND_TIMED | COMMAND_VALUE },
	[BINARY_GATQ] = { binary_parse_get, 0, TOUCH,
	    COMMAND_TIMED | COMMAND_VALUE | QUIET },
	[BINARY_GATK] = { binary_parse_get, 0, TOUCH,
	    COMMAND_TIMED | COMMAND_VALUE | COMMAND_SHOW_KEY },
	[BINARY_GATKQ] = { binary_parse_get, 0, TOUCH,
	    COMMAND_TIMED | COMMAND_VALUE | COMMAND_SHOW_KEY | QUIET },
	[BINARY_SET] = { binary_parse_store, COMMAND_SET, STORE, 0 },
	[BINARY_SETQ] = { binary_parse_store, COMMAND_SET, STORE, QUIET },
	[BINARY_ADD] = { binary_parse_store, COMMAND_ADD, STORE, 0 },
	[BINARY_ADDQ] = { binary_parse_store, COMMAND_ADD, STORE, QUIET },
	[BINARY_REPLACE] = { binary_parse_store, COMMAND_REPLACE, STORE, 0 },
	[BINARY_REPLACEQ] = { binary_parse_store, COMMAND_REPLACE, STORE,
	    QUIET },
	[BINARY_APPEND] = { binary_parse_store, COMMAND_APPEND, JOIN, 0 },
	[BINARY_APPENDQ] = { binary_parse_store, COMMAND_APPEND, JOIN,
	    QUIET },
	[BINARY_PREPEND] = { binary_parse_store, COMMAND_PREPEND, JOIN, 0 },
	[BINARY_PREPENDQ] = { binary_parse_store, COMMAND_PREPEND, JOIN,
	    QUIET },
	[BINARY_DELETE] = { binary_parse_delete, 0, READ, 0 },
	[BINARY_DELETEQ] = { binary_parse_delete, 0, READ, QUIET },
	[BINARY_INCREMENT] = { binary_parse_count, COMMAND_INCR, COUNT, 0 },
	[BINARY_INCREMENTQ] = { binary_parse_count, COMMAND_INCR, COUNT,
	    QUIET },
	[BINARY_DECREMENT] = { binary_parse_count, COMMAND_DECR, COUNT, 0 },
	[BINARY_DECREMENTQ] = { binary_parse_count, COMMAND_DECR, COUNT,
	    QUIET },
	[BINARY_FLUSH] = { binary_parse_flush, 0, 4, SHAPE_BARE, 0 },
	[BINARY_FLUSHQ] = { binary_parse_flush, 0, 4, SHAPE_BARE, QUIET },
	[BINARY_STAT] = { binary_parse_stat, 0, 0, SHAPE_KEY_MAY, 0 },
	[BINARY_VERSION] = { binary_parse_version, 0, 0, 0, 0 },
	[BINARY_NOOP] = { binary_parse_noop, 0, 0, 0, 0 },
	[BINARY_VERBOSITY] = { binary_parse_noop, 0, 4, 0, 0 },
	[BINARY_QUIT] = { binary_parse_quit, 0, 0, 0, 0 },
	[BINARY_QUITQ] = { binary_parse_quit, 0, 0, 0, QUIET },
};

#undef QUIET
#undef STORE
#undef JOIN
#undef COUNT
#undef READ
#undef TOUCH

/* Has the packet the parts that its verb has? */
static bool
binary_shape_fits(const struct binary_verb *v, const struct binary_packet *k)
{
	bool has_key = k->key_len > 0;

	if (k->extras != v->extras &&
	    (k->extras != 0 || (v->shape & SHAPE_BARE) == 0))
		return false;
	if ((v->shape & SHAPE_KEY_MAY) == 0 &&
	    has_key != ((v->shape & SHAPE_KEY) != 0))
		return false;
	return (v->shape & SHAPE_VALUE) != 0 || binary_value_len(k) == 0;
}

static ssize_t
binary_refuse_unknown(const struct binary_packet *k)
{
	if (k->body_len > COMMAND_SWALLOW_MAX)
		return binary_refuse_and_close(k, COMMAND_ANSWER_UNKNOWN);
	binary_answer(k, COMMAND_ANSWER_UNKNOWN);
	k->req->cmd.flags = KVP_CMD_BAD;
	k->req->swallow = k->body_len;
	return BINARY_HEADER;
}

ssize_t
binary_parse(const struct memcached *m, const uint8_t *p, size_t len,
    struct kvp_request *req)
{
	struct binary_packet k = {
		.m = m, .p = p, .len = len, .req = req
	};
	const struct binary_verb *v;
	size_t total;

	if (p[0] != BINARY_REQUEST)
		return -1;
	if (len < BINARY_HEADER) {
		req->need = BINARY_HEADER;
		return 0;
	}
	k.key_len = (uint16_t)(p[AT_KEY_LEN] << 8 | p[AT_KEY_LEN + 1]);
	k.extras = p[AT_EXTRAS_LEN];
	k.body_len = binary_read_u32(p + AT_BODY_LEN);
	if ((uint32_t)k.key_len + k.extras > k.body_len)
		return binary_refuse_and_close(&k, COMMAND_ANSWER_UNKNOWN);
	v = &binary_verbs[p[AT_OPCODE]];
	if (v->parse == NULL)
		return binary_refuse_unknown(&k);
	if (k.key_len > COMMAND_KEY_MAX || !binary_shape_fits(v, &k) ||
	    binary_value_len(&k) > COMMAND_SWALLOW_MAX)
		return binary_refuse_and_close(&k, COMMAND_ANSWER_FORMAT);
	total = BINARY_HEADER + (binary_value_len(&k) > m->max_value ?
	    (size_t)k.extras + k.key_len : k.body_len);
	if (len < total) {
		req->need = total;
		return 0;
	}
	return v->parse(v, &k);
}
