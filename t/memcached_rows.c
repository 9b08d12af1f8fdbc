#include "t/memcached_rows.h"

#include <sys/mman.h>
#include <unistd.h>

enum {
	AREA = 512 * 1024
};

static const struct kvp_ext *const fn = &kvp_extension;

void *rows_ext;
struct kvp_conn rows_client, rows_meta, rows_text;

/* What is behind these cannot be touched. */
static struct {
	uint8_t		*request, *reply, *room;
} area;

/*
 * Memory.
 */

static uint8_t *
rows_map(void)
{
	size_t page = (size_t)getpagesize();
	uint8_t *p = mmap(NULL, AREA + page, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	return mprotect(p + AREA, page, PROT_NONE) == 0 ? p : NULL;
}

static const uint8_t *
rows_place_at(uint8_t *at, const void *p, size_t len)
{
	assert_true(len <= AREA);
	memcpy(at + AREA - len, p, len);
	return at + AREA - len;
}

const uint8_t *
rows_place(const void *p, size_t len)
{
	return rows_place_at(area.reply, p, len);
}

/* ROOM bytes to be written. */
static struct kvp_out
rows_room(size_t room)
{
	assert_true(room <= AREA);
	return (struct kvp_out){
		.dst = area.room + AREA - room, .room = room
	};
}

/* The bytes of OUT, and a NUL, at DST; how many. */
static size_t
rows_flatten(const struct kvp_out *out, char *dst)
{
	size_t n = out->len;

	assert_true(n <= out->room);
	assert_true(n + out->body.len + out->tail.len < ROWS_TEXT_MAX);
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

void
rows_expect(const char *got, const char *expected, const char *of)
{
	if (strcmp(got, expected) != 0)
		print_error("of %s:\n", of);
	assert_string_equal(got, expected);
}

static void __attribute__((format(printf, 2, 3)))
rows_add(char *text, const char *fmt, ...)
{
	size_t len = strlen(text);
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text + len, ROWS_TEXT_MAX - len, fmt, ap);
	va_end(ap);
	assert_true(n >= 0 && (size_t)n < ROWS_TEXT_MAX - len);
}

/*
 * The extension and its connections.
 */

void *
rows_open(unsigned client_proto, enum rows_proto backend_proto,
    bool allow_flush)
{
	const struct kvp_value values[] = { { client_proto, NULL },
	    { backend_proto, NULL }, { 0, NULL }, { 0, NULL } };
	const struct kvp_conf conf = {
		.value = values, .max_value = ROWS_MAX_VALUE,
		.allow_flush = allow_flush, .version = "0.1.0"
	};
	char err[128];
	void *ext = fn->open(&conf, err, sizeof(err));

	assert_non_null(ext);
	return ext;
}

static bool
rows_greet(enum rows_proto proto, const char *answer, struct kvp_conn *backend)
{
	void *ext = rows_open(0, proto, true);
	ssize_t n = fn->greeted(ext, backend, (const uint8_t *)answer,
	    strlen(answer));

	fn->close(ext);
	return n == (ssize_t)strlen(answer);
}

int
rows_setup(void **state)
{
	(void)state;
	area.request = rows_map();
	area.reply = rows_map();
	area.room = rows_map();
	if (area.request == NULL || area.reply == NULL || area.room == NULL)
		return -1;
	rows_ext = rows_open(0, ROWS_AUTO, true);
	return rows_greet(ROWS_META, "VERSION 1.6.18\r\nMN\r\n", &rows_meta) &&
	    rows_greet(ROWS_TEXT, "VERSION 1.6.18\r\n", &rows_text) ? 0 : -1;
}

int
rows_teardown(void **state)
{
	size_t len = AREA + (size_t)getpagesize();

	(void)state;
	fn->close(rows_ext);
	return munmap(area.request, len) == 0 && munmap(area.reply, len) == 0 &&
	    munmap(area.room, len) == 0 ? 0 : -1;
}

/*
 * Requests.
 */

static size_t
rows_pack_lines(uint8_t *dst, const char *request)
{
	memcpy(dst, request, strlen(request));
	return strlen(request);
}

static void
rows_say_lines(char *dst, const uint8_t *answer, size_t len)
{
	memcpy(dst, answer, len);
	dst[len] = '\0';
}

const struct rows_dialect rows_lines = {
	.pack = rows_pack_lines,
	.say = rows_say_lines,
};

ssize_t
rows_parse(void *ext, const void *p, size_t len, struct kvp_request *req)
{
	memset(req, 0xa5, sizeof(*req));
	return fn->parse(ext, &rows_client, rows_place_at(area.request, p,
	    len), len, req);
}

void
rows_request(const struct rows_dialect *d, const char *request,
    struct kvp_request *req)
{
	uint8_t bytes[ROWS_TEXT_MAX];
	size_t len = d->pack(bytes, request);

	assert_true(rows_parse(rows_ext, bytes, len, req) > 0);
}

static void
rows_add_keys(char *text, const struct kvp_request *req)
{
	uint8_t room[KVP_KEY_MAX];
	struct kvp_key key;
	uint32_t n = 0;
	size_t at = 0;

	if ((req->cmd.flags & KVP_CMD_MANY) == 0) {
		assert_int_equal(req->cmd.n_keys, 1);
		assert_int_equal(req->key.step, 0);
		rows_add(text, " %.*s", (int)req->key.key.len,
		    (const char *)req->key.key.p);
		if (req->key.body.p != NULL)
			rows_add(text, "=%.*s", (int)req->key.body.len,
			    (const char *)req->key.body.p);
		return;
	}
	while (fn->next_key(rows_ext, &req->cmd, req->keys, &at, &key, room)) {
		rows_add(text, "%c%.*s", n == 0 ? ' ' : ',',
		    (int)key.key.len, (const char *)key.key.p);
		n++;
	}
	assert_int_equal(n, req->cmd.n_keys);
}

/* Render into the least room; a string at ANSWER.  How many bytes. */
static size_t
rows_render(struct kvp_request *req, const struct kvp_key *key,
    const struct kvp_reply *r, enum kvp_part part, char *answer)
{
	struct kvp_out out = rows_room(KVP_ROOM + req->note.len +
	    (key != NULL ? key->key.len : 0));

	fn->render(rows_ext, &rows_client, &req->cmd, key, req->note, r, part,
	    &out);
	return rows_flatten(&out, answer);
}

void
rows_answer(const struct rows_dialect *d, struct kvp_request *req,
    const struct kvp_reply *r, char *answered)
{
	char answer[ROWS_TEXT_MAX];
	size_t n = rows_render(req, r != NULL ? &req->key : NULL, r,
	    KVP_PART_ONLY, answer);

	d->say(answered, (const uint8_t *)answer, n);
}

static void
rows_add_answer(char *text, const struct rows_dialect *d,
    struct kvp_request *req)
{
	char answered[ROWS_TEXT_MAX];
	size_t n;

	rows_answer(d, req, NULL, answered);
	if ((n = strlen(answered)) == 0)
		return;
	if (d == &rows_lines) {
		assert_true(n > 2 && strcmp(answered + n - 2, "\r\n") == 0);
		answered[n - 2] = '\0';
	}
	rows_add(text, " %s", answered);
}

static void
rows_describe(char *text, const struct rows_dialect *d, ssize_t n,
    struct kvp_request *req)
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
		rows_add(text, "close");
		return;
	}
	assert_true(req->cmd.class < LEN(class) &&
	    req->cmd.local < LEN(local));
	rows_add(text, "%zd %s%s", n, class[req->cmd.class],
	    local[req->cmd.local]);
	for (i = 0; i < LEN(flags); i++)
		if (req->cmd.flags & flags[i].bit)
			rows_add(text, "%s", flags[i].name);
	if (req->swallow > 0)
		rows_add(text, " swallow=%llu",
		    (unsigned long long)req->swallow);
	if (req->note.len > 0)
		rows_add(text, " note=%.*s", (int)req->note.len,
		    (const char *)req->note.p);
	if (req->cmd.class == KVP_READ || req->cmd.class == KVP_WRITE)
		rows_add_keys(text, req);
	else if (req->cmd.class == KVP_LOCAL &&
	    req->cmd.local == KVP_LOCAL_ANSWER)
		rows_add_answer(text, d, req);
}

