/*
 * fuzz_command.c: a client's stream, and all that becomes of a request: asked
 * in every dialect, answered by whatever a server could say, failed.
 */
#include "t/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	KEYS_MAX = 2,		/* of many, so many are asked */
	CANNED_MAX = 4096,
	STEPS_MAX = 4,		/* what is asked again comes to an end, */
	ASIDE_MAX = 4,		/* and so does what is asked aside */
	LONG_NAME = 600,	/* longer than a host's or a counter's */
	BINARY_MAGIC = 0x80
};

static const struct kvp_ext *const fn = &kvp_extension;
static const struct kvp_slice fuzz_no_slice;

static void fuzz_ask(struct fuzz_talk *t, const struct kvp_cmd *cmd,
    const struct kvp_key *key, struct kvp_slice note, uint64_t *digest);

static void
fuzz_digest_num(uint64_t *digest, uint64_t n)
{
	fuzz_digest(digest, &n, sizeof(n));
}

static bool
fuzz_is_equal(struct kvp_slice a, struct kvp_slice b)
{
	return a.len == b.len && (a.len == 0 ||
	    memcmp(a.p, b.p, a.len) == 0);
}

/*
 * Servers.
 */

/* A server is asked nothing but what a client could ask: requests for the
 * same key, the first of them with the same value. */
static void
fuzz_check_asked(const struct kvp_key *key, struct kvp_slice asked)
{
	static void *service;
	struct kvp_conn conn = { { 0, 0 } };
	struct kvp_slice body = key->body;
	struct kvp_request req;
	ssize_t n;

	if (service == NULL)
		service = fuzz_open(FUZZ_INPUT_MAX, true, NULL, 0);
	for (; asked.len > 0; asked.p += n, asked.len -= (size_t)n) {
		memset(&req, fuzz_filler(), sizeof(req));
		n = fn->parse(service, &conn, asked.p, asked.len, &req);
		FUZZ_CHECK(n > 0 && (req.cmd.flags & KVP_CMD_BAD) == 0);
		FUZZ_CHECK(req.cmd.class < KVP_LOCAL && req.swallow == 0);
		if (req.cmd.class == KVP_EVERY)
			continue;
		FUZZ_CHECK(fuzz_is_equal(req.key.key, key->key));
		FUZZ_CHECK(req.key.body.len == 0 || body.p == NULL ||
		    fuzz_is_equal(req.key.body, body));
		body.p = NULL;
	}
}

struct kvp_slice
fuzz_encode(struct fuzz_talk *t, const struct kvp_cmd *cmd,
    const struct kvp_key *key)
{
	struct fuzz_part part;
	struct kvp_slice asked;

	fuzz_part_begin(&part, key->key.len);
	part.given[0] = key->key;
	part.given[1] = key->body;
	if (!fn->encode(t->ext, &t->backend, cmd, key, FUZZ_OPAQUE,
	    &part.out))
		return fuzz_no_slice;
	fuzz_part_end(&part);
	asked = fuzz_answer_take();
	FUZZ_CHECK(asked.len > 0);
	fuzz_check_asked(key, asked);
	return asked;
}

ssize_t
fuzz_decode(struct fuzz_talk *t, const struct kvp_cmd *cmd,
    const struct kvp_key *key, const uint8_t *p, size_t len,
    struct kvp_reply *r)
{
	const struct kvp_key bare = { .key = key->key, .step = key->step };
	ssize_t n;

	memset(r, fuzz_filler(), sizeof(*r));
	n = fn->decode(t->ext, &t->backend, cmd, &bare, FUZZ_OPAQUE, p, len,
	    r);
	FUZZ_CHECK(n <= (ssize_t)len);
	if (n <= 0)
		return n;
	FUZZ_CHECK(r->class <= KVP_REPLY_ERROR);
	FUZZ_CHECK((r->flags & ~(KVP_REPLY_FATAL | KVP_REPLY_FAILED |
	    KVP_REPLY_FOLLOW)) == 0);
	FUZZ_CHECK(fuzz_is_within(r->body, p, (size_t)n) ||
	    fuzz_is_static(r->body));
	return n;
}

