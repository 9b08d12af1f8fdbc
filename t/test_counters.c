/*
 * test_counters.c: the tables of counters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "shared/counters.h"

static void
check_table(const struct counter_info *table, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		assert_non_null(table[i].name);
		assert_non_null(table[i].text);
		assert_int_not_equal(strlen(table[i].name), 0);
		assert_int_not_equal(strlen(table[i].text), 0);
		/* A name is a word of `stats`. */
		assert_int_equal(strspn(table[i].name,
		    "abcdefghijklmnopqrstuvwxyz0123456789_"),
		    strlen(table[i].name));
		for (size_t j = 0; j < i; j++) {
			assert_string_not_equal(table[i].name, table[j].name);
			assert_string_not_equal(table[i].text, table[j].text);
		}
	}
}

static void
counters_have_names_and_texts_of_their_own(void **state)
{
	(void)state;
	check_table(counters_worker, COUNTER_N);
	check_table(counters_host, HOST_N);
}

static void
counters_know_totals_from_gauges(void **state)
{
	(void)state;
	assert_string_equal(counters_worker[COUNTER_REQUESTS].name,
	    "requests");
	assert_int_equal(counters_worker[COUNTER_REQUESTS].kind,
	    COUNTER_TOTAL);
	assert_string_equal(counters_worker[COUNTER_CLIENTS].name,
	    "curr_connections");
	assert_int_equal(counters_worker[COUNTER_CLIENTS].kind, COUNTER_GAUGE);
	assert_int_equal(counters_host[HOST_FAILED].kind, COUNTER_TOTAL);
	assert_int_equal(counters_host[HOST_CONTINUOUS].kind, COUNTER_GAUGE);
}

static void
counters_know_whose_they_are(void **state)
{
	(void)state;
	assert_true(counters_is_of_service(COUNTER_CLIENTS));
	assert_false(counters_is_of_service(COUNTER_BUFFERED));
	assert_true(counters_is_internal(HOST_LAST_GOOD_US));
	assert_true(counters_is_internal(HOST_EVENT_3_US));
	assert_false(counters_is_internal(HOST_EVENTS));
}

static void
counters_count_up_and_down_and_wrap_as_64_bits(void **state)
{
	counter_cell c = 0;

	(void)state;
	counter_add(&c, 3);
	counter_sub(&c, 1);
	assert_int_equal(counter_get(&c), 2);
	counter_set(&c, UINT64_C(0xffffffff));
	counter_add(&c, 1);
	assert_true(counter_get(&c) == UINT64_C(0x100000000));
	counter_set(&c, UINT64_MAX);
	counter_add(&c, 1);
	assert_true(counter_get(&c) == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters_have_names_and_texts_of_their_own),
		cmocka_unit_test(counters_know_totals_from_gauges),
		cmocka_unit_test(counters_know_whose_they_are),
		cmocka_unit_test(
		    counters_count_up_and_down_and_wrap_as_64_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
