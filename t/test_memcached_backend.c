/*
 * A talk is one request of a text client, what a server is asked for it, what
 * the server replies, what that is taken for, and what the client sees:
 *
 *   outcome   LENGTH CLASS[+fatal][+failed][ swallow=N], or "desync"
 *
 * The opaque number is 7 everywhere.
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

#define KEY_50	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define KEY_250	KEY_50 KEY_50 KEY_50 KEY_50 KEY_50

#define NON_NUMERIC \
	"CLIENT_ERROR cannot increment or decrement non-numeric value"
#define TOO_LARGE	"SERVER_ERROR object too large for cache\r\n"

enum {
	AREA = 16 * 1024,
	MAX_VALUE = 4096,
	TEXT_MAX = 8192,
	OPAQUE = 7
};

enum proto {
	AUTO,
	META,
	TEXT
};

struct talk {
	const char	*request;
	const char	*asked;
	const char	*reply;
	const char	*outcome;
	const char	*answered;
};

/* A reply that cannot be one to the request. */
struct nonsense {
	const char	*request;
	const char	*reply;
};

static const struct kvp_ext *const fn = &kvp_extension;
static void *ext;
static struct kvp_conn client, meta, text;
static uint8_t *area;	/* what is behind it cannot be touched */

static void *
test_open(enum proto proto)
{
	const struct kvp_value values[] = { { 0, NULL }, { proto, NULL },
	    { 0, NULL }, { 0, NULL } };
	const struct kvp_conf conf = {
		.value = values, .max_value = MAX_VALUE,
		.allow_flush = true, .version = "0.1.0"
	};
	char err[128];
	void *opened = fn->open(&conf, err, sizeof(err));

	assert_non_null(opened);
	return opened;
}

/* LEN bytes that end where memory ends. */
static const uint8_t *
test_place(const char *p, size_t len)
{
	assert_true(len <= AREA);
	memcpy(area + AREA - len, p, len);
	return area + AREA - len;
}

/* What the answer to a greeting makes of a connection. */
static ssize_t
test_greeted(enum proto proto, const char *answer, size_t len,
    struct kvp_conn *conn)
{
	/* A server to be asked in text is not bothered with meta. */
	size_t asked = proto == TEXT ? 9 : 13;
	void *opened = test_open(proto);
	uint8_t room[KVP_ROOM];
	ssize_t n;

	*conn = (struct kvp_conn){ { 0, 0 } };
	assert_int_equal(fn->greet(opened, conn, room, sizeof(room)), asked);
	assert_memory_equal(room, "version\r\nmn\r\n", asked);
	n = fn->greeted(opened, conn, test_place(answer, len), len);
	fn->close(opened);
	return n;
}

static int
test_setup(void **state)
{
	static const char answer[] = "VERSION 1.6.18\r\nMN\r\n";
	size_t len = sizeof(answer) - 1;

	(void)state;
	area = mmap(NULL, AREA + (size_t)getpagesize(),
	    PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED ||
	    mprotect(area + AREA, (size_t)getpagesize(), PROT_NONE) != 0)
		return -1;
	ext = test_open(AUTO);
	return test_greeted(META, answer, len, &meta) == (ssize_t)len &&
	    test_greeted(TEXT, answer, len - 4, &text) == (ssize_t)len - 4 ?
	    0 : -1;
}

static int
test_teardown(void **state)
{
	(void)state;
	fn->close(ext);
	return munmap(area, AREA + (size_t)getpagesize());
}

static void
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
	dst[n + out->tail.len] = '\0';
}

static void
test_parse(const char *request, struct kvp_request *req)
{
	assert_true(fn->parse(ext, &client, (const uint8_t *)request,
	    strlen(request), req) > 0);
}

static bool
test_encode(struct kvp_conn *conn, const struct kvp_cmd *cmd,
    const struct kvp_key *key, char *asked)
{
	static uint8_t guarded[KVP_ROOM + KVP_KEY_MAX + 16];
	size_t room = KVP_ROOM + key->key.len;
	struct kvp_out out = { .dst = guarded, .room = room };

	memset(guarded, 0x5a, sizeof(guarded));
	if (!fn->encode(ext, conn, cmd, key, OPAQUE, &out))
		return false;
	assert_true(out.len <= room);
	assert_int_equal(guarded[room], 0x5a);
	test_flatten(&out, asked);
	return true;
}

static ssize_t
test_decode(struct kvp_conn *conn, const struct kvp_request *req,
    const char *reply, size_t len, struct kvp_reply *r)
{
	struct kvp_key key = { .key = req->key.key, .step = req->key.step };

	memset(r, 0xa5, sizeof(*r));
	return fn->decode(ext, conn, &req->cmd, &key, OPAQUE,
	    test_place(reply, len), len, r);
}

static void
test_describe(char *dst, ssize_t n, const struct kvp_reply *r)
{
	static const char *const class[] = {
		"hit", "miss", "stored", "not_stored", "error"
	};
	size_t len;

	if (n < 0) {
		strcpy(dst, "desync");
		return;
	}
	assert_true(r->class < LEN(class));
	len = (size_t)sprintf(dst, "%zd %s%s%s", n, class[r->class],
	    r->flags & KVP_REPLY_FATAL ? "+fatal" : "",
	    r->flags & KVP_REPLY_FAILED ? "+failed" : "");
	if (r->swallow > 0)
		sprintf(dst + len, " swallow=%llu",
		    (unsigned long long)r->swallow);
}

