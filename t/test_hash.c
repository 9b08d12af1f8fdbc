/*
 * Each length from 0 to 300 is read from a block of just that size, so that
 * the sanitizer sees a byte read too many, and from every alignment.
 */
#include "shared/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define LEN_MAX		300

static uint8_t
test_byte(size_t i)
{
	return (uint8_t)(i * 7 + 3);
}

/* LEN bytes of test_byte, OFFSET bytes into *BLOCK and up to its very end.
 * The caller frees *BLOCK. */
static uint8_t *
test_bytes(uint8_t **block, size_t offset, size_t len)
{
	*block = malloc(offset + len + (offset + len == 0));
	assert_non_null(*block);
	for (size_t i = 0; i < len; i++)
		(*block)[offset + i] = test_byte(i);
	return *block + offset;
}

static uint32_t
test_little_endian(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	    (uint32_t)p[3] << 24;
}

static void
test_hex(const uint8_t digest[HASH_MD5_LEN], char hex[2 * HASH_MD5_LEN + 1])
{
	for (size_t i = 0; i < HASH_MD5_LEN; i++) {
		hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
		hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
	}
	hex[2 * HASH_MD5_LEN] = '\0';
}

/* The first seven are the suite of RFC 1321, A.5. */
static void
md5_gives_the_digests_of_rfc_1321(void **state)
{
	static const struct {
		const char *text, *hex;
	} rows[] = {
		{ "", "d41d8cd98f00b204e9800998ecf8427e" },
		{ "a", "0cc175b9c0f1b6a831c399e269772661" },
		{ "abc", "900150983cd24fb0d6963f7d28e17f72" },
		{ "message digest", "f96b697d7cb7938d525a2f31aaf161d0" },
		{ "abcdefghijklmnopqrstuvwxyz",
		    "c3fcd3d76192e4007dfb496cca67e13b" },
		{ "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		    "0123456789", "d174ab98d277d9f5a5611c2c9f419d9f" },
		{ "1234567890123456789012345678901234567890"
		    "1234567890123456789012345678901234567890",
		    "57edf4a22be3c955ac49da2e2107b67a" },
		{ "The quick brown fox jumps over the lazy dog",
		    "9e107d9d372bb6826bd81d3542a419d6" },
		{ "key:1234", "d566f2bc097d6b32d08b68c994f064aa" }
	};
	char hex[2 * HASH_MD5_LEN + 1];
	uint8_t digest[HASH_MD5_LEN];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		hash_md5(rows[i].text, strlen(rows[i].text), digest);
		test_hex(digest, hex);
		assert_string_equal(hex, rows[i].hex);
	}
}

/* The digest of the digests of all lengths, from Python's hashlib. */
static void
md5_is_right_at_every_length(void **state)
{
	uint8_t digests[LEN_MAX + 1][HASH_MD5_LEN], digest[HASH_MD5_LEN];
	char hex[2 * HASH_MD5_LEN + 1];
	uint8_t *block, *data;

	(void)state;
	for (size_t len = 0; len <= LEN_MAX; len++) {
		data = test_bytes(&block, 0, len);
		hash_md5(data, len, digests[len]);
		free(block);
	}
	hash_md5(digests, sizeof(digests), digest);
	test_hex(digest, hex);
	assert_string_equal(hex, "bbc8219ce2f09cb1b1235ce3b7ef018c");
}

static void
md5_32_is_the_digests_first_word_at_every_length(void **state)
{
	uint8_t digest[HASH_MD5_LEN];
	uint8_t *block, *data;

	(void)state;
	for (size_t len = 0; len <= LEN_MAX; len++) {
		data = test_bytes(&block, 0, len);
		hash_md5(data, len, digest);
		assert_int_equal(hash_md5_32(data, len),
		    test_little_endian(digest));
		free(block);
	}
}

