/*
 * test_config.c: what a file says, and each way in which it can be wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <sys/wait.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shared/config.h"

#define NOBODY	65534

/* The rest of a file that is right. */
#define SERVICE	"[s]\nextension=x.so\nhosts=g\n"
#define GROUP	"[g]\n127.0.0.1:1=\"1:50\"\n"
#define REST	SERVICE GROUP

static char folder[64];
static char path[96];
static char err[CONFIG_ERR_MAX];
static char warnings[8192];

static const struct config_option ext_options[] = {
	{ "proto", CONFIG_ENUM, CONFIG_INERT, "text", 0, 0, "text|binary",
	    "does nothing" },
	{ "width", CONFIG_INT, CONFIG_RESTART, "7", 1, 9, NULL, "a number" },
	{ "motto", CONFIG_STR, CONFIG_LATER, NULL, 1, 9, NULL, "a word" },
};

static int
set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/test_config.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/k.ini", folder);
	err[0] = warnings[0] = '\0';
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
put_bytes(const void *p, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, p, len), len);
	close(fd);
}

static struct config *
load(const char *text)
{
	struct config *cfg;

	put_bytes(text, strlen(text));
	cfg = config_load(path, "/prefix", err);
	if (cfg == NULL)
		print_message("# %s\n", err);
	return cfg;
}

static void
on_warning(const char *line)
{
	strcat(warnings, line);
	strcat(warnings, "\n");
}

/* Claim and finish as if every service had the extension of ext_options. */
static bool
claim_and_finish(struct config *cfg)
{
	for (size_t i = 0; i < cfg->n_services; i++)
		if (!config_claim(cfg, &cfg->services[i], ext_options,
		    ARRAY_LEN(ext_options), err))
			return false;
	return config_finish(cfg, on_warning, err);
}

/* ERR must be PATH followed by WANT. */
static void
check_err(const char *want)
{
	char line[CONFIG_ERR_MAX];

	snprintf(line, sizeof(line), "%s%s", path, want);
	assert_string_equal(err, line);
	assert_null(strchr(err, '\n'));
}

/* A file of LEN bytes that is refused, by load, claim or finish, with WANT. */
static void
check_bytes_refused(const void *p, size_t len, const char *want)
{
	struct config *cfg;

	put_bytes(p, len);
	snprintf(err, sizeof(err), "accepted");
	cfg = config_load(path, "/prefix", err);
	if (cfg != NULL && !claim_and_finish(cfg))
		config_free(&cfg);
	config_free(&cfg);
	check_err(want);
}

struct refusal {
	const char	*text;
	const char	*want;
};

static void
check_refusals(const struct refusal *table, size_t n)
{
	for (size_t i = 0; i < n; i++)
		check_bytes_refused(table[i].text, strlen(table[i].text),
		    table[i].want);
}

static void
config_has_the_defaults_of_the_original(void **state)
{
	struct config *cfg = load(REST);
	const struct config_service *s;

	(void)state;
	assert_non_null(cfg);
	assert_int_equal(cfg->thread_count, 2);
	assert_true(cfg->cpu_affinity);
	assert_string_equal(cfg->log_path, "/prefix/log/kvproxy.log");
	assert_int_equal(cfg->log_level, 2);
	assert_string_equal(cfg->ext_path, "/prefix/ext");
	assert_string_equal(cfg->pid_file, "/prefix/log/kvproxy.pid");
	assert_int_equal(cfg->shutdown_timeout_ms, 3000);
	assert_int_equal(cfg->max_connections, 0);
	assert_null(cfg->user);
	assert_null(cfg->metrics);
	assert_int_equal(cfg->n_services, 1);
	s = &cfg->services[0];
	assert_int_equal(s->port, 55669);
	assert_null(s->listen);
	assert_int_equal(s->backlog, 10000);
	assert_int_equal(s->recv_timeout_ms, 100);
	assert_int_equal(s->connect_timeout_ms, 1000);
	assert_int_equal(s->idle_timeout_ms, 0);
	assert_int_equal(s->server_connections, 2);
	assert_int_equal(s->max_packet, 1024 * 1024);
	assert_int_equal(s->client_window, 256);
	assert_int_equal(s->distribution, DISTRIBUTION_KETAMA);
	assert_int_equal(s->hash, HASH_MD5);
	assert_null(s->hash_tag);
	assert_int_equal(s->failover, 0);
	assert_int_equal(s->failover_threshold, 2);
	assert_int_equal(s->failover_interval_ms, 2000);
	assert_int_equal(s->failover_ttl_ms, 60000);
	assert_int_equal(s->rejoin, 0);
	assert_int_equal(s->read_failure, READ_FAILURE_ERROR);
	assert_true(s->allow_flush);
	assert_int_equal(s->async_size, 50000);
	assert_true(s->async_bytes == INT64_C(64) << 20);
	assert_int_equal(s->async_timeout_ms, 10000);
	assert_null(s->sync_str);
	assert_null(s->hosts_backup_name);
	assert_null(s->hosts_read_name);
	config_free(&cfg);
	assert_null(cfg);
}

static void
config_defaults_are_values_that_a_file_may_have(void **state)
{
	const struct config_option *tables[2];
	char text[512];
	struct config *cfg;
	size_t n[2];

	(void)state;
	tables[0] = config_core_options(&n[0]);
	tables[1] = config_service_options(&n[1]);
	assert_true(n[0] > 5 && n[1] > 20);
	for (size_t t = 0; t < 2; t++)
		for (size_t i = 0; i < n[t]; i++) {
			if (tables[t][i].def == NULL)
				continue;
			snprintf(text, sizeof(text), "[kvproxy]\n%s=%s\n" REST,
			    tables[t][i].key, tables[t][i].def);
			cfg = load(text);
			assert_non_null(cfg);
			config_free(&cfg);
		}
}

static void
config_refuses_every_option_out_of_its_range(void **state)
{
	const struct config_option *tables[2];
	char text[512], key[64];
	size_t n[2];

	(void)state;
	tables[0] = config_core_options(&n[0]);
	tables[1] = config_service_options(&n[1]);
	for (size_t t = 0; t < 2; t++)
		for (size_t i = 0; i < n[t]; i++) {
			const struct config_option *o = &tables[t][i];
			const double past[] = { o->least - 1, o->most + 1 };

			if (o->type == CONFIG_STR)
				continue;
			snprintf(key, sizeof(key), ":2: [kvproxy] %s: ",
			    o->key);
			for (size_t j = 0; j < 2; j++) {
				snprintf(text, sizeof(text),
				    "[kvproxy]\n%s=%.0f\n" REST, o->key,
				    past[j]);
				put_bytes(text, strlen(text));
				assert_null(config_load(path, "/p", err));
				assert_non_null(strstr(err, key));
			}
		}
}

/* The original's sample, as its users have it. */
static const char *
sample_path(void)
{
	static char sample[4096];
	const char *top = getenv("KVPROXY_SOURCE");

	snprintf(sample, sizeof(sample), "%s/t/original-kvproxy.ini",
	    top != NULL ? top : ".");
	return sample;
}

