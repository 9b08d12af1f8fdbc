/*
 * backend_meta.c: servers asked in the meta protocol.
 *
 * Every request carries an opaque number, which its reply must bring back: so
 * an answer can never reach another's question.  Some are asked in the classic
 * protocol all the same: flush_all, which meta has not; touch and reads whose
 * client is to be told the CAS, which would win the token to recache a stale
 * item (see command_follow); and a store of a large value that must leave the
 * old one alone where it fails, as ms does not.
 */
#include "ext/memcached/backend.h"
#include "ext/memcached/base64.h"
#include "ext/memcached/wire.h"

enum {
	META_KEY_MAX = 186	/* a longer key does not fit, encoded */
};

/*
 * Encoding.
 */

/* A key that cannot stand in a line goes in base64, which the flag at the end
 * says.  NULL: it does not fit. */
static uint8_t *
meta_put_key(uint8_t *p, struct kvp_slice key, bool *encoded)
{
	*encoded = !backend_key_is_plain(key);
	if (!*encoded)
		return wire_put(p, key.p, key.len);
	return key.len > META_KEY_MAX ? NULL : base64_put(p, key);
}

/* Versions differ on times that are far below zero; all mean: expired. */
static uint8_t *
meta_put_ttl(uint8_t *p, char flag, int32_t ttl)
{
	*p++ = ' ';
	*p++ = (uint8_t)flag;
	if (ttl < 0)
		return wire_put_str(p, "-1");
	return wire_put_u64(p, (uint64_t)ttl);
}

static bool
meta_asks_classic(const struct command *c, enum command_op op,
    const struct kvp_key *key)
{
	return ((c->bits & COMMAND_CLASSIC) != 0 || key->step > 0) &&
	    op != COMMAND_DELETE && backend_key_is_plain(key->key);
}

/* What the reply is to bring and what changes before or after that, in the
 * client's order. */
static uint8_t *
meta_put_fields(uint8_t *p, const struct command *c)
{
	static const char letter[] = {
		[COMMAND_FIELD_FLAGS] = 'f', [COMMAND_FIELD_CAS] = 'c',
		[COMMAND_FIELD_TTL] = 't', [COMMAND_FIELD_ACCESS] = 'l',
		[COMMAND_FIELD_HIT] = 'h', [COMMAND_FIELD_SIZE] = 's',
	};
	uint64_t order = c->order;

	for (; order != 0; order >>= 4)
		switch ((enum command_field)(order & 15)) {
		case COMMAND_FIELD_KEY:
		case COMMAND_FIELD_OPAQUE:
			break;	/* the proxy's own affair */
		case COMMAND_FIELD_EXPTIME:
			p = meta_put_ttl(p, 'T', c->exptime);
			break;
		case COMMAND_FIELD_VIVIFY:
			p = meta_put_ttl(p, 'N', c->vivify);
			break;
		case COMMAND_FIELD_RECACHE:
			p = meta_put_ttl(p, 'R', c->recache);
			break;
		default:
			*p++ = ' ';
			*p++ = (uint8_t)letter[order & 15];
		}
	return p;
}

static uint8_t *
meta_put_match(uint8_t *p, const struct command *c)
{
	return wire_put_u64(wire_put_str(p, " C"), c->cas);
}

static uint8_t *
meta_put_get_flags(uint8_t *p, const struct command *c)
{
	if (c->bits & COMMAND_VALUE)
		p = wire_put_str(p, " v");
	if (c->bits & COMMAND_NO_BUMP)
		p = wire_put_str(p, " u");
	return p;
}

static uint8_t *
meta_put_store_flags(uint8_t *p, const struct command *c, enum command_op op)
{
	if (op == COMMAND_CAS || (c->bits & COMMAND_MATCH) != 0)
		p = meta_put_match(p, c);
	/* What is joined to a value leaves its flags and time alone. */
	if (op == COMMAND_APPEND)
		return wire_put_str(p, " MA");
	if (op == COMMAND_PREPEND)
		return wire_put_str(p, " MP");
	if (op == COMMAND_ADD)
		p = wire_put_str(p, " ME");
	else if (op == COMMAND_REPLACE)
		p = wire_put_str(p, " MR");
	if (c->bits & COMMAND_INVALIDATE)
		p = wire_put_str(p, " I");
	if (c->client_flags != 0)
		p = wire_put_u64(wire_put_str(p, " F"), c->client_flags);
	return c->exptime != 0 ? meta_put_ttl(p, 'T', c->exptime) : p;
}

