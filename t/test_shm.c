/*
 * test_shm.c: the segment, its refusals, and its sums.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shared/shm.h"

#define NOBODY	65534

static char folder[64];
static char pid_file[96];
static char seg[64];		/* "/kvproxy-...", the name of pid_file's */
static char err[1024];

/* The name as shm.h says it: FNV-1a of the pid file's absolute name. */
static void
name_segment(void)
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (const char *p = pid_file; *p != '\0'; p++) {
		h ^= (unsigned char)*p;
		h *= UINT64_C(1099511628211);
	}
	snprintf(seg, sizeof(seg), "/kvproxy-%016llx", (unsigned long long)h);
}

static int
set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/test_shm.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(pid_file, sizeof(pid_file), "%s/kvproxy.pid", folder);
	name_segment();
	err[0] = '\0';
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	shm_unlink(seg);
	return rmdir(folder);
}

static struct shm *
make_ready(void)
{
	struct shm *shm = shm_create(pid_file, err, sizeof(err));

	assert_non_null(shm);
	assert_true(shm_reserve(shm, 0, 4));
	assert_true(shm_reserve(shm, 1, 4));
	shm_set_n_slots(shm, 2);
	shm_set_ready(shm);
	return shm;
}

/* The reader's refusal of what stands under the name. */
static void
check_refused(const char *why)
{
	char want[1024];

	assert_null(shm_attach(pid_file, err, sizeof(err)));
	snprintf(want, sizeof(want), "/dev/shm%s (of %s): %s", seg, pid_file,
	    why);
	assert_string_equal(err, want);
}

static void
shm_reader_sees_what_master_and_workers_write(void **state)
{
	struct shm *shm = make_ready(), *reader;

	(void)state;
	shm_facts(shm)->master_pid = 4711;
	shm_facts(shm)->n_hosts = 1;
	strcpy(shm_host(shm, 0)->name, "127.0.0.1:11211");
	counter_add(&shm_slot(shm, 1)->counter[0][COUNTER_REQUESTS], 7);
	counter_add(&shm_slot(shm, 1)->host[3][HOST_FAILED], 2);
	reader = shm_attach(pid_file, err, sizeof(err));
	assert_non_null(reader);
	assert_int_equal(shm_facts(reader)->master_pid, 4711);
	assert_int_equal(shm_n_slots(reader), 2);
	assert_string_equal(shm_host(reader, 0)->name, "127.0.0.1:11211");
	assert_int_equal(shm_sum(reader, COUNTER_REQUESTS), 7);
	assert_int_equal(shm_host_sum(reader, 3, HOST_FAILED), 2);
	counter_add(&shm_slot(shm, 0)->counter[0][COUNTER_REQUESTS], 1);
	assert_int_equal(shm_sum(reader, COUNTER_REQUESTS), 8);
	shm_close(&reader);
	assert_null(reader);
	shm_close(&shm);
}

static void
shm_last_slot_and_host_are_inside(void **state)
{
	struct shm *shm = make_ready();
	const unsigned w = SHM_WORKERS_MAX - 1, h = SHM_HOSTS_MAX - 1;

	(void)state;
	assert_true(shm_reserve(shm, w, SHM_HOSTS_MAX));
	counter_set(&shm_slot(shm, w)->host[h][HOST_N - 1], 1);
	assert_int_equal(shm_host_sum(shm, h, HOST_N - 1), 0);
	shm_set_n_slots(shm, 1);
	strcpy(shm_host(shm, h)->name, "last");
	assert_int_equal(counter_get(&shm_slot(shm, 0)->counter[0][0]), 0);
	shm_close(&shm);
}

static void
shm_is_for_its_user_alone_and_sparse(void **state)
{
	struct shm *shm = make_ready();
	struct stat st;
	char path[96];

	(void)state;
	snprintf(path, sizeof(path), "/dev/shm%s", seg);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_true(st.st_size > 50 * 1024 * 1024);
	assert_true(st.st_blocks * 512 < 4 * 1024 * 1024);
	shm_close(&shm);
}

