/*
 * Where keys belong is written as a letter each: a for the group's first host,
 * b for the second.
 *
 * The expected letters of ketama come from libmemcached 1.1.4 itself (Debian
 * 12): a memcached_st with MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, the hosts added
 * with memcached_server_add_with_weight (paths: _add_unix_socket_with_weight)
 * in the order of the table, then memcached_generate_hash for each key; other
 * hashes by MEMCACHED_BEHAVIOR_HASH set last.  Those of modula with weight 1
 * are made likewise with MEMCACHED_DISTRIBUTION_MODULA.  Those of kvproxy come
 * from a dict of zlib.crc32 in Python, those of jump, and of modula with
 * weights, from hashlib.md5 and a list of buckets there.
 */
#include "worker/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "ext/kvp_ext.h"
#include "shared/hash.h"

#define KETAMA		DISTRIBUTION_KETAMA
#define KVPROXY		DISTRIBUTION_KVPROXY
#define MODULA		DISTRIBUTION_MODULA
#define JUMP		DISTRIBUTION_JUMP

#define KEY_MAX		256

static const enum config_distribution kinds[] = {
	KETAMA, KVPROXY, MODULA, JUMP
};
static const enum config_distribution circles[] = { KETAMA, KVPROXY };
static const enum config_distribution buckets[] = { MODULA, JUMP };

/* Keys of every sort; 55 and 56 bytes are either side of one MD5 block. */
static const char *const odd_keys[] = {
	"a", "user:alice",
	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
	"%C3%A9t%C3%A9", "x-y_z.0", "00000000000000000000000000000000"
};

static const struct config_host five_forms[] = {
	{ .name = "10.0.0.1:11211", .id = 1, .weight = 1 },
	{ .name = "10.0.0.2:11212", .id = 2, .weight = 1 },
	{ .name = "cache3.example.com:11211", .id = 3, .weight = 2 },
	{ .name = "[fd00::4]:11213", .id = 4, .weight = 3 },
	{ .name = "/run/mc/5.sock", .id = 5, .weight = 1 }
};

static const struct config_host four_equal[] = {
	{ .name = "10.0.0.1:11211", .id = 1, .weight = 100 },
	{ .name = "10.0.0.2:11211", .id = 2, .weight = 100 },
	{ .name = "10.0.0.3:11211", .id = 3, .weight = 100 },
	{ .name = "10.0.0.4:11211", .id = 4, .weight = 100 }
};

/* A ring of the N HOSTS, the group of which is gone. */
static struct ring *
test_ring_of(enum config_distribution kind, enum config_hash hash,
    const char *tag, const struct config_host *hosts, size_t n)
{
	struct config_host *copy = calloc(n + 1, sizeof(*copy));
	struct config_group group = { .hosts = copy, .n_hosts = n };
	struct config_service service = {
		.distribution = kind,
		.hash = hash,
		.hash_tag = tag
	};
	struct ring *ring;

	assert_non_null(copy);
	memcpy(copy, hosts, n * sizeof(*copy));
	ring = ring_new(&group, &service);
	assert_non_null(ring);
	free(copy);
	return ring;
}

static struct ring *
test_ring(enum config_distribution kind, const struct config_host *hosts,
    size_t n)
{
	return test_ring_of(kind, HASH_MD5, NULL, hosts, n);
}

static unsigned
test_find(const struct ring *ring, const char *key)
{
	return ring_find(ring, key, strlen(key));
}

/* Where "key:I" belongs. */
static unsigned
test_find_number(const struct ring *ring, unsigned i)
{
	char key[KEY_MAX];

	return ring_find(ring, key,
	    (size_t)snprintf(key, sizeof(key), "key:%u", i));
}

/* The same where hosts are OUT. */
static unsigned
test_live_number(const struct ring *ring, unsigned i, const bool *out)
{
	char key[KEY_MAX];

	return ring_find_live(ring, key,
	    (size_t)snprintf(key, sizeof(key), "key:%u", i), out);
}

/* key:0, key:1, ... belong where NUMBERED says, odd_keys where ODD says. */
static void
test_expect(struct ring *ring, const char *numbered, const char *odd)
{
	char found[512];
	size_t n = strlen(numbered);

	assert_in_range(n, 1, sizeof(found) - 1);
	for (size_t i = 0; i < n; i++)
		found[i] = (char)('a' + test_find_number(ring, (unsigned)i));
	found[n] = '\0';
	assert_string_equal(found, numbered);

	for (n = 0; n < ARRAY_LEN(odd_keys); n++)
		found[n] = (char)('a' + test_find(ring, odd_keys[n]));
	found[n] = '\0';
	assert_string_equal(found, odd);
	ring_free(&ring);
	assert_null(ring);
}

