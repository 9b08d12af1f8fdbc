/*
 * test_notify.c: the words that systemd gets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <sys/un.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "master/notify.h"

static int manager;	/* the socket of one */
static char heard[256];

/* The kernel names the socket, without a place in the file system; so may a
 * systemd. */
static int
set_up(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(addr);

	(void)state;
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_not_equal(manager, -1);
	assert_int_equal(bind(manager, (struct sockaddr *)&addr,
	    sizeof(sa_family_t)), 0);
	assert_int_equal(getsockname(manager, (struct sockaddr *)&addr, &len),
	    0);
	addr.sun_path[0] = '@';
	addr.sun_path[len - offsetof(struct sockaddr_un, sun_path)] = '\0';
	return setenv("NOTIFY_SOCKET", addr.sun_path, 1);
}

static int
tear_down(void **state)
{
	(void)state;
	close(manager);
	return unsetenv("NOTIFY_SOCKET");
}

/* What has been said since; "": nothing. */
static const char *
hear(void)
{
	ssize_t len = recv(manager, heard, sizeof(heard) - 1, MSG_DONTWAIT);

	heard[len > 0 ? len : 0] = '\0';
	return heard;
}

static void
notify_ready_names_the_process_to_watch(void **state)
{
	char words[64];

	(void)state;
	snprintf(words, sizeof(words), "READY=1\nMAINPID=%ld", (long)getpid());
	notify_ready();
	assert_string_equal(hear(), words);
	assert_string_equal(hear(), "");
}

static unsigned long long
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (unsigned long long)now.tv_sec * 1000000 +
	    (unsigned long long)now.tv_nsec / 1000;
}

static void
notify_reloading_says_when(void **state)
{
	unsigned long long before = now_us(), us;

	(void)state;
	notify_reloading();
	assert_int_equal(sscanf(hear(), "RELOADING=1\nMONOTONIC_USEC=%llu",
	    &us), 1);
	assert_in_range(us, before, now_us());
}

static void
notify_stopping_is_a_word(void **state)
{
	(void)state;
	notify_stopping();
	assert_string_equal(hear(), "STOPPING=1");
}

static void
notify_without_a_manager_tells_nobody(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	notify_ready();
	notify_reloading();
	notify_stopping();
	assert_string_equal(hear(), "");
}

/* A manager that has gone is a line in the log, no more. */
static void
notify_to_one_who_is_gone_returns(void **state)
{
	(void)state;
	close(manager);
	notify_ready();
	manager = -1;
}

#define NOTIFY_TEST(f)	cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		NOTIFY_TEST(notify_ready_names_the_process_to_watch),
		NOTIFY_TEST(notify_reloading_says_when),
		NOTIFY_TEST(notify_stopping_is_a_word),
		NOTIFY_TEST(notify_without_a_manager_tells_nobody),
		NOTIFY_TEST(notify_to_one_who_is_gone_returns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
