/*
 * text.c: requests in the classic text protocol.
 *
 * What is accepted and how errors are worded is memcached 1.6.18's, but for
 * three things.  Numbers are digits only.  A store in error takes its value
 * with it, so that no byte of it is read as a command.  Where a value's end
 * cannot be known, the connection is closed.
 */
#include "ext/memcached/text.h"
#include "ext/memcached/wire.h"

enum {
	WORDS_MAX = 8		/* the longest command has seven */
};

/* The words of a line.  One that has more than fit says N = WORDS_MAX. */
struct text_words {
	struct kvp_slice w[WORDS_MAX];
	size_t		 n;
};

/* A line being parsed. */
struct text_line {
	const struct memcached *m;
	const uint8_t	*p;		/* the frame's beginning */
	size_t		 len;		/* what is there of it and after it */
	size_t		 frame;		/* the line with its end */
	const uint8_t	*end;		/* where its words end */
	struct kvp_request *req;
};

struct text_verb {
	const char	*name;
	size_t		 len;
	/* Parse the line, whose arguments begin at ARGS, as parse does. */
	ssize_t		(*parse)(const struct text_verb *v,
			    const struct text_line *line, const uint8_t *args);
	uint8_t		 op;
	uint8_t		 bits;
	uint8_t		 least, most;	/* words, where they are counted */
};

/*
 * Requests.
 */

static struct command *
text_request_init(struct kvp_request *req, enum kvp_class class,
    enum command_op op, uint8_t bits)
{
	struct command *c = command_of(&req->cmd);

	/* Not the whole of it: its room is large. */
	req->cmd = (struct kvp_cmd){ .class = (uint8_t)class };
	req->key = (struct kvp_key){ .key = { NULL, 0 } };
	req->keys = req->note = (struct kvp_slice){ NULL, 0 };
	req->swallow = 0;
	req->need = 0;
	*c = (struct command){
		.op = (uint8_t)op, .bits = bits, .dialect = CLIENT_TEXT
	};
	return c;
}

static ssize_t
text_answer(const struct text_line *line, enum command_answer answer)
{
	text_request_init(line->req, KVP_LOCAL, COMMAND_LOCAL, 0)->answer =
	    (uint8_t)answer;
	return (ssize_t)line->frame;
}

static ssize_t
text_refuse(const struct text_line *line, enum command_answer answer,
    uint8_t bits)
{
	ssize_t n = text_answer(line, answer);

	line->req->cmd.flags = KVP_CMD_BAD;
	command_of(&line->req->cmd)->bits = bits;
	return n;
}

/* A single-key command has been read. */
static ssize_t
text_accept(const struct text_line *line, struct kvp_slice key)
{
	line->req->key.key = key;
	line->req->cmd.n_keys = 1;
	return (ssize_t)line->frame;
}

/*
 * Words.
 */

static const uint8_t *
text_skip_spaces(const uint8_t *p, const uint8_t *end)
{
	while (p < end && *p == ' ')
		p++;
	return p;
}

static const uint8_t *
text_skip_word(const uint8_t *p, const uint8_t *end)
{
	while (p < end && *p != ' ')
		p++;
	return p;
}

static void
text_split(struct text_words *words, const uint8_t *p, const uint8_t *end)
{
	const uint8_t *word;

	words->n = 0;
	while (words->n < WORDS_MAX &&
	    (word = text_skip_spaces(p, end)) < end) {
		p = text_skip_word(word, end);
		words->w[words->n++] =
		    (struct kvp_slice){ word, (size_t)(p - word) };
	}
}

static bool
text_word_is_noreply(struct kvp_slice word)
{
	return wire_is(word.p, word.len, "noreply");
}

static uint8_t
text_quiet_bit(const struct text_words *words)
{
	return words->n > 0 && text_word_is_noreply(words->w[words->n - 1]) ?
	    COMMAND_QUIET : 0;
}