static void
config_loads_the_sample_of_the_original(void **state)
{
	struct config *cfg = config_load(sample_path(), "/prefix", err);
	const struct config_service *s;

	(void)state;
	assert_non_null(cfg);
	assert_true(claim_and_finish(cfg));
	s = &cfg->services[0];
	assert_int_equal(cfg->n_services, 1);
	assert_string_equal(s->name, "memcached");
	assert_int_equal(s->port, 55669);
	assert_string_equal(s->extension, "memcached.so");
	assert_string_equal(s->sync_str, "+");
	assert_int_equal(s->ext_values[0].num, 1);
	assert_string_equal(s->hosts->name, "master");
	assert_int_equal(s->hosts->hosts[0].id, 1);
	assert_int_equal(s->hosts->hosts[0].weight, 50);
	assert_int_equal(cfg->n_groups, 2);
	assert_true(cfg->groups[0].used);
	assert_string_equal(cfg->groups[1].name, "read");
	assert_false(cfg->groups[1].used);
	/* A group that nobody names has no address of ours. */
	assert_int_equal(cfg->n_addrs, 1);
	assert_string_equal(cfg->addrs[0].name, "127.0.0.1:11211");
	/* It names the group of hosts, so nothing is split. */
	assert_null(s->read);
	assert_null(s->backup);
	assert_string_equal(warnings, "");
	config_free(&cfg);
}

/* Row F2. */
static void
config_refuses_what_is_no_file_to_read(void **state)
{
	static char big[1024 * 1024 + 1];
	char dir[128];

	(void)state;
	assert_null(config_load(path, "/prefix", err));
	check_err(": No such file or directory");

	snprintf(dir, sizeof(dir), "%s: is a directory", folder);
	assert_null(config_load(folder, "/prefix", err));
	assert_string_equal(err, dir);

	assert_int_equal(mkfifo(path, 0600), 0);
	alarm(10);
	assert_null(config_load(path, "/prefix", err));
	alarm(0);
	check_err(": is not a regular file");
	unlink(path);

	assert_null(config_load("/dev/null", "/prefix", err));
	assert_string_equal(err, "/dev/null: is not a regular file");

	memset(big, '\n', sizeof(big));
	check_bytes_refused(big, sizeof(big), ": is longer than 1 MiB");
	check_bytes_refused(big, sizeof(big) - 1,
	    ": no service: no section has extension=");
}

