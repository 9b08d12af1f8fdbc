#include "worker/ring.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "ext/kvp_ext.h"
#include "shared/hash.h"

#define RING_POINTS_MAX		((size_t)1 << 31)
#define RING_NUMBER_MAX		sizeof("-4294967295")

#define RING_KETAMA_POINTS	160	/* of a host of average weight */
#define RING_KETAMA_PER_MD5	4
#define RING_KETAMA_PORT	11211	/* left out of a host's name */

/* How often the key of a host that is out is hashed again: when three hosts
 * of four are out, one key in 10,000 has found none by then. */
#define RING_AGAIN_MAX		32

typedef uint32_t (*ring_hash_fn)(const void *data, size_t len);
typedef uint32_t (*ring_bucket_fn)(uint32_t hash, uint32_t n_buckets);

/* A key belongs to the first point that is not less than its hash, or where
 * there are buckets, than its bucket's number: then a host's point is its last
 * bucket. */
struct ring_point {
	uint32_t	value;
	uint32_t	host;
};

/*
 * The points stand in order, no value twice, and after them one of UINT32_MAX
 * that leads to the first one's host: it closes the circle and ends every
 * search.  Slot s of the index says where to begin for a value that, shifted,
 * is s.  There are at least as many slots as points, so that on average a
 * search is over at its first or second point.
 *
 * Where at most one host has weight there are no points.
 */
struct ring {
	ring_hash_fn	hash;
	ring_bucket_fn	bucket;		/* NULL: a circle */
	uint32_t	n_buckets;
	unsigned	shift;
	uint32_t	*index;
	struct ring_point *points;
	size_t		n_points;
	uint32_t	*members;	/* hosts with weight */
	size_t		n_members;
	char		tag[2];		/* of keys; NUL: none */
};

struct ring_kind {
	/* The bucket of a key; NULL: points on a circle. */
	ring_bucket_fn	bucket;
	/* Of a key; NULL: what the service says. */
	ring_hash_fn	hash;
	/* The points of a host of WEIGHT, not 0. */
	size_t	(*count)(unsigned weight, uint64_t total_weight,
		    size_t n_members);
	/* Add host I's N points.  False: out of memory. */
	bool	(*add)(struct ring *ring, const struct config_host *host,
		    size_t i, size_t n);
	/* A value that hosts share is the last one's, else the first's. */
	bool	last_wins;
};

static const ring_hash_fn ring_hashes[] = {
	[HASH_MD5] = hash_md5_32,
	[HASH_FNV1_64] = hash_fnv1_64,
	[HASH_FNV1A_64] = hash_fnv1a_64,
	[HASH_FNV1_32] = hash_fnv1_32,
	[HASH_FNV1A_32] = hash_fnv1a_32,
	[HASH_CRC32] = hash_crc32_15,
	[HASH_CRC32A] = hash_crc32,
	[HASH_ONE_AT_A_TIME] = hash_one_at_a_time,
	[HASH_MURMUR] = hash_murmur
};

static void
ring_add_point(struct ring *ring, uint32_t value, size_t host)
{
	ring->points[ring->n_points].value = value;
	ring->points[ring->n_points].host = (uint32_t)host;
	ring->n_points++;
}

/* libmemcached counts in floats, and so do we, step by step: 25 equal hosts
 * get 156 points each, not 160.  (It adds 1e-10 before it cuts off, which is
 * lost in a float of this size and left out here.) */
static size_t
ring_ketama_count(unsigned weight, uint64_t total_weight, size_t n_members)
{
	const float share = (float)weight / (float)total_weight;
	const float n = share * RING_KETAMA_POINTS / RING_KETAMA_PER_MD5 *
	    (float)n_members;

	return (size_t)n * RING_KETAMA_PER_MD5;
}

/* What HOST's points are made from, with room for the number that each adds.
 * The caller frees it.  NULL: out of memory. */
static char *
ring_ketama_name(const struct config_host *host)
{
	const char *text = host->node != NULL ? host->node : host->name;
	const char *colon = strrchr(text, ':');
	const size_t room = strlen(text) + sizeof(":0") + RING_NUMBER_MAX;
	char *name = malloc(room);
	unsigned long port;

	if (name == NULL)
		return NULL;
	if (host->node != NULL) {
		snprintf(name, room, "%s", text);
		return name;
	}
	if (text[0] == '/') {
		snprintf(name, room, "%s:0", text);
		return name;
	}

	ASSERT(colon != NULL);
	port = strtoul(colon + 1, NULL, 10);
	if (text[0] == '[') {
		text++;
		colon--;
	}
	if (port == RING_KETAMA_PORT)
		snprintf(name, room, "%.*s", (int)(colon - text), text);
	else
		snprintf(name, room, "%.*s:%lu", (int)(colon - text), text,
		    port);
	return name;
}

