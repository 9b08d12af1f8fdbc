/*
 * test_hosts.c: addresses as people write them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/un.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "shared/hosts.h"

static const struct {
	const char	*text;
	enum hosts_form	 form;
	int		 family;
	unsigned	 port;
} good[] = {
	{ "127.0.0.1:11211", HOSTS_NUMERIC, AF_INET, 11211 },
	{ "255.255.255.255:65535", HOSTS_NUMERIC, AF_INET, 65535 },
	{ "10.0.0.1:1", HOSTS_NUMERIC, AF_INET, 1 },
	{ "[::1]:11211", HOSTS_NUMERIC, AF_INET6, 11211 },
	{ "[2001:DB8::1]:80", HOSTS_NUMERIC, AF_INET6, 80 },
	{ "[::ffff:10.0.0.1]:80", HOSTS_NUMERIC, AF_INET6, 80 },
	{ "localhost:11211", HOSTS_NAME, AF_INET, 11211 },
	{ "Cache-1.example.com:11211", HOSTS_NAME, AF_INET, 11211 },
	{ "my_cache:11211", HOSTS_NAME, AF_INET, 11211 },
	{ "1.cache:11211", HOSTS_NAME, AF_INET, 11211 },
	{ "/var/run/Mem.sock", HOSTS_UNIX, AF_UNIX, 0 },
	{ "/tmp/a:1", HOSTS_UNIX, AF_UNIX, 0 },
};

#define NO_PORT		"no port: address:port or a path is wanted"
#define BAD_PORT	"the port must be a number from 1 to 65535"
#define NO_IPV4		"no IPv4 address before the port"
#define NO_IPV6		"no IPv6 address between the brackets"
#define BAD_NAME	"a host's name has letters, digits, '.', '-' and '_'"
#define NO_HOST		"no host before the port"
#define NO_BRACKETS	"an IPv6 address must stand in brackets"

static const struct {
	const char	*text;
	const char	*why;
} bad[] = {
	{ "", NO_PORT },
	{ "127.0.0.1", NO_PORT },
	{ "port", NO_PORT },
	{ "[::1]", NO_PORT },
	{ "[::1]11211", NO_PORT },
	{ "[::1", NO_PORT },
	{ "[::1]x:11211", NO_PORT },
	{ ":11211", NO_HOST },
	{ "[]:11211", NO_HOST },
	{ "127.0.0.1:", BAD_PORT },
	{ "127.0.0.1:0", BAD_PORT },
	{ "127.0.0.1:011211", BAD_PORT },
	{ "127.0.0.1:65536", BAD_PORT },
	{ "127.0.0.1:4294967297", BAD_PORT },
	{ "127.0.0.1:18446744073709551617", BAD_PORT },
	{ "127.0.0.1:+80", BAD_PORT },
	{ "127.0.0.1:-80", BAD_PORT },
	{ "127.0.0.1: 80", BAD_PORT },
	{ "127.0.0.1:80 ", BAD_PORT },
	{ "127.0.0.1:0x50", BAD_PORT },
	{ "127.0.0.1:http", BAD_PORT },
	{ "[::1]:", BAD_PORT },
	{ "::1:11211", NO_BRACKETS },
	{ "2001:db8::1", NO_BRACKETS },
	{ "127.1:80", NO_IPV4 },
	{ "127.0.0.256:80", NO_IPV4 },
	{ "0300.0.0.1:80", NO_IPV4 },
	{ "2130706433:80", NO_IPV4 },
	{ "[127.0.0.1]:80", NO_IPV6 },
	{ "[::g]:80", NO_IPV6 },
	{ "[localhost]:80", NO_IPV6 },
	{ "a b:80", BAD_NAME },
	{ "127.0.0.1 :80", BAD_NAME },
	{ "-a:80", BAD_NAME },
	{ "a/b:80", BAD_NAME },
	{ "a\xc3\xa9:80", BAD_NAME },
};

static unsigned
port_of(const struct sockaddr_storage *sa)
{
	if (sa->ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)
		    (const void *)sa)->sin_port);
	if (sa->ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)
		    (const void *)sa)->sin6_port);
	return 0;
}

static void
hosts_reads_every_form(void **state)
{
	struct sockaddr_storage sa;
	socklen_t len;
	const char *why;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(hosts_parse(good[i].text, &sa, &len, &why),
		    good[i].form);
		assert_int_equal(sa.ss_family, good[i].family);
		assert_int_equal(port_of(&sa), good[i].port);
		assert_true(len > 0 && len <= sizeof(sa));
	}
}

static void
hosts_says_what_is_wrong(void **state)
{
	struct sockaddr_storage sa;
	socklen_t len;
	const char *why;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		why = "";
		assert_int_equal(hosts_parse(bad[i].text, &sa, &len, &why),
		    HOSTS_BAD);
		assert_string_equal(why, bad[i].why);
		why = "";
		assert_false(hosts_resolve(bad[i].text, &sa, &len, &why));
		assert_string_equal(why, bad[i].why);
	}
}

static void
hosts_keeps_the_bytes_of_an_address(void **state)
{
	struct sockaddr_storage sa;
	struct sockaddr_un *un = (struct sockaddr_un *)(void *)&sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&sa;
	char text[INET6_ADDRSTRLEN];
	socklen_t len;
	const char *why;

	(void)state;
	assert_int_equal(hosts_parse("/var/run/Mem.sock", &sa, &len, &why),
	    HOSTS_UNIX);
	assert_string_equal(un->sun_path, "/var/run/Mem.sock");
	assert_int_equal(hosts_parse("[2001:db8::7]:1", &sa, &len, &why),
	    HOSTS_NUMERIC);
	assert_int_equal(len, sizeof(struct sockaddr_in6));
	assert_string_equal(inet_ntop(AF_INET6, &in6->sin6_addr, text,
	    sizeof(text)), "2001:db8::7");
}

static void
hosts_refuses_what_does_not_fit(void **state)
{
	struct sockaddr_storage sa;
	char text[400];
	socklen_t len;
	const char *why;

	(void)state;
	memset(text, 'a', sizeof(text));
	text[0] = '/';
	text[107] = '\0';
	assert_int_equal(hosts_parse(text, &sa, &len, &why), HOSTS_UNIX);
	text[107] = 'a';
	text[108] = '\0';
	assert_int_equal(hosts_parse(text, &sa, &len, &why), HOSTS_BAD);
	assert_string_equal(why,
	    "too long a path for a unix socket (107 bytes at most)");

	memset(text, 'a', sizeof(text));
	strcpy(text + 255, ":80");
	assert_int_equal(hosts_parse(text, &sa, &len, &why), HOSTS_NAME);
	memset(text, 'a', sizeof(text));
	strcpy(text + 256, ":80");
	assert_int_equal(hosts_parse(text, &sa, &len, &why), HOSTS_BAD);
	assert_string_equal(why, "too long a name");
}

static void
hosts_looks_up_localhost_as_ipv4(void **state)
{
	struct sockaddr_storage sa;
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&sa;
	socklen_t len;
	const char *why;

	(void)state;
	assert_true(hosts_resolve("localhost:4242", &sa, &len, &why));
	assert_int_equal(sa.ss_family, AF_INET);
	assert_int_equal(len, sizeof(*in));
	assert_int_equal(ntohl(in->sin_addr.s_addr), INADDR_LOOPBACK);
	assert_int_equal(ntohs(in->sin_port), 4242);
}

static void
hosts_gives_a_reason_for_an_unknown_name(void **state)
{
	struct sockaddr_storage sa;
	socklen_t len;
	const char *why = NULL;

	(void)state;
	/* No name has an empty label: no server is asked. */
	assert_false(hosts_resolve("a..invalid:1", &sa, &len, &why));
	assert_non_null(why);
	assert_int_not_equal(strlen(why), 0);
}