static void
ketama_agrees_with_libmemcached_on_addresses_and_weights(void **state)
{
	(void)state;
	test_expect(test_ring(KETAMA, five_forms, ARRAY_LEN(five_forms)),
	    "bbdcdadbdbbcddececcdbdddddbcdadcdbeaecbabeacedcdad"
	    "dcdcdcacddbadcecaddecdebdccdcdedcdacbcddccddaeedea"
	    "ddbdcecedcaedcbccdaedbaccccecddbbdddddcaeaddddadbb"
	    "bdddbcdbcdcadddbcddbebbedddcdbabdcdccdbdcecbdddacd",
	    "dccbcded");
}

/* Ketama with crc32 is missing: all keys belong to one host. */
static void
every_hash_agrees_with_libmemcached(void **state)
{
	static const struct {
		enum config_distribution kind;
		enum config_hash hash;
		const char *numbered, *odd;
	} rows[] = {
		{ KETAMA, HASH_MD5,
		    "bbdcdadbdbbcddececcdbdddddbcdadcdbeaecbabeacedcdad"
		    "dcdcdcacddbadcecaddecdebdccdcdedcdacbcddccddaeedea",
		    "dccbcded" },
		{ KETAMA, HASH_FNV1_64,
		    "dddddddddddddddddddddddddddddddddddddddddddddddddd"
		    "dddddddddddddddddddddddddddddddddddddddddddddddddd",
		    "ddcdaaec" },
		{ KETAMA, HASH_FNV1A_64,
		    "aaaaaaaaaaddddddddddddddddddddddddddddddcccccccccc"
		    "ccccccccccddddddddddddddddddddbbbbbbbbbbbbbbbbbbbb",
		    "deddddcc" },
		{ KETAMA, HASH_FNV1_32,
		    "ddddddddddddddddddddeeeeeeeeeeddddddddddbbbbbbbbbb"
		    "ccccccccccccccccccccddddddddddccccccccccdddddddddd",
		    "ecbcddbd" },
		{ KETAMA, HASH_FNV1A_32,
		    "bdeedddccaaaadddcebedccedddceebbbcbebeddddceeedcdc"
		    "deddddecdecbdaaddedaadcbdcabbdcddadbdeadccdeddecde",
		    "cecceddd" },
		{ KETAMA, HASH_ONE_AT_A_TIME,
		    "ddddddcddddbabcaeecdcaddabcebdbdbeecacdddccddcaaac"
		    "aebbdcdecacbeddcedbddcdcecddcccbddbdedceccddacccca",
		    "cdcdabcc" },
		{ KETAMA, HASH_MURMUR,
		    "beddddaddddcadddbbddccebcdaaddbcbddedbddebdeeeeeac"
		    "cdddcaddeacdcdaedcddecdcedbdadcdddbdcbccbaadcaddbd",
		    "abcecccd" },
		{ MODULA, HASH_MD5,
		    "deebdedababcdccbeeccccdbbcbbddceeecacaccddbdcabede"
		    "bcaaccbcaecdbecbcaebaaabdabcbeaeceeecaceeddbbddeea",
		    "caeaecda" },
		{ MODULA, HASH_FNV1_64,
		    "eabcabcdcdbaedcbaedcbceaabdeeadcaeedbabacdeabcdeab"
		    "baedaedceddebceacdbcaecbedbacbdeabeabcbcaedcbaeddc",
		    "ddbedaec" },
		{ MODULA, HASH_FNV1A_64,
		    "ddddddddddaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		    "beaccaae" },
		{ MODULA, HASH_FNV1_32,
		    "deabeabcbcdcbaedcbaebceaabdeeadcaeedbabaabcdeabcde"
		    "cbaebaedaecdabdebcabedbadcaebacdeadeababedcbaedccb",
		    "bddeebed" },
		{ MODULA, HASH_FNV1A_32,
		    "dcaeedbaaecdabdebcabedcbaedcbaeabcabcdbcdcaeedbaae"
		    "cdabbceaeabaedaedcedcdeabcdeabaecbedbadcdebceacdab",
		    "aceaccae" },
		{ MODULA, HASH_CRC32,
		    "dcaddecadabeeebbcabcdbddceabecbcabeedabbeaeacddedd"
		    "cabbbeeeeeddecaebaedadcbdaddcdbcddbabaebcbaaeedacd",
		    "cbebaabe" },
		{ MODULA, HASH_ONE_AT_A_TIME,
		    "debddcbbdbdabcdadeeabaecbbaebaceecdeeccadddbedbded"
		    "ddceeecdcbbceadebaebceddaeddacdaceceddabadcbacadba",
		    "cdcabaab" },
		{ MODULA, HASH_MURMUR,
		    "bbaaeaebacccdbcdbbdeadcdeccdedbeaacdebebcccdaebcab"
		    "bcbbdaebcbeebbcabbacecabdcadababaceadbaaeadbecddee",
		    "bcdddabb" }
	};
	struct config_host hosts[ARRAY_LEN(five_forms)];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		memcpy(hosts, five_forms, sizeof(hosts));
		/* libmemcached's modula knows no weights. */
		for (size_t h = 0; h < ARRAY_LEN(hosts); h++)
			if (rows[i].kind == MODULA)
				hosts[h].weight = 1;
		test_expect(test_ring_of(rows[i].kind, rows[i].hash, NULL,
		    hosts, ARRAY_LEN(hosts)), rows[i].numbered, rows[i].odd);
	}
}

