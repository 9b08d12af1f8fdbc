/*
 * meta.c: requests in the meta protocol.
 *
 * What is accepted and how errors are worded is memcached 1.6.18's, but that
 * numbers are digits only, keys have no NUL, and a store in error takes its
 * value with it.  Flags that a command does not know are checked and then
 * left out, as they do nothing there.
 */
#include "ext/memcached/meta.h"
#include "ext/memcached/base64.h"
#include "ext/memcached/wire.h"

enum {
	META_OPAQUE_MAX = 31,
	META_CHAR_MAX = 127	/* flags are below it */
};

/* What stands behind a flag's character. */
enum meta_token {
	META_UNKNOWN,		/* not a flag */
	META_BARE,		/* nothing; what does is left out */
	META_HINT,		/* of no meaning to a proxy */
	META_KEY_CODE,		/* nothing: the key is in base64 */
	META_OPAQUE,
	META_TTL,
	META_CLIENT_FLAGS,
	META_CAS,
	META_DELTA,
	META_INITIAL,
	META_MODE
};

/* A flag: what it adds to the command's bits and what it asks for, where its
 * command knows of that. */
struct meta_flag {
	uint8_t		 token;		/* enum meta_token */
	uint8_t		 field;		/* enum command_field */
	uint16_t	 bit;
};

static const struct meta_flag meta_flags[META_CHAR_MAX] = {
	['b'] = { META_KEY_CODE, 0, COMMAND_BASE64 },
	['k'] = { META_BARE, COMMAND_FIELD_KEY, 0 },
	['O'] = { META_OPAQUE, COMMAND_FIELD_OPAQUE, 0 },
	['f'] = { META_BARE, COMMAND_FIELD_FLAGS, 0 },
	['c'] = { META_BARE, COMMAND_FIELD_CAS, 0 },
	['t'] = { META_BARE, COMMAND_FIELD_TTL, 0 },
	['l'] = { META_BARE, COMMAND_FIELD_ACCESS, 0 },
	['h'] = { META_BARE, COMMAND_FIELD_HIT, 0 },
	['s'] = { META_BARE, COMMAND_FIELD_SIZE, 0 },
	['v'] = { META_BARE, 0, COMMAND_VALUE },
	['q'] = { META_BARE, 0, COMMAND_QUIET },
	['u'] = { META_BARE, 0, COMMAND_NO_BUMP },
	['I'] = { META_BARE, 0, COMMAND_INVALIDATE },
	['T'] = { META_TTL, COMMAND_FIELD_EXPTIME, COMMAND_TIMED },
	['N'] = { META_TTL, COMMAND_FIELD_VIVIFY, COMMAND_VIVIFY },
	['R'] = { META_TTL, COMMAND_FIELD_RECACHE, 0 },
	['F'] = { META_CLIENT_FLAGS, 0, 0 },
	['C'] = { META_CAS, 0, COMMAND_MATCH },
	['D'] = { META_DELTA, 0, 0 },
	['J'] = { META_INITIAL, 0, 0 },
	['M'] = { META_MODE, 0, 0 },
	['P'] = { META_HINT, 0, 0 },
	['L'] = { META_HINT, 0, 0 },
};

/* What a command knows. */
struct meta_verb {
	uint16_t	 fields;	/* COMMAND_ASK */
	uint16_t	 bits;
};

static const struct meta_verb meta_get = {
	COMMAND_ASK(KEY) | COMMAND_ASK(OPAQUE) | COMMAND_REPLY_FIELDS |
	    COMMAND_ASK(EXPTIME) | COMMAND_ASK(VIVIFY) | COMMAND_ASK(RECACHE),
	COMMAND_BASE64 | COMMAND_VALUE | COMMAND_QUIET | COMMAND_NO_BUMP |
	    COMMAND_TIMED | COMMAND_VIVIFY
};

static const struct meta_verb meta_store = {
	COMMAND_ASK(KEY) | COMMAND_ASK(OPAQUE) | COMMAND_ASK(CAS),
	COMMAND_BASE64 | COMMAND_QUIET | COMMAND_INVALIDATE | COMMAND_MATCH
};