static void
hosts_knows_the_same_address_again(void **state)
{
	static const struct {
		const char *a, *b;
		bool	 is_same;
	} table[] = {
		{ "127.0.0.1:1", "127.0.0.1:1", true },
		{ "127.0.0.1:1", "127.0.0.1:11", false },
		{ "127.0.0.1:1", "127.0.0.2:1", false },
		{ "Cache:1", "cAche:1", true },
		{ "[::1]:1", "[0:0::1]:1", true },
		{ "[2001:DB8::1]:1", "[2001:db8::1]:1", true },
		{ "[::1]:1", "[::1]:2", false },
		{ "/a/B", "/a/b", false },
		{ "/a/b", "/a/b", true },
		{ "localhost:1", "127.0.0.1:1", false },
		{ "[fe80::1%1]:1", "[FE80:0::1%lo]:1", true },
		{ "[fe80::1%1]:1", "[fe80::1%2]:1", false },
	};
	char a[HOSTS_NORMAL_MAX], b[HOSTS_NORMAL_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		hosts_normalize(table[i].a, a);
		hosts_normalize(table[i].b, b);
		assert_int_equal(strcmp(a, b) == 0, table[i].is_same);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_reads_every_form),
		cmocka_unit_test(hosts_says_what_is_wrong),
		cmocka_unit_test(hosts_keeps_the_bytes_of_an_address),
		cmocka_unit_test(hosts_refuses_what_does_not_fit),
		cmocka_unit_test(hosts_looks_up_localhost_as_ipv4),
		cmocka_unit_test(hosts_gives_a_reason_for_an_unknown_name),
		cmocka_unit_test(hosts_knows_the_same_address_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