/* Row F2. */
static void
config_refuses_an_unreadable_file(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	put_bytes(REST, strlen(REST));
	assert_int_equal(chmod(path, 0), 0);
	assert_int_equal(chmod(folder, 0755), 0);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		if (geteuid() == 0 && setuid(NOBODY) == -1)
			_exit(1);
		if (config_load(path, "/prefix", err) != NULL)
			_exit(2);
		_exit(strstr(err, "k.ini: Permission denied") != NULL ? 0 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Row F1. */
static void
config_refuses_a_line_that_is_no_line(void **state)
{
	static const struct refusal table[] = {
		{ "", ": no service: no section has extension=" },
		{ "[kvproxy]\nport\n" REST,
		    ":2: neither [section], key = value nor a comment" },
		{ "[kvproxy]\n=1\n" REST, ":2: no key before the \"=\"" },
		{ "port=1\n" REST, ":1: a key before any section" },
		{ "[kvproxy\nport=1\n" REST, ":1: no closing bracket" },
		{ "[kvproxy] port=1\n" REST,
		    ":1: text after a section's name" },
		{ "[]\n" REST, ":1: a section without a name" },
		{ "[  ]\n" REST, ":1: a section without a name" },
		{ "[kvproxy]\nport=\"1\n" REST,
		    ":2: [kvproxy] port: has no closing quote" },
		{ "[kvproxy]\nport='1\n" REST,
		    ":2: [kvproxy] port: has no closing quote" },
		{ "[kvproxy]\nport=\"1\"2\n" REST,
		    ":2: [kvproxy] port: has text after the closing quote" },
		{ "[kvproxy]\nlog_path=/a \\\n" REST,
		    ":2: [kvproxy] log_path: ends in a backslash: a value "
		    "cannot go on in the next line" },
		{ "[kvproxy]\npo\x01rt=1\n" REST, ":2: a control character" },
		{ "[kvproxy]\rport=1\r" REST, ":1: a control character" },
		{ "[kvproxy]\nlog_path=\"/a\"\\\n" REST,
		    ":2: [kvproxy] log_path: has text after the closing "
		    "quote" },
		{ "[kvproxy]\nlog_path=/a;b\n" REST,
		    ":2: [kvproxy] log_path: must stand in quotes: a comment "
		    "needs a blank before it" },
		{ SERVICE "sync_str=a# ;\n" GROUP,
		    ":4: [s] sync_str: must stand in quotes: a comment "
		    "needs a blank before it" },
		{ "[kvproxy]\nlog_path=#a b\n" REST,
		    ":2: [kvproxy] log_path: must stand in quotes" },
	};
	static const char nul[] = "[kvproxy]\n; a\0b\n" REST;

	(void)state;
	check_refusals(table, ARRAY_LEN(table));
	check_bytes_refused(nul, sizeof(nul) - 1, ":2: a NUL byte");
}

static void
config_takes_lines_of_1000_bytes_and_no_more(void **state)
{
	char text[1200];
	struct config *cfg;

	(void)state;
	memset(text, ';', 1001);
	strcpy(text + 1001, "\n" REST);
	check_bytes_refused(text, strlen(text), ":1: longer than 1000 bytes");
	memset(text, ';', 1000);
	strcpy(text + 1000, "\r\n" REST);
	cfg = load(text);
	assert_non_null(cfg);
	config_free(&cfg);
	/* A value as long as it can be reaches us whole. */
	strcpy(text, "[kvproxy]\nlog_path=/");
	memset(text + strlen(text), 'a', 889);
	strcpy(text + 10 + 10 + 889, "\n" REST);
	cfg = load(text);
	assert_non_null(cfg);
	assert_int_equal(strlen(cfg->log_path), 890);
	config_free(&cfg);
}

/* Row F7. */
static void
config_names_line_section_and_key_of_a_bad_value(void **state)
{
	static const struct refusal table[] = {
		{ "[kvproxy]\n\nport=0\n" REST,
		    ":3: [kvproxy] port: \"0\" is not a whole number from 1 "
		    "to 65535" },
		{ "[kvproxy]\nport=65536\n" REST,
		    ":2: [kvproxy] port: \"65536\" is not a whole number from "
		    "1 to 65535" },
		{ "[kvproxy]\nport=\n" REST,
		    ":2: [kvproxy] port: \"\" is not a whole number from 1 to "
		    "65535" },
		{ "[kvproxy]\nport=0x50\n" REST,
		    ":2: [kvproxy] port: \"0x50\" is not a whole number from "
		    "1 to 65535" },
		{ "[kvproxy]\nport=80 81\n" REST,
		    ":2: [kvproxy] port: \"80 81\" is not a whole number from "
		    "1 to 65535" },
		{ "[kvproxy]\nport=+80\n" REST,
		    ":2: [kvproxy] port: \"+80\" is not a whole number from 1 "
		    "to 65535" },
		{ "[kvproxy]\nrecv_timeout=-1\n" REST,
		    ":2: [kvproxy] recv_timeout: \"-1\" is not a whole number "
		    "of milliseconds from 1 to 3600000" },
		{ "[kvproxy]\nrecv_timeout=100ms\n" REST,
		    ":2: [kvproxy] recv_timeout: \"100ms\" is not a whole "
		    "number of milliseconds from 1 to 3600000" },
		{ "[kvproxy]\nrecv_timeout=0.5\n" REST,
		    ":2: [kvproxy] recv_timeout: \"0.5\" is not a whole "
		    "number of milliseconds from 1 to 3600000" },
		{ "[kvproxy]\nrecv_timeout=4294967396\n" REST,
		    ":2: [kvproxy] recv_timeout: \"4294967396\" is not a "
		    "whole number of milliseconds from 1 to 3600000" },
		{ "[kvproxy]\nrecv_timeout=18446744073709551716\n" REST,
		    ":2: [kvproxy] recv_timeout: \"18446744073709551716\" is "
		    "not a whole number of milliseconds from 1 to 3600000" },
		{ "[kvproxy]\nshutdown_timeout=3s\n" REST,
		    ":2: [kvproxy] shutdown_timeout: \"3s\" is not a number "
		    "of seconds from 0 to 3600 with up to 3 decimals" },
		{ "[kvproxy]\nshutdown_timeout=1e3\n" REST,
		    ":2: [kvproxy] shutdown_timeout: \"1e3\" is not a number "
		    "of seconds from 0 to 3600 with up to 3 decimals" },
		{ "[kvproxy]\nshutdown_timeout=0.0001\n" REST,
		    ":2: [kvproxy] shutdown_timeout: \"0.0001\" is not a "
		    "number of seconds from 0 to 3600 with up to 3 decimals" },
		{ "[kvproxy]\nshutdown_timeout=3600.001\n" REST,
		    ":2: [kvproxy] shutdown_timeout: \"3600.001\" is not a "
		    "number of seconds from 0 to 3600 with up to 3 decimals" },
		{ "[kvproxy]\nshutdown_timeout=.\n" REST,
		    ":2: [kvproxy] shutdown_timeout: \".\" is not a number "
		    "of seconds from 0 to 3600 with up to 3 decimals" },
		{ "[kvproxy]\nfailover_interval=0\n" REST,
		    ":2: [kvproxy] failover_interval: \"0\" is not a number "
		    "of seconds from 0.01 to 86400 with up to 3 decimals" },
		{ "[kvproxy]\nfailover_interval=inf\n" REST,
		    ":2: [kvproxy] failover_interval: \"inf\" is not a number "
		    "of seconds from 0.01 to 86400 with up to 3 decimals" },
		{ "[kvproxy]\nmax_packet=1M\n" REST,
		    ":2: [kvproxy] max_packet: \"1M\" is not a whole number "
		    "of MiB from 1 to 1024" },
		{ "[kvproxy]\ncpu_affinity=maybe\n" REST,
		    ":2: [kvproxy] cpu_affinity: \"maybe\" is not one of "
		    "off|on" },
		{ "[kvproxy]\nlog_level=warning\n" REST,
		    ":2: [kvproxy] log_level: \"warning\" is not one of "
		    "fatal|error|warn|info|debug" },
		{ "[kvproxy]\nlog_level=war\n" REST,
		    ":2: [kvproxy] log_level: \"war\" is not one of "
		    "fatal|error|warn|info|debug" },
		{ "[kvproxy]\nlog_path=\n" REST,
		    ":2: [kvproxy] log_path: has no value" },
		{ "[kvproxy]\nhash_tag={\n" REST,
		    ":2: [kvproxy] hash_tag: must have 2 bytes, not 1" },
		{ SERVICE "metrics=1\n" GROUP,
		    ":4: [s] metrics: stands in [kvproxy] only" },
		{ SERVICE "port=x\n" GROUP,
		    ":4: [s] port: \"x\" is not a whole number from 1 to "
		    "65535" },
		{ "[kvproxy]\nport=x\n" SERVICE "port=1\n" GROUP,
		    ":2: [kvproxy] port: \"x\" is not a whole number from 1 "
		    "to 65535" },
	};

	(void)state;
	check_refusals(table, ARRAY_LEN(table));
}

/* Row F7. */
static void
config_refuses_what_it_does_not_know(void **state)
{
	static const struct refusal table[] = {
		{ "[kvproxy]\nprot=1\n" REST,
		    ":2: [kvproxy] prot: unknown option" },
		{ "[kvproxy]\nproto=text\n" REST,
		    ":2: [kvproxy] proto: unknown option" },
		{ SERVICE "Prot=1\n" GROUP, ":4: [s] Prot: unknown option" },
		{ SERVICE "proto=ascii\n" GROUP,
		    ":4: [s] proto: \"ascii\" is not one of text|binary" },
		{ SERVICE "width=10\n" GROUP,
		    ":4: [s] width: \"10\" is not a whole number from 1 to "
		    "9" },
		{ "[kvproxy]\nextension=x.so\n" REST, ":2: [kvproxy] "
		    "extension: stands in a service's own section only" },
		{ REST "[typo]\nhost=g\n", ":6: [typo]: neither a service, "
		    "which has extension=, nor a group, which has "
		    "addresses" },
		{ REST "[mixed]\n127.0.0.1:2=\"1:1\"\nport=1\n",
		    ":6: [mixed]: neither a service, which has extension=, "
		    "nor a group, which has addresses" },
	};

	(void)state;
	check_refusals(table, ARRAY_LEN(table));
}

/* What runs must be found whatever has become of its file. */
static void
config_core_is_read_from_a_file_that_is_wrong(void **state)
{
#define PID	"pid_file=/a/b.pid\n"
	static const char *const files[] = {
		"[kvproxy]\n" PID,
		"[kvproxy]\n" PID REST "nobody.invalid:1=\"2:1\"\n",
		"port=1\nwhat\n[KVProxy]\n" PID "[s\nhosts=g\n",
		"[kvproxy]\nport\n=1\nthread_count=x\nuser=\"\n" PID,
		"[kvproxy]\nwhat=1\nextension=x.so\n" PID "[kvproxy]\n",
		"[kvproxy]\nport=1\x01\n" PID "port=1\nport=2\n",
		"[kvproxy]\r\nPID_FILE = '/a/b.pid' ; ours\r\n[g]\r\n",
		"[kvproxy]\n" PID "pid_file=/c/d.pid\n",
	};
	struct config *cfg;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		put_bytes(files[i], strlen(files[i]));
		cfg = config_load_core(path, "/prefix");
		assert_non_null(cfg);
		assert_string_equal(cfg->pid_file, "/a/b.pid");
		assert_string_equal(cfg->log_path, "/prefix/log/kvproxy.log");
		assert_int_equal(cfg->thread_count, 2);
		config_free(&cfg);
	}
	unlink(path);
	cfg = config_load_core(path, "/prefix");
	assert_non_null(cfg);
	assert_string_equal(cfg->pid_file, "/prefix/log/kvproxy.pid");
	config_free(&cfg);
#undef PID
}

/* Row F4. */
static void
config_refuses_what_stands_twice(void **state)
{
	static const struct refusal table[] = {
		{ "[kvproxy]\nport=1\n\nport=1\n" REST,
		    ":4: [kvproxy] port: stands in line 2 already" },
		{ "[kvproxy]\nport=1\nPORT=2\n" REST,
		    ":3: [kvproxy] PORT: stands in line 2 already" },
		{ SERVICE "hosts=g\n" GROUP,
		    ":4: [s] hosts: stands in line 3 already" },
		{ SERVICE "zip=1\nzip=2\n" GROUP,
		    ":5: [s] zip: stands in line 4 already" },
		{ "[kvproxy]\n[KVProxy]\n" REST,
		    ":2: [KVProxy]: this section stands in line 1 already" },
		{ REST "[G]\n127.0.0.1:2=\"2:1\"\n",
		    ":6: [G]: this section stands in line 4 already" },
		{ REST "127.0.0.1:1=\"2:50\"\n",
		    ":6: [g] 127.0.0.1:1: this address stands in line 5 "
		    "already" },
		{ REST "127.0.0.1:2=\"1:50\"\n",
		    ":6: [g] 127.0.0.1:2: this id stands in line 5 already" },
		{ REST "127.0.0.1:2=\"2:1:a\"\n127.0.0.1:3=\"3:1:a\"\n",
		    ":7: [g] 127.0.0.1:3: this name stands in line 6 "
		    "already" },
		{ REST "127.0.0.1:2=\"2:1:a\"\n\n127.0.0.1:3=\"2:1:b\"\n",
		    ":8: [g] 127.0.0.1:3: this id stands in line 6 already" },
		{ REST "[::1]:2=\"2:1\"\n[0::1]:2=\"3:1\"\n",
		    ":7: [g] [0::1]:2: this address stands in line 6 "
		    "already" },
		{ REST "localhost:2=\"2:1\"\nLocalHost:2=\"3:1\"\n",
		    ":7: [g] LocalHost:2: this address stands in line 6 "
		    "already" },
		{ REST "[t]\nextension=y.so\nhosts=g\n",
		    ":6: [t]: port 55669 is the one of [s] already" },
		{ SERVICE GROUP "[t]\nextension=y.so\nhosts=g\nport=55669\n",
		    ":9: [t] port: port 55669 is the one of [s] already" },
	};

	(void)state;
	check_refusals(table, ARRAY_LEN(table));
}

static void
config_refuses_a_hash_that_cannot_work(void **state)
{
#define KVPROXY	"distribution = kvproxy hashes with crc32a and nothing else"
#define KETAMA	"crc32 gives 15 bits, by which distribution = ketama sends " \
	"all keys to one host; crc32a gives 32"
#define HEAVY	"127.0.0.1:2=\"2:32719\"\n"
	static const struct refusal table[] = {
		{ "[kvproxy]\nhash=sha1\n" REST, ":2: [kvproxy] hash: \"sha1\" "
		    "is not one of md5|fnv1_64|fnv1a_64|fnv1_32|fnv1a_32|"
		    "crc32|crc32a|one_at_a_time|murmur" },
		{ "[kvproxy]\ndistribution=random\n" REST,
		    ":2: [kvproxy] distribution: \"random\" is not one of "
		    "ketama|kvproxy|modula|jump" },
		{ SERVICE "hash=crc32\n" GROUP, ":4: [s] hash: " KETAMA },
		{ "[kvproxy]\nhash=crc32\n" REST,
		    ":2: [kvproxy] hash: " KETAMA },
		{ "[kvproxy]\nhash=crc32\n" SERVICE "distribution=ketama\n"
		    GROUP, ":2: [kvproxy] hash: " KETAMA },
		{ SERVICE "hash=md5\ndistribution=kvproxy\n" GROUP,
		    ":4: [s] hash: " KVPROXY },
		{ SERVICE "hash=crc32\ndistribution=kvproxy\n" GROUP,
		    ":4: [s] hash: " KVPROXY },
		{ "[kvproxy]\ndistribution=kvproxy\n" SERVICE "hash=md5\n"
		    GROUP, ":6: [s] hash: " KVPROXY },
		{ "[kvproxy]\ndistribution=kvproxy\nhash=md5\n" REST,
		    ":3: [kvproxy] hash: " KVPROXY },
		{ SERVICE "hash=crc32\ndistribution=modula\n" GROUP HEAVY,
		    ":4: [s] hash: crc32 gives 15 bits, for which the weights "
		    "of [g] may add up to 32768, not 32769" },
	};

	(void)state;
	check_refusals(table, ARRAY_LEN(table));
}

static void
config_takes_a_hash_that_can_work(void **state)
{
	static const struct {
		const char *text;
		int	 distribution, hash;
	} table[] = {
		{ SERVICE "distribution=modula\nhash=crc32\n" GROUP,
		    DISTRIBUTION_MODULA, HASH_CRC32 },
		{ SERVICE "distribution=jump\nhash=crc32\n" GROUP HEAVY,
		    DISTRIBUTION_JUMP, HASH_CRC32 },
		{ SERVICE "distribution=modula\nhash=murmur\n" GROUP HEAVY,
		    DISTRIBUTION_MODULA, HASH_MURMUR },
		{ SERVICE "hash=crc32a\n" GROUP,
		    DISTRIBUTION_KETAMA, HASH_CRC32A },
		{ SERVICE "distribution=kvproxy\nhash=crc32a\n" GROUP,
		    DISTRIBUTION_KVPROXY, HASH_CRC32A },
		{ SERVICE "distribution=kvproxy\n" GROUP,
		    DISTRIBUTION_KVPROXY, HASH_MD5 },
		/* What all services have by default is not meant for one
		 * that has a way of its own. */
		{ "[kvproxy]\nhash=fnv1a_64\n" SERVICE
		    "distribution=kvproxy\n" GROUP,
		    DISTRIBUTION_KVPROXY, HASH_FNV1A_64 },
		{ "[kvproxy]\ndistribution=kvproxy\nhash=one_at_a_time\n"
		    SERVICE "distribution=modula\n" GROUP,
		    DISTRIBUTION_MODULA, HASH_ONE_AT_A_TIME },
	};
	struct config *cfg;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		cfg = load(table[i].text);
		assert_non_null(cfg);
		assert_int_equal(cfg->services[0].distribution,
		    table[i].distribution);
		assert_int_equal(cfg->services[0].hash, table[i].hash);
		config_free(&cfg);
	}
	cfg = load(SERVICE "hash_tag={}\n" GROUP);
	assert_non_null(cfg);
	assert_string_equal(cfg->services[0].hash_tag, "{}");
	assert_true(claim_and_finish(cfg));
	assert_string_equal(warnings, "");
	config_free(&cfg);
}

