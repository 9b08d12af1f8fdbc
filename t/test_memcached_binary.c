/*
 * What binary clients ask and are told.  A packet is written as
 *
 *   request   OPCODE|EXTRAS|KEY|VALUE|CAS
 *   answer    OPCODE STATUS|EXTRAS|KEY|VALUE|CAS
 *
 * in hexadecimal up to the extras; in values of answers, bytes that cannot be
 * shown are so too, in brackets.  The opaque is the same everywhere, and an
 * answer's must be the request's.
 */
#include "t/memcached_rows.h"

#define OPAQUE	"\xde\xad\xbe\xef"
#define OOM	"SERVER_ERROR out of memory"

/* Extras: flags 5 and a minute; a minute; a counter that is made to be 13, or
 * not made. */
#define STORE	"000000050000003c"
#define MINUTE	"0000003c"
#define COUNT	"0000000000000005000000000000000d0000003c"
#define COUNT_NO_MAKE "0000000000000005000000000000000dffffffff"

/* Header and extras as bytes, with lengths that need not be true. */
#define HEAD(op, key_len, extras_len, body_len) \
	"\x80" op key_len extras_len "\0\0\0" body_len OPAQUE \
	"\0\0\0\0\0\0\0\0"
#define HEAD_CAS(op, key_len, extras_len, body_len) \
	"\x80" op key_len extras_len "\0\0\0" body_len OPAQUE \
	"\0\0\0\0\0\0\0\7"
#define ZEROS_8	"\0\0\0\0\0\0\0\0"

#define INVALID	" 0004|||Invalid arguments|0"
#define UNKNOWN	" 0081|||Unknown command|0"
#define LARGE	" 0003|||Too large.|0"
#define MISSED	" 0001|||Not found|0"
#define EXISTS	" 0002|||Data exists for key.|0"

enum {
	HEADER = 24,
	N_FIELDS = 5
};

static const struct kvp_ext *const fn = &kvp_extension;

/*
 * Packets.
 */

static uint8_t *
packet_put(uint8_t *p, uint64_t n, size_t len)
{
	while (len-- > 0)
		*p++ = (uint8_t)(n >> 8 * len);
	return p;
}

static uint64_t
packet_get(const uint8_t *p, size_t len)
{
	uint64_t n = 0;

	while (len-- > 0)
		n = n << 8 | *p++;
	return n;
}

/* The LEN hexadecimal digits at S as bytes at P; how many. */
static size_t
packet_put_hex(uint8_t *p, const char *s, size_t len)
{
	char digits[3] = "";
	size_t i;

	assert_int_equal(len % 2, 0);
	for (i = 0; i < len; i += 2) {
		memcpy(digits, s + i, 2);
		*p++ = (uint8_t)strtoul(digits, NULL, 16);
	}
	return len / 2;
}

static size_t
packet_pack(uint8_t *dst, const char *request)
{
	const char *field[N_FIELDS];
	size_t len[N_FIELDS], i, extras_len, body_len;
	uint8_t extras[64], opcode, *p;

	for (i = 0; i < N_FIELDS; i++) {
		field[i] = request;
		len[i] = strcspn(request, "|");
		request += len[i];
		assert_int_equal(*request, i == N_FIELDS - 1 ? '\0' : '|');
		request++;
	}
	assert_int_equal(packet_put_hex(&opcode, field[0], len[0]), 1);
	assert_true(len[1] <= 2 * sizeof(extras));
	extras_len = packet_put_hex(extras, field[1], len[1]);
	body_len = extras_len + len[2] + len[3];
	p = packet_put(dst, 0x80, 1);
	p = packet_put(p, opcode, 1);
	p = packet_put(p, len[2], 2);
	p = packet_put(p, extras_len, 1);
	p = packet_put(p, 0, 3);
	p = packet_put(p, body_len, 4);
	memcpy(p, OPAQUE, 4);
	p = packet_put(p + 4, strtoull(field[4], NULL, 10), 8);
	memcpy(p, extras, extras_len);
	memcpy(p + extras_len, field[2], len[2]);
	memcpy(p + extras_len + len[2], field[3], len[3]);
	return HEADER + body_len;
}

static char *
packet_say_hex(char *dst, const uint8_t *p, size_t len)
{
	for (; len > 0; len--, p++)
		dst += sprintf(dst, "%02x", *p);
	return dst;
}

static char *
packet_say_bytes(char *dst, const uint8_t *p, size_t len)
{
	size_t i, n;

	for (i = 0; i < len; i += n) {
		for (n = 0; i + n < len && (p[i + n] < ' ' ||
		    p[i + n] > '~'); n++)
			;
		if (n == 0) {
			*dst++ = (char)p[i];
			n = 1;
			continue;
		}
		*dst++ = '<';
		dst = packet_say_hex(dst, p + i, n);
		*dst++ = '>';
	}
	return dst;
}

/* One packet or none; all of its parts must add up. */
static void
packet_say(char *dst, const uint8_t *p, size_t len)
{
	size_t key_len, extras_len, body_len;
	const uint8_t *body = p + HEADER;

	*dst = '\0';
	if (len == 0)
		return;
	assert_true(len >= HEADER);
	key_len = packet_get(p + 2, 2);
	extras_len = p[4];
	body_len = packet_get(p + 8, 4);
	assert_int_equal(p[0], 0x81);
	assert_int_equal(p[5], 0);
	assert_int_equal(body_len, len - HEADER);
	assert_true(key_len + extras_len <= body_len);
	assert_memory_equal(p + 12, OPAQUE, 4);
	dst += sprintf(dst, "%02x %04x|", p[1],
	    (unsigned)packet_get(p + 6, 2));
	dst = packet_say_hex(dst, body, extras_len);
	*dst++ = '|';
	body += extras_len;
	dst = packet_say_bytes(dst, body, key_len);
	*dst++ = '|';
	body += key_len;
	dst = packet_say_bytes(dst, body, body_len - extras_len - key_len);
	sprintf(dst, "|%llu", (unsigned long long)packet_get(p + 16, 8));
}

static const struct rows_dialect packets = {
	.pack = packet_pack,
	.say = packet_say,
};

/* Requests that are what they say. */
struct packet_row {
	const char	*request;
	const char	*expected;
};

static void
test_rows(void *opened, const struct packet_row *rows, size_t n)
{
	uint8_t bytes[ROWS_TEXT_MAX];
	struct row row = { { bytes, 0 }, NULL };
	size_t i;

	for (i = 0; i < n; i++) {
		row.in.len = packet_pack(bytes, rows[i].request);
		bytes[row.in.len] = '\0';
		row.expected = rows[i].expected;
		rows_check(opened, &packets, &row, 1);
	}
}