static void
shm_reserve_takes_the_pages_that_the_hosts_need(void **state)
{
	struct shm *shm = make_ready();
	struct stat before, after;
	char path[96];

	(void)state;
	snprintf(path, sizeof(path), "/dev/shm%s", seg);
	assert_int_equal(stat(path, &before), 0);
	assert_true(shm_reserve(shm, 7, SHM_HOSTS_MAX));
	assert_int_equal(stat(path, &after), 0);
	assert_true((size_t)(after.st_blocks - before.st_blocks) * 512 >=
	    sizeof(((struct shm_slot *)NULL)->host));
	assert_int_equal(after.st_size, before.st_size);
	shm_close(&shm);
}

static void
shm_counts_no_slot_that_is_not_reserved(void **state)
{
	struct shm *shm = make_ready();
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		close(STDERR_FILENO);
		shm_set_n_slots(shm, 3);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_true(shm_reserve(shm, 2, 4));
	shm_set_n_slots(shm, 3);
	shm_close(&shm);
}

static void
shm_takes_the_place_of_a_stale_one(void **state)
{
	struct shm *old = make_ready(), *shm, *reader;

	(void)state;
	counter_set(&shm_slot(old, 0)->counter[0][COUNTER_REQUESTS], 99);
	shm = shm_create(pid_file, err, sizeof(err));
	assert_non_null(shm);
	/* The old one's readers and workers still have theirs. */
	assert_int_equal(shm_sum(old, COUNTER_REQUESTS), 99);
	check_refused("not ready yet");
	assert_true(shm_reserve(shm, 0, 0));
	shm_set_n_slots(shm, 1);
	shm_set_ready(shm);
	reader = shm_attach(pid_file, err, sizeof(err));
	assert_non_null(reader);
	assert_int_equal(shm_sum(reader, COUNTER_REQUESTS), 0);
	shm_close(&reader);
	shm_close(&old);
	shm_close(&shm);
}

