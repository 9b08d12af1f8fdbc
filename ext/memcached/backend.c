#include "ext/memcached/backend.h"
#include "ext/memcached/wire.h"

/* A server that is to be asked in text may hang up on what it does not know. */
#define GREETING_TEXT "version\r\n"
#define GREETING GREETING_TEXT "mn\r\n"

enum {
	ERROR_TEXT_MAX = 1024	/* longer ones are not shown to clients */
};

static struct kvp_slice
backend_static_text(const char *text, size_t len)
{
	return (struct kvp_slice){ (const uint8_t *)text, len };
}

#define backend_say(str) backend_static_text(str, sizeof(str) - 1)

size_t
backend_greet(const struct memcached *m, uint8_t *dst, size_t room)
{
	size_t len = m->backend_proto == BACKEND_PROTO_TEXT ?
	    sizeof(GREETING_TEXT) - 1 : sizeof(GREETING) - 1;

	if (room < len)
		return 0;
	memcpy(dst, GREETING, len);
	return len;
}

/* Is the word at P followed by something that ends a word? */
static bool
backend_word_ends(const uint8_t *p, size_t len, size_t word)
{
	return len == word || p[word] == ' ' || p[word] == ':';
}

static bool
backend_line_is_error(const uint8_t *p, size_t len)
{
	static const struct {
		const char	*word;
		size_t		 len;
	} errors[] = {
		{ "SERVER_ERROR", 12 }, { "CLIENT_ERROR", 12 }, { "ERROR", 5 }
	};
	size_t i;

	for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (len >= errors[i].len &&
		    memcmp(p, errors[i].word, errors[i].len) == 0)
			return backend_word_ends(p, len, errors[i].len);
	return false;
}

/* Is the dotted version at P, which anything may follow, 1.6.18 or later? */
static bool
backend_version_has_meta(const uint8_t *p, size_t len)
{
	static const unsigned least[] = { 1, 6, 18 };
	size_t part, at = 0;

	for (part = 0; part < sizeof(least) / sizeof(least[0]); part++) {
		unsigned n = 0, digits = 0;

		while (at < len && p[at] >= '0' && p[at] <= '9' &&
		    digits++ < 6)
			n = n * 10 + (unsigned)(p[at++] - '0');
		if (digits == 0 || n < least[part])
			return false;
		if (n > least[part])
			return true;
		if (at < len && p[at] == '.')
			at++;
	}
	return true;
}

ssize_t
backend_greeted(const struct memcached *m, const uint8_t *p, size_t len,
    enum backend_kind *kind)
{
	size_t need, v_len;
	ssize_t first, second;
	const uint8_t *mn;
	bool can_meta;

	if ((first = backend_read_line(p, len, &need)) <= 0)
		return first;
	if (!wire_begins(p, (size_t)first, "VERSION "))
		return -1;
	if (m->backend_proto == BACKEND_PROTO_TEXT) {
		*kind = BACKEND_TEXT;
		return first;
	}
	mn = p + first;
	second = backend_read_line(mn, len - (size_t)first, &need);
	if (second <= 0)
		return second;
	if (wire_is(mn, (size_t)second, "MN\r\n"))
		can_meta = true;
	else if (backend_line_is_error(mn, (size_t)second - 2))
		can_meta = false;
	else
		return -1;
	v_len = (size_t)first - sizeof("VERSION ") + 1;
	if (m->backend_proto == BACKEND_PROTO_META && !can_meta)
		return -1;
	if (m->backend_proto == BACKEND_PROTO_META || (can_meta &&
	    backend_version_has_meta(p + sizeof("VERSION ") - 1, v_len)))
		*kind = BACKEND_META;
	else
		*kind = BACKEND_TEXT;
	return first + second;
}

ssize_t
backend_read_line(const uint8_t *p, size_t len, size_t *need)
{
	size_t most = len < BACKEND_LINE_MAX ? len : BACKEND_LINE_MAX;
	const uint8_t *nl = most > 0 ? memchr(p, '\n', most) : NULL;

	if (nl == NULL) {
		if (len >= BACKEND_LINE_MAX)
			return -1;
		*need = len + 1;
		return 0;
	}
	if (nl == p || nl[-1] != '\r')
		return -1;
	return nl + 1 - p;
}

ssize_t
backend_read_value(const struct memcached *m, const uint8_t *p, size_t len,
    size_t line, uint64_t vlen, struct kvp_slice end, struct kvp_reply *r)
{
	size_t total;

	if (vlen > COMMAND_SWALLOW_MAX)
		return -1;
	if (vlen > m->max_value) {
		r->class = KVP_REPLY_ERROR;
		r->body = backend_say(
		    "SERVER_ERROR value larger than max_packet");
		r->swallow = vlen + end.len;
		return (ssize_t)line;
	}
	total = line + (size_t)vlen + end.len;
	if (len < total) {
		r->need = total;
		return 0;
	}
	if (memcmp(p + line + vlen, end.p, end.len) != 0)
		return -1;
	r->body.p = p + line;
	r->body.len = (size_t)vlen;
	return (ssize_t)total;
}

void
backend_refuse_wide_flags(struct kvp_reply *r)
{
	if ((result_peek(r)->bits & RESULT_WIDE_FLAGS) == 0)
		return;
	r->class = KVP_REPLY_ERROR;
	r->body = backend_say(
	    "SERVER_ERROR the value's flags are wider than 32 bits");
}

/* Errors that say something of the data, not of the connection. */
static bool
backend_error_is_ordinary(enum command_op op, const uint8_t *p, size_t len)
{
	if (wire_begins(p, len, "SERVER_ERROR"))
		return true;
	if (op == COMMAND_FLUSH)
		return wire_is(p, len, "CLIENT_ERROR flush_all not allowed");
	return (op == COMMAND_INCR || op == COMMAND_DECR) &&
	    wire_is(p, len, "CLIENT_ERROR cannot increment or decrement "
	    "non-numeric value");
}

static bool
backend_text_is_fit(const uint8_t *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] < ' ' || p[i] > '~')
			return false;
	return len <= ERROR_TEXT_MAX;
}

bool
backend_read_error(enum command_op op, const uint8_t *p, size_t len,
    struct kvp_reply *r)
{
	if (!backend_line_is_error(p, len))
		return false;
	r->class = KVP_REPLY_ERROR;
	if (!backend_error_is_ordinary(op, p, len))
		r->flags |= KVP_REPLY_FATAL;
	if (backend_text_is_fit(p, len))
		r->body = (struct kvp_slice){ p, len };
	else
		r->body = backend_say(
		    "SERVER_ERROR the server's error is unreadable");
	return true;
}

bool
backend_key_is_plain(struct kvp_slice key)
{
	const uint64_t ones = UINT64_MAX / 0xff;
	uint64_t low = 0, word;
	size_t i;

	/* Eight at a time: is any byte below '!'?  Hardly ever. */
	for (i = 0; i + sizeof(word) <= key.len; i += sizeof(word)) {
		memcpy(&word, key.p + i, sizeof(word));
		low |= (word - ones * '!') & ~word & ones * 0x80;
	}
	if (low != 0)
		i = 0;
	for (; i < key.len; i++)
		if (key.p[i] == ' ' || key.p[i] == '\n' || key.p[i] == '\0')
			return false;
	return true;
}
