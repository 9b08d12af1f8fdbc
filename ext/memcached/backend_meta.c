/*
 * backend_meta.c: servers asked in the meta protocol.
 *
 * Every request carries an opaque number, which its reply must bring back: so
 * an answer can never reach another's question.  Two are asked in the classic
 * protocol all the same: flush_all, which meta has not, and a read that
 * returns a CAS token.  As a meta read it would win the token to recache a
 * stale item, and giving that back would change the CAS.
 */
#include "ext/memcached/backend.h"
#include "ext/memcached/wire.h"

enum {
	META_BASE64_MAX = 186	/* a longer key does not fit, encoded */
};

/*
 * Encoding.
 */

static uint8_t *
meta_put_base64(uint8_t *p, struct kvp_slice s)
{
	static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "abcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t i, j;

	for (i = 0; i < s.len; i += 3) {
		size_t n = s.len - i < 3 ? s.len - i : 3;
		uint32_t bits = 0;

		for (j = 0; j < 3; j++)
			bits = bits << 8 | (j < n ? s.p[i + j] : 0u);
		for (j = 0; j < 4; j++)
			*p++ = j > n ? (uint8_t)'=' :
			    (uint8_t)digit[bits >> (18 - 6 * j) & 63];
	}
	return p;
}

/* A key that cannot stand in a line goes in base64, which the flag at the end
 * says.  NULL: it does not fit. */
static uint8_t *
meta_put_key(uint8_t *p, struct kvp_slice key, bool *encoded)
{
	*encoded = !backend_key_is_plain(key);
	if (!*encoded)
		return wire_put(p, key.p, key.len);
	return key.len > META_BASE64_MAX ? NULL : meta_put_base64(p, key);
}

/* Versions differ on times that are far below zero; all mean: expired. */
static uint8_t *
meta_put_exptime(uint8_t *p, int32_t exptime)
{
	p = wire_put_str(p, " T");
	if (exptime < 0)
		return wire_put_str(p, "-1");
	return wire_put_u64(p, (uint64_t)exptime);
}

static bool
meta_asks_classic(const struct command *c, enum command_op op,
    const struct kvp_key *key)
{
	return op == COMMAND_GET && (c->bits & COMMAND_WANT_CAS) != 0 &&
	    backend_key_is_plain(key->key);
}

static uint8_t *
meta_put_get_flags(uint8_t *p, const struct command *c)
{
	p = wire_put_str(p, " f v");
	if (c->bits & COMMAND_WANT_CAS)
		p = wire_put_str(p, " c");
	if (c->bits & COMMAND_TIMED)
		p = meta_put_exptime(p, c->exptime);
	return p;
}

static uint8_t *
meta_put_store_flags(uint8_t *p, const struct command *c, enum command_op op)
{
	/* What is joined to a value leaves its flags and time alone. */
	if (op == COMMAND_APPEND)
		return wire_put_str(p, " MA");
	if (op == COMMAND_PREPEND)
		return wire_put_str(p, " MP");
	if (op == COMMAND_ADD)
		p = wire_put_str(p, " ME");
	else if (op == COMMAND_REPLACE)
		p = wire_put_str(p, " MR");
	else if (op == COMMAND_CAS)
		p = wire_put_u64(wire_put_str(p, " C"), c->number);
	if (c->client_flags != 0)
		p = wire_put_u64(wire_put_str(p, " F"), c->client_flags);
	if (c->exptime != 0)
		p = meta_put_exptime(p, c->exptime);
	return p;
}

static uint8_t *
meta_put_arith_flags(uint8_t *p, const struct command *c, enum command_op op)
{
	p = wire_put_str(p, " v D");
	p = wire_put_u64(p, c->number);
	return op == COMMAND_DECR ? wire_put_str(p, " MD") : p;
}