static bool
ring_ketama_add(struct ring *ring, const struct config_host *host, size_t i,
    size_t n)
{
	char *name = ring_ketama_name(host);
	uint32_t values[RING_KETAMA_PER_MD5];
	uint8_t digest[HASH_MD5_LEN];
	size_t len;
	int n_digits;

	if (name == NULL)
		return false;
	len = strlen(name);
	for (size_t k = 0; k < n / RING_KETAMA_PER_MD5; k++) {
		n_digits = snprintf(name + len, RING_NUMBER_MAX, "-%zu", k);
		hash_md5(name, len + (size_t)n_digits, digest);
		memcpy(values, digest, sizeof(values));
		for (size_t v = 0; v < ARRAY_LEN(values); v++)
			ring_add_point(ring, le32toh(values[v]), i);
	}
	free(name);
	return true;
}

static size_t
ring_kvproxy_count(unsigned weight, uint64_t total_weight, size_t n_members)
{
	(void)total_weight;
	(void)n_members;
	return weight;
}

static bool
ring_kvproxy_add(struct ring *ring, const struct config_host *host, size_t i,
    size_t n)
{
	char name[2 * RING_NUMBER_MAX];
	int len;

	for (size_t k = 0; k < n; k++) {
		len = snprintf(name, sizeof(name), "%u-%zu", host->id, k);
		ring_add_point(ring, hash_crc32(name, (size_t)len), i);
	}
	return true;
}

static size_t
ring_bucket_count(unsigned weight, uint64_t total_weight, size_t n_members)
{
	(void)weight;
	(void)n_members;
	ASSERT(total_weight <= UINT32_MAX);
	return 1;
}

static bool
ring_bucket_add(struct ring *ring, const struct config_host *host, size_t i,
    size_t n)
{
	(void)n;
	ring->n_buckets += host->weight;
	ring_add_point(ring, ring->n_buckets - 1, i);
	return true;
}

static uint32_t
ring_modula_bucket(uint32_t hash, uint32_t n_buckets)
{
	return hash % n_buckets;
}

static uint32_t
ring_jump_bucket(uint32_t hash, uint32_t n_buckets)
{
	return hash_jump(hash, n_buckets);
}

static const struct ring_kind ring_kinds[] = {
	[DISTRIBUTION_KETAMA] = {
		.count = ring_ketama_count,
		.add = ring_ketama_add,
		.last_wins = false
	},
	[DISTRIBUTION_KVPROXY] = {
		.hash = hash_crc32,
		.count = ring_kvproxy_count,
		.add = ring_kvproxy_add,
		.last_wins = true
	},
	[DISTRIBUTION_MODULA] = {
		.bucket = ring_modula_bucket,
		.count = ring_bucket_count,
		.add = ring_bucket_add
	},
	[DISTRIBUTION_JUMP] = {
		.bucket = ring_jump_bucket,
		.count = ring_bucket_count,
		.add = ring_bucket_add
	}
};

static int
ring_point_compare(const void *one, const void *other)
{
	const struct ring_point *a = one, *b = other;

	if (a->value != b->value)
		return a->value < b->value ? -1 : 1;
	return a->host < b->host ? -1 : a->host > b->host;
}

/* Order the points, keep one of each value, and close the circle. */
static void
ring_sort(struct ring *ring, bool last_wins)
{
	struct ring_point *points = ring->points;
	size_t n = 1;

	ASSERT(ring->n_points > 0);
	qsort(points, ring->n_points, sizeof(*points), ring_point_compare);
	for (size_t i = 1; i < ring->n_points; i++) {
		if (points[i].value != points[n - 1].value)
			points[n++] = points[i];
		else if (last_wins)
			points[n - 1] = points[i];
	}
	ring->n_points = n;
	points[n].value = UINT32_MAX;
	points[n].host = points[0].host;
}

/* False: out of memory. */
static bool
ring_make_index(struct ring *ring)
{
	const uint32_t most = ring->bucket != NULL ? ring->n_buckets - 1 :
	    UINT32_MAX;
	size_t n_slots = 2, i = 0;

	ring->shift = 31 - (unsigned)__builtin_clz(most);
	for (; n_slots < ring->n_points; ring->shift--)
		n_slots *= 2;
	ring->index = malloc(n_slots * sizeof(*ring->index));
	if (ring->index == NULL)
		return false;
	for (size_t slot = 0; slot < n_slots; slot++) {
		while (ring->points[i].value >> ring->shift < slot)
			i++;
		ring->index[slot] = (uint32_t)i;
	}
	return true;
}

/* False: out of memory. */
static bool
ring_make_points(struct ring *ring, const struct config_host *hosts,
    const struct ring_kind *kind)
{
	uint64_t total_weight = 0;
	const struct config_host *h;
	size_t n = 0;

	for (size_t m = 0; m < ring->n_members; m++)
		total_weight += hosts[ring->members[m]].weight;
	for (size_t m = 0; m < ring->n_members; m++)
		n += kind->count(hosts[ring->members[m]].weight, total_weight,
		    ring->n_members);
	if (n > RING_POINTS_MAX)
		return false;
	ring->points = malloc((n + 1) * sizeof(*ring->points));
	if (ring->points == NULL)
		return false;

	for (size_t m = 0; m < ring->n_members; m++) {
		h = &hosts[ring->members[m]];
		if (!kind->add(ring, h, ring->members[m],
		    kind->count(h->weight, total_weight, ring->n_members)))
			return false;
	}
	ASSERT(ring->n_points == n);
	return true;
}

