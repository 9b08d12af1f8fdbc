/*
 * test_health.c: who is out, and who is back, by what workers have said in
 * their slots; at times of our own.
 */
#include "master/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MS	UINT64_C(1000)
#define S	UINT64_C(1000000)

enum { N_WORKERS = 3, N_HOSTS = 3, INTERVAL_MS = 500 };

static char folder[64], pid_file[96], err[256];
static struct ev_loop *loop;
static struct shm *shm;
static struct health *health;
static bool has_worker[N_WORKERS];
static unsigned n_told;
static uint64_t now_us;

/* Host 0 in hosts, 1 in hosts_read, 2 in hosts_backup.  Their entries in the
 * shared table are the other way round. */
static const unsigned host_entry[N_HOSTS] = { 2, 1, 0 };
static struct config_host hosts_of[N_HOSTS] = {
	{ .addr = 0 }, { .addr = 1 }, { .addr = 2 }
};
static struct config_group groups[N_HOSTS] = {
	{ .hosts = &hosts_of[0], .n_hosts = 1 },
	{ .hosts = &hosts_of[1], .n_hosts = 1 },
	{ .hosts = &hosts_of[2], .n_hosts = 1 }
};
static struct config_service services[2];
static struct config cfg;

/* The linker brings health.c's calls here. */
int	 __wrap_clock_gettime(clockid_t clock, struct timespec *now);

int
__wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	now->tv_sec = (time_t)(now_us / S);
	now->tv_nsec = (long)(now_us % S * 1000);
	return 0;
}

static bool
on_has_worker(void *data, unsigned i)
{
	(void)data;
	return has_worker[i];
}

static void
on_tell_workers(void *data)
{
	(void)data;
	n_told++;
}

static const struct health_hooks hooks = {
	.has_worker = on_has_worker,
	.tell_workers = on_tell_workers,
};

static int
set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/test_health.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(pid_file, sizeof(pid_file), "%s/kvproxy.pid", folder);
	if ((shm = shm_create(pid_file, err, sizeof(err))) == NULL)
		return -1;
	for (unsigned i = 0; i < N_WORKERS; i++) {
		if (!shm_reserve(shm, i, N_HOSTS))
			return -1;
		has_worker[i] = true;
	}
	shm_set_n_slots(shm, N_WORKERS);
	for (unsigned i = 0; i < N_HOSTS; i++)
		shm_set_host_state(shm, i, SHM_HOST_UP, 0);
	for (size_t i = 0; i < 2; i++)
		services[i] = (struct config_service){
			.failover_threshold = 2,
			.failover_interval_ms = INTERVAL_MS,
			.rejoin = REJOIN_AS_IS,
			.hosts = &groups[0], .read = &groups[1],
			.backup = &groups[2]
		};
	cfg = (struct config){
		.services = services, .n_services = 1, .n_addrs = N_HOSTS
	};
	now_us = 100 * S;
	n_told = 0;
	loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	return loop != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
	(void)state;
	health_free(&health);
	ev_loop_destroy(loop);
	shm_unlink_made(shm);
	shm_close(&shm);
	return rmdir(folder);
}

static void
start(void)
{
	health = health_new(loop, &cfg, shm, host_entry, &hooks);
	assert_non_null(health);
}

static counter_cell *
cell(unsigned worker, unsigned host)
{
	return shm_slot(shm, worker)->host[host_entry[host]];
}

/* What a worker notes of one more failure now. */
static void
go_wrong(unsigned worker, unsigned host)
{
	counter_cell *c = cell(worker, host);
	uint64_t n = counter_get(&c[HOST_EVENTS]);

	counter_set(&c[HOST_EVENT_0_US + n % HOST_EVENT_TIMES], now_us);
	counter_add(&c[HOST_EVENTS], 1);
	counter_add(&c[HOST_EVENTS_IN_A_ROW], 1);
}

static void
succeed(unsigned worker, unsigned host)
{
	counter_set(&cell(worker, host)[HOST_EVENTS_IN_A_ROW], 0);
	counter_set(&cell(worker, host)[HOST_LAST_GOOD_US], now_us);
}

static void
greet(unsigned worker, unsigned host)
{
	counter_set(&cell(worker, host)[HOST_LAST_GREETED_US], now_us);
	counter_set(&cell(worker, host)[HOST_UP], 1);
}

static enum shm_host_state
state_of(unsigned host)
{
	return shm_host_state(shm, host_entry[host]);
}

static void
after(uint64_t us)
{
	now_us += us;
	health_check(health);
}

/* HOST has failed twice and is out. */
static void
eject(unsigned host)
{
	now_us += MS;
	go_wrong(0, host);
	go_wrong(1, host);
	after(MS);
	assert_int_equal(state_of(host), SHM_HOST_OUT);
}

