/*
 * What a client's line becomes is written as one line of text:
 *
 *   FRAME CLASS[+FLAG...][ swallow=N][ note=NOTE] REST
 *
 * REST is the keys and the value of what goes to servers, and the answer of
 * what does not.  "close" stands for a connection closed without an answer.
 */
#include "ext/kvp_ext.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#define LEN(a)		(sizeof(a) / sizeof((a)[0]))
/* A string that may hold NULs. */
#define BYTES(str)	{ (const uint8_t *)(str), sizeof(str) - 1 }

#define KEY_50	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define KEY_250	KEY_50 KEY_50 KEY_50 KEY_50 KEY_50
#define KEY_251	KEY_250 "k"

#define FORMAT	"CLIENT_ERROR bad command line format"
#define CHUNK	"CLIENT_ERROR bad data chunk"
#define USAGE	FORMAT ".  Usage: delete <key> [noreply]"
#define EXPTIME	"CLIENT_ERROR invalid exptime argument"
#define DELTA	"CLIENT_ERROR invalid numeric delta argument"

enum {
	AREA = 512 * 1024,
	MAX_VALUE = 64 * 1024,
	TEXT_MAX = 4096
};

struct row {
	struct kvp_slice in;
	const char	*expected;
};

static const struct kvp_ext *const fn = &kvp_extension;
static struct kvp_conn conn;
static void *ext;
static uint8_t *area;	/* what is behind it cannot be touched */

static void *
test_open(bool allow_flush)
{
	const struct kvp_value values[] = { { 0, NULL }, { 0, NULL },
	    { 0, NULL }, { 0, NULL } };
	const struct kvp_conf conf = {
		.value = values, .max_value = MAX_VALUE,
		.allow_flush = allow_flush, .version = "0.1.0"
	};
	char err[128];
	void *opened = fn->open(&conf, err, sizeof(err));

	assert_non_null(opened);
	return opened;
}

static int
test_setup(void **state)
{
	(void)state;
	area = mmap(NULL, AREA + (size_t)getpagesize(),
	    PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED ||
	    mprotect(area + AREA, (size_t)getpagesize(), PROT_NONE) != 0)
		return -1;
	ext = test_open(true);
	return 0;
}

static int
test_teardown(void **state)
{
	(void)state;
	fn->close(ext);
	return munmap(area, AREA + (size_t)getpagesize());
}

/* Parse the LEN bytes at P, which end where memory ends. */
static ssize_t
test_parse(void *opened, const uint8_t *p, size_t len,
    struct kvp_request *req)
{
	memset(req, 0xa5, sizeof(*req));
	assert_true(len <= AREA);
	memcpy(area + AREA - len, p, len);
	return fn->parse(opened, &conn, area + AREA - len, len, req);
}

/* The bytes of OUT as a string at DST; how many. */
static size_t
test_flatten(const struct kvp_out *out, char *dst)
{
	size_t n = out->len;

	assert_true(n + out->body.len + out->tail.len < TEXT_MAX);
	memcpy(dst, out->dst, n);
	if (out->body.len > 0)
		memcpy(dst + n, out->body.p, out->body.len);
	n += out->body.len;
	if (out->tail.len > 0)
		memcpy(dst + n, out->tail.p, out->tail.len);
	n += out->tail.len;
	dst[n] = '\0';
	return n;
}

/* Render into room that ends where memory ends. */
static size_t
test_render(struct kvp_cmd *cmd, const struct kvp_key *key,
    const struct kvp_reply *r, enum kvp_part part, char *dst)
{
	size_t room = KVP_ROOM + (key != NULL ? key->key.len : 0);
	static uint8_t guarded[KVP_ROOM + KVP_KEY_MAX + 16];
	struct kvp_out out = { .dst = guarded, .room = room };

	memset(guarded, 0x5a, sizeof(guarded));
	fn->render(ext, &conn, cmd, key, (struct kvp_slice){ NULL, 0 }, r,
	    part, &out);
	assert_true(out.len <= room);
	assert_int_equal(guarded[room], 0x5a);
	return test_flatten(&out, dst);
}

