/*
 * test_pidfile.c: the lock that says that a master runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "master/pidfile.h"

static char folder[64], path[96];
static char err[512];
static bool remove_before_lock;

/* In libc's place: what pidfile.c calls. */
int
flock(int fd, int operation)
{
	if (remove_before_lock)
		assert_int_equal(unlink(path), 0);
	remove_before_lock = false;
	return (int)syscall(SYS_flock, fd, operation);
}

static int
set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/test_pidfile.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/kvproxy.pid", folder);
	err[0] = '\0';
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static void
write_file(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static const char *
read_file(void)
{
	static char text[256];
	FILE *f = fopen(path, "r");
	size_t len;

	assert_non_null(f);
	len = fread(text, 1, sizeof(text) - 1, f);
	text[len] = '\0';
	fclose(f);
	return text;
}

static void
assert_refused(const char *why)
{
	struct pidfile pf;
	char line[512];

	assert_false(pidfile_open(&pf, path, err, sizeof(err)));
	assert_int_equal(pf.fd, -1);
	snprintf(line, sizeof(line), "%s: %s", path, why);
	assert_string_equal(err, line);
}

static void
assert_opens(struct pidfile *pf)
{
	if (!pidfile_open(pf, path, err, sizeof(err)))
		fail_msg("%s", err);
}

static void
pidfile_holds_our_pid_and_is_gone_after(void **state)
{
	struct pidfile pf;
	struct stat st;
	char pid[32];
	mode_t mask;

	(void)state;
	mask = umask(0);
	assert_opens(&pf);
	assert_false(pf.was_stale);
	umask(mask);
	snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	assert_string_equal(read_file(), pid);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_true((fcntl(pf.fd, F_GETFD) & FD_CLOEXEC) != 0);
	pidfile_close(&pf);
	assert_int_equal(pf.fd, -1);
	assert_int_equal(access(path, F_OK), -1);
	pidfile_close(&pf);	/* twice does no harm */
}

static void
pidfile_second_is_refused_and_names_the_first(void **state)
{
	struct pidfile pf;
	char why[128], pid[32];

	(void)state;
	assert_opens(&pf);
	snprintf(why, sizeof(why), "kvproxy is already running (pid %ld)",
	    (long)getpid());
	assert_refused(why);
	snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	assert_string_equal(read_file(), pid);
	pidfile_close(&pf);
	assert_opens(&pf);
	pidfile_close(&pf);
}

/* A process that is not ours: the lock is free, so its pid means nothing. */
static void
pidfile_stale_one_with_a_live_pid_is_taken_over(void **state)
{
	struct pidfile pf;
	char pid[32];
	pid_t foreign = fork();

	(void)state;
	if (foreign == 0) {
		pause();
		_exit(0);
	}
	snprintf(pid, sizeof(pid), "%ld\n", (long)foreign);
	write_file(pid);
	assert_opens(&pf);
	assert_true(pf.was_stale);
	snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	assert_string_equal(read_file(), pid);
	pidfile_close(&pf);
	assert_int_equal(waitpid(foreign, NULL, WNOHANG), 0);
	kill(foreign, SIGKILL);
	assert_int_equal(waitpid(foreign, NULL, 0), foreign);
}

static void
pidfile_a_longer_stale_number_leaves_nothing(void **state)
{
	static const char *const texts[] = {
		"", "\n", "4194304\n", "1234567890", "99\r\n", "7 \n\n"
	};
	struct pidfile pf;
	char pid[32];

	(void)state;
	snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		write_file(texts[i]);
		assert_opens(&pf);
		assert_string_equal(read_file(), pid);
		pidfile_close(&pf);
	}
}

static void
pidfile_other_files_are_left_alone(void **state)
{
	static const char *const texts[] = {
		"root:x:0:0:root:/root:/bin/bash\n", "12 34\n", "-1\n",
		"12345678901\n", "1\n2\n",
		"1                                               \n"
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		write_file(texts[i]);
		assert_refused("holds something else than a pid");
		assert_string_equal(read_file(), texts[i]);
	}
}

static void
pidfile_holder_that_has_not_written_yet_is_not_named(void **state)
{
	int fd;

	(void)state;
	write_file("");
	fd = open(path, O_RDONLY);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_refused("kvproxy is already running, or just starting");
	close(fd);
}

