/*
 * test_log.c: whole lines, no matter what, and never a wait.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shared/log.h"

static char folder[64];
static char path[96];

static int
set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/test_log.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/log", folder);
	log_set_level(LOG_WARN);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	log_close();
	unlink(path);
	return rmdir(folder);
}

/* All that the log holds, NUL-terminated. */
static const char *
read_log(void)
{
	static char text[65536];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	assert_int_not_equal(fd, -1);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	assert_true(n >= 0);
	text[n] = '\0';
	return text;
}

/* What stands behind "level: " in the only line of the log. */
static const char *
only_text(const char *level)
{
	static char text[65536];
	char head[32];
	const char *all = read_log(), *p;

	snprintf(head, sizeof(head), " %s: ", level);
	p = strstr(all, head);
	assert_non_null(p);
	snprintf(text, sizeof(text), "%s", p + strlen(head));
	assert_true(strchr(text, '\n') == text + strlen(text) - 1);
	text[strlen(text) - 1] = '\0';
	return text;
}

static void
log_writes_time_pid_level_and_text(void **state)
{
	char pattern[256];
	regex_t re;

	(void)state;
	assert_int_equal(log_open(path), 0);
	log_warnx("c%d %s", 12, "gone");
	snprintf(pattern, sizeof(pattern), "^[0-9]{4}-[0-9]{2}-[0-9]{2} "
	    "[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3} %ld warn: c12 gone\n$",
	    (long)getpid());
	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	assert_int_equal(regexec(&re, read_log(), 0, NULL, 0), 0);
	regfree(&re);
}

static void
log_adds_the_reason_and_keeps_errno(void **state)
{
	(void)state;
	assert_int_equal(log_open(path), 0);
	errno = ENOENT;
	log_error("cannot %s", "see");
	assert_int_equal(errno, ENOENT);
	assert_string_equal(only_text("error"),
	    "cannot see: No such file or directory");
}

static void
log_keeps_errno_when_it_writes_nothing(void **state)
{
	(void)state;
	assert_int_equal(log_open("/dev/full"), 0);
	errno = EPIPE;
	log_debug("not wanted");
	assert_int_equal(errno, EPIPE);
	log_warnx("not possible");
	assert_int_equal(errno, EPIPE);
}

static void
log_leaves_out_what_the_level_does_not_want(void **state)
{
	(void)state;
	assert_int_equal(log_open(path), 0);
	log_info("no");
	log_debug("no");
	assert_string_equal(read_log(), "");
	assert_true(log_wants(LOG_WARN));
	assert_false(log_wants(LOG_INFO));
	log_set_level(LOG_INFO);
	log_debug("no");
	log_info("yes");
	assert_string_equal(only_text("info"), "yes");
}

static void
log_cuts_a_long_line_and_says_so(void **state)
{
	char text[5000];
	const char *line;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(log_open(path), 0);
	errno = ENOENT;
	log_warn("%s", text);
	line = only_text("warn");
	assert_true(strlen(line) > 1900 && strlen(line) < 2048);
	assert_string_equal(line + strlen(line) - 4, "x...");
	assert_int_equal(strlen(read_log()), 2046);
}

static void
log_makes_one_line_of_an_event_whatever_it_holds(void **state)
{
	(void)state;
	assert_int_equal(log_open(path), 0);
	log_warnx("%s", "a\r\n2026-11-22 fatal: b\x1b[2J");
	assert_string_equal(only_text("warn"),
	    "a??2026-11-22 fatal: b?[2J");
}

static void
log_appends_and_makes_a_file_for_owner_and_group(void **state)
{
	struct stat st;
	mode_t mask = umask(0);

	(void)state;
	assert_int_equal(log_open(path), 0);
	umask(mask);
	log_warnx("one");
	assert_int_equal(log_open(path), 0);
	log_warnx("two");
	assert_non_null(strstr(read_log(), "one\n"));
	assert_non_null(strstr(read_log(), "two\n"));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void
log_stays_where_it_was_when_the_new_file_fails(void **state)
{
	(void)state;
	assert_int_equal(log_open(path), 0);
	assert_int_equal(log_open("/nonexistent/log"), -1);
	assert_int_equal(errno, ENOENT);
	log_warnx("still here");
	assert_string_equal(only_text("warn"), "still here");
}

/* Row P14. */
static void
log_drops_and_counts_when_the_disk_is_full(void **state)
{
	uint64_t before = log_dropped();

	(void)state;
	assert_int_equal(log_open("/dev/full"), 0);
	log_warnx("one");
	log_warnx("two");
	assert_int_equal(log_dropped() - before, 2);
}

static void
log_ends_a_torn_line_before_the_next(void **state)
{
	struct rlimit old, tight;
	uint64_t before = log_dropped();
	const char *text;

	(void)state;
	assert_int_equal(log_open(path), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, SIG_IGN);
	tight = old;
	tight.rlim_cur = 30;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	log_warnx("this line is cut by a full disk");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, SIG_DFL);
	assert_int_equal(log_dropped() - before, 1);
	log_warnx("whole");
	text = read_log();
	assert_int_equal(text[30], '\n');
	assert_non_null(strstr(text + 31, " warn: whole\n"));
}