/* Somebody is connected to HOST, which is back after WAIT_US and no sooner. */
static void
come_back(unsigned host, uint64_t wait_us)
{
	now_us += MS;
	greet(0, host);
	after(MS);
	if (wait_us > 0) {
		assert_int_equal(state_of(host), SHM_HOST_OUT);
		after(wait_us - MS);
		assert_int_equal(state_of(host), SHM_HOST_OUT);
		after(MS);
	}
	assert_int_equal(state_of(host), SHM_HOST_UP);
}

static void
all_know(void)
{
	for (unsigned i = 0; i < N_WORKERS; i++)
		shm_slot(shm, i)->seen_generation = shm_generation(shm);
}

static void
health_adds_up_the_events_of_all_workers(void **state)
{
	uint64_t generation = shm_generation(shm);

	(void)state;
	services[0].failover_threshold = 3;
	start();
	go_wrong(0, 0);
	go_wrong(1, 0);
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_UP);
	assert_int_equal(n_told, 0);
	go_wrong(2, 0);
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_OUT);
	assert_int_equal(state_of(1), SHM_HOST_UP);
	assert_int_equal(state_of(2), SHM_HOST_UP);
	assert_int_equal(shm_host(shm, host_entry[0])->ejections, 1);
	assert_int_equal(n_told, 1);
	assert_true(shm_generation(shm) == generation + 1);
	after(S);
	assert_int_equal(n_told, 1);
}

static void
health_ends_the_count_with_a_good_reply_in_any_worker(void **state)
{
	(void)state;
	start();
	for (int i = 0; i < 5; i++) {
		now_us += MS;
		go_wrong(0, 0);
		after(MS);
		succeed(1, 0);
	}
	assert_int_equal(state_of(0), SHM_HOST_UP);
	/* One each, the second after the good reply of the other. */
	now_us += MS;
	go_wrong(0, 0);
	now_us += MS;
	succeed(0, 0);
	now_us += MS;
	go_wrong(1, 0);
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_UP);
	go_wrong(2, 0);
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_OUT);
}

static void
health_counts_more_events_than_have_their_time_kept(void **state)
{
	(void)state;
	services[0].failover_threshold = 3 * HOST_EVENT_TIMES;
	start();
	for (int i = 1; i < 3 * HOST_EVENT_TIMES; i++) {
		now_us += MS;
		go_wrong(0, 0);
	}
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_UP);
	go_wrong(0, 0);
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_OUT);
}

static void
health_goes_by_the_strictest_service(void **state)
{
	(void)state;
	services[0].failover_threshold = 10;
	services[1].failover_threshold = 1;
	services[1].hosts = &groups[1];
	services[1].read = services[1].backup = NULL;
	cfg.n_services = 2;
	start();
	go_wrong(0, 0);
	go_wrong(0, 1);
	go_wrong(0, 2);
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_UP);
	assert_int_equal(state_of(1), SHM_HOST_OUT);
	assert_int_equal(state_of(2), SHM_HOST_UP);
}

static void
health_puts_back_who_was_greeted(void **state)
{
	(void)state;
	start();
	/* A connection of before its outage is none. */
	greet(0, 0);
	eject(0);
	after(10 * S);
	assert_int_equal(state_of(0), SHM_HOST_OUT);
	/* It was greeted and has failed since. */
	greet(1, 0);
	now_us += MS;
	go_wrong(2, 0);
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_OUT);
	/* It was greeted, and that connection is gone. */
	greet(1, 0);
	counter_set(&cell(0, 0)[HOST_UP], 0);
	counter_set(&cell(1, 0)[HOST_UP], 0);
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_OUT);
	n_told = 0;
	come_back(0, 0);
	assert_int_equal(n_told, 1);
	assert_int_equal(shm_host(shm, host_entry[0])->returns, 1);
	/* What failed before its return does not count again. */
	now_us += MS;
	go_wrong(0, 0);
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_UP);
	go_wrong(0, 0);
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_OUT);
	assert_int_equal(shm_host(shm, host_entry[0])->ejections, 2);
}

static void
health_keeps_out_longer_who_flaps(void **state)
{
	uint64_t hold_us = INTERVAL_MS * MS;

	(void)state;
	start();
	eject(0);
	come_back(0, 0);
	for (int i = 0; i < 7; i++) {
		eject(0);
		come_back(0, MIN(hold_us, 60 * S));
		hold_us *= 2;
	}
	assert_true(hold_us > 60 * S);
	for (int i = 0; i < 20; i++) {
		eject(0);
		come_back(0, 60 * S);
	}
	/* Its return lasted. */
	after(10 * INTERVAL_MS * MS + MS);
	eject(0);
	come_back(0, 0);
}

static void
health_begins_the_wait_anew_when_it_fails_meanwhile(void **state)
{
	(void)state;
	start();
	eject(0);
	come_back(0, 0);
	eject(0);
	now_us += MS;
	greet(0, 0);
	after(MS);
	after(INTERVAL_MS * MS - 2 * MS);
	go_wrong(1, 0);
	after(10 * MS);
	assert_int_equal(state_of(0), SHM_HOST_OUT);
	come_back(0, INTERVAL_MS * MS);
}