/* Rows F5, F6. */
static void
config_refuses_bad_hosts(void **state)
{
#define NUMBERS	"\"id:weight\" or \"id:weight:name\" is wanted"
#define ID	"the id must be a number from 0 to 2147483647"
#define WEIGHT	"the weight must be a number from 0 to 1000000"
#define NAME	"the name must have 1 to 119 bytes, no blank or colon"
	static const struct {
		const char *value, *why;
	} table[] = {
		{ "", NUMBERS },
		{ "1", NUMBERS },
		{ ":1", ID },
		{ "x:1", ID },
		{ "-1:1", ID },
		{ "+1:1", ID },
		{ "2147483648:1", ID },
		{ "4294967297:1", ID },
		{ "1:", WEIGHT },
		{ "1:-1", WEIGHT },
		{ "1:50%", WEIGHT },
		{ "1:1.5", WEIGHT },
		{ "1:1000001", WEIGHT },
		{ "1:2147483648", WEIGHT },
		{ "1:4294967346", WEIGHT },
		{ "1:18446744073709551666", WEIGHT },
		{ "1:50:", NAME },
		{ "1:50:a b", NAME },
		{ "1:50:a:b", NAME },
	};
	static const struct refusal files[] = {
		{ SERVICE "[g]\nport=1\n",
		    ":5: [g] port: no port: address:port or a path is "
		    "wanted" },
		{ SERVICE "[g]\n127.0.0.1:0=\"1:1\"\n",
		    ":5: [g] 127.0.0.1:0: the port must be a number from 1 "
		    "to 65535" },
		{ SERVICE "[g]\n::1:80=\"1:1\"\n",
		    ":5: [g] ::1:80: an IPv6 address must stand in "
		    "brackets" },
		{ SERVICE "[g]\n", ":4: [g]: the group is empty" },
		{ SERVICE "hosts_read=h\n" GROUP "[h]\n",
		    ":7: [h]: the group is empty" },
		{ SERVICE, ":3: [s] hosts: there is no group [g]" },
		{ "[s]\nextension=x.so\nhosts=s\n" GROUP,
		    ":3: [s] hosts: there is no group [s]" },
		{ "[s]\nextension=x.so\n" GROUP,
		    ":1: [s]: hosts is missing: the group that holds the "
		    "keys" },
		{ SERVICE "hosts_backup=b\n" GROUP,
		    ":4: [s] hosts_backup: there is no group [b]" },
		{ SERVICE "hosts_read=b\n" GROUP,
		    ":4: [s] hosts_read: there is no group [b]" },
		{ "[kvproxy]\nhosts_read=b\n" REST,
		    ":3: [s]: hosts_read: there is no group [b]" },
		{ REST "[unused]\n127.0.0.1:2=\"1:x\"\n",
		    ":7: [unused] 127.0.0.1:2: " WEIGHT },
	};
	char text[1024], want[512], host[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		snprintf(text, sizeof(text),
		    SERVICE "[g]\n127.0.0.1:1=\"%s\"\n", table[i].value);
		snprintf(want, sizeof(want), ":5: [g] 127.0.0.1:1: %s",
		    table[i].why);
		check_bytes_refused(text, strlen(text), want);
	}
	check_refusals(files, ARRAY_LEN(files));

	/* What `status` has no room for. */
	memset(host, 'a', 273);
	strcpy(host + 273, ":80");
	snprintf(text, sizeof(text), SERVICE "[g]\n%s=\"1:1\"\n", host);
	snprintf(want, sizeof(want), ":5: [g] %.200s: longer than 119 bytes",
	    host);
	check_bytes_refused(text, strlen(text), want);
	host[120] = '\0';
	snprintf(text, sizeof(text), SERVICE "[g]\n127.0.0.1:1=\"1:1:%s\"\n",
	    host);
	check_bytes_refused(text, strlen(text), ":5: [g] 127.0.0.1:1: " NAME);
	host[119] = '\0';
	snprintf(text, sizeof(text), SERVICE "[g]\n127.0.0.1:1=\"1:1:%s\"\n",
	    host);
	{
		struct config *cfg = load(text);

		assert_non_null(cfg);
		assert_string_equal(cfg->groups[0].hosts[0].node, host);
		config_free(&cfg);
	}
}

