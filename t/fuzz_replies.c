/*
 * fuzz_replies.c: a server's stream.  Its first byte says what the server has
 * been asked, again and again until the stream ends: a row of fuzz_asked, or
 * the greeting.
 */
#include "t/fuzz.h"

#include <string.h>

enum {
	CODES = 64,		/* of the first byte; rows are but added */
	GREETINGS = 60,		/* the last codes: auto, meta, text */
	BINARY_MAGIC = 0x80
};

#define BYTES(str)	{ (const uint8_t *)(str), sizeof(str) - 1 }
#define ROW(str)	{ BYTES(str), KVP_FOLLOW_NONE }
/* What comes when the server gave a recache token. */
#define ASIDE(str)	{ BYTES(str), KVP_FOLLOW_ASIDE }
#define AGAIN(str)	{ BYTES(str), KVP_FOLLOW_AGAIN }

#define KEY_50	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define KEY_250	KEY_50 KEY_50 KEY_50 KEY_50 KEY_50

/* A binary header: the opcode, and as text of one byte each the lengths of
 * key, extras and body, which are short. */
#define BINARY(op, key, extras, body) \
	"\x80" op "\0" key extras "\0\0\0\0\0\0" body "opaq\0\0\0\0\0\0\0\0"

/* As clients ask.  What one dialect or the other has no word for, and what no
 * server is asked, ends at once. */
static const struct {
	struct kvp_slice request;
	unsigned	 follow;	/* enum kvp_follow */
} fuzz_asked[] = {
	ROW("get k\r\n"),
	ROW("gets k\r\n"),
	ROW("gat 10 k\r\n"),
	ROW("gats 10 k\r\n"),
	ROW("get k l\r\n"),
	ROW("gets k l\r\n"),
	ROW("set k 5 0 2\r\nhi\r\n"),
	ROW("add k 0 10 2\r\nhi\r\n"),
	ROW("replace k 0 -1 2\r\nhi\r\n"),
	ROW("append k 0 0 2\r\nhi\r\n"),
	ROW("prepend k 0 0 2\r\nhi\r\n"),
	ROW("cas k 0 0 2 9\r\nhi\r\n"),
	ROW("delete k\r\n"),
	ROW("incr k 1\r\n"),
	ROW("decr k 1\r\n"),
	ROW("touch k 10\r\n"),
	ROW("flush_all\r\n"),
	ROW("flush_all 10\r\n"),
	ROW("set k 0 0 2000\r\n"),
	ROW("set k 0 0 2 noreply\r\nhi\r\n"),
	ROW("incr k 1 noreply\r\n"),
	ROW("get " KEY_250 "\r\n"),
	ROW("gets " KEY_250 "\r\n"),
	ROW("get k\001\r\r\n"),
	ASIDE("get k\r\n"),
	ASIDE("gat 10 k\r\n"),
	ROW("gat 10 k l\r\n"),
	ROW("gats 10 k l\r\n"),
	/* Meta. */
	ROW("mg k\r\n"),
	ROW("mg k v\r\n"),
	ROW("mg k O9 k f v c t s h l q\r\n"),
	ROW("mg a2Ug v b k\r\n"),
	ROW("mg k N30 R10 t v\r\n"),
	ROW("ms k 2\r\nhi\r\n"),
	ROW("ms k 2 O9 k c C5 I q\r\nhi\r\n"),
	ROW("ms a2Ug 2 b k MA\r\nhi\r\n"),
	ROW("md k\r\n"),
	ROW("md k I T30 O9 k q\r\n"),
	ROW("ma k\r\n"),
	ROW("ma k N0 J5 D2 MD v t c k O9 q\r\n"),
	ROW("me k\r\n"),
	/* Binary: get, getq, getk, set, setq, add, delete, increment,
	 * append, flush, touch, gat, gatkq. */
	ROW(BINARY("\x00", "\1", "\0", "\1") "k"),
	ROW(BINARY("\x09", "\1", "\0", "\1") "k"),
	ROW(BINARY("\x0c", "\1", "\0", "\1") "k"),
	ROW(BINARY("\x01", "\1", "\x08", "\x0b") "flagtimekhi"),
	ROW(BINARY("\x11", "\1", "\x08", "\x0b") "flagtimekhi"),
	ROW(BINARY("\x02", "\1", "\x08", "\x0b") "flagtimekhi"),
	ROW(BINARY("\x04", "\1", "\0", "\1") "k"),
	ROW(BINARY("\x05", "\1", "\x14", "\x15")
	    "\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\5\0\0\0\0k"),
	ROW(BINARY("\x0e", "\1", "\0", "\3") "khi"),
	ROW(BINARY("\x08", "\0", "\0", "\0")),
	ROW(BINARY("\x1c", "\1", "\4", "\5") "\0\0\0\x0ak"),
	ROW(BINARY("\x1d", "\1", "\4", "\5") "\0\0\0\x0ak"),
	ROW(BINARY("\x24", "\1", "\4", "\5") "\0\0\0\x0ak"),
	/* Asked again, and aside. */
	AGAIN("gets k\r\n"),
	AGAIN("gats 10 k\r\n"),
	AGAIN("gets " KEY_250 " k\r\n"),
	AGAIN(BINARY("\x1d", "\1", "\4", "\5") "\0\0\0\x0ak"),
	ASIDE("gets k\r\n"),
};