/* The reply as far as it has come, at every cut. */
static void
test_cuts(struct kvp_conn *conn, const struct kvp_request *req,
    const char *reply, ssize_t whole)
{
	struct kvp_reply r;
	ssize_t n;
	size_t len;

	for (len = 0; len < (whole < 0 ? strlen(reply) : (size_t)whole);
	    len++) {
		n = test_decode(conn, req, reply, len, &r);
		if (whole < 0 && n < 0)
			continue;
		assert_int_equal(n, 0);
		assert_true(r.need > len);
		assert_true(whole < 0 || r.need <= (size_t)whole);
	}
}

static void
test_answer(struct kvp_request *req, const struct kvp_reply *r, char *dst)
{
	uint8_t room[KVP_ROOM + KVP_KEY_MAX];
	struct kvp_out out = { .dst = room, .room = sizeof(room) };

	fn->render(ext, &client, &req->cmd, &req->key, req->note, r,
	    KVP_PART_ONLY, &out);
	assert_true(out.len <= sizeof(room));
	test_flatten(&out, dst);
}

static void
test_talk(struct kvp_conn *conn, const struct talk *t)
{
	char got[TEXT_MAX], longer[TEXT_MAX];
	struct kvp_request req;
	struct kvp_reply r;
	ssize_t n;

	test_parse(t->request, &req);
	assert_true(test_encode(conn, &req.cmd, &req.key, got));
	assert_string_equal(got, t->asked);

	sprintf(longer, "%sVA 9 O8\r\n", t->reply);
	n = test_decode(conn, &req, longer, strlen(longer), &r);
	test_describe(got, n, &r);
	assert_string_equal(got, t->outcome);
	n = test_decode(conn, &req, t->reply, strlen(t->reply), &r);
	test_describe(got, n, &r);
	assert_string_equal(got, t->outcome);
	test_answer(&req, &r, got);
	assert_string_equal(got, t->answered);
	test_cuts(conn, &req, t->reply, n);
}

static void
test_nonsense(struct kvp_conn *conn, const struct nonsense *t)
{
	struct kvp_request req;
	struct kvp_reply r;

	test_parse(t->request, &req);
	assert_true(test_decode(conn, &req, t->reply, strlen(t->reply), &r) <
	    0);
	test_cuts(conn, &req, t->reply, -1);
}

static void
backend_takes_meta_from_servers_that_speak_it(void **state)
{
	static const struct {
		const char	*answer;
		enum proto	 proto;
		struct kvp_conn	*like;	/* NULL: refused */
	} rows[] = {
		{ "VERSION 1.6.18\r\nMN\r\n", AUTO, &meta },
		{ "VERSION 1.6.18_3\r\nMN\r\n", AUTO, &meta },
		{ "VERSION 1.6.18 kvproxy-0.1.0\r\nMN\r\n", AUTO, &meta },
		{ "VERSION 1.6.100\r\nMN\r\n", AUTO, &meta },
		{ "VERSION 1.7\r\nMN\r\n", AUTO, &meta },
		{ "VERSION 2.0.0\r\nMN\r\n", AUTO, &meta },
		{ "VERSION 1.6.17\r\nMN\r\n", AUTO, &text },
		{ "VERSION 1.6\r\nMN\r\n", AUTO, &text },
		{ "VERSION 1.5.99\r\nERROR\r\n", AUTO, &text },
		{ "VERSION 0.9.9\r\nMN\r\n", AUTO, &text },
		{ "VERSION 1.6.18\r\nERROR\r\n", AUTO, &text },
		{ "VERSION anything\r\nERROR unknown\r\n", AUTO, &text },
		{ "VERSION anything\r\nCLIENT_ERROR what\r\n", AUTO, &text },
		{ "VERSION 1.6.18\r\n", TEXT, &text },
		{ "VERSION 1.6.9\r\nMN\r\n", META, &meta },
		{ "VERSION 1.6.18\r\nERROR\r\n", META, NULL },
		{ "VERSION 1.6.18\nMN\r\n", AUTO, NULL },
		{ "VERSION 1.6.18\r\nHD\r\n", AUTO, NULL },
		{ "HTTP/1.1 400 Bad Request\r\n\r\n", AUTO, NULL },
		{ "-ERR unknown command\r\n", AUTO, NULL },
		{ "\r\n\r\n", AUTO, NULL },
	};
	struct kvp_conn conn;
	size_t i, len, whole;
	ssize_t n;

	(void)state;
	for (i = 0; i < LEN(rows); i++) {
		whole = strlen(rows[i].answer);
		n = test_greeted(rows[i].proto, rows[i].answer, whole, &conn);
		if (rows[i].like == NULL)
			assert_true(n < 0);
		else {
			assert_int_equal(n, whole);
			assert_memory_equal(&conn, rows[i].like,
			    sizeof(conn));
		}
		for (len = 0; len < whole; len++) {
			n = test_greeted(rows[i].proto, rows[i].answer, len,
			    &conn);
			assert_true(n == 0 || (n < 0 && rows[i].like == NULL));
		}
	}
}