static void __attribute__((format(printf, 2, 3)))
text_add(char *text, const char *fmt, ...)
{
	size_t len = strlen(text);
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text + len, TEXT_MAX - len, fmt, ap);
	va_end(ap);
	assert_true(n >= 0 && (size_t)n < TEXT_MAX - len);
}

static void
text_add_keys(char *text, const struct kvp_request *req)
{
	uint8_t room[KVP_KEY_MAX];
	struct kvp_key key;
	uint32_t n = 0;
	size_t at = 0;

	if ((req->cmd.flags & KVP_CMD_MANY) == 0) {
		assert_int_equal(req->cmd.n_keys, 1);
		text_add(text, " %.*s", (int)req->key.key.len,
		    (const char *)req->key.key.p);
		if (req->key.body.p != NULL)
			text_add(text, "=%.*s", (int)req->key.body.len,
			    (const char *)req->key.body.p);
		return;
	}
	while (fn->next_key(ext, &req->cmd, req->keys, &at, &key, room)) {
		text_add(text, "%c%.*s", n == 0 ? ' ' : ',',
		    (int)key.key.len, (const char *)key.key.p);
		n++;
	}
	assert_int_equal(n, req->cmd.n_keys);
}

static void
text_add_answer(char *text, struct kvp_request *req)
{
	char answer[TEXT_MAX];
	size_t n = test_render(&req->cmd, NULL, NULL, KVP_PART_ONLY, answer);

	if (n == 0)
		return;
	assert_true(n > 2 && strcmp(answer + n - 2, "\r\n") == 0);
	answer[n - 2] = '\0';
	text_add(text, " %s", answer);
}

static void
test_describe(char *text, ssize_t n, struct kvp_request *req)
{
	static const char *const class[] = {
		"read", "write", "every", "local"
	};
	static const char *const local[] = { "", "-status", "-stats" };
	static const struct {
		unsigned	 bit;
		const char	*name;
	} flags[] = {
		{ KVP_CMD_MANY, "+many" }, { KVP_CMD_CLOSE, "+close" },
		{ KVP_CMD_BAD, "+bad" }, { KVP_CMD_PRIMARY, "+primary" },
		{ KVP_CMD_TOO_LARGE, "+too_large" },
		{ KVP_CMD_MISS_OK, "+miss_ok" }
	};
	size_t i;

	text[0] = '\0';
	if (n < 0) {
		text_add(text, "close");
		return;
	}
	assert_true(req->cmd.class < LEN(class) && req->cmd.local < 3);
	text_add(text, "%zd %s%s", n, class[req->cmd.class],
	    local[req->cmd.local]);
	for (i = 0; i < LEN(flags); i++)
		if (req->cmd.flags & flags[i].bit)
			text_add(text, "%s", flags[i].name);
	if (req->swallow > 0)
		text_add(text, " swallow=%llu",
		    (unsigned long long)req->swallow);
	if (req->note.len > 0)
		text_add(text, " note=%.*s", (int)req->note.len,
		    (const char *)req->note.p);
	if (req->cmd.class == KVP_READ || req->cmd.class == KVP_WRITE)
		text_add_keys(text, req);
	else if (req->cmd.class == KVP_LOCAL &&
	    req->cmd.local == KVP_LOCAL_ANSWER)
		text_add_answer(text, req);
}

/* ROW's bytes, whole, with others behind them, and as far as they have come
 * at every cut. */
static void
test_row(void *opened, const struct row *row)
{
	char text[TEXT_MAX], longer[TEXT_MAX];
	struct kvp_request req;
	ssize_t whole, n;
	size_t len;

	whole = test_parse(opened, row->in.p, row->in.len, &req);
	assert_int_not_equal(whole, 0);
	test_describe(text, whole, &req);
	assert_string_equal(text, row->expected);

	memcpy(longer, row->in.p, row->in.len);
	memcpy(longer + row->in.len, "get \r\n\0 5", 9);
	n = test_parse(opened, (const uint8_t *)longer, row->in.len + 9,
	    &req);
	test_describe(text, n, &req);
	assert_string_equal(text, row->expected);

	for (len = 0; whole < 0 ? len < row->in.len : len < (size_t)whole;
	    len++) {
		n = test_parse(opened, row->in.p, len, &req);
		if (whole < 0 && n < 0)
			continue;
		assert_int_equal(n, 0);
		assert_true(req.need > len);
		assert_true(whole < 0 || req.need <= (size_t)whole);
	}
}