/* Row P14. */
static void
log_never_waits_for_the_reader_of_a_fifo(void **state)
{
	uint64_t before = log_dropped();
	char line[8192];
	int fd;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	alarm(10);
	assert_int_equal(log_open(path), 0);
	for (unsigned i = 0; i < 5000; i++)
		log_warnx("line %u", i);
	alarm(0);
	/* The pipe took some, the rest is counted. */
	assert_true(log_dropped() - before > 0);
	assert_true(log_dropped() - before < 5000);
	fd = open(path, O_RDONLY | O_NONBLOCK);
	assert_int_not_equal(fd, -1);
	assert_true(read(fd, line, sizeof(line)) > 0);
	close(fd);
	/* The reader has gone: no SIGPIPE. */
	log_warnx("and on");
}

static void
log_counts_dropped_lines_a_process(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(log_open("/dev/full"), 0);
	log_warnx("lost by the parent");
	assert_true(log_dropped() > 0);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		if (log_dropped() != 0)
			_exit(1);
		log_warnx("lost by the child");
		_exit(log_dropped() == 1 ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void
log_is_inherited_by_a_fork_but_not_by_a_program(void **state)
{
	int fd, status, n_inherited = 0;
	pid_t pid;

	(void)state;
	assert_int_equal(log_open(path), 0);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		log_warnx("from the child");
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_string_equal(only_text("warn"), "from the child");
	for (fd = 3; fd < 64; fd++) {
		struct stat a, b;

		if (fstat(fd, &a) == 0 && stat(path, &b) == 0 &&
		    a.st_ino == b.st_ino && a.st_dev == b.st_dev &&
		    (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0)
			n_inherited++;
	}
	assert_int_equal(n_inherited, 0);
}

static void
log_fatal_says_it_and_exits_1(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(log_open(path), 0);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		/* No atexit handlers of the test's. */
		log_set_level(LOG_FATAL);
		log_fatalx("no way");
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	assert_string_equal(only_text("fatal"), "no way");
}

static void
log_says_which_assertion_failed(void **state)
{
	const struct rlimit no_core = { 0, 0 };
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(log_open(path), 0);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL);
		ASSERT(folder[0] == 'x');
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(only_text("fatal"), "folder[0] == 'x'"));
	assert_non_null(strstr(read_log(), "test_log.c"));
}

static void
log_gate_passes_one_a_second_and_counts_the_rest(void **state)
{
	struct log_gate gate = { 0 };
	unsigned held = 99, stopped = 0;

	(void)state;
	assert_true(log_gate_pass(&gate, &held));
	assert_int_equal(held, 0);
	/* Until it opens again, everything is held back. */
	while (!log_gate_pass(&gate, &held))
		stopped++;
	assert_int_equal(held, stopped);
	assert_int_equal(gate.held, 0);
}

static void
log_escape_shows_bytes_and_never_passes_the_end(void **state)
{
	static const struct {
		const char *in;
		size_t	 len, size;
		const char *out;
	} table[] = {
		{ "abc", 3, 16, "abc" },
		{ "abc", 3, 4, "abc" },
		{ "a\0b", 3, 16, "a\\x00b" },
		{ "\r\n", 2, 16, "\\x0d\\x0a" },
		{ "\xff ", 2, 16, "\\xff\\x20" },
		{ "a\\x", 3, 16, "a\\x5cx" },
		{ "abcdefgh", 8, 8, "abcd..." },
		{ "abcdefgh", 8, 9, "abcdefgh" },
		{ "\1\2", 2, 8, "\\x01..." },
		{ "\1\2", 2, 7, "..." },
		{ "\1\2", 2, 9, "\\x01\\x02" },
		{ "abcd", 4, 4, "..." },
		{ "abcd", 4, 3, "" },
		{ "abcd", 4, 1, "" },
		{ "", 0, 1, "" },
	};
	char dst[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		memset(dst, '!', sizeof(dst));
		assert_ptr_equal(log_escape(dst, table[i].size, table[i].in,
		    table[i].len), dst);
		assert_string_equal(dst, table[i].out);
		for (size_t j = table[i].size; j < sizeof(dst); j++)
			assert_int_equal(dst[j], '!');
	}
	dst[0] = '!';
	log_escape(dst, 0, "abc", 3);
	assert_int_equal(dst[0], '!');
}

#define LOG_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(log_writes_time_pid_level_and_text),
		LOG_TEST(log_adds_the_reason_and_keeps_errno),
		LOG_TEST(log_keeps_errno_when_it_writes_nothing),
		LOG_TEST(log_leaves_out_what_the_level_does_not_want),
		LOG_TEST(log_cuts_a_long_line_and_says_so),
		LOG_TEST(log_makes_one_line_of_an_event_whatever_it_holds),
		LOG_TEST(log_appends_and_makes_a_file_for_owner_and_group),
		LOG_TEST(log_stays_where_it_was_when_the_new_file_fails),
		LOG_TEST(log_drops_and_counts_when_the_disk_is_full),
		LOG_TEST(log_ends_a_torn_line_before_the_next),
		LOG_TEST(log_never_waits_for_the_reader_of_a_fifo),
		LOG_TEST(log_counts_dropped_lines_a_process),
		LOG_TEST(log_is_inherited_by_a_fork_but_not_by_a_program),
		LOG_TEST(log_fatal_says_it_and_exits_1),
		LOG_TEST(log_says_which_assertion_failed),
		LOG_TEST(log_gate_passes_one_a_second_and_counts_the_rest),
		LOG_TEST(log_escape_shows_bytes_and_never_passes_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
