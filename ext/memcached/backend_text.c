/*
 * backend_text.c: servers asked in the classic text protocol: those before
 * memcached 1.6.18, and others that speak it.
 *
 * Replies are matched by position.  One that brings a value also brings its
 * key, which is checked.
 */
#include "ext/memcached/backend.h"
#include "ext/memcached/wire.h"

/*
 * Encoding.
 */

static uint8_t *
textback_put_exptime(uint8_t *p, int32_t exptime)
{
	p = wire_put_str(p, " ");
	if (exptime < 0)
		return wire_put_str(p, "-1");
	return wire_put_u64(p, (uint64_t)exptime);
}

/* A read that is asked again has touched already. */
static bool
textback_touches(const struct command *c, const struct kvp_key *key)
{
	return (c->bits & COMMAND_TIMED) != 0 && key->step == 0;
}

static uint8_t *
textback_put_verb(uint8_t *p, const struct command *c, enum command_op op,
    const struct kvp_key *key)
{
	static const char *const verb[COMMAND_N_OPS] = {
		[COMMAND_SET] = "set", [COMMAND_ADD] = "add",
		[COMMAND_REPLACE] = "replace", [COMMAND_APPEND] = "append",
		[COMMAND_PREPEND] = "prepend", [COMMAND_CAS] = "cas",
		[COMMAND_DELETE] = "delete", [COMMAND_INCR] = "incr",
		[COMMAND_DECR] = "decr", [COMMAND_TOUCH] = "touch",
		[COMMAND_FLUSH] = "flush_all",
	};

	if (op != COMMAND_GET)
		return wire_put(p, verb[op], strlen(verb[op]));
	p = textback_touches(c, key) ? wire_put_str(p, "gat") :
	    wire_put_str(p, "get");
	if (c->asks & COMMAND_ASK(CAS))
		p = wire_put_str(p, "s");
	return textback_touches(c, key) ?
	    textback_put_exptime(p, c->exptime) : p;
}

static uint8_t *
textback_put_store(uint8_t *p, const struct command *c, enum command_op op,
    size_t len)
{
	p = wire_put_str(p, " ");
	p = wire_put_u64(p, c->client_flags);
	p = textback_put_exptime(p, c->exptime);
	p = wire_put_str(p, " ");
	p = wire_put_u64(p, len);
	if (op != COMMAND_CAS)
		return p;
	return wire_put_u64(wire_put_str(p, " "), c->cas);
}

static uint8_t *
textback_put_arguments(uint8_t *p, const struct command *c,
    enum command_op op)
{
	switch (op) {
	case COMMAND_INCR:
	case COMMAND_DECR:
		return wire_put_u64(wire_put_str(p, " "), c->delta);
	case COMMAND_TOUCH:
		return textback_put_exptime(p, c->exptime);
	case COMMAND_FLUSH:
		return c->bits & COMMAND_TIMED ?
		    textback_put_exptime(p, c->exptime) : p;
	default:
		return p;
	}
}

/* There is no other way to say a key here. */
static bool
textback_key_is_fit(struct kvp_slice key)
{
	return key.len > 0 && key.len <= COMMAND_KEY_MAX &&
	    backend_key_is_plain(key);
}

/* A counter that a miss makes, in one write: the add does nothing where the
 * incr has found one. */
static uint8_t *
textback_put_add(uint8_t *p, const struct command *c, struct kvp_slice key)
{
	uint8_t digits[WIRE_U64_MAX];
	size_t len = (size_t)(wire_put_u64(digits, c->initial) - digits);

	p = wire_put_str(p, "add ");
	p = wire_put(p, key.p, key.len);
	p = wire_put_str(p, " 0");
	p = textback_put_exptime(p, c->vivify);
	p = wire_put_u64(wire_put_str(p, " "), len);
	p = wire_put_str(p, "\r\n");
	p = wire_put(p, digits, len);
	return wire_put_str(p, "\r\n");
}

/* Can C be said at all?  What it would leave out, a client would miss. */
static bool
textback_can_say(const struct command *c, enum command_op op)
{
	unsigned asks = c->asks & ~(COMMAND_ASK(KEY) | COMMAND_ASK(OPAQUE));

	switch (op) {
	case COMMAND_GIVE_BACK:
	case COMMAND_SEE_STALE:
		return false;
	case COMMAND_GET:
		return (asks & ~(COMMAND_ASK(FLAGS) | COMMAND_ASK(CAS) |
		    COMMAND_ASK(SIZE) | COMMAND_ASK(EXPTIME))) == 0 &&
		    (c->bits & COMMAND_NO_BUMP) == 0;
	case COMMAND_INCR:
	case COMMAND_DECR:
		asks &= ~COMMAND_ASK(VIVIFY);
		break;
	default:
		break;
	}
	if (c->bits & (COMMAND_MATCH | COMMAND_INVALIDATE) &&
	    op != COMMAND_CAS)
		return false;
	if (c->bits & COMMAND_CAS_IF_CAN)
		asks &= ~COMMAND_ASK(CAS);
	return asks == 0 && (op != COMMAND_CAS ||
	    (c->bits & COMMAND_INVALIDATE) == 0);
}