/*
 * Requests.
 */

static void
binary_reads_a_get(void **state)
{
	static const struct packet_row rows[] = {
		{ "00||k||", "25 read+miss_ok k" },
		{ "09||k||", "25 read+miss_ok k" },
		{ "0c||k||", "25 read+miss_ok k" },
		{ "0d||k||", "25 read+miss_ok k" },
		{ "00||k||77", "25 read+miss_ok k" },
		{ "00||" KEY_250 "||", "274 read+miss_ok " KEY_250 },
		{ "00||a b\r\n\x01\xff||", "31 read+miss_ok a b\r\n\x01\xff" },
		{ "1c|" MINUTE "|k||", "29 write+primary+miss_ok k" },
		{ "1d|" MINUTE "|k||", "29 write+primary+miss_ok k" },
		{ "1e|" MINUTE "|k||", "29 write+primary+miss_ok k" },
		{ "23|" MINUTE "|k||", "29 write+primary+miss_ok k" },
		{ "24|" MINUTE "|k||", "29 write+primary+miss_ok k" },
	};

	(void)state;
	test_rows(rows_ext, rows, LEN(rows));
}

static void
binary_reads_a_write(void **state)
{
	static const struct packet_row rows[] = {
		{ "01|" STORE "|k|abc|", "36 write k=abc" },
		{ "02|" STORE "|k|abc|", "36 write k=abc" },
		{ "03|" STORE "|k|abc|", "36 write k=abc" },
		{ "11|" STORE "|k|abc|", "36 write k=abc" },
		{ "12|" STORE "|k|abc|", "36 write k=abc" },
		{ "13|" STORE "|k|abc|", "36 write k=abc" },
		{ "01|" STORE "|k||", "33 write k=" },
		{ "01|" STORE "|k|abc|18446744073709551615",
		    "36 write k=abc" },
		{ "01|" STORE "|" KEY_250 "|\r\n|",
		    "284 write " KEY_250 "=\r\n" },
		{ "0e||k|abc|", "28 write k=abc" },
		{ "0f||k|abc|9", "28 write k=abc" },
		{ "19||k|abc|", "28 write k=abc" },
		{ "1a||k||", "25 write k=" },
		{ "04||k||", "25 write k" },
		{ "14||k||9", "25 write k" },
		{ "05|" COUNT "|k||", "45 write k" },
		{ "06|" COUNT "|k||", "45 write k" },
		{ "15|" COUNT_NO_MAKE "|k||", "45 write k" },
		{ "16|" COUNT_NO_MAKE "|k||9", "45 write k" },
		{ "08||||", "24 every" },
		{ "18||||", "24 every" },
		{ "08|" MINUTE "|||", "28 every" },
		{ "18|" MINUTE "|||", "28 every" },
	};

	(void)state;
	test_rows(rows_ext, rows, LEN(rows));
}

static void
binary_answers_what_needs_no_server(void **state)
{
	static const struct packet_row rows[] = {
		{ "0a||||", "24 local 0a 0000||||0" },
		{ "0a||||9", "24 local 0a 0000||||0" },
		{ "0b||||",
		    "24 local 0b 0000|||1.6.18 kvproxy-0.1.0|0" },
		{ "1b|00000001|||", "28 local 1b 0000||||0" },
		{ "07||||", "24 local+close 07 0000||||0" },
		{ "17||||", "24 local+close" },
		{ "10||||", "24 local-stats" },
		{ "10||backends||", "32 local-stats note=backends" },
		{ "10||" KEY_250 "||", "274 local-stats note=" KEY_250 },
	};

	(void)state;
	test_rows(rows_ext, rows, LEN(rows));
}

static void
binary_closes_where_parts_are_not_as_they_must_be(void **state)
{
	static const struct packet_row rows[] = {
		{ "00|00000000|k||", "24 local+close+bad 00" INVALID },
		{ "00||||", "24 local+close+bad 00" INVALID },
		{ "00||k|v|", "24 local+close+bad 00" INVALID },
		{ "09||||", "24 local+close+bad 09" INVALID },
		{ "0d|" MINUTE "|k||", "24 local+close+bad 0d" INVALID },
		{ "1c||k||", "24 local+close+bad 1c" INVALID },
		{ "1d|" STORE "|k||", "24 local+close+bad 1d" INVALID },
		{ "24|" MINUTE "|k|v|", "24 local+close+bad 24" INVALID },
		{ "23|" MINUTE "|||", "24 local+close+bad 23" INVALID },
		{ "01||k|abc|", "24 local+close+bad 01" INVALID },
		{ "01|" STORE "||abc|", "24 local+close+bad 01" INVALID },
		{ "11|" MINUTE "|k|abc|", "24 local+close+bad 11" INVALID },
		{ "0e|" STORE "|k|abc|", "24 local+close+bad 0e" INVALID },
		{ "1a|||abc|", "24 local+close+bad 1a" INVALID },
		{ "04|" MINUTE "|k||", "24 local+close+bad 04" INVALID },
		{ "04||k|v|", "24 local+close+bad 04" INVALID },
		{ "14||||", "24 local+close+bad 14" INVALID },
		{ "05|0000000000000001|k||",
		    "24 local+close+bad 05" INVALID },
		{ "05|" COUNT "|k|v|", "24 local+close+bad 05" INVALID },
		{ "16|" COUNT "|||", "24 local+close+bad 16" INVALID },
		{ "08|" STORE "|||", "24 local+close+bad 08" INVALID },
		{ "08||k||", "24 local+close+bad 08" INVALID },
		{ "18|" MINUTE "||v|", "24 local+close+bad 18" INVALID },
		{ "0a|||v|", "24 local+close+bad 0a" INVALID },
		{ "0a||k||", "24 local+close+bad 0a" INVALID },
		{ "0a|00|||", "24 local+close+bad 0a" INVALID },
		{ "0b||k||", "24 local+close+bad 0b" INVALID },
		{ "1b||||", "24 local+close+bad 1b" INVALID },
		{ "07|||v|", "24 local+close+bad 07" INVALID },
		{ "17||k||", "24 local+close+bad 17" INVALID },
		{ "10|00000000|||", "24 local+close+bad 10" INVALID },
		{ "10||k|v|", "24 local+close+bad 10" INVALID },
		{ "00||" KEY_251 "||", "24 local+close+bad 00" INVALID },
		{ "01|" STORE "|" KEY_251 "|v|",
		    "24 local+close+bad 01" INVALID },
	};

	(void)state;
	test_rows(rows_ext, rows, LEN(rows));
}