static bool
text_key_is_fit(struct kvp_slice key)
{
	return key.len <= COMMAND_KEY_MAX &&
	    memchr(key.p, '\0', key.len) == NULL;
}

/* A time to live: of any size that 64 bits hold, and taken as 32 bits, which
 * is what memcached does. */
static bool
text_read_exptime(struct kvp_slice word, int32_t *exptime)
{
	bool minus = word.len > 0 && word.p[0] == '-';
	uint64_t n;

	if (!wire_read_u64(word.p + minus, word.len - minus, INT64_MAX, &n))
		return false;
	*exptime = (int32_t)(uint32_t)(minus ? 0 - n : n);
	return true;
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

/* The keys from P on, of which there is at least one. */
static ssize_t
text_parse_keys(const struct text_verb *v, const struct text_line *line,
    const uint8_t *p, int32_t exptime)
{
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
	c = text_request_init(req, v->bits & COMMAND_TIMED ? KVP_WRITE :
	    KVP_READ, COMMAND_GET, v->bits);
	c->exptime = exptime;
	req->cmd.flags = KVP_CMD_MISS_OK;
	if (v->bits != 0)
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
	return text_parse_keys(v, line, args, 0);
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
	return text_parse_keys(v, line, args, exptime);
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
	    w[STORE_CAS].len, UINT64_MAX, &c->number);
}

/* What follows cannot be told apart from commands. */
static ssize_t
text_refuse_and_close(const struct text_line *line, enum command_answer answer,
    size_t frame, uint8_t bits)
{
	text_refuse(line, answer, bits);
	line->req->cmd.flags |= KVP_CMD_CLOSE;
	return (ssize_t)frame;
}

static ssize_t
text_refuse_store(const struct text_line *line, enum command_answer answer,
    uint8_t bits, uint64_t length)
{
	ssize_t n = text_refuse(line, answer, bits);

	line->req->swallow = length + 2;
	return n;
}

/* The value of LENGTH bytes behind the line. */
static ssize_t
text_take_value(const struct text_line *line, struct kvp_slice key,
    uint64_t length)
{
	struct kvp_request *req = line->req;
	const uint8_t *value = line->p + line->frame;
	size_t total;

	if (length > line->m->max_value) {
		req->cmd.flags = KVP_CMD_TOO_LARGE;
		req->swallow = length + 2;
		return text_accept(line, key);
	}
	total = line->frame + (size_t)length + 2;
	if (line->len < total) {
		req->need = total;
		return 0;
	}
	if (value[length] != '\r' || value[length + 1] != '\n')
		return text_refuse_and_close(line, COMMAND_ANSWER_CHUNK, total,
		    command_of(&req->cmd)->bits);
	req->key.body.p = value;
	req->key.body.len = (size_t)length;
	text_accept(line, key);
	return (ssize_t)total;
}