static void
test_rows(void *opened, const struct row *rows, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		test_row(opened, &rows[i]);
}

static void
text_reads_keys_in_any_spacing(void **state)
{
	static const struct row rows[] = {
		{ BYTES("get k\r\n"), "7 read+miss_ok k" },
		{ BYTES("get k\n"), "6 read+miss_ok k" },
		{ BYTES("  get   k  \r\n"), "13 read+miss_ok k" },
		{ BYTES("get a b  c \r\n"), "13 read+many+miss_ok a,b,c" },
		{ BYTES("gets k\r\n"), "8 read+primary+miss_ok k" },
		{ BYTES("gets k k\r\n"),
		    "10 read+many+primary+miss_ok k,k" },
		{ BYTES("gat 10 k\r\n"), "10 write+primary+miss_ok k" },
		{ BYTES("gats -1 a b\r\n"),
		    "13 write+many+primary+miss_ok a,b" },
		{ BYTES("get " KEY_250 "\r\n"),
		    "256 read+miss_ok " KEY_250 },
		{ BYTES("get \x01" "a\rb\xff\r\n"),
		    "11 read+miss_ok \x01" "a\rb\xff" },
		{ BYTES("get k\r\r\n"), "8 read+miss_ok k\r" },
		{ BYTES("get / HTTP/1.0\r\n"),
		    "16 read+many+miss_ok /,HTTP/1.0" },
	};

	(void)state;
	test_rows(ext, rows, LEN(rows));
}

static void
text_refuses_bad_reads_whole(void **state)
{
	static const struct row rows[] = {
		{ BYTES("get\r\n"), "5 local+bad ERROR" },
		{ BYTES("get \r\n"), "6 local+bad ERROR" },
		{ BYTES("gets\r\n"), "6 local+bad ERROR" },
		{ BYTES("gat\r\n"), "5 local+bad ERROR" },
		{ BYTES("gat 10\r\n"), "8 local END" },
		{ BYTES("gats 10 \r\n"), "10 local END" },
		{ BYTES("gat abc k\r\n"), "11 local+bad " EXPTIME },
		{ BYTES("gat +1 k\r\n"), "10 local+bad " EXPTIME },
		{ BYTES("get " KEY_251 "\r\n"), "257 local+bad " FORMAT },
		{ BYTES("get a " KEY_251 " b\r\n"),
		    "261 local+bad " FORMAT },
		{ BYTES("get a\0b\r\n"), "9 local+bad " FORMAT },
		{ BYTES("get a b\0\r\n"), "10 local+bad " FORMAT },
		{ BYTES("get\tk\r\n"), "7 local+bad ERROR" },
	};

	(void)state;
	test_rows(ext, rows, LEN(rows));
}

static void
text_takes_a_store_with_its_value(void **state)
{
	static const struct row rows[] = {
		{ BYTES("set k 0 0 3\r\nabc\r\n"), "18 write k=abc" },
		{ BYTES("set k 0 0 2\nhi\r\n"), "16 write k=hi" },
		{ BYTES("set k 4294967295 -1 0\r\n\r\n"), "25 write k=" },
		{ BYTES("set k 0 0 007\r\nseventy\r\n"),
		    "24 write k=seventy" },
		{ BYTES(" add  k 0 0  1 \r\na\r\n"), "20 write k=a" },
		{ BYTES("replace k 0 99999999999 1 noreply\r\na\r\n"),
		    "38 write k=a" },
		{ BYTES("append k 0 0 2\r\n\r\n\r\n"),
		    "20 write k=\r\n" },
		{ BYTES("prepend " KEY_250 " 0 0 1\r\na\r\n"),
		    "269 write " KEY_250 "=a" },
		{ BYTES("cas k 0 0 1 18446744073709551615\r\na\r\n"),
		    "37 write k=a" },
		{ BYTES("set k 0 0 1 foo\r\na\r\n"), "20 write k=a" },
		{ BYTES("set k 0 0 65537\r\n"),
		    "17 write+too_large swallow=65539 k" },
		{ BYTES("cas k 0 0 1073741824 5\r\n"),
		    "24 local+too_large swallow=1073741826 "
		    "SERVER_ERROR object too large for cache" },
	};

	(void)state;
	test_rows(ext, rows, LEN(rows));
}