static bool
textback_encode(const struct kvp_cmd *cmd, const struct kvp_key *key,
    uint32_t opaque, struct kvp_out *out)
{
	struct command limited;
	const struct command *c = command_limit(command_peek(cmd),
	    key->ttl_max, &limited);
	enum command_op op = command_wire_op(cmd);
	uint8_t *p = out->dst;

	(void)opaque;
	if ((op == (enum command_op)c->op && !textback_can_say(c, op)) ||
	    (op != COMMAND_FLUSH && !textback_key_is_fit(key->key)))
		return false;
	p = textback_put_verb(p, c, op, key);
	if (op != COMMAND_FLUSH) {
		p = wire_put_str(p, " ");
		p = wire_put(p, key->key.p, key->key.len);
	}
	if (command_is_store(op)) {
		p = textback_put_store(p, c, op, key->body.len);
		out->body = key->body;
		out->tail = (struct kvp_slice)WIRE_SLICE("\r\n");
	} else
		p = textback_put_arguments(p, c, op);
	p = wire_put_str(p, "\r\n");
	if (command_is_count(op) && (c->bits & COMMAND_VIVIFY) != 0)
		p = textback_put_add(p, c, key->key);
	out->len = (size_t)(p - out->dst);
	return true;
}

/*
 * Decoding.
 */

#define OP(op)	(1u << COMMAND_##op)
#define STORES	(OP(SET) | OP(ADD) | OP(REPLACE) | OP(APPEND) | \
		    OP(PREPEND) | OP(CAS))
#define COUNTS	(OP(INCR) | OP(DECR))

/* The replies that are a word, and whose they are. */
static const struct textback_word {
	const char	*word;
	unsigned	 ops;
	uint8_t		 class;
	uint8_t		 status;
} textback_words[] = {
	{ "END", OP(GET), KVP_REPLY_MISS, RESULT_NOT_FOUND },
	{ "STORED", STORES, KVP_REPLY_STORED, RESULT_OK },
	{ "NOT_STORED", STORES, KVP_REPLY_NOT_STORED, RESULT_NOT_STORED },
	{ "EXISTS", OP(CAS), KVP_REPLY_NOT_STORED, RESULT_EXISTS },
	{ "NOT_FOUND", OP(TOUCH), KVP_REPLY_MISS, RESULT_NOT_FOUND },
	{ "NOT_FOUND", OP(CAS) | OP(DELETE) | COUNTS, KVP_REPLY_NOT_STORED,
	    RESULT_NOT_FOUND },
	{ "DELETED", OP(DELETE), KVP_REPLY_STORED, RESULT_OK },
	{ "TOUCHED", OP(TOUCH), KVP_REPLY_HIT, RESULT_OK },
	{ "OK", OP(FLUSH), KVP_REPLY_STORED, RESULT_OK },
};

static bool
textback_read_word(enum command_op op, const uint8_t *p, size_t len,
    struct kvp_reply *r)
{
	const struct textback_word *w = textback_words;
	const struct textback_word *end = w +
	    sizeof(textback_words) / sizeof(textback_words[0]);

	for (; w < end; w++) {
		if ((w->ops & 1u << op) == 0 || strlen(w->word) != len ||
		    memcmp(w->word, p, len) != 0)
			continue;
		r->class = w->class;
		result_of(r)->status = w->status;
		return true;
	}
	return false;
}

/* The new number of an incr or decr. */
static bool
textback_read_number(const uint8_t *p, size_t len, struct kvp_reply *r)
{
	uint64_t n;

	if (len > WIRE_U64_MAX || !wire_read_u64(p, len, UINT64_MAX, &n))
		return false;
	r->class = KVP_REPLY_STORED;
	result_of(r)->number = n;
	return true;
}

/* A number behind one space at *P, which moves past it. */
static bool
textback_next_number(const uint8_t **p, const uint8_t *end, uint64_t most,
    uint64_t *n)
{
	const uint8_t *at = *p;

	if (at == end || *at++ != ' ')
		return false;
	for (*p = at; *p < end && **p != ' '; ++*p)
		;
	return wire_read_u64(at, (size_t)(*p - at), most, n);
}

