/*
 * test_slot.c: one worker's life, with a worker that only plays its part.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/wait.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "master/slot.h"
#include "master/user.h"
#include "shared/log.h"
#include "worker/worker.h"

/* What the next worker does. */
enum part {
	SERVE,		/* until it is told to drain */
	SERVE_DEAF,	/* for ever */
	SERVE_ONCE,	/* and die: exit status 4 */
	NOT_EVEN_SERVE	/* exit status 3 */
};

static enum part part;
static char folder[64], pid_file[96];
static struct config cfg = { .n_addrs = 2, .shutdown_timeout_ms = 0 };
static const struct user user;
static struct slot_common common;
static struct slot *slot;
static unsigned n_changes, n_spawned;
static int alive[2];		/* a pipe that only workers write-hold */

int
worker_run(const struct worker_birth *birth)
{
	struct shm_slot *s = shm_slot(birth->shm, birth->slot);
	const char ready = WORKER_READY;
	struct worker_message msg = { .order = 0 };

	if (part == NOT_EVEN_SERVE)
		return 3;
	counter_add(&s->counter[0][COUNTER_REQUESTS], 5);
	counter_set(&s->counter[0][COUNTER_CLIENTS], 7);
	counter_add(&s->host[1][HOST_FAILED], 2);
	counter_set(&s->host[1][HOST_UP], 1);
	if (write(birth->control, &ready, 1) != 1)
		return 5;
	if (part == SERVE_ONCE)
		return 4;
	while (part == SERVE_DEAF || msg.order != WORKER_DRAIN) {
		usleep(1000);	/* control does not block */
		if (read(birth->control, &msg, sizeof(msg)) == 0)
			return 6;
	}
	return 0;
}

static void
on_fork(void *data, unsigned i, struct worker_birth *birth)
{
	(void)data;
	birth->shm = common.shm;
	birth->slot = i;
	ev_loop_destroy(common.loop);
	close(alive[0]);
	slot_forget(slot);
}

static void
on_change(void *data, const struct slot *s)
{
	(void)data;
	n_changes++;
	n_spawned += slot_state(s) == SLOT_STARTING;
}

static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* One round of the loop, and of what the master does with SIGCHLD. */
static void
turn(void)
{
	int status;
	pid_t pid;

	ev_run(common.loop, EVRUN_NOWAIT);
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		assert_true(slot_reap(slot, pid, status));
	usleep(500);
}

static void
wait_state(enum slot_state state)
{
	uint64_t end = now_ms() + 5000;

	while (slot_state(slot) != state && now_ms() < end)
		turn();
	assert_string_equal(slot_state_names[slot_state(slot)],
	    slot_state_names[state]);
}

static void
wait_spawned(unsigned n)
{
	uint64_t end = now_ms() + 5000;

	while (n_spawned < n && now_ms() < end)
		turn();
	assert_int_equal(n_spawned, n);
}

static struct shm_slot *
cells(void)
{
	return shm_slot(common.shm, 3);
}

static int
set_up(void **state)
{
	char err[256];

	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/test_slot.XXXXXX");
	if (mkdtemp(folder) == NULL || pipe(alive) == -1)
		return -1;
	snprintf(pid_file, sizeof(pid_file), "%s/pid", folder);
	log_set_level(LOG_FATAL);
	common.loop = ev_loop_new(EVFLAG_AUTO);
	common.cfg = &cfg;
	common.n_entries = (unsigned)cfg.n_addrs;
	common.user = &user;
	common.shm = shm_create(pid_file, err, sizeof(err));
	common.on_fork = on_fork;
	common.on_change = on_change;
	slot = slot_new(&common, 3);
	part = SERVE;
	n_changes = n_spawned = 0;
	if (common.shm == NULL || slot == NULL)
		return -1;
	return shm_reserve(common.shm, 3, (unsigned)cfg.n_addrs) ? 0 : -1;
}

static int
tear_down(void **state)
{
	(void)state;
	slot_tell(slot, SLOT_KILL);
	wait_state(SLOT_EMPTY);
	slot_free(&slot);
	assert_null(slot);
	shm_unlink_made(common.shm);
	shm_close(&common.shm);
	ev_loop_destroy(common.loop);
	close(alive[0]);
	if (alive[1] != -1)
		close(alive[1]);
	return rmdir(folder);
}

static void
slot_starts_serves_drains(void **state)
{
	(void)state;
	assert_int_equal(slot_state(slot), SLOT_EMPTY);
	slot_tell(slot, SLOT_START);
	assert_int_equal(slot_state(slot), SLOT_STARTING);
	assert_true(cells()->pid > 0);
	assert_int_equal(cells()->starts, 1);
	assert_true(cells()->spawned_ms > 0);
	wait_state(SLOT_RUNNING);
	assert_int_equal(n_changes, 2);
	slot_tell(slot, SLOT_START);	/* has no meaning now */
	assert_int_equal(n_changes, 2);
	slot_tell(slot, SLOT_DRAIN);
	assert_int_equal(slot_state(slot), SLOT_STOPPING);
	wait_state(SLOT_EMPTY);
	assert_int_equal(n_changes, 4);
	assert_int_equal(cells()->pid, 0);
	assert_non_null(strstr(slot_why(slot), "exit status 0"));
}