static void
text_takes_the_value_of_a_bad_store_with_it(void **state)
{
	static const struct row rows[] = {
		{ BYTES("set k abc 0 9\r\n"),
		    "15 local+bad swallow=11 " FORMAT },
		{ BYTES("set k 4294967296 0 9\r\n"),
		    "22 local+bad swallow=11 " FORMAT },
		{ BYTES("set k -1 0 9\r\n"),
		    "14 local+bad swallow=11 " FORMAT },
		{ BYTES("set k 0 abc 7\r\n"),
		    "15 local+bad swallow=9 " FORMAT },
		{ BYTES("set " KEY_251 " 0 0 7\r\n"),
		    "263 local+bad swallow=9 " FORMAT },
		{ BYTES("set a\0b 0 0 7\r\n"),
		    "15 local+bad swallow=9 " FORMAT },
		{ BYTES("set k abc 0 2 noreply\r\n"),
		    "23 local+bad swallow=4" },
		{ BYTES("cas k 0 0 2 abc\r\n"),
		    "17 local+bad swallow=4 " FORMAT },
		{ BYTES("cas k 0 0 2 18446744073709551616\r\n"),
		    "34 local+bad swallow=4 " FORMAT },
		{ BYTES("cas k 0 0 2 noreply\r\n"),
		    "21 local+bad swallow=4" },
		{ BYTES("set k 0 0 1 noreply extra\r\n"),
		    "27 local+bad swallow=3 ERROR" },
		{ BYTES("set k 0 0 1 2 3 4 5 6 7 8 9\r\n"),
		    "29 local+bad swallow=3 ERROR" },
		{ BYTES("set k x 0 999999\r\n"),
		    "18 local+bad swallow=1000001 " FORMAT },
	};

	(void)state;
	test_rows(ext, rows, LEN(rows));
}

static void
text_closes_where_a_value_cannot_be_told_apart(void **state)
{
	static const struct row rows[] = {
		{ BYTES("set k 0 0 -1\r\n"), "14 local+close+bad " FORMAT },
		{ BYTES("set k 0 0 2147483647\r\n"),
		    "22 local+close+bad " FORMAT },
		{ BYTES("set k 0 0 4294967295\r\n"),
		    "22 local+close+bad " FORMAT },
		{ BYTES("set k 0 0 4294967296\r\n"),
		    "22 local+close+bad " FORMAT },
		{ BYTES("set k 0 0 18446744073709551617\r\n"),
		    "32 local+close+bad " FORMAT },
		{ BYTES("set k 0 0 1073741825\r\n"),
		    "22 local+close+bad " FORMAT },
		{ BYTES("set k 0 0 +7\r\n"), "14 local+close+bad " FORMAT },
		{ BYTES("set k 0 0 0x7\r\n"), "15 local+close+bad " FORMAT },
		{ BYTES("set k 0 0 7abc\r\n"), "16 local+close+bad " FORMAT },
		{ BYTES("set k 0 0 noreply\r\n"), "19 local+close+bad" },
		{ BYTES("set k 0 0 x noreply\r\n"), "21 local+close+bad" },
		{ BYTES("set k 0 0 2\r\nhello\r\n"),
		    "17 local+close+bad " CHUNK },
		{ BYTES("set k 0 0 2\nhi\n\n"), "16 local+close+bad " CHUNK },
		{ BYTES("set k 0 0 2\r\nhi\r\r"),
		    "17 local+close+bad " CHUNK },
		{ BYTES("set k 0 0 2 noreply\r\nhello"),
		    "25 local+close+bad" },
	};

	(void)state;
	test_rows(ext, rows, LEN(rows));
}