/* In exact arithmetic 25 equal hosts have 160 points each, in floats 156. */
static void
ketama_counts_points_in_floats_as_libmemcached(void **state)
{
	struct config_host hosts[25] = { 0 };
	char names[25][32];

	(void)state;
	for (unsigned i = 0; i < 25; i++) {
		snprintf(names[i], sizeof(names[i]), "10.1.0.%u:11211", i + 1);
		hosts[i].name = names[i];
		hosts[i].id = i;
		hosts[i].weight = 1;
	}
	test_expect(test_ring(KETAMA, hosts, 25),
	    "lennjdfkciqcbkyogbqnfmvqavivdghnmgfawffrtijrjxnrce"
	    "vahioripnendpjkkivgmdkjxerlprxvfjdgekwtjnoclccxmbn"
	    "gfflkyslmmxyefgrdhjoegxylqjtqwolldisaprvcxrtvtbfaf"
	    "curgsvqccfdqdeyxrkfbcrrtmtvwjqbtdsokalvnoqwpurjalb",
	    "almlfiom");
}

/* Expected: of hosts called alpha, beta and gamma, at the port that is left
 * out. */
static void
ketama_puts_the_node_name_in_the_addresss_place(void **state)
{
	const struct config_host hosts[] = {
		{ .name = "10.0.0.1:11311", .node = "alpha", .weight = 5 },
		{ .name = "[::1]:11411", .node = "beta", .weight = 5 },
		{ .name = "/run/mc.sock", .node = "gamma", .weight = 5 }
	};

	(void)state;
	test_expect(test_ring(KETAMA, hosts, ARRAY_LEN(hosts)),
	    "cacbacaaaaaccbacabccbaaccbaaccabaacbbcabcacacbbbcc"
	    "acbbcacacaccccabcccaaaacaccacbbaabcbbbccbbbccaaacc"
	    "cacacbcbaacbbabcbbcbcccbcabbcacccaabaabbacccbcaaac"
	    "acabcbaaccccaccccacaabcabbabbbcbcaacbbccccbaaccaaa",
	    "aaabcbca");
}

/* n81 and n975 share the point 0x243b2d92, to which this key belongs. */
static void
ketama_gives_a_shared_point_to_the_first_host(void **state)
{
	const struct config_host hosts[] = {
		{ .name = "10.0.0.1:11211", .node = "n81", .weight = 1 },
		{ .name = "10.0.0.2:11211", .node = "n975", .weight = 1 },
		{ .name = "10.0.0.1:11211", .node = "n81", .weight = 1 }
	};
	struct ring *ring;

	(void)state;
	for (size_t first = 0; first < 2; first++) {
		ring = test_ring(KETAMA, hosts + first, 2);
		assert_int_equal(test_find(ring, "key:520"), 0);
		ring_free(&ring);
	}
}

static void
modula_gives_a_host_as_many_buckets_as_its_weight(void **state)
{
	(void)state;
	test_expect(test_ring(MODULA, five_forms, ARRAY_LEN(five_forms)),
	    "ecccdcdaddadedbbdcdaddbddddadddadbcbdebddcbddaceee"
	    "eddbcccbeebdcbeacccdbdcddedbacedcdacaceaddacedbeec",
	    "daebcccd");
}

