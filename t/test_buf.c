#include "shared/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int
pool_setup(void **state)
{
	static struct buf_pool pool;

	buf_pool_init(&pool);
	*state = &pool;
	return 0;
}

static int
pool_teardown(void **state)
{
	buf_pool_fini(*state);
	return 0;
}

/* What CHAIN holds, as one string; malloc'ed. */
static uint8_t *
chain_flatten(const struct chain *chain, size_t *len)
{
	struct iovec iov[512];
	int i, n = chain_iov(chain, iov, 512, SIZE_MAX);
	uint8_t *p = malloc(chain->len + 1);

	*len = 0;
	for (i = 0; i < n; i++) {
		assert_true(iov[i].iov_len > 0);
		memcpy(p + *len, iov[i].iov_base, iov[i].iov_len);
		*len += iov[i].iov_len;
	}
	assert_int_equal(*len, chain->len);
	return p;
}

static void
assert_chain_holds(const struct chain *chain, const void *want, size_t len)
{
	size_t got_len;
	uint8_t *got = chain_flatten(chain, &got_len);

	assert_int_equal(got_len, len);
	assert_memory_equal(got, want, len);
	free(got);
}

static void
lease_sizes_are_the_next_class(void **state)
{
	static const struct {
		size_t want, cap;
	} rows[] = {
		{ 1, 256 }, { 256, 256 }, { 257, 512 }, { 512, 512 },
		{ 513, 1024 }, { 65536, 65536 }, { 65537, 131072 },
		{ 2097152, 2097152 }, { 2097153, 2097153 },
		{ 5000000, 5000000 },
	};
	struct buf_pool *pool = *state;
	struct lease *l;
	size_t i;

	for (i = 0; i < ARRAY_LEN(rows); i++) {
		l = lease_get(pool, rows[i].want);
		assert_non_null(l);
		assert_int_equal(l->cap, rows[i].cap);
		memset(l->data, 0xa5, l->cap);
		lease_put(pool, &l);
		assert_null(l);
	}
}

static void
lease_put_is_taken_again(void **state)
{
	struct buf_pool *pool = *state;
	struct lease *a = lease_get(pool, 1000), *was = a, *b;

	lease_put(pool, &a);
	b = lease_get(pool, 600);
	assert_ptr_equal(b, was);
	lease_put(pool, &b);
}

static void
chain_keeps_bytes_in_order_over_segments(void **state)
{
	struct buf_pool *pool = *state;
	struct chain c = { NULL, NULL, 0 };
	uint8_t want[5000], *p;
	size_t at = 0, i, n;

	for (i = 0; i < sizeof(want); i++)
		want[i] = (uint8_t)(i * 7);
	for (i = 0; at < sizeof(want); i++) {
		n = MIN(i * 13 % 300 + 1, sizeof(want) - at);
		if (i % 3 == 0) {
			p = chain_room(pool, &c, 400, 512);
			assert_non_null(p);
			memcpy(p, want + at, n);
			chain_extend(&c, n);
		} else
			assert_true(chain_append(pool, &c, want + at, n, 512));
		at += n;
	}
	assert_chain_holds(&c, want, sizeof(want));
	for (at = 0, i = 1; at < sizeof(want); i = i * 5 % 601 + 1) {
		n = MIN(i, sizeof(want) - at);
		chain_drop(pool, &c, n);
		at += n;
		assert_chain_holds(&c, want + at, sizeof(want) - at);
	}
	assert_null(c.head);
	assert_null(c.tail);
}

static void
chain_refers_to_large_values_and_copies_small_ones(void **state)
{
	struct buf_pool *pool = *state;
	struct chain c = { NULL, NULL, 0 };
	struct lease *l = lease_get(pool, 65536);
	struct iovec iov[4];

	memset(l->data, 'x', l->cap);
	assert_true(chain_append_from(pool, &c, l, l->data + 5, 100, 256));
	assert_int_equal(l->refs, 1);
	assert_true(chain_append_from(pool, &c, l, l->data + 7, 40000, 256));
	assert_int_equal(l->refs, 2);
	assert_int_equal(chain_iov(&c, iov, 4, SIZE_MAX), 2);
	assert_ptr_equal(iov[1].iov_base, l->data + 7);
	assert_int_equal(chain_iov(&c, iov, 4, 100), 1);
	assert_int_equal(chain_iov(&c, iov, 4, 101), 2);
	assert_int_equal(iov[1].iov_len, 1);
	assert_int_equal(c.len, 40100);
	lease_put(pool, &l);
	chain_drop(pool, &c, 50);
	chain_clear(pool, &c);
	assert_int_equal(c.len, 0);
}