static void
text_accepts_no_length_from_a_short_store(void **state)
{
	static const struct row rows[] = {
		{ BYTES("set\r\n"), "5 local+bad ERROR" },
		{ BYTES("set k 0 0\r\n"), "11 local+bad ERROR" },
		{ BYTES("cas foo 0 0 6 \r\n"), "16 local+bad ERROR" },
		{ BYTES("barva2\r\n"), "8 local+bad ERROR" },
	};

	(void)state;
	test_rows(ext, rows, LEN(rows));
}

static void
text_parses_the_other_writes(void **state)
{
	static const struct row rows[] = {
		{ BYTES("delete k\r\n"), "10 write k" },
		{ BYTES("delete k 0\r\n"), "12 write k" },
		{ BYTES("delete k noreply\r\n"), "18 write k" },
		{ BYTES("delete k 0 noreply\r\n"), "20 write k" },
		{ BYTES("delete noreply\r\n"), "16 write noreply" },
		{ BYTES("delete k 10\r\n"), "13 local+bad " USAGE },
		{ BYTES("delete k 10 noreply\r\n"), "21 local+bad" },
		{ BYTES("delete k 0 foo\r\n"), "16 local+bad " USAGE },
		{ BYTES("delete a b c d\r\n"), "16 local+bad ERROR" },
		{ BYTES("delete a b c d e\r\n"), "18 local+bad ERROR" },
		{ BYTES("delete\r\n"), "8 local+bad ERROR" },
		{ BYTES("delete " KEY_251 "\r\n"),
		    "260 local+bad " FORMAT },
		{ BYTES("delete a\0\r\n"), "11 local+bad " FORMAT },
		{ BYTES("incr k 1\r\n"), "10 write k" },
		{ BYTES("incr " KEY_250 " 1\r\n"), "259 write " KEY_250 },
		{ BYTES("decr k 18446744073709551615 noreply\r\n"),
		    "37 write k" },
		{ BYTES("incr k 1 foo\r\n"), "14 write k" },
		{ BYTES("incr k 1 foo bar\r\n"), "18 local+bad ERROR" },
		{ BYTES("incr k\r\n"), "8 local+bad ERROR" },
		{ BYTES("incr k -1\r\n"), "11 local+bad " DELTA },
		{ BYTES("incr k 18446744073709551616\r\n"),
		    "29 local+bad " DELTA },
		{ BYTES("incr k noreply\r\n"), "16 local+bad" },
		{ BYTES("incr " KEY_251 " foo\r\n"),
		    "262 local+bad " FORMAT },
		{ BYTES("touch k 0\r\n"), "11 write k" },
		{ BYTES("touch k -1 noreply\r\n"), "20 write k" },
		{ BYTES("touch k\r\n"), "9 local+bad ERROR" },
		{ BYTES("touch k abc\r\n"), "13 local+bad " EXPTIME },
		{ BYTES("touch k 9223372036854775808\r\n"),
		    "29 local+bad " EXPTIME },
		{ BYTES("flush_all\r\n"), "11 every" },
		{ BYTES("flush_all 10\r\n"), "14 every" },
		{ BYTES("flush_all noreply\r\n"), "19 every" },
		{ BYTES("flush_all 0 noreply\r\n"), "21 every" },
		{ BYTES("flush_all 0 foo\r\n"), "17 every" },
		{ BYTES("flush_all invalid\r\n"),
		    "19 local+bad " EXPTIME },
		{ BYTES("flush_all invalid noreply\r\n"), "27 local+bad" },
		{ BYTES("flush_all 0 foo bar\r\n"), "21 local+bad ERROR" },
	};

	(void)state;
	test_rows(ext, rows, LEN(rows));
}