static ssize_t
text_parse_store(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	struct text_words words;
	struct command *c;
	uint64_t length;
	uint8_t bits;

	text_split(&words, args, line->end);
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
	c = text_request_init(line->req, KVP_WRITE, (enum command_op)v->op,
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
	uint8_t bits;
	bool usage;

	text_split(&words, args, line->end);
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
	text_request_init(line->req, KVP_WRITE, COMMAND_DELETE, bits);
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
	uint8_t bits;

	text_split(&words, args, line->end);
	if (words.n < v->least || words.n > v->most)
		return text_refuse(line, COMMAND_ANSWER_UNKNOWN, 0);
	bits = text_quiet_bit(&words);
	if (!text_key_is_fit(w[0]))
		return text_refuse(line, COMMAND_ANSWER_FORMAT, bits);
	c = text_request_init(line->req, KVP_WRITE, (enum command_op)v->op,
	    bits);
	if (touch && !text_read_exptime(w[1], &c->exptime))
		return text_refuse(line, COMMAND_ANSWER_EXPTIME, bits);
	if (!touch && !wire_read_u64(w[1].p, w[1].len, UINT64_MAX,
	    &c->number))
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
	uint8_t bits;

	text_split(&words, args, line->end);
	if (words.n > v->most)
		return text_refuse(line, COMMAND_ANSWER_UNKNOWN, 0);
	bits = text_quiet_bit(&words);
	if (!line->m->allow_flush)
		return text_refuse(line, COMMAND_ANSWER_NO_FLUSH, bits);
	c = text_request_init(line->req, KVP_EVERY, COMMAND_FLUSH, bits);
	if (words.n <= (bits & COMMAND_QUIET ? 1u : 0u))
		return (ssize_t)line->frame;
	if (!text_read_exptime(words.w[0], &c->exptime))
		return text_refuse(line, COMMAND_ANSWER_EXPTIME, bits);
	if (c->exptime != 0)
		c->bits |= COMMAND_TIMED;
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

static ssize_t
text_parse_verbosity(const struct text_verb *v, const struct text_line *line,
    const uint8_t *args)
{
	struct text_words words;
	uint64_t level;
	uint8_t bits;

	text_split(&words, args, line->end);
	if (words.n < v->least || words.n > v->most)
		return text_refuse(line, COMMAND_ANSWER_UNKNOWN, 0);
	bits = text_quiet_bit(&words);
	if (!wire_read_u64(words.w[0].p, words.w[0].len, UINT32_MAX, &level))
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

	text_split(&words, args, line->end);
	if (words.n > v->most || (words.n == 1 &&
	    (text_word_is_noreply(words.w[0]) ||
	    words.w[0].len > KVP_NOTE_MAX)))
		return text_refuse(line, COMMAND_ANSWER_UNKNOWN, 0);
	text_answer(line, COMMAND_ANSWER_NONE);
	line->req->cmd.local = KVP_LOCAL_STATS;
	if (words.n == 1)
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
	VERB("get", text_parse_get, COMMAND_GET, 0, 0, 0),
	VERB("set", text_parse_store, COMMAND_SET, 0, 4, 5),
	VERB("gets", text_parse_get, COMMAND_GET, COMMAND_WANT_CAS, 0, 0),
	VERB("delete", text_parse_delete, COMMAND_DELETE, 0, 1, 3),
	VERB("incr", text_parse_number, COMMAND_INCR, 0, 2, 3),
	VERB("decr", text_parse_number, COMMAND_DECR, 0, 2, 3),
	VERB("add", text_parse_store, COMMAND_ADD, 0, 4, 5),
	VERB("cas", text_parse_store, COMMAND_CAS, 0, 5, 6),
	VERB("replace", text_parse_store, COMMAND_REPLACE, 0, 4, 5),
	VERB("append", text_parse_store, COMMAND_APPEND, 0, 4, 5),
	VERB("prepend", text_parse_store, COMMAND_PREPEND, 0, 4, 5),
	VERB("touch", text_parse_number, COMMAND_TOUCH, 0, 2, 3),
	VERB("gat", text_parse_gat, COMMAND_GET, COMMAND_TIMED, 0, 0),
	VERB("gats", text_parse_gat, COMMAND_GET,
	    COMMAND_TIMED | COMMAND_WANT_CAS, 0, 0),
	VERB("version", text_parse_version, COMMAND_LOCAL, 0, 0, 0),
	VERB("flush_all", text_parse_flush, COMMAND_FLUSH, 0, 0, 2),
	VERB("stats", text_parse_stats, COMMAND_LOCAL, 0, 0, 1),
	VERB("status", text_parse_status, COMMAND_LOCAL, 0, 0, 0),
	VERB("verbosity", text_parse_verbosity, COMMAND_LOCAL, 0, 1, 2),
	VERB("quit", text_parse_quit, COMMAND_LOCAL, 0, 0, 0),
	VERB("shutdown", text_parse_shutdown, COMMAND_LOCAL, 0, 0, 0),
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
	if (text_line_is_http(args, line->end))
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
