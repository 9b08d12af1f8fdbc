#include "shared/name.h"

#include <stdio.h>
#include <string.h>

size_t
name_utf8_len(const char *s)
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

const char *
name_spell(char *dst, size_t room, const char *name)
{
	char escaped[8];
	const char *from;
	size_t at = 0, len, n;

	for (; *name != '\0'; name += len) {
		len = name_utf8_len(name);
		from = name;
		n = len;
		if (len == 0 || (unsigned char)*name <= ' ' || *name == 0x7f ||
		    *name == '\\') {
			len = 1;
			n = (size_t)snprintf(escaped, sizeof(escaped),
			    "\\x%02x", (unsigned char)*name);
			from = escaped;
		}
		if (at + n >= room)
			break;
		memcpy(dst + at, from, n);
		at += n;
	}
	dst[at] = '\0';
	return dst;
}