/* A master and its worker; says '.' on FD when both are there, and stays. */
static void
be_master(int fd)
{
	struct shm *shm = shm_create(pid_file, err, sizeof(err));

	if (shm == NULL || fork() == -1 || write(fd, ".", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Somebody has removed its pid file: the lock there tells nothing. */
static void
shm_leaves_alone_what_a_running_master_uses(void **state)
{
	char want[256], dots[2];
	int ends[2];
	struct shm *shm;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		be_master(ends[1]);
	}
	for (size_t i = 0; i < sizeof(dots); i++)
		assert_int_equal(read(ends[0], &dots[i], 1), 1);
	assert_null(shm_create(pid_file, err, sizeof(err)));
	snprintf(want, sizeof(want), "/dev/shm%s is in use by a running "
	    "kvproxy (pid %ld)", seg, (long)pid);
	assert_string_equal(err, want);
	/* Its worker, who lives a little longer, is no master. */
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	shm = shm_create(pid_file, err, sizeof(err));
	assert_non_null(shm);
	shm_close(&shm);
	kill(-pid, SIGKILL);
	close(ends[0]);
	close(ends[1]);
}

static void
shm_unlink_made_removes_its_own_name_alone(void **state)
{
	struct shm *shm = make_ready(), *other;

	(void)state;
	shm_unlink_made(shm);
	check_refused("No such file or directory");
	shm_unlink_made(shm);
	other = make_ready();
	shm_unlink_made(shm);
	shm_close(&shm);
	shm = shm_attach(pid_file, err, sizeof(err));
	assert_non_null(shm);
	shm_close(&shm);
	shm_unlink_made(other);
	shm_close(&other);
}

static void
shm_has_one_name_however_the_pid_file_is_written(void **state)
{
	struct shm *shm = make_ready(), *reader;
	char path[256], cwd[1024];

	(void)state;
	snprintf(path, sizeof(path), "%s/../%s/./kvproxy.pid", folder,
	    folder + strlen("/tmp/"));
	reader = shm_attach(path, err, sizeof(err));
	assert_non_null(reader);
	shm_close(&reader);
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(chdir(folder), 0);
	reader = shm_attach("kvproxy.pid", err, sizeof(err));
	assert_int_equal(chdir(cwd), 0);
	assert_non_null(reader);
	shm_close(&reader);
	/* Another pid file in the folder is another segment. */
	snprintf(path, sizeof(path), "%s/other.pid", folder);
	assert_null(shm_attach(path, err, sizeof(err)));
	shm_close(&shm);
}

static void
shm_names_a_folder_that_is_missing(void **state)
{
	(void)state;
	assert_null(shm_create("/nonexistent/kvproxy.pid", err, sizeof(err)));
	assert_string_equal(err, "/nonexistent: No such file or directory");
	assert_null(shm_attach("/nonexistent/kvproxy.pid", err, sizeof(err)));
	assert_string_equal(err, "/nonexistent: No such file or directory");
}

/* Put the first LEN bytes of a good segment under the name, SIZE long, with
 * the byte at AT changed. */
static void
put_damaged(size_t len, off_t size, size_t at)
{
	struct shm *shm = make_ready();
	unsigned char head[4096];
	int fd;

	fd = shm_open(seg, O_RDONLY, 0);
	assert_int_not_equal(fd, -1);
	assert_int_equal(read(fd, head, sizeof(head)), sizeof(head));
	close(fd);
	shm_unlink_made(shm);
	shm_close(&shm);
	head[at] ^= 0x40;
	fd = shm_open(seg, O_CREAT | O_EXCL | O_RDWR, 0600);
	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, head, len), len);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

/* Row P9. */
static void
shm_reader_refuses_what_is_damaged(void **state)
{
	static const struct {
		size_t	 len;
		off_t	 size;
		size_t	 at;	/* in the header's order: magic, size, ... */
		const char *why;
	} table[] = {
		{ 0, 0, 4095, "truncated" },
		{ 0, 16, 4095, "truncated" },
		{ 4096, 4096, 4095, "truncated" },
		{ 4096, 1024 * 1024, 4095, "truncated" },
		{ 0, 1 << 30, 4095, "not kvproxy's" },
		{ 4096, 1 << 30, 0, "not kvproxy's" },
		{ 4096, 1 << 30, 8, "of another version of kvproxy" },
		{ 4096, 1 << 30, 16, "of another version of kvproxy" },
		{ 4096, 1 << 30, 20, "of another version of kvproxy" },
		{ 4096, 1 << 30, 24, "of another version of kvproxy" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		put_damaged(table[i].len, table[i].size, table[i].at);
		check_refused(table[i].why);
		shm_unlink(seg);
	}
}

/* Row P9. */
static void
shm_refuses_what_another_user_made(void **state)
{
	char path[96], want[256];
	struct shm *shm;

	(void)state;
	if (geteuid() != 0)
		skip();
	shm = make_ready();
	shm_close(&shm);
	snprintf(path, sizeof(path), "/dev/shm%s", seg);
	assert_int_equal(chown(path, NOBODY, NOBODY), 0);
	check_refused("made by another user");
	assert_null(shm_create(pid_file, err, sizeof(err)));
	snprintf(want, sizeof(want),
	    "%s is in the way and not ours: made by user 65534", path);
	assert_string_equal(err, want);
	assert_int_equal(access(path, F_OK), 0);
}

/* What is under the name is root's; the caller is nobody. */
static int
try_as_nobody(void)
{
	char want[256];

	if (setgid(NOBODY) == -1 || setuid(NOBODY) == -1)
		return 10;
	if (shm_create(pid_file, err, sizeof(err)) != NULL)
		return 11;
	snprintf(want, sizeof(want), "/dev/shm%s is in the way and not ours: "
	    "Permission denied", seg);
	if (strcmp(err, want) != 0)
		return 12;
	if (shm_attach(pid_file, err, sizeof(err)) != NULL)
		return 13;
	return 0;
}

/* Row P9. */
static void
shm_refuses_roots_segment_as_another_user(void **state)
{
	struct shm *shm;
	int status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	shm = make_ready();
	assert_int_equal(chmod(folder, 0755), 0);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0)
		_exit(try_as_nobody());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	shm_close(&shm);
}

static void
shm_refuses_what_is_not_a_file(void **state)
{
	char path[96];

	(void)state;
	snprintf(path, sizeof(path), "/dev/shm%s", seg);
	assert_int_equal(mkfifo(path, 0600), 0);
	alarm(10);
	check_refused("not a shared segment");
	assert_null(shm_create(pid_file, err, sizeof(err)));
	assert_non_null(strstr(err, " is in the way and not ours: not a file"));
	alarm(0);
	unlink(path);
	/* A link could lead anywhere. */
	assert_int_equal(symlink("/etc/passwd", path), 0);
	check_refused("Too many levels of symbolic links");
	assert_null(shm_create(pid_file, err, sizeof(err)));
	unlink(path);
}

/* Nobody is blamed for what is our own trouble. */
static void
shm_says_why_it_cannot_look(void **state)
{
	struct rlimit limit, none = { 0 };
	char want[256];

	(void)state;
	shm_close(&(struct shm *){ make_ready() });
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none.rlim_max = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_null(shm_create(pid_file, err, sizeof(err)));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	snprintf(want, sizeof(want), "/dev/shm%s: Too many open files", seg);
	assert_string_equal(err, want);
}

static void
shm_zero_gauges_keeps_totals(void **state)
{
	struct shm *shm = make_ready();
	struct shm_slot *slot = shm_slot(shm, 0);

	(void)state;
	for (unsigned c = 0; c < COUNTER_N; c++)
		counter_set(&slot->counter[0][c], 5);
	for (unsigned c = 0; c < HOST_N; c++) {
		counter_set(&slot->host[0][c], 5);
		counter_set(&slot->host[1][c], 5);
		counter_set(&slot->host[2][c], 5);
	}
	shm_zero_gauges(slot, 2);
	for (unsigned c = 0; c < COUNTER_N; c++)
		assert_int_equal(counter_get(&slot->counter[0][c]),
		    counters_worker[c].kind == COUNTER_TOTAL ? 5 : 0);
	for (unsigned c = 0; c < HOST_N; c++) {
		uint64_t want = counters_host[c].kind == COUNTER_GAUGE ? 0 : 5;

		assert_int_equal(counter_get(&slot->host[0][c]), want);
		assert_int_equal(counter_get(&slot->host[1][c]), want);
		assert_int_equal(counter_get(&slot->host[2][c]), 5);
	}
	shm_close(&shm);
}

static void
shm_host_continuous_ends_with_a_good_reply_anywhere(void **state)
{
	static const struct {
		uint64_t good[2], failed[2], continuous[2], want;
	} table[] = {
		{ { 0, 0 }, { 0, 0 }, { 0, 0 }, 0 },
		{ { 10, 0 }, { 20, 0 }, { 3, 0 }, 3 },
		{ { 10, 15 }, { 20, 30 }, { 3, 4 }, 7 },
		/* worker 1 had a good reply after worker 0's failures */
		{ { 10, 25 }, { 20, 0 }, { 3, 0 }, 0 },
		{ { 10, 25 }, { 20, 26 }, { 3, 1 }, 1 },
		{ { 10, 20 }, { 20, 0 }, { 3, 0 }, 3 },
	};
	struct shm *shm = make_ready();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		for (unsigned w = 0; w < 2; w++) {
			counter_cell *cell = shm_slot(shm, w)->host[2];

			counter_set(&cell[HOST_LAST_GOOD_US],
			    table[i].good[w]);
			counter_set(&cell[HOST_LAST_FAILED_US],
			    table[i].failed[w]);
			counter_set(&cell[HOST_CONTINUOUS],
			    table[i].continuous[w]);
		}
		assert_int_equal(shm_host_continuous(shm, 2), table[i].want);
	}
	shm_close(&shm);
}