static void
chain_does_not_pin_a_large_lease_for_a_small_part(void **state)
{
	struct buf_pool *pool = *state;
	struct chain c = { NULL, NULL, 0 };
	struct lease *l = lease_get(pool, 1024 * 1024);

	memset(l->data, 'y', 40000);
	assert_true(chain_append_from(pool, &c, l, l->data, 40000, 256));
	assert_int_equal(l->refs, 1);
	lease_put(pool, &l);
	chain_clear(pool, &c);
}

static void
chain_splice_moves_all(void **state)
{
	struct buf_pool *pool = *state;
	static const size_t sizes[] = { 10, 1024, 1025, 3000, 1 };
	struct chain a = { NULL, NULL, 0 }, b = { NULL, NULL, 0 };
	uint8_t want[8192];
	size_t i, at = 0;

	memset(want, 'a', 100);
	assert_true(chain_append(pool, &a, want, 100, 2048));
	at = 100;
	for (i = 0; i < ARRAY_LEN(sizes); i++) {
		memset(want + at, (int)('b' + i), sizes[i]);
		assert_true(chain_append(pool, &b, want + at, sizes[i],
		    sizes[i]));
		at += sizes[i];
	}
	chain_splice(pool, &a, &b);
	assert_int_equal(b.len, 0);
	assert_null(b.head);
	assert_chain_holds(&a, want, at);
	/* And goes on from there. */
	assert_true(chain_append(pool, &a, "end", 3, 16));
	memcpy(want + at, "end", 3);
	assert_chain_holds(&a, want, at + 3);
	chain_splice(pool, &a, &b);
	assert_chain_holds(&a, want, at + 3);
	chain_clear(pool, &a);
}

/* A frame of FRAME bytes comes in pieces; nothing is lost and the idle input
 * holds nothing. */
static void
input_receive(struct buf_pool *pool, size_t frame, size_t piece, bool told,
    bool greedy)
{
	struct input in = { NULL, 0, 0 };
	uint8_t *want = malloc(frame), *p;
	size_t at = 0, n, room, need;

	for (n = 0; n < frame; n++)
		want[n] = (uint8_t)(n * 31 >> 3);
	while (at < frame) {
		need = at == 0 ? 0 : told ? frame : at + 1;
		room = input_room(pool, &in, need, &p);
		assert_true(room > 0);
		n = MIN(MIN(piece, room), frame - at);
		memcpy(p, want + at, n);
		in.len += (uint32_t)n;
		at += n;
		assert_int_equal(in.len, at);
		assert_memory_equal(input_bytes(&in), want, at);
		if (at == frame)
			input_eat(&in, frame);
		assert_true(input_settle(pool, &in,
		    told ? frame : in.len + 1, greedy));
	}
	assert_null(in.lease);
	free(want);
}

static void
input_collects_a_frame_however_it_is_cut(void **state)
{
	static const size_t frames[] = {
		1, 100, 20000, 262144, 262145, 900000
	};
	static const size_t pieces[] = { 999, 16384, 200000, 300000 };
	size_t i, k;
	int m;

	for (i = 0; i < ARRAY_LEN(frames); i++)
		for (k = 0; k < ARRAY_LEN(pieces); k++)
			for (m = 0; m < 4; m++)
				input_receive(*state, frames[i], pieces[k],
				    m & 1, m & 2);
}

static void
input_rest_takes_only_what_it_needs(void **state)
{
	struct buf_pool *pool = *state;
	struct input in = { NULL, 0, 0 };
	uint8_t *p;

	assert_int_equal(input_room(pool, &in, 0, &p), BUF_SCRATCH);
	memcpy(p, "get key\r\nget k", 14);
	in.len = 14;
	input_eat(&in, 9);
	assert_true(input_settle(pool, &in, 6, false));
	assert_int_equal(in.lease->cap, 256);
	assert_memory_equal(input_bytes(&in), "get k", 5);
	/* The next receive goes behind it. */
	assert_int_equal(input_room(pool, &in, 6, &p), BUF_SCRATCH - 5);
	assert_memory_equal(input_bytes(&in), "get k", 5);
	input_clear(pool, &in);
}

