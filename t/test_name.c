/*
 * test_name.c: names as statistics spell them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "shared/name.h"

static void
name_spell_makes_a_word_of_utf8(void **state)
{
	static const struct {
		const char	*name, *want;
	} rows[] = {
		{ "", "" },
		{ "127.0.0.1:11211", "127.0.0.1:11211" },
		{ "its name", "its\\x20name" },
		{ "a\"b'{},=", "a\"b'{},=" },
		{ "a\\x20b", "a\\x5cx20b" },
		{ "\n\t\x01\x1f\x7f", "\\x0a\\x09\\x01\\x1f\\x7f" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
		    "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
		/* Cut short, a byte that cannot begin, too long a form. */
		{ "\xe2\x82", "\\xe2\\x82" },
		{ "\x80x\xff", "\\x80x\\xff" },
		{ "\xc0\xaf", "\\xc0\\xaf" },
	};
	char dst[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_ptr_equal(name_spell(dst, sizeof(dst), rows[i].name),
		    dst);
		assert_string_equal(dst, rows[i].want);
		/* It says itself how much room that takes at most. */
		assert_string_equal(name_spell(dst,
		    NAME_ROOM(strlen(rows[i].name)), rows[i].name),
		    rows[i].want);
	}
}

static void
name_spell_cuts_between_characters(void **state)
{
	static const struct {
		size_t		 room;
		const char	*want;
	} rows[] = {
		{ 1, "" }, { 2, "a" }, { 3, "a" }, { 4, "a" },
		{ 5, "a\xe2\x82\xac" }, { 8, "a\xe2\x82\xac" },
		{ 9, "a\xe2\x82\xac\\x20" }, { 10, "a\xe2\x82\xac\\x20" "b" },
		{ 11, "a\xe2\x82\xac\\x20" "b" },
	};
	char dst[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		memset(dst, '!', sizeof(dst));
		name_spell(dst, rows[i].room, "a\xe2\x82\xac b");
		assert_string_equal(dst, rows[i].want);
		assert_int_equal(dst[rows[i].room], '!');
	}
}

static void
name_utf8_len_knows_the_bounds_of_each_length(void **state)
{
	static const struct {
		const char	*text;
		size_t		 len;
	} rows[] = {
		{ "", 0 }, { "a", 1 }, { "\x7f", 1 }, { "\x80", 0 },
		{ "\xc1\xbf", 0 }, { "\xc2\x80", 2 }, { "\xdf\xbf", 2 },
		{ "\xe0\x9f\xbf", 0 }, { "\xe0\xa0\x80", 3 },
		{ "\xed\x9f\xbf", 3 }, { "\xed\xa0\x80", 0 },
		{ "\xed\xbf\xbf", 0 }, { "\xee\x80\x80", 3 },
		{ "\xef\xbf\xbf", 3 }, { "\xf0\x8f\xbf\xbf", 0 },
		{ "\xf0\x90\x80\x80", 4 }, { "\xf4\x8f\xbf\xbf", 4 },
		{ "\xf4\x90\x80\x80", 0 }, { "\xf8\x88\x80\x80\x80", 0 },
		{ "\xc2", 0 }, { "\xe0\xa0", 0 }, { "\xf0\x90\x80", 0 },
		{ "\xc2z", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(name_utf8_len(rows[i].text), rows[i].len);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(name_spell_makes_a_word_of_utf8),
		cmocka_unit_test(name_spell_cuts_between_characters),
		cmocka_unit_test(name_utf8_len_knows_the_bounds_of_each_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