/*
 * Answers.
 */

/* Everything that stands written is one answer. */
static void
fuzz_end_answer(const struct fuzz_talk *t, uint64_t *digest)
{
	struct kvp_slice answer = fuzz_answer_take();

	if (t->binary)
		fuzz_check_frames(answer.p, answer.len);
	else
		fuzz_check_lines(answer.p, answer.len);
	fuzz_digest_slice(digest, answer);
}

static void
fuzz_render(struct fuzz_talk *t, struct kvp_cmd *cmd,
    const struct kvp_key *key, struct kvp_slice note,
    const struct kvp_reply *r, enum kvp_part which)
{
	struct fuzz_part part;

	fuzz_part_begin(&part, note.len + (key != NULL ? key->key.len : 0));
	part.given[0] = note;
	part.given[1] = key != NULL ? key->key : fuzz_no_slice;
	part.given[2] = r != NULL ? r->body : fuzz_no_slice;
	fn->render(t->ext, &t->client, cmd, key, note, r, which, &part.out);
	fuzz_part_end(&part);
}

static void
fuzz_fail(struct fuzz_talk *t, struct kvp_cmd *cmd, struct kvp_slice note,
    enum kvp_fail why, const char *host)
{
	struct fuzz_part part;

	fuzz_part_begin(&part, note.len);
	part.given[0] = note;
	fn->fail(t->ext, &t->client, cmd, note, why, host, &part.out);
	fuzz_part_end(&part);
}

/* The answer of one leg, which may be one of several; of those, a later one
 * may fail. */
static void
fuzz_render_whole(struct fuzz_talk *t, const struct kvp_cmd *cmd,
    const struct kvp_key *key, struct kvp_slice note,
    const struct kvp_reply *r, uint64_t *digest)
{
	const struct kvp_key bare = { .key = key->key };
	bool many = (cmd->flags & KVP_CMD_MANY) != 0, fails;
	struct kvp_cmd work = *cmd;
	unsigned i;

	if (!many && cmd->class != KVP_EVERY) {
		fuzz_render(t, &work, &bare, note, r, KVP_PART_ONLY);
		fuzz_end_answer(t, digest);
		return;
	}
	for (i = 0; i < 2; i++) {
		fails = many && i == 1;
		work = *cmd;
		if (many)
			fuzz_render(t, &work, NULL, note, NULL,
			    KVP_PART_BEGIN);
		fuzz_render(t, &work, &bare, note, r, KVP_PART_ITEM);
		if (fails)
			fuzz_fail(t, &work, note, KVP_FAIL_TIMEOUT, NULL);
		else
			fuzz_render(t, &work, NULL, note, NULL, KVP_PART_END);
		fuzz_end_answer(t, digest);
	}
}

static void
fuzz_encode_copy(struct fuzz_talk *t, const struct kvp_cmd *copy,
    const struct kvp_key *key, uint64_t *digest)
{
	FUZZ_CHECK(copy->class != KVP_LOCAL);
	fuzz_digest_slice(digest, fuzz_encode(t, copy, key));
}

/* What the backup is told, at once and late. */
static void
fuzz_copy(struct fuzz_talk *t, const struct kvp_cmd *cmd,
    const struct kvp_key *key, enum kvp_outcome outcome,
    const struct kvp_reply *r, uint64_t *digest)
{
	static const uint32_t waited[] = { 0, 9, UINT32_MAX };
	struct kvp_cmd copy;
	size_t i;

	for (i = 0; i < FUZZ_LEN(waited); i++) {
		if (!fn->effect(t->ext, cmd, key, outcome, r, &copy))
			return;
		if (waited[i] > 0)
			fn->age(t->ext, &copy, waited[i]);
		fuzz_encode_copy(t, &copy, key, digest);
	}
}

