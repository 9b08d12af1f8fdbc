/*
 * hash.h: the hashes that rings are made of and that keys are found by.
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

/* CRC-32 as zlib, Ethernet and PNG have it: twemproxy's crc32a. */
uint32_t hash_crc32(const void *data, size_t len) MUST_CHECK;

/* 15 bits of it, the upper half's without the first: what twemproxy calls
 * crc32, and libmemcached crc. */
uint32_t hash_crc32_15(const void *data, size_t len) MUST_CHECK;

/*
 * The following are libmemcached's and twemproxy's, with their ways:
 *
 * - A byte from 0x80 on is taken as a negative number (a char of x86) where
 *   it is added up: in fnv and one_at_a_time.  So for such keys these are not
 *   what other libraries call by the name.
 * - Of the 64-bit FNV the lower half is kept.
 * - one_at_a_time is Bob Jenkins's of 1997, libmemcached's default hash.
 *   (What libmemcached and twemproxy call jenkins is a later one of his.)
 * - murmur is MurmurHash2 with 0xdeadbeef times LEN as its seed.
 */
uint32_t hash_fnv1_64(const void *data, size_t len) MUST_CHECK;
uint32_t hash_fnv1a_64(const void *data, size_t len) MUST_CHECK;
uint32_t hash_fnv1_32(const void *data, size_t len) MUST_CHECK;
uint32_t hash_fnv1a_32(const void *data, size_t len) MUST_CHECK;
uint32_t hash_one_at_a_time(const void *data, size_t len) MUST_CHECK;
uint32_t hash_murmur(const void *data, size_t len) MUST_CHECK;

/* Which of N_BUCKETS, at least 1, the number KEY belongs to, by the jump
 * consistent hash of Lamping and Veach, "A Fast, Minimal Memory, Consistent
 * Hash Algorithm" (2014, arXiv:1406.2294).  One bucket more takes its share
 * from all the others and moves no other key. */
uint32_t hash_jump(uint64_t key, uint32_t n_buckets) MUST_CHECK;

#endif /* SHARED_HASH_H */
