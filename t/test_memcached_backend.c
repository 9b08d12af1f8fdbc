#include "t/memcached_rows.h"

static const struct kvp_ext *const fn = &kvp_extension;

/* What the answer to a greeting makes of a connection. */
static ssize_t
test_greeted(enum rows_proto proto, const char *answer, size_t len,
    struct kvp_conn *conn)
{
	/* A server to be asked in text is not bothered with meta. */
	size_t asked = proto == ROWS_TEXT ? 9 : 13;
	void *opened = rows_open(0, proto, true);
	uint8_t room[KVP_ROOM];
	ssize_t n;

	*conn = (struct kvp_conn){ { 0, 0 } };
	assert_int_equal(fn->greet(opened, conn, room, sizeof(room)), asked);
	assert_memory_equal(room, "version\r\nmn\r\n", asked);
	n = fn->greeted(opened, conn, rows_place(answer, len), len);
	fn->close(opened);
	return n;
}

static void
backend_takes_meta_from_servers_that_speak_it(void **state)
{
	static const struct {
		const char	*answer;
		enum rows_proto	 proto;
		struct kvp_conn	*like;	/* NULL: refused */
	} rows[] = {
		{ "VERSION 1.6.18\r\nMN\r\n", ROWS_AUTO, &rows_meta },
		{ "VERSION 1.6.18_3\r\nMN\r\n", ROWS_AUTO, &rows_meta },
		{ "VERSION 1.6.18 kvproxy-0.1.0\r\nMN\r\n", ROWS_AUTO,
		    &rows_meta },
		{ "VERSION 1.6.100\r\nMN\r\n", ROWS_AUTO, &rows_meta },
		{ "VERSION 1.7\r\nMN\r\n", ROWS_AUTO, &rows_meta },
		{ "VERSION 2.0.0\r\nMN\r\n", ROWS_AUTO, &rows_meta },
		{ "VERSION 1.6.17\r\nMN\r\n", ROWS_AUTO, &rows_text },
		{ "VERSION 1.6\r\nMN\r\n", ROWS_AUTO, &rows_text },
		{ "VERSION 1.5.99\r\nERROR\r\n", ROWS_AUTO, &rows_text },
		{ "VERSION 0.9.9\r\nMN\r\n", ROWS_AUTO, &rows_text },
		{ "VERSION 1.6.18\r\nERROR\r\n", ROWS_AUTO, &rows_text },
		{ "VERSION anything\r\nERROR unknown\r\n", ROWS_AUTO,
		    &rows_text },
		{ "VERSION anything\r\nCLIENT_ERROR what\r\n", ROWS_AUTO,
		    &rows_text },
		{ "VERSION 1.6.18\r\n", ROWS_TEXT, &rows_text },
		{ "VERSION 1.6.9\r\nMN\r\n", ROWS_META, &rows_meta },
		{ "VERSION 1.6.18\r\nERROR\r\n", ROWS_META, NULL },
		{ "VERSION 1.6.18\nMN\r\n", ROWS_AUTO, NULL },
		{ "VERSION 1.6.18\r\nHD\r\n", ROWS_AUTO, NULL },
		{ "HTTP/1.1 400 Bad Request\r\n\r\n", ROWS_AUTO, NULL },
		{ "-ERR unknown command\r\n", ROWS_AUTO, NULL },
		{ "\r\n\r\n", ROWS_AUTO, NULL },
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
		{ "gets k\r\n", "gets k\r\n",
		  "VALUE k 0 1 18446744073709551615\r\na\r\nEND\r\n", "42 hit",
		  "VALUE k 0 1 18446744073709551615\r\na\r\nEND\r\n" },
		{ "gat 100 k\r\n", "mg k f T100 v O7\r\n",
		  "VA 1 f0 O7 Z X\r\na\r\n", "19 hit",
		  "VALUE k 0 1\r\na\r\nEND\r\n" },
		{ "gats -9 k\r\n", "gats -1 k\r\n", "END\r\n",
		  "5 miss", "END\r\n" },
		{ "touch k 0\r\n", "touch k 0\r\n", "TOUCHED\r\n", "9 hit",
		  "TOUCHED\r\n" },
		{ "touch k 2147483648\r\n", "touch k -1\r\n",
		  "NOT_FOUND\r\n", "11 miss", "NOT_FOUND\r\n" },
		{ "touch k 1 noreply\r\n", "touch k 1\r\n", "TOUCHED\r\n",
		  "9 hit", "" },
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
		{ "set k 0 0 65537\r\n", "md k O7\r\n", "HD O7\r\n",
		  "7 stored", TOO_LARGE "\r\n" },
		/* Such a store may not cost the old value where it fails. */
		{ "append k 0 0 3\r\nabc\r\n", "ms k 3 MA O7\r\nabc\r\n",
		  "NS O7\r\n", "7 not_stored", "NOT_STORED\r\n" },
		{ "set k 0 0 65537 noreply\r\n", "md k O7\r\n", "HD O7\r\n",
		  "7 stored", "" },
	};

	(void)state;
	rows_check_talks(&rows_meta, &rows_lines, talks, LEN(talks));
}

