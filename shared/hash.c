#include "shared/hash.h"

#include <endian.h>
#include <string.h>

#define HASH_MD5_BLOCK		64
#define HASH_MD5_ONE_BLOCK	55	/* most that a padded block holds */

static const uint32_t hash_md5_start[4] = {
	0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476
};

/*
 * Each step needs the last one's result, so the time is the length of the
 * path from B to the new A: these forms put what does not depend on B aside.
 * The two halves of G never share a bit, so that they can be added one by one.
 */
#define MD5_F(b, c, d)	((((c) ^ (d)) & (b)) ^ (d))
#define MD5_G(b, c, d)	(((c) & ~(d)) + ((b) & (d)))
#define MD5_H(b, c, d)	(((c) ^ (d)) ^ (b))
#define MD5_I(b, c, d)	(((b) | ~(d)) ^ (c))

#define MD5_ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))

#define MD5_STEP(f, a, b, c, d, word, n, k) do { \
	(a) += (word) + (k) + f(b, c, d); \
	(a) = MD5_ROTATE(a, n) + (b); \
} while (0)

/* Four steps: words I, J, K, L, rotations N, constants KI to KL. */
#define MD5_FOUR(f, i, j, k, l, ni, nj, nk, nl, ki, kj, kk, kl) do { \
	MD5_STEP(f, a, b, c, d, w[i], ni, ki); \
	MD5_STEP(f, d, a, b, c, w[j], nj, kj); \
	MD5_STEP(f, c, d, a, b, w[k], nk, kk); \
	MD5_STEP(f, b, c, d, a, w[l], nl, kl); \
} while (0)

#define MD5_R1(i, j, k, l, ki, kj, kk, kl) \
	MD5_FOUR(MD5_F, i, j, k, l, 7, 12, 17, 22, ki, kj, kk, kl)
#define MD5_R2(i, j, k, l, ki, kj, kk, kl) \
	MD5_FOUR(MD5_G, i, j, k, l, 5, 9, 14, 20, ki, kj, kk, kl)
#define MD5_R3(i, j, k, l, ki, kj, kk, kl) \
	MD5_FOUR(MD5_H, i, j, k, l, 4, 11, 16, 23, ki, kj, kk, kl)
#define MD5_R4(i, j, k, l, ki, kj, kk, kl) \
	MD5_FOUR(MD5_I, i, j, k, l, 6, 10, 15, 21, ki, kj, kk, kl)

/* Mix one BLOCK into STATE.  Inlined, so that a caller who uses only part of
 * the state does not pay for the steps that make the rest. */
static inline __attribute__((always_inline)) void
hash_md5_mix(uint32_t state[4], const uint8_t *block)
{
	uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
	uint32_t w[16];

	memcpy(w, block, sizeof(w));
	for (int i = 0; i < 16; i++)
		w[i] = le32toh(w[i]);

	MD5_R1(0, 1, 2, 3, 0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee);
	MD5_R1(4, 5, 6, 7, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501);
	MD5_R1(8, 9, 10, 11, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be);
	MD5_R1(12, 13, 14, 15, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821);

	MD5_R2(1, 6, 11, 0, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa);
	MD5_R2(5, 10, 15, 4, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8);
	MD5_R2(9, 14, 3, 8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed);
	MD5_R2(13, 2, 7, 12, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a);

	MD5_R3(5, 8, 11, 14, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c);
	MD5_R3(1, 4, 7, 10, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70);
	MD5_R3(13, 0, 3, 6, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05);
	MD5_R3(9, 12, 15, 2, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665);

	MD5_R4(0, 7, 14, 5, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039);
	MD5_R4(12, 3, 10, 1, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1);
	MD5_R4(8, 15, 6, 13, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1);
	MD5_R4(4, 11, 2, 9, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391);

	state[0] += a;
	state[1] += b;
	state[2] += c;
	state[3] += d;
}

/* Lay out the end of TOTAL bytes of data: the REST at P that fills no block,
 * and the padding, in the N bytes (one block or two) at TAIL. */