void
fuzz_answer(struct fuzz_talk *t, const struct kvp_cmd *cmd,
    const struct kvp_key *key, struct kvp_slice note,
    const struct kvp_reply *r, uint64_t *digest)
{
	const struct kvp_key first = { .key = key->key, .body = key->body };
	unsigned what = KVP_FOLLOW_NONE;
	struct kvp_key again = *key;
	struct kvp_cmd next;

	fuzz_digest_num(digest, r->class);
	if (r->flags & KVP_REPLY_FOLLOW)
		what = fn->follow(t->ext, cmd, key, r, &next);
	if (what & KVP_FOLLOW_ASIDE) {
		FUZZ_CHECK(++t->aside < ASIDE_MAX);
		fuzz_ask(t, &next, &first, fuzz_no_slice, digest);
		t->aside--;
	}
	if (t->aside > 0)
		return;
	if (what & KVP_FOLLOW_AGAIN) {
		FUZZ_CHECK(cmd->class != KVP_EVERY && key->body.len == 0);
		FUZZ_CHECK(++again.step < STEPS_MAX);
		fuzz_ask(t, cmd, &again, note, digest);
		return;
	}
	fuzz_render_whole(t, cmd, key, note, r, digest);
	fuzz_copy(t, cmd, &first, KVP_OUTCOME_REPLY, r, digest);
}

/* CMD failed for each reason there is. */
static void
fuzz_fail_all(struct fuzz_talk *t, const struct kvp_cmd *cmd,
    struct kvp_slice note, uint64_t *digest)
{
	char long_host[LONG_NAME + 1];
	const char *const hosts[] = { NULL, "127.0.0.1:11211", long_host };
	struct kvp_cmd work;
	unsigned why;
	size_t i;

	memset(long_host, 'h', LONG_NAME);
	long_host[LONG_NAME] = '\0';
	for (why = KVP_FAIL_NO_HOST; why <= KVP_FAIL_BACKUP; why++)
		for (i = 0; i < FUZZ_LEN(hosts); i++) {
			work = *cmd;
			fuzz_fail(t, &work, note, (enum kvp_fail)why,
			    hosts[i]);
			fuzz_end_answer(t, digest);
		}
}

/*
 * What a server could say.
 */

/* %k: the key; %f: the flags that a meta request asked to have back. */
static const char *const fuzz_canned[] = {
	"HD%f", "EN", "EN%f", "NF%f", "NS%f", "EX%f", "HD%f W", "HD%f X",
	"VA 2%f\r\nhi", "VA 0%f W\r\n", "VA 1%f\r\n5", "VA 2%f X Z\r\nhi",
	"VA 2000%f\r\n", "MN", "OK", "END", "STORED", "NOT_STORED", "EXISTS",
	"NOT_FOUND", "DELETED", "TOUCHED", "5", "18446744073709551615",
	"5\r\nNOT_STORED", "NOT_FOUND\r\nSTORED", "NOT_FOUND\r\nNOT_STORED",
	"NOT_FOUND\r\nSERVER_ERROR out of memory storing object",
	"VALUE %k 1 2\r\nhi\r\nEND", "VALUE %k 1 2 77\r\nhi\r\nEND",
	"VALUE %k 4294967295 2000",
	"SERVER_ERROR out of memory storing object", "SERVER_ERROR",
	"CLIENT_ERROR cannot increment or decrement non-numeric value",
	"CLIENT_ERROR flush_all not allowed", "CLIENT_ERROR \001", "ERROR"
};

