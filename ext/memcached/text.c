/*
 * text.c: requests in the classic text protocol.
 *
 * What is accepted and how errors are worded is memcached 1.6.18's, but for
 * three things.  Numbers are digits only.  A store in error takes its value
 * with it, so that no byte of it is read as a command.  Where a value's end
 * cannot be known, the connection is closed.
 */
#include "ext/memcached/text.h"
#include "ext/memcached/meta.h"
#include "ext/memcached/text_line.h"
#include "ext/memcached/wire.h"

enum {
	WORDS_MAX = 8		/* the longest command has seven */
};

/* The words of a line.  One that has more than fit says N = WORDS_MAX. */
struct text_words {
	struct kvp_slice w[WORDS_MAX];
	size_t		 n;
};

static void
text_read_words(struct text_words *words, const uint8_t *p, const uint8_t *end)
{
	words->n = text_split(words->w, WORDS_MAX, p, end);
}

static bool
text_word_is_noreply(struct kvp_slice word)
{
	return wire_is(word.p, word.len, "noreply");
}

static uint16_t
text_quiet_bit(const struct text_words *words)
{
	return words->n > 0 && text_word_is_noreply(words->w[words->n - 1]) ?
	    COMMAND_QUIET : 0;
}

/*
 * get, gets, gat, gats.
 */

/* The key at *P, which moves to behind the spaces that follow it.  False: no
 * server could hold it. */
static bool
text_read_key(const uint8_t **p, const uint8_t *end, struct kvp_slice *key)
{
	const uint8_t *at = *p;

	for (; at < end && *at != ' '; at++)
		if (*at == '\0')
			return false;
	key->p = *p;
	key->len = (size_t)(at - *p);
	*p = text_skip_spaces(at, end);
	return key->len <= COMMAND_KEY_MAX;
}

/* The keys from P on, of which there is at least one; the read touches them
 * where COMMAND_TIMED is in BITS. */
static ssize_t
text_parse_keys(const struct text_verb *v, const struct text_line *line,
    const uint8_t *p, uint16_t bits, int32_t exptime)
{
	bool cas = v->name[v->len - 1] == 's';
	struct kvp_request *req = line->req;
	const uint8_t *first = p;
	struct kvp_slice key, next;
	struct command *c;
	uint32_t n = 1;

	if (!text_read_key(&p, line->end, &key))
		return text_refuse(line, COMMAND_ANSWER_FORMAT, 0);
	for (; p < line->end; n++)
		if (!text_read_key(&p, line->end, &next))
			return text_refuse(line, COMMAND_ANSWER_FORMAT, 0);
	/* A read that touches is a write: the backup is to be told of it. */
	c = text_begin(line, bits & COMMAND_TIMED ? KVP_WRITE : KVP_READ,
	    COMMAND_GET, COMMAND_VALUE | bits);
	c->exptime = exptime;
	command_ask(c, COMMAND_FIELD_FLAGS);
	if (cas) {
		command_ask(c, COMMAND_FIELD_CAS);
		c->bits |= COMMAND_CLASSIC;
	}
	if (bits & COMMAND_TIMED)
		command_ask(c, COMMAND_FIELD_EXPTIME);
	req->cmd.flags = KVP_CMD_MISS_OK;
	if (cas || bits != 0)
		req->cmd.flags |= KVP_CMD_PRIMARY;
	if (n == 1)
		return text_accept(line, key);
	req->cmd.flags |= KVP_CMD_MANY;
	req->cmd.n_keys = n;
	req->keys.p = first;
	req->keys.len = (size_t)(line->end - first);
	return (ssize_t)line->frame;
}

static ssize_t
text_parse_get(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	args = text_skip_spaces(args, line->end);
	if (args == line->end)
		return text_refuse(line, COMMAND_ANSWER_UNKNOWN, 0);
	return text_parse_keys(v, line, args, 0, 0);
}

static ssize_t
text_parse_gat(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	struct kvp_slice word;
	int32_t exptime;

	word.p = text_skip_spaces(args, line->end);
	args = text_skip_word(word.p, line->end);
	word.len = (size_t)(args - word.p);
	if (word.len == 0)
		return text_refuse(line, COMMAND_ANSWER_UNKNOWN, 0);
	if (!text_read_exptime(word, &exptime))
		return text_refuse(line, COMMAND_ANSWER_EXPTIME, 0);
	args = text_skip_spaces(args, line->end);
	if (args == line->end)
		return text_answer(line, COMMAND_ANSWER_END);
	return text_parse_keys(v, line, args, COMMAND_TIMED, exptime);
}