static inline void
hash_md5_pad(uint8_t *tail, size_t n, const void *p, size_t rest,
    uint64_t total)
{
	const uint64_t bits = htole64(total << 3);

	memset(tail, 0, n);
	if (rest > 0)
		memcpy(tail, p, rest);
	tail[rest] = 0x80;
	memcpy(tail + n - sizeof(bits), &bits, sizeof(bits));
}

void
hash_md5(const void *data, size_t len, uint8_t digest[HASH_MD5_LEN])
{
	const size_t rest = len % HASH_MD5_BLOCK;
	const size_t n_tail = rest > HASH_MD5_ONE_BLOCK ? 2 : 1;
	const uint8_t *p = data;
	uint8_t tail[2 * HASH_MD5_BLOCK];
	uint32_t state[4];

	memcpy(state, hash_md5_start, sizeof(state));
	for (size_t n = len / HASH_MD5_BLOCK; n > 0; n--, p += HASH_MD5_BLOCK)
		hash_md5_mix(state, p);
	hash_md5_pad(tail, n_tail * HASH_MD5_BLOCK, p, rest, len);
	for (size_t i = 0; i < n_tail; i++)
		hash_md5_mix(state, tail + i * HASH_MD5_BLOCK);

	for (int i = 0; i < 4; i++)
		state[i] = htole32(state[i]);
	memcpy(digest, state, HASH_MD5_LEN);
}

uint32_t
hash_md5_32(const void *data, size_t len)
{
	uint8_t block[HASH_MD5_BLOCK], digest[HASH_MD5_LEN];
	uint32_t state[4];

	if (UNLIKELY(len > HASH_MD5_ONE_BLOCK)) {
		hash_md5(data, len, digest);
		memcpy(state, digest, sizeof(state));
		return le32toh(state[0]);
	}
	memcpy(state, hash_md5_start, sizeof(state));
	hash_md5_pad(block, sizeof(block), data, len, len);
	hash_md5_mix(state, block);
	return state[0];
}

/*
 * A CRC's table is linear in its index: entry i is the sum (without carry) of
 * the entries of i's bits.  So eight numbers make 256, at compile time.
 * Table k serves a byte that k others follow: four bytes are one step.
 */
#define CRC_2(e, v)		(v), (v) ^ (e)
#define CRC_4(d, e, v)		CRC_2(e, v), CRC_2(e, (v) ^ (d))
#define CRC_8(c, d, e, v)	CRC_4(d, e, v), CRC_4(d, e, (v) ^ (c))
#define CRC_16(b, c, d, e, v)	CRC_8(c, d, e, v), CRC_8(c, d, e, (v) ^ (b))
#define CRC_32(a, b, c, d, e, v) \
	CRC_16(b, c, d, e, v), CRC_16(b, c, d, e, (v) ^ (a))
/* Of the entries 1, 2, 4, 8, 16; 32, 64 and 128. */
#define CRC_256(e, d, c, b, a, x, y, z) \
	CRC_32(a, b, c, d, e, 0), \
	CRC_32(a, b, c, d, e, (x)), \
	CRC_32(a, b, c, d, e, (y)), \
	CRC_32(a, b, c, d, e, (x) ^ (y)), \
	CRC_32(a, b, c, d, e, (z)), \
	CRC_32(a, b, c, d, e, (x) ^ (z)), \
	CRC_32(a, b, c, d, e, (y) ^ (z)), \
	CRC_32(a, b, c, d, e, (x) ^ (y) ^ (z))

static const uint32_t hash_crc32_table[4][256] = {
	{ CRC_256(0x77073096, 0xee0e612c, 0x076dc419, 0x0edb8832,
	    0x1db71064, 0x3b6e20c8, 0x76dc4190, 0xedb88320) },
	{ CRC_256(0x191b3141, 0x32366282, 0x646cc504, 0xc8d98a08,
	    0x4ac21251, 0x958424a2, 0xf0794f05, 0x3b83984b) },
	{ CRC_256(0x01c26a37, 0x0384d46e, 0x0709a8dc, 0x0e1351b8,
	    0x1c26a370, 0x384d46e0, 0x709a8dc0, 0xe1351b80) },
	{ CRC_256(0xb8bc6765, 0xaa09c88b, 0x8f629757, 0xc5b428ef,
	    0x5019579f, 0xa032af3e, 0x9b14583d, 0xed59b63b) }
};