static void
text_answers_what_needs_no_server(void **state)
{
	static const struct row rows[] = {
		{ BYTES("version\r\n"),
		    "9 local VERSION 1.6.18 kvproxy-0.1.0" },
		{ BYTES("version foo bar\r\n"),
		    "17 local VERSION 1.6.18 kvproxy-0.1.0" },
		{ BYTES("verbosity 1\r\n"), "13 local OK" },
		{ BYTES("verbosity 1 noreply\r\n"), "21 local" },
		{ BYTES("verbosity\r\n"), "11 local+bad ERROR" },
		{ BYTES("verbosity noreply\r\n"), "19 local+bad" },
		{ BYTES("verbosity foo bar\r\n"), "19 local+bad " FORMAT },
		{ BYTES("verbosity foo bar my\r\n"), "22 local+bad ERROR" },
		{ BYTES("quit\r\n"), "6 local+close" },
		{ BYTES("quit noreply\r\n"), "14 local+close" },
		{ BYTES("status\r\n"), "8 local-status" },
		{ BYTES("status x\r\n"), "10 local+bad ERROR" },
		{ BYTES("stats\r\n"), "7 local-stats" },
		{ BYTES("stats backends\r\n"),
		    "16 local-stats note=backends" },
		{ BYTES("stats noreply\r\n"), "15 local+bad ERROR" },
		{ BYTES("shutdown\r\n"),
		    "10 local+bad ERROR: shutdown not enabled" },
	};

	(void)state;
	test_rows(ext, rows, LEN(rows));
}

static void
text_refuses_what_is_no_command(void **state)
{
	static const struct row rows[] = {
		{ BYTES("\r\n"), "2 local+bad ERROR" },
		{ BYTES("\n"), "1 local+bad ERROR" },
		{ BYTES(" \r\n"), "3 local+bad ERROR" },
		{ BYTES("foo\r\n"), "5 local+bad ERROR" },
		{ BYTES("GET k\r\n"), "7 local+bad ERROR" },
		{ BYTES("watch\r\n"), "7 local+bad ERROR" },
		{ BYTES("lru mode\r\n"), "10 local+bad ERROR" },
		{ BYTES("slabs reassign\r\n"), "16 local+bad ERROR" },
		{ BYTES("lru_crawler\r\n"), "13 local+bad ERROR" },
		{ BYTES("me k\r\n"), "6 local+bad ERROR" },
		{ BYTES("mgk v\r\n"), "7 local+bad ERROR" },
		{ BYTES("get\0k\r\n"), "7 local+bad ERROR" },
		{ BYTES("GET / HTTP/1.0\r\n"), "close" },
		{ BYTES("PUT /x HTTP/1.1\r\n"), "close" },
		{ BYTES("POST /x HTTP/1.1\r\n"), "close" },
		{ BYTES("HEAD x HTTP/1.1\r\n"), "close" },
		{ BYTES("DELETE HTTP/1.1\r\n"), "close" },
	};

	(void)state;
	test_rows(ext, rows, LEN(rows));
}

static void
text_forbids_flush_all_where_told_to(void **state)
{
	static const struct row rows[] = {
		{ BYTES("flush_all\r\n"),
		    "11 local+bad CLIENT_ERROR flush_all not allowed" },
		{ BYTES("flush_all 0 noreply\r\n"), "21 local+bad" },
		{ BYTES("flush_all a b c\r\n"), "17 local+bad ERROR" },
	};
	void *strict = test_open(false);

	(void)state;
	test_rows(strict, rows, LEN(rows));
	fn->close(strict);
}

/* A line of HEAD, N times FILL, and TAIL, at LINE; its length. */
static size_t
test_long_line(char *line, const char *head, const char *fill, size_t n,
    const char *tail)
{
	size_t len = 0, i;

	len += (size_t)sprintf(line + len, "%s", head);
	for (i = 0; i < n; i++)
		len += (size_t)sprintf(line + len, "%s", fill);
	len += (size_t)sprintf(line + len, "%s", tail);
	return len;
}