/* The header alone tells, so nothing else is waited for. */
static void
binary_closes_where_lengths_are_beyond_belief(void **state)
{
	static const struct row rows[] = {
		{ BYTES(HEAD("\0", "\x01\x6d", "\0", "\0\0\x01\x6d")),
		    "24 local+close+bad 00" INVALID },
		{ BYTES(HEAD("\0", "\xff\xff", "\0", "\0\0\xff\xff")),
		    "24 local+close+bad 00" INVALID },
		{ BYTES(HEAD("\0", "\0\1", "\xff", "\0\0\1\0")),
		    "24 local+close+bad 00" INVALID },
		{ BYTES(HEAD("\1", "\0\1", "\x08", "\x80\0\0\0")),
		    "24 local+close+bad 01" INVALID },
		{ BYTES(HEAD("\1", "\0\1", "\x08", "\xff\xff\xff\xff")),
		    "24 local+close+bad 01" INVALID },
		{ BYTES(HEAD("\x12", "\0\1", "\x08", "\xff\xff\xff\xe8")),
		    "24 local+close+bad 12" INVALID },
		{ BYTES(HEAD("\x0e", "\0\1", "\0", "\x40\0\0\2")),
		    "24 local+close+bad 0e" INVALID },
		{ BYTES(HEAD("\0", "\0\5", "\0", "\0\0\0\4")),
		    "24 local+close+bad 00" UNKNOWN },
		{ BYTES(HEAD("\1", "\0\1", "\x08", "\0\0\0\x08")),
		    "24 local+close+bad 01" UNKNOWN },
		{ BYTES(HEAD("\0", "\xff\xff", "\xff", "\0\0\0\0")),
		    "24 local+close+bad 00" UNKNOWN },
		{ BYTES(HEAD("\x50", "\0\5", "\0", "\0\0\0\4")),
		    "24 local+close+bad 50" UNKNOWN },
		{ BYTES(HEAD("\x50", "\0\0", "\0", "\x40\0\0\1")),
		    "24 local+close+bad 50" UNKNOWN },
	};

	(void)state;
	rows_check(rows_ext, &packets, rows, LEN(rows));
}

static void
binary_swallows_the_body_of_what_it_does_not_know(void **state)
{
	static const struct row rows[] = {
		/* SASL: to list, to begin, to go on. */
		{ BYTES(HEAD("\x20", "\0\0", "\0", "\0\0\0\0")),
		    "24 local+bad 20" UNKNOWN },
		{ BYTES(HEAD("\x21", "\0\5", "\0", "\0\0\0\x0a")),
		    "24 local+bad swallow=10 21" UNKNOWN },
		{ BYTES(HEAD("\x22", "\xff\xff", "\0", "\x40\0\0\0")),
		    "24 local+bad swallow=1073741824 22" UNKNOWN },
	};
	uint8_t bytes[] = HEAD("\0", "\0\0", "\0", "\0\0\0\0") "12345";
	struct row row = { { bytes, HEADER }, NULL };
	char expected[64];
	unsigned op;

	(void)state;
	rows_check(rows_ext, &packets, rows, LEN(rows));
	for (op = 0x1f; op <= UINT8_MAX; op++) {
		if (op == 0x23 || op == 0x24)
			continue;
		bytes[1] = (uint8_t)op;
		bytes[11] = 0;
		row.expected = expected;
		sprintf(expected, "24 local+bad %02x" UNKNOWN, op);
		rows_check(rows_ext, &packets, &row, 1);
		bytes[11] = 5;
		sprintf(expected, "24 local+bad swallow=5 %02x" UNKNOWN, op);
		rows_check(rows_ext, &packets, &row, 1);
	}
}

static void
binary_deletes_for_a_set_alone_that_is_too_large(void **state)
{
#define STORED_HEAD(op)	HEAD(op, "\0\1", "\x08", "\0\1\0\x0a") ZEROS_8 "k"
#define JOINED_HEAD(op)	HEAD(op, "\0\1", "\0", "\0\1\0\2") "k"
	static const struct row rows[] = {
		{ BYTES(STORED_HEAD("\x01")),
		    "33 write+too_large swallow=65537 k" },
		{ BYTES(STORED_HEAD("\x11")),
		    "33 write+too_large swallow=65537 k" },
		{ BYTES(HEAD("\1", "\0\1", "\x08", "\x40\0\0\x09")
		    ZEROS_8 "k"),
		    "33 write+too_large swallow=1073741824 k" },
		{ BYTES(HEAD_CAS("\1", "\0\1", "\x08", "\0\1\0\x0a")
		    ZEROS_8 "k"),
		    "33 write+too_large swallow=65537 k" },
		{ BYTES(STORED_HEAD("\x02")),
		    "33 local+too_large swallow=65537 02" LARGE },
		{ BYTES(STORED_HEAD("\x03")),
		    "33 local+too_large swallow=65537 03" LARGE },
		{ BYTES(STORED_HEAD("\x12")),
		    "33 local+too_large swallow=65537 12" LARGE },
		{ BYTES(STORED_HEAD("\x13")),
		    "33 local+too_large swallow=65537 13" LARGE },
		{ BYTES(JOINED_HEAD("\x0e")),
		    "25 local+too_large swallow=65537 0e" LARGE },
		{ BYTES(JOINED_HEAD("\x0f")),
		    "25 local+too_large swallow=65537 0f" LARGE },
		{ BYTES(JOINED_HEAD("\x19")),
		    "25 local+too_large swallow=65537 19" LARGE },
		{ BYTES(JOINED_HEAD("\x1a")),
		    "25 local+too_large swallow=65537 1a" LARGE },
	};
	static const char *const replies[] = {
		"HD O7\r\n", "NF O7\r\n", OOM "\r\n"
	};
	struct kvp_request req;
	struct kvp_reply r;
	char got[ROWS_TEXT_MAX];
	size_t i;

	(void)state;
	rows_check(rows_ext, &packets, rows, LEN(rows));
	for (i = 0; i < LEN(replies); i++) {
		assert_int_equal(rows_parse(rows_ext, rows[1].in.p,
		    rows[1].in.len, &req), 33);
		assert_true(rows_encode(&rows_text, &req.cmd, &req.key, got));
		assert_string_equal(got, "delete k\r\n");
		assert_true(rows_encode(&rows_meta, &req.cmd, &req.key, got));
		assert_string_equal(got, "md k O7\r\n");
		assert_int_equal(rows_decode(&rows_meta, &req, replies[i],
		    strlen(replies[i]), &r), strlen(replies[i]));
		rows_answer(&packets, &req, &r, got);
		assert_string_equal(got, "11" LARGE);
	}
#undef STORED_HEAD
#undef JOINED_HEAD
}

