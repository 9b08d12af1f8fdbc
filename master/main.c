/*
 * main.c: what the program does, and its way into the background.
 */
#include <sys/resource.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "master/master.h"
#include "master/notify.h"
#include "master/options.h"
#include "master/pidfile.h"
#include "master/show.h"
#include "shared/config.h"
#include "shared/log.h"
#include "worker/extload.h"
#include "worker/worker.h"

static struct {
	char		 prefix[PATH_MAX]; /* the folder above bin/ */
	char		 config_room[2 * PATH_MAX];
	struct options	 options;
	bool		 has_log;
	int		 say_fd;	/* whoever started us reads it */
	int		 ready_fd;	/* the same, in the background; or -1 */
	struct setup	 setup;
	struct user	 user;		/* that workers become */
	FILE		*warnings;	/* for the log, a line each */
	char		*warnings_text;
	size_t		 warnings_len;
} main_state = { .say_fd = STDERR_FILENO, .ready_fd = -1 };

static void	main_say(const char *, ...) PRINTF_LIKE(1, 2);

/* One line to whoever started us, and to the log once it is open. */
static void
main_say(const char *fmt, ...)
{
	char line[CONFIG_ERR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	dprintf(main_state.say_fd, "kvproxy: %s\n", line);
	if (main_state.has_log)
		log_errorx("%s", line);
}

/* What whoever started us had open must not stay open for our life, and what
 * is opened later must not be taken for one of the first three. */
static bool
main_open_std(void)
{
	int fd;

	close_range(STDERR_FILENO + 1, ~0U, 0);
	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd == -1)
		return false;
	close(fd);
	return true;
}

/* The folder above the one that the program is in. */
static bool
main_find_prefix(void)
{
	char *slash;
	ssize_t len;

	len = readlink("/proc/self/exe", main_state.prefix,
	    sizeof(main_state.prefix) - 1);
	if (len <= 0) {
		main_say("/proc/self/exe: %s", strerror(errno));
		return false;
	}
	main_state.prefix[len] = '\0';
	for (int i = 0; i < 2; i++) {
		slash = strrchr(main_state.prefix, '/');
		if (slash != NULL)
			*slash = '\0';
	}
	return true;
}

/* In the background it is read again from another folder. */
static bool
main_find_config(void)
{
	const char *name = main_state.options.config_path;
	const char *folder = main_state.prefix;
	char cwd[PATH_MAX];

	if (name == NULL) {
		name = "etc/kvproxy.ini";
	} else {
		if (name[0] == '/' || !main_state.options.is_background)
			return true;
		folder = getcwd(cwd, sizeof(cwd));
		if (folder == NULL) {
			main_say("%s: %s", name, strerror(errno));
			return false;
		}
	}
	snprintf(main_state.config_room, sizeof(main_state.config_room),
	    "%s/%s", folder, name);
	main_state.options.config_path = main_state.config_room;
	return true;
}

/* --- configuration --- */

static void
main_on_warning(const char *line)
{
	fprintf(main_state.warnings, "%s\n", line);
	if (!main_state.options.is_background ||
	    main_state.options.task == OPTIONS_CHECK)
		fprintf(stderr, "kvproxy: %s\n", line);
}

/* Each connection costs a descriptor: take all that we are given, and see
 * whether that is enough. */
static bool
main_may_serve(const struct config *cfg, char *err)
{
	struct rlimit limit;
	rlim_t most;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		return true;
	most = limit.rlim_cur;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		most = limit.rlim_max;
	return master_check_fds(cfg, (size_t)most, err);
}

static bool
main_find_user(char *err)
{
	const struct config *cfg = main_state.setup.cfg;
	char why[128];

	return user_find(&main_state.user, cfg->user, why, sizeof(why)) ||
	    config_fail_core(cfg, "user", err, "%s", why);
}

/* False: ERR says why. */
static bool
main_load_file(char *err)
{
	struct setup_source from = {
		.path = main_state.options.config_path,
		.prefix = main_state.prefix,
		.warn = main_on_warning,
	};
	bool is_loaded;

	from.snapshot = config_snapshot(from.path, err);
	if (from.snapshot == -1)
		return false;
	is_loaded = setup_load(&main_state.setup, &from, err);
	close(from.snapshot);
	extload_seal();
	return is_loaded && main_find_user(err) &&
	    main_may_serve(main_state.setup.cfg, err);
}