static const struct meta_verb meta_delete = {
	COMMAND_ASK(KEY) | COMMAND_ASK(OPAQUE),
	COMMAND_BASE64 | COMMAND_QUIET | COMMAND_INVALIDATE | COMMAND_TIMED |
	    COMMAND_MATCH
};

static const struct meta_verb meta_count = {
	COMMAND_ASK(KEY) | COMMAND_ASK(OPAQUE) | COMMAND_ASK(CAS) |
	    COMMAND_ASK(TTL) | COMMAND_ASK(EXPTIME) | COMMAND_ASK(VIVIFY),
	COMMAND_BASE64 | COMMAND_VALUE | COMMAND_QUIET | COMMAND_TIMED |
	    COMMAND_VIVIFY | COMMAND_MATCH
};

/* A request being read. */
struct meta_request {
	const struct text_line *line;
	const struct meta_verb *verb;
	struct command	*c;
	struct kvp_slice w[META_WORDS_MAX + 1];	/* the key, flags ... */
	size_t		 n;
	struct kvp_slice key;		/* decoded */
	uint8_t		 mode;		/* M's, 0: none */
	bool		 opaque_long;
};

/*
 * Flags.
 */

static enum command_answer
meta_read_key_code(struct meta_request *q)
{
	uint8_t *room = q->line->req->room;

	q->key.len = base64_read(room, q->w[0]);
	q->key.p = room;
	return q->key.len > 0 ? COMMAND_ANSWER_NONE : COMMAND_ANSWER_KEY_CODE;
}

static enum command_answer
meta_read_number(struct kvp_slice arg, uint64_t *n, enum command_answer bad)
{
	return wire_read_u64(arg.p, arg.len, UINT64_MAX, n) ?
	    COMMAND_ANSWER_NONE : bad;
}

/* The token ARG behind a flag's character CH. */
static enum command_answer
meta_read_token(struct meta_request *q, uint8_t ch, struct kvp_slice arg)
{
	struct command *c = q->c;
	uint64_t n;

	switch ((enum meta_token)meta_flags[ch].token) {
	case META_KEY_CODE:
		return meta_read_key_code(q);
	case META_OPAQUE:
		q->opaque_long = arg.len > META_OPAQUE_MAX;
		if (!q->opaque_long)
			q->line->req->note = arg;
		return COMMAND_ANSWER_NONE;
	case META_TTL:
		return text_read_exptime(arg, ch == 'T' ? &c->exptime :
		    ch == 'N' ? &c->vivify : &c->recache) ?
		    COMMAND_ANSWER_NONE : COMMAND_ANSWER_TOKEN;
	case META_CLIENT_FLAGS:
		if (!wire_read_u64(arg.p, arg.len, UINT32_MAX, &n))
			return COMMAND_ANSWER_FORMAT;
		c->client_flags = (uint32_t)n;
		return COMMAND_ANSWER_NONE;
	case META_CAS:
		return meta_read_number(arg, &c->cas, COMMAND_ANSWER_TOKEN);
	case META_DELTA:
		return meta_read_number(arg, &c->delta,
		    COMMAND_ANSWER_COUNT_DELTA);
	case META_INITIAL:
		return meta_read_number(arg, &c->initial,
		    COMMAND_ANSWER_COUNT_INITIAL);
	case META_MODE:
		if (arg.len != 1 || arg.p[0] == '\0')
			return COMMAND_ANSWER_MODE_LENGTH;
		q->mode = arg.p[0];
		return COMMAND_ANSWER_NONE;
	default:
		return COMMAND_ANSWER_NONE;
	}
}

/* Read the flags, which are the words from FIRST on.  What is wrong with them;
 * of several that cannot be read the last one, as memcached says it. */