static void
config_refuses_a_name_that_does_not_resolve(void **state)
{
	struct config *cfg;

	(void)state;
	put_bytes(SERVICE "[g]\na..invalid:1=\"1:1\"\n",
	    strlen(SERVICE "[g]\na..invalid:1=\"1:1\"\n"));
	assert_null(config_load(path, "/prefix", err));
	assert_non_null(strstr(err, "k.ini:5: [g] a..invalid:1: "));
	/* Where nobody uses it, it is not looked up. */
	cfg = load(REST "[h]\na..invalid:1=\"1:1\"\n");
	assert_non_null(cfg);
	config_free(&cfg);
}

static void
config_is_not_caught_by_the_traps_of_iniparser(void **state)
{
	struct config *cfg = load(
	    "\xef\xbb\xbf[kvproxy]\r\n"
	    "; a comment that ends in \\\r\n"
	    "log_path = \"/tmp/A;b#c.log\" ; why [not] \\\n"
	    "pid_file = '/tmp/a\"b' # x\n"
	    "  LOG_level\t=\tINFO ;so\n"
	    "[ S ] ; [x]\n"
	    "extension = memcached.so # \\\n"
	    "hosts = Mixed\n"
	    "sync_str=#\n"
	    "hosts_backup=\n"
	    "motto=a=b\n"
	    "[mIXED] # x\n"
	    "[2001:db8::1]:11211 = \"3:50\" ; see [x]\n"
	    "/var/run/Mem.sock= 2 : 1 : Node ; \\\n"
	    "Localhost:11211='1:0'");
	const struct config_service *s;

	(void)state;
	assert_non_null(cfg);
	assert_true(claim_and_finish(cfg));
	assert_string_equal(cfg->log_path, "/tmp/A;b#c.log");
	assert_string_equal(cfg->pid_file, "/tmp/a\"b");
	assert_int_equal(cfg->log_level, 3);
	s = &cfg->services[0];
	assert_string_equal(s->name, "S");
	assert_string_equal(s->extension, "memcached.so");
	assert_string_equal(s->sync_str, "#");
	assert_string_equal(s->hosts_backup_name, "");
	assert_string_equal(s->ext_values[2].str, "a=b");
	assert_string_equal(s->hosts->name, "mIXED");
	assert_int_equal(s->hosts->n_hosts, 3);
	assert_string_equal(s->hosts->hosts[0].name, "Localhost:11211");
	assert_int_equal(s->hosts->hosts[0].weight, 0);
	assert_int_equal(s->hosts->hosts[0].line, 15);
	assert_string_equal(s->hosts->hosts[1].name, "/var/run/Mem.sock");
	assert_int_equal(s->hosts->hosts[1].line, 14);
	assert_string_equal(s->hosts->hosts[1].node, "Node");
	assert_string_equal(s->hosts->hosts[2].name, "[2001:db8::1]:11211");
	assert_int_equal(s->hosts->hosts[2].line, 13);
	assert_int_equal(s->hosts->hosts[2].weight, 50);
	assert_null(s->hosts->hosts[2].node);
	config_free(&cfg);
}