static void
jump_agrees_with_its_paper(void **state)
{
	struct config_host equal[ARRAY_LEN(five_forms)];

	(void)state;
	test_expect(test_ring(JUMP, five_forms, ARRAY_LEN(five_forms)),
	    "eddacbdceccecaddaadddcddeccdeeddddccacceabddabcccd"
	    "dcddcdbddbdcacbcdcbabdbbbacdcceaddccecdabdddbdcddd",
	    "abadabcc");
	memcpy(equal, five_forms, sizeof(equal));
	for (size_t i = 0; i < ARRAY_LEN(equal); i++)
		equal[i].weight = 1;
	test_expect(test_ring(JUMP, equal, ARRAY_LEN(equal)),
	    "dbaadbecbccbcaedaaececeeacdadbbceecdacdcabacabcccd"
	    "acdddebacbecacbcecbababbbacddccabecdaceabebcbbcdbd",
	    "abaeabdd");
}

/* One more at the end, that is. */
static void
jump_moves_only_the_new_hosts_keys(void **state)
{
	struct config_host hosts[5];
	struct ring *before, *after;
	size_t n_moved = 0;
	unsigned host;

	(void)state;
	memcpy(hosts, four_equal, sizeof(four_equal));
	hosts[4] = (struct config_host){ .id = 9, .weight = 100 };
	before = test_ring(JUMP, hosts, 4);
	after = test_ring(JUMP, hosts, 5);
	for (unsigned i = 0; i < 10000; i++) {
		host = test_find_number(after, i);
		if (host != 4)
			assert_int_equal(test_find_number(before, i), host);
		n_moved += host == 4;
	}
	assert_in_range(n_moved, 1800, 2200);
	ring_free(&before);
	ring_free(&after);
}

/* As many as there may be of the heaviest: their sum just fits. */
static void
buckets_may_be_very_many(void **state)
{
	static struct config_host hosts[CONFIG_HOSTS_MAX];
	struct ring *ring;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(hosts); i++)
		hosts[i].weight = 1000000;
	for (size_t k = 0; k < ARRAY_LEN(buckets); k++) {
		ring = test_ring(buckets[k], hosts, ARRAY_LEN(hosts));
		for (unsigned i = 0; i < 1000; i++)
			assert_in_range(test_find_number(ring, i), 0,
			    ARRAY_LEN(hosts) - 1);
		ring_free(&ring);
	}
}

/* Whatever hash is: its keys stay those of the original. */
static void
kvproxy_hashes_with_crc32a_alone(void **state)
{
	struct ring *one = test_ring(KVPROXY, four_equal, 4);
	struct ring *other = test_ring_of(KVPROXY, HASH_MURMUR, NULL,
	    four_equal, 4);

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(test_find_number(one, i),
		    test_find_number(other, i));
	ring_free(&one);
	ring_free(&other);
}

/* What of a key is hashed is told by a ring without tags: with a thousand
 * hosts no other part would agree for long. */
static void
what_stands_in_the_hash_tag_is_hashed_alone(void **state)
{
	static const struct {
		const char *tag, *key, *hashed;
	} rows[] = {
		{ "{}", "user:{%u}:name", "%u" },
		{ "{}", "{%u}", "%u" },
		{ "{}", "{%u}}", "%u" },
		{ "{}", "}{%u}", "%u" },
		{ "{}", "{%u}{other}", "%u" },
		{ "{}", "{{%u}", "{%u" },
		{ "{}", "{}%u", "{}%u" },
		{ "{}", "{}{%u}", "{}{%u}" },
		{ "{}", "{%u", "{%u" },
		{ "{}", "%u}", "%u}" },
		{ "{}", "%u{", "%u{" },
		{ "{}", "}%u{", "}%u{" },
		{ "||", "a|%u|b|", "%u" },
		{ "||", "a|%u", "a|%u" },
		{ "||", "||%u|", "||%u|" },
		{ "\xff\x80", "a\xff%u\x80", "%u" },
		{ NULL, "{%u}", "{%u}" }
	};
	static struct config_host hosts[1000];
	struct ring *plain, *ring;
	char key[KEY_MAX], hashed[KEY_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
		hosts[i].weight = 1;
	plain = test_ring(MODULA, hosts, ARRAY_LEN(hosts));
	for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
		ring = test_ring_of(MODULA, HASH_MD5, rows[r].tag, hosts,
		    ARRAY_LEN(hosts));
		for (unsigned i = 0; i < 20; i++) {
			snprintf(key, sizeof(key), rows[r].key, i);
			snprintf(hashed, sizeof(hashed), rows[r].hashed, i);
			assert_int_equal(test_find(ring, key),
			    test_find(plain, hashed));
		}
		assert_int_equal(ring_find(ring, NULL, 0),
		    ring_find(plain, NULL, 0));
		ring_free(&ring);
	}
	ring_free(&plain);
}

