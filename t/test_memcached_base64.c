#include "ext/memcached/base64.h"

#include "t/memcached_rows.h"

/* S decoded, from where memory ends, at DST; how many bytes. */
static size_t
test_read(uint8_t *dst, const char *s, size_t len)
{
	return base64_read(dst, (struct kvp_slice){ rows_place(s, len), len });
}

/* P encoded, from where memory ends, as a string at DST. */
static void
test_put(char *dst, const void *p, size_t len)
{
	uint8_t *end = base64_put((uint8_t *)dst, (struct kvp_slice){
	    rows_place(p, len), len });

	assert_int_equal(end - (uint8_t *)dst, BASE64_LEN(len));
	*end = '\0';
}

static void
base64_puts_and_reads_what_the_rfc_gives(void **state)
{
	static const struct {
		struct kvp_slice plain;
		const char	*code;
	} rows[] = {
		{ BYTES("f"), "Zg==" },
		{ BYTES("fo"), "Zm8=" },
		{ BYTES("foo"), "Zm9v" },
		{ BYTES("foob"), "Zm9vYg==" },
		{ BYTES("fooba"), "Zm9vYmE=" },
		{ BYTES("foobar"), "Zm9vYmFy" },
		{ BYTES("\0"), "AA==" },
		{ BYTES("\0\0\0"), "AAAA" },
		{ BYTES("\xff"), "/w==" },
		{ BYTES("\xfb\xef\xbe"), "++++" },
		{ BYTES("\xff\xff\xff\xff"), "/////w==" },
		{ BYTES("a b"), "YSBi" },
	};
	char code[16];
	uint8_t plain[16];
	size_t i, n;

	(void)state;
	for (i = 0; i < LEN(rows); i++) {
		test_put(code, rows[i].plain.p, rows[i].plain.len);
		rows_expect(code, rows[i].code, rows[i].code);
		n = test_read(plain, code, strlen(code));
		assert_int_equal(n, rows[i].plain.len);
		assert_memory_equal(plain, rows[i].plain.p, n);
	}
	test_put(code, "", 0);
	assert_string_equal(code, "");
}

static void
base64_refuses_what_it_does_not_write(void **state)
{
	static const struct kvp_slice rows[] = {
		BYTES(""), BYTES("Z"), BYTES("Zg"), BYTES("Zg="),
		BYTES("Zg==="), BYTES("Zm9vY"), BYTES("===="),
		BYTES("Z==="), BYTES("=Zg="), BYTES("Z=g="), BYTES("Zg=="
		"Zg=="), BYTES("Zm8=Zm8="), BYTES("Zg==\n"),
		BYTES(" Zg=="), BYTES("Zm9\n"), BYTES("Zm9-"),
		BYTES("Zm9_"), BYTES("Zm9\0"), BYTES("Zm9\xff"),
		BYTES("!!!!"), BYTES("Zh=="), BYTES("Zn=="), BYTES("Zm9="),
		BYTES("Zm/="),
	};
	uint8_t plain[16];
	size_t i;

	(void)state;
	for (i = 0; i < LEN(rows); i++)
		assert_int_equal(test_read(plain, (const char *)rows[i].p,
		    rows[i].len), 0);
}

/* What is read is what would be written: a key has one code. */
static void
base64_reads_one_code_of_each_key(void **state)
{
	char code[5] = "AAAA", again[5];
	uint8_t plain[4];
	unsigned at, a, b, n_read = 0;
	size_t n;

	(void)state;
	for (at = 0; at < 3; at++)
		for (a = 0; a <= UINT8_MAX; a++)
			for (b = 0; b <= UINT8_MAX; b++) {
				memcpy(code, "QUJD", 4);
				code[at] = (char)a;
				code[at + 1] = (char)b;
				n = base64_read(plain, (struct kvp_slice){
				    (const uint8_t *)code, 4 });
				if (n == 0)
					continue;
				assert_true(n <= 3);
				test_put(again, plain, n);
				assert_memory_equal(again, code, 4);
				n_read++;
			}
	/* Two digits; at the end also one and "=", or "==". */
	assert_int_equal(n_read, 3 * 64 * 64 + 64 / 4);
}

static void
base64_brings_every_length_back(void **state)
{
	char code[BASE64_LEN(KVP_KEY_MAX) + 1];
	uint8_t key[KVP_KEY_MAX], plain[KVP_KEY_MAX];
	size_t len, i;

	(void)state;
	for (i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)(i * 167 + (i >> 8));
	for (len = 1; len <= sizeof(key); len++) {
		test_put(code, key, len);
		assert_int_equal(test_read(plain, code, strlen(code)), len);
		assert_memory_equal(plain, key, len);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base64_puts_and_reads_what_the_rfc_gives),
		cmocka_unit_test(base64_refuses_what_it_does_not_write),
		cmocka_unit_test(base64_reads_one_code_of_each_key),
		cmocka_unit_test(base64_brings_every_length_back),
	};

	return cmocka_run_group_tests(tests, rows_setup, rows_teardown);
}