static void
text_bounds_lines_however_they_are_cut(void **state)
{
	static const struct {
		const char	*head, *fill;
		size_t		 n;
		const char	*tail;
		bool		 accepted;
	} rows[] = {
		{ "", " ", 3000, "", false },
		{ "", " ", 3000, "version\r\n", false },
		{ "", "a", 3000, "\r\n", false },
		{ "version", " ", 2040, "\n", true },
		{ "version", " ", 2042, "\n", false },
		{ "", " ", 101, "get foo\r\n", true },
		{ "gets ", "a ", 2000, "\r\n", true },
		{ "gat 0 ", "a ", 2000, "\r\n", true },
		{ "gats 0 ", "a ", 2000, "\r\n", true },
		{ " get ", "key ", 10000, "\n", true },
		{ "get ", "a ", MAX_VALUE / 2, "\n", false },
		{ "set ", "a ", 2000, "\r\n", false },
	};
	char *line = malloc(AREA);
	struct kvp_request req;
	size_t len, i, at;
	ssize_t n;

	(void)state;
	assert_non_null(line);
	for (i = 0; i < LEN(rows); i++) {
		bool closed = false;

		len = test_long_line(line, rows[i].head, rows[i].fill,
		    rows[i].n, rows[i].tail);
		n = test_parse(ext, (uint8_t *)line, len, &req);
		assert_int_equal(n, rows[i].accepted ? (ssize_t)len : -1);
		for (at = 1; at < len; at += at < 2100 ? 1 : 997) {
			n = test_parse(ext, (uint8_t *)line, at, &req);
			if (n < 0)
				closed = true;
			else
				assert_int_equal(n, 0);
			assert_false(closed && (n == 0 || rows[i].accepted));
		}
	}
	/* 101 spaces are too many before a line that is long. */
	len = test_long_line(line, "", " ", 101, "gets foo");
	memset(line + len, ' ', 4095 - len);
	assert_int_equal(test_parse(ext, (uint8_t *)line, 4095, &req), -1);
	free(line);
}

static void
text_walks_a_multiget_of_many_keys(void **state)
{
	enum { N = 6000 };
	char *line = malloc(AREA), name[32];
	uint8_t room[KVP_KEY_MAX];
	struct kvp_request req;
	struct kvp_key key;
	size_t len, at = 0;
	unsigned i;

	(void)state;
	assert_non_null(line);
	len = (size_t)sprintf(line, "get");
	for (i = 0; i < N; i++)
		len += (size_t)sprintf(line + len, " key%u", i);
	len += (size_t)sprintf(line + len, "\r\n");
	assert_int_equal(test_parse(ext, (uint8_t *)line, len, &req), len);
	assert_int_equal(req.cmd.n_keys, N);
	for (i = 0; i < N; i++) {
		assert_true(fn->next_key(ext, &req.cmd, req.keys, &at, &key,
		    room));
		assert_int_equal(key.key.len, sprintf(name, "key%u", i));
		assert_memory_equal(key.key.p, name, key.key.len);
	}
	assert_false(fn->next_key(ext, &req.cmd, req.keys, &at, &key, room));
	free(line);
}

static void
text_says_exactly_how_much_a_store_needs(void **state)
{
	static const char line[] = "set key 5 0 60000\r\n";
	struct kvp_request req;
	size_t len = sizeof(line) - 1;

	(void)state;
	assert_int_equal(test_parse(ext, (const uint8_t *)line, len, &req),
	    0);
	assert_int_equal(req.need, len + 60000 + 2);
	assert_int_equal(test_parse(ext, (const uint8_t *)line, 9, &req), 0);
	assert_int_equal(req.need, 10);
}

/* What fail says of the request LINE. */
static void
test_fail(const char *line, enum kvp_fail why, const char *host,
    const char *expected)
{
	struct kvp_request req;
	uint8_t room[KVP_ROOM];
	struct kvp_out out = { .dst = room, .room = sizeof(room) };
	char text[TEXT_MAX];

	assert_true(test_parse(ext, (const uint8_t *)line, strlen(line),
	    &req) > 0);
	/* In brackets, for cmocka has a macro of this name. */
	(fn->fail)(ext, &conn, &req.cmd, req.note, why, host, &out);
	assert_true(out.len <= sizeof(room));
	test_flatten(&out, text);
	assert_string_equal(text, expected);
}