/* What comes back for the flags of the line ASKED. */
static void
fuzz_put_flags(char *dst, struct kvp_slice asked)
{
	static const char *const values[] = {
		"f9", "c77", "t30", "s2", "h1", "l3", "b"
	};
	const char *p = (const char *)asked.p, *end;
	size_t len = 0, word, i;
	const char *key = "";
	unsigned n = 0;

	end = memchr(p, '\r', asked.len);
	for (; p < end; p += word + (p + word < end), n++) {
		for (word = 0; p + word < end && p[word] != ' '; word++)
			;
		if (n == 1)
			key = p;
		if (n < 2 || word == 0)
			continue;
		if (p[0] == 'O')
			len += (size_t)sprintf(dst + len, " %.*s", (int)word,
			    p);
		if (p[0] == 'k')
			len += (size_t)sprintf(dst + len, " k%.*s",
			    (int)strcspn(key, " \r"), key);
		for (i = 0; i < FUZZ_LEN(values); i++)
			if (word == 1 && p[0] == values[i][0])
				len += (size_t)sprintf(dst + len, " %s",
				    values[i]);
	}
	dst[len] = '\0';
}

static size_t
fuzz_put_canned(char *dst, const char *canned, const char *flags,
    struct kvp_slice key)
{
	size_t len = 0;

	for (; *canned != '\0'; canned++) {
		if (*canned != '%')
			dst[len++] = *canned;
		else if (*++canned == 'f')
			len = (size_t)(stpcpy(dst + len, flags) - dst);
		else if (key.len > 0) {
			memcpy(dst + len, key.p, key.len);
			len += key.len;
		}
	}
	memcpy(dst + len, "\r\n", 2);
	return len + 2;
}

/* CMD is asked of T's backend, which gives every answer there is. */
static void
fuzz_ask(struct fuzz_talk *t, const struct kvp_cmd *cmd,
    const struct kvp_key *key, struct kvp_slice note, uint64_t *digest)
{
	char canned[CANNED_MAX], flags[CANNED_MAX];
	struct kvp_slice asked;
	struct kvp_reply r;
	uint8_t *copy;
	size_t i, len;

	asked = fuzz_encode(t, cmd, key);
	fuzz_digest_slice(digest, asked);
	if (asked.p == NULL)
		return;
	FUZZ_CHECK((copy = malloc(asked.len)) != NULL);
	memcpy(copy, asked.p, asked.len);
	asked.p = copy;
	fuzz_put_flags(flags, asked);
	for (i = 0; i < FUZZ_LEN(fuzz_canned); i++) {
		len = fuzz_put_canned(canned, fuzz_canned[i], flags,
		    key->key);
		if (fuzz_decode(t, cmd, key, (const uint8_t *)canned, len,
		    &r) > 0)
			fuzz_answer(t, cmd, key, note, &r, digest);
	}
	free(copy);
}

/*
 * Requests.
 */

static void
fuzz_admin(struct fuzz_talk *t, const struct kvp_request *req,
    struct kvp_slice name, struct kvp_slice value)
{
	struct fuzz_part part;

	fuzz_part_begin(&part, req->note.len + KVP_KEY_MAX);
	part.given[0] = req->note;
	part.given[1] = name;
	part.given[2] = value;
	fn->admin(t->ext, &t->client, &req->cmd, req->note, name, value,
	    &part.out);
	fuzz_part_end(&part);
}

#define SLICE(str) { (const uint8_t *)(str), sizeof(str) - 1 }

static void
fuzz_answer_local(struct fuzz_talk *t, const struct kvp_request *req,
    uint64_t *digest)
{
	static const struct kvp_slice name = SLICE("pid"), value = SLICE("7"),
	    empty = SLICE(""), block = SLICE("pid 7\r\n");
	uint8_t letters[LONG_NAME];
	const struct kvp_slice long_name = { letters, sizeof(letters) };
	struct kvp_cmd cmd = req->cmd;

	FUZZ_CHECK(cmd.local <= KVP_LOCAL_RESET);
	switch ((enum kvp_local)cmd.local) {
	case KVP_LOCAL_ANSWER:
		fuzz_render(t, &cmd, NULL, req->note, NULL, KVP_PART_ONLY);
		break;
	case KVP_LOCAL_STATUS:
		fuzz_admin(t, req, fuzz_no_slice, block);
		fuzz_admin(t, req, fuzz_no_slice, fuzz_no_slice);
		break;
	case KVP_LOCAL_RESET:
		fuzz_admin(t, req, fuzz_no_slice, fuzz_no_slice);
		break;
	case KVP_LOCAL_STATS:
		fuzz_admin(t, req, name, fuzz_no_slice);
		fuzz_end_answer(t, digest);
		fuzz_admin(t, req, name, value);
		fuzz_admin(t, req, name, empty);
		memset(letters, 'n', sizeof(letters));
		fuzz_admin(t, req, long_name, value);
		fuzz_admin(t, req, fuzz_no_slice, fuzz_no_slice);
		break;
	}
	fuzz_end_answer(t, digest);
}

