/*
 * A copy is written as the request that the backup is sent, in the classic
 * text protocol, without the value; "" is none.
 */
#include "ext/memcached/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define LEN(a)		(sizeof(a) / sizeof((a)[0]))

enum {
	TEXT_MAX = 1024,
	MAX_VALUE = 4096
};

static const struct kvp_ext *const fn = &kvp_extension;
static struct kvp_conn client, text;
static void *ext;

static void *
test_open(const char *version, char *err, size_t room)
{
	/* backend_proto is text. */
	const struct kvp_value values[] = { { 0, NULL }, { 2, NULL },
	    { 0, NULL }, { 0, NULL } };
	const struct kvp_conf conf = {
		.value = values, .max_value = MAX_VALUE,
		.allow_flush = true, .version = version
	};

	return fn->open(&conf, err, room);
}

static int
test_setup(void **state)
{
	static const char answer[] = "VERSION 1.4.0\r\nERROR\r\n";
	char err[64];

	(void)state;
	ext = test_open("0.1.0", err, sizeof(err));
	return ext != NULL && fn->greeted(ext, &text,
	    (const uint8_t *)answer, sizeof(answer) - 1) > 0 ? 0 : -1;
}

static int
test_teardown(void **state)
{
	(void)state;
	fn->close(ext);
	return 0;
}

static void
test_say(const struct kvp_cmd *cmd, const struct kvp_key *key, char *dst)
{
	uint8_t room[KVP_ROOM + KVP_KEY_MAX];
	struct kvp_out out = { .dst = room, .room = sizeof(room) };

	assert_true(fn->encode(ext, &text, cmd, key, 1, &out));
	assert_true(out.len >= 2 && out.len < TEXT_MAX);
	memcpy(dst, out.dst, out.len - 2);
	dst[out.len - 2] = '\0';
}

/* What the backup gets of REQUEST, which the primary answered with REPLY
 * (NULL: not at all), after it waited. */
static void
test_copy(const char *request, const char *reply, uint32_t waited_s,
    const char *expected)
{
	struct kvp_request req;
	struct kvp_reply r;
	struct kvp_cmd copy;
	char got[TEXT_MAX] = "";
	bool any;

	memset(&copy, 0xa5, sizeof(copy));
	assert_true(fn->parse(ext, &client, (const uint8_t *)request,
	    strlen(request), &req) > 0);
	if (reply != NULL)
		assert_int_equal(fn->decode(ext, &text, &req.cmd, &req.key, 1,
		    (const uint8_t *)reply, strlen(reply), &r),
		    strlen(reply));
	any = fn->effect(ext, &req.cmd, &req.key, reply != NULL ?
	    KVP_OUTCOME_REPLY : KVP_OUTCOME_UNKNOWN,
	    reply != NULL ? &r : NULL, &copy);
	if (any) {
		assert_int_equal(copy.class, KVP_WRITE);
		assert_int_equal(copy.flags, 0);
		fn->age(ext, &copy, waited_s);
		test_say(&copy, &req.key, got);
	}
	assert_string_equal(got, expected);
}