/* Read the configuration and load the extensions that it names. */
static bool
main_load(void)
{
	char err[CONFIG_ERR_MAX] = "out of memory";

	main_state.warnings = open_memstream(&main_state.warnings_text,
	    &main_state.warnings_len);
	if (main_state.warnings != NULL && main_load_file(err))
		return true;
	main_say("%s", err);
	return false;
}

static void
main_unload(void)
{
	setup_free(&main_state.setup);
	if (main_state.warnings != NULL)
		fclose(main_state.warnings);
	free(main_state.warnings_text);
}

/* What -p says; the control script reads it. */
static void
main_print_core(const struct config *cfg)
{
	printf("pid_file = %s\n", cfg->pid_file);
	printf("log_path = %s\n", cfg->log_path);
	printf("ext_path = %s\n", cfg->ext_path);
	printf("shutdown_timeout = %g\n",
	    (double)cfg->shutdown_timeout_ms / 1000);
}

/* What -t says. */
static void
main_print_check(void)
{
	const struct config *cfg = main_state.setup.cfg;

	main_print_core(cfg);
	printf("workers = %u\n", master_count_workers(cfg));
	for (size_t i = 0; i < cfg->n_services; i++) {
		const struct config_service *s = &cfg->services[i];

		printf("service %s: extension %s, group %s, listens on",
		    s->name, s->extension, s->hosts->name);
		for (size_t j = 0; j < s->n_listens; j++)
			printf(" %s", s->listens[j].name);
		putchar('\n');
		for (size_t j = 0; j < s->hosts->n_hosts; j++)
			printf("  host %s, id %u, weight %u\n",
			    s->hosts->hosts[j].name, s->hosts->hosts[j].id,
			    s->hosts->hosts[j].weight);
	}
	printf("%s: ok\n", cfg->path);
}

/* Say where the key goes, of all services or of one.  The exit status. */
static int
main_explain(void)
{
	const struct config *cfg = main_state.setup.cfg;
	const char *only = main_state.options.route_service;
	char err[CONFIG_ERR_MAX];
	bool is_found = false;

	for (size_t i = 0; i < cfg->n_services; i++) {
		const struct config_service *s = &cfg->services[i];

		if (only != NULL && strcasecmp(only, s->name) != 0)
			continue;
		is_found = true;
		if (!explain_route(cfg, s, main_state.options.route_key, stdout,
		    err)) {
			main_say("route: %s", err);
			return 1;
		}
	}
	if (!is_found) {
		main_say("%s: there is no service [%s]", cfg->path, only);
		return 1;
	}
	return 0;
}

/* --- the background --- */

/* The one that was started waits for word from the one that stays: lines for
 * a person, and a NUL when the workers serve. */
static int
main_await(int fd)
{
	bool is_told = false, is_up = false;
	char buf[1024];
	ssize_t n;

	while (!is_up) {
		n = read(fd, buf, sizeof(buf));
		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		is_told = true;
		is_up = buf[n - 1] == '\0';
		fwrite(buf, 1, (size_t)n - is_up, stderr);
	}
	if (!is_told)
		main_say("died while it started, see %s",
		    main_state.setup.cfg->log_path);
	return is_up ? 0 : 1;
}

/* Leave the terminal, the folder and whoever reads our output. */
static bool
main_detach(void)
{
	int fd;

	if (setsid() == -1 || chdir("/") == -1)
		return false;
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd == -1)
		return false;
	for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
		if (dup2(fd, i) == -1)
			return false;
	if (fd > STDERR_FILENO)
		close(fd);
	return true;
}

/* Fork; true in the child, which is to go on.  False: *STATUS is the exit
 * status of the one that was started. */
static bool
main_go_background(int *status)
{
	int ends[2];
	pid_t pid;

	*status = 1;
	if (pipe2(ends, O_CLOEXEC) == -1) {
		main_say("pipe: %s", strerror(errno));
		return false;
	}
	pid = fork();
	if (pid == -1)
		main_say("fork: %s", strerror(errno));
	if (pid != 0) {
		close(ends[1]);
		if (pid != -1)
			*status = main_await(ends[0]);
		close(ends[0]);
		return false;
	}
	close(ends[0]);
	main_state.say_fd = main_state.ready_fd = ends[1];
	if (!main_detach()) {
		main_say("cannot go into the background: %s",
		    strerror(errno));
		return false;
	}
	return true;
}