static void
fuzz_ask_all(struct fuzz_talk *t, const struct kvp_request *req,
    const struct kvp_key *key, uint64_t *digest)
{
	static const struct kvp_reply miss = { .class = KVP_REPLY_MISS };
	unsigned kind;

	if (req->cmd.flags & KVP_CMD_MISS_OK)
		fuzz_render_whole(t, &req->cmd, key, req->note, &miss,
		    digest);
	for (kind = 0; kind < FUZZ_N_BACKENDS; kind++) {
		t->backend = fuzz_greeted(t->ext, (enum fuzz_backend)kind);
		fuzz_ask(t, &req->cmd, key, req->note, digest);
		fuzz_copy(t, &req->cmd, key, KVP_OUTCOME_UNKNOWN, NULL,
		    digest);
	}
}

/* Every host, and one that is to be emptied before it is put back. */
static void
fuzz_ask_every(struct fuzz_talk *t, const struct kvp_request *req,
    uint64_t *digest)
{
	struct kvp_cmd flush;

	fuzz_ask_all(t, req, &req->key, digest);
	fn->flush(t->ext, &flush);
	FUZZ_CHECK(flush.class == KVP_EVERY);
	t->aside++;
	fuzz_ask(t, &flush, &req->key, fuzz_no_slice, digest);
	t->aside--;
}

/* As many keys as were announced, each whole. */
static void
fuzz_walk_keys(struct fuzz_talk *t, const struct kvp_request *req,
    uint64_t *digest)
{
	uint8_t room[KVP_KEY_MAX];
	struct kvp_key key;
	size_t at = 0, before = 0;
	uint32_t i;

	for (i = 0; i < req->cmd.n_keys; i++, before = at) {
		memset(room, fuzz_filler(), sizeof(room));
		FUZZ_CHECK(fn->next_key(t->ext, &req->cmd, req->keys, &at,
		    &key, room));
		FUZZ_CHECK(at > before && at <= req->keys.len);
		FUZZ_CHECK(key.key.len <= KVP_KEY_MAX);
		FUZZ_CHECK(fuzz_is_within(key.key, req->keys.p,
		    req->keys.len) || fuzz_is_within(key.key, room,
		    sizeof(room)));
		FUZZ_CHECK(fuzz_is_within(key.body, req->keys.p,
		    req->keys.len));
		fuzz_digest_slice(digest, key.key);
		fuzz_digest_slice(digest, key.body);
		if (i < KEYS_MAX)
			fuzz_ask_all(t, req, &key, digest);
	}
	FUZZ_CHECK(!fn->next_key(t->ext, &req->cmd, req->keys, &at, &key,
	    room));
}

static void
fuzz_handle(struct fuzz_talk *t, const struct kvp_request *req,
    uint64_t *digest)
{
	t->client = t->conn;
	if (req->cmd.class == KVP_LOCAL) {
		fuzz_answer_local(t, req, digest);
		return;
	}
	fuzz_fail_all(t, &req->cmd, req->note, digest);
	if (req->cmd.class == KVP_EVERY)
		fuzz_ask_every(t, req, digest);
	else if (req->cmd.flags & KVP_CMD_MANY)
		fuzz_walk_keys(t, req, digest);
	else
		fuzz_ask_all(t, req, &req->key, digest);
}