static void
binary_says_exactly_how_much_a_store_needs(void **state)
{
	enum { WHOLE = HEADER + 8 + 1 + ROWS_MAX_VALUE };
	static char packet[WHOLE] = HEAD("\1", "\0\1", "\x08",
	    "\0\1\0\x09");
	struct kvp_request req;

	(void)state;
	assert_int_equal(rows_parse(rows_ext, packet, 1, &req), 0);
	assert_int_equal(req.need, HEADER);
	assert_int_equal(rows_parse(rows_ext, packet, HEADER, &req), 0);
	assert_int_equal(req.need, WHOLE);
	assert_int_equal(rows_parse(rows_ext, packet, WHOLE - 1, &req), 0);
	assert_int_equal(req.need, WHOLE);
	assert_int_equal(rows_parse(rows_ext, packet, WHOLE, &req), WHOLE);
	assert_int_equal(req.key.body.len, ROWS_MAX_VALUE);
	assert_int_equal(req.cmd.flags, KVP_CMD_STORES);
}

static void
binary_closes_on_a_bad_magic_byte(void **state)
{
	static const struct row rows[] = {
		{ BYTES(HEAD("\x0a", "\0\0", "\0", "\0\0\0\0")),
		    "24 local 0a 0000||||0" },
		{ BYTES(ZEROS_8 ZEROS_8 ZEROS_8), "close" },
		{ BYTES("\x81"), "close" },
		{ BYTES("get k\r\n"), "close" },
	};
	/* A data type and a bucket mean nothing. */
	static const struct row other = {
		BYTES("\x80\x0a\0\0\0\1\2\3\0\0\0\0" OPAQUE ZEROS_8),
		"24 local 0a 0000||||0"
	};
	size_t i;

	(void)state;
	for (i = 0; i < LEN(rows); i++)
		rows_check(rows_ext, &packets, &rows[i], 1);
	rows_check(rows_ext, &packets, &other, 1);
}

static void
binary_forbids_a_flush_where_told_to(void **state)
{
	static const struct packet_row rows[] = {
		{ "08||||", "24 local+bad 08 0020|||Auth failure.|0" },
		{ "18|" MINUTE "|||",
		    "28 local+bad 18 0020|||Auth failure.|0" },
		{ "08||k||", "24 local+close+bad 08" INVALID },
	};
	void *strict = rows_open(0, ROWS_AUTO, false);

	(void)state;
	test_rows(strict, rows, LEN(rows));
	fn->close(strict);
}

/* What a pinned service makes of LINE or packet. */
static void
test_pinned(unsigned client_proto, const struct rows_dialect *d,
    struct kvp_slice in, const char *expected)
{
	const struct row row = { in, expected };
	void *opened = rows_open(client_proto, ROWS_AUTO, true);
	struct kvp_conn kept = rows_client;

	rows_client = (struct kvp_conn){ { 0, 0 } };
	rows_check(opened, d, &row, 1);
	rows_client = kept;
	fn->close(opened);
}

static void
binary_is_told_from_lines_by_the_first_byte(void **state)
{
	enum { CLIENTS_AUTO, CLIENTS_TEXT, CLIENTS_BINARY };
	static const struct kvp_slice noop = BYTES(HEAD("\x0a", "\0\0", "\0",
	    "\0\0\0\0"));
	static const struct kvp_slice get = BYTES("get k\r\n");
	static const struct kvp_slice version = BYTES("version\r\n");
	static const struct kvp_slice status = BYTES("status\r\n");
	static const struct kvp_slice stats = BYTES("stats\r\n");
	static const struct kvp_slice quit = BYTES("quit\r\n");
	static const char answer[] = "9 local VERSION 1.6.18 kvproxy-0.1.0";
	static const char done[] = "24 local 0a 0000||||0";
	struct kvp_conn conn = { { 0, 0 } };
	struct kvp_request req;

	(void)state;
	test_pinned(CLIENTS_AUTO, &packets, noop, done);
	test_pinned(CLIENTS_AUTO, &rows_lines, get, "7 read+miss_ok k");
	test_pinned(CLIENTS_TEXT, &packets, noop, "close");
	test_pinned(CLIENTS_TEXT, &rows_lines, get, "7 read+miss_ok k");
	test_pinned(CLIENTS_BINARY, &packets, noop, done);
	test_pinned(CLIENTS_BINARY, &rows_lines, get, "close");
	/* A person may ask all the same. */
	test_pinned(CLIENTS_BINARY, &rows_lines, version, answer);
	test_pinned(CLIENTS_BINARY, &rows_lines, status, "8 local-status");
	test_pinned(CLIENTS_BINARY, &rows_lines, quit, "6 local+close");
	test_pinned(CLIENTS_BINARY, &rows_lines, stats, "close");
	assert_int_equal(fn->parse(rows_ext, &conn, noop.p, 0, &req), 0);
	assert_int_equal(req.need, 1);
}

/* Of whatever comes, what is found lies in the bytes that were given, and what
 * the proxy answers is a packet. */
static void
binary_takes_any_bytes(void **state)
{
	uint8_t bytes[96];
	char said[ROWS_TEXT_MAX];
	struct kvp_request req;
	uint32_t random = 1;
	unsigned round, n_whole = 0;
	size_t i, len;
	ssize_t n;

	(void)state;
	for (round = 0; round < 200000; round++) {
		for (i = 0; i < sizeof(bytes); i++) {
			random = random * 1664525 + 1013904223;
			bytes[i] = (uint8_t)(random >> 24);
		}
		len = 1 + bytes[0] % sizeof(bytes);
		bytes[0] = 0x80;
		bytes[1] &= 0x3f;
		/* Mostly short, so that something comes of it. */
		bytes[2] = bytes[8] = bytes[9] = bytes[10] = 0;
		bytes[3] &= 7;
		bytes[4] = (uint8_t)("\0\4\x08\x14"[bytes[4] & 3]);
		bytes[11] &= 0x3f;
		memcpy(bytes + 12, OPAQUE, 4);
		n = rows_parse(rows_ext, bytes, len, &req);
		if (n <= 0) {
			assert_true(n == 0 && req.need > len);
			continue;
		}
		n_whole++;
		assert_true((size_t)n <= len);
		if (req.cmd.class == KVP_LOCAL)
			rows_answer(&packets, &req, NULL, said);
		else if (req.cmd.class != KVP_EVERY)
			assert_true(req.key.key.len + req.key.body.len +
			    HEADER <= (size_t)n);
	}
	assert_true(n_whole > 10000);
}

/*
 * Answers.
 */