/*
 * Slow requests.
 */

static void
add_slow(struct shm *shm, unsigned slot, uint64_t at_ms)
{
	struct shm_slow_view v = {
		.at_ms = at_ms, .total_us = at_ms * 2, .queued_us = at_ms,
		.host = 3, .what = SHM_LATENCY_WRITE, .is_failed = at_ms % 2,
		.key_len = 200,
	};

	memset(v.key, 'a' + (int)(at_ms % 26), sizeof(v.key));
	shm_add_slow(shm_slot(shm, slot), &v);
}

static void
check_slow(const struct shm_slow_view *v, uint64_t at_ms)
{
	assert_int_equal(v->at_ms, at_ms);
	assert_int_equal(v->total_us, at_ms * 2);
	assert_int_equal(v->queued_us, at_ms);
	assert_int_equal(v->host, 3);
	assert_int_equal(v->what, SHM_LATENCY_WRITE);
	assert_int_equal(v->is_failed, at_ms % 2);
	assert_int_equal(v->key_len, 200);
	for (size_t i = 0; i < sizeof(v->key); i++)
		assert_int_equal(v->key[i], 'a' + (int)(at_ms % 26));
}

/* However a reload is just writing the list. */
static void
shm_lists_each_entry_once(void **state)
{
	struct shm *shm = make_ready();
	unsigned hosts[SHM_HOSTS_MAX], services[SHM_SERVICES_MAX];

	(void)state;
	shm_facts(shm)->n_hosts = shm_facts(shm)->n_services = 2;
	for (unsigned i = 0; i < 2; i++) {
		shm_list_host(shm, i, 5);
		shm_list_service(shm, i, 63);
	}
	assert_int_equal(shm_look_hosts(shm, hosts), 1);
	assert_int_equal(hosts[0], 5);
	assert_int_equal(shm_look_services(shm, services), 1);
	assert_int_equal(services[0], 63);
	shm_list_host(shm, 1, 3);
	shm_list_service(shm, 1, 0);
	assert_int_equal(shm_look_hosts(shm, hosts), 2);
	assert_int_equal(hosts[1], 3);
	assert_int_equal(shm_look_services(shm, services), 2);
	assert_int_equal(services[1], 0);
	/* And its length, too. */
	shm_facts(shm)->n_hosts = shm_facts(shm)->n_services = 1;
	assert_int_equal(shm_look_hosts(shm, hosts), 1);
	assert_int_equal(shm_look_services(shm, services), 1);
	shm_close(&shm);
}

