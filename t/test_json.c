/*
 * test_json.c: JSON as it is written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "shared/json.h"

static char *text;
static size_t text_len;

static struct json
begin(void)
{
	struct json j = { .out = open_memstream(&text, &text_len) };

	assert_non_null(j.out);
	return j;
}

static void
expect(struct json *j, const char *want)
{
	assert_int_equal(fclose(j->out), 0);
	assert_string_equal(text, want);
	free(text);
}

static void
json_has_commas_between_items_alone(void **state)
{
	struct json j = begin();

	(void)state;
	json_open(&j, NULL, '{');
	json_number(&j, "n", UINT64_MAX);
	json_open(&j, "list", '[');
	json_thousandths(&j, NULL, 1002);
	json_null(&j, NULL);
	json_open(&j, NULL, '{');
	json_close(&j, '}');
	json_close(&j, ']');
	json_open(&j, "none", '[');
	json_close(&j, ']');
	json_string(&j, "s", "");
	json_close(&j, '}');
	expect(&j, "{\n  \"n\": 18446744073709551615,\n  \"list\": [\n"
	    "    1.002,\n    null,\n    {}\n  ],\n  \"none\": [],\n"
	    "  \"s\": \"\"\n}\n");
}

static void
json_escapes_what_would_end_or_break_a_text(void **state)
{
	static const struct {
		const char	*text, *want;
	} rows[] = {
		{ "a\"b", "a\\\"b" },
		{ "a\\b", "a\\\\b" },
		{ "/", "/" },
		{ "\n\t\x01\x1f\x7f", "\\u000a\\u0009\\u0001\\u001f\\u007f" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
		    "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
	};
	char want[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct json j = begin();

		json_string(&j, NULL, rows[i].text);
		snprintf(want, sizeof(want), "\"%s\"", rows[i].want);
		expect(&j, want);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_has_commas_between_items_alone),
		cmocka_unit_test(json_escapes_what_would_end_or_break_a_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