static void
binary_answers_a_get(void **state)
{
	static const struct talk talks[] = {
		{ "00||k||", "mg k f c v O7\r\n",
		    "VA 3 f5 c9 O7\r\nabc\r\n", "20 hit",
		    "00 0000|00000005||abc|9" },
		{ "00||k||", "mg k f c v O7\r\n",
		    "VA 0 f4294967295 c18446744073709551615 O7\r\n\r\n",
		    "45 hit", "00 0000|ffffffff|||18446744073709551615" },
		{ "00||k||", "mg k f c v O7\r\n", "EN\r\n", "4 miss",
		    "00" MISSED },
		{ "09||k||", "mg k f c v O7\r\n",
		    "VA 3 f5 c9 O7\r\nabc\r\n", "20 hit",
		    "09 0000|00000005||abc|9" },
		{ "09||k||", "mg k f c v O7\r\n", "EN O7\r\n", "7 miss", "" },
		{ "0c||k||", "mg k f c v O7\r\n",
		    "VA 3 f5 c9 O7\r\nabc\r\n", "20 hit",
		    "0c 0000|00000005|k|abc|9" },
		{ "0c||k||", "mg k f c v O7\r\n", "EN\r\n", "4 miss",
		    "0c 0001||k||0" },
		{ "0d||k||", "mg k f c v O7\r\n",
		    "VA 3 f5 c9 O7\r\nabc\r\n", "20 hit",
		    "0d 0000|00000005|k|abc|9" },
		{ "0d||k||", "mg k f c v O7\r\n", "EN\r\n", "4 miss", "" },
		{ "0c||a b||", "mg YSBi f c v b O7\r\n",
		    "VA 1 f0 c9 O7\r\na\r\n", "18 hit",
		    "0c 0000|00000000|a b|a|9" },
		{ "0c||a\tb||", "mg a\tb f c v O7\r\n", "EN\r\n", "4 miss",
		    "0c 0001||a<09>b||0" },
		{ "0c||" KEY_250 "||", "mg " KEY_250 " f c v O7\r\n",
		    "EN\r\n", "4 miss", "0c 0001||" KEY_250 "||0" },
		/* Nobody here could say who may recache. */
		{ "00||k||", "mg k f c v O7\r\n",
		    "VA 1 f0 c9 O7 X W\r\na\r\n", "22 hit",
		    "00 0000|00000000||a|9" },
		{ "1c|" MINUTE "|k||", "mg k f c T60 O7\r\n",
		    "HD f5 c9 O7\r\n", "13 hit", "1c 0000|00000005|||9" },
		{ "1c|00000000|k||", "mg k f c T0 O7\r\n", "EN\r\n",
		    "4 miss", "1c" MISSED },
		{ "1d|ffffffff|k||", "mg k f c T2147483647 v O7\r\n",
		    "VA 3 f5 c9 O7\r\nabc\r\n", "20 hit",
		    "1d 0000|00000005||abc|9" },
		{ "1e|" MINUTE "|k||", "mg k f c T60 v O7\r\n", "EN\r\n",
		    "4 miss", "" },
		{ "23|" MINUTE "|k||", "mg k f c T60 v O7\r\n",
		    "VA 1 f5 c9 O7\r\na\r\n", "18 hit",
		    "23 0000|00000005|k|a|9" },
		{ "23|" MINUTE "|k||", "mg k f c T60 v O7\r\n", "EN\r\n",
		    "4 miss", "23 0001||k||0" },
		{ "24|" MINUTE "|k||", "mg k f c T60 v O7\r\n", "EN\r\n",
		    "4 miss", "" },
	};

	(void)state;
	rows_check_talks(&rows_meta, &packets, talks, LEN(talks));
}

static void
binary_answers_a_store(void **state)
{
	static const struct talk talks[] = {
		{ "01|" STORE "|k|abc|", "ms k 3 c F5 T60 O7\r\nabc\r\n",
		    "HD c9 O7\r\n", "10 stored", "01 0000||||9" },
		{ "11|" STORE "|k|abc|", "ms k 3 c F5 T60 O7\r\nabc\r\n",
		    "HD c9 O7\r\n", "10 stored", "" },
		{ "01|0000000080000000|k||",
		    "ms k 0 c T2147483647 O7\r\n\r\n", "HD c9 O7\r\n",
		    "10 stored", "01 0000||||9" },
		{ "01|ffffffff00000000|a b|\r\n|",
		    "ms YSBi 2 c F4294967295 b O7\r\n\r\n\r\n",
		    "HD c9 O7\r\n", "10 stored", "01 0000||||9" },
		{ "01|" STORE "|k|abc|", "ms k 3 c F5 T60 O7\r\nabc\r\n",
		    "NS c0 O7\r\n", "10 not_stored",
		    "01 0005|||Not stored.|0" },
		{ "01|" STORE "|k|abc|7",
		    "ms k 3 c C7 F5 T60 O7\r\nabc\r\n", "EX c0 O7\r\n",
		    "10 not_stored", "01" EXISTS },
		{ "11|" STORE "|k|abc|7",
		    "ms k 3 c C7 F5 T60 O7\r\nabc\r\n", "NF O7\r\n",
		    "7 not_stored", "11" MISSED },
		{ "02|" STORE "|k|abc|",
		    "ms k 3 c ME F5 T60 O7\r\nabc\r\n", "HD c9 O7\r\n",
		    "10 stored", "02 0000||||9" },
		{ "12|" STORE "|k|abc|",
		    "ms k 3 c ME F5 T60 O7\r\nabc\r\n", "NS O7\r\n",
		    "7 not_stored", "12" EXISTS },
		{ "02|" STORE "|k|abc|7",
		    "ms k 3 c C7 F5 T60 O7\r\nabc\r\n", "NF O7\r\n",
		    "7 not_stored", "02" MISSED },
		{ "03|" STORE "|k|abc|",
		    "ms k 3 c MR F5 T60 O7\r\nabc\r\n", "NS O7\r\n",
		    "7 not_stored", "03" MISSED },
		{ "13|" STORE "|k|abc|7",
		    "ms k 3 c C7 F5 T60 O7\r\nabc\r\n", "HD c9 O7\r\n",
		    "10 stored", "" },
		{ "0e||k|abc|", "ms k 3 c MA O7\r\nabc\r\n",
		    "HD c9 O7\r\n", "10 stored", "0e 0000||||9" },
		{ "0f||k|abc|", "ms k 3 c MP O7\r\nabc\r\n", "NS O7\r\n",
		    "7 not_stored", "0f 0005|||Not stored.|0" },
		{ "19||k|abc|7", "ms k 3 c C7 MA O7\r\nabc\r\n",
		    "EX O7\r\n", "7 not_stored", "19" EXISTS },
		{ "1a||k||", "ms k 0 c MP O7\r\n\r\n", "HD c9 O7\r\n",
		    "10 stored", "" },
	};

	(void)state;
	rows_check_talks(&rows_meta, &packets, talks, LEN(talks));
}

