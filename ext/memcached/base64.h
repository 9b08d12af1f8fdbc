/*
 * base64.h: keys that cannot stand in a line (RFC 4648, section 4).
 */
#ifndef MEMCACHED_BASE64_H
#define MEMCACHED_BASE64_H

#include "ext/kvp_ext.h"

/* Bytes that LEN bytes take, encoded. */
#define BASE64_LEN(len) (((len) + 2) / 3 * 4)

/* Write S at P, BASE64_LEN(S.len) bytes; where the next byte goes. */
uint8_t	*base64_put(uint8_t *p, struct kvp_slice s);

/* Decode S to DST, which has room for 3 bytes of every 4.  How many bytes they
 * are; 0: S is empty, or not what base64_put writes. */
size_t	 base64_read(uint8_t *dst, struct kvp_slice s);

#endif /* MEMCACHED_BASE64_H */