static void
shm_slow_remembers_the_newest(void **state)
{
	struct shm *shm = make_ready();
	struct shm_slow_view views[SHM_SLOW_N];

	(void)state;
	assert_int_equal(shm_look_slow(shm, NULL, views), 0);
	for (unsigned n = 1; n <= SHM_SLOW_N * 3; n++) {
		unsigned want = MIN(n, SHM_SLOW_N);

		add_slow(shm, 0, 1000 + n);
		assert_int_equal(shm_look_slow(shm, NULL, views), want);
		for (unsigned i = 0; i < want; i++)
			check_slow(&views[i], 1000 + n - i);
	}
	shm_close(&shm);
}

static void
shm_slow_merges_slots_by_time(void **state)
{
	struct shm *shm = make_ready();
	struct shm_slow_view views[SHM_SLOW_N];

	(void)state;
	/* Slot 1 has two of three; slot 0 has had none for long. */
	for (unsigned t = 1; t <= 90; t++)
		add_slow(shm, t % 3 != 0, t);
	for (unsigned t = 91; t <= 100; t++)
		add_slow(shm, 1, t);
	/* Of slot 1's 70 the last 64 are kept, from 10 on. */
	assert_int_equal(shm_look_slow(shm, NULL, views), SHM_SLOW_N);
	for (unsigned i = 0; i < SHM_SLOW_N; i++)
		check_slow(&views[i], 100 - i);
	shm_close(&shm);
}

/* What waited together ends together. */
static void
shm_slow_keeps_the_order_within_a_millisecond(void **state)
{
	struct shm *shm = make_ready();
	struct shm_slow_view v = { .at_ms = 7 }, views[SHM_SLOW_N];

	(void)state;
	for (unsigned i = 0; i < SHM_SLOW_N + 10; i++) {
		v.total_us = i;
		shm_add_slow(shm_slot(shm, 1), &v);
	}
	assert_int_equal(shm_look_slow(shm, NULL, views), SHM_SLOW_N);
	for (unsigned i = 0; i < SHM_SLOW_N; i++)
		assert_int_equal(views[i].total_us, SHM_SLOW_N + 9 - i);
	shm_close(&shm);
}

/* The worker was killed in the middle of one, or is there now. */
static void
shm_slow_leaves_out_what_is_half_written(void **state)
{
	struct shm *shm = make_ready();
	struct shm_slow *slow = shm_slot(shm, 1)->slow;
	struct shm_slow_view views[SHM_SLOW_N];

	(void)state;
	for (unsigned t = 1; t <= 5; t++)
		add_slow(shm, 1, t);
	slow[1].seq |= 1;
	slow[4].seq |= 1;
	assert_int_equal(shm_look_slow(shm, NULL, views), 3);
	check_slow(&views[0], 4);
	check_slow(&views[1], 3);
	check_slow(&views[2], 1);
	/* The next worker there goes on, and comes around to it. */
	for (unsigned t = 6; t <= 5 + SHM_SLOW_N; t++)
		add_slow(shm, 1, t);
	assert_int_equal(shm_look_slow(shm, NULL, views), SHM_SLOW_N);
	for (unsigned i = 0; i < SHM_SLOW_N; i++)
		check_slow(&views[i], 5 + SHM_SLOW_N - i);
	shm_close(&shm);
}