static void
kvproxy_agrees_with_the_original(void **state)
{
	const struct config_host hosts[] = {
		{ .name = "10.0.0.1:11211", .id = 0, .weight = 100 },
		{ .name = "10.0.0.2:11211", .id = 3, .weight = 50 },
		{ .name = "10.0.0.3:11211", .id = 12, .weight = 200 }
	};

	(void)state;
	test_expect(test_ring(KVPROXY, hosts, ARRAY_LEN(hosts)),
	    "caccaaccaabcacccaaccccaaccccaacccccccccbaaaaaaaaaa"
	    "ccaaaaaaaacccaccaabcacccaaccacccccacccccaccccccacc"
	    "cccccacccccaccccacccccaccccbaaaaaaaaaacccccccccccc"
	    "cccaccccccbcccaaaacccccaacbcccaaaaaaaaaaaaccccaacc",
	    "ccaacacc");
}

/* 28212927-0 and 296768195-0 have one CRC. */
static void
kvproxy_gives_a_shared_point_to_the_last_host(void **state)
{
	const struct config_host hosts[] = {
		{ .name = "10.0.0.1:11211", .id = 28212927, .weight = 1 },
		{ .name = "10.0.0.2:11211", .id = 296768195, .weight = 1 },
		{ .name = "10.0.0.3:11211", .id = 28212927, .weight = 1 }
	};
	struct ring *ring;

	(void)state;
	for (size_t first = 0; first < 2; first++) {
		ring = test_ring(KVPROXY, hosts + first, 2);
		assert_int_equal(test_find(ring, "28212927-0"), 1);
		assert_int_equal(test_find(ring, "key:1"), 1);
		ring_free(&ring);
	}
}

/* A host's points are the hashes of "id-i", so as keys these are its own. */
static void
a_key_that_hashes_to_a_point_belongs_to_its_host(void **state)
{
	struct ring *ring = test_ring(KVPROXY, four_equal, 4);
	char key[KEY_MAX];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned k = 0; k < four_equal[i].weight; k++) {
			snprintf(key, sizeof(key), "%u-%u", four_equal[i].id,
			    k);
			assert_int_equal(test_find(ring, key), i);
		}
	}
	ring_free(&ring);
}

/* The first point that is not less than the hash, else the least, looked for
 * one by one.  Without shared points. */
static unsigned
test_find_slowly(const struct config_host *hosts, size_t n, uint32_t hash)
{
	uint32_t next = UINT32_MAX, least = UINT32_MAX, value;
	unsigned next_host = RING_NONE, least_host = RING_NONE;
	char name[KEY_MAX];
	int len;

	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = 0; k < hosts[i].weight; k++) {
			len = snprintf(name, sizeof(name), "%u-%u",
			    hosts[i].id, k);
			value = hash_crc32(name, (size_t)len);
			if (value <= least) {
				least = value;
				least_host = i;
			}
			if (value >= hash && value <= next) {
				next = value;
				next_host = i;
			}
		}
	}
	return next_host != RING_NONE ? next_host : least_host;
}

/* Few points make long ways to the next one, and many keys that go round. */
static void
a_key_after_the_last_point_belongs_to_the_first(void **state)
{
	struct config_host hosts[5];
	char key[KEY_MAX];
	struct ring *ring;
	size_t n_round = 0;

	(void)state;
	for (unsigned id = 0; id < 40; id++) {
		for (unsigned i = 0; i < ARRAY_LEN(hosts); i++)
			hosts[i] = (struct config_host){
				.name = "10.0.0.1:11211",
				.id = id + 17 * i,
				.weight = (id + i) % 4
			};
		ring = test_ring(KVPROXY, hosts, ARRAY_LEN(hosts));
		for (unsigned k = 0; k < 250; k++) {
			size_t len = (size_t)snprintf(key, sizeof(key),
			    "%u key %u", k * 7919, k);
			uint32_t hash = hash_crc32(key, len);

			assert_int_equal(ring_find(ring, key, len),
			    test_find_slowly(hosts, ARRAY_LEN(hosts), hash));
			n_round += hash > UINT32_MAX / 8 * 7;
		}
		ring_free(&ring);
	}
	assert_true(n_round > 500);
}

static void
no_weight_has_no_host(void **state)
{
	struct config_host hosts[4];
	struct ring *ring;

	(void)state;
	memcpy(hosts, four_equal, sizeof(hosts));
	for (size_t i = 0; i < 4; i++)
		hosts[i].weight = 0;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		ring = test_ring(kinds[k], hosts, 4);
		assert_int_equal(test_find(ring, "key"), RING_NONE);
		ring_free(&ring);
		ring = test_ring(kinds[k], hosts, 0);
		assert_int_equal(test_find(ring, "key"), RING_NONE);
		ring_free(&ring);
	}
}

