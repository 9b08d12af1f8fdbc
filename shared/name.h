/*
 * utf8.h: is this UTF-8?  For texts of others, in formats that take no other;
 * there we write \xNN for a byte that is none.
 */
#ifndef SHARED_UTF8_H
#define SHARED_UTF8_H

#include "shared/base.h"

/* The length of the character at S, which ends in a NUL; 0: there is none:
 * the end, a byte that cannot stand there, a character that is written too
 * long or that Unicode does not have. */
static inline size_t
utf8_len(const char *s)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = (const unsigned char *)s;
	size_t len = p[0] < 0x80 ? p[0] != 0 : p[0] < 0xc0 ? 0 :
	    p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf8 ? 4 : 0;
	uint32_t c = len > 1 ? p[0] & (0x7fU >> len) : p[0];

	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	return c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ?
	    0 : len;
}

#endif /* SHARED_UTF8_H */