/* The request as far as it has come, at every cut. */
static void
rows_cut_request(void *ext, const struct row *row, ssize_t whole)
{
	struct kvp_request req;
	size_t len;
	ssize_t n;

	for (len = 0; whole < 0 ? len < row->in.len : len < (size_t)whole;
	    len++) {
		n = rows_parse(ext, row->in.p, len, &req);
		if (whole < 0 && n < 0)
			continue;
		assert_int_equal(n, 0);
		assert_true(req.need > len);
		assert_true(whole < 0 || req.need <= (size_t)whole);
	}
}

void
rows_check(void *ext, const struct rows_dialect *d, const struct row *rows,
    size_t n_rows)
{
	char text[ROWS_TEXT_MAX], longer[ROWS_TEXT_MAX];
	struct kvp_request req;
	const struct row *row;
	ssize_t whole, n;

	for (row = rows; row < rows + n_rows; row++) {
		whole = rows_parse(ext, row->in.p, row->in.len, &req);
		assert_int_not_equal(whole, 0);
		rows_describe(text, d, whole, &req);
		rows_expect(text, row->expected, (const char *)row->in.p);

		memcpy(longer, row->in.p, row->in.len);
		memcpy(longer + row->in.len, "get \r\n\0 5", 9);
		n = rows_parse(ext, longer, row->in.len + 9, &req);
		rows_describe(text, d, n, &req);
		rows_expect(text, row->expected, (const char *)row->in.p);

		rows_cut_request(ext, row, whole);
	}
}