static void
the_only_host_with_weight_gets_all_keys(void **state)
{
	struct config_host hosts[4];
	struct ring *ring;

	(void)state;
	memcpy(hosts, four_equal, sizeof(hosts));
	hosts[0].weight = hosts[1].weight = hosts[3].weight = 0;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		ring = test_ring(kinds[k], hosts, 4);
		for (unsigned i = 0; i < 1000; i++)
			assert_int_equal(test_find_number(ring, i), 2);
		ring_free(&ring);
	}
}

/* Also, what a smaller group would do, host for host. */
static void
weight_0_is_as_good_as_not_there(void **state)
{
	struct config_host with[5], without[4];
	struct ring *ring, *smaller;
	unsigned host;

	(void)state;
	memcpy(with, five_forms, sizeof(with));
	with[2].weight = 0;
	memcpy(without, five_forms, 2 * sizeof(*without));
	memcpy(without + 2, five_forms + 3, 2 * sizeof(*without));
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		ring = test_ring(kinds[k], with, 5);
		smaller = test_ring(kinds[k], without, 4);
		for (unsigned i = 0; i < 5000; i++) {
			host = test_find_number(smaller, i);
			assert_int_equal(test_find_number(ring, i),
			    host + (host >= 2));
		}
		ring_free(&ring);
		ring_free(&smaller);
	}
}

/*
 * Four equal hosts and three have the same number of points each, so what
 * stays is the same points.  (Where the number depends on how many hosts there
 * are, ketama may move a few more keys; kvproxy never does.)
 */
static void
ring_moves_only_the_lost_hosts_keys(void **state)
{
	struct config_host three[4];
	struct ring *ring, *after;
	size_t n_lost;
	unsigned host;

	(void)state;
	memcpy(three, four_equal, sizeof(three));
	three[1].weight = 0;
	for (size_t k = 0; k < ARRAY_LEN(circles); k++) {
		ring = test_ring(circles[k], four_equal, 4);
		after = test_ring(circles[k], three, 4);
		n_lost = 0;
		for (unsigned i = 0; i < 10000; i++) {
			host = test_find_number(ring, i);
			if (host == 1) {
				assert_int_not_equal(
				    test_find_number(after, i), 1);
				n_lost++;
			} else {
				assert_int_equal(test_find_number(after, i),
				    host);
			}
		}
		assert_in_range(n_lost, 1000, 5000);
		ring_free(&ring);
		ring_free(&after);
	}
}

/* Each of the four in turn: no key of the others moves, and the others share
 * what it had. */
static void
an_outage_moves_only_the_lost_hosts_keys(void **state)
{
	struct ring *ring;
	size_t n_got[4];
	unsigned home, host;

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		ring = test_ring(kinds[k], four_equal, 4);
		for (unsigned lost = 0; lost < 4; lost++) {
			bool out[4] = { false };

			out[lost] = true;
			memset(n_got, 0, sizeof(n_got));
			for (unsigned i = 0; i < 10000; i++) {
				home = test_find_number(ring, i);
				host = test_live_number(ring, i, out);
				if (home != lost)
					assert_int_equal(host, home);
				else
					n_got[host]++;
			}
			assert_int_equal(n_got[lost], 0);
			for (unsigned i = 0; i < 4; i++)
				assert_true(i == lost || n_got[i] > 100);
		}
		ring_free(&ring);
	}
}

static void
where_no_host_is_out_keys_are_at_home(void **state)
{
	const bool out[ARRAY_LEN(five_forms)] = { false };
	struct ring *ring;

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		ring = test_ring(kinds[k], five_forms, ARRAY_LEN(five_forms));
		for (unsigned i = 0; i < 1000; i++)
			assert_int_equal(test_live_number(ring, i, out),
			    test_find_number(ring, i));
		ring_free(&ring);
	}
}

/* Four equal hosts and three have the same points each. */
static void
on_a_circle_the_next_points_host_stands_in(void **state)
{
	struct config_host left[4];
	struct ring *ring, *without;
	bool out[4];

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(circles); k++) {
		ring = test_ring(circles[k], four_equal, 4);
		for (unsigned set = 0; set < 15; set++) {
			memcpy(left, four_equal, sizeof(left));
			for (unsigned i = 0; i < 4; i++) {
				out[i] = set >> i & 1;
				if (out[i])
					left[i].weight = 0;
			}
			without = test_ring(circles[k], left, 4);
			for (unsigned i = 0; i < 2000; i++)
				assert_int_equal(
				    test_live_number(ring, i, out),
				    test_find_number(without, i));
			ring_free(&without);
		}
		ring_free(&ring);
	}
}

