/*
 * A copy is written as the request that the backup is sent, without the value;
 * "" is none.
 */
#include "t/memcached_rows.h"
#include "ext/memcached/command.h"

static const struct kvp_ext *const fn = &kvp_extension;

/* What the backup gets of a request, which the primary answered with a reply
 * (NULL: not at all), after it waited. */
struct copy {
	const char	*request;
	const char	*reply;
	const char	*copy;		/* NULL: nothing */
	uint32_t	 waited_s;
};

/* The line that BACKEND is sent. */
static void
test_say(struct kvp_conn *backend, const struct kvp_cmd *cmd,
    const struct kvp_key *key, char *asked)
{
	char *end;

	assert_true(rows_encode(backend, cmd, key, asked));
	end = strstr(asked, "\r\n");
	assert_non_null(end);
	*end = '\0';
}

/* May a copy that says this be sent twice, and is finding nothing no failure
 * of it? */
static unsigned
test_copy_flags(const char *said)
{
	static const struct {
		const char	*verb;
		unsigned	 flags;
	} rows[] = {
		{ "set ", KVP_CMD_REPEATABLE },
		{ "delete ", KVP_CMD_REPEATABLE | KVP_CMD_LENIENT },
		{ "touch ", KVP_CMD_REPEATABLE | KVP_CMD_LENIENT },
		{ "md ", KVP_CMD_REPEATABLE | KVP_CMD_LENIENT },
	};
	size_t i;

	for (i = 0; i < LEN(rows); i++)
		if (strncmp(said, rows[i].verb, strlen(rows[i].verb)) == 0)
			return rows[i].flags;
	/* ms is a set where it has no mode. */
	return strncmp(said, "ms ", 3) == 0 && strstr(said, " M") == NULL ?
	    KVP_CMD_REPEATABLE : 0;
}

/* Both are asked in BACKEND's dialect. */
static void
test_copy(struct kvp_conn *backend, const struct copy *row)
{
	struct kvp_request req;
	struct kvp_reply r;
	struct kvp_cmd copy;
	char got[ROWS_TEXT_MAX] = "";
	bool any;

	memset(&copy, 0xa5, sizeof(copy));
	rows_request(&rows_lines, row->request, &req);
	if (row->reply != NULL)
		assert_int_equal(rows_decode(backend, &req, row->reply,
		    strlen(row->reply), &r), strlen(row->reply));
	any = fn->effect(rows_ext, &req.cmd, &req.key, row->reply != NULL ?
	    KVP_OUTCOME_REPLY : KVP_OUTCOME_UNKNOWN,
	    row->reply != NULL ? &r : NULL, &copy);
	if (any) {
		assert_int_equal(copy.class, KVP_WRITE);
		fn->age(rows_ext, &copy, row->waited_s);
		test_say(backend, &copy, &req.key, got);
		assert_int_equal(copy.flags, test_copy_flags(got));
	}
	rows_expect(got, row->copy != NULL ? row->copy : "", row->request);
}

static void
test_copies(struct kvp_conn *backend, const struct copy *rows, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		test_copy(backend, &rows[i]);
}

static void
command_copies_the_effect_of_a_write(void **state)
{
	static const struct copy rows[] = {
		{ "set k 5 60 2\r\nhi\r\n", "STORED\r\n", "set k 5 60 2", 0 },
		{ "set k 5 60 2 noreply\r\nhi\r\n", "STORED\r\n",
		  "set k 5 60 2", 0 },
		{ "add k 5 0 2\r\nhi\r\n", "STORED\r\n", "set k 5 0 2", 0 },
		{ "replace k 5 0 2\r\nhi\r\n", "STORED\r\n", "set k 5 0 2", 0 },
		{ "cas k 5 0 2 77\r\nhi\r\n", "STORED\r\n", "set k 5 0 2", 0 },
		{ "append k 0 0 2\r\nhi\r\n", "STORED\r\n",
		  "append k 0 0 2", 0 },
		{ "prepend k 0 0 2\r\nhi\r\n", "STORED\r\n",
		  "prepend k 0 0 2", 0 },
		{ "incr k 5\r\n", "12\r\n", "incr k 5", 0 },
		{ "decr k 5\r\n", "12\r\n", "decr k 5", 0 },
		{ "touch k 9\r\n", "TOUCHED\r\n", "touch k 9", 0 },
		{ "gat 9 k\r\n", "VALUE k 0 1\r\na\r\nEND\r\n",
		  "touch k 9", 0 },
		{ "delete k\r\n", "DELETED\r\n", "delete k", 0 },
		{ "delete k\r\n", "NOT_FOUND\r\n", "delete k", 0 },
		{ "delete k\r\n", "SERVER_ERROR no\r\n", "delete k", 0 },
		{ "set k 0 0 65537\r\n", "DELETED\r\n", "delete k", 0 },
		{ "set k 0 0 65537\r\n", "NOT_FOUND\r\n", "delete k", 0 },
	};

	(void)state;
	test_copies(&rows_text, rows, LEN(rows));
}