static uint8_t *
meta_put_delete_flags(uint8_t *p, const struct command *c)
{
	if (c->bits & COMMAND_MATCH)
		p = meta_put_match(p, c);
	if ((c->bits & COMMAND_INVALIDATE) == 0)
		return p;
	p = wire_put_str(p, " I");
	return c->bits & COMMAND_TIMED ? meta_put_ttl(p, 'T', c->exptime) : p;
}

static uint8_t *
meta_put_count_flags(uint8_t *p, const struct command *c, enum command_op op)
{
	/* The number is asked for even where its client does not want it: so
	 * that it is seen to be one. */
	p = wire_put_u64(wire_put_str(p, " v D"), c->delta);
	if (c->bits & COMMAND_MATCH)
		p = meta_put_match(p, c);
	if (c->bits & COMMAND_VIVIFY && c->initial != 0)
		p = wire_put_u64(wire_put_str(p, " J"), c->initial);
	return op == COMMAND_DECR ? wire_put_str(p, " MD") : p;
}

static uint8_t *
meta_put_flags(uint8_t *p, const struct command *c, enum command_op op)
{
	switch (op) {
	case COMMAND_GET:
		return meta_put_get_flags(p, c);
	case COMMAND_TOUCH:
		return meta_put_ttl(p, 'T', c->exptime);
	case COMMAND_INCR:
	case COMMAND_DECR:
		return meta_put_count_flags(p, c, op);
	case COMMAND_GIVE_BACK:
		return wire_put_str(meta_put_match(p, c), " I");
	case COMMAND_SEE_STALE:
		return p;
	case COMMAND_DELETE:
		return meta_put_delete_flags(p, c);
	default:
		return meta_put_store_flags(p, c, op);
	}
}

static void
meta_encode_flush(const struct command *c, struct kvp_out *out)
{
	uint8_t *p = wire_put_str(out->dst, "flush_all");

	if (c->bits & COMMAND_TIMED) {
		p = wire_put_str(p, " ");
		if (c->exptime < 0)
			p = wire_put_str(p, "-1");
		else
			p = wire_put_u64(p, (uint64_t)c->exptime);
	}
	p = wire_put_str(p, "\r\n");
	out->len = (size_t)(p - out->dst);
}

static bool
meta_encode(const struct kvp_cmd *cmd, const struct kvp_key *key,
    uint32_t opaque, struct kvp_out *out)
{
	static const char verb[COMMAND_N_OPS][4] = {
		[COMMAND_GET] = "mg ", [COMMAND_TOUCH] = "mg ",
		[COMMAND_SEE_STALE] = "mg ",
		[COMMAND_SET] = "ms ", [COMMAND_ADD] = "ms ",
		[COMMAND_REPLACE] = "ms ", [COMMAND_APPEND] = "ms ",
		[COMMAND_PREPEND] = "ms ", [COMMAND_CAS] = "ms ",
		[COMMAND_DELETE] = "md ", [COMMAND_GIVE_BACK] = "md ",
		[COMMAND_INCR] = "ma ", [COMMAND_DECR] = "ma ",
	};
	struct command limited;
	const struct command *c = command_limit(command_peek(cmd),
	    key->ttl_max, &limited);
	enum command_op op = command_wire_op(cmd);
	uint8_t *p = out->dst;
	bool encoded;

	if (op == COMMAND_FLUSH) {
		meta_encode_flush(c, out);
		return true;
	}
	if (key->key.len == 0 || key->key.len > COMMAND_KEY_MAX)
		return false;
	if (meta_asks_classic(c, op, key))
		return backend_text.encode(cmd, key, opaque, out);
	p = wire_put(p, verb[op], 3);
	if ((p = meta_put_key(p, key->key, &encoded)) == NULL)
		return false;
	if (command_is_store(op)) {
		p = wire_put_str(p, " ");
		p = wire_put_u64(p, key->body.len);
		out->body = key->body;
		out->tail = (struct kvp_slice){ (const uint8_t *)"\r\n", 2 };
	}
	/* A delete in a store's place asks for nothing of its own. */
	if (op == (enum command_op)c->op) {
		p = meta_put_fields(p, c);
		p = meta_put_flags(p, c, op);
	}
	if (encoded)
		p = wire_put_str(p, " b");
	p = wire_put_str(p, " O");
	p = wire_put_u64(p, opaque);
	p = wire_put_str(p, "\r\n");
	out->len = (size_t)(p - out->dst);
	return true;
}