/* What is wrong behind each of them is found in its own line. */
static void
config_counts_lines_past_the_traps_of_iniparser(void **state)
{
#define PORT	"port: \"x\" is not a whole number from 1 to 65535"
	static const struct refusal table[] = {
		{ "\xef\xbb\xbf[kvproxy]\nport=x\n" REST,
		    ":2: [kvproxy] " PORT },
		{ "\xef\xbb\xbfport=1\n" REST,
		    ":1: a key before any section" },
		{ "[kvproxy]\n; a comment that ends in \\\nport=x\n" REST,
		    ":3: [kvproxy] " PORT },
		{ "[kvproxy]\n# \\\n# \\\n\n  # \\\nport=x\n" REST,
		    ":6: [kvproxy] " PORT },
		{ "[kvproxy]\nbacklog=5 ; \\\nport=x\n" REST,
		    ":3: [kvproxy] " PORT },
		{ "[kvproxy] # \\\r\nport=x\r\n" REST,
		    ":2: [kvproxy] " PORT },
		{ SERVICE "sync_str=#\nport=x\n" GROUP,
		    ":5: [s] " PORT },
		{ "[kvproxy]\nPort=1\npORT=2\n" REST,
		    ":3: [kvproxy] pORT: stands in line 2 already" },
		{ SERVICE "[g]\n[2001:db8::1]:11211 = \"3:50\" ; see [x]\n"
		    "[2001:db8::1]:11212 = \"3:50\"\n",
		    ":6: [g] [2001:db8::1]:11212: this id stands in line 5 "
		    "already" },
		{ SERVICE "[g]\n/var/run/Mem.sock=\"1:x\" ; see [x]\n",
		    ":5: [g] /var/run/Mem.sock: " WEIGHT },
		{ SERVICE "listen=*:1 ; see [x] \\\nport=x\n" GROUP,
		    ":5: [s] " PORT },
		{ SERVICE "Listen=*:1\nlisten=*:2\n" GROUP,
		    ":5: [s] listen: stands in line 4 already" },
	};
#undef PORT

	(void)state;
	check_refusals(table, ARRAY_LEN(table));
}

static void
config_reads_values_with_and_without_quotes(void **state)
{
	static const struct {
		const char *line, *want;
	} table[] = {
		{ "sync_str=", "" },
		{ "sync_str= # none", "" },
		{ "sync_str= ;", "" },
		{ "sync_str=\"\"", "" },
		{ "sync_str='' ; none", "" },
		{ "sync_str=+", "+" },
		{ "sync_str = + ", "+" },
		{ "sync_str=\"+\" ", "+" },
		{ "sync_str=#", "#" },
		{ "sync_str=;", ";" },
		{ "sync_str=## # two", "##" },
		{ "sync_str=\"#\"", "#" },
		{ "sync_str=\" a \"", " a " },
		{ "sync_str=a b", "a b" },
		{ "sync_str=a ;b", "a" },
		{ "sync_str=a\t#b", "a" },
		{ "sync_str=\"a;b\";c", "a;b" },
		{ "sync_str=a\"b", "a\"b" },
		{ "sync_str=[a]", "[a]" },
		{ "sync_str=%s%n", "%s%n" },
		{ "sync_str==", "=" },
		{ "sync_str='\\'", "\\" },
		{ "sync_str=A\xc3\xa9", "A\xc3\xa9" },
	};
	char text[256];
	struct config *cfg;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		snprintf(text, sizeof(text), SERVICE "%s\n" GROUP,
		    table[i].line);
		cfg = load(text);
		assert_non_null(cfg);
		assert_string_equal(cfg->services[0].sync_str, table[i].want);
		config_free(&cfg);
	}
}

static void
config_reads_numbers_in_their_units(void **state)
{
	static const struct {
		const char *text;
		int64_t	 want;
	} table[] = {
		{ "0.5", 500 }, { ".25", 250 }, { "2", 2000 },
		{ "1.005", 1005 }, { "0.01", 10 }, { "86400", 86400000 },
		{ "86400.000", 86400000 }, { "0010", 10000 },
	};
	char text[256];
	struct config *cfg;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		snprintf(text, sizeof(text),
		    SERVICE "failover_interval=%s\nmax_packet=1024\n" GROUP,
		    table[i].text);
		cfg = load(text);
		assert_non_null(cfg);
		assert_true(cfg->services[0].failover_interval_ms ==
		    table[i].want);
		assert_true(cfg->services[0].max_packet == INT64_C(1) << 30);
		config_free(&cfg);
	}
}

static void
config_takes_options_of_services_from_the_core(void **state)
{
	struct config *cfg = load(
	    "[a]\nextension=x.so\n"
	    "[b]\nextension=x.so\nport=2\nhosts=h\nrecv_timeout=5\n"
	    "[KVProxy]\nport=1\nhosts=g\nrecv_timeout=7\n"
	    GROUP "[h]\n127.0.0.1:2=\"1:1\"\n");

	(void)state;
	assert_non_null(cfg);
	assert_int_equal(cfg->n_services, 2);
	assert_string_equal(cfg->services[0].name, "a");
	assert_int_equal(cfg->services[0].port, 1);
	assert_int_equal(cfg->services[0].recv_timeout_ms, 7);
	assert_string_equal(cfg->services[0].hosts->name, "g");
	assert_int_equal(cfg->services[1].port, 2);
	assert_int_equal(cfg->services[1].recv_timeout_ms, 5);
	assert_string_equal(cfg->services[1].hosts->name, "h");
	config_free(&cfg);
}

static void
config_counts_relative_paths_from_the_prefix(void **state)
{
	struct config *cfg = load(
	    "[kvproxy]\nlog_path=l/k.log\npid_file=/run/k.pid\n"
	    "ext_path=../ext\n" REST);

	(void)state;
	assert_non_null(cfg);
	assert_string_equal(cfg->log_path, "/prefix/l/k.log");
	assert_string_equal(cfg->pid_file, "/run/k.pid");
	assert_string_equal(cfg->ext_path, "/prefix/../ext");
	assert_string_equal(cfg->path, path);
	config_free(&cfg);
}

static unsigned n_lookups;

int	 __real_getaddrinfo(const char *, const char *,
	    const struct addrinfo *, struct addrinfo **);
int	 __wrap_getaddrinfo(const char *, const char *,
	    const struct addrinfo *, struct addrinfo **);

int
__wrap_getaddrinfo(const char *host, const char *port,
    const struct addrinfo *hints, struct addrinfo **res)
{
	n_lookups++;
	return __real_getaddrinfo(host, port, hints, res);
}

/* Not for every pair of them: 4,096 would take seconds. */
static void
config_reads_each_address_a_few_times(void **state)
{
	const unsigned n = 200;
	char *text = malloc(n * 64);
	struct config *cfg;
	size_t len;

	(void)state;
	assert_non_null(text);
	len = (size_t)sprintf(text, SERVICE "[g]\n");
	for (unsigned i = 0; i < n; i++)
		len += (size_t)sprintf(text + len, "[::%x]:1=\"%u:1\"\n",
		    i + 1, i);
	n_lookups = 0;
	cfg = load(text);
	assert_non_null(cfg);
	assert_int_equal(cfg->n_addrs, n);
	assert_in_range(n_lookups, 1, 4 * n);
	config_free(&cfg);
	free(text);
}

