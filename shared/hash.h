/*
 * hash.h: the hashes that rings are made of.
 *
 * Plain functions of LEN bytes at DATA, which may lie anywhere and hold
 * anything; they keep nothing, cannot fail, and give the same on every
 * machine.
 */
#ifndef SHARED_HASH_H
#define SHARED_HASH_H

#include "shared/base.h"

#define HASH_MD5_LEN	16	/* bytes of a digest */

/* MD5 as RFC 1321 has it. */
void	 hash_md5(const void *data, size_t len, uint8_t digest[HASH_MD5_LEN]);

/* The digest's first four bytes, read as a little-endian number: what ketama
 * hashes keys with.  Faster than the whole digest for up to 55 bytes. */
uint32_t hash_md5_32(const void *data, size_t len) MUST_CHECK;

/* CRC-32 as zlib, Ethernet and PNG have it. */
uint32_t hash_crc32(const void *data, size_t len) MUST_CHECK;

#endif /* SHARED_HASH_H */