static void
meta_passes_errors_on(void **state)
{
	static const struct talk talks[] = {
		{ "get k\r\n", "mg k f v O7\r\n",
		    "VA 3 f4294967296 O7\r\nabc\r\n", "26 error",
		    "SERVER_ERROR the value's flags are wider than 32 "
		    "bits\r\n" },
		{ "get k\r\n", "mg k f v O7\r\n",
		    "SERVER_ERROR out of memory\r\n", "28 error",
		    "SERVER_ERROR out of memory\r\n" },
		{ "set k 0 0 1\r\na\r\n", "ms k 1 O7\r\na\r\n",
		    "SERVER_ERROR out of memory storing object\r\n", "43 error",
		    "SERVER_ERROR out of memory storing object\r\n" },
		{ "incr k 1\r\n", "ma k v D1 O7\r\n", NON_NUMERIC "\r\n",
		    "62 error", NON_NUMERIC "\r\n" },
		{ "incr k 1 noreply\r\n", "ma k v D1 O7\r\n",
		    NON_NUMERIC "\r\n", "62 error", "" },
		{ "get k\r\n", "mg k f v O7\r\n", NON_NUMERIC "\r\n",
		    "62 error+fatal", NON_NUMERIC "\r\n" },
		{ "flush_all\r\n", "flush_all\r\n",
		    "CLIENT_ERROR flush_all not allowed\r\n", "36 error",
		    "CLIENT_ERROR flush_all not allowed\r\n" },
		{ "delete k\r\n", "md k O7\r\n",
		    "CLIENT_ERROR flush_all not allowed\r\n", "36 error+fatal",
		    "CLIENT_ERROR flush_all not allowed\r\n" },
		{ "get k\r\n", "mg k f v O7\r\n", "ERROR\r\n", "7 error+fatal",
		    "ERROR\r\n" },
		{ "get k\r\n", "mg k f v O7\r\n",
		    "CLIENT_ERROR bad data chunk\r\n", "29 error+fatal",
		    "CLIENT_ERROR bad data chunk\r\n" },
		{ "get k\r\n", "mg k f v O7\r\n",
		    "ERROR Too many open connections\r\n", "33 error+fatal",
		    "ERROR Too many open connections\r\n" },
		{ "get k\r\n", "mg k f v O7\r\n",
		    "SERVER_ERROR a\x01" "b\r\n", "18 error",
		    "SERVER_ERROR the server's error is unreadable\r\n" },
		{ "set k 0 0 65537\r\n", "md k O7\r\n",
		    "SERVER_ERROR out of memory\r\n", "28 error",
		    TOO_LARGE "\r\n" },
	};
	char reply[2000];
	const struct talk longest = {
		"get k\r\n", "mg k f v O7\r\n", reply, "1515 error",
		"SERVER_ERROR the server's error is unreadable\r\n"
	};

	(void)state;
	rows_check_talks(&rows_meta, &rows_lines, talks, LEN(talks));
	sprintf(reply, "SERVER_ERROR %01500d\r\n", 0);
	rows_check_talks(&rows_meta, &rows_lines, &longest, 1);
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

	(void)state;
	rows_check_nonsense(&rows_meta, &rows_lines, rows, LEN(rows));
	/* A line without an end. */
	memset(line, 'V', sizeof(line));
	rows_request(&rows_lines, "get k\r\n", &req);
	assert_int_equal(rows_decode(&rows_meta, &req, line, 2047, &r), 0);
	assert_true(rows_decode(&rows_meta, &req, line, 2048, &r) < 0);
}