static void
config_sorts_hosts_by_id_and_addresses_by_line(void **state)
{
	struct config *cfg = load(
	    "[s]\nextension=x.so\nhosts=g\n"
	    "[t]\nextension=x.so\nhosts=h\nport=2\n"
	    "[unused]\n127.0.0.1:9=\"1:1\"\n[emptied]\n; 127.0.0.1:8=\n"
	    "[h]\n127.0.0.1:3=\"2147483647:1000000\"\n127.0.0.1:1=\"0:0\"\n"
	    "[g]\n127.0.0.1:2=\"9:1\"\n127.0.0.1:1=\"5:1\"\n");
	static const char *const order[] = {
		"127.0.0.1:3", "127.0.0.1:1", "127.0.0.1:2",
	};
	const struct config_group *g, *h;

	(void)state;
	assert_non_null(cfg);
	assert_int_equal(cfg->n_addrs, ARRAY_LEN(order));
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		const struct sockaddr_in *in =
		    (const void *)&cfg->addrs[i].sa;

		assert_string_equal(cfg->addrs[i].name, order[i]);
		assert_int_equal(cfg->addrs[i].sa_len, sizeof(*in));
		assert_int_equal(in->sin_family, AF_INET);
		assert_int_equal(ntohs(in->sin_port), order[i][10] - '0');
	}
	g = cfg->services[0].hosts;
	h = cfg->services[1].hosts;
	assert_int_equal(h->hosts[0].id, 0);
	assert_int_equal(h->hosts[0].weight, 0);
	assert_int_equal(h->hosts[0].addr, 1);
	assert_int_equal(h->hosts[1].id, 2147483647);
	assert_int_equal(h->hosts[1].weight, 1000000);
	assert_int_equal(h->hosts[1].addr, 0);
	assert_int_equal(g->hosts[0].id, 5);
	assert_int_equal(g->hosts[0].addr, 1);
	assert_int_equal(g->hosts[1].addr, 2);
	config_free(&cfg);
}

static void
config_accepts_a_group_of_weights_0(void **state)
{
	struct config *cfg = load(SERVICE "[g]\n127.0.0.1:1=\"1:0\"\n");

	(void)state;
	assert_non_null(cfg);
	assert_int_equal(cfg->services[0].hosts->n_hosts, 1);
	config_free(&cfg);
}

static void
config_refuses_more_addresses_than_fit(void **state)
{
	static char text[CONFIG_HOSTS_MAX * 40];
	struct config *cfg;
	size_t len;

	(void)state;
	len = (size_t)snprintf(text, sizeof(text), SERVICE "[g]\n");
	for (unsigned i = 0; i < CONFIG_HOSTS_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
		    "10.0.0.1:%u=\"%u:1\"\n", i + 1, i);
	cfg = load(text);
	assert_non_null(cfg);
	assert_int_equal(cfg->n_addrs, CONFIG_HOSTS_MAX);
	config_free(&cfg);
	snprintf(text + len, sizeof(text) - len,
	    "[t]\nextension=x\nport=1\nhosts=h\n[h]\n10.0.0.2:1=\"1:1\"\n");
	check_bytes_refused(text, strlen(text),
	    ":4106: [h] 10.0.0.2:1: more than 4096 hosts in all");
	snprintf(text + len, sizeof(text) - len, "10.0.0.2:1=\"4096:1\"\n");
	check_bytes_refused(text, strlen(text),
	    ":4: [g]: more than 4096 hosts");
}

static void
config_gives_an_extension_its_values_and_defaults(void **state)
{
	struct config *cfg = load(SERVICE "Width=3\n" GROUP);
	const struct config_value *v;

	(void)state;
	assert_non_null(cfg);
	assert_null(cfg->services[0].ext_values);
	assert_true(claim_and_finish(cfg));
	v = cfg->services[0].ext_values;
	assert_int_equal(v[0].num, 0);
	assert_int_equal(v[1].num, 3);
	assert_null(v[2].str);
	assert_string_equal(warnings, "");
	config_free(&cfg);
}

static void
config_listens_on_the_port_or_on_what_listen_says(void **state)
{
	struct config *cfg = load("[kvproxy]\nport=7\n" SERVICE
	    "listen=127.0.0.1, [0::1] *:3\t/run/a,/run/B\n"
	    "listen_mode=660\n"
	    "[t]\nextension=e.so\nhosts=g\n" GROUP);
	static const char *const want[] = {
		"127.0.0.1:7", "[::1%0]:7", "0.0.0.0:3", "/run/a", "/run/B"
	};
	const struct config_service *s;

	(void)state;
	assert_non_null(cfg);
	s = &cfg->services[0];
	assert_int_equal(s->n_listens, ARRAY_LEN(want));
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		assert_string_equal(s->listens[i].normal, want[i]);
	assert_int_equal(s->listens[0].sa.ss_family, AF_INET);
	assert_int_equal(s->listens[1].sa.ss_family, AF_INET6);
	assert_int_equal(s->listens[4].sa.ss_family, AF_UNIX);
	assert_int_equal(s->socket_mode, 0660);
	s = &cfg->services[1];
	assert_int_equal(s->n_listens, 1);
	assert_string_equal(s->listens[0].name, "0.0.0.0:7");
	assert_int_equal(s->socket_mode, 0700);
	config_free(&cfg);
}

/* Row F4. */
static void
config_refuses_what_cannot_be_listened_on(void **state)
{
	static const struct refusal table[] = {
		{ SERVICE "listen=a.example:1\n" GROUP, ":4: [s] listen: "
		    "\"a.example:1\": a name; an address or a path is wanted" },
		{ SERVICE "listen=127.0.0.1:0\n" GROUP, ":4: [s] listen: "
		    "\"127.0.0.1:0\": the port must be a number from 1 to "
		    "65535" },
		{ SERVICE "listen=::1:5\n" GROUP, ":4: [s] listen: "
		    "\"::1:5\": an IPv6 address must stand in brackets" },
		{ SERVICE "listen=,\n" GROUP, ":4: [s] listen: no address" },
		{ SERVICE "listen=[::1]:5 [0:0::1]:5\n" GROUP, ":4: [s] "
		    "listen: [0:0::1]:5 is one of [s] already" },
		{ SERVICE "listen=*:55669\n" GROUP
		    "[t]\nextension=e.so\nhosts=g\n",
		    ":7: [t]: port 55669 is the one of [s] already" },
		{ SERVICE "listen_mode=888\n" GROUP, ":4: [s] listen_mode: "
		    "\"888\" is not a mode from 000 to 777" },
		{ SERVICE "listen_mode=4755\n" GROUP, ":4: [s] listen_mode: "
		    "\"4755\" is not a mode from 000 to 777" },
	};

	(void)state;
	check_refusals(table, ARRAY_LEN(table));
}

static void
config_metrics_are_local_unless_said_otherwise(void **state)
{
	static const struct {
		const char	*value, *normal;
	} table[] = {
		{ "9155", "127.0.0.1:9155" },
		{ ":9155", "127.0.0.1:9155" },
		{ "127.0.0.1:9155", "127.0.0.1:9155" },
		{ "10.0.0.1:1", "10.0.0.1:1" },
		{ "*:9155", "0.0.0.0:9155" },
		{ "[::1]:9155", "[::1%0]:9155" },
	};
	struct config *cfg;
	char text[256];

	(void)state;
	cfg = load(SERVICE GROUP);
	assert_null(cfg->metrics_listen);
	config_free(&cfg);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		snprintf(text, sizeof(text), "[kvproxy]\nmetrics=%s\n%s%s",
		    table[i].value, SERVICE, GROUP);
		cfg = load(text);
		assert_non_null(cfg);
		assert_string_equal(cfg->metrics_listen->normal,
		    table[i].normal);
		config_free(&cfg);
	}
}

