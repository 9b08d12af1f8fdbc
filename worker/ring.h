/*
 * ring.h: which host of a group a key belongs to.
 *
 * A ring is made once from a group, in order of id, and never changes; the
 * functions that find touch nothing but the ring.  It says where a key
 * belongs, not whether that host is up.
 *
 * ketama is libmemcached's (MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED) and
 * twemproxy's, point for point, so that a pool which clients sharded by
 * themselves keeps its keys.  A host's points are made from its name:
 *
 *	10.0.0.1:11211		10.0.0.1	(this port is left out)
 *	10.0.0.1:11212		10.0.0.1:11212
 *	cache1:11212		cache1:11212	(as written, not looked up)
 *	[fd00::1]:11212		fd00::1:11212	(libmemcached knows no brackets)
 *	/run/mc.sock		/run/mc.sock:0	(a socket's port is 0)
 *
 * A host with a node name has that in the place of all this, as with
 * twemproxy.  (Two differences: libmemcached takes weight 0 for 1; twemproxy
 * says "/run/mc.sock:", which can be given as a node name where its keys are
 * to be kept.)  The points are made with MD5, whatever hashes the keys.
 *
 * kvproxy is the original's: each host has as many points as its weight, made
 * from its id.  Points and keys are hashed with crc32a, whatever `hash` is.
 *
 * modula and jump number the hosts by their ids and give each as many
 * consecutive buckets as its weight.  modula takes a key's hash modulo the
 * number of buckets; jump is hash_jump of it (Lamping and Veach, 2014).  With
 * weight 1 everywhere modula is libmemcached's, which knows no weights for
 * it; with any weights it is twemproxy's, if the ids follow twemproxy's order:
 * servers with shorter names first (the port is part of the name unless it is
 * 11211), those of one length as strcmp has them, whatever the file's order.
 *
 * The key's hash is the service's `hash`; with a `hash_tag` only what stands
 * between its first character in the key and the next second one is hashed,
 * if there is something between, as twemproxy does it.
 */
#ifndef WORKER_RING_H
#define WORKER_RING_H

#include <limits.h>

#include "shared/base.h"
#include "shared/config.h"

#define RING_NONE	UINT_MAX

struct ring;

/* A ring over GROUP by the distribution, hash and hash_tag of SERVICE, neither
 * of which is needed afterwards.  Hosts of weight 0 get no keys and leave the
 * others' points as if they were not there.  NULL: out of memory. */
struct ring *ring_new(const struct config_group *group,
	    const struct config_service *service) MUST_CHECK;
void	 ring_free(struct ring **ring);

/* Where the LEN bytes at KEY belong: an index in the group's hosts; RING_NONE
 * when all weights are 0. */
unsigned ring_find(const struct ring *ring, const void *key, size_t len)
	    MUST_CHECK;

/*
 * The same where some hosts are out: OUT has one for each host of the group.
 * A key whose host is not out stays there.  The others go to the next point
 * whose host is not (ketama, kvproxy), or where "KEY#1", "KEY#2" and so on
 * belong (modula, jump): a given OUT always gives the same.  RING_NONE: every
 * host with a weight is out.  LEN is at most KVP_KEY_MAX.
 */
unsigned ring_find_live(const struct ring *ring, const void *key, size_t len,
	    const bool *out) MUST_CHECK;

#endif /* WORKER_RING_H */