static void
command_copies_nothing_where_nothing_happened(void **state)
{
	static const struct copy rows[] = {
		{ "set k 0 0 2\r\nhi\r\n", "NOT_STORED\r\n", NULL, 0 },
		{ "set k 0 0 2\r\nhi\r\n", "CLIENT_ERROR bad data chunk\r\n",
		    NULL, 0 },
		{ "add k 0 0 2\r\nhi\r\n", "NOT_STORED\r\n", NULL, 0 },
		{ "cas k 0 0 2 1\r\nhi\r\n", "EXISTS\r\n", NULL, 0 },
		{ "cas k 0 0 2 1\r\nhi\r\n", "NOT_FOUND\r\n", NULL, 0 },
		{ "incr k 5\r\n", "NOT_FOUND\r\n", NULL, 0 },
		{ "incr k 5\r\n", NON_NUMERIC "\r\n", NULL, 0 },
		{ "incr k 5\r\n", "SERVER_ERROR out of memory\r\n", NULL, 0 },
		{ "touch k 5\r\n", "NOT_FOUND\r\n", NULL, 0 },
		{ "gat 5 k\r\n", "END\r\n", NULL, 0 },
		{ "get k\r\n", "VALUE k 0 1\r\na\r\nEND\r\n", NULL, 0 },
		{ "flush_all\r\n", "OK\r\n", NULL, 0 },
	};

	(void)state;
	test_copies(&rows_text, rows, LEN(rows));
}

static void
command_deletes_the_copy_of_what_is_lost_or_unknown(void **state)
{
	static const char oom[] = "SERVER_ERROR out of memory\r\n";
	static const struct copy rows[] = {
		{ "set k 0 0 2\r\nhi\r\n", oom, "delete k", 0 },
		{ "add k 0 0 2\r\nhi\r\n", oom, "delete k", 0 },
		{ "append k 0 0 2\r\nhi\r\n", oom, "delete k", 0 },
		{ "cas k 0 0 2 1\r\nhi\r\n", oom, "delete k", 0 },
		{ "set k 0 0 2\r\nhi\r\n", NULL, "delete k", 0 },
		{ "add k 0 0 2\r\nhi\r\n", NULL, "delete k", 0 },
		{ "append k 0 0 2\r\nhi\r\n", NULL, "delete k", 0 },
		{ "cas k 0 0 2 1\r\nhi\r\n", NULL, "delete k", 0 },
		{ "incr k 1\r\n", NULL, "delete k", 0 },
		{ "touch k 1\r\n", NULL, "delete k", 0 },
		{ "gat 1 k\r\n", NULL, "delete k", 0 },
		{ "delete k\r\n", NULL, "delete k", 0 },
		{ "get k\r\n", NULL, NULL, 0 },
	};

	(void)state;
	test_copies(&rows_text, rows, LEN(rows));
}

