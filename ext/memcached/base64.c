#include "ext/memcached/base64.h"

uint8_t *
base64_put(uint8_t *p, struct kvp_slice s)
{
	static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "abcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t i, j;

	for (i = 0; i < s.len; i += 3) {
		size_t n = s.len - i < 3 ? s.len - i : 3;
		uint32_t bits = 0;

		for (j = 0; j < 3; j++)
			bits = bits << 8 | (j < n ? s.p[i + j] : 0u);
		for (j = 0; j < 4; j++)
			*p++ = j > n ? (uint8_t)'=' :
			    (uint8_t)digit[bits >> (18 - 6 * j) & 63];
	}
	return p;
}

/* The six bits that C stands for; more: it is no digit. */
static uint32_t
base64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return (uint32_t)(c - 'A');
	if (c >= 'a' && c <= 'z')
		return (uint32_t)(c - 'a' + 26);
	if (c >= '0' && c <= '9')
		return (uint32_t)(c - '0' + 52);
	return c == '+' ? 62 : c == '/' ? 63 : 64;
}

size_t
base64_read(uint8_t *dst, struct kvp_slice s)
{
	size_t i, j, n = s.len, at = 0;

	if (n == 0 || n % 4 != 0)
		return 0;
	if (s.p[n - 1] == '=')
		n--;
	if (s.p[n - 1] == '=')
		n--;
	for (i = 0; i < n; i += 4) {
		size_t digits = n - i < 4 ? n - i : 4;
		uint32_t bits = 0, v;

		for (j = 0; j < 4; j++) {
			v = j < digits ? base64_value(s.p[i + j]) : 0;
			if (v > 63)
				return 0;
			bits = bits << 6 | v;
		}
		for (j = 1; j < digits; j++)
			dst[at++] = (uint8_t)(bits >> (24 - 8 * j));
		/* Bits that no byte has would not come back. */
		if ((bits & (((uint32_t)1 << (32 - 8 * digits)) - 1)) != 0)
			return 0;
	}
	return at;
}