static void
config_refuses_metrics_where_they_cannot_be(void **state)
{
	static const struct refusal table[] = {
		{ "[kvproxy]\nmetrics=localhost:1\n" SERVICE GROUP,
		    ":2: [kvproxy] metrics: \"localhost:1\": a name; an "
		    "address is wanted" },
		{ "[kvproxy]\nmetrics=0\n" SERVICE GROUP,
		    ":2: [kvproxy] metrics: \"127.0.0.1:0\": the port must "
		    "be a number from 1 to 65535" },
		{ "[kvproxy]\nmetrics=:\n" SERVICE GROUP,
		    ":2: [kvproxy] metrics: \"127.0.0.1:\": the port must "
		    "be a number from 1 to 65535" },
		{ "[kvproxy]\nmetrics=/run/m\n" SERVICE GROUP,
		    ":2: [kvproxy] metrics: \"/run/m\": a path; an address "
		    "is wanted" },
		{ "[kvproxy]\nmetrics=*:7\n" SERVICE "port=7\n" GROUP,
		    ":2: [kvproxy] metrics: 0.0.0.0:7 is one of [s] "
		    "already" },
	};

	(void)state;
	check_refusals(table, ARRAY_LEN(table));
}

static void
config_keeps_what_only_a_restart_changes(void **state)
{
	struct config *old = load("[kvproxy]\nlog_path=/a\nuser=u\n"
	    SERVICE GROUP);
	struct config *cfg = load("[kvproxy]\nrecv_timeout=7\nlog_path=/b\n"
	    "core_dump=on\n" SERVICE GROUP);
	char want[1024];

	(void)state;
	assert_true(config_keep_restart(cfg, old, on_warning));
	config_free(&old);
	assert_string_equal(cfg->log_path, "/a");
	assert_string_equal(cfg->user, "u");
	assert_false(cfg->core_dump);
	assert_int_equal(cfg->services[0].recv_timeout_ms, 7);
	snprintf(want, sizeof(want),
	    "%s:3: [kvproxy] log_path: changes with a restart only\n"
	    "%s:1: [kvproxy]: user changes with a restart only\n"
	    "%s:4: [kvproxy] core_dump: changes with a restart only\n",
	    path, path, path);
	assert_string_equal(warnings, want);
	config_free(&cfg);
}

static void
config_warns_of_what_is_set_and_not_built(void **state)
{
	struct config *cfg = load("[kvproxy]\nslow_ms=1\n"
	    SERVICE "motto=x\nproto=text\nport=1\n" GROUP);
	char want[1024];

	(void)state;
	assert_non_null(cfg);
	assert_true(claim_and_finish(cfg));
	snprintf(want, sizeof(want),
	    "%s:6: [s] motto: not built yet, has no effect\n", path);
	assert_string_equal(warnings, want);
	config_free(&cfg);
}

static void
config_warns_of_hosts_that_are_never_emptied(void **state)
{
	struct config *cfg = load("[s]\nextension=e.so\nhosts=g\n"
	    "hosts_backup=b\nrejoin=flush\nhosts_read=r\nsync_str=+\n"
	    "[r]\n127.0.0.1:3=\"1:1\"\n127.0.0.1:4=\"2:1\"\n"
	    "[g]\n127.0.0.1:1=\"1:1\"\n127.0.0.1:2=\"2:1\"\n"
	    "[b]\n127.0.0.1:2=\"1:1\"\n127.0.0.1:3=\"2:1\"\n");
	char want[1024];

	(void)state;
	assert_non_null(cfg);
	assert_true(claim_and_finish(cfg));
	snprintf(want, sizeof(want), "%s:1: [s]: 127.0.0.1:2 is in hosts and "
	    "in hosts_backup: keys that belong to it in both have one copy, "
	    "sync_str or not\n"
	    "%s:1: [s]: rejoin = flush does not empty "
	    "127.0.0.1:2, which is in hosts_backup of [s] too\n"
	    "%s:1: [s]: rejoin = flush does not empty "
	    "127.0.0.1:3, which is in hosts_backup of [s] too\n", path, path,
	    path);
	assert_string_equal(warnings, want);
	config_free(&cfg);
}

static void
config_usage_names_every_option_in_80_columns(void **state)
{
	const struct config_option *tables[2];
	char *text = NULL, *line, *rest, want[64];
	size_t n[2], size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_non_null(out);
	config_usage(out);
	assert_int_equal(fclose(out), 0);
	tables[0] = config_core_options(&n[0]);
	tables[1] = config_service_options(&n[1]);
	for (size_t t = 0; t < 2; t++)
		for (size_t i = 0; i < n[t]; i++) {
			snprintf(want, sizeof(want), "\n  %s%s%s",
			    tables[t][i].key, tables[t][i].def ? " = " : "",
			    tables[t][i].def ? tables[t][i].def : "");
			assert_non_null(strstr(text, want));
			assert_non_null(strstr(text, tables[t][i].text));
		}
	rest = text;
	while ((line = strsep(&rest, "\n")) != NULL)
		assert_true(strlen(line) < 80);
	free(text);
}

#define CONFIG_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CONFIG_TEST(config_has_the_defaults_of_the_original),
		CONFIG_TEST(config_defaults_are_values_that_a_file_may_have),
		CONFIG_TEST(config_refuses_every_option_out_of_its_range),
		CONFIG_TEST(config_loads_the_sample_of_the_original),
		CONFIG_TEST(config_refuses_what_is_no_file_to_read),
		CONFIG_TEST(config_refuses_an_unreadable_file),
		CONFIG_TEST(config_refuses_a_line_that_is_no_line),
		CONFIG_TEST(config_takes_lines_of_1000_bytes_and_no_more),
		CONFIG_TEST(config_names_line_section_and_key_of_a_bad_value),
		CONFIG_TEST(config_refuses_what_it_does_not_know),
		CONFIG_TEST(config_core_is_read_from_a_file_that_is_wrong),
		CONFIG_TEST(config_refuses_what_stands_twice),
		CONFIG_TEST(config_refuses_a_hash_that_cannot_work),
		CONFIG_TEST(config_takes_a_hash_that_can_work),
		CONFIG_TEST(config_refuses_bad_hosts),
		CONFIG_TEST(config_refuses_a_name_that_does_not_resolve),
		CONFIG_TEST(config_is_not_caught_by_the_traps_of_iniparser),
		CONFIG_TEST(config_counts_lines_past_the_traps_of_iniparser),
		CONFIG_TEST(config_reads_values_with_and_without_quotes),
		CONFIG_TEST(config_reads_numbers_in_their_units),
		CONFIG_TEST(config_takes_options_of_services_from_the_core),
		CONFIG_TEST(config_counts_relative_paths_from_the_prefix),
		CONFIG_TEST(config_reads_each_address_a_few_times),
		CONFIG_TEST(config_sorts_hosts_by_id_and_addresses_by_line),
		CONFIG_TEST(config_accepts_a_group_of_weights_0),
		CONFIG_TEST(config_refuses_more_addresses_than_fit),
		CONFIG_TEST(config_gives_an_extension_its_values_and_defaults),
		CONFIG_TEST(config_listens_on_the_port_or_on_what_listen_says),
		CONFIG_TEST(config_refuses_what_cannot_be_listened_on),
		CONFIG_TEST(config_metrics_are_local_unless_said_otherwise),
		CONFIG_TEST(config_refuses_metrics_where_they_cannot_be),
		CONFIG_TEST(config_keeps_what_only_a_restart_changes),
		CONFIG_TEST(config_warns_of_what_is_set_and_not_built),
		CONFIG_TEST(config_warns_of_hosts_that_are_never_emptied),
		CONFIG_TEST(config_usage_names_every_option_in_80_columns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