/*
 * Talks.
 */

bool
rows_encode(struct kvp_conn *backend, const struct kvp_cmd *cmd,
    const struct kvp_key *key, char *asked)
{
	struct kvp_out out = rows_room(KVP_ROOM + key->key.len);

	if (!fn->encode(rows_ext, backend, cmd, key, ROWS_OPAQUE, &out))
		return false;
	rows_flatten(&out, asked);
	return true;
}

ssize_t
rows_decode(struct kvp_conn *backend, const struct kvp_request *req,
    const char *reply, size_t len, struct kvp_reply *r)
{
	struct kvp_key key = { .key = req->key.key, .step = req->key.step };

	memset(r, 0xa5, sizeof(*r));
	return fn->decode(rows_ext, backend, &req->cmd, &key, ROWS_OPAQUE,
	    rows_place(reply, len), len, r);
}

static void
rows_check_outcome(ssize_t n, const struct kvp_reply *r, const char *expected,
    const char *reply)
{
	static const char *const class[] = {
		"hit", "miss", "stored", "not_stored", "error"
	};
	char text[ROWS_TEXT_MAX] = "";

	if (n < 0)
		rows_add(text, "desync");
	else {
		assert_true(r->class < LEN(class));
		rows_add(text, "%zd %s%s%s", n, class[r->class],
		    r->flags & KVP_REPLY_FATAL ? "+fatal" : "",
		    r->flags & KVP_REPLY_FAILED ? "+failed" : "");
		if (r->swallow > 0)
			rows_add(text, " swallow=%llu",
			    (unsigned long long)r->swallow);
	}
	rows_expect(text, expected, reply);
}

/* The reply as far as it has come, at every cut. */
static void
rows_cut_reply(struct kvp_conn *backend, const struct kvp_request *req,
    const char *reply, ssize_t whole)
{
	struct kvp_reply r;
	ssize_t n;
	size_t len;

	for (len = 0; len < (whole < 0 ? strlen(reply) : (size_t)whole);
	    len++) {
		n = rows_decode(backend, req, reply, len, &r);
		if (whole < 0 && n < 0)
			continue;
		assert_int_equal(n, 0);
		assert_true(r.need > len);
		assert_true(whole < 0 || r.need <= (size_t)whole);
	}
}

static void
rows_check_talk(struct kvp_conn *backend, const struct rows_dialect *d,
    const struct talk *t)
{
	char got[ROWS_TEXT_MAX], longer[ROWS_TEXT_MAX];
	struct kvp_request req;
	struct kvp_reply r;
	ssize_t n;

	rows_request(d, t->request, &req);
	if (t->asked == NULL) {
		assert_false(rows_encode(backend, &req.cmd, &req.key, got));
		return;
	}
	assert_true(rows_encode(backend, &req.cmd, &req.key, got));
	rows_expect(got, t->asked, t->request);

	longer[0] = '\0';
	rows_add(longer, "%sVA 9 O8\r\n", t->reply);
	n = rows_decode(backend, &req, longer, strlen(longer), &r);
	rows_check_outcome(n, &r, t->outcome, t->reply);
	n = rows_decode(backend, &req, t->reply, strlen(t->reply), &r);
	rows_check_outcome(n, &r, t->outcome, t->reply);
	rows_answer(d, &req, &r, got);
	rows_expect(got, t->answered, t->reply);
	rows_cut_reply(backend, &req, t->reply, n);
}

void
rows_check_talks(struct kvp_conn *backend, const struct rows_dialect *d,
    const struct talk *talks, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		rows_check_talk(backend, d, &talks[i]);
}

void
rows_check_nonsense(struct kvp_conn *backend, const struct rows_dialect *d,
    const struct nonsense *rows, size_t n)
{
	struct kvp_request req;
	struct kvp_reply r;
	size_t i;

	for (i = 0; i < n; i++) {
		rows_request(d, rows[i].request, &req);
		rows_check_outcome(rows_decode(backend, &req, rows[i].reply,
		    strlen(rows[i].reply), &r), &r, "desync",
		    rows[i].reply);
		rows_cut_reply(backend, &req, rows[i].reply, -1);
	}
}

/*
 * Other answers.
 */

/* OUT, as the dialect says it. */
static void
rows_check_out(const struct rows_dialect *d, const struct kvp_out *out,
    const char *expected, const char *of)
{
	char answer[ROWS_TEXT_MAX], said[ROWS_TEXT_MAX];
	size_t n = rows_flatten(out, answer);

	d->say(said, (const uint8_t *)answer, n);
	rows_expect(said, expected, of);
}

