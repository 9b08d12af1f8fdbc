/*
 * test_hist.c: the buckets, and what quantiles are made of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shared/hist.h"

enum { HIST_LAST = HIST_BUCKETS - 1, N_TIMES = 100000 };

static struct hist hist, base;
static struct hist_view view;
static uint64_t times[N_TIMES];

static int
set_up(void **state)
{
	(void)state;
	memset(&hist, 0, sizeof(hist));
	memset(&base, 0, sizeof(base));
	memset(&view, 0, sizeof(view));
	return 0;
}

static void
hist_buckets_follow_each_other_and_hold_their_ends(void **state)
{
	(void)state;
	assert_true(hist_from_us(0) == 0);
	for (unsigned i = 0; i < HIST_LAST; i++) {
		uint64_t from = hist_from_us(i), until = hist_until_us(i);

		assert_true(from < until);
		assert_true(until == hist_from_us(i + 1));
		assert_int_equal(hist_bucket(from), i);
		assert_int_equal(hist_bucket(from + (until - from) / 2), i);
		assert_int_equal(hist_bucket(until - 1), i);
		assert_int_equal(hist_bucket(until), i + 1);
	}
	assert_true(hist_from_us(HIST_LAST) == UINT64_C(1) << HIST_MAX_BITS);
	assert_true(hist_until_us(HIST_LAST) == UINT64_MAX);
	assert_int_equal(hist_bucket(UINT64_MAX - 1), HIST_LAST);
	assert_int_equal(hist_bucket(UINT64_MAX), HIST_LAST);
}

static void
hist_buckets_are_narrow(void **state)
{
	(void)state;
	for (unsigned i = 0; i < HIST_LAST; i++) {
		uint64_t from = hist_from_us(i);
		uint64_t width = hist_until_us(i) - from;

		if (from < 64)
			assert_true(width == 1);
		else
			assert_true(width * 32 <= from);
	}
}

static void
hist_buckets_grow_with_time(void **state)
{
	unsigned last = 0, bucket;

	(void)state;
	for (uint64_t us = 0; us < UINT64_C(1) << 27; us += 1 + us / 4096) {
		bucket = hist_bucket(us);
		assert_in_range(bucket, last, HIST_LAST);
		last = bucket;
	}
	assert_int_equal(last, HIST_LAST);
}

/*
 * Quantiles of distributions that are known.
 */

static int
compare_times(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* What TIMES say themselves, against what the histogram makes of them; what
 * is given in whole microseconds may be half of one off. */
static void
check_quantiles(void)
{
	static const double ps[] = { 0.5, 0.9, 0.99, 0.999 };

	set_up(NULL);
	for (size_t i = 0; i < N_TIMES; i++)
		hist_add(&hist, times[i]);
	hist_look(&view, &hist);
	qsort(times, N_TIMES, sizeof(times[0]), compare_times);
	for (size_t i = 0; i < ARRAY_LEN(ps); i++) {
		size_t rank = (size_t)ceil(ps[i] * N_TIMES);
		double want = (double)times[rank - 1];
		double got = hist_quantile(&view, ps[i]);

		if (fabs(got - want) > want * 0.03)
			fail_msg("p%g is %g, not %g", ps[i] * 100, got, want);
	}
	assert_true(view.total == N_TIMES);
	assert_true(view.max_us == times[N_TIMES - 1]);
	assert_true(hist_quantile(&view, 1) <= (double)view.max_us);
}

static void
hist_finds_the_quantiles_of_a_constant(void **state)
{
	static const uint64_t values[] = { 0, 1, 63, 64, 65, 127, 1000, 20000,
	    99999, 4194303, 4194304, 67108863, 67108864, 100000000,
	    UINT64_C(3600000000) };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		for (size_t j = 0; j < N_TIMES; j++)
			times[j] = values[i];
		check_quantiles();
	}
}

static void
hist_finds_the_quantiles_of_even_times(void **state)
{
	static const uint64_t mosts[] = { 10, 64, 100, 5000, 70000, 1000000,
	    60000000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(mosts); i++) {
		for (size_t j = 0; j < N_TIMES; j++)
			times[j] = mosts[i] * j / N_TIMES;
		check_quantiles();
	}
}

/* As times of requests that come by chance do: by inverse of the share. */
static void
hist_finds_the_quantiles_of_exponential_times(void **state)
{
	static const double means[] = { 20, 300, 2000, 50000, 2000000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(means); i++) {
		for (size_t j = 0; j < N_TIMES; j++)
			times[j] = (uint64_t)(-means[i] *
			    log1p(-((double)j + 0.5) / N_TIMES));
		check_quantiles();
	}
}

/* Most are quick, some wait for a lost packet. */
static void
hist_finds_the_quantiles_of_two_peaks(void **state)
{
	static const size_t slow[] = { 50, 500, 5000, 20000, 60000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
		for (size_t j = 0; j < N_TIMES; j++)
			times[j] = j < slow[i] ? 200000 + j % 3000 :
			    150 + j % 40;
		check_quantiles();
	}
}