static void
slot_replaces_at_once_who_has_lived(void **state)
{
	uint64_t end = now_ms() + 1050, killed;

	(void)state;
	slot_tell(slot, SLOT_START);
	wait_state(SLOT_RUNNING);
	while (now_ms() < end)
		turn();
	killed = now_ms();
	kill((pid_t)cells()->pid, SIGKILL);
	wait_spawned(2);
	assert_in_range(now_ms() - killed, 0, 2000);
	assert_int_equal(n_changes, 3);		/* was not paused */
	assert_non_null(strstr(slot_why(slot), "worker 3 (pid "));
	assert_non_null(strstr(slot_why(slot), "killed by signal 9 (Killed)"));
	wait_state(SLOT_RUNNING);
	assert_int_equal(cells()->starts, 2);
}

/* 50, 100, 200 ms and no more, whether they have served or not. */
static void
slot_pauses_longer_and_longer_for_who_die_young(void **state)
{
	static const enum part parts[] = { NOT_EVEN_SERVE, SERVE_ONCE };
	uint64_t start;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		part = parts[i];
		n_spawned = 0;
		start = now_ms();
		slot_tell(slot, SLOT_START);
		wait_spawned(2);
		assert_true(now_ms() - start >= 50);
		wait_spawned(3);
		assert_true(now_ms() - start >= 150);
		wait_spawned(4);
		assert_true(now_ms() - start >= 350);
		wait_spawned(8);
		assert_in_range(now_ms() - start, 1150, 1150 + 2000);
		wait_state(SLOT_PAUSED);
		assert_non_null(strstr(slot_why(slot), i == 0 ?
		    "died: exit status 3" : "died: exit status 4"));
		slot_tell(slot, SLOT_DRAIN);
		assert_int_equal(slot_state(slot), SLOT_EMPTY);
		/* A new slot, for a new pace. */
		assert_int_equal(tear_down(NULL), 0);
		assert_int_equal(set_up(NULL), 0);
	}
}

static void
slot_keeps_the_totals_of_the_dead_and_zeroes_their_gauges(void **state)
{
	(void)state;
	slot_tell(slot, SLOT_START);
	wait_state(SLOT_RUNNING);
	assert_int_equal(cells()->counter[0][COUNTER_CLIENTS], 7);
	kill((pid_t)cells()->pid, SIGKILL);
	wait_state(SLOT_PAUSED);
	assert_int_equal(cells()->counter[0][COUNTER_REQUESTS], 5);
	assert_int_equal(cells()->counter[0][COUNTER_CLIENTS], 0);
	assert_int_equal(cells()->host[1][HOST_FAILED], 2);
	assert_int_equal(cells()->host[1][HOST_UP], 0);
}

static void
slot_kills_who_does_not_drain(void **state)
{
	(void)state;
	part = SERVE_DEAF;
	slot_tell(slot, SLOT_START);
	wait_state(SLOT_RUNNING);
	slot_tell(slot, SLOT_DRAIN);
	wait_state(SLOT_EMPTY);
	assert_non_null(strstr(slot_why(slot), "killed by signal 9"));
	slot_tell(slot, SLOT_START);
	wait_state(SLOT_RUNNING);
	slot_tell(slot, SLOT_DRAIN);
	slot_tell(slot, SLOT_KILL);	/* does not wait */
	wait_state(SLOT_EMPTY);
}

/* A terminal and a supervisor signal the whole group. */
static void
slot_workers_leave_signals_to_the_master(void **state)
{
	static const int signals[] = {
		SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGPIPE
	};
	pid_t pid;

	(void)state;
	slot_tell(slot, SLOT_START);
	wait_state(SLOT_RUNNING);
	pid = (pid_t)cells()->pid;
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		assert_int_equal(kill(pid, signals[i]), 0);
	slot_tell(slot, SLOT_DRAIN);
	wait_state(SLOT_EMPTY);
	assert_non_null(strstr(slot_why(slot), "exit status 0"));
}

static void
slot_workers_die_with_their_master(void **state)
{
	char byte;
	pid_t master;
	int status;

	(void)state;
	part = SERVE_DEAF;
	master = fork();
	if (master == 0) {
		slot_tell(slot, SLOT_START);
		wait_state(SLOT_RUNNING);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(master, &status, 0), master);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	close(alive[1]);
	alive[1] = -1;
	assert_int_equal(read(alive[0], &byte, 1), 0);
}

#define SLOT_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		SLOT_TEST(slot_starts_serves_drains),
		SLOT_TEST(slot_replaces_at_once_who_has_lived),
		SLOT_TEST(slot_pauses_longer_and_longer_for_who_die_young),
		SLOT_TEST(
		    slot_keeps_the_totals_of_the_dead_and_zeroes_their_gauges),
		SLOT_TEST(slot_kills_who_does_not_drain),
		SLOT_TEST(slot_workers_leave_signals_to_the_master),
		SLOT_TEST(slot_workers_die_with_their_master),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