static void
backend_swallows_a_value_that_is_too_large(void **state)
{
	static const struct talk in_meta = {
		"get k\r\n", "mg k f v O7\r\n", "VA 65537 f5 O7\r\n",
		"16 error swallow=65539",
		"SERVER_ERROR value larger than max_packet\r\n"
	};
	static const struct talk in_text = {
		"get k\r\n", "get k\r\n", "VALUE k 0 1073741824\r\n",
		"22 error swallow=1073741831",
		"SERVER_ERROR value larger than max_packet\r\n"
	};

	(void)state;
	rows_check_talks(&rows_meta, &rows_lines, &in_meta, 1);
	rows_check_talks(&rows_text, &rows_lines, &in_text, 1);
}

static void
backend_says_exactly_how_much_a_value_needs(void **state)
{
	struct kvp_request req;
	struct kvp_reply r;

	(void)state;
	rows_request(&rows_lines, "get k\r\n", &req);
	assert_int_equal(
	    rows_decode(&rows_meta, &req, "VA 65536 f5 O7\r\nab", 18, &r), 0);
	assert_int_equal(r.need, 16 + 65536 + 2);
	assert_int_equal(
	    rows_decode(&rows_text, &req, "VALUE k 0 65536\r\n", 17, &r), 0);
	assert_int_equal(r.need, 17 + 65536 + 7);
}

/* What meta asks for KEY. */
static bool
test_ask_key(struct kvp_conn *conn, const char *p, size_t len, char *asked)
{
	const struct kvp_key key = { .key = { (const uint8_t *)p, len } };
	struct kvp_request req;

	rows_request(&rows_lines, "get k\r\n", &req);
	return rows_encode(conn, &req.cmd, &key, asked);
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
	char key[251], asked[ROWS_TEXT_MAX];
	size_t i;

	(void)state;
	for (i = 0; i < LEN(rows); i++) {
		assert_true(test_ask_key(&rows_meta, rows[i].key, rows[i].len,
		    asked));
		assert_string_equal(asked, rows[i].asked);
		assert_int_equal(test_ask_key(&rows_text, rows[i].key,
		    rows[i].len, asked), rows[i].key[0] == '0' &&
		    rows[i].len == 12);
	}
	memset(key, ' ', sizeof(key));
	assert_true(test_ask_key(&rows_meta, key, 186, asked));
	assert_int_equal(strlen(asked), 3 + 248 + strlen(" f v b O7\r\n"));
	assert_false(test_ask_key(&rows_meta, key, 187, asked));
	memset(key, 'k', sizeof(key));
	assert_true(test_ask_key(&rows_meta, key, 250, asked));
	assert_false(test_ask_key(&rows_meta, key, 251, asked));
	assert_false(test_ask_key(&rows_meta, key, 0, asked));
	assert_false(test_ask_key(&rows_text, key, 251, asked));
	assert_false(test_ask_key(&rows_text, key, 0, asked));
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
		{ "set k 0 0 65537\r\n", "delete k\r\n", "DELETED\r\n",
		  "9 stored", TOO_LARGE "\r\n" },
	};

	(void)state;
	rows_check_talks(&rows_text, &rows_lines, talks, LEN(talks));
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
		{ "set k 0 0 65537\r\n", "STORED\r\n" },
	};

	(void)state;
	rows_check_nonsense(&rows_text, &rows_lines, rows, LEN(rows));
}