static void
hist_of_few_gives_what_was_put_in(void **state)
{
	(void)state;
	assert_true(hist_quantile(&view, 0.5) == 0);
	hist_add(&hist, 7);
	hist_add(&hist, 30);
	hist_add(&hist, 50);
	hist_look(&view, &hist);
	assert_true(hist_quantile(&view, 0) == 7);
	assert_true(hist_quantile(&view, 0.3) == 7);
	assert_true(hist_quantile(&view, 0.5) == 30);
	assert_true(hist_quantile(&view, 0.99) == 50);
	assert_true(hist_quantile(&view, 1) == 50);
	assert_true(view.sum_us == 87);
	/* In a bucket that is wide, one lies in its middle. */
	set_up(NULL);
	hist_add(&hist, 100000);
	hist_add(&hist, 9000000);
	hist_look(&view, &hist);
	assert_in_range(hist_quantile(&view, 0.5), 98500, 101500);
	assert_in_range(hist_quantile(&view, 0.99), 8865000, 9000000);
}

/* Beyond the last bucket nothing is known but the longest of all. */
static void
hist_of_times_over_its_range_gives_the_longest(void **state)
{
	(void)state;
	for (uint64_t us = 70000000; us <= 90000000; us += 1000000)
		hist_add(&hist, us);
	hist_look(&view, &hist);
	assert_true(view.n[HIST_LAST] == 21);
	assert_true(hist_quantile(&view, 0.5) == 90000000);
	hist_add(&hist, UINT64_MAX);
	hist_look(&view, &hist);
	assert_true(view.max_us == UINT64_MAX);
}

static void
hist_look_adds_up(void **state)
{
	static struct hist other;

	(void)state;
	memset(&other, 0, sizeof(other));
	hist_add(&hist, 10);
	hist_add(&hist, 5000);
	hist_add(&other, 10);
	hist_add(&other, 70);
	hist_look(&view, &hist);
	hist_look(&view, &other);
	assert_true(view.total == 4 && view.n[10] == 2);
	assert_true(view.sum_us == 5090 && view.max_us == 5000);
}

static void
hist_since_leaves_what_came_later(void **state)
{
	(void)state;
	for (int i = 0; i < 1000; i++)
		hist_add(&hist, 100000);
	hist_add(&hist, 50000000);
	base = hist;
	for (int i = 0; i < 100; i++)
		hist_add(&hist, 40);
	hist_add(&hist, 2000);
	hist_look(&view, &hist);
	hist_since(&view, &base);
	assert_true(view.total == 101);
	assert_true(view.sum_us == 100 * 40 + 2000);
	assert_true(hist_quantile(&view, 0.5) == 40);
	/* The longest of all was before: now it is the bucket's end. */
	assert_true(view.max_us == hist_until_us(hist_bucket(2000)) - 1);
	assert_in_range(view.max_us, 2000, 2062);
}

static void
hist_since_now_is_empty(void **state)
{
	(void)state;
	hist_add(&hist, 5);
	hist_add(&hist, UINT64_C(1) << 40);
	base = hist;
	hist_look(&view, &hist);
	hist_since(&view, &base);
	assert_true(view.total == 0 && view.sum_us == 0 && view.max_us == 0);
	assert_true(hist_quantile(&view, 0.99) == 0);
	/* A reader may see a base that is newer than what it looked at. */
	hist_add(&base, 5);
	memset(&view, 0, sizeof(view));
	hist_look(&view, &hist);
	hist_since(&view, &base);
	assert_true(view.total == 0 && view.sum_us == 0);
}

static void
hist_since_knows_a_longest_that_is_new(void **state)
{
	(void)state;
	hist_add(&hist, 10);
	base = hist;
	hist_add(&hist, 123456);
	hist_add(&hist, UINT64_C(1) << 30);
	hist_look(&view, &hist);
	hist_since(&view, &base);
	assert_true(view.max_us == UINT64_C(1) << 30);
}

static void
hist_below_counts_whole_buckets(void **state)
{
	(void)state;
	for (uint64_t us = 0; us < 200; us++)
		hist_add(&hist, us);
	hist_add(&hist, UINT64_C(1) << 40);
	hist_look(&view, &hist);
	assert_true(hist_below(&view, 0) == 0);
	assert_true(hist_below(&view, 1) == 1);
	assert_true(hist_below(&view, 64) == 64);
	assert_true(hist_below(&view, 66) == 66);
	/* 65 lies in 64 to 65: of that bucket's end no more is known. */
	assert_true(hist_below(&view, 65) == 64);
	assert_true(hist_below(&view, 128) == 128);
	assert_true(hist_below(&view, UINT64_C(1) << HIST_MAX_BITS) == 200);
	assert_true(hist_below(&view, UINT64_MAX) == 201);
}

#define HIST_TEST(f) cmocka_unit_test_setup(f, set_up)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		HIST_TEST(hist_buckets_follow_each_other_and_hold_their_ends),
		HIST_TEST(hist_buckets_are_narrow),
		HIST_TEST(hist_buckets_grow_with_time),
		HIST_TEST(hist_finds_the_quantiles_of_a_constant),
		HIST_TEST(hist_finds_the_quantiles_of_even_times),
		HIST_TEST(hist_finds_the_quantiles_of_exponential_times),
		HIST_TEST(hist_finds_the_quantiles_of_two_peaks),
		HIST_TEST(hist_of_few_gives_what_was_put_in),
		HIST_TEST(hist_of_times_over_its_range_gives_the_longest),
		HIST_TEST(hist_look_adds_up),
		HIST_TEST(hist_since_leaves_what_came_later),
		HIST_TEST(hist_since_now_is_empty),
		HIST_TEST(hist_since_knows_a_longest_that_is_new),
		HIST_TEST(hist_below_counts_whole_buckets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