/*
 * Decoding.
 */

/* The first word of a reply, as a bit. */
enum meta_code {
	META_VA = 0x01,
	META_HD = 0x02,
	META_EN = 0x04,
	META_NF = 0x08,
	META_NS = 0x10,
	META_EX = 0x20,
	META_OK = 0x40
};

/* What a reply may begin with. */
static const uint8_t meta_expected[COMMAND_N_OPS] = {
	[COMMAND_GET] = META_VA | META_HD | META_EN,
	[COMMAND_TOUCH] = META_HD | META_EN,
	[COMMAND_SEE_STALE] = META_HD | META_EN,
	[COMMAND_SET] = META_HD | META_NS,
	[COMMAND_ADD] = META_HD | META_NS,
	[COMMAND_REPLACE] = META_HD | META_NS,
	[COMMAND_APPEND] = META_HD | META_NS | META_EX,
	[COMMAND_PREPEND] = META_HD | META_NS | META_EX,
	[COMMAND_CAS] = META_HD | META_NS | META_EX | META_NF,
	[COMMAND_DELETE] = META_HD | META_NF | META_EX,
	[COMMAND_GIVE_BACK] = META_HD | META_NF | META_EX,
	[COMMAND_INCR] = META_VA | META_NF | META_EX | META_NS,
	[COMMAND_DECR] = META_VA | META_NF | META_EX | META_NS,
	[COMMAND_FLUSH] = META_OK
};

/* What a reply line said. */
struct meta_line {
	enum meta_code	 code;
	uint64_t	 vlen;		/* of META_VA */
	unsigned	 fields;	/* COMMAND_ASK of what it had */
	struct result	 res;
	bool		 bare;		/* nothing but the code */
};

static unsigned
meta_code_at(const uint8_t *p)
{
	static const struct {
		char		 name[2];
		uint8_t		 code;
	} codes[] = {
		{ "VA", META_VA }, { "HD", META_HD }, { "EN", META_EN },
		{ "NF", META_NF }, { "NS", META_NS }, { "EX", META_EX },
		{ "OK", META_OK }
	};
	size_t i;

	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (memcmp(p, codes[i].name, 2) == 0)
			return codes[i].code;
	return 0;
}

static bool
meta_read_u32(const uint8_t *p, size_t len, uint32_t *n)
{
	uint64_t v;

	if (!wire_read_u64(p, len, UINT32_MAX, &v))
		return false;
	*n = (uint32_t)v;
	return true;
}

static bool
meta_read_bit(struct result *res, size_t len, uint8_t bit)
{
	if (len != 0 || (res->bits & bit) != 0)
		return false;
	res->bits |= bit;
	return true;
}

/* Some servers are built for flags of 64 bits, which is no fault of theirs. */
static bool
meta_read_client_flags(struct result *res, const uint8_t *p, size_t len)
{
	uint64_t n;

	if (!wire_read_u64(p, len, UINT64_MAX, &n))
		return false;
	if (n > UINT32_MAX)
		res->bits |= RESULT_WIDE_FLAGS;
	res->client_flags = (uint32_t)n;
	return true;
}

static bool
meta_read_ttl(struct result *res, const uint8_t *p, size_t len)
{
	if (!wire_is(p, len, "-1"))
		return meta_read_u32(p, len, &res->ttl);
	res->bits |= RESULT_IMMORTAL;
	return true;
}