static void
text_says_who_failed_and_how(void **state)
{
	char name[2000], expected[1024];

	(void)state;
	test_fail("get k\r\n", KVP_FAIL_TIMEOUT, "10.0.0.1:11211",
	    "SERVER_ERROR 10.0.0.1:11211 timed out\r\n");
	test_fail("get a b\r\n", KVP_FAIL_DOWN, "10.0.0.1:11211",
	    "SERVER_ERROR 10.0.0.1:11211 cannot be reached\r\n");
	test_fail("delete k\r\n", KVP_FAIL_CLOSED, NULL,
	    "SERVER_ERROR the server closed the connection\r\n");
	test_fail("get k\r\n", KVP_FAIL_NO_HOST, NULL,
	    "SERVER_ERROR no server for this key\r\n");
	test_fail("get k\r\n", KVP_FAIL_MEMORY, "h:1",
	    "SERVER_ERROR out of memory\r\n");
	test_fail("flush_all\r\n", KVP_FAIL_DOWN, "a:1,b:2",
	    "SERVER_ERROR a:1,b:2 cannot be reached\r\n");
	test_fail("delete k noreply\r\n", KVP_FAIL_DOWN, "h:1", "");
	test_fail("set k 0 0 99999\r\n", KVP_FAIL_DOWN, "h:1",
	    "SERVER_ERROR object too large for cache\r\n");
	test_fail("set k 0 0 99999 noreply\r\n", KVP_FAIL_DOWN, "h:1", "");
	memset(name, 'h', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	sprintf(expected, "SERVER_ERROR %.512s timed out\r\n", name);
	test_fail("get k\r\n", KVP_FAIL_TIMEOUT, name, expected);
}

static void
test_admin(const char *line, struct kvp_slice name, struct kvp_slice value,
    const char *expected)
{
	struct kvp_request req;
	uint8_t room[KVP_ROOM];
	struct kvp_out out = { .dst = room, .room = sizeof(room) };
	char text[TEXT_MAX];

	assert_true(test_parse(ext, (const uint8_t *)line, strlen(line),
	    &req) > 0);
	fn->admin(ext, &conn, &req.cmd, req.note, name, value, &out);
	assert_true(out.len <= sizeof(room));
	test_flatten(&out, text);
	assert_string_equal(text, expected);
}

static void
text_gives_statistics_and_status(void **state)
{
	static const struct kvp_slice none = { NULL, 0 };
	static const struct kvp_slice name = BYTES("pid"), value = BYTES("7");
	static const struct kvp_slice empty = BYTES("");
	static const struct kvp_slice block = BYTES("\nA [0]\n\n");

	(void)state;
	test_admin("stats\r\n", name, value, "STAT pid 7\r\n");
	test_admin("stats\r\n", name, empty, "STAT pid \r\n");
	test_admin("stats\r\n", none, none, "END\r\n");
	test_admin("stats foo\r\n", name, none, "ERROR\r\n");
	test_admin("status\r\n", none, block, "\nA [0]\n\n");
	test_admin("status\r\n", none, none, "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_reads_keys_in_any_spacing),
		cmocka_unit_test(text_refuses_bad_reads_whole),
		cmocka_unit_test(text_takes_a_store_with_its_value),
		cmocka_unit_test(text_takes_the_value_of_a_bad_store_with_it),
		cmocka_unit_test(
		    text_closes_where_a_value_cannot_be_told_apart),
		cmocka_unit_test(text_accepts_no_length_from_a_short_store),
		cmocka_unit_test(text_parses_the_other_writes),
		cmocka_unit_test(text_answers_what_needs_no_server),
		cmocka_unit_test(text_refuses_what_is_no_command),
		cmocka_unit_test(text_forbids_flush_all_where_told_to),
		cmocka_unit_test(text_bounds_lines_however_they_are_cut),
		cmocka_unit_test(text_walks_a_multiget_of_many_keys),
		cmocka_unit_test(text_says_exactly_how_much_a_store_needs),
		cmocka_unit_test(text_says_who_failed_and_how),
		cmocka_unit_test(text_gives_statistics_and_status),
	};

	return cmocka_run_group_tests(tests, test_setup, test_teardown);
}