bool
text_next_key(struct kvp_slice keys, size_t *at, struct kvp_key *key)
{
	const uint8_t *end = keys.p + keys.len;
	const uint8_t *p = text_skip_spaces(keys.p + *at, end);
	const uint8_t *behind = text_skip_word(p, end);

	*at = (size_t)(behind - keys.p);
	*key = (struct kvp_key){ .key = { p, (size_t)(behind - p) } };
	return key->key.len > 0;
}

/*
 * set, add, replace, append, prepend, cas.
 */

/* The words of a store, behind the verb. */
enum {
	STORE_KEY,
	STORE_FLAGS,
	STORE_EXPTIME,
	STORE_LENGTH,
	STORE_CAS
};

/* Everything but the length.  False: a word of it is no good. */
static bool
text_read_store(const struct text_words *words, struct command *c)
{
	const struct kvp_slice *w = words->w;
	uint64_t flags;

	if (!text_key_is_fit(w[STORE_KEY]) ||
	    !wire_read_u64(w[STORE_FLAGS].p, w[STORE_FLAGS].len, UINT32_MAX,
	    &flags) || !text_read_exptime(w[STORE_EXPTIME], &c->exptime))
		return false;
	c->client_flags = (uint32_t)flags;
	return c->op != COMMAND_CAS || wire_read_u64(w[STORE_CAS].p,
	    w[STORE_CAS].len, UINT64_MAX, &c->cas);
}

static ssize_t
text_parse_store(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	struct text_words words;
	struct command *c;
	uint64_t length;
	uint16_t bits;

	text_read_words(&words, args, line->end);
	if (words.n < v->least)
		return text_refuse(line, COMMAND_ANSWER_UNKNOWN, 0);
	bits = words.n > v->most ? 0 : text_quiet_bit(&words);
	if (!wire_read_u64(words.w[STORE_LENGTH].p, words.w[STORE_LENGTH].len,
	    COMMAND_SWALLOW_MAX, &length))
		return text_refuse_and_close(line, COMMAND_ANSWER_FORMAT,
		    line->frame, bits);
	if (words.n > v->most)
		return text_refuse_store(line, COMMAND_ANSWER_UNKNOWN, bits,
		    length);
	c = text_begin(line, KVP_WRITE, (enum command_op)v->op,
	    bits);
	if (!text_read_store(&words, c))
		return text_refuse_store(line, COMMAND_ANSWER_FORMAT, bits,
		    length);
	return text_take_value(line, words.w[STORE_KEY], length);
}

/*
 * Commands of one key and no value.
 */

static ssize_t
text_parse_delete(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	struct text_words words;
	struct kvp_slice *w = words.w;
	uint16_t bits;
	bool usage;

	text_read_words(&words, args, line->end);
	if (words.n < v->least || words.n > v->most)
		return text_refuse(line, COMMAND_ANSWER_UNKNOWN, 0);
	/* A time to wait was once allowed; of it 0 is left. */
	bits = words.n > 1 ? text_quiet_bit(&words) : 0;
	usage = words.n == 2 ? bits == 0 && !wire_is(w[1].p, w[1].len, "0") :
	    words.n == 3 && (bits == 0 || !wire_is(w[1].p, w[1].len, "0"));
	if (usage)
		return text_refuse(line, COMMAND_ANSWER_DELETE_USAGE, bits);
	if (!text_key_is_fit(w[0]))
		return text_refuse(line, COMMAND_ANSWER_FORMAT, bits);
	text_begin(line, KVP_WRITE, COMMAND_DELETE, bits);
	return text_accept(line, w[0]);
}

/* incr, decr, touch: a key and a number. */
static ssize_t
text_parse_number(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	bool touch = v->op == COMMAND_TOUCH;
	struct text_words words;
	struct kvp_slice *w = words.w;
	struct command *c;
	uint16_t bits;

	text_read_words(&words, args, line->end);
	if (words.n < v->least || words.n > v->most)
		return text_refuse(line, COMMAND_ANSWER_UNKNOWN, 0);
	bits = text_quiet_bit(&words);
	if (!text_key_is_fit(w[0]))
		return text_refuse(line, COMMAND_ANSWER_FORMAT, bits);
	c = text_begin(line, KVP_WRITE, (enum command_op)v->op,
	    touch ? bits | COMMAND_CLASSIC : bits);
	if (touch && !text_read_exptime(w[1], &c->exptime))
		return text_refuse(line, COMMAND_ANSWER_EXPTIME, bits);
	if (!touch && !wire_read_u64(w[1].p, w[1].len, UINT64_MAX,
	    &c->delta))
		return text_refuse(line, COMMAND_ANSWER_DELTA, bits);
	return text_accept(line, w[0]);
}