static void
health_has_a_host_emptied_when_all_workers_know(void **state)
{
	struct shm_host *sh = shm_host(shm, host_entry[0]);

	(void)state;
	services[0].rejoin = REJOIN_FLUSH;
	has_worker[1] = false;
	start();
	eject(0);
	all_know();
	now_us += MS;
	greet(0, 0);
	n_told = 0;
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_REJOINING);
	assert_int_equal(n_told, 1);
	assert_int_equal(sh->returns, 0);
	after(MS);
	assert_int_equal(sh->flusher, SHM_NO_FLUSHER);
	/* One knows; one is not there, and is not waited for. */
	shm_slot(shm, 0)->seen_generation = shm_generation(shm);
	after(MS);
	assert_int_equal(sh->flusher, SHM_NO_FLUSHER);
	assert_int_equal(n_told, 1);
	shm_slot(shm, 2)->seen_generation = shm_generation(shm);
	after(MS);
	assert_int_not_equal(sh->flusher, SHM_NO_FLUSHER);
	assert_true(has_worker[sh->flusher]);
	assert_int_equal(n_told, 2);
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_REJOINING);
	counter_set(&cell(sh->flusher, 0)[HOST_FLUSHED_US], now_us);
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_UP);
	assert_int_equal(sh->returns, 1);
	assert_int_equal(n_told, 3);
}

static void
health_asks_another_worker_when_one_does_not_empty_it(void **state)
{
	struct shm_host *sh = shm_host(shm, host_entry[1]);
	uint32_t first;

	(void)state;
	services[0].rejoin = REJOIN_FLUSH;
	start();
	/* One of another time is none. */
	counter_set(&cell(0, 1)[HOST_FLUSHED_US], now_us);
	eject(1);
	now_us += MS;
	greet(0, 1);
	after(MS);
	all_know();
	after(MS);
	first = sh->flusher;
	assert_int_not_equal(first, SHM_NO_FLUSHER);
	after(S - MS);
	assert_int_equal(sh->flusher, first);
	after(MS);
	assert_int_equal(state_of(1), SHM_HOST_REJOINING);
	assert_int_not_equal(sh->flusher, first);
	/* It is a new task, for whoever has done the first. */
	assert_int_equal(sh->flush_n, 2);
	assert_int_not_equal(sh->flusher, SHM_NO_FLUSHER);
	has_worker[0] = has_worker[1] = false;
	after(S);
	after(S);
	assert_int_equal(sh->flusher, 2);
	now_us += MS;
	counter_set(&cell(2, 1)[HOST_FLUSHED_US], now_us);
	after(MS);
	assert_int_equal(state_of(1), SHM_HOST_UP);
}

static void
health_takes_out_who_fails_while_it_rejoins(void **state)
{
	struct shm_host *sh = shm_host(shm, host_entry[0]);

	(void)state;
	services[0].rejoin = REJOIN_FLUSH;
	start();
	eject(0);
	now_us += MS;
	greet(0, 0);
	after(MS);
	assert_int_equal(state_of(0), SHM_HOST_REJOINING);
	all_know();
	after(MS);
	assert_int_not_equal(sh->flusher, SHM_NO_FLUSHER);
	eject(0);
	assert_int_equal(sh->flusher, SHM_NO_FLUSHER);
	assert_int_equal(sh->returns, 0);
	assert_int_equal(sh->ejections, 2);
}

static void
health_never_has_a_backup_emptied(void **state)
{
	(void)state;
	/* Not even one that another service has in its hosts. */
	services[0].rejoin = services[1].rejoin = REJOIN_FLUSH;
	services[1].hosts = &groups[2];
	services[1].read = services[1].backup = NULL;
	cfg.n_services = 2;
	start();
	eject(2);
	come_back(2, 0);
}

#define HEALTH_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		HEALTH_TEST(health_adds_up_the_events_of_all_workers),
		HEALTH_TEST(
		    health_ends_the_count_with_a_good_reply_in_any_worker),
		HEALTH_TEST(
		    health_counts_more_events_than_have_their_time_kept),
		HEALTH_TEST(health_goes_by_the_strictest_service),
		HEALTH_TEST(health_puts_back_who_was_greeted),
		HEALTH_TEST(health_keeps_out_longer_who_flaps),
		HEALTH_TEST(
		    health_begins_the_wait_anew_when_it_fails_meanwhile),
		HEALTH_TEST(health_has_a_host_emptied_when_all_workers_know),
		HEALTH_TEST(
		    health_asks_another_worker_when_one_does_not_empty_it),
		HEALTH_TEST(health_takes_out_who_fails_while_it_rejoins),
		HEALTH_TEST(health_never_has_a_backup_emptied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