static void
meta_gives_back_a_recache_token(void **state)
{
	static const struct sequel rows[] = {
		{ "get k\r\n", 0, "VA 1 f0 O7 X W\r\na\r\n",
		  KVP_FOLLOW_ASIDE | KVP_FOLLOW_HOLD, "mg k c O7\r\n" },
		{ "gat 9 k\r\n", 0, "VA 1 f0 O7 X W\r\na\r\n",
		  KVP_FOLLOW_ASIDE | KVP_FOLLOW_HOLD, "mg k c O7\r\n" },
		{ "get k\r\n", 0, "VA 1 f0 O7 Z X\r\na\r\n",
		  KVP_FOLLOW_NONE, "" },
		{ "gets k\r\n", 0, "VALUE k 0 1 6\r\na\r\nEND\r\n",
		  KVP_FOLLOW_NONE, "" },
		{ "set k 0 0 1\r\na\r\n", 0, "HD O7\r\n",
		  KVP_FOLLOW_NONE, "" },
		/* Also with a value that is too large to be shown. */
		{ "get k\r\n", 0, "VA 65537 f0 O7 X W\r\n",
		  KVP_FOLLOW_ASIDE | KVP_FOLLOW_HOLD, "mg k c O7\r\n" },
		/* A meta client knows what to do with it. */
		{ "mg k f v\r\n", 0, "VA 1 f0 O7 X W\r\na\r\n",
		  KVP_FOLLOW_NONE, "" },
	};
	struct kvp_request req;
	char asked[ROWS_TEXT_MAX];

	(void)state;
	rows_check_sequels(&rows_lines, rows, LEN(rows));
	rows_request(&rows_lines, "get k\r\n", &req);
	assert_int_equal(rows_follow(&rows_text, &req,
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
	char asked[ROWS_TEXT_MAX];
	size_t i;

	(void)state;
	for (i = 0; i < LEN(seen); i++) {
		rows_request(&rows_lines, "get k\r\n", &req);
		rows_follow(&rows_meta, &req, "VA 1 f0 O7 X W\r\na\r\n", asked);
		assert_int_equal(rows_follow(&rows_meta, &req, seen[i], asked),
		    i < 2 ? KVP_FOLLOW_NONE : KVP_FOLLOW_ASIDE);
	}
	assert_string_equal(asked, "md k C9 I O7\r\n");
	for (i = 0; i < LEN(replies); i++)
		assert_int_equal(
		    rows_follow(&rows_meta, &req, replies[i], asked),
		    KVP_FOLLOW_NONE);
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
	rows_check_parts(&rows_lines, "get a b c\r\n", values, 3,
	    "VALUE a 5 1\r\na\r\nVALUE c 0 0\r\n\r\nEND\r\n");
	rows_check_parts(&rows_lines, "get a b\r\n", misses, 2, "END\r\n");
	rows_check_parts(&rows_lines, "get a b\r\n", one_fails, 2,
	    "VALUE a 5 1\r\na\r\nSERVER_ERROR a server failed\r\n");
	rows_check_parts(&rows_lines, "flush_all\r\n", oks, 2, "OK\r\n");
	rows_check_parts(&rows_lines, "flush_all\r\n", denied, 3,
	    "CLIENT_ERROR flush_all not allowed\r\n");
	rows_check_parts(&rows_lines, "flush_all\r\n", worst, 3,
	    "SERVER_ERROR a server failed\r\n");
	rows_check_parts(&rows_lines, "flush_all noreply\r\n", worst, 3, "");
}

static void
text_renders_a_bare_miss(void **state)
{
	static const char *const rows[][2] = {
		{ "get k\r\n", "END\r\n" },
		{ "gats 9 k\r\n", "END\r\n" },
	};

	(void)state;
	rows_check_bare_misses(&rows_lines, rows, LEN(rows));
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
		cmocka_unit_test(text_joins_the_answers_of_many),
		cmocka_unit_test(text_renders_a_bare_miss),
	};

	return cmocka_run_group_tests(tests, rows_setup, rows_teardown);
}