/* Killed between the entry and the count of them: the next one takes the same
 * place. */
static void
shm_slow_goes_on_where_its_worker_died(void **state)
{
	struct shm *shm = make_ready();
	struct shm_slow_view views[SHM_SLOW_N];

	(void)state;
	add_slow(shm, 0, 1);
	add_slow(shm, 0, 2);
	shm_slot(shm, 0)->slow[1].seq |= 1;
	shm_slot(shm, 0)->n_slow = 1;
	add_slow(shm, 0, 3);
	assert_int_equal(shm_look_slow(shm, NULL, views), 2);
	check_slow(&views[0], 3);
	check_slow(&views[1], 1);
	assert_int_equal(shm_slot(shm, 0)->slow[1].seq % 2, 0);
	shm_close(&shm);
}

/* A reader indexes by what it finds. */
static void
shm_slow_gives_no_number_out_of_bounds(void **state)
{
	struct shm *shm = make_ready();
	struct shm_slow_view views[SHM_SLOW_N];

	(void)state;
	add_slow(shm, 0, 1);
	add_slow(shm, 0, 2);
	shm_slot(shm, 0)->slow[0].host = SHM_HOSTS_MAX;
	shm_slot(shm, 0)->slow[1].what = SHM_LATENCY_N;
	assert_int_equal(shm_look_slow(shm, NULL, views), 0);
	shm_close(&shm);
}

/*
 * Resets.
 */

static void
shm_base_is_what_was_counted_at_the_newest_reset(void **state)
{
	struct shm *shm = make_ready();
	struct shm_slow_view views[SHM_SLOW_N];
	const struct shm_base *base;

	(void)state;
	shm_facts(shm)->n_entries = 4;
	shm_facts(shm)->n_service_entries = 2;
	assert_null(shm_base(shm));
	counter_set(&shm_slot(shm, 0)->counter[0][COUNTER_REQUESTS], 3);
	counter_set(&shm_slot(shm, 1)->counter[2][COUNTER_REQUESTS], 4);
	counter_set(&shm_slot(shm, 0)->host[3][HOST_FAILED], 5);
	add_slow(shm, 1, 1);
	add_slow(shm, 1, 2);
	hist_add(&shm_slot(shm, 1)->latency[SHM_LATENCY_READ], 10);
	hist_add(&shm_slot(shm, 1)->host_latency[3], 20);
	assert_true(shm_reset(shm, 1, 1000));
	base = shm_base(shm);
	assert_ptr_equal(base, &shm_slot(shm, 1)->base);
	assert_int_equal(counter_get(&base->counter[COUNTER_REQUESTS]), 7);
	assert_int_equal(counter_get(&base->service[1][COUNTER_REQUESTS]), 4);
	assert_int_equal(counter_get(&base->worker[0].counter[
	    COUNTER_REQUESTS]), 3);
	assert_int_equal(shm_look_slow(shm, base, views), 0);
	add_slow(shm, 0, 1);
	add_slow(shm, 1, 3);
	assert_int_equal(shm_look_slow(shm, base, views), 2);
	check_slow(&views[0], 3);
	assert_int_equal(shm_look_slow(shm, NULL, views), 4);
	assert_int_equal(base->n_hosts, 4);
	assert_int_equal(counter_get(&base->host[3].counter[HOST_FAILED]), 5);
	assert_int_equal(counter_get(&base->latency[SHM_LATENCY_READ].n[10]),
	    1);
	assert_int_equal(counter_get(&base->host_latency[3].sum_us), 20);
	/* Another worker is told, and then the first again. */
	counter_add(&shm_slot(shm, 0)->counter[0][COUNTER_REQUESTS], 1);
	assert_true(shm_reset(shm, 0, 2000));
	assert_ptr_equal(shm_base(shm), &shm_slot(shm, 0)->base);
	base = shm_base(shm);
	assert_int_equal(counter_get(&base->counter[COUNTER_REQUESTS]), 8);
	assert_true(shm_reset(shm, 1, 3000));
	assert_ptr_equal(shm_base(shm), &shm_slot(shm, 1)->base);
	/* What was counted is as it was. */
	assert_int_equal(shm_sum(shm, COUNTER_REQUESTS), 8);
	shm_close(&shm);
}