static void
binary_answers_deletes_and_counters(void **state)
{
	static const struct talk talks[] = {
		{ "04||k||", "md k O7\r\n", "HD O7\r\n", "7 stored",
		    "04 0000||||0" },
		{ "04||k||", "md k O7\r\n", "NF O7\r\n", "7 not_stored",
		    "04" MISSED },
		{ "04||k||7", "md k C7 O7\r\n", "EX O7\r\n",
		    "7 not_stored", "04" EXISTS },
		{ "14||k||7", "md k C7 O7\r\n", "HD O7\r\n", "7 stored",
		    "" },
		{ "14||k||", "md k O7\r\n", "NF O7\r\n", "7 not_stored",
		    "14" MISSED },
		{ "05|" COUNT_NO_MAKE "|k||", "ma k c v D5 O7\r\n",
		    "VA 2 c9 O7\r\n18\r\n", "16 stored",
		    "05 0000|||<0000000000000012>|9" },
		{ "06|" COUNT_NO_MAKE "|k||", "ma k c v D5 MD O7\r\n",
		    "VA 20 c9 O7\r\n18446744073709551615\r\n", "35 stored",
		    "06 0000|||<ffffffffffffffff>|9" },
		{ "05|" COUNT_NO_MAKE "|k||", "ma k c v D5 O7\r\n",
		    "NF O7\r\n", "7 not_stored", "05" MISSED },
		{ "05|" COUNT "|k||", "ma k c N60 v D5 J13 O7\r\n",
		    "VA 2 c9 O7\r\n13\r\n", "16 stored",
		    "05 0000|||<000000000000000d>|9" },
		{ "06|0000000000000000000000000000000080000000|a b||",
		    "ma YSBi c N2147483647 v D0 MD b O7\r\n",
		    "NS O7\r\n", "7 not_stored", "06 0005|||Not stored.|0" },
		{ "15|" COUNT "|k||", "ma k c N60 v D5 J13 O7\r\n",
		    "VA 1 c9 O7\r\n1\r\n", "15 stored", "" },
		{ "16|" COUNT "|k||7", "ma k c N60 v D5 C7 J13 MD O7\r\n",
		    "EX O7\r\n", "7 not_stored", "16" EXISTS },
		{ "15|" COUNT_NO_MAKE "|k||", "ma k c v D5 O7\r\n",
		    "NF O7\r\n", "7 not_stored", "15" MISSED },
		{ "15|" COUNT "|k||", "ma k c N60 v D5 J13 O7\r\n",
		    NON_NUMERIC "\r\n", "62 error", "15 0006|||"
		    "Non-numeric server-side value for incr or decr|0" },
		{ "08||||", "flush_all\r\n", "OK\r\n", "4 stored",
		    "08 0000||||0" },
		{ "08|00000000|||", "flush_all\r\n", "OK\r\n", "4 stored",
		    "08 0000||||0" },
		{ "18|" MINUTE "|||", "flush_all 60\r\n", "OK\r\n",
		    "4 stored", "" },
	};

	(void)state;
	rows_check_talks(&rows_meta, &packets, talks, LEN(talks));
}

static void
binary_gives_the_errors_of_servers_a_status(void **state)
{
	static const struct talk talks[] = {
		{ "00||k||", "mg k f c v O7\r\n", OOM "\r\n", "28 error",
		    "00 0082|||Out of memory|0" },
		{ "09||k||", "mg k f c v O7\r\n",
		    "SERVER_ERROR out of memory writing get response\r\n",
		    "49 error", "09 0082|||Out of memory|0" },
		{ "01|" STORE "|k|abc|", "ms k 3 c F5 T60 O7\r\nabc\r\n",
		    TOO_LARGE "\r\n", "41 error", "01" LARGE },
		{ "11|" STORE "|k|abc|", "ms k 3 c F5 T60 O7\r\nabc\r\n",
		    "SERVER_ERROR Out of memory allocating item\r\n",
		    "44 error", "11 0082|||Out of memory|0" },
		{ "14||k||", "md k O7\r\n", "SERVER_ERROR busy\r\n",
		    "19 error", "14 0086|||SERVER_ERROR busy|0" },
		{ "04||k||", "md k O7\r\n", NON_NUMERIC "\r\n",
		    "62 error+fatal", "04 0006|||"
		    "Non-numeric server-side value for incr or decr|0" },
		{ "0c||k||", "mg k f c v O7\r\n", "ERROR\r\n",
		    "7 error+fatal", "0c 0086|||ERROR|0" },
		{ "0d||k||", "mg k f c v O7\r\n",
		    "VA 65537 f0 c9 O7\r\n", "19 error swallow=65539",
		    "0d 0086|||SERVER_ERROR value larger than max_packet|0" },
		{ "1c|" MINUTE "|k||", "mg k f c T60 O7\r\n",
		    "HD f4294967296 c9 O7\r\n", "22 error", "1c 0086|||"
		    "SERVER_ERROR the value's flags are wider than 32 bits"
		    "|0" },
	};

	(void)state;
	rows_check_talks(&rows_meta, &packets, talks, LEN(talks));
}

static void
binary_is_asked_of_text_servers_as_far_as_can_be(void **state)
{
	static const struct talk talks[] = {
		{ "00||k||", "gets k\r\n",
		    "VALUE k 5 3 9\r\nabc\r\nEND\r\n", "25 hit",
		    "00 0000|00000005||abc|9" },
		{ "0d||k||", "gets k\r\n", "END\r\n", "5 miss", "" },
		{ "1c|" MINUTE "|k||", "gats 60 k\r\n",
		    "VALUE k 5 3 9\r\nabc\r\nEND\r\n", "25 hit",
		    "1c 0000|00000005|||9" },
		{ "1d|ffffffff|k||", "gats 2147483647 k\r\n", "END\r\n",
		    "5 miss", "1d" MISSED },
		{ "1c|" MINUTE "|k||", "gats 60 k\r\n", "ERROR\r\n",
		    "7 error", "1c 0086|||ERROR|0" },
		/* Their CAS is not to be had. */
		{ "01|" STORE "|k|abc|", "set k 5 60 3\r\nabc\r\n",
		    "STORED\r\n", "8 stored", "01 0000||||0" },
		{ "01|" STORE "|k|abc|7", "cas k 5 60 3 7\r\nabc\r\n",
		    "EXISTS\r\n", "8 not_stored", "01" EXISTS },
		{ "02|" STORE "|k|abc|", "add k 5 60 3\r\nabc\r\n",
		    "NOT_STORED\r\n", "12 not_stored", "02" EXISTS },
		{ "13|" STORE "|k|abc|", "replace k 5 60 3\r\nabc\r\n",
		    "NOT_STORED\r\n", "12 not_stored", "13" MISSED },
		{ "0e||k|abc|", "append k 0 0 3\r\nabc\r\n",
		    "NOT_STORED\r\n", "12 not_stored",
		    "0e 0005|||Not stored.|0" },
		{ "1a||k|abc|", "prepend k 0 0 3\r\nabc\r\n",
		    "STORED\r\n", "8 stored", "" },
		{ "04||k||", "delete k\r\n", "DELETED\r\n", "9 stored",
		    "04 0000||||0" },
		{ "05|" COUNT_NO_MAKE "|k||", "incr k 5\r\n", "18\r\n",
		    "4 stored", "05 0000|||<0000000000000012>|0" },
		{ "06|" COUNT_NO_MAKE "|k||", "decr k 5\r\n",
		    "NOT_FOUND\r\n", "11 not_stored", "06" MISSED },
		{ "04||k||7", NULL, NULL, NULL, NULL },
		{ "0e||k|abc|7", NULL, NULL, NULL, NULL },
		{ "05|" COUNT "|k||7", NULL, NULL, NULL, NULL },
		{ "00||a b||", NULL, NULL, NULL, NULL },
		{ "01|" STORE "|a\nb|abc|", NULL, NULL, NULL, NULL },
	};

	(void)state;
	rows_check_talks(&rows_text, &packets, talks, LEN(talks));
}