_Static_assert(sizeof(fuzz_asked) / sizeof(fuzz_asked[0]) <= GREETINGS,
    "every row has a code");

static const struct kvp_ext *const fn = &kvp_extension;

static ssize_t
fuzz_read_reply(struct fuzz_talk *t, const uint8_t *p, size_t len, bool deep,
    struct fuzz_found *found)
{
	const struct kvp_request *req = t->asked;
	struct kvp_reply r;
	ssize_t n;

	t->backend = t->conn;
	n = fuzz_decode(t, &req->cmd, &req->key, p, len, &r);
	t->conn = t->backend;
	if (n == 0)
		found->need = r.need;
	if (n <= 0)
		return n;
	fuzz_digest(&found->digest, &r.class, sizeof(r.class));
	fuzz_digest(&found->digest, &r.flags, sizeof(r.flags));
	fuzz_digest_slice(&found->digest, r.body);
	found->swallow = r.swallow;
	found->last = (r.flags & KVP_REPLY_FATAL) != 0;
	if (deep)
		fuzz_answer(t, &req->cmd, &req->key, req->note, &r,
		    &found->deep_digest);
	return n;
}

static ssize_t
fuzz_read_greeting(struct fuzz_talk *t, const uint8_t *p, size_t len,
    bool deep, struct fuzz_found *found)
{
	ssize_t n = fn->greeted(t->ext, &t->conn, p, len);

	(void)deep;
	found->need = len + 1;
	found->last = true;
	return n;
}

/* T's server gave a recache token, which called for WHAT. */
static bool
fuzz_follow(struct fuzz_talk *t, unsigned what)
{
	static const struct kvp_slice won[] = {
		BYTES("VA 2 f0 W O7\r\nhi\r\n"),
		BYTES("VA 2 f0 c5 W O7\r\nhi\r\n")
	};
	struct kvp_request *req = t->asked;
	struct kvp_reply r;
	struct kvp_cmd next;
	size_t i;

	for (i = 0; i < FUZZ_LEN(won); i++)
		if (fuzz_decode(t, &req->cmd, &req->key, won[i].p, won[i].len,
		    &r) > 0)
			break;
	if (i == FUZZ_LEN(won) || (fn->follow(t->ext, &req->cmd, &req->key,
	    &r, &next) & what) == 0)
		return false;
	if (what == KVP_FOLLOW_ASIDE)
		req->cmd = next;
	else
		req->key.step++;
	return true;
}

/* Make T a server that has been asked row CODE.  False: none is. */
static bool
fuzz_ask_row(struct fuzz_talk *t, unsigned code)
{
	struct kvp_slice bytes = fuzz_asked[code].request;
	struct kvp_request *req = t->asked;
	uint8_t room[KVP_KEY_MAX];
	size_t at = 0;

	*req = (struct kvp_request){ .cmd = { .class = KVP_LOCAL } };
	t->binary = bytes.p[0] == BINARY_MAGIC;
	if (fn->parse(t->ext, &t->client, bytes.p, bytes.len, req) <= 0 ||
	    req->cmd.class == KVP_LOCAL)
		return false;
	if (req->cmd.flags & KVP_CMD_MANY &&
	    (!fn->next_key(t->ext, &req->cmd, req->keys, &at, &req->key,
	    room) || !fuzz_is_static(req->key.key)))
		return false;
	if (fuzz_asked[code].follow != KVP_FOLLOW_NONE &&
	    !fuzz_follow(t, fuzz_asked[code].follow))
		return false;
	return fuzz_encode(t, &req->cmd, &req->key).p != NULL;
}

void
fuzz_replies(enum fuzz_backend kind, const uint8_t *p, size_t len)
{
	static void *service, *greeted[CODES - GREETINGS];
	struct kvp_request asked;
	struct fuzz_talk t = { .read = fuzz_read_reply, .asked = &asked };
	unsigned code, i;

	if (service == NULL) {
		service = fuzz_open(FUZZ_SMALL_VALUE, true, NULL, 0);
		for (i = 0; i < FUZZ_LEN(greeted); i++)
			greeted[i] = fuzz_open(FUZZ_SMALL_VALUE, true,
			    "backend_proto", i % 3);
	}
	if (len == 0 || len > FUZZ_INPUT_MAX)
		return;
	code = *p++ % CODES;
	len--;
	t.ext = service;
	t.backend = fuzz_greeted(service, kind);
	if (code >= GREETINGS) {
		t.ext = greeted[code - GREETINGS];
		t.read = fuzz_read_greeting;
	} else if (code >= FUZZ_LEN(fuzz_asked) || !fuzz_ask_row(&t, code))
		return;
	else
		t.conn = t.backend;
	fuzz_stream(&t, p, len);
}