/* Of what stands beyond an entry that came after it there is no page: a full
 * /dev/shm would kill whoever touches it. */
static void
shm_base_takes_no_more_pages_than_it_has_hosts(void **state)
{
	struct shm *shm = make_ready();
	struct stat before, reserved, after;
	char path[96];

	(void)state;
	snprintf(path, sizeof(path), "/dev/shm%s", seg);
	shm_facts(shm)->n_entries = 2;
	assert_int_equal(stat(path, &before), 0);
	assert_true(shm_reserve_base(shm, 0));
	assert_int_equal(stat(path, &reserved), 0);
	assert_true(shm_reset(shm, 0, 1));
	assert_int_equal(stat(path, &after), 0);
	/* It writes where it has reserved, and nowhere else. */
	assert_int_equal(after.st_blocks, reserved.st_blocks);
	/* What is there of all, but no service, those of two workers and two
	 * hosts, and what pages are begun. */
	assert_in_range((after.st_blocks - before.st_blocks) * 512,
	    1, offsetof(struct shm_base, service) +
	    2 * sizeof(struct shm_base_worker) +
	    2 * (sizeof(struct shm_base_host) + sizeof(struct hist)) +
	    8 * 4096);
	assert_int_equal(shm_base(shm)->n_hosts, 2);
	/* Entries that came later begin at 0: the next reset has them. */
	assert_true(shm_reserve(shm, 0, SHM_HOSTS_MAX));
	assert_true(shm_reserve(shm, 1, SHM_HOSTS_MAX));
	shm_facts(shm)->n_entries = SHM_HOSTS_MAX;
	counter_set(&shm_slot(shm, 1)->host[SHM_HOSTS_MAX - 1][HOST_FAILED],
	    6);
	assert_int_equal(shm_base(shm)->n_hosts, 2);
	assert_true(shm_reset(shm, 0, 2));
	assert_int_equal(shm_base(shm)->n_hosts, SHM_HOSTS_MAX);
	assert_int_equal(counter_get(
	    &shm_base(shm)->host[SHM_HOSTS_MAX - 1].counter[HOST_FAILED]), 6);
	shm_close(&shm);
}

/* What /dev/shm has room for: the linker brings shm.c's calls here, for a full
 * one cannot be had on every machine. */
static size_t shm_room = SIZE_MAX;

int	 __real_posix_fallocate(int fd, off_t at, off_t len);
int	 __wrap_posix_fallocate(int fd, off_t at, off_t len);

int
__wrap_posix_fallocate(int fd, off_t at, off_t len)
{
	if ((size_t)len > shm_room)
		return ENOSPC;
	shm_room -= (size_t)len;
	return __real_posix_fallocate(fd, at, len);
}

static void
shm_says_when_dev_shm_is_full(void **state)
{
	unsigned i = 0;
	struct shm *shm;

	(void)state;
	shm_room = 64 * 1024 * 1024;
	shm = shm_create(pid_file, err, sizeof(err));
	assert_non_null(shm);
	while (i < SHM_WORKERS_MAX && shm_reserve(shm, i, SHM_HOSTS_MAX))
		i++;
	assert_int_equal(errno, ENOSPC);
	assert_in_range(i, 1, SHM_WORKERS_MAX - 1);
	shm_zero_gauges(shm_slot(shm, i - 1), SHM_HOSTS_MAX);
	shm_unlink_made(shm);
	shm_close(&shm);
	/* The next one has no room for its header and hosts. */
	shm_room = 1024;
	assert_null(shm_create(pid_file, err, sizeof(err)));
	shm_room = SIZE_MAX;
	assert_non_null(strstr(err, ": No space left on device"));
}