static bool
meta_read_hit(struct result *res, const uint8_t *p, size_t len)
{
	if (len != 1 || (p[0] != '0' && p[0] != '1'))
		return false;
	if (p[0] == '1')
		res->bits |= RESULT_HIT_BEFORE;
	return true;
}

/* The LEN bytes behind a flag's letter CH.  False: they cannot be there. */
static bool
meta_read_flag(struct meta_line *line, uint8_t ch, const uint8_t *p,
    size_t len, uint32_t opaque)
{
	struct result *res = &line->res;
	enum command_field field;
	uint32_t n;
	bool ok;

	switch (ch) {
	case 'O':
		field = COMMAND_FIELD_OPAQUE;
		ok = meta_read_u32(p, len, &n) && n == opaque;
		break;
	case 'f':
		field = COMMAND_FIELD_FLAGS;
		ok = meta_read_client_flags(res, p, len);
		break;
	case 'c':
		field = COMMAND_FIELD_CAS;
		ok = wire_read_u64(p, len, UINT64_MAX, &res->cas);
		break;
	case 't':
		field = COMMAND_FIELD_TTL;
		ok = meta_read_ttl(res, p, len);
		break;
	case 'l':
		field = COMMAND_FIELD_ACCESS;
		ok = meta_read_u32(p, len, &res->access);
		break;
	case 'h':
		field = COMMAND_FIELD_HIT;
		ok = meta_read_hit(res, p, len);
		break;
	case 's':
		field = COMMAND_FIELD_SIZE;
		ok = wire_read_u64(p, len, UINT32_MAX, &res->number);
		break;
	case 'W':
		return meta_read_bit(res, len, RESULT_WON);
	case 'X':
		return meta_read_bit(res, len, RESULT_STALE);
	case 'Z':
		return meta_read_bit(res, len, RESULT_TAKEN);
	default:
		return false;
	}
	if (!ok || (line->fields & 1u << field) != 0)
		return false;
	line->fields |= 1u << field;
	return true;
}

/* The word behind the space at *P, which moves past it; its length, 0: there
 * is none, and *P stays. */
static size_t
meta_next_word(const uint8_t **p, const uint8_t *end, const uint8_t **word)
{
	const uint8_t *at = *p;

	if (at == end || *at++ != ' ')
		return 0;
	*word = at;
	while (at < end && *at != ' ')
		at++;
	if (at > *word)
		*p = at;
	return (size_t)(at - *word);
}

/* Read the line P..END, which stands without its CRLF. */
static bool
meta_read_line(struct meta_line *line, const uint8_t *p, const uint8_t *end,
    uint32_t opaque)
{
	const uint8_t *word;
	unsigned code;
	size_t n;

	*line = (struct meta_line){ .bare = end - p == 2 };
	if (end - p < 2 || (code = meta_code_at(p)) == 0)
		return false;
	line->code = (enum meta_code)code;
	p += 2;
	if (line->code == META_VA) {
		n = meta_next_word(&p, end, &word);
		if (!wire_read_u64(word, n, UINT64_MAX, &line->vlen))
			return false;
	}
	while ((n = meta_next_word(&p, end, &word)) > 0)
		if (!meta_read_flag(line, word[0], word + 1, n - 1, opaque))
			return false;
	return p == end;
}

static bool
meta_is_read(enum command_op op)
{
	return op == COMMAND_GET || op == COMMAND_TOUCH ||
	    op == COMMAND_SEE_STALE;
}

/* Does LINE answer a request like C?  Some versions say a bare EN, and a store
 * that failed may say a CAS. */
static bool
meta_line_fits(const struct meta_line *line, const struct command *c,
    enum command_op op)
{
	bool yes = (line->code & (META_VA | META_HD)) != 0;
	bool read = meta_is_read(op);
	bool value = command_is_count(op) ||
	    (op == COMMAND_GET && (c->bits & COMMAND_VALUE) != 0);
	unsigned got = line->fields & COMMAND_REPLY_FIELDS;
	unsigned asked = op == (enum command_op)c->op ?
	    c->asks & COMMAND_REPLY_FIELDS : 0;