static void
input_does_not_pin_a_large_buffer_for_a_few_bytes(void **state)
{
	static const struct {
		size_t	 frame, rest, cap;
	} rows[] = {
		{ 1000000, 2, 256 }, { 1000000, 5000, 8192 },
		{ 300000, 2, 256 }, { 2000000, 300, 512 },
		/* Not far larger than what is left: it stays. */
		{ 300000, 100000, 524288 },
	};
	struct buf_pool *pool = *state;
	struct input in = { NULL, 0, 0 };
	uint8_t *p;
	size_t i;
	int greedy;

	for (i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		const size_t frame = rows[i / 2].frame, rest = rows[i / 2].rest;

		greedy = (int)i & 1;
		assert_true(input_room(pool, &in, frame + rest, &p) >=
		    frame + rest);
		memset(p, 'f', frame);
		memset(p + frame, 'r', rest);
		in.len = (uint32_t)(frame + rest);
		input_eat(&in, frame);
		assert_true(input_settle(pool, &in, rest + 1, greedy));
		assert_int_equal(in.lease->cap, rows[i / 2].cap);
		assert_int_equal(in.len, rest);
		assert_int_equal(input_bytes(&in)[0], 'r');
		assert_int_equal(input_bytes(&in)[rest - 1], 'r');
		input_clear(pool, &in);
	}
}

/* Where nobody knows how long a frame will be, there is always room for more
 * than the next byte. */
static void
input_of_unknown_length_has_room_to_grow(void **state)
{
	struct buf_pool *pool = *state;
	struct input in = { NULL, 0, 0 };
	unsigned times = 0;
	size_t room;
	uint8_t *p;

	while (in.len < 5000000) {
		room = input_room(pool, &in, in.len + 1, &p);
		assert_true(room > 0);
		memset(p, 'k', room);
		in.len += (uint32_t)MIN(room, (size_t)BUF_SCRATCH);
		assert_true(input_settle(pool, &in, in.len + 1, false));
		assert_true(++times < 60);
	}
	input_clear(pool, &in);
}

static void
input_does_not_write_over_referenced_bytes(void **state)
{
	struct buf_pool *pool = *state;
	struct chain c = { NULL, NULL, 0 };
	struct input in = { NULL, 0, 0 };
	struct iovec iov[1];
	uint8_t *p;

	assert_true(input_room(pool, &in, 0, &p) > 60000);
	memset(p, 'v', 60000);
	in.len = 60000;
	assert_true(chain_append_from(pool, &c, in.lease, p, 60000, 256));
	input_eat(&in, 60000);
	assert_true(input_settle(pool, &in, 0, false));
	assert_true(input_room(pool, &in, 0, &p) > 60000);
	memset(p, 'w', 60000);
	assert_int_equal(chain_iov(&c, iov, 1, SIZE_MAX), 1);
	assert_int_equal(*(uint8_t *)iov[0].iov_base, 'v');
	input_clear(pool, &in);
	chain_clear(pool, &c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lease_sizes_are_the_next_class),
		cmocka_unit_test(lease_put_is_taken_again),
		cmocka_unit_test(chain_keeps_bytes_in_order_over_segments),
		cmocka_unit_test(
		    chain_refers_to_large_values_and_copies_small_ones),
		cmocka_unit_test(
		    chain_does_not_pin_a_large_lease_for_a_small_part),
		cmocka_unit_test(chain_splice_moves_all),
		cmocka_unit_test(input_collects_a_frame_however_it_is_cut),
		cmocka_unit_test(input_rest_takes_only_what_it_needs),
		cmocka_unit_test(
		    input_does_not_pin_a_large_buffer_for_a_few_bytes),
		cmocka_unit_test(input_of_unknown_length_has_room_to_grow),
		cmocka_unit_test(input_does_not_write_over_referenced_bytes),
	};

	return cmocka_run_group_tests_name("buf", tests, pool_setup,
	    pool_teardown);
}