static void
command_copies_what_meta_clients_do(void **state)
{
	static const struct copy rows[] = {
		{ "mg k v\r\n", "VA 1 O7\r\na\r\n", NULL, 0 },
		{ "mg k T9 v\r\n", "VA 1 O7\r\na\r\n", "touch k 9", 0 },
		{ "mg k T9 v\r\n", "EN\r\n", NULL, 0 },
		{ "mg k N9 v\r\n", "VA 0 O7 W\r\n\r\n", NULL, 0 },
		{ "mg k R9 v\r\n", "VA 0 O7 W\r\n\r\n", NULL, 0 },
		{ "mg k N9 v\r\n", NULL, "md k O7", 0 },
		{ "ms k 1 F5 T9 c q\r\na\r\n", "HD c3 O7\r\n",
		    "ms k 1 F5 T9 O7", 0 },
		{ "ms k 1 T9\r\na\r\n", "HD O7\r\n", "ms k 1 T5 O7", 4 },
		{ "ms k 1 ME\r\na\r\n", "HD O7\r\n", "ms k 1 O7", 0 },
		{ "ms k 1 ME\r\na\r\n", "NS O7\r\n", NULL, 0 },
		{ "ms k 1 C9 I\r\na\r\n", "HD O7\r\n", "ms k 1 O7", 0 },
		{ "ms k 1 C9\r\na\r\n", "EX O7\r\n", NULL, 0 },
		{ "ms k 1 MA C9\r\na\r\n", "HD O7\r\n",
		    "ms k 1 MA O7", 0 },
		{ "ms YSBi 1 b\r\na\r\n", "HD O7\r\n",
		    "ms YSBi 1 b O7", 0 },
		{ "md k\r\n", "HD O7\r\n", "md k O7", 0 },
		{ "md k\r\n", "NF O7\r\n", "md k O7", 0 },
		{ "md k C9\r\n", "HD O7\r\n", "md k O7", 0 },
		/* The value that does not match stays on both. */
		{ "md k C9\r\n", "EX O7\r\n", NULL, 0 },
		{ "md k I T9\r\n", "HD O7\r\n", "md k I T9 O7", 0 },
		{ "md k I C9\r\n", "HD O7\r\n", "md k I O7", 0 },
		{ "md k I C9\r\n", "EX O7\r\n", NULL, 0 },
		{ "md k I\r\n", "NF O7\r\n", NULL, 0 },
		{ "md k I\r\n", NULL, "md k O7", 0 },
		{ "ma k D5 c\r\n", "VA 1 c3 O7\r\n9\r\n",
		    "ma k v D5 O7", 0 },
		{ "ma k MD C9 v\r\n", "VA 1 O7\r\n9\r\n",
		    "ma k v D1 MD O7", 0 },
		{ "ma k N60 J7 T9 t\r\n", "VA 1 t9 O7\r\n7\r\n",
		    "ma k N60 T9 v D1 J7 O7", 0 },
		{ "ma k N60\r\n", "NS O7\r\n", NULL, 0 },
		{ "ma k C9\r\n", "EX O7\r\n", NULL, 0 },
		{ "ma k\r\n", NON_NUMERIC "\r\n", NULL, 0 },
		{ "ma k N60\r\n", NULL, "md k O7", 0 },
	};

	(void)state;
	test_copies(&rows_meta, rows, LEN(rows));
}

static void
command_takes_the_wait_off_the_time_to_live(void **state)
{
	static const struct copy rows[] = {
		{ "set k 0 10 0\r\n\r\n", "STORED\r\n", "set k 0 6 0", 4 },
		{ "set k 0 10 0\r\n\r\n", "STORED\r\n", "set k 0 1 0", 9 },
		{ "set k 0 10 0\r\n\r\n", "STORED\r\n", "delete k", 10 },
		{ "set k 0 10 0\r\n\r\n", "STORED\r\n",
		    "delete k", UINT32_MAX },
		{ "set k 0 0 0\r\n\r\n", "STORED\r\n", "set k 0 0 0", 99 },
		{ "set k 0 -1 0\r\n\r\n", "STORED\r\n", "set k 0 -1 0", 99 },
		{ "set k 0 2592000 0\r\n\r\n", "STORED\r\n",
		    "set k 0 2591901 0", 99 },
		/* A date stays what it is. */
		{ "set k 0 2592001 0\r\n\r\n", "STORED\r\n",
		    "set k 0 2592001 0", 99 },
		{ "touch k 10\r\n", "TOUCHED\r\n", "touch k 6", 4 },
		{ "touch k 10\r\n", "TOUCHED\r\n", "delete k", 10 },
		{ "append k 0 10 0\r\n\r\n", "STORED\r\n",
		    "append k 0 10 0", 99 },
		{ "incr k 1\r\n", "2\r\n", "incr k 1", 99 },
		{ "delete k\r\n", "DELETED\r\n", "delete k", 99 },
	};

	(void)state;
	test_copies(&rows_text, rows, LEN(rows));
}

/* What a stand-in is asked, for whom nothing may live longer than MOST. */
static void
command_limits_the_time_to_live_at_a_stand_in(void **state)
{
	static const struct {
		const char	*request;
		uint32_t	 most;
		const char	*said;
	} rows[] = {
		{ "set k 0 0 0\r\n\r\n", 0, "set k 0 0 0" },
		{ "set k 0 99 0\r\n\r\n", 0, "set k 0 99 0" },
		{ "set k 0 0 0\r\n\r\n", 60, "set k 0 60 0" },
		{ "set k 0 59 0\r\n\r\n", 60, "set k 0 59 0" },
		{ "set k 0 60 0\r\n\r\n", 60, "set k 0 60 0" },
		{ "set k 0 61 0\r\n\r\n", 60, "set k 0 60 0" },
		{ "set k 0 -1 0\r\n\r\n", 60, "set k 0 -1 0" },
		/* A date that has passed, and one to come. */
		{ "set k 0 2592001 0\r\n\r\n", 60, "set k 0 2592001 0" },
		{ "set k 0 2147483647 0\r\n\r\n", 60, "set k 0 60 0" },
		/* What is longer would be a date itself. */
		{ "set k 0 0 0\r\n\r\n", UINT32_MAX, "set k 0 2592000 0" },
		{ "add k 0 0 0\r\n\r\n", 2, "add k 0 2 0" },
		{ "replace k 0 9 0\r\n\r\n", 2, "replace k 0 2 0" },
		{ "cas k 0 9 0 7\r\n\r\n", 2, "cas k 0 2 0 7" },
		{ "touch k 0\r\n", 2, "touch k 2" },
		{ "touch k 1\r\n", 2, "touch k 1" },
		{ "gat 0 k\r\n", 2, "gat 2 k" },
		{ "incr k 5\r\n", 2, "incr k 5" },
		{ "delete k\r\n", 2, "delete k" },
		{ "get k\r\n", 2, "get k" },
	};
	struct kvp_request req;
	char got[ROWS_TEXT_MAX];
	size_t i;

	(void)state;
	for (i = 0; i < LEN(rows); i++) {
		rows_request(&rows_lines, rows[i].request, &req);
		req.key.ttl_max = rows[i].most;
		test_say(&rows_text, &req.cmd, &req.key, got);
		rows_expect(got, rows[i].said, rows[i].request);
	}
}