static void
command_copies_the_effect_of_a_write(void **state)
{
	static const struct {
		const char	*request, *reply, *copy;
	} rows[] = {
		{ "set k 5 60 2\r\nhi\r\n", "STORED\r\n", "set k 5 60 2" },
		{ "set k 5 60 2 noreply\r\nhi\r\n", "STORED\r\n",
		  "set k 5 60 2" },
		{ "add k 5 0 2\r\nhi\r\n", "STORED\r\n", "set k 5 0 2" },
		{ "replace k 5 0 2\r\nhi\r\n", "STORED\r\n", "set k 5 0 2" },
		{ "cas k 5 0 2 77\r\nhi\r\n", "STORED\r\n", "set k 5 0 2" },
		{ "append k 0 0 2\r\nhi\r\n", "STORED\r\n",
		  "append k 0 0 2" },
		{ "prepend k 0 0 2\r\nhi\r\n", "STORED\r\n",
		  "prepend k 0 0 2" },
		{ "incr k 5\r\n", "12\r\n", "incr k 5" },
		{ "decr k 5\r\n", "12\r\n", "decr k 5" },
		{ "touch k 9\r\n", "TOUCHED\r\n", "touch k 9" },
		{ "gat 9 k\r\n", "VALUE k 0 1\r\na\r\nEND\r\n",
		  "touch k 9" },
		{ "delete k\r\n", "DELETED\r\n", "delete k" },
		{ "delete k\r\n", "NOT_FOUND\r\n", "delete k" },
		{ "delete k\r\n", "SERVER_ERROR no\r\n", "delete k" },
		{ "set k 0 0 4097\r\n", "DELETED\r\n", "delete k" },
		{ "set k 0 0 4097\r\n", "NOT_FOUND\r\n", "delete k" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < LEN(rows); i++)
		test_copy(rows[i].request, rows[i].reply, 0, rows[i].copy);
}

static void
command_copies_nothing_where_nothing_happened(void **state)
{
	static const struct {
		const char	*request, *reply;
	} rows[] = {
		{ "set k 0 0 2\r\nhi\r\n", "NOT_STORED\r\n" },
		{ "set k 0 0 2\r\nhi\r\n", "CLIENT_ERROR bad data chunk\r\n" },
		{ "add k 0 0 2\r\nhi\r\n", "NOT_STORED\r\n" },
		{ "cas k 0 0 2 1\r\nhi\r\n", "EXISTS\r\n" },
		{ "cas k 0 0 2 1\r\nhi\r\n", "NOT_FOUND\r\n" },
		{ "incr k 5\r\n", "NOT_FOUND\r\n" },
		{ "incr k 5\r\n", "CLIENT_ERROR cannot increment or "
		  "decrement non-numeric value\r\n" },
		{ "incr k 5\r\n", "SERVER_ERROR out of memory\r\n" },
		{ "touch k 5\r\n", "NOT_FOUND\r\n" },
		{ "gat 5 k\r\n", "END\r\n" },
		{ "get k\r\n", "VALUE k 0 1\r\na\r\nEND\r\n" },
		{ "flush_all\r\n", "OK\r\n" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < LEN(rows); i++)
		test_copy(rows[i].request, rows[i].reply, 0, "");
}

static void
command_deletes_the_copy_of_what_is_lost_or_unknown(void **state)
{
	static const char *const requests[] = {
		"set k 0 0 2\r\nhi\r\n", "add k 0 0 2\r\nhi\r\n",
		"append k 0 0 2\r\nhi\r\n", "cas k 0 0 2 1\r\nhi\r\n"
	};
	size_t i;

	(void)state;
	for (i = 0; i < LEN(requests); i++) {
		test_copy(requests[i], "SERVER_ERROR out of memory\r\n", 0,
		    "delete k");
		test_copy(requests[i], NULL, 0, "delete k");
	}
	test_copy("incr k 1\r\n", NULL, 0, "delete k");
	test_copy("touch k 1\r\n", NULL, 0, "delete k");
	test_copy("gat 1 k\r\n", NULL, 0, "delete k");
	test_copy("delete k\r\n", NULL, 0, "delete k");
	test_copy("get k\r\n", NULL, 0, "");
}

static void
command_takes_the_wait_off_the_time_to_live(void **state)
{
	static const struct {
		const char	*request, *reply;
		uint32_t	 waited_s;
		const char	*copy;
	} rows[] = {
		{ "set k 0 10 0\r\n\r\n", "STORED\r\n", 4, "set k 0 6 0" },
		{ "set k 0 10 0\r\n\r\n", "STORED\r\n", 9, "set k 0 1 0" },
		{ "set k 0 10 0\r\n\r\n", "STORED\r\n", 10, "delete k" },
		{ "set k 0 10 0\r\n\r\n", "STORED\r\n", UINT32_MAX,
		  "delete k" },
		{ "set k 0 0 0\r\n\r\n", "STORED\r\n", 99, "set k 0 0 0" },
		{ "set k 0 -1 0\r\n\r\n", "STORED\r\n", 99, "set k 0 -1 0" },
		{ "set k 0 2592000 0\r\n\r\n", "STORED\r\n", 99,
		  "set k 0 2591901 0" },
		/* A date stays what it is. */
		{ "set k 0 2592001 0\r\n\r\n", "STORED\r\n", 99,
		  "set k 0 2592001 0" },
		{ "touch k 10\r\n", "TOUCHED\r\n", 4, "touch k 6" },
		{ "touch k 10\r\n", "TOUCHED\r\n", 10, "delete k" },
		{ "append k 0 10 0\r\n\r\n", "STORED\r\n", 99,
		  "append k 0 10 0" },
		{ "incr k 1\r\n", "2\r\n", 99, "incr k 1" },
		{ "delete k\r\n", "DELETED\r\n", 99, "delete k" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < LEN(rows); i++)
		test_copy(rows[i].request, rows[i].reply, rows[i].waited_s,
		    rows[i].copy);
}

static void
command_empties_a_host(void **state)
{
	const struct kvp_key none = { .key = { NULL, 0 } };
	struct kvp_cmd cmd;
	char got[TEXT_MAX];

	(void)state;
	memset(&cmd, 0xa5, sizeof(cmd));
	fn->flush(ext, &cmd);
	assert_int_equal(cmd.class, KVP_EVERY);
	test_say(&cmd, &none, got);
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
		{ "binary_cas", "off", NULL, KVP_OPT_BOOL, KVP_OPT_LATER },
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
	char version[200], err[12];

	(void)state;
	memset(version, '1', sizeof(version) - 1);
	version[sizeof(version) - 1] = '\0';
	assert_null(test_open(version, err, sizeof(err)));
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
		cmocka_unit_test(command_takes_the_wait_off_the_time_to_live),
		cmocka_unit_test(command_empties_a_host),
		cmocka_unit_test(memcached_names_its_options),
		cmocka_unit_test(memcached_refuses_to_open_with_a_reason),
	};

	return cmocka_run_group_tests(tests, test_setup, test_teardown);
}