static void
meta_asks_and_is_answered(void **state)
{
	static const struct talk talks[] = {
		{ "get k\r\n", "mg k f v O7\r\n",
		  "VA 3 f5 O7\r\nabc\r\n", "17 hit",
		  "VALUE k 5 3\r\nabc\r\nEND\r\n" },
		{ "get k\r\n", "mg k f v O7\r\n",
		  "VA 0 O7 f0\r\n\r\n", "14 hit",
		  "VALUE k 0 0\r\n\r\nEND\r\n" },
		{ "get k\r\n", "mg k f v O7\r\n",
		  "VA 9 f4294967295 O7\r\n\r\nEND\r\nEN\r\n", "32 hit",
		  "VALUE k 4294967295 9\r\n\r\nEND\r\nEN\r\nEND\r\n" },
		{ "get k\r\n", "mg k f v O7\r\n", "EN O7\r\n", "7 miss",
		  "END\r\n" },
		{ "get k\r\n", "mg k f v O7\r\n", "EN\r\n", "4 miss",
		  "END\r\n" },
		{ "gets k\r\n", "mg k f c v O7\r\n",
		  "VA 1 f0 c18446744073709551615 O7\r\na\r\n", "37 hit",
		  "VALUE k 0 1 18446744073709551615\r\na\r\nEND\r\n" },
		{ "gat 100 k\r\n", "mg k f T100 v O7\r\n",
		  "VA 1 f0 O7 Z X\r\na\r\n", "19 hit",
		  "VALUE k 0 1\r\na\r\nEND\r\n" },
		{ "gats -9 k\r\n", "mg k f c T-1 v O7\r\n", "EN O7\r\n",
		  "7 miss", "END\r\n" },
		{ "touch k 0\r\n", "mg k T0 O7\r\n", "HD O7\r\n", "7 hit",
		  "TOUCHED\r\n" },
		{ "touch k 2147483648\r\n", "mg k T-1 O7\r\n", "EN\r\n",
		  "4 miss", "NOT_FOUND\r\n" },
		{ "touch k 1 noreply\r\n", "mg k T1 O7\r\n", "HD O7\r\n",
		  "7 hit", "" },
		{ "set k 0 0 3\r\nabc\r\n", "ms k 3 O7\r\nabc\r\n",
		  "HD O7\r\n", "7 stored", "STORED\r\n" },
		{ "set k 5 60 003\r\nabc\r\n", "ms k 3 F5 T60 O7\r\nabc\r\n",
		  "HD O7\r\n", "7 stored", "STORED\r\n" },
		{ "set k 0 -77 0 noreply\r\n\r\n",
		  "ms k 0 T-1 O7\r\n\r\n", "HD O7\r\n", "7 stored", "" },
		{ "add k 1 0 1\r\na\r\n", "ms k 1 ME F1 O7\r\na\r\n",
		  "NS O7\r\n", "7 not_stored", "NOT_STORED\r\n" },
		{ "replace k 0 4294967297 1\r\na\r\n",
		  "ms k 1 MR T1 O7\r\na\r\n", "NS O7\r\n", "7 not_stored",
		  "NOT_STORED\r\n" },
		{ "append k 3 9 1\r\na\r\n", "ms k 1 MA O7\r\na\r\n",
		  "HD O7\r\n", "7 stored", "STORED\r\n" },
		{ "prepend k 3 9 1\r\na\r\n", "ms k 1 MP O7\r\na\r\n",
		  "NS O7\r\n", "7 not_stored", "NOT_STORED\r\n" },
		{ "cas k 1 2 1 99\r\na\r\n", "ms k 1 C99 F1 T2 O7\r\na\r\n",
		  "EX O7\r\n", "7 not_stored", "EXISTS\r\n" },
		{ "cas k 0 0 1 99\r\na\r\n", "ms k 1 C99 O7\r\na\r\n",
		  "NF O7\r\n", "7 not_stored", "NOT_FOUND\r\n" },
		{ "cas k 0 0 1 99\r\na\r\n", "ms k 1 C99 O7\r\na\r\n",
		  "HD O7\r\n", "7 stored", "STORED\r\n" },
		{ "delete k\r\n", "md k O7\r\n", "HD O7\r\n", "7 stored",
		  "DELETED\r\n" },
		{ "delete k\r\n", "md k O7\r\n", "NF O7\r\n",
		  "7 not_stored", "NOT_FOUND\r\n" },
		{ "delete k noreply\r\n", "md k O7\r\n", "NF O7\r\n",
		  "7 not_stored", "" },
		{ "incr k 18446744073709551615\r\n",
		  "ma k v D18446744073709551615 O7\r\n",
		  "VA 2 O7\r\n12\r\n", "13 stored", "12\r\n" },
		{ "decr k 01\r\n", "ma k v D1 MD O7\r\n",
		  "VA 20 O7\r\n18446744073709551615\r\n", "32 stored",
		  "18446744073709551615\r\n" },
		{ "incr k 1\r\n", "ma k v D1 O7\r\n", "NF O7\r\n",
		  "7 not_stored", "NOT_FOUND\r\n" },
		{ "incr k 1 noreply\r\n", "ma k v D1 O7\r\n",
		  "VA 2 O7\r\n12\r\n", "13 stored", "" },
		{ "flush_all\r\n", "flush_all\r\n", "OK\r\n", "4 stored",
		  "OK\r\n" },
		{ "flush_all 0\r\n", "flush_all\r\n", "OK\r\n", "4 stored",
		  "OK\r\n" },
		{ "flush_all 30\r\n", "flush_all 30\r\n", "OK\r\n",
		  "4 stored", "OK\r\n" },
		{ "flush_all -5\r\n", "flush_all -1\r\n", "OK\r\n",
		  "4 stored", "OK\r\n" },
		{ "get " KEY_250 "\r\n", "mg " KEY_250 " f v O7\r\n",
		  "VA 1 f0 O7\r\na\r\n", "15 hit",
		  "VALUE " KEY_250 " 0 1\r\na\r\nEND\r\n" },
		{ "set k 0 0 4097\r\n", "md k O7\r\n", "HD O7\r\n",
		  "7 stored", TOO_LARGE },
		/* Such a store may not cost the old value where it fails. */
		{ "append k 0 0 3\r\nabc\r\n", "ms k 3 MA O7\r\nabc\r\n",
		  "NS O7\r\n", "7 not_stored", "NOT_STORED\r\n" },
		{ "set k 0 0 4097 noreply\r\n", "md k O7\r\n", "HD O7\r\n",
		  "7 stored", "" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < LEN(talks); i++)
		test_talk(&meta, &talks[i]);
}

static void
meta_passes_errors_on(void **state)
{
	static const struct talk talks[] = {
		{ "get k\r\n", "mg k f v O7\r\n",
		  "VA 3 f4294967296 O7\r\nabc\r\n", "26 error",
		  "SERVER_ERROR the value's flags are wider than 32 bits\r\n" },
		{ "get k\r\n", "mg k f v O7\r\n",
		  "SERVER_ERROR out of memory\r\n", "28 error",
		  "SERVER_ERROR out of memory\r\n" },
		{ "set k 0 0 1\r\na\r\n", "ms k 1 O7\r\na\r\n",
		  "SERVER_ERROR out of memory storing object\r\n",
		  "43 error",
		  "SERVER_ERROR out of memory storing object\r\n" },
		{ "incr k 1\r\n", "ma k v D1 O7\r\n",
		  NON_NUMERIC "\r\n", "62 error", NON_NUMERIC "\r\n" },
		{ "incr k 1 noreply\r\n", "ma k v D1 O7\r\n",
		  NON_NUMERIC "\r\n", "62 error", "" },
		{ "get k\r\n", "mg k f v O7\r\n",
		  NON_NUMERIC "\r\n", "62 error+fatal", NON_NUMERIC "\r\n" },
		{ "flush_all\r\n", "flush_all\r\n",
		  "CLIENT_ERROR flush_all not allowed\r\n", "36 error",
		  "CLIENT_ERROR flush_all not allowed\r\n" },
		{ "delete k\r\n", "md k O7\r\n",
		  "CLIENT_ERROR flush_all not allowed\r\n",
		  "36 error+fatal",
		  "CLIENT_ERROR flush_all not allowed\r\n" },
		{ "get k\r\n", "mg k f v O7\r\n", "ERROR\r\n",
		  "7 error+fatal", "ERROR\r\n" },
		{ "get k\r\n", "mg k f v O7\r\n",
		  "CLIENT_ERROR bad data chunk\r\n", "29 error+fatal",
		  "CLIENT_ERROR bad data chunk\r\n" },
		{ "get k\r\n", "mg k f v O7\r\n",
		  "ERROR Too many open connections\r\n", "33 error+fatal",
		  "ERROR Too many open connections\r\n" },
		{ "get k\r\n", "mg k f v O7\r\n",
		  "SERVER_ERROR a\x01" "b\r\n", "18 error",
		  "SERVER_ERROR the server's error is unreadable\r\n" },
		{ "set k 0 0 4097\r\n", "md k O7\r\n",
		  "SERVER_ERROR out of memory\r\n", "28 error", TOO_LARGE },
	};
	char reply[2000];
	const struct talk longest = {
		"get k\r\n", "mg k f v O7\r\n", reply, "1515 error",
		"SERVER_ERROR the server's error is unreadable\r\n"
	};
	size_t i;

	(void)state;
	for (i = 0; i < LEN(talks); i++)
		test_talk(&meta, &talks[i]);
	sprintf(reply, "SERVER_ERROR %01500d\r\n", 0);
	test_talk(&meta, &longest);
}

static void
meta_takes_what_cannot_be_for_a_desync(void **state)
{
	static const struct nonsense rows[] = {
		{ "get k\r\n", "VA 3 f5 O8\r\nabc\r\n" },
		{ "get k\r\n", "VA 3 f5\r\nabc\r\n" },
		{ "get k\r\n", "VA 3 O7\r\nabc\r\n" },
		{ "get k\r\n", "VA 3 f5 O07x\r\nabc\r\n" },
		{ "get k\r\n", "VA 3 f5 f5 O7\r\nabc\r\n" },
		{ "get k\r\n", "VA 3 f5 c1 O7\r\nabc\r\n" },
		{ "gets k\r\n", "VA 3 f5 O7\r\nabc\r\n" },
		{ "get k\r\n", "VA 3 f5 O7 O7\r\nabc\r\n" },
		{ "get k\r\n", "VA 3 f5 O7 Wx\r\nabc\r\n" },
		{ "get k\r\n", "VA 3 f5 O7 kk\r\nabc\r\n" },
		{ "get k\r\n", "VA 3  f5 O7\r\nabc\r\n" },
		{ "get k\r\n", "VA 3 f5 O7 \r\nabc\r\n" },
		{ "get k\r\n", "VA -1 f5 O7\r\n\r\n" },
		{ "get k\r\n", "VA +3 f5 O7\r\nabc\r\n" },
		{ "get k\r\n", "VA 3x f5 O7\r\nabc\r\n" },
		{ "get k\r\n", "VA f5 O7\r\nabc\r\n" },
		{ "get k\r\n", "VA 18446744073709551619 f5 O7\r\nabc\r\n" },
		{ "get k\r\n", "VA 1073741825 f5 O7\r\nabc\r\n" },
		{ "get k\r\n", "VA 3 f5 O7\r\nabcd\r\n" },
		{ "get k\r\n", "VA 3 f5 O7\nabc\r\n" },
		{ "get k\r\n", "VA\r\n" },
		{ "get k\r\n", "HD O7\r\n" },
		{ "get k\r\n", "EN O8\r\n" },
		{ "get k\r\n", "EN f5\r\n" },
		{ "get k\r\n", "EN f5 O7\r\n" },
		{ "get k\r\n", "END\r\n" },
		{ "get k\r\n", "ENDD\r\n" },
		{ "get k\r\n", "MN\r\n" },
		{ "get k\r\n", "OK\r\n" },
		{ "get k\r\n", "garbage\r\n" },
		{ "get k\r\n", "-1\r\n" },
		{ "get k\r\n", "\r\n" },
		{ "get k\r\n", "\n" },
		{ "get k\r\n", "SERVER_ERRORS\r\n" },
		{ "get k\r\n", "VALUE k 0 1\r\na\r\nEND\r\n" },
		{ "touch k 0\r\n", "HD\r\n" },
		{ "touch k 0\r\n", "VA 1 f0 O7\r\na\r\n" },
		{ "set k 0 0 1\r\na\r\n", "HD\r\n" },
		{ "set k 0 0 1\r\na\r\n", "HD O6\r\n" },
		{ "set k 0 0 1\r\na\r\n", "HD O7 W\r\n" },
		{ "set k 0 0 1\r\na\r\n", "EX O7\r\n" },
		{ "set k 0 0 1\r\na\r\n", "STORED\r\n" },
		{ "delete k\r\n", "NS O7\r\n" },
		{ "delete k\r\n", "NF\r\n" },
		{ "incr k 1\r\n", "HD O7\r\n" },
		{ "incr k 1\r\n", "VA 21 O7\r\n000000000000000000001\r\n" },
		{ "incr k 1\r\n", "VA 0 O7\r\n\r\n" },
		{ "incr k 1\r\n", "VA 2 O7\r\n1x\r\n" },
		{ "flush_all\r\n", "OK O7\r\n" },
		{ "flush_all\r\n", "HD O7\r\n" },
	};
	struct kvp_request req;
	struct kvp_reply r;
	char line[4096];
	size_t i;

	(void)state;
	for (i = 0; i < LEN(rows); i++)
		test_nonsense(&meta, &rows[i]);
	/* A line without an end. */
	memset(line, 'V', sizeof(line));
	test_parse("get k\r\n", &req);
	assert_int_equal(test_decode(&meta, &req, line, 2047, &r), 0);
	assert_true(test_decode(&meta, &req, line, 2048, &r) < 0);
}

static void
backend_swallows_a_value_that_is_too_large(void **state)
{
	static const struct talk in_meta = {
		"get k\r\n", "mg k f v O7\r\n", "VA 4097 f5 O7\r\n",
		"15 error swallow=4099",
		"SERVER_ERROR value larger than max_packet\r\n"
	};
	static const struct talk in_text = {
		"get k\r\n", "get k\r\n", "VALUE k 0 1073741824\r\n",
		"22 error swallow=1073741831",
		"SERVER_ERROR value larger than max_packet\r\n"
	};

	(void)state;
	test_talk(&meta, &in_meta);
	test_talk(&text, &in_text);
}

static void
backend_says_exactly_how_much_a_value_needs(void **state)
{
	struct kvp_request req;
	struct kvp_reply r;

	(void)state;
	test_parse("get k\r\n", &req);
	assert_int_equal(test_decode(&meta, &req, "VA 4096 f5 O7\r\nab", 17,
	    &r), 0);
	assert_int_equal(r.need, 15 + 4096 + 2);
	assert_int_equal(test_decode(&text, &req, "VALUE k 0 4096\r\n", 16,
	    &r), 0);
	assert_int_equal(r.need, 16 + 4096 + 7);
}

/* What meta asks for KEY. */
static bool
test_ask_key(struct kvp_conn *conn, const char *p, size_t len, char *asked)
{
	const struct kvp_key key = { .key = { (const uint8_t *)p, len } };
	struct kvp_request req;

	test_parse("get k\r\n", &req);
	return test_encode(conn, &req.cmd, &key, asked);
}

static void
meta_encodes_keys_that_cannot_stand_in_a_line(void **state)
{
	static const struct {
		const char	*key;
		size_t		 len;
		const char	*asked;
	} rows[] = {
		{ "a b", 3, "mg YSBi f v b O7\r\n" },
		{ "\0", 1, "mg AA== f v b O7\r\n" },
		{ "ab\n\xff", 4, "mg YWIK/w== f v b O7\r\n" },
		{ "longer than a word", 18,
		  "mg bG9uZ2VyIHRoYW4gYSB3b3Jk f v b O7\r\n" },
		{ "0123456\t\r\x01\x80\xff", 12,
		  "mg 0123456\t\r\x01\x80\xff f v O7\r\n" },
		{ "0123456789abcde ", 16,
		  "mg MDEyMzQ1Njc4OWFiY2RlIA== f v b O7\r\n" },
	};
	char key[251], asked[TEXT_MAX];
	size_t i;

	(void)state;
	for (i = 0; i < LEN(rows); i++) {
		assert_true(test_ask_key(&meta, rows[i].key, rows[i].len,
		    asked));
		assert_string_equal(asked, rows[i].asked);
		assert_int_equal(test_ask_key(&text, rows[i].key,
		    rows[i].len, asked), rows[i].key[0] == '0' &&
		    rows[i].len == 12);
	}
	memset(key, ' ', sizeof(key));
	assert_true(test_ask_key(&meta, key, 186, asked));
	assert_int_equal(strlen(asked), 3 + 248 + strlen(" f v b O7\r\n"));
	assert_false(test_ask_key(&meta, key, 187, asked));
	memset(key, 'k', sizeof(key));
	assert_true(test_ask_key(&meta, key, 250, asked));
	assert_false(test_ask_key(&meta, key, 251, asked));
	assert_false(test_ask_key(&meta, key, 0, asked));
	assert_false(test_ask_key(&text, key, 251, asked));
	assert_false(test_ask_key(&text, key, 0, asked));
}

static void
textback_asks_and_is_answered(void **state)
{
	static const struct talk talks[] = {
		{ "get k\r\n", "get k\r\n",
		  "VALUE k 5 3\r\nabc\r\nEND\r\n", "23 hit",
		  "VALUE k 5 3\r\nabc\r\nEND\r\n" },
		{ "get k\r\n", "get k\r\n",
		  "VALUE k 0 5\r\nEND\r\n\r\nEND\r\n", "25 hit",
		  "VALUE k 0 5\r\nEND\r\n\r\nEND\r\n" },
		{ "get k\r\n", "get k\r\n", "END\r\n", "5 miss", "END\r\n" },
		{ "gets k\r\n", "gets k\r\n",
		  "VALUE k 0 1 18446744073709551615\r\na\r\nEND\r\n",
		  "42 hit",
		  "VALUE k 0 1 18446744073709551615\r\na\r\nEND\r\n" },
		{ "gat 10 k\r\n", "gat 10 k\r\n",
		  "VALUE k 0 0\r\n\r\nEND\r\n", "20 hit",
		  "VALUE k 0 0\r\n\r\nEND\r\n" },
		{ "gats -4 k\r\n", "gats -1 k\r\n", "END\r\n", "5 miss",
		  "END\r\n" },
		{ "gat 10 k\r\n", "gat 10 k\r\n", "ERROR\r\n", "7 error",
		  "ERROR\r\n" },
		{ "touch k 0\r\n", "touch k 0\r\n", "TOUCHED\r\n", "9 hit",
		  "TOUCHED\r\n" },
		{ "touch k -1\r\n", "touch k -1\r\n", "NOT_FOUND\r\n",
		  "11 miss", "NOT_FOUND\r\n" },
		{ "touch k 0\r\n", "touch k 0\r\n", "ERROR\r\n", "7 error",
		  "ERROR\r\n" },
		{ "set k 5 60 3\r\nabc\r\n", "set k 5 60 3\r\nabc\r\n",
		  "STORED\r\n", "8 stored", "STORED\r\n" },
		{ "set k 0 0 0 noreply\r\n\r\n", "set k 0 0 0\r\n\r\n",
		  "STORED\r\n", "8 stored", "" },
		{ "add k 0 0 1\r\na\r\n", "add k 0 0 1\r\na\r\n",
		  "NOT_STORED\r\n", "12 not_stored", "NOT_STORED\r\n" },
		{ "replace k 0 0 1\r\na\r\n", "replace k 0 0 1\r\na\r\n",
		  "NOT_STORED\r\n", "12 not_stored", "NOT_STORED\r\n" },
		{ "append k 0 0 1\r\na\r\n", "append k 0 0 1\r\na\r\n",
		  "STORED\r\n", "8 stored", "STORED\r\n" },
		{ "prepend k 0 0 1\r\na\r\n", "prepend k 0 0 1\r\na\r\n",
		  "STORED\r\n", "8 stored", "STORED\r\n" },
		{ "cas k 1 -2 1 99\r\na\r\n", "cas k 1 -1 1 99\r\na\r\n",
		  "EXISTS\r\n", "8 not_stored", "EXISTS\r\n" },
		{ "cas k 0 0 1 99\r\na\r\n", "cas k 0 0 1 99\r\na\r\n",
		  "NOT_FOUND\r\n", "11 not_stored", "NOT_FOUND\r\n" },
		{ "delete k 0\r\n", "delete k\r\n", "DELETED\r\n",
		  "9 stored", "DELETED\r\n" },
		{ "delete k\r\n", "delete k\r\n", "NOT_FOUND\r\n",
		  "11 not_stored", "NOT_FOUND\r\n" },
		{ "incr k 5\r\n", "incr k 5\r\n", "12\r\n", "4 stored",
		  "12\r\n" },
		{ "decr k 5\r\n", "decr k 5\r\n", "NOT_FOUND\r\n",
		  "11 not_stored", "NOT_FOUND\r\n" },
		{ "incr k 5\r\n", "incr k 5\r\n", NON_NUMERIC "\r\n",
		  "62 error", NON_NUMERIC "\r\n" },
		{ "flush_all 10\r\n", "flush_all 10\r\n", "OK\r\n",
		  "4 stored", "OK\r\n" },
		{ "set k 0 0 1\r\na\r\n", "set k 0 0 1\r\na\r\n",
		  "ERROR\r\n", "7 error+fatal", "ERROR\r\n" },
		{ "get k\r\n", "get k\r\n", "ERROR\r\n", "7 error+fatal",
		  "ERROR\r\n" },
		{ "set k 0 0 4097\r\n", "delete k\r\n", "DELETED\r\n",
		  "9 stored", TOO_LARGE },
	};
	size_t i;

	(void)state;
	for (i = 0; i < LEN(talks); i++)
		test_talk(&text, &talks[i]);
}

static void
textback_takes_what_cannot_be_for_a_desync(void **state)
{
	static const struct nonsense rows[] = {
		{ "get k\r\n", "VALUE x 0 1\r\na\r\nEND\r\n" },
		{ "get k\r\n", "VALUE kk 0 1\r\na\r\nEND\r\n" },
		{ "get kk\r\n", "VALUE k 0 1\r\na\r\nEND\r\n" },
		{ "get k\r\n", "VALUE k 0 1 5\r\na\r\nEND\r\n" },
		{ "gets k\r\n", "VALUE k 0 1\r\na\r\nEND\r\n" },
		{ "get k\r\n", "VALUE k 0\r\na\r\nEND\r\n" },
		{ "get k\r\n", "VALUE k  0 1\r\na\r\nEND\r\n" },
		{ "get k\r\n", "VALUE k 0 -1\r\na\r\nEND\r\n" },
		{ "get k\r\n", "VALUE k 0 4294967293\r\na\r\nEND\r\n" },
		{ "get k\r\n", "VALUE k 0 1 \r\na\r\nEND\r\n" },
		{ "get k\r\n", "VALUE k 0 1\r\na\r\nENDD\r\n" },
		{ "get k\r\n", "VALUE k 0 1\r\nab\r\nEND\r\n" },
		{ "get k\r\n", "VALUE k 0 1\r\na\r\nVALUE k 0 1\r\n" },
		{ "get k\r\n", "VALUE \r\n" },
		{ "get k\r\n", "STORED\r\n" },
		{ "get k\r\n", "ENDD\r\n" },
		{ "get k\r\n", "END \r\n" },
		{ "get k\r\n", "\r\n" },
		{ "set k 0 0 1\r\na\r\n", "END\r\n" },
		{ "set k 0 0 1\r\na\r\n", "EXISTS\r\n" },
		{ "set k 0 0 1\r\na\r\n", "12\r\n" },
		{ "delete k\r\n", "TOUCHED\r\n" },
		{ "touch k 0\r\n", "DELETED\r\n" },
		{ "incr k 1\r\n", "-1\r\n" },
		{ "incr k 1\r\n", "1x\r\n" },
		{ "incr k 1\r\n", "18446744073709551616\r\n" },
		{ "incr k 1\r\n", "000000000000000000001\r\n" },
		{ "incr k 1\r\n", "STORED\r\n" },
		{ "flush_all\r\n", "12\r\n" },
		{ "set k 0 0 4097\r\n", "STORED\r\n" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < LEN(rows); i++)
		test_nonsense(&text, &rows[i]);
}

/* What the reply to CMD with KEY calls for; a further command, which becomes
 * CMD, is written to ASKED. */
static unsigned
test_follow(struct kvp_conn *conn, struct kvp_request *req, const char *reply,
    char *asked)
{
	struct kvp_reply r;
	struct kvp_cmd next;
	unsigned what;

	assert_int_equal(test_decode(conn, req, reply, strlen(reply), &r),
	    strlen(reply));
	what = fn->follow(ext, &req->cmd, &req->key, &r, &next);
	asked[0] = '\0';
	if ((what & KVP_FOLLOW_ASIDE) == 0)
		return what;
	assert_int_equal(next.class, KVP_WRITE);
	req->key.step = 0;
	req->cmd = next;
	assert_true(test_encode(conn, &next, &req->key, asked));
	assert_false(test_encode(&text, &next, &req->key, asked + 100));
	return what;
}

static void
meta_gives_back_a_recache_token(void **state)
{
	static const struct {
		const char	*request;
		unsigned	 step;
		const char	*reply;
		unsigned	 what;
		const char	*asked;
	} rows[] = {
		{ "get k\r\n", 0, "VA 1 f0 O7 X W\r\na\r\n",
		  KVP_FOLLOW_ASIDE | KVP_FOLLOW_AGAIN, "mg k c O7\r\n" },
		{ "gat 9 k\r\n", 0, "VA 1 f0 O7 X W\r\na\r\n",
		  KVP_FOLLOW_ASIDE | KVP_FOLLOW_AGAIN, "mg k c O7\r\n" },
		{ "touch k 9\r\n", 0, "HD O7 X W\r\n",
		  KVP_FOLLOW_ASIDE | KVP_FOLLOW_AGAIN, "mg k c O7\r\n" },
		{ "get k\r\n", 0, "VA 1 f0 O7 Z X\r\na\r\n",
		  KVP_FOLLOW_NONE, "" },
		/* The CAS that it brings is void then. */
		{ "gets k\r\n", 0, "VA 1 f0 c5 O7 X W\r\na\r\n",
		  KVP_FOLLOW_ASIDE | KVP_FOLLOW_AGAIN, "md k C5 I O7\r\n" },
		{ "gats 9 k\r\n", 0, "VA 1 f0 c5 O7 X W\r\na\r\n",
		  KVP_FOLLOW_ASIDE | KVP_FOLLOW_AGAIN, "md k C5 I O7\r\n" },
		{ "gets k\r\n", 1, "VALUE k 0 1 6\r\na\r\nEND\r\n",
		  KVP_FOLLOW_NONE, "" },
		{ "set k 0 0 1\r\na\r\n", 0, "HD O7\r\n",
		  KVP_FOLLOW_NONE, "" },
		/* Also with a value that is too large to be shown. */
		{ "get k\r\n", 0, "VA 4097 f0 O7 X W\r\n",
		  KVP_FOLLOW_ASIDE, "mg k c O7\r\n" },
		/* A meta client knows what to do with it. */
		{ "mg k f v\r\n", 0, "VA 1 f0 O7 X W\r\na\r\n",
		  KVP_FOLLOW_NONE, "" },
	};
	struct kvp_request req;
	char asked[TEXT_MAX];
	size_t i;

	(void)state;
	for (i = 0; i < LEN(rows); i++) {
		test_parse(rows[i].request, &req);
		req.key.step = rows[i].step;
		assert_int_equal(test_follow(&meta, &req, rows[i].reply,
		    asked), rows[i].what);
		assert_string_equal(asked, rows[i].asked);
	}
	test_parse("get k\r\n", &req);
	assert_int_equal(test_follow(&text, &req,
	    "VALUE k 0 1\r\na\r\nEND\r\n", asked), KVP_FOLLOW_NONE);
}

/* What was written since is not stale. */
static void
meta_gives_back_what_is_stale_still(void **state)
{
	static const char *const seen[] = {
		"HD c9 O7\r\n", "EN O7\r\n", "HD c9 O7 X Z\r\n"
	};
	static const char *const replies[] = {
		"HD O7\r\n", "NF O7\r\n", "EX O7\r\n"
	};
	struct kvp_request req;
	char asked[TEXT_MAX];
	size_t i;

	(void)state;
	for (i = 0; i < LEN(seen); i++) {
		test_parse("get k\r\n", &req);
		test_follow(&meta, &req, "VA 1 f0 O7 X W\r\na\r\n", asked);
		assert_int_equal(test_follow(&meta, &req, seen[i], asked),
		    i < 2 ? KVP_FOLLOW_NONE : KVP_FOLLOW_ASIDE);
	}
	assert_string_equal(asked, "md k C9 I O7\r\n");
	for (i = 0; i < LEN(replies); i++)
		assert_int_equal(test_follow(&meta, &req, replies[i], asked),
		    KVP_FOLLOW_NONE);
}

static void
meta_asks_classic_for_a_read_that_is_repeated(void **state)
{
	static const char *const rows[][2] = {
		{ "get k\r\n", "get k\r\n" },
		{ "gets k\r\n", "gets k\r\n" },
		{ "gat 9 k\r\n", "get k\r\n" },
		{ "gats 9 k\r\n", "gets k\r\n" },
		{ "touch k 9\r\n", "touch k 9\r\n" },
	};
	struct kvp_request req;
	char asked[TEXT_MAX];
	size_t i;

	(void)state;
	for (i = 0; i < LEN(rows); i++) {
		test_parse(rows[i][0], &req);
		req.key.step = 1;
		assert_true(test_encode(&meta, &req.cmd, &req.key, asked));
		assert_string_equal(asked, rows[i][1]);
	}
}

/* Render PART of REQ's answer behind what is at DST. */
static void
test_part(struct kvp_request *req, const struct kvp_key *key,
    const char *reply, enum kvp_part part, char *dst)
{
	uint8_t room[KVP_ROOM + KVP_KEY_MAX];
	struct kvp_out out = { .dst = room, .room = sizeof(room) };
	struct kvp_reply r;

	if (reply != NULL)
		assert_int_equal(test_decode(&meta, req, reply,
		    strlen(reply), &r), strlen(reply));
	fn->render(ext, &client, &req->cmd, key, req->note,
	    reply != NULL ? &r : NULL, part, &out);
	test_flatten(&out, dst + strlen(dst));
}

/* The answer to REQUEST where the servers say these things. */
static void
test_parts(const char *request, const char *const *replies, size_t n,
    const char *answered)
{
	struct kvp_request req;
	uint8_t room[KVP_KEY_MAX];
	struct kvp_key key = { .key = { NULL, 0 } };
	char got[TEXT_MAX] = "";
	size_t at = 0, i;

	test_parse(request, &req);
	test_part(&req, NULL, NULL, KVP_PART_BEGIN, got);
	for (i = 0; i < n; i++) {
		if (req.cmd.flags & KVP_CMD_MANY)
			assert_true(fn->next_key(ext, &req.cmd, req.keys,
			    &at, &key, room));
		test_part(&req, &key, replies[i], KVP_PART_ITEM, got);
	}
	test_part(&req, NULL, NULL, KVP_PART_END, got);
	assert_string_equal(got, answered);
}

static void
text_joins_the_answers_of_many(void **state)
{
	static const char *const values[] = {
		"VA 1 f5 O7\r\na\r\n", "EN\r\n", "VA 0 f0 O7\r\n\r\n"
	};
	static const char *const one_fails[] = {
		"VA 1 f5 O7\r\na\r\n", "SERVER_ERROR no\r\n"
	};
	static const char *const misses[] = { "EN\r\n", "EN O7\r\n" };
	static const char *const oks[] = { "OK\r\n", "OK\r\n" };
	static const char *const denied[] = {
		"OK\r\n", "CLIENT_ERROR flush_all not allowed\r\n", "OK\r\n"
	};
	static const char *const worst[] = {
		"SERVER_ERROR no\r\n",
		"CLIENT_ERROR flush_all not allowed\r\n", "OK\r\n"
	};

	(void)state;
	test_parts("get a b c\r\n", values, 3,
	    "VALUE a 5 1\r\na\r\nVALUE c 0 0\r\n\r\nEND\r\n");
	test_parts("get a b\r\n", misses, 2, "END\r\n");
	test_parts("get a b\r\n", one_fails, 2,
	    "VALUE a 5 1\r\na\r\nSERVER_ERROR a server failed\r\n");
	test_parts("flush_all\r\n", oks, 2, "OK\r\n");
	test_parts("flush_all\r\n", denied, 3,
	    "CLIENT_ERROR flush_all not allowed\r\n");
	test_parts("flush_all\r\n", worst, 3,
	    "SERVER_ERROR a server failed\r\n");
	test_parts("flush_all noreply\r\n", worst, 3, "");
}

static void
text_renders_a_bare_miss(void **state)
{
	const struct kvp_reply miss = { .class = KVP_REPLY_MISS };
	struct kvp_request req;
	char got[TEXT_MAX];

	(void)state;
	test_parse("gets k\r\n", &req);
	test_answer(&req, &miss, got);
	assert_string_equal(got, "END\r\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    backend_takes_meta_from_servers_that_speak_it),
		cmocka_unit_test(meta_asks_and_is_answered),
		cmocka_unit_test(meta_passes_errors_on),
		cmocka_unit_test(meta_takes_what_cannot_be_for_a_desync),
		cmocka_unit_test(backend_swallows_a_value_that_is_too_large),
		cmocka_unit_test(backend_says_exactly_how_much_a_value_needs),
		cmocka_unit_test(
		    meta_encodes_keys_that_cannot_stand_in_a_line),
		cmocka_unit_test(textback_asks_and_is_answered),
		cmocka_unit_test(textback_takes_what_cannot_be_for_a_desync),
		cmocka_unit_test(meta_gives_back_a_recache_token),
		cmocka_unit_test(meta_gives_back_what_is_stale_still),
		cmocka_unit_test(meta_asks_classic_for_a_read_that_is_repeated),
		cmocka_unit_test(text_joins_the_answers_of_many),
		cmocka_unit_test(text_renders_a_bare_miss),
	};

	return cmocka_run_group_tests(tests, test_setup, test_teardown);
}