static enum command_answer
meta_read_flags(struct meta_request *q, size_t first)
{
	enum command_answer wrong = COMMAND_ANSWER_NONE, answer;
	uint64_t seen[2] = { 0, 0 };
	size_t i;

	q->key = q->w[0];
	for (i = first; i < q->n; i++) {
		uint8_t ch = q->w[i].p[0];
		const struct meta_flag *f;

		if (ch >= META_CHAR_MAX || (seen[ch >> 6] >> (ch & 63) & 1))
			return COMMAND_ANSWER_FLAG_TWICE;
		seen[ch >> 6] |= (uint64_t)1 << (ch & 63);
		f = &meta_flags[ch];
		if (f->token == META_UNKNOWN)
			return COMMAND_ANSWER_FLAG_UNKNOWN;
		answer = meta_read_token(q, ch, (struct kvp_slice){
		    q->w[i].p + 1, q->w[i].len - 1 });
		/* A bad F does not say so where something else is wrong. */
		if (answer != COMMAND_ANSWER_NONE &&
		    (answer != COMMAND_ANSWER_FORMAT ||
		    wrong == COMMAND_ANSWER_NONE))
			wrong = answer;
		q->c->bits |= f->bit & q->verb->bits;
		if (q->verb->fields & 1u << f->field && f->field != 0)
			command_ask(q->c, (enum command_field)f->field);
	}
	return wrong;
}

/* Begin to read: split the line.  What is wrong with it. */
static enum command_answer
meta_begin(struct meta_request *q, const struct text_line *line,
    const struct meta_verb *verb, enum kvp_class class, enum command_op op,
    const uint8_t *args)
{
	q->line = line;
	q->verb = verb;
	q->mode = 0;
	q->opaque_long = false;
	q->n = text_split(q->w, META_WORDS_MAX + 1, args, line->end);
	if (q->n == 0)
		return COMMAND_ANSWER_UNKNOWN;
	q->c = text_begin(line, class, op, 0);
	q->c->dialect = CLIENT_META;
	if (q->w[0].len > COMMAND_KEY_MAX)
		return COMMAND_ANSWER_FORMAT;
	return q->n > META_WORDS_MAX ? COMMAND_ANSWER_MANY_FLAGS :
	    COMMAND_ANSWER_NONE;
}

/* Of what can no more be wrong: a NUL is for keys in base64 alone. */
static bool
meta_key_is_fit(const struct meta_request *q)
{
	return (q->c->bits & COMMAND_BASE64) != 0 || text_key_is_fit(q->key);
}

/*
 * Commands.
 */

ssize_t
meta_parse_get(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	struct meta_request q;
	enum command_answer wrong;
	uint16_t changes = COMMAND_ASK(EXPTIME) | COMMAND_ASK(VIVIFY) |
	    COMMAND_ASK(RECACHE);

	(void)v;
	wrong = meta_begin(&q, line, &meta_get, KVP_READ, COMMAND_GET, args);
	if (wrong == COMMAND_ANSWER_MANY_FLAGS)
		wrong = COMMAND_ANSWER_MANY_FLAGS_READ;
	if (wrong == COMMAND_ANSWER_NONE)
		wrong = meta_read_flags(&q, 1);
	if (wrong == COMMAND_ANSWER_NONE && q.opaque_long)
		wrong = COMMAND_ANSWER_OPAQUE;
	if (wrong == COMMAND_ANSWER_NONE && !meta_key_is_fit(&q))
		wrong = COMMAND_ANSWER_FORMAT;
	if (wrong != COMMAND_ANSWER_NONE)
		return text_refuse(line, wrong, 0);
	line->req->cmd.flags = KVP_CMD_MISS_OK;
	if (q.c->asks & (changes | COMMAND_ASK(CAS)))
		line->req->cmd.flags |= KVP_CMD_PRIMARY;
	if (q.c->asks & changes)
		line->req->cmd.class = KVP_WRITE;
	return text_accept(line, q.key);
}

/* The command that M's mode and C make of a store. */
static enum command_op
meta_store_op(const struct meta_request *q)
{
	enum command_op op;

	switch (q->mode) {
	case 0:
	case 'S':
		op = COMMAND_SET;
		break;
	case 'R':
		op = COMMAND_REPLACE;
		break;
	case 'E':
		return COMMAND_ADD;
	case 'A':
		return COMMAND_APPEND;
	case 'P':
		return COMMAND_PREPEND;
	default:
		return COMMAND_LOCAL;
	}
	return q->c->bits & COMMAND_MATCH ? COMMAND_CAS : op;
}