/* A counter that a miss makes is two commands there, in one leg. */
static void
binary_joins_an_incr_and_its_add(void **state)
{
#define MAKE	"05|" COUNT "|k||"
#define MADE	"incr k 5\r\nadd k 0 60 2\r\n13\r\n"
#define NUMBER	"05 0000|||<0000000000000012>|0"
#define NO_NUMBER "05 0006|||Non-numeric server-side value for incr or decr|0"
#define NO_ROOM	"05 0082|||Out of memory|0"
#define LOST	"05 0086|||ERROR|0"
	static const struct talk talks[] = {
		{ MAKE, MADE, "18\r\nSTORED\r\n", "12 stored", NUMBER },
		{ MAKE, MADE, "18\r\nNOT_STORED\r\n", "16 stored", NUMBER },
		{ MAKE, MADE, "18\r\n" OOM "\r\n", "32 stored", NUMBER },
		{ MAKE, MADE, "18\r\nERROR\r\n", "11 stored+fatal", NUMBER },
		{ MAKE, MADE, "NOT_FOUND\r\nSTORED\r\n", "19 stored",
		    "05 0000|||<000000000000000d>|0" },
		{ MAKE, MADE, "NOT_FOUND\r\nNOT_STORED\r\n",
		    "23 not_stored", "05 0005|||Not stored.|0" },
		{ MAKE, MADE, "NOT_FOUND\r\n" OOM "\r\n", "39 error",
		    NO_ROOM },
		{ MAKE, MADE, "NOT_FOUND\r\nERROR\r\n", "18 error+fatal",
		    LOST },
		{ MAKE, MADE, NON_NUMERIC "\r\nSTORED\r\n", "70 error",
		    NO_NUMBER },
		{ MAKE, MADE, NON_NUMERIC "\r\nNOT_STORED\r\n", "74 error",
		    NO_NUMBER },
		{ MAKE, MADE, NON_NUMERIC "\r\n" OOM "\r\n", "90 error",
		    NO_NUMBER },
		{ MAKE, MADE, NON_NUMERIC "\r\nERROR\r\n", "69 error+fatal",
		    NO_NUMBER },
		{ MAKE, MADE, OOM "\r\nSTORED\r\n", "36 error", NO_ROOM },
		{ MAKE, MADE, OOM "\r\nNOT_STORED\r\n", "40 error",
		    NO_ROOM },
		{ MAKE, MADE, OOM "\r\n" OOM "\r\n", "56 error", NO_ROOM },
		{ MAKE, MADE, OOM "\r\nERROR\r\n", "35 error+fatal",
		    NO_ROOM },
		{ MAKE, MADE, "ERROR\r\n", "7 error+fatal", LOST },
	};

	(void)state;
	rows_check_talks(&rows_text, &packets, talks, LEN(talks));
#undef MAKE
#undef MADE
#undef NUMBER
#undef NO_NUMBER
#undef NO_ROOM
#undef LOST
}

static void
binary_gives_a_recache_token_back_and_reads_again(void **state)
{
	static const struct sequel rows[] = {
		{ "00||k||", 0, "VA 1 f0 c5 O7 X W\r\na\r\n",
		    KVP_FOLLOW_ASIDE | KVP_FOLLOW_AGAIN, "md k C5 I O7\r\n" },
		{ "0d||k||", 0, "VA 1 f0 c5 O7 X W\r\na\r\n",
		    KVP_FOLLOW_ASIDE | KVP_FOLLOW_AGAIN, "md k C5 I O7\r\n" },
		{ "1c|" MINUTE "|k||", 0, "HD f0 c5 O7 X W\r\n",
		    KVP_FOLLOW_ASIDE | KVP_FOLLOW_AGAIN, "md k C5 I O7\r\n" },
		{ "23|" MINUTE "|k||", 0, "VA 1 f0 c5 O7 X W\r\na\r\n",
		    KVP_FOLLOW_ASIDE | KVP_FOLLOW_AGAIN, "md k C5 I O7\r\n" },
		{ "00||k||", 0, "VA 1 f0 c5 O7 X Z\r\na\r\n",
		    KVP_FOLLOW_NONE, "" },
		{ "00||k||", 1, "VALUE k 0 1 6\r\na\r\nEND\r\n",
		    KVP_FOLLOW_NONE, "" },
		/* Not a key for a line: it wins once more, and ends there. */
		{ "00||a b||", 1, "VA 1 f0 c5 O7 X W\r\na\r\n",
		    KVP_FOLLOW_ASIDE, "md YSBi C5 I b O7\r\n" },
		{ "00||k||", 0, "VA 65537 f0 c5 O7 X W\r\n",
		    KVP_FOLLOW_ASIDE, "md k C5 I O7\r\n" },
		{ "01|" STORE "|k|abc|", 0, "HD c5 O7\r\n",
		    KVP_FOLLOW_NONE, "" },
	};

	(void)state;
	rows_check_sequels(&packets, rows, LEN(rows));
}