void
rows_check_failures(const struct rows_dialect *d, const struct failure *rows,
    size_t n)
{
	const struct failure *row;
	struct kvp_request req;
	struct kvp_out out;

	for (row = rows; row < rows + n; row++) {
		rows_request(d, row->request, &req);
		out = rows_room(KVP_ROOM + req.note.len);
		/* In brackets, for cmocka has a macro of this name. */
		(fn->fail)(rows_ext, &rows_client, &req.cmd, req.note,
		    row->why, row->host, &out);
		rows_check_out(d, &out, row->expected, row->request);
	}
}

void
rows_check_admin(const struct rows_dialect *d, const char *request,
    struct kvp_slice name, struct kvp_slice value, const char *expected)
{
	struct kvp_request req;
	struct kvp_out out;

	rows_request(d, request, &req);
	out = rows_room(KVP_ROOM + req.note.len);
	fn->admin(rows_ext, &rows_client, &req.cmd, req.note, name, value,
	    &out);
	rows_check_out(d, &out, expected, request);
}

/* Render PART of REQ's answer behind the N bytes at DST; how many then. */
static size_t
rows_add_part(struct kvp_request *req, const struct kvp_key *key,
    const char *reply, enum kvp_part part, char *dst, size_t n)
{
	struct kvp_reply r;

	if (reply != NULL)
		assert_int_equal(rows_decode(&rows_meta, req, reply,
		    strlen(reply), &r), strlen(reply));
	assert_true(n < ROWS_TEXT_MAX / 2);
	return n + rows_render(req, key, reply != NULL ? &r : NULL, part,
	    dst + n);
}

void
rows_check_parts(const struct rows_dialect *d, const char *request,
    const char *const *replies, size_t n_replies, const char *answered)
{
	uint8_t room[KVP_KEY_MAX];
	struct kvp_key key = { .key = { NULL, 0 } };
	char got[2 * ROWS_TEXT_MAX], said[ROWS_TEXT_MAX];
	struct kvp_request req;
	size_t at = 0, n, i;

	rows_request(d, request, &req);
	n = rows_add_part(&req, NULL, NULL, KVP_PART_BEGIN, got, 0);
	for (i = 0; i < n_replies; i++) {
		if (req.cmd.flags & KVP_CMD_MANY)
			assert_true(fn->next_key(rows_ext, &req.cmd, req.keys,
			    &at, &key, room));
		n = rows_add_part(&req, &key, replies[i], KVP_PART_ITEM, got,
		    n);
	}
	n = rows_add_part(&req, NULL, NULL, KVP_PART_END, got, n);
	d->say(said, (const uint8_t *)got, n);
	rows_expect(said, answered, request);
}

unsigned
rows_follow(struct kvp_conn *backend, struct kvp_request *req,
    const char *reply, char *asked)
{
	struct kvp_reply r;
	struct kvp_cmd next;
	unsigned what;

	assert_int_equal(rows_decode(backend, req, reply, strlen(reply), &r),
	    strlen(reply));
	asked[0] = '\0';
	if ((r.flags & KVP_REPLY_FOLLOW) == 0)
		return KVP_FOLLOW_NONE;
	what = fn->follow(rows_ext, &req->cmd, &req->key, &r, &next);
	if ((what & KVP_FOLLOW_ASIDE) == 0)
		return what;
	assert_int_equal(next.class, KVP_WRITE);
	req->key.step = 0;
	req->cmd = next;
	assert_false(rows_encode(&rows_text, &next, &req->key, asked));
	assert_true(rows_encode(backend, &next, &req->key, asked));
	return what;
}

void
rows_check_sequels(const struct rows_dialect *d, const struct sequel *rows,
    size_t n)
{
	struct kvp_request req;
	char asked[ROWS_TEXT_MAX];
	size_t i;

	for (i = 0; i < n; i++) {
		rows_request(d, rows[i].request, &req);
		req.key.step = rows[i].step;
		assert_int_equal(rows_follow(&rows_meta, &req, rows[i].reply,
		    asked), rows[i].what);
		rows_expect(asked, rows[i].asked, rows[i].request);
	}
}

void
rows_check_bare_misses(const struct rows_dialect *d,
    const char *const (*rows)[2], size_t n)
{
	const struct kvp_reply miss = { .class = KVP_REPLY_MISS };
	struct kvp_request req;
	char got[ROWS_TEXT_MAX];
	size_t i;

	for (i = 0; i < n; i++) {
		rows_request(d, rows[i][0], &req);
		assert_true(req.cmd.flags & KVP_CMD_MISS_OK);
		rows_answer(d, &req, &miss, got);
		rows_expect(got, rows[i][1], rows[i][0]);
	}
}