static enum command_answer
meta_finish_store(struct meta_request *q)
{
	struct command *c = q->c;

	c->op = (uint8_t)meta_store_op(q);
	if (c->op == COMMAND_LOCAL)
		return COMMAND_ANSWER_STORE_MODE;
	if (q->opaque_long)
		return COMMAND_ANSWER_OPAQUE;
	/* Only what is matched can be marked as stale, and an add matches
	 * nothing. */
	if (c->op != COMMAND_CAS)
		c->bits &= (uint16_t)~COMMAND_INVALIDATE;
	if (c->op == COMMAND_ADD)
		c->bits &= (uint16_t)~COMMAND_MATCH;
	return meta_key_is_fit(q) ? COMMAND_ANSWER_NONE :
	    COMMAND_ANSWER_FORMAT;
}

ssize_t
meta_parse_store(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	struct meta_request q;
	enum command_answer wrong;
	uint64_t length;

	(void)v;
	wrong = meta_begin(&q, line, &meta_store, KVP_WRITE, COMMAND_SET,
	    args);
	/* Where no length is said, none is taken. */
	if (q.n < 2)
		return text_refuse(line, q.n == 0 ? COMMAND_ANSWER_UNKNOWN :
		    COMMAND_ANSWER_FORMAT, 0);
	if (!wire_read_u64(q.w[1].p, q.w[1].len, COMMAND_SWALLOW_MAX,
	    &length))
		return text_refuse_and_close(line, COMMAND_ANSWER_FORMAT,
		    line->frame, 0);
	if (wrong == COMMAND_ANSWER_NONE)
		wrong = meta_read_flags(&q, 2);
	if (wrong == COMMAND_ANSWER_NONE)
		wrong = meta_finish_store(&q);
	if (wrong != COMMAND_ANSWER_NONE)
		return text_refuse_store(line, wrong, 0, length);
	return text_take_value(line, q.key, length);
}

/* Read a command that has no value and one word for whatever is wrong with its
 * flags. */
static enum command_answer
meta_read_simple(struct meta_request *q, const struct text_line *line,
    const struct meta_verb *verb, enum command_op op, const uint8_t *args)
{
	enum command_answer wrong;

	wrong = meta_begin(q, line, verb, KVP_WRITE, op, args);
	if (wrong != COMMAND_ANSWER_NONE)
		return wrong;
	q->c->delta = 1;
	if (meta_read_flags(q, 1) != COMMAND_ANSWER_NONE)
		return COMMAND_ANSWER_FLAG_BAD;
	if (!meta_key_is_fit(q))
		return COMMAND_ANSWER_FORMAT;
	return COMMAND_ANSWER_NONE;
}

ssize_t
meta_parse_delete(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	struct meta_request q;
	enum command_answer wrong;

	(void)v;
	wrong = meta_read_simple(&q, line, &meta_delete, COMMAND_DELETE, args);
	if (wrong == COMMAND_ANSWER_NONE && q.opaque_long)
		wrong = COMMAND_ANSWER_OPAQUE;
	if (wrong != COMMAND_ANSWER_NONE)
		return text_refuse(line, wrong, 0);
	return text_accept(line, q.key);
}

ssize_t
meta_parse_count(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	struct meta_request q;
	enum command_answer wrong;
	bool down;

	(void)v;
	wrong = meta_read_simple(&q, line, &meta_count, COMMAND_INCR, args);
	if (wrong == COMMAND_ANSWER_NONE && q.mode != 0 &&
	    memchr("I+D-", q.mode, 4) == NULL)
		wrong = COMMAND_ANSWER_COUNT_MODE;
	if (wrong == COMMAND_ANSWER_NONE && q.opaque_long)
		wrong = COMMAND_ANSWER_OPAQUE;
	if (wrong != COMMAND_ANSWER_NONE)
		return text_refuse(line, wrong, 0);
	down = q.mode == 'D' || q.mode == '-';
	q.c->op = down ? COMMAND_DECR : COMMAND_INCR;
	return text_accept(line, q.key);
}