/* It has touched already, and the classic protocol wins no token. */
static void
binary_asks_classic_for_a_read_that_is_repeated(void **state)
{
	static const char *const rows[][2] = {
		{ "00||k||", "gets k\r\n" },
		{ "1c|" MINUTE "|k||", "gets k\r\n" },
		{ "23|" MINUTE "|k||", "gets k\r\n" },
		{ "00||a b||", "mg YSBi f c v b O7\r\n" },
	};
	static const char reply[] = "VALUE k 5 1 6\r\na\r\nEND\r\n";
	struct kvp_request req;
	struct kvp_reply r;
	char asked[ROWS_TEXT_MAX];
	size_t i;

	(void)state;
	for (i = 0; i < LEN(rows); i++) {
		rows_request(&packets, rows[i][0], &req);
		req.key.step = 1;
		assert_true(rows_encode(&rows_meta, &req.cmd, &req.key,
		    asked));
		rows_expect(asked, rows[i][1], rows[i][0]);
	}
	rows_request(&packets, rows[1][0], &req);
	req.key.step = 1;
	assert_int_equal(rows_decode(&rows_meta, &req, reply, strlen(reply),
	    &r), strlen(reply));
	rows_answer(&packets, &req, &r, asked);
	assert_string_equal(asked, "1c 0000|00000005|||6");
}

static void
binary_joins_the_answers_to_a_flush(void **state)
{
	static const char *const oks[] = { "OK\r\n", "OK\r\n" };
	static const char *const denied[] = {
		"OK\r\n", "CLIENT_ERROR flush_all not allowed\r\n", "OK\r\n"
	};
	static const char *const worst[] = {
		"SERVER_ERROR no\r\n",
		"CLIENT_ERROR flush_all not allowed\r\n", "OK\r\n"
	};

	(void)state;
	rows_check_parts(&packets, "08||||", oks, 2, "08 0000||||0");
	rows_check_parts(&packets, "18||||", oks, 2, "");
	rows_check_parts(&packets, "08||||", denied, 3,
	    "08 0020|||Auth failure.|0");
	rows_check_parts(&packets, "18||||", denied, 3,
	    "18 0020|||Auth failure.|0");
	rows_check_parts(&packets, "18||||", worst, 3,
	    "18 0086|||a server failed|0");
}

static void
binary_says_failures_to_the_quiet_too(void **state)
{
	static const struct failure rows[] = {
		{ "00||k||", KVP_FAIL_TIMEOUT, "h:1",
		    "00 0086|||h:1 timed out|0" },
		{ "09||k||", KVP_FAIL_DOWN, "h:1",
		    "09 0086|||h:1 cannot be reached|0" },
		{ "0d||k||7", KVP_FAIL_CLOSED, NULL,
		    "0d 0086|||the server closed the connection|0" },
		{ "11|" STORE "|k|abc|7", KVP_FAIL_NO_HOST, NULL,
		    "11 0086|||no server for this key|0" },
		{ "14||k||", KVP_FAIL_UNREAD, "h:1",
		    "14 0086|||too many answers are left unread|0" },
		{ "15|" COUNT "|k||", KVP_FAIL_MEMORY, "h:1",
		    "15 0082|||Out of memory|0" },
		{ "00||a b||", KVP_FAIL_UNSUPPORTED, "h:1", "00" INVALID },
		{ "18||||", KVP_FAIL_DOWN, "a:1,b:2",
		    "18 0086|||a:1,b:2 cannot be reached|0" },
	};
	char name[2000], expected[1024];
	const struct failure longest = {
		"00||k||", KVP_FAIL_BACKUP, name, expected
	};

	(void)state;
	rows_check_failures(&packets, rows, LEN(rows));
	memset(name, 'h', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	sprintf(expected, "00 0086|||%.512s did not take the copy, "
	    "only the primary has done it|0", name);
	rows_check_failures(&packets, &longest, 1);
}

static void
binary_renders_a_bare_miss(void **state)
{
	static const char *const rows[][2] = {
		{ "00||k||", "00" MISSED },
		{ "09||k||", "" },
		{ "0c||k||", "0c 0001||k||0" },
		{ "1c|" MINUTE "|k||", "1c" MISSED },
		{ "24|" MINUTE "|k||", "" },
	};

	(void)state;
	rows_check_bare_misses(&packets, rows, LEN(rows));
}

static void
binary_gives_statistics(void **state)
{
	static const struct kvp_slice none = { NULL, 0 };
	static const struct kvp_slice name = BYTES("pid"), value = BYTES("7");
	static const struct kvp_slice empty = BYTES("");
	char longest[2000], expected[1024];
	const struct kvp_slice many = {
		(const uint8_t *)longest, sizeof(longest) - 1
	};

	(void)state;
	rows_check_admin(&packets, "10||||", name, value,
	    "10 0000||pid|7|0");
	rows_check_admin(&packets, "10||||", name, empty, "10 0000||pid||0");
	rows_check_admin(&packets, "10||||", none, none, "10 0000||||0");
	rows_check_admin(&packets, "10||foo||", name, none, "10" MISSED);
	memset(longest, 'n', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	sprintf(expected, "10 0000||%.512s|7|0", longest);
	rows_check_admin(&packets, "10||||", many, value, expected);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(binary_reads_a_get),
		cmocka_unit_test(binary_reads_a_write),
		cmocka_unit_test(binary_answers_what_needs_no_server),
		cmocka_unit_test(
		    binary_closes_where_parts_are_not_as_they_must_be),
		cmocka_unit_test(binary_closes_where_lengths_are_beyond_belief),
		cmocka_unit_test(
		    binary_swallows_the_body_of_what_it_does_not_know),
		cmocka_unit_test(
		    binary_deletes_for_a_set_alone_that_is_too_large),
		cmocka_unit_test(binary_says_exactly_how_much_a_store_needs),
		cmocka_unit_test(binary_closes_on_a_bad_magic_byte),
		cmocka_unit_test(binary_forbids_a_flush_where_told_to),
		cmocka_unit_test(binary_is_told_from_lines_by_the_first_byte),
		cmocka_unit_test(binary_takes_any_bytes),
		cmocka_unit_test(binary_answers_a_get),
		cmocka_unit_test(binary_answers_a_store),
		cmocka_unit_test(binary_answers_deletes_and_counters),
		cmocka_unit_test(binary_gives_the_errors_of_servers_a_status),
		cmocka_unit_test(
		    binary_is_asked_of_text_servers_as_far_as_can_be),
		cmocka_unit_test(binary_joins_an_incr_and_its_add),
		cmocka_unit_test(
		    binary_gives_a_recache_token_back_and_reads_again),
		cmocka_unit_test(
		    binary_asks_classic_for_a_read_that_is_repeated),
		cmocka_unit_test(binary_joins_the_answers_to_a_flush),
		cmocka_unit_test(binary_says_failures_to_the_quiet_too),
		cmocka_unit_test(binary_renders_a_bare_miss),
		cmocka_unit_test(binary_gives_statistics),
	};

	return cmocka_run_group_tests(tests, rows_setup, rows_teardown);
}
