/*
 * fuzz_common.c: a stream of frames, cut everywhere, and the room that an
 * extension writes into.
 */
#include "t/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	BEYOND = 16,		/* bytes behind a frame, one after another */
	CANARY = 64,
	CANARY_BYTE = 0xc5,
	ANSWER_MAX = 1024 * 1024,
	OPTIONS_MAX = 32
};

/* The program's own image, from the linker. */
extern const uint8_t __executable_start, _end;

/* On the heap, for what is static is an extension's to point at. */
static struct fuzz_state {
	uint8_t		*area;		/* nothing behind it can be touched */
	uint8_t		 filler;
	uint8_t		 room[CANARY + KVP_ROOM + KVP_KEY_MAX + KVP_NOTE_MAX +
			    CANARY];
	uint8_t		 untouched[CANARY];
	uint8_t		 answer[ANSWER_MAX];
	size_t		 answer_len;
} *fuzz;

static void __attribute__((constructor))
fuzz_init(void)
{
	size_t page = (size_t)getpagesize();

	FUZZ_CHECK((fuzz = calloc(1, sizeof(*fuzz))) != NULL);
	memset(fuzz->untouched, CANARY_BYTE, sizeof(fuzz->untouched));
	fuzz->area = mmap(NULL, FUZZ_INPUT_MAX + page, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	FUZZ_CHECK(fuzz->area != MAP_FAILED);
	FUZZ_CHECK(mprotect(fuzz->area + FUZZ_INPUT_MAX, page, PROT_NONE) ==
	    0);
}

void
fuzz_failed(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

void
fuzz_digest(uint64_t *digest, const void *p, size_t len)
{
	const uint8_t *at = p;
	uint64_t word;
	size_t n;

	for (; len > 0; at += n, len -= n) {
		word = len;
		n = len < sizeof(word) ? len : sizeof(word);
		memcpy(&word, at, n);
		*digest = (*digest ^ word) * 0x9e3779b97f4a7c15;
		*digest ^= *digest >> 29;
	}
}

void
fuzz_digest_slice(uint64_t *digest, struct kvp_slice s)
{
	fuzz_digest(digest, &s.len, sizeof(s.len));
	fuzz_digest(digest, s.p, s.len);
}

uint8_t
fuzz_filler(void)
{
	return fuzz->filler += 0x35;
}

bool
fuzz_is_within(struct kvp_slice s, const uint8_t *p, size_t len)
{
	uintptr_t at = (uintptr_t)s.p, first = (uintptr_t)p;

	return s.len == 0 || (p != NULL && at >= first &&
	    at - first <= len && s.len <= len - (at - first));
}

bool
fuzz_is_static(struct kvp_slice s)
{
	return fuzz_is_within(s, &__executable_start,
	    (size_t)((uintptr_t)&_end - (uintptr_t)&__executable_start));
}

/*
 * Streams.
 */

/* LEN bytes that end where memory ends. */
static const uint8_t *
fuzz_place(const uint8_t *p, size_t len)
{
	FUZZ_CHECK(len <= FUZZ_INPUT_MAX);
	if (len > 0)
		memcpy(fuzz->area + FUZZ_INPUT_MAX - len, p, len);
	return fuzz->area + FUZZ_INPUT_MAX - len;
}

static ssize_t
fuzz_read(struct fuzz_talk *t, const uint8_t *p, size_t len, bool deep,
    struct fuzz_found *found)
{
	ssize_t n;

	*found = (struct fuzz_found){ .need = 0 };
	n = t->read(t, p, len, deep, found);
	FUZZ_CHECK(n <= (ssize_t)len);
	FUZZ_CHECK(n != 0 || found->need > len);
	if (n > 0)
		fuzz_digest(&found->digest, &t->conn, sizeof(t->conn));
	return n;
}

static bool
fuzz_is_same(const struct fuzz_found *a, const struct fuzz_found *b)
{
	return a->digest == b->digest && a->swallow == b->swallow &&
	    a->last == b->last;
}

/* What came to N with LEN bytes, at every shorter length.  The connection
 * keeps what it remembers from one to the next, as the core's does. */
static void
fuzz_cut_short(struct fuzz_talk *t, const uint8_t *p, size_t len, ssize_t n)
{
	size_t whole = n > 0 ? (size_t)n : len;
	struct fuzz_found found;
	ssize_t got = 0;
	size_t cut;

	for (cut = 0; cut < whole && got == 0; cut++) {
		got = fuzz_read(t, fuzz_place(p, cut), cut, false, &found);
		/* Of what is closed, the rest does not matter. */
		FUZZ_CHECK(got == 0 || (got < 0 && n < 0));
		FUZZ_CHECK(n <= 0 || found.need <= whole);
	}
}

/* A frame of N bytes that was found to be SAME, with nothing and with little
 * behind it. */
static void
fuzz_cut_behind(struct fuzz_talk *t, struct kvp_conn before, const uint8_t *p,
    size_t len, size_t n, const struct fuzz_found *same)
{
	uint8_t *exact = malloc(n);
	struct fuzz_found found;
	size_t cut;

	/* Bytes that came one by one. */
	FUZZ_CHECK(fuzz_read(t, fuzz_place(p, n), n, false, &found) ==
	    (ssize_t)n);
	FUZZ_CHECK(fuzz_is_same(&found, same));
	for (cut = n + 1; cut <= n + BEYOND && cut < len; cut++) {
		t->conn = before;
		FUZZ_CHECK(fuzz_read(t, fuzz_place(p, cut), cut, false,
		    &found) == (ssize_t)n);
		FUZZ_CHECK(fuzz_is_same(&found, same));
	}
	/* Memory whose beginning is watched too, where sanitizers do so. */
	FUZZ_CHECK(exact != NULL);
	memcpy(exact, p, n);
	t->conn = before;
	FUZZ_CHECK(fuzz_read(t, exact, n, true, &found) == (ssize_t)n);
	FUZZ_CHECK(fuzz_is_same(&found, same));
	FUZZ_CHECK(found.deep_digest == same->deep_digest);
	free(exact);
}

void
fuzz_stream(struct fuzz_talk *t, const uint8_t *p, size_t len)
{
	struct kvp_conn before, after;
	struct fuzz_found found;
	size_t skip;
	ssize_t n;

	for (; len > 0; p += skip, len -= skip) {
		before = t->conn;
		n = fuzz_read(t, p, len, true, &found);
		after = t->conn;
		t->conn = before;
		fuzz_cut_short(t, p, len, n);
		if (n > 0)
			fuzz_cut_behind(t, before, p, len, (size_t)n, &found);
		if (n <= 0 || found.last)
			return;
		t->conn = after;
		skip = (size_t)n;
		skip += found.swallow < len - skip ? (size_t)found.swallow :
		    len - skip;
	}
}

/*
 * Services.
 */

static int64_t
fuzz_option_default(const struct kvp_option *o)
{
	const char *at = o->names, *bar;
	size_t len = strlen(o->def);
	int64_t i;

	if (o->type == KVP_OPT_BOOL)
		return strcmp(o->def, "on") == 0;
	if (o->type != KVP_OPT_ENUM)
		return strtoll(o->def, NULL, 10);
	for (i = 0; strncmp(at, o->def, len) != 0 ||
	    (at[len] != '|' && at[len] != '\0'); i++) {
		FUZZ_CHECK((bar = strchr(at, '|')) != NULL);
		at = bar + 1;
	}
	return i;
}

void *
fuzz_open(uint64_t max_value, bool allow_flush, const char *key,
    int64_t value)
{
	const struct kvp_ext *fn = &kvp_extension;
	struct kvp_value values[OPTIONS_MAX];
	const struct kvp_conf conf = {
		.value = values, .max_value = max_value,
		.allow_flush = allow_flush, .version = "0.1.0"
	};
	const struct kvp_option *o;
	char err[128];
	void *ext;
	size_t i;

	FUZZ_CHECK(fn->n_options <= OPTIONS_MAX);
	for (i = 0; i < fn->n_options; i++) {
		o = &fn->options[i];
		values[i] = (struct kvp_value){ .num = 0 };
		if (o->type == KVP_OPT_STR)
			values[i].str = o->def;
		else if (key != NULL && strcmp(o->key, key) == 0)
			values[i].num = value;
		else
			values[i].num = fuzz_option_default(o);
	}
	FUZZ_CHECK((ext = fn->open(&conf, err, sizeof(err))) != NULL);
	return ext;
}

struct kvp_conn
fuzz_greeted(void *ext, enum fuzz_backend kind)
{
	static const char *const answers[FUZZ_N_BACKENDS] = {
		[FUZZ_META] = "VERSION 1.6.18\r\nMN\r\n",
		[FUZZ_TEXT] = "VERSION 1.4.15\r\nERROR\r\n"
	};
	struct kvp_conn conn = { { 0, 0 } };
	size_t len = strlen(answers[kind]);
	uint8_t room[KVP_ROOM];

	FUZZ_CHECK(kvp_extension.greet(ext, &conn, room, sizeof(room)) <=
	    sizeof(room));
	FUZZ_CHECK(kvp_extension.greeted(ext, &conn,
	    (const uint8_t *)answers[kind], len) == (ssize_t)len);
	return conn;
}

/*
 * What is written.
 */

void
fuzz_part_begin(struct fuzz_part *part, size_t extra)
{
	size_t room = KVP_ROOM + extra;

	FUZZ_CHECK(room <= sizeof(fuzz->room) - CANARY - CANARY);
	/* Two fillings that differ show what is sent but not written. */
	memset(fuzz->room, CANARY_BYTE, sizeof(fuzz->room));
	memset(fuzz->room + CANARY, fuzz_filler(), room);
	*part = (struct fuzz_part){
		.out = { .dst = fuzz->room + CANARY, .room = room }
	};
}

static void
fuzz_join(const void *p, size_t len)
{
	FUZZ_CHECK(len <= ANSWER_MAX - fuzz->answer_len);
	if (len > 0)
		memcpy(fuzz->answer + fuzz->answer_len, p, len);
	fuzz->answer_len += len;
}

void
fuzz_part_end(const struct fuzz_part *part)
{
	const struct kvp_out *out = &part->out;
	const uint8_t *behind = fuzz->room + CANARY + out->room;
	bool mine = fuzz_is_static(out->body);
	size_t i;

	FUZZ_CHECK(out->dst == fuzz->room + CANARY);
	FUZZ_CHECK(out->len <= out->room);
	FUZZ_CHECK(memcmp(fuzz->room, fuzz->untouched, CANARY) == 0);
	FUZZ_CHECK(memcmp(behind, fuzz->untouched, CANARY) == 0);
	for (i = 0; i < FUZZ_LEN(part->given); i++)
		mine = mine || fuzz_is_within(out->body, part->given[i].p,
		    part->given[i].len);
	FUZZ_CHECK(mine);
	FUZZ_CHECK(fuzz_is_static(out->tail));
	fuzz_join(out->dst, out->len);
	fuzz_join(out->body.p, out->body.len);
	fuzz_join(out->tail.p, out->tail.len);
}

struct kvp_slice
fuzz_answer_take(void)
{
	struct kvp_slice answer = { fuzz->answer, fuzz->answer_len };

	fuzz->answer_len = 0;
	return answer;
}

/* How long the value is that follows the line P..END, which tells it behind
 * so many WORDS. */
static size_t
fuzz_line_value(const uint8_t *p, const uint8_t *end, unsigned words)
{
	size_t n = 0;

	for (; words > 0; words--) {
		while (p < end && *p != ' ')
			p++;
		FUZZ_CHECK(p < end);
		p++;
	}
	for (; p < end && *p >= '0' && *p <= '9'; p++)
		n = n * 10 + (size_t)(*p - '0');
	FUZZ_CHECK(p == end || *p == ' ');
	return n + 2;
}

static bool
fuzz_line_begins(const uint8_t *p, const uint8_t *end, const char *word)
{
	size_t len = strlen(word);

	return (size_t)(end - p) >= len && memcmp(p, word, len) == 0;
}

void
fuzz_check_lines(const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len, *nl, *line;
	bool more = len > 0;
	size_t skip;

	while (more) {
		FUZZ_CHECK(p < end);
		FUZZ_CHECK((nl = memchr(p, '\n', (size_t)(end - p))) != NULL);
		FUZZ_CHECK(nl > p && nl[-1] == '\r');
		line = p;
		p = nl-- + 1;
		skip = 0;
		more = fuzz_line_begins(line, nl, "STAT ");
		if (fuzz_line_begins(line, nl, "VALUE ")) {
			skip = fuzz_line_value(line, nl, 3);
			more = true;
		} else if (fuzz_line_begins(line, nl, "VA "))
			skip = fuzz_line_value(line, nl, 1);
		FUZZ_CHECK((size_t)(end - p) >= skip);
		p += skip;
		FUZZ_CHECK(p[-2] == '\r' && p[-1] == '\n');
	}
	FUZZ_CHECK(p == end);
}

void
fuzz_check_frames(const uint8_t *p, size_t len)
{
	enum { HEADER = 24, MAGIC = 0x81, STAT = 0x10 };
	size_t key, body;

	for (; len > 0; p += HEADER + body, len -= HEADER + body) {
		FUZZ_CHECK(len >= HEADER && p[0] == MAGIC);
		key = (size_t)p[2] << 8 | p[3];
		body = (size_t)p[8] << 24 | (size_t)p[9] << 16 |
		    (size_t)p[10] << 8 | p[11];
		FUZZ_CHECK(key + p[4] <= body);
		FUZZ_CHECK(body <= len - HEADER);
		/* Only statistics are several. */
		FUZZ_CHECK(body == len - HEADER || p[1] == STAT);
	}
}