/* What the core believes no request without. */
static void
fuzz_check_request(const struct kvp_request *req, const uint8_t *p, size_t n)
{
	const struct kvp_cmd *cmd = &req->cmd;
	bool has_key = cmd->class == KVP_READ || cmd->class == KVP_WRITE;

	FUZZ_CHECK(cmd->class <= KVP_LOCAL);
	FUZZ_CHECK(req->note.len <= KVP_NOTE_MAX);
	FUZZ_CHECK(fuzz_is_within(req->note, p, n) ||
	    fuzz_is_within(req->note, req->room, sizeof(req->room)));
	if (has_key && cmd->flags & KVP_CMD_MANY) {
		FUZZ_CHECK(cmd->n_keys > 0);
		FUZZ_CHECK(fuzz_is_within(req->keys, p, n));
	} else if (has_key) {
		FUZZ_CHECK(cmd->n_keys == 1);
		FUZZ_CHECK(req->key.key.len <= KVP_KEY_MAX);
		FUZZ_CHECK(fuzz_is_within(req->key.key, p, n) ||
		    fuzz_is_within(req->key.key, req->room,
		    sizeof(req->room)));
		FUZZ_CHECK(fuzz_is_within(req->key.body, p, n));
	}
}

static void
fuzz_digest_request(uint64_t *digest, const struct kvp_request *req)
{
	fuzz_digest_num(digest, req->cmd.class);
	fuzz_digest_num(digest, req->cmd.flags);
	fuzz_digest_num(digest, req->cmd.n_keys);
	fuzz_digest_num(digest, req->swallow);
	fuzz_digest_slice(digest, req->note);
	if (req->cmd.class == KVP_LOCAL)
		fuzz_digest_num(digest, req->cmd.local);
	else if (req->cmd.flags & KVP_CMD_MANY)
		fuzz_digest_slice(digest, req->keys);
	else if (req->cmd.class != KVP_EVERY) {
		fuzz_digest_slice(digest, req->key.key);
		fuzz_digest_slice(digest, req->key.body);
	}
}

static ssize_t
fuzz_read_request(struct fuzz_talk *t, const uint8_t *p, size_t len,
    bool deep, struct fuzz_found *found)
{
	struct kvp_request req;
	ssize_t n;

	memset(&req, fuzz_filler(), sizeof(req));
	n = fn->parse(t->ext, &t->conn, p, len, &req);
	FUZZ_CHECK(n <= (ssize_t)len);
	if (n == 0)
		found->need = req.need;
	if (n <= 0)
		return n;
	fuzz_check_request(&req, p, (size_t)n);
	fuzz_digest_request(&found->digest, &req);
	found->swallow = req.swallow;
	found->last = (req.cmd.flags & KVP_CMD_CLOSE) != 0;
	if (deep)
		fuzz_handle(t, &req, &found->deep_digest);
	return n;
}

void
fuzz_requests(const uint8_t *p, size_t len)
{
	enum { SMALL, LARGE, OTHER_TEXT, OTHER_BINARY, N };
	static void *services[N];
	bool binary = len > 0 && p[0] == BINARY_MAGIC;
	const int used[] = { SMALL, LARGE, binary ? OTHER_TEXT :
	    OTHER_BINARY };
	struct fuzz_talk t;
	size_t i;

	if (services[0] == NULL) {
		services[SMALL] = fuzz_open(FUZZ_SMALL_VALUE, true,
		    "binary_cas", 1);
		services[LARGE] = fuzz_open(1024 * 1024, false, NULL, 0);
		services[OTHER_TEXT] = fuzz_open(FUZZ_SMALL_VALUE, true,
		    "client_proto", 1);
		services[OTHER_BINARY] = fuzz_open(FUZZ_SMALL_VALUE, true,
		    "client_proto", 2);
	}
	if (len > FUZZ_INPUT_MAX)
		return;
	for (i = 0; i < FUZZ_LEN(used); i++) {
		t = (struct fuzz_talk){
			.read = fuzz_read_request, .binary = binary,
			.ext = services[used[i]]
		};
		fuzz_stream(&t, p, len);
	}
}