/* The workers serve: let go of whoever started us.  Where that one was stopped
 * meanwhile, so are we. */
static void
main_report_ready(void)
{
	notify_ready();
	if (main_state.ready_fd == -1)
		return;
	if (write(main_state.ready_fd, "", 1) != 1) {
		log_warn("cannot report to whoever started us");
		raise(SIGTERM);
	}
	close(main_state.ready_fd);
	main_state.ready_fd = -1;
	main_state.say_fd = STDERR_FILENO;
}

/* --- running --- */

static bool
main_open_log(void)
{
	char *line, *rest;

	if (log_open(main_state.setup.cfg->log_path) == -1) {
		main_say("%s: %s", main_state.setup.cfg->log_path,
		    strerror(errno));
		return false;
	}
	main_state.has_log = true;
	log_set_level((enum log_level)main_state.setup.cfg->log_level);
	log_info("kvproxy %s starts with %s", KVPROXY_VERSION,
	    main_state.setup.cfg->path);
	fflush(main_state.warnings);
	rest = main_state.warnings_text;
	while ((line = strsep(&rest, "\n")) != NULL)
		if (*line != '\0')
			log_warnx("%s", line);
	return true;
}

/* The lock is held.  The exit status. */
static int
main_serve(struct pidfile *lock)
{
	const struct master_birth birth = {
		.lock = lock,
		.ready_fd = main_state.ready_fd,
		.prefix = main_state.prefix,
		.user = &main_state.user,
		.may_serve = main_may_serve,
	};
	char err[CONFIG_ERR_MAX];
	struct master *m;

	if (!main_open_log())
		return 1;
	m = master_new(&birth, &main_state.setup, err, sizeof(err));
	if (m == NULL) {
		main_say("%s", err);
		return 1;
	}
	if (master_is_serving(m))
		main_report_ready();
	else
		main_say("told to stop while starting");
	master_run(m);
	master_free(&m);
	return 0;
}

static int
main_run(void)
{
	char err[CONFIG_ERR_MAX];
	struct pidfile lock;
	char *pid_file;
	sigset_t all;
	int status;

	if (main_state.options.is_background && !main_go_background(&status))
		return status;
	/* Until the master can obey, they wait: a stop now would leave a pid
	 * file behind. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	/* It outlives the configuration. */
	pid_file = strdup(main_state.setup.cfg->pid_file);
	if (pid_file == NULL || !pidfile_open(&lock, pid_file, err,
	    sizeof(err))) {
		main_say("%s", pid_file == NULL ? "out of memory" : err);
		free(pid_file);
		return 1;
	}
	status = main_serve(&lock);
	pidfile_close(&lock);
	free(pid_file);
	log_close();
	return status;
}

/* -p */
static int
main_print_paths(void)
{
	struct config *cfg = config_load_core(main_state.options.config_path,
	    main_state.prefix);

	if (cfg == NULL) {
		main_say("out of memory");
		return 1;
	}
	main_print_core(cfg);
	config_free(&cfg);
	return 0;
}

/* status: the file only says where the pid file is. */
static int
main_status(void)
{
	struct config *cfg = config_load_core(main_state.options.config_path,
	    main_state.prefix);
	char err[CONFIG_ERR_MAX] = "out of memory";
	enum show_result result = SHOW_TROUBLE;

	if (cfg != NULL)
		result = show_status(cfg->pid_file,
		    main_state.options.is_json, err, sizeof(err));
	if (result != SHOW_DONE)
		main_say("%s", err);
	config_free(&cfg);
	return (int)result;
}

/* -t */
static int
main_check(void)
{
	if (!main_load())
		return 1;
	main_print_check();
	return 0;
}

int
main(int argc, char **argv)
{
	int status;

	if (!main_open_std())
		return 1;
	if (!options_parse(&main_state.options, argc, argv, &status))
		return status;
	if (!main_find_prefix() || !main_find_config())
		return 1;
	switch (main_state.options.task) {
	case OPTIONS_SERVE:
		status = main_load() ? main_run() : 1;
		break;
	case OPTIONS_CHECK:
		status = main_check();
		break;
	case OPTIONS_PATHS:
		status = main_print_paths();
		break;
	case OPTIONS_STATUS:
		status = main_status();
		break;
	case OPTIONS_ROUTE:
		status = main_load() ? main_explain() : 1;
		break;
	}
	main_unload();
	return status;
}
