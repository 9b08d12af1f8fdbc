#include "t/memcached_rows.h"

#define USAGE	FORMAT ".  Usage: delete <key> [noreply]"
#define EXPTIME	"CLIENT_ERROR invalid exptime argument"
#define DELTA	"CLIENT_ERROR invalid numeric delta argument"

enum {
	LONG_MAX_LEN = 512 * 1024	/* of a line in these tests */
};

static const struct kvp_ext *const fn = &kvp_extension;

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
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
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
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
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
		    TOO_LARGE },
	};

	(void)state;
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
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
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
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
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
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
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
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
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
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
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
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
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
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
	void *strict = rows_open(0, ROWS_AUTO, false);

	(void)state;
	rows_check(strict, &rows_lines, rows, LEN(rows));
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
		{ "get ", "a ", ROWS_MAX_VALUE / 2, "\n", false },
		{ "set ", "a ", 2000, "\r\n", false },
	};
	char *line = malloc(LONG_MAX_LEN);
	struct kvp_request req;
	size_t len, i, at;
	ssize_t n;

	(void)state;
	assert_non_null(line);
	for (i = 0; i < LEN(rows); i++) {
		bool closed = false;

		len = test_long_line(line, rows[i].head, rows[i].fill,
		    rows[i].n, rows[i].tail);
		n = rows_parse(rows_ext, line, len, &req);
		assert_int_equal(n, rows[i].accepted ? (ssize_t)len : -1);
		for (at = 1; at < len; at += at < 2100 ? 1 : 997) {
			n = rows_parse(rows_ext, line, at, &req);
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
	assert_int_equal(rows_parse(rows_ext, line, 4095, &req), -1);
	free(line);
}

static void
text_walks_a_multiget_of_many_keys(void **state)
{
	enum { N = 6000 };
	char *line = malloc(LONG_MAX_LEN), name[32];
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
	assert_int_equal(rows_parse(rows_ext, line, len, &req), len);
	assert_int_equal(req.cmd.n_keys, N);
	for (i = 0; i < N; i++) {
		assert_true(fn->next_key(
		    rows_ext, &req.cmd, req.keys, &at, &key, room));
		assert_int_equal(key.key.len, sprintf(name, "key%u", i));
		assert_memory_equal(key.key.p, name, key.key.len);
	}
	assert_false(
	    fn->next_key(rows_ext, &req.cmd, req.keys, &at, &key, room));
	free(line);
}

static void
text_says_exactly_how_much_a_store_needs(void **state)
{
	static const char line[] = "set key 5 0 60000\r\n";
	struct kvp_request req;
	size_t len = sizeof(line) - 1;

	(void)state;
	assert_int_equal(rows_parse(rows_ext, line, len, &req), 0);
	assert_int_equal(req.need, len + 60000 + 2);
	assert_int_equal(rows_parse(rows_ext, line, 9, &req), 0);
	assert_int_equal(req.need, 10);
}

static void
text_says_who_failed_and_how(void **state)
{
	static const struct failure rows[] = {
		{ "get k\r\n", KVP_FAIL_TIMEOUT, "10.0.0.1:11211",
		    "SERVER_ERROR 10.0.0.1:11211 timed out\r\n" },
		{ "get a b\r\n", KVP_FAIL_DOWN, "10.0.0.1:11211",
		    "SERVER_ERROR 10.0.0.1:11211 cannot be reached\r\n" },
		{ "delete k\r\n", KVP_FAIL_CLOSED, NULL,
		    "SERVER_ERROR the server closed the connection\r\n" },
		{ "get k\r\n", KVP_FAIL_NO_HOST, NULL,
		    "SERVER_ERROR no server for this key\r\n" },
		{ "get k\r\n", KVP_FAIL_MEMORY, "h:1",
		    "SERVER_ERROR out of memory\r\n" },
		{ "get k\r\n", KVP_FAIL_PROTOCOL, "h:1",
		    "SERVER_ERROR h:1 sent a reply that makes no sense\r\n" },
		{ "get k\r\n", KVP_FAIL_QUEUE_FULL, "h:1",
		    "SERVER_ERROR h:1 has too many requests waiting\r\n" },
		{ "get k\r\n", KVP_FAIL_UNSUPPORTED, "h:1", "SERVER_ERROR "
		    "h:1 cannot be asked this in its protocol\r\n" },
		{ "get k\r\n", KVP_FAIL_UNREAD, "h:1",
		    "SERVER_ERROR too many answers are left unread\r\n" },
		{ "delete k\r\n", KVP_FAIL_BACKUP, "h:1", "SERVER_ERROR "
		    "h:1 did not take the copy, "
		    "only the primary has done it\r\n" },
		{ "flush_all\r\n", KVP_FAIL_DOWN, "a:1,b:2",
		    "SERVER_ERROR a:1,b:2 cannot be reached\r\n" },
		{ "delete k noreply\r\n", KVP_FAIL_DOWN, "h:1", "" },
		{ "set k 0 0 99999\r\n", KVP_FAIL_DOWN, "h:1",
		    TOO_LARGE "\r\n" },
		{ "set k 0 0 99999 noreply\r\n", KVP_FAIL_DOWN, "h:1", "" },
	};
	char name[2000], expected[1024];
	const struct failure longest = {
		"get k\r\n", KVP_FAIL_TIMEOUT, name, expected
	};

	(void)state;
	rows_check_failures(&rows_lines, rows, LEN(rows));
	memset(name, 'h', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	sprintf(expected, "SERVER_ERROR %.512s timed out\r\n", name);
	rows_check_failures(&rows_lines, &longest, 1);
}

static void
text_gives_statistics_and_status(void **state)
{
	static const struct kvp_slice none = { NULL, 0 };
	static const struct kvp_slice name = BYTES("pid"), value = BYTES("7");
	static const struct kvp_slice empty = BYTES("");
	static const struct kvp_slice block = BYTES("\nA [0]\n\n");

	(void)state;
	rows_check_admin(&rows_lines, "stats\r\n", name, value,
	    "STAT pid 7\r\n");
	rows_check_admin(&rows_lines, "stats\r\n", name, empty,
	    "STAT pid \r\n");
	rows_check_admin(&rows_lines, "stats\r\n", none, none, "END\r\n");
	rows_check_admin(&rows_lines, "stats foo\r\n", name, none, "ERROR\r\n");
	rows_check_admin(&rows_lines, "status\r\n", none, block, "\nA [0]\n\n");
	rows_check_admin(&rows_lines, "status\r\n", none, none, "");
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

	return cmocka_run_group_tests(tests, rows_setup, rows_teardown);
}