static void
crc32_gives_zlibs_numbers(void **state)
{
	static const struct {
		const char *text;
		uint32_t crc;
	} rows[] = {
		{ "", 0 },
		{ "a", 0xe8b7be43 },
		{ "123456789", 0xcbf43926 },
		{ "key:1234", 0x4c36c357 },
		{ "The quick brown fox jumps over the lazy dog", 0x414fa339 }
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(hash_crc32(rows[i].text,
		    strlen(rows[i].text)), rows[i].crc);
}

/* Against the definition, a bit at a time. */
static void
crc32_is_right_at_every_length(void **state)
{
	uint32_t crc = UINT32_MAX;
	uint8_t *block, *data;

	(void)state;
	for (size_t len = 0; len <= LEN_MAX; len++) {
		data = test_bytes(&block, 0, len);
		assert_int_equal(hash_crc32(data, len), ~crc);
		free(block);

		crc ^= test_byte(len);
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
}

/*
 * The numbers are libmemcached 1.1.4's (Debian 12), by
 * memcached_generate_hash_value; those of all lengths are sum = sum * 31 +
 * hash, from the empty one up.  Published are those of "a" and "foobar" of FNV
 * (of the 64-bit ones the lower half), and of one_at_a_time those of "a" and of
 * the fox.  The last row has bytes from 0x80 on.
 */
static void
hashes_are_those_of_libmemcached(void **state)
{
	static const char *const texts[] = {
		"", "a", "foobar", "123456789", "key:1234",
		"The quick brown fox jumps over the lazy dog",
		"\xc3\xa9t\xc3\xa9 \xff\x80"
	};
	static const struct {
		uint32_t (*hash)(const void *, size_t);
		uint32_t want[ARRAY_LEN(texts)];
		uint32_t sum;
	} rows[] = {
		{ hash_md5_32, { 0xd98c1dd4, 0xb975c10c, 0x22f65838,
		    0x94e7f925, 0xbcf266d5, 0x9d7d109e, 0x9c3b642a },
		    0x8b14ea55 },
		{ hash_fnv1_64, { 0x84222325, 0x8601b7be, 0xa4dda9c2,
		    0x2bf916d6, 0x42f6c258, 0x7de37ace, 0xf0570250 },
		    0xaf7d6505 },
		{ hash_fnv1a_64, { 0x84222325, 0x8601ec8c, 0xf73967e8,
		    0x23c6cdfc, 0x52f0f226, 0xe7e47110, 0x57dc71da },
		    0x6399bc29 },
		{ hash_fnv1_32, { 0x811c9dc5, 0x050c5d7e, 0x31f0b262,
		    0x24148816, 0xae7eb3b8, 0xe9c86c6e, 0xbb65c9d0 },
		    0x1ad407c5 },
		{ hash_fnv1a_32, { 0x811c9dc5, 0xe40c292c, 0xbf9cf968,
		    0xbb86b11c, 0x76850fa6, 0x048fff90, 0xfe5c3dfa },
		    0xee5abb29 },
		{ hash_crc32_15, { 0x00000000, 0x000068b7, 0x00001ef6,
		    0x00004bf4, 0x00004c36, 0x0000414f, 0x00000b8c },
		    0x8452f927 },
		{ hash_one_at_a_time, { 0x00000000, 0xca2e9442, 0xf952fde7,
		    0xc66b58c5, 0x6381ba05, 0x519e91f5, 0x48ba4d63 },
		    0x30f138c2 },
		{ hash_murmur, { 0x00000000, 0x4b41757c, 0xabecff17,
		    0xb7760690, 0x9a5d9c91, 0x30c79125, 0x1b3bf7bd },
		    0xa99f063a }
	};
	uint8_t *block, *data;
	uint32_t sum;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t t = 0; t < ARRAY_LEN(texts); t++)
			assert_int_equal(rows[i].hash(texts[t],
			    strlen(texts[t])), rows[i].want[t]);
		sum = 0;
		for (size_t len = 0; len <= LEN_MAX; len++) {
			data = test_bytes(&block, len % 4, len);
			sum = sum * 31 + rows[i].hash(data, len);
			free(block);
		}
		assert_int_equal(sum, rows[i].sum);
		assert_int_equal(rows[i].hash(NULL, 0), rows[i].want[0]);
	}
}

/* Vectors that implementations in Go, Python and Perl share. */
static void
jump_gives_the_published_buckets(void **state)
{
	static const struct {
		uint64_t key;
		uint32_t n_buckets, want;
	} rows[] = {
		{ 1, 1, 0 },
		{ 42, 57, 43 },
		{ 1, 128, 55 },
		{ 129, 128, 120 },
		{ 0xdead10cc, 1, 0 },
		{ 0xdead10cc, 666, 361 },
		{ 256, 1024, 520 },
		{ 128, 100000000, 38172097 },
		{ 128, 2147483648, 1644467860 },
		{ UINT64_MAX, 128, 92 }
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(hash_jump(rows[i].key, rows[i].n_buckets),
		    rows[i].want);
	for (uint64_t key = 0; key < 1000; key++)
		assert_in_range(hash_jump(key, UINT32_MAX), 0, UINT32_MAX - 1);
}

static void
crc32_is_right_for_every_byte(void **state)
{
	(void)state;
	for (unsigned b = 0; b < 256; b++) {
		/* Four bytes, so that each table has each index once. */
		for (size_t at = 0; at < 4; at++) {
			uint8_t data[4] = { 0 };
			uint32_t crc = UINT32_MAX;

			data[at] = (uint8_t)b;
			for (size_t i = 0; i < sizeof(data); i++) {
				crc ^= data[i];
				for (int bit = 0; bit < 8; bit++)
					crc = crc >> 1 ^
					    (crc & 1 ? 0xedb88320 : 0);
			}
			assert_int_equal(hash_crc32(data, sizeof(data)), ~crc);
		}
	}
}

static void
hashes_do_not_depend_on_alignment(void **state)
{
	uint8_t first[HASH_MD5_LEN], digest[HASH_MD5_LEN];
	uint8_t *block, *data;
	uint32_t crc;

	(void)state;
	data = test_bytes(&block, 0, LEN_MAX);
	hash_md5(data, LEN_MAX, first);
	crc = hash_crc32(data, LEN_MAX);
	free(block);
	for (size_t offset = 1; offset < 16; offset++) {
		data = test_bytes(&block, offset, LEN_MAX);
		hash_md5(data, LEN_MAX, digest);
		assert_memory_equal(digest, first, sizeof(first));
		assert_int_equal(hash_crc32(data, LEN_MAX), crc);
		free(block);
	}
}

static void
no_bytes_need_no_pointer(void **state)
{
	uint8_t digest[HASH_MD5_LEN];

	(void)state;
	hash_md5(NULL, 0, digest);
	assert_int_equal(hash_md5_32(NULL, 0), test_little_endian(digest));
	assert_int_equal(hash_md5_32(NULL, 0), 0xd98c1dd4);
	assert_int_equal(hash_crc32(NULL, 0), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(md5_gives_the_digests_of_rfc_1321),
		cmocka_unit_test(md5_is_right_at_every_length),
		cmocka_unit_test(
		    md5_32_is_the_digests_first_word_at_every_length),
		cmocka_unit_test(crc32_gives_zlibs_numbers),
		cmocka_unit_test(crc32_is_right_at_every_length),
		cmocka_unit_test(crc32_is_right_for_every_byte),
		cmocka_unit_test(hashes_are_those_of_libmemcached),
		cmocka_unit_test(jump_gives_the_published_buckets),
		cmocka_unit_test(hashes_do_not_depend_on_alignment),
		cmocka_unit_test(no_bytes_need_no_pointer)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