static void
without_a_circle_a_lost_hosts_keys_are_hashed_again(void **state)
{
	const bool out[4] = { false, true, true, false };
	char key[KEY_MAX];
	struct ring *ring;
	unsigned host, n_more = 0;

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(buckets); k++) {
		ring = test_ring(buckets[k], four_equal, 4);
		for (unsigned i = 0; i < 2000; i++) {
			host = test_find_number(ring, i);
			for (unsigned n = 1; out[host] && n < 20; n++) {
				snprintf(key, sizeof(key), "key:%u#%u", i, n);
				host = test_find(ring, key);
				n_more += n > 1;
			}
			assert_int_equal(test_live_number(ring, i, out), host);
		}
		ring_free(&ring);
	}
	assert_true(n_more > 500);
}

/* Were it hashed again for ever, the light host's turn might never come. */
static void
hashing_again_has_an_end(void **state)
{
	const struct config_host hosts[] = {
		{ .id = 1, .weight = 1000000 },
		{ .id = 2, .weight = 1000000 },
		{ .id = 3, .weight = 1 }
	};
	const bool out[] = { true, true, false };
	struct ring *ring;

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(buckets); k++) {
		ring = test_ring(buckets[k], hosts, 3);
		for (unsigned i = 0; i < 1000; i++)
			assert_int_equal(test_live_number(ring, i, out), 2);
		ring_free(&ring);
	}
}

/* Of the two that share their only point the first has none. */
static void
a_host_without_a_point_stands_in_for_the_last(void **state)
{
	const struct config_host hosts[] = {
		{ .name = "10.0.0.1:11211", .id = 28212927, .weight = 1 },
		{ .name = "10.0.0.2:11211", .id = 296768195, .weight = 1 }
	};
	const bool out[] = { false, true };
	struct ring *ring = test_ring(KVPROXY, hosts, 2);

	(void)state;
	assert_int_equal(test_find(ring, "key:1"), 1);
	assert_int_equal(test_live_number(ring, 1, out), 0);
	ring_free(&ring);
}

static void
keys_of_one_tag_find_one_stand_in(void **state)
{
	const bool out[4] = { false, true, false, false };
	struct ring *ring;
	char one[KEY_MAX], other[KEY_MAX];

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		ring = test_ring_of(kinds[k], HASH_MD5, "{}", four_equal, 4);
		for (unsigned i = 0; i < 1000; i++) {
			snprintf(one, sizeof(one), "a{%u}", i);
			snprintf(other, sizeof(other), "{%u}:bb", i);
			assert_int_equal(
			    ring_find_live(ring, one, strlen(one), out),
			    ring_find_live(ring, other, strlen(other), out));
		}
		ring_free(&ring);
	}
}

static void
the_longest_key_and_the_shortest_find_a_stand_in(void **state)
{
	const bool out[4] = { true, true, true, false };
	char key[KVP_KEY_MAX];
	struct ring *ring;

	(void)state;
	memset(key, 'k', sizeof(key));
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		ring = test_ring(kinds[k], four_equal, 4);
		assert_int_equal(ring_find_live(ring, key, sizeof(key), out),
		    3);
		assert_int_equal(ring_find_live(ring, NULL, 0, out), 3);
		ring_free(&ring);
	}
}

/* Nor does one that gets no keys stand in for others. */
static void
where_all_with_weight_are_out_there_is_no_host(void **state)
{
	const bool out[4] = { true, true, false, true };
	struct config_host hosts[4];
	struct ring *ring;

	(void)state;
	memcpy(hosts, four_equal, sizeof(hosts));
	hosts[2].weight = 0;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		ring = test_ring(kinds[k], hosts, 4);
		assert_int_equal(test_live_number(ring, 1, out), RING_NONE);
		ring_free(&ring);
		ring = test_ring(kinds[k], hosts, 1);
		assert_int_equal(test_live_number(ring, 1, out), RING_NONE);
		assert_int_equal(test_live_number(ring, 1, out + 2), 0);
		ring_free(&ring);
		ring = test_ring(kinds[k], hosts, 0);
		assert_int_equal(test_live_number(ring, 1, out), RING_NONE);
		ring_free(&ring);
	}
}

