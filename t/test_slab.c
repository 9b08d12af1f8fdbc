#include "shared/slab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void
slab_gives_distinct_aligned_objects(void **state)
{
	enum { N = 5000 };
	static uint8_t *p[N];
	struct slab s;
	int i;

	(void)state;
	slab_init(&s, 40);
	for (i = 0; i < N; i++) {
		p[i] = slab_get(&s);
		assert_non_null(p[i]);
		assert_int_equal((uintptr_t)p[i] % 16, 0);
		memset(p[i], i & 0xff, 40);
	}
	assert_int_equal(s.n_used, N);
	for (i = 0; i < N; i++) {
		assert_int_equal(p[i][0], i & 0xff);
		assert_int_equal(p[i][39], i & 0xff);
		slab_put(&s, &p[i]);
		assert_null(p[i]);
	}
	assert_int_equal(s.n_used, 0);
	slab_fini(&s);
}

static void
slab_reuses_before_it_grows(void **state)
{
	struct slab_chunk *chunks;
	struct slab s;
	void *p;
	int i;

	(void)state;
	slab_init(&s, 64);
	p = slab_get(&s);
	assert_non_null(p);
	chunks = s.chunks;
	slab_put(&s, &p);
	for (i = 0; i < 100000; i++) {
		p = slab_get(&s);
		slab_put(&s, &p);
	}
	assert_ptr_equal(s.chunks, chunks);
	slab_fini(&s);
}

static void
slab_takes_objects_larger_than_a_chunk(void **state)
{
	struct slab s;
	void *a, *b;

	(void)state;
	slab_init(&s, 100000);
	a = slab_get(&s);
	b = slab_get(&s);
	assert_non_null(a);
	assert_non_null(b);
	memset(a, 1, 100000);
	memset(b, 2, 100000);
	assert_int_equal(((uint8_t *)a)[99999], 1);
	slab_fini(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slab_gives_distinct_aligned_objects),
		cmocka_unit_test(slab_reuses_before_it_grows),
		cmocka_unit_test(slab_takes_objects_larger_than_a_chunk),
	};

	return cmocka_run_group_tests_name("slab", tests, NULL, NULL);
}