static uint8_t *
meta_put_flags(uint8_t *p, const struct command *c, enum command_op op)
{
	switch (op) {
	case COMMAND_GET:
		return meta_put_get_flags(p, c);
	case COMMAND_TOUCH:
		return meta_put_exptime(p, c->exptime);
	case COMMAND_INCR:
	case COMMAND_DECR:
		return meta_put_arith_flags(p, c, op);
	case COMMAND_GIVE_BACK:
		return wire_put_str(p, " I");
	default:
		return command_is_store(op) ?
		    meta_put_store_flags(p, c, op) : p;
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
		[COMMAND_SET] = "ms ", [COMMAND_ADD] = "ms ",
		[COMMAND_REPLACE] = "ms ", [COMMAND_APPEND] = "ms ",
		[COMMAND_PREPEND] = "ms ", [COMMAND_CAS] = "ms ",
		[COMMAND_DELETE] = "md ", [COMMAND_GIVE_BACK] = "md ",
		[COMMAND_INCR] = "ma ", [COMMAND_DECR] = "ma ",
	};
	const struct command *c = command_peek(cmd);
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
	p = meta_put_flags(p, c, op);
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
	[COMMAND_GET] = META_VA | META_EN,
	[COMMAND_TOUCH] = META_HD | META_EN,
	[COMMAND_SET] = META_HD | META_NS,
	[COMMAND_ADD] = META_HD | META_NS,
	[COMMAND_REPLACE] = META_HD | META_NS,
	[COMMAND_APPEND] = META_HD | META_NS,
	[COMMAND_PREPEND] = META_HD | META_NS,
	[COMMAND_CAS] = META_HD | META_NS | META_EX | META_NF,
	[COMMAND_DELETE] = META_HD | META_NF,
	[COMMAND_GIVE_BACK] = META_HD | META_NF,
	[COMMAND_INCR] = META_VA | META_NF,
	[COMMAND_DECR] = META_VA | META_NF,
	[COMMAND_FLUSH] = META_OK
};

/* What a reply line said. */
struct meta_line {
	enum meta_code	 code;
	uint64_t	 vlen;		/* of META_VA */
	uint64_t	 flags, cas;
	bool		 has_opaque, has_flags, has_cas, won;
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

/* One flag of LEN bytes.  False: it cannot be there. */
static bool
meta_read_flag(struct meta_line *line, const uint8_t *p, size_t len,
    uint32_t opaque)
{
	uint64_t n;
	bool *seen;

	switch (p[0]) {
	case 'O':
		seen = &line->has_opaque;
		if (!wire_read_u64(p + 1, len - 1, UINT32_MAX, &n) ||
		    n != opaque)
			return false;
		break;
	case 'f':
		seen = &line->has_flags;
		if (!wire_read_u64(p + 1, len - 1, UINT32_MAX, &line->flags))
			return false;
		break;
	case 'c':
		seen = &line->has_cas;
		if (!wire_read_u64(p + 1, len - 1, UINT64_MAX, &line->cas))
			return false;
		break;
	case 'W':
		seen = &line->won;
		if (len != 1)
			return false;
		break;
	case 'X':	/* stale */
	case 'Z':	/* stale, and another has won */
		return len == 1;
	default:
		return false;
	}
	if (*seen)
		return false;
	*seen = true;
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
		if (!meta_read_flag(line, word, n, opaque))
			return false;
	return p == end;
}

/* Does LINE answer a request like C? */
static bool
meta_line_fits(const struct meta_line *line, const struct command *c,
    enum command_op op)
{
	bool value = op == COMMAND_GET && line->code == META_VA;
	bool wants_cas = value && (c->bits & COMMAND_WANT_CAS) != 0;
	bool wins = op == COMMAND_GET || op == COMMAND_TOUCH;

	if ((meta_expected[op] & line->code) == 0)
		return false;
	if (line->code == META_OK)
		return line->bare;
	/* Some versions say a bare EN. */
	if (!line->has_opaque && (line->code != META_EN || !line->bare))
		return false;
	return line->has_flags == value && line->has_cas == wants_cas &&
	    (wins || !line->won);
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

	if (op == COMMAND_GET || op == COMMAND_TOUCH) {
		bool hit = line->code != META_EN;

		r->class = hit ? KVP_REPLY_HIT : KVP_REPLY_MISS;
		res->status = hit ? RESULT_OK : RESULT_NOT_FOUND;
		res->client_flags = (uint32_t)line->flags;
		res->cas = line->cas;
		res->won = line->won;
		return;
	}
	for (i = 0; meanings[i].code != line->code; i++)
		;
	r->class = meanings[i].class;
	res->status = meanings[i].status;
}

/* The new number of an incr or decr: digits. */
static bool
meta_number_is_fit(struct kvp_slice s)
{
	uint64_t n;

	return wire_read_u64(s.p, s.len, UINT64_MAX, &n);
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
	if (line.code != META_VA)
		return n;
	if (op != COMMAND_GET && line.vlen > WIRE_U64_MAX)
		return -1;
	n = backend_read_value(m, p, len, (size_t)n, line.vlen, end, r);
	if (n > 0 && op != COMMAND_GET && !meta_number_is_fit(r->body))
		return -1;
	return n;
}

const struct backend_dialect backend_meta = {
	.encode = meta_encode,
	.decode = meta_decode,
};