static void
shm_knows_whether_a_master_uses_it(void **state)
{
	int up[2], down[2];
	struct shm *shm;
	pid_t pid, found;
	char byte;

	(void)state;
	errno = 0;
	assert_false(shm_has_master(pid_file, &found));
	assert_int_equal(errno, ENOENT);
	assert_int_equal(pipe(up) | pipe(down), 0);
	pid = fork();
	if (pid == 0) {
		close(down[1]);
		shm = shm_create(pid_file, err, sizeof(err));
		if (shm != NULL && write(up[1], "", 1) == 1)
			(void)!read(down[0], &byte, 1);
		_exit(0);
	}
	close(down[0]);
	assert_int_equal(read(up[0], &byte, 1), 1);
	/* Ready or not. */
	assert_true(shm_has_master(pid_file, &found));
	assert_int_equal(found, pid);
	close(down[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_false(shm_has_master(pid_file, &found));
	assert_int_equal(errno, ESRCH);
	close(up[0]);
	close(up[1]);
}

static void
shm_of_a_reader_can_never_be_written(void **state)
{
	struct shm *shm = make_ready(), *reader;
	int fd = shm_open_for_reader(shm);
	void *page;

	(void)state;
	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, "", 1), -1);
	reader = shm_adopt(fd, err, sizeof(err));
	assert_non_null(reader);
	counter_add(&shm_slot(shm, 1)->counter[0][COUNTER_REQUESTS], 7);
	assert_int_equal(shm_sum(reader, COUNTER_REQUESTS), 7);
	page = (void *)((uintptr_t)shm_facts(reader) & ~(uintptr_t)4095);
	assert_int_equal(mprotect(page, 4096, PROT_READ | PROT_WRITE), -1);
	shm_close(&reader);
	assert_null(shm_adopt(open("/dev/null", O_RDONLY), err, sizeof(err)));
	assert_string_equal(err, "the segment: not a shared segment");
	shm_close(&shm);
}

static void
shm_keeps_the_old_base_where_dev_shm_is_full(void **state)
{
	struct shm *shm = make_ready();

	(void)state;
	shm_facts(shm)->n_entries = 1;
	counter_set(&shm_slot(shm, 0)->counter[0][COUNTER_REQUESTS], 3);
	assert_true(shm_reset(shm, 0, 1));
	counter_set(&shm_slot(shm, 0)->counter[0][COUNTER_REQUESTS], 5);
	shm_room = 4096;
	assert_false(shm_reset(shm, 1, 2));
	assert_int_equal(errno, ENOSPC);
	shm_room = SIZE_MAX;
	assert_ptr_equal(shm_base(shm), &shm_slot(shm, 0)->base);
	assert_int_equal(counter_get(
	    &shm_base(shm)->counter[COUNTER_REQUESTS]), 3);
	shm_close(&shm);
}

#define SHM_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		SHM_TEST(shm_reader_sees_what_master_and_workers_write),
		SHM_TEST(shm_last_slot_and_host_are_inside),
		SHM_TEST(shm_is_for_its_user_alone_and_sparse),
		SHM_TEST(shm_reserve_takes_the_pages_that_the_hosts_need),
		SHM_TEST(shm_counts_no_slot_that_is_not_reserved),
		SHM_TEST(shm_takes_the_place_of_a_stale_one),
		SHM_TEST(shm_leaves_alone_what_a_running_master_uses),
		SHM_TEST(shm_unlink_made_removes_its_own_name_alone),
		SHM_TEST(shm_has_one_name_however_the_pid_file_is_written),
		SHM_TEST(shm_names_a_folder_that_is_missing),
		SHM_TEST(shm_reader_refuses_what_is_damaged),
		SHM_TEST(shm_refuses_what_another_user_made),
		SHM_TEST(shm_refuses_roots_segment_as_another_user),
		SHM_TEST(shm_refuses_what_is_not_a_file),
		SHM_TEST(shm_says_why_it_cannot_look),
		SHM_TEST(shm_lists_each_entry_once),
		SHM_TEST(shm_zero_gauges_keeps_totals),
		SHM_TEST(shm_host_continuous_ends_with_a_good_reply_anywhere),
		SHM_TEST(shm_slow_remembers_the_newest),
		SHM_TEST(shm_slow_merges_slots_by_time),
		SHM_TEST(shm_slow_keeps_the_order_within_a_millisecond),
		SHM_TEST(shm_slow_leaves_out_what_is_half_written),
		SHM_TEST(shm_slow_goes_on_where_its_worker_died),
		SHM_TEST(shm_slow_gives_no_number_out_of_bounds),
		SHM_TEST(shm_base_is_what_was_counted_at_the_newest_reset),
		SHM_TEST(shm_base_takes_no_more_pages_than_it_has_hosts),
		SHM_TEST(shm_says_when_dev_shm_is_full),
		SHM_TEST(shm_knows_whether_a_master_uses_it),
		SHM_TEST(shm_of_a_reader_can_never_be_written),
		SHM_TEST(shm_keeps_the_old_base_where_dev_shm_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