/* The control script looks at the lock with a shared one. */
static void
pidfile_waits_for_who_only_looks(void **state)
{
	struct pidfile pf;
	int ends[2], status;
	char byte;
	pid_t pid;

	(void)state;
	write_file("");
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		int fd = open(path, O_RDONLY);

		if (fd == -1 || flock(fd, LOCK_SH) == -1 ||
		    write(ends[1], "", 1) != 1)
			_exit(1);
		usleep(50 * 1000);
		_exit(0);
	}
	assert_int_equal(read(ends[0], &byte, 1), 1);
	assert_opens(&pf);
	pidfile_close(&pf);
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void
pidfile_links_and_folders_are_refused(void **state)
{
	char target[128];

	(void)state;
	snprintf(target, sizeof(target), "%s/target", folder);
	assert_int_equal(symlink(target, path), 0);
	assert_refused("is a symbolic link");
	assert_int_equal(access(target, F_OK), -1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_refused("is not a regular file");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_refused("Is a directory");
	assert_int_equal(rmdir(path), 0);
}

static void
pidfile_names_a_folder_that_is_missing(void **state)
{
	struct pidfile pf;

	(void)state;
	assert_false(pidfile_open(&pf, "/nowhere/at/all.pid", err,
	    sizeof(err)));
	assert_string_equal(err,
	    "/nowhere/at/all.pid: No such file or directory");
}

/* Somebody removes the file of one that runs: the next one makes its own, and
 * the first leaves that alone. */
static void
pidfile_a_removed_file_is_no_lock(void **state)
{
	struct pidfile first, second;
	char pid[32];

	(void)state;
	assert_opens(&first);
	assert_int_equal(unlink(path), 0);
	assert_opens(&second);
	pidfile_close(&first);
	snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	assert_string_equal(read_file(), pid);
	pidfile_close(&second);
	assert_int_equal(access(path, F_OK), -1);
}

/* The holder ends between our open and our lock. */
static void
pidfile_is_not_fooled_by_a_file_removed_before_the_lock(void **state)
{
	struct pidfile pf;
	char pid[32];

	(void)state;
	write_file("4194304\n");
	remove_before_lock = true;
	assert_opens(&pf);
	assert_false(remove_before_lock);
	snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	assert_string_equal(read_file(), pid);
	pidfile_close(&pf);
}

/* A worker lets go, and the master's lock stays; the master dies, and no
 * worker keeps its lock. */
static void
pidfile_a_childs_forgetting_keeps_the_lock(void **state)
{
	struct pidfile pf;
	int to_child[2], from_child[2], status;
	char byte, why[128];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(to_child), 0);
	assert_int_equal(pipe(from_child), 0);
	assert_opens(&pf);
	pid = fork();
	if (pid == 0) {
		pidfile_forget(&pf);
		if (write(from_child[1], "", 1) != 1)
			_exit(1);
		_exit(read(to_child[0], &byte, 1) == 1 ? 0 : 1);
	}
	assert_int_equal(read(from_child[0], &byte, 1), 1);
	snprintf(why, sizeof(why), "kvproxy is already running (pid %ld)",
	    (long)getpid());
	assert_refused(why);
	close(pf.fd);		/* as death does */
	assert_opens(&pf);
	pidfile_close(&pf);
	assert_int_equal(write(to_child[1], "", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	for (int i = 0; i < 2; i++) {
		close(to_child[i]);
		close(from_child[i]);
	}
}

#define PIDFILE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		PIDFILE_TEST(pidfile_holds_our_pid_and_is_gone_after),
		PIDFILE_TEST(pidfile_second_is_refused_and_names_the_first),
		PIDFILE_TEST(pidfile_stale_one_with_a_live_pid_is_taken_over),
		PIDFILE_TEST(pidfile_a_longer_stale_number_leaves_nothing),
		PIDFILE_TEST(pidfile_other_files_are_left_alone),
		PIDFILE_TEST(
		    pidfile_holder_that_has_not_written_yet_is_not_named),
		PIDFILE_TEST(pidfile_waits_for_who_only_looks),
		PIDFILE_TEST(pidfile_links_and_folders_are_refused),
		PIDFILE_TEST(pidfile_names_a_folder_that_is_missing),
		PIDFILE_TEST(pidfile_a_removed_file_is_no_lock),
		PIDFILE_TEST(
		    pidfile_is_not_fooled_by_a_file_removed_before_the_lock),
		PIDFILE_TEST(pidfile_a_childs_forgetting_keeps_the_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