/* 160 points a host hold a share to about a tenth. */
static void
ketama_shares_keys_by_weight(void **state)
{
	const size_t n_keys = 100000;
	size_t n_found[ARRAY_LEN(five_forms)] = { 0 };
	struct ring *ring = test_ring(KETAMA, five_forms, 5);
	size_t n_fair;

	(void)state;
	for (unsigned i = 0; i < n_keys; i++)
		n_found[test_find_number(ring, i)]++;
	for (size_t i = 0; i < ARRAY_LEN(five_forms); i++) {
		n_fair = n_keys * five_forms[i].weight / 8;
		assert_in_range(n_found[i], n_fair * 3 / 4, n_fair * 5 / 4);
	}
	ring_free(&ring);
}

static void
a_hundred_hosts_all_get_keys(void **state)
{
	struct config_host hosts[100] = { 0 };
	size_t n_found[100] = { 0 };
	char names[100][32];
	struct ring *ring;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		snprintf(names[i], sizeof(names[i]), "cache%u:%u", i,
		    11211 + i % 3);
		hosts[i].name = names[i];
		hosts[i].id = i;
		hosts[i].weight = 1;
	}
	ring = test_ring(KETAMA, hosts, 100);
	for (unsigned i = 0; i < 100000; i++)
		n_found[test_find_number(ring, i)]++;
	for (size_t i = 0; i < 100; i++)
		assert_in_range(n_found[i], 500, 2000);
	ring_free(&ring);
}

/* A key may hold any bytes, and is not ended by a zero. */
static void
all_of_a_keys_bytes_count(void **state)
{
	struct ring *ring;
	unsigned first;
	bool differs;
	char key[2];

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		ring = test_ring(kinds[k], five_forms, 5);
		first = ring_find(ring, "\0\0", 2);
		differs = false;
		key[0] = '\0';
		for (int c = 1; c < 256; c++) {
			key[1] = (char)c;
			differs |= ring_find(ring, key, 2) != first;
		}
		assert_true(differs);
		assert_true(ring_find(ring, NULL, 0) < 5);
		ring_free(&ring);
	}
}

static void
freeing_nothing_is_nothing(void **state)
{
	struct ring *ring = NULL;

	(void)state;
	ring_free(&ring);
	assert_null(ring);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    ketama_agrees_with_libmemcached_on_addresses_and_weights),
		cmocka_unit_test(every_hash_agrees_with_libmemcached),
		cmocka_unit_test(
		    ketama_counts_points_in_floats_as_libmemcached),
		cmocka_unit_test(
		    ketama_puts_the_node_name_in_the_addresss_place),
		cmocka_unit_test(
		    ketama_gives_a_shared_point_to_the_first_host),
		cmocka_unit_test(
		    modula_gives_a_host_as_many_buckets_as_its_weight),
		cmocka_unit_test(jump_agrees_with_its_paper),
		cmocka_unit_test(jump_moves_only_the_new_hosts_keys),
		cmocka_unit_test(buckets_may_be_very_many),
		cmocka_unit_test(kvproxy_agrees_with_the_original),
		cmocka_unit_test(kvproxy_hashes_with_crc32a_alone),
		cmocka_unit_test(what_stands_in_the_hash_tag_is_hashed_alone),
		cmocka_unit_test(
		    kvproxy_gives_a_shared_point_to_the_last_host),
		cmocka_unit_test(
		    a_key_that_hashes_to_a_point_belongs_to_its_host),
		cmocka_unit_test(
		    a_key_after_the_last_point_belongs_to_the_first),
		cmocka_unit_test(no_weight_has_no_host),
		cmocka_unit_test(the_only_host_with_weight_gets_all_keys),
		cmocka_unit_test(weight_0_is_as_good_as_not_there),
		cmocka_unit_test(ring_moves_only_the_lost_hosts_keys),
		cmocka_unit_test(an_outage_moves_only_the_lost_hosts_keys),
		cmocka_unit_test(where_no_host_is_out_keys_are_at_home),
		cmocka_unit_test(on_a_circle_the_next_points_host_stands_in),
		cmocka_unit_test(
		    without_a_circle_a_lost_hosts_keys_are_hashed_again),
		cmocka_unit_test(hashing_again_has_an_end),
		cmocka_unit_test(
		    a_host_without_a_point_stands_in_for_the_last),
		cmocka_unit_test(keys_of_one_tag_find_one_stand_in),
		cmocka_unit_test(
		    the_longest_key_and_the_shortest_find_a_stand_in),
		cmocka_unit_test(
		    where_all_with_weight_are_out_there_is_no_host),
		cmocka_unit_test(ketama_shares_keys_by_weight),
		cmocka_unit_test(a_hundred_hosts_all_get_keys),
		cmocka_unit_test(all_of_a_keys_bytes_count),
		cmocka_unit_test(freeing_nothing_is_nothing)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
