/*
 * test_listen.c: a port is one daemon's, however close another one comes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <sys/syscall.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "master/listen.h"

static struct config_listen where;
static char where_name[32];
static char err[256];
static int n_calls = -1;	/* until a rival comes; negative: none does */
static int rival;		/* what the rival got */

/* A rival claims the port, all at once, before this call of ours. */
static void
step(void)
{
	char its_err[256];

	if (n_calls-- == 0)
		rival = listen_claim(&where, 0, 5, its_err,
		    sizeof(its_err));
}

/* In libc's place: what listen.c calls. */
int
setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	step();
	return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

int
bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	step();
	return (int)syscall(SYS_bind, fd, sa, len);
}

int
listen(int fd, int backlog)
{
	step();
	return (int)syscall(SYS_listen, fd, backlog);
}

/* A port that nobody listens on. */
static int
set_up(void **state)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	if (bind(fd, (struct sockaddr *)&sin, len) == -1 ||
	    getsockname(fd, (struct sockaddr *)&sin, &len) == -1)
		return -1;
	snprintf(where_name, sizeof(where_name), "0.0.0.0:%u",
	    ntohs(sin.sin_port));
	where = (struct config_listen){ .name = where_name, .sa_len = len };
	memcpy(&where.sa, &sin, len);
	err[0] = '\0';
	return close(fd);
}

static int
claim(void)
{
	return listen_claim(&where, 0, 5, err, sizeof(err));
}

static int
join(void)
{
	return listen_join(&where, 5, err, sizeof(err));
}

static void
listen_claimed_port_is_joined_but_not_claimed_again(void **state)
{
	int first, second;
	char want[128];

	(void)state;
	first = claim();
	assert_int_not_equal(first, -1);
	second = join();
	assert_int_not_equal(second, -1);
	assert_int_equal(claim(), -1);
	assert_int_equal(errno, EADDRINUSE);
	snprintf(want, sizeof(want),
	    "cannot listen on %s: Address already in use", where_name);
	assert_string_equal(err, want);
	close(first);
	assert_int_equal(claim(), -1);	/* the second has it still */
	close(second);
	first = claim();
	assert_int_not_equal(first, -1);
	close(first);
}

/* Before each of our calls in turn. */
static void
listen_of_two_claims_at_once_one_gets_the_port(void **state)
{
	int ours;
	bool is_over = false;

	(void)state;
	for (int i = 0; !is_over; i++) {
		n_calls = i;
		rival = -1;
		ours = claim();
		is_over = n_calls >= 0;
		n_calls = -1;
		if (!is_over)
			assert_true((ours == -1) != (rival == -1));
		if (rival != -1)
			close(rival);
		if (ours != -1)
			close(ours);
		assert_in_range(i, 0, 10);
	}
}

#define LISTEN_TEST(f) cmocka_unit_test_setup(f, set_up)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		LISTEN_TEST(
		    listen_claimed_port_is_joined_but_not_claimed_again),
		LISTEN_TEST(listen_of_two_claims_at_once_one_gets_the_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
