/*
 * wire.h: words and numbers of the memcached protocols, read and written by
 * hand, for they stand in every request and every reply.
 *
 * A reader looks at the bytes it is given and nowhere else.  A writer puts
 * its bytes at P and returns where the next ones go; the caller has made sure
 * that there is room.
 */
#ifndef MEMCACHED_WIRE_H
#define MEMCACHED_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	WIRE_U64_MAX = 20	/* digits of the largest number */
};

/* Does the word of LEN bytes at P say STR, a string literal? */
#define wire_is(p, len, str) \
	((len) == sizeof(str) - 1 && memcmp(p, str, sizeof(str) - 1) == 0)
/* Do the LEN bytes at P begin with STR, a string literal? */
#define wire_begins(p, len, str) \
	((len) >= sizeof(str) - 1 && memcmp(p, str, sizeof(str) - 1) == 0)
/* Write STR, a string literal. */
#define wire_put_str(p, str) \
	wire_put((p), (str), sizeof(str) - 1)

/* A slice that is STR, a string literal. */
#define WIRE_SLICE(str) { (const uint8_t *)(str), sizeof(str) - 1 }

/* The decimal number that is the whole of P's LEN bytes: digits and nothing
 * else, at most MOST. */
static inline bool
wire_read_u64(const uint8_t *p, size_t len, uint64_t most, uint64_t *n)
{
	uint64_t v = 0;
	size_t i;

	if (len == 0)
		return false;
	for (i = 0; i < len; i++) {
		unsigned d = (unsigned)p[i] - '0';

		if (d > 9 || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, d, &v))
			return false;
	}
	*n = v;
	return v <= most;
}

static inline uint8_t *
wire_put(uint8_t *p, const void *src, size_t len)
{
	memcpy(p, src, len);
	return p + len;
}

static inline uint8_t *
wire_put_u64(uint8_t *p, uint64_t n)
{
	uint8_t digits[WIRE_U64_MAX];
	size_t at = sizeof(digits);

	do
		digits[--at] = (uint8_t)('0' + n % 10);
	while ((n /= 10) > 0);
	return wire_put(p, digits + at, sizeof(digits) - at);
}

#endif /* MEMCACHED_WIRE_H */