	if ((meta_expected[op] & line->code) == 0)
		return false;
	if (line->code == META_EX && op != COMMAND_CAS &&
	    (c->bits & COMMAND_MATCH) == 0)
		return false;
	if (line->code == META_NS && command_is_count(op) &&
	    (c->bits & COMMAND_VIVIFY) == 0)
		return false;
	if (line->code == META_OK)
		return line->bare;
	if ((line->fields & COMMAND_ASK(OPAQUE)) == 0 &&
	    (line->code != META_EN || !line->bare))
		return false;
	if (line->res.bits & (RESULT_WON | RESULT_STALE | RESULT_TAKEN) &&
	    !(read && yes))
		return false;
	if (!yes)
		return (got & ~(command_is_store(op) ?
		    asked & COMMAND_ASK(CAS) : 0)) == 0;
	return value == (line->code == META_VA) && got == asked;
}

static void
meta_take_line(const struct meta_line *line, enum command_op op,
    struct kvp_reply *r)
{
	static const struct {
		uint8_t		 code, class, status;
	} meanings[] = {
		{ META_VA, KVP_REPLY_STORED, RESULT_OK },
		{ META_HD, KVP_REPLY_STORED, RESULT_OK },
		{ META_OK, KVP_REPLY_STORED, RESULT_OK },
		{ META_NS, KVP_REPLY_NOT_STORED, RESULT_NOT_STORED },
		{ META_EX, KVP_REPLY_NOT_STORED, RESULT_EXISTS },
		{ META_NF, KVP_REPLY_NOT_STORED, RESULT_NOT_FOUND },
	};
	struct result *res = result_of(r);
	size_t i;

	*res = line->res;
	if ((res->bits & RESULT_WON) != 0 || op == COMMAND_SEE_STALE)
		r->flags |= KVP_REPLY_FOLLOW;
	if (meta_is_read(op)) {
		bool hit = line->code != META_EN;

		r->class = hit ? KVP_REPLY_HIT : KVP_REPLY_MISS;
		res->status = hit ? RESULT_OK : RESULT_NOT_FOUND;
		return;
	}
	for (i = 0; meanings[i].code != line->code; i++)
		;
	r->class = meanings[i].class;
	res->status = meanings[i].status;
}

static ssize_t
meta_decode(const struct memcached *m, const struct kvp_cmd *cmd,
    const struct kvp_key *key, uint32_t opaque, const uint8_t *p, size_t len,
    struct kvp_reply *r)
{
	static const struct kvp_slice end = { (const uint8_t *)"\r\n", 2 };
	enum command_op op = command_wire_op(cmd);
	struct meta_line line;
	ssize_t n;

	if (meta_asks_classic(command_peek(cmd), op, key))
		return backend_text.decode(m, cmd, key, opaque, p, len, r);
	*r = (struct kvp_reply){ .class = KVP_REPLY_ERROR };
	if ((n = backend_read_line(p, len, &r->need)) <= 0)
		return n;
	if (!meta_read_line(&line, p, p + n - 2, opaque))
		return backend_read_error(op, p, (size_t)n - 2, r) ? n : -1;
	if (!meta_line_fits(&line, command_peek(cmd), op))
		return -1;
	meta_take_line(&line, op, r);
	if (line.code != META_VA) {
		backend_refuse_wide_flags(r);
		return n;
	}
	if (op != COMMAND_GET && line.vlen > WIRE_U64_MAX)
		return -1;
	n = backend_read_value(m, p, len, (size_t)n, line.vlen, end, r);
	if (n > 0)
		backend_refuse_wide_flags(r);
	/* A counter's value is its number. */
	if (n > 0 && op != COMMAND_GET && !wire_read_u64(r->body.p,
	    r->body.len, UINT64_MAX, &result_of(r)->number))
		return -1;
	return n;
}

const struct backend_dialect backend_meta = {
	.encode = meta_encode,
	.decode = meta_decode,
};