/* False: out of memory. */
static bool
ring_make_members(struct ring *ring, const struct config_group *group)
{
	ring->members = malloc((group->n_hosts + 1) * sizeof(*ring->members));
	if (ring->members == NULL)
		return false;
	for (size_t i = 0; i < group->n_hosts; i++)
		if (group->hosts[i].weight > 0)
			ring->members[ring->n_members++] = (uint32_t)i;
	return true;
}

struct ring *
ring_new(const struct config_group *group,
    const struct config_service *service)
{
	const struct ring_kind *kind = &ring_kinds[service->distribution];
	struct ring *ring = calloc(1, sizeof(*ring));

	if (ring == NULL)
		return NULL;
	ring->bucket = kind->bucket;
	ring->hash = kind->hash != NULL ? kind->hash :
	    ring_hashes[service->hash];
	if (service->hash_tag != NULL)
		memcpy(ring->tag, service->hash_tag, sizeof(ring->tag));
	if (!ring_make_members(ring, group))
		goto fail;
	if (ring->n_members <= 1)
		return ring;

	if (!ring_make_points(ring, group->hosts, kind))
		goto fail;
	ring_sort(ring, kind->last_wins);
	if (!ring_make_index(ring))
		goto fail;
	return ring;
fail:
	ring_free(&ring);
	return NULL;
}

void
ring_free(struct ring **ring)
{
	if (*ring == NULL)
		return;
	free((*ring)->index);
	free((*ring)->points);
	free((*ring)->members);
	free(*ring);
	*ring = NULL;
}

/* What is hashed of the LEN bytes at KEY, with *LEN its length. */
static const void *
ring_cut_tag(const struct ring *ring, const void *key, size_t *len)
{
	const char *begin, *end;

	begin = *len > 0 ? memchr(key, ring->tag[0], *len) : NULL;
	if (begin == NULL)
		return key;
	begin++;
	end = memchr(begin, ring->tag[1],
	    *len - (size_t)(begin - (const char *)key));
	if (end == NULL || end == begin)
		return key;
	*len = (size_t)(end - begin);
	return begin;
}

static inline const struct ring_point *
ring_seek(const struct ring *ring, const void *key, size_t len)
{
	uint32_t value = ring->hash(key, len);
	const struct ring_point *p;

	if (ring->bucket != NULL)
		value = ring->bucket(value, ring->n_buckets);
	p = ring->points + ring->index[value >> ring->shift];
	while (p->value < value)
		p++;
	return p;
}

unsigned
ring_find(const struct ring *ring, const void *key, size_t len)
{
	if (ring->points == NULL)
		return ring->n_members > 0 ? ring->members[0] : RING_NONE;
	if (UNLIKELY(ring->tag[0] != '\0'))
		key = ring_cut_tag(ring, key, &len);
	return ring_seek(ring, key, len)->host;
}

/* The first host with a weight that is not out. */
static unsigned
ring_first_live(const struct ring *ring, const bool *out)
{
	for (size_t m = 0; m < ring->n_members; m++)
		if (!out[ring->members[m]])
			return ring->members[m];
	return RING_NONE;
}

/* The host of the next point after P, once around, that is not out; SPARE
 * where none of those that are not has a point. */
static unsigned
ring_walk(const struct ring *ring, const struct ring_point *p, const bool *out,
    unsigned spare)
{
	for (size_t n = 0; n <= ring->n_points; n++) {
		p = p < ring->points + ring->n_points ? p + 1 : ring->points;
		if (!out[p->host])
			return p->host;
	}
	return spare;
}

/* Put the point of the first of "KEY#1", "KEY#2" and so on whose host is not
 * out in *P.  False: all that were tried are out; *P is the last one's. */
static bool
ring_seek_again(const struct ring *ring, const void *key, size_t len,
    const bool *out, const struct ring_point **p)
{
	char again[KVP_KEY_MAX + RING_NUMBER_MAX];
	int n_digits;

	ASSERT(len <= KVP_KEY_MAX);
	if (len > 0)
		memcpy(again, key, len);
	for (unsigned i = 1; i <= RING_AGAIN_MAX; i++) {
		n_digits = snprintf(again + len, RING_NUMBER_MAX, "#%u", i);
		*p = ring_seek(ring, again, len + (size_t)n_digits);
		if (!out[(*p)->host])
			return true;
	}
	return false;
}

unsigned
ring_find_live(const struct ring *ring, const void *key, size_t len,
    const bool *out)
{
	const struct ring_point *p;
	unsigned spare;

	if (ring->points == NULL)
		return ring_first_live(ring, out);
	if (UNLIKELY(ring->tag[0] != '\0'))
		key = ring_cut_tag(ring, key, &len);
	p = ring_seek(ring, key, len);
	if (LIKELY(!out[p->host]))
		return p->host;

	spare = ring_first_live(ring, out);
	if (spare == RING_NONE)
		return RING_NONE;
	if (ring->bucket != NULL && ring_seek_again(ring, key, len, out, &p))
		return p->host;
	return ring_walk(ring, p, out, spare);
}