uint32_t
hash_crc32(const void *data, size_t len)
{
	const uint32_t (*table)[256] = hash_crc32_table;
	const uint8_t *p = data;
	uint32_t crc = UINT32_MAX, word;

	for (; len >= sizeof(word); len -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		crc ^= le32toh(word);
		crc = table[3][crc & 0xff] ^ table[2][crc >> 8 & 0xff] ^
		    table[1][crc >> 16 & 0xff] ^ table[0][crc >> 24];
	}
	for (; len > 0; len--, p++)
		crc = table[0][(crc ^ *p) & 0xff] ^ crc >> 8;
	return ~crc;
}

uint32_t
hash_crc32_15(const void *data, size_t len)
{
	return hash_crc32(data, len) >> 16 & 0x7fff;
}

/* BYTE as a char of x86, added to something unsigned. */
static inline uint32_t
hash_signed(uint8_t byte)
{
	return (uint32_t)(int8_t)byte;
}

/*
 * FNV.  The lower half of a product or a sum of bits depends on nothing but
 * lower halves, and that of the 64-bit hashes is all that is kept: 32 bits
 * are enough for both widths.
 */
static inline uint32_t
hash_fnv1(const uint8_t *p, size_t len, uint32_t hash, uint32_t prime)
{
	for (; len > 0; len--, p++)
		hash = hash * prime ^ hash_signed(*p);
	return hash;
}

static inline uint32_t
hash_fnv1a(const uint8_t *p, size_t len, uint32_t hash, uint32_t prime)
{
	for (; len > 0; len--, p++)
		hash = (hash ^ hash_signed(*p)) * prime;
	return hash;
}

#define FNV_64_START	((uint32_t)UINT64_C(0xcbf29ce484222325))
#define FNV_64_PRIME	((uint32_t)UINT64_C(0x00000100000001b3))
#define FNV_32_START	UINT32_C(0x811c9dc5)
#define FNV_32_PRIME	UINT32_C(0x01000193)

uint32_t
hash_fnv1_64(const void *data, size_t len)
{
	return hash_fnv1(data, len, FNV_64_START, FNV_64_PRIME);
}

uint32_t
hash_fnv1a_64(const void *data, size_t len)
{
	return hash_fnv1a(data, len, FNV_64_START, FNV_64_PRIME);
}

uint32_t
hash_fnv1_32(const void *data, size_t len)
{
	return hash_fnv1(data, len, FNV_32_START, FNV_32_PRIME);
}

uint32_t
hash_fnv1a_32(const void *data, size_t len)
{
	return hash_fnv1a(data, len, FNV_32_START, FNV_32_PRIME);
}

uint32_t
hash_one_at_a_time(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t hash = 0;

	for (; len > 0; len--, p++) {
		hash += hash_signed(*p);
		hash += hash << 10;
		hash ^= hash >> 6;
	}
	hash += hash << 3;
	hash ^= hash >> 11;
	hash += hash << 15;
	return hash;
}

#define MURMUR_FACTOR	UINT32_C(0x5bd1e995)

uint32_t
hash_murmur(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t hash = (UINT32_C(0xdeadbeef) * (uint32_t)len) ^ (uint32_t)len;
	uint32_t word;

	for (; len >= sizeof(word); len -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		word = le32toh(word) * MURMUR_FACTOR;
		word = (word ^ word >> 24) * MURMUR_FACTOR;
		hash = hash * MURMUR_FACTOR ^ word;
	}
	if (len > 0) {
		word = 0;
		memcpy(&word, p, len);
		hash = (hash ^ le32toh(word)) * MURMUR_FACTOR;
	}
	hash = (hash ^ hash >> 13) * MURMUR_FACTOR;
	return hash ^ hash >> 15;
}

uint32_t
hash_jump(uint64_t key, uint32_t n_buckets)
{
	uint64_t bucket, next = 0;

	ASSERT(n_buckets > 0);
	do {
		bucket = next;
		key = key * UINT64_C(2862933555777941757) + 1;
		next = (uint64_t)((double)(bucket + 1) *
		    (2147483648.0 / (double)((key >> 33) + 1)));
	} while (next < n_buckets);
	return (uint32_t)bucket;
}