static void
command_limits_a_copy_and_not_its_command(void **state)
{
	const struct command made = {
		.op = COMMAND_INCR, .bits = COMMAND_VIVIFY | COMMAND_TIMED,
		.exptime = 0, .vivify = 100
	};
	struct command copy;

	(void)state;
	assert_ptr_equal(command_limit(&made, 0, &copy), &made);
	assert_ptr_equal(command_limit(&made, 5, &copy), &copy);
	assert_int_equal(copy.exptime, 5);
	assert_int_equal(copy.vivify, 5);
	assert_int_equal(made.exptime, 0);
	assert_int_equal(made.vivify, 100);
}

static void
command_empties_a_host(void **state)
{
	const struct kvp_key none = { .key = { NULL, 0 } };
	struct kvp_cmd cmd;
	char got[ROWS_TEXT_MAX];

	(void)state;
	memset(&cmd, 0xa5, sizeof(cmd));
	fn->flush(rows_ext, &cmd);
	assert_int_equal(cmd.class, KVP_EVERY);
	test_say(&rows_text, &cmd, &none, got);
	assert_string_equal(got, "flush_all");
}

static void
memcached_names_its_options(void **state)
{
	static const struct {
		const char	*key, *def, *names;
		unsigned	 type, flags;
	} rows[] = {
		{ "client_proto", "auto", "auto|text|binary", KVP_OPT_ENUM,
		  0 },
		{ "backend_proto", "auto", "auto|meta|text", KVP_OPT_ENUM,
		  0 },
		{ "binary_cas", "off", NULL, KVP_OPT_BOOL, 0 },
		{ "proto", "text", "text|binary", KVP_OPT_ENUM,
		  KVP_OPT_INERT },
	};
	size_t i;

	(void)state;
	assert_int_equal(fn->abi, KVP_ABI);
	assert_int_equal(fn->size, sizeof(*fn));
	assert_string_equal(fn->name, "memcached");
	assert_int_equal(fn->n_options, LEN(rows));
	for (i = 0; i < LEN(rows); i++) {
		const struct kvp_option *opt = &fn->options[i];

		assert_string_equal(opt->key, rows[i].key);
		assert_string_equal(opt->def, rows[i].def);
		assert_int_equal(opt->type, rows[i].type);
		assert_int_equal(opt->flags, rows[i].flags);
		if (rows[i].names != NULL)
			assert_string_equal(opt->names, rows[i].names);
		assert_non_null(opt->text);
	}
}

static void
memcached_refuses_to_open_with_a_reason(void **state)
{
	const struct kvp_value values[4] = { { 0, NULL } };
	char version[200], err[12];
	const struct kvp_conf conf = { .value = values, .version = version };

	(void)state;
	memset(version, '1', sizeof(version) - 1);
	version[sizeof(version) - 1] = '\0';
	assert_null(fn->open(&conf, err, sizeof(err)));
	assert_string_equal(err, "the version");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(command_copies_the_effect_of_a_write),
		cmocka_unit_test(
		    command_copies_nothing_where_nothing_happened),
		cmocka_unit_test(
		    command_deletes_the_copy_of_what_is_lost_or_unknown),
		cmocka_unit_test(command_copies_what_meta_clients_do),
		cmocka_unit_test(command_takes_the_wait_off_the_time_to_live),
		cmocka_unit_test(command_limits_the_time_to_live_at_a_stand_in),
		cmocka_unit_test(command_limits_a_copy_and_not_its_command),
		cmocka_unit_test(command_empties_a_host),
		cmocka_unit_test(memcached_names_its_options),
		cmocka_unit_test(memcached_refuses_to_open_with_a_reason),
	};

	return cmocka_run_group_tests(tests, rows_setup, rows_teardown);
}