/*
 * Commands without a key.
 */

static ssize_t
text_parse_flush(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	struct text_words words;
	struct command *c;
	uint16_t bits;

	text_read_words(&words, args, line->end);
	if (words.n > v->most)
		return text_refuse(line, COMMAND_ANSWER_UNKNOWN, 0);
	bits = text_quiet_bit(&words);
	if (!line->m->allow_flush)
		return text_refuse(line, COMMAND_ANSWER_NO_FLUSH, bits);
	c = text_begin(line, KVP_EVERY, COMMAND_FLUSH, bits);
	line->req->cmd.flags = KVP_CMD_EMPTIES;
	if (words.n <= (bits & COMMAND_QUIET ? 1u : 0u))
		return (ssize_t)line->frame;
	if (!text_read_exptime(words.w[0], &c->exptime))
		return text_refuse(line, COMMAND_ANSWER_EXPTIME, bits);
	if (c->exptime != 0) {
		c->bits |= COMMAND_TIMED;
		line->req->cmd.flags = 0;
	}
	return (ssize_t)line->frame;
}

static ssize_t
text_parse_version(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	(void)v;
	(void)args;
	return text_answer(line, COMMAND_ANSWER_VERSION);
}

/* Its answer comes behind those of all requests before it, as every one does,
 * so it says that these had no other. */
static ssize_t
text_parse_mn(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	(void)v;
	(void)args;
	return text_answer(line, COMMAND_ANSWER_MN);
}

static ssize_t
text_parse_verbosity(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	struct text_words words;
	uint64_t level;
	uint16_t bits;

	text_read_words(&words, args, line->end);
	if (words.n < v->least || words.n > v->most)
		return text_refuse(line, COMMAND_ANSWER_UNKNOWN, 0);
	bits = text_quiet_bit(&words);
	if (!wire_read_u64(words.w[0].p, words.w[0].len, UINT64_MAX, &level))
		return text_refuse(line, COMMAND_ANSWER_FORMAT, bits);
	text_answer(line, COMMAND_ANSWER_OK);
	command_of(&line->req->cmd)->bits = bits;
	return (ssize_t)line->frame;
}

static ssize_t
text_parse_stats(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	struct text_words words;

	text_read_words(&words, args, line->end);
	if (words.n > v->most || (words.n == 1 &&
	    (text_word_is_noreply(words.w[0]) ||
	    words.w[0].len > KVP_NOTE_MAX)))
		return text_refuse(line, COMMAND_ANSWER_UNKNOWN, 0);
	text_answer(line, COMMAND_ANSWER_NONE);
	line->req->cmd.local = KVP_LOCAL_STATS;
	if (words.n == 1 && wire_is(words.w[0].p, words.w[0].len, "reset"))
		line->req->cmd.local = KVP_LOCAL_RESET;
	else if (words.n == 1)
		line->req->note = words.w[0];
	return (ssize_t)line->frame;
}

static ssize_t
text_parse_status(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	(void)v;
	if (text_skip_spaces(args, line->end) < line->end)
		return text_refuse(line, COMMAND_ANSWER_UNKNOWN, 0);
	text_answer(line, COMMAND_ANSWER_NONE);
	line->req->cmd.local = KVP_LOCAL_STATUS;
	return (ssize_t)line->frame;
}

static ssize_t
text_parse_quit(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	(void)v;
	(void)args;
	text_answer(line, COMMAND_ANSWER_NONE);
	line->req->cmd.flags = KVP_CMD_CLOSE;
	return (ssize_t)line->frame;
}

static ssize_t
text_parse_shutdown(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	(void)v;
	(void)args;
	return text_refuse(line, COMMAND_ANSWER_NO_SHUTDOWN, 0);
}

/*
 * Lines.
 */

#define VERB(name, parse, ...) { name, sizeof(name) - 1, parse, __VA_ARGS__ }