/* The line "VALUE key flags length [cas]" of a reply to C with KEY. */
static bool
textback_read_value_line(const struct command *c, struct kvp_slice key,
    const uint8_t *p, size_t len, uint64_t *vlen, struct kvp_reply *r)
{
	const uint8_t *end = p + len;
	struct result *res = result_of(r);
	uint64_t flags;

	p += sizeof("VALUE ") - 1;
	if ((size_t)(end - p) < key.len || memcmp(p, key.p, key.len) != 0)
		return false;
	p += key.len;
	if (!textback_next_number(&p, end, UINT64_MAX, &flags) ||
	    !textback_next_number(&p, end, UINT64_MAX, vlen))
		return false;
	if ((c->asks & COMMAND_ASK(CAS)) != 0 &&
	    !textback_next_number(&p, end, UINT64_MAX, &res->cas))
		return false;
	if (flags > UINT32_MAX)
		res->bits |= RESULT_WIDE_FLAGS;
	res->client_flags = (uint32_t)flags;
	res->number = *vlen;
	r->class = KVP_REPLY_HIT;
	return p == end;
}

/* A server that lacks gat or touch says ERROR, and is none the worse for it:
 * no value follows them that it could take for a command. */
static void
textback_forgive_unknown(const struct command *c, enum command_op op,
    const uint8_t *p, size_t len, struct kvp_reply *r)
{
	bool recent = op == COMMAND_TOUCH ||
	    (op == COMMAND_GET && (c->bits & COMMAND_TIMED) != 0);

	if (recent && wire_is(p, len, "ERROR"))
		r->flags &= (uint8_t)~KVP_REPLY_FATAL;
}

/* The reply to the add behind an incr, whose reply is R.  Where the counter
 * was not there for the one and was for the other, it is another's by now. */
static ssize_t
textback_read_add(const struct command *c, const uint8_t *p, size_t len,
    struct kvp_reply *r)
{
	struct result *res = result_of(r);
	struct kvp_reply add = { .class = KVP_REPLY_ERROR };
	size_t need = 0;
	ssize_t n;

	if ((n = backend_read_line(p, len, &need)) <= 0)
		return n;
	if (!textback_read_word(COMMAND_ADD, p, (size_t)n - 2, &add)) {
		if (!backend_read_error(COMMAND_ADD, p, (size_t)n - 2, &add))
			return -1;
		r->flags |= add.flags;
	}
	if (r->class != KVP_REPLY_NOT_STORED)
		return n;
	if (add.class == KVP_REPLY_STORED) {
		r->class = KVP_REPLY_STORED;
		res->status = RESULT_OK;
		res->number = c->initial;
	} else if (add.class == KVP_REPLY_NOT_STORED)
		res->status = RESULT_NOT_STORED;
	else {
		r->class = KVP_REPLY_ERROR;
		r->body = add.body;
	}
	return n;
}

static ssize_t
textback_decode(const struct memcached *m, const struct kvp_cmd *cmd,
    const struct kvp_key *key, uint32_t opaque, const uint8_t *p, size_t len,
    struct kvp_reply *r)
{
	static const struct kvp_slice end = WIRE_SLICE("\r\nEND\r\n");
	const struct command *c = command_peek(cmd);
	enum command_op op = command_wire_op(cmd);
	ssize_t n, add;
	uint64_t vlen;
	size_t line;

	(void)opaque;
	*r = (struct kvp_reply){ .class = KVP_REPLY_ERROR };
	if ((n = backend_read_line(p, len, &r->need)) <= 0)
		return n;
	line = (size_t)n - 2;
	if (op == COMMAND_GET && wire_begins(p, line, "VALUE ")) {
		if (!textback_read_value_line(c, key->key, p, line, &vlen, r))
			return -1;
		n = backend_read_value(m, p, len, (size_t)n, vlen, end, r);
		if (n > 0)
			backend_refuse_wide_flags(r);
		return n;
	}
	if (!textback_read_word(op, p, line, r) &&
	    (!command_is_count(op) || !textback_read_number(p, line, r))) {
		if (!backend_read_error(op, p, line, r))
			return -1;
		textback_forgive_unknown(c, op, p, line, r);
	}
	if (!command_is_count(op) || (c->bits & COMMAND_VIVIFY) == 0 ||
	    (r->flags & KVP_REPLY_FATAL) != 0)
		return n;
	add = textback_read_add(c, p + n, len - (size_t)n, r);
	if (add == 0)
		r->need = len + 1;
	return add > 0 ? n + add : add;
}

const struct backend_dialect backend_text = {
	.encode = textback_encode,
	.decode = textback_decode,
};