/* Roughly in the order of how often they come. */
static const struct text_verb text_verbs[] = {
	VERB("get", text_parse_get, COMMAND_GET, 0, 0),
	VERB("mg", meta_parse_get, COMMAND_GET, 0, 0),
	VERB("ms", meta_parse_store, COMMAND_SET, 0, 0),
	VERB("set", text_parse_store, COMMAND_SET, 4, 5),
	VERB("gets", text_parse_get, COMMAND_GET, 0, 0),
	VERB("delete", text_parse_delete, COMMAND_DELETE, 1, 3),
	VERB("incr", text_parse_number, COMMAND_INCR, 2, 3),
	VERB("decr", text_parse_number, COMMAND_DECR, 2, 3),
	VERB("add", text_parse_store, COMMAND_ADD, 4, 5),
	VERB("cas", text_parse_store, COMMAND_CAS, 5, 6),
	VERB("replace", text_parse_store, COMMAND_REPLACE, 4, 5),
	VERB("append", text_parse_store, COMMAND_APPEND, 4, 5),
	VERB("prepend", text_parse_store, COMMAND_PREPEND, 4, 5),
	VERB("touch", text_parse_number, COMMAND_TOUCH, 2, 3),
	VERB("gat", text_parse_gat, COMMAND_GET, 0, 0),
	VERB("gats", text_parse_gat, COMMAND_GET, 0, 0),
	VERB("bget", text_parse_get, COMMAND_GET, 0, 0),
	VERB("md", meta_parse_delete, COMMAND_DELETE, 0, 0),
	VERB("ma", meta_parse_count, COMMAND_INCR, 0, 0),
	VERB("mn", text_parse_mn, COMMAND_LOCAL, 0, 0),
	VERB("version", text_parse_version, COMMAND_LOCAL, 0, 0),
	VERB("flush_all", text_parse_flush, COMMAND_FLUSH, 0, 2),
	VERB("stats", text_parse_stats, COMMAND_LOCAL, 0, 1),
	VERB("status", text_parse_status, COMMAND_LOCAL, 0, 0),
	VERB("verbosity", text_parse_verbosity, COMMAND_LOCAL, 1, 2),
	VERB("quit", text_parse_quit, COMMAND_LOCAL, 0, 0),
	VERB("shutdown", text_parse_shutdown, COMMAND_LOCAL, 0, 0),
};

enum {
	N_VERBS = sizeof(text_verbs) / sizeof(text_verbs[0])
};

/* A browser, or somebody who makes one speak to us: it gets no byte. */
static bool
text_line_is_http(const uint8_t *p, const uint8_t *end)
{
	const uint8_t *word = p;

	while ((p = text_skip_spaces(p, end)) < end) {
		word = p;
		p = text_skip_word(p, end);
	}
	return wire_begins(word, (size_t)(end - word), "HTTP/");
}

static ssize_t
text_parse_verb(const struct text_line *line)
{
	const uint8_t *word = text_skip_spaces(line->p, line->end);
	const uint8_t *args = text_skip_word(word, line->end);
	size_t len = (size_t)(args - word);
	const struct text_verb *v;

	for (v = text_verbs; v < text_verbs + N_VERBS; v++)
		if (v->len == len && memcmp(v->name, word, len) == 0)
			return v->parse(v, line, args);
	if (text_line_is_http(word, line->end))
		return -1;
	return text_refuse(line, COMMAND_ANSWER_UNKNOWN, 0);
}

/* May the line at P, of which LEN bytes are known, be so long?  The answer
 * must not hang on how many more are known. */
static bool
text_line_may_be_long(const struct memcached *m, const uint8_t *p, size_t len)
{
	const uint8_t *word = text_skip_spaces(p, p + len);
	size_t rest = len - (size_t)(word - p);

	return word - p <= TEXT_SPACES_MAX && len <= m->max_value &&
	    len <= TEXT_LONG_MAX &&
	    (wire_begins(word, rest, "get ") ||
	    wire_begins(word, rest, "gets ") ||
	    wire_begins(word, rest, "gat ") ||
	    wire_begins(word, rest, "gats "));
}

ssize_t
text_parse(const struct memcached *m, const uint8_t *p, size_t len,
    struct kvp_request *req)
{
	const uint8_t *nl = memchr(p, '\n', len);
	size_t known = nl != NULL ? (size_t)(nl - p) : len;
	struct text_line line;

	if (known > TEXT_LINE_MAX && !text_line_may_be_long(m, p, known))
		return -1;
	if (nl == NULL) {
		req->need = len + 1;
		return 0;
	}
	line = (struct text_line){
		.m = m, .p = p, .len = len, .frame = known + 1,
		.end = nl, .req = req
	};
	if (known > 0 && nl[-1] == '\r')
		line.end--;
	if (wire_begins(p, known, "get "))
		return text_parse_get(&text_verbs[0], &line, p + 4);
	return text_parse_verb(&line);
}
