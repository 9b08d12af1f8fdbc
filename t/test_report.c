/*
 * test_report.c: what the segment says, to the letter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shared/report_int.h"
#include "shared/report_metrics.h"

static char folder[64];
static char *text;

/* Two hosts of one group. */
static struct config_host hosts[] = {
	{ .name = "a", .weight = 50, .addr = 0 },
	{ .name = "b", .weight = 50, .addr = 1 },
};
static const struct config_group group = {
	.name = "g\"", .hosts = hosts, .n_hosts = 2
};
static struct config_service service = { .name = "s", .hosts = &group };
static const struct config cfg = { .services = &service, .n_services = 1 };
static const unsigned host_entry[] = { 5, 3 };
static struct report_source source = {
	.cfg = &cfg, .host_entry = host_entry, .n_workers = 2,
	.max_connections = 77,
};
static struct report_setup setup;

/* From the source, as its program has it. */
static void
make_setup(void)
{
	char *bytes;
	size_t len;
	FILE *f = open_memstream(&bytes, &len);

	assert_true(report_write_setup(f, &source));
	fclose(f);
	f = fmemopen(bytes, len, "r");
	report_free_setup(&setup);
	assert_true(report_read_setup(f, &setup));
	fclose(f);
	free(bytes);
}

static int
set_up(void **state)
{
	char pid_file[96], err[1024];
	struct shm *shm;

	snprintf(folder, sizeof(folder), "/tmp/test_report.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(pid_file, sizeof(pid_file), "%s/kvproxy.pid", folder);
	shm = shm_create(pid_file, err, sizeof(err));
	if (shm == NULL || !shm_reserve(shm, 0, 6) || !shm_reserve(shm, 1, 6))
		return -1;
	shm_set_n_slots(shm, 2);
	shm_list_host(shm, 0, 5);
	shm_list_host(shm, 1, 3);
	shm_facts(shm)->n_hosts = 2;
	shm_list_service(shm, 0, 0);
	shm_facts(shm)->n_service_entries = shm_facts(shm)->n_services = 1;
	strcpy(shm_service(shm, 0)->name, "S");
	source.shm = shm;
	strcpy(shm_host(shm, 5)->name, "a\\\"\n\xff");
	strcpy(shm_host(shm, 3)->name, "b");
	shm_set_host_state(shm, 5, SHM_HOST_UP, 0);
	shm_set_host_state(shm, 3, SHM_HOST_UP, 0);
	shm_set_ready(shm);
	make_setup();
	*state = shm;
	return 0;
}

static int
tear_down(void **state)
{
	struct shm *shm = *state;

	shm_unlink_made(shm);
	shm_close(&shm);
	free(text);
	text = NULL;
	report_free_setup(&setup);
	return rmdir(folder);
}

/* The page, in TEXT. */
static void
render(struct shm *shm, bool is_openmetrics)
{
	size_t len;
	FILE *out;

	free(text);
	out = open_memstream(&text, &len);
	assert_non_null(out);
	report_metrics(out, shm, &setup, is_openmetrics);
	assert_int_equal(fclose(out), 0);
}

/* TEXT has LINES, whole and together. */
static void
check_has(const char *lines)
{
	const char *at = strstr(text, lines);

	if (at == NULL)
		print_message("# no %s", lines);
	assert_non_null(at);
	assert_true(at == text || at[-1] == '\n');
}

static void
metrics_labels_are_escaped(void **state)
{
	(void)state;
	render(*state, false);
	check_has("kvproxy_host_up{host=\"a\\\\x5c\\\"\\\\x0a\\\\xff\"} 1\n"
	    "kvproxy_host_up{host=\"b\"} 1\n");
	check_has("kvproxy_group_up{service=\"S\",role=\"hosts\","
	    "group=\"g\\\"\"} 1\n");
}

/* The file has another case since a reload; the segment keeps its own. */
static void
metrics_spell_a_service_in_one_way(void **state)
{
	(void)state;
	render(*state, false);
	check_has("kvproxy_service_requests_total{service=\"S\"} 0\n");
	assert_non_null(strstr(text, "kvproxy_group_up{service=\"S\""));
	assert_null(strstr(text, "{service=\"s\""));
}

static void
metrics_families_have_the_names_of_their_format(void **state)
{
	struct shm *shm = *state;

	counter_set(&shm_slot(shm, 0)->counter[0][COUNTER_REQUESTS], 3);
	counter_set(&shm_slot(shm, 1)->counter[0][COUNTER_REQUESTS], 4);
	render(shm, false);
	check_has("# HELP kvproxy_requests_total requests processed\n"
	    "# TYPE kvproxy_requests_total counter\n"
	    "kvproxy_requests_total 7\n");
	check_has("# HELP kvproxy_build_info the version that runs\n"
	    "# TYPE kvproxy_build_info gauge\n"
	    "kvproxy_build_info{version=\"" KVPROXY_VERSION "\"} 1\n");
	check_has("kvproxy_max_connections 77\n");
	assert_null(strstr(text, "# EOF"));
	render(shm, true);
	check_has("# HELP kvproxy_requests requests processed\n"
	    "# TYPE kvproxy_requests counter\n"
	    "kvproxy_requests_total 7\n");
	check_has("# TYPE kvproxy_build info\n"
	    "kvproxy_build_info{version=\"" KVPROXY_VERSION "\"} 1\n");
	check_has("# TYPE kvproxy_curr_connections gauge\n"
	    "kvproxy_curr_connections 0\n");
	assert_string_equal(text + strlen(text) - 6, "# EOF\n");
}

/* Of milliseconds; and the oldest copy is one cell's, not the sum. */
static void
metrics_times_are_in_seconds(void **state)
{
	struct shm *shm = *state;

	snprintf(shm_service(shm, 0)->name, SHM_SERVICE_NAME, "one");
	snprintf(shm_service(shm, 1)->name, SHM_SERVICE_NAME, "two");
	for (unsigned i = 0; i < 2; i++)
		shm_list_service(shm, i, i);
	shm_facts(shm)->n_service_entries = shm_facts(shm)->n_services = 2;
	counter_set(&shm_slot(shm, 0)->counter[1][COUNTER_COPIES_LAG_MS], 1250);
	counter_set(&shm_slot(shm, 0)->counter[2][COUNTER_COPIES_LAG_MS], 300);
	counter_set(&shm_slot(shm, 1)->counter[1][COUNTER_COPIES_LAG_MS], 40);
	render(shm, false);
	check_has("# TYPE kvproxy_copies_lag_seconds gauge\n"
	    "kvproxy_copies_lag_seconds 1.250\n");
	check_has("kvproxy_worker_copies_lag_seconds{worker=\"0\"} 1.250\n"
	    "kvproxy_worker_copies_lag_seconds{worker=\"1\"} 0.040\n");
	check_has("kvproxy_service_copies_lag_seconds{service=\"one\"} 1.250\n"
	    "kvproxy_service_copies_lag_seconds{service=\"two\"} 0.300\n");
	assert_null(strstr(text, "lag_ms"));
}

/* What is below a bound, what is at it, and what is over all. */
static void
metrics_buckets_count_exactly(void **state)
{
	struct shm *shm = *state;
	struct hist *h = &shm_slot(shm, 0)->host_latency[3];
	struct hist *other = &shm_slot(shm, 1)->host_latency[3];
	char line[128];
	unsigned n = 0;

	for (unsigned bits = 5; bits <= 24; bits++) {
		hist_add(h, (1U << bits) - 1);
		hist_add(other, 1U << bits);
	}
	hist_add(h, UINT64_C(90000000));
	render(shm, false);
	for (unsigned bits = 5; bits <= 24; bits++) {
		n += bits == 5 ? 1 : 2;
		snprintf(line, sizeof(line),
		    "kvproxy_host_request_duration_seconds_bucket{host=\"b\","
		    "le=\"%.9g\"} %u\n", (double)(1U << bits) / 1e6, n);
		check_has(line);
	}
	check_has("kvproxy_host_request_duration_seconds_bucket{host=\"b\","
	    "le=\"+Inf\"} 41\n"
	    "kvproxy_host_request_duration_seconds_sum{host=\"b\"} "
	    "157.108780\n"
	    "kvproxy_host_request_duration_seconds_count{host=\"b\"} 41\n");
}

static void
metrics_group_is_down_when_all_that_may_have_keys_are_out(void **state)
{
	static const struct {
		enum shm_host_state first, second;
		unsigned weight;	/* of the second */
		bool	 is_down;
	} table[] = {
		{ SHM_HOST_UP, SHM_HOST_UP, 50, false },
		{ SHM_HOST_OUT, SHM_HOST_UP, 50, false },
		{ SHM_HOST_OUT, SHM_HOST_REJOINING, 50, false },
		{ SHM_HOST_OUT, SHM_HOST_OUT, 50, true },
		{ SHM_HOST_OUT, SHM_HOST_UP, 0, true },
		{ SHM_HOST_UP, SHM_HOST_OUT, 0, false },
	};
	const struct report_group *down;

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		hosts[1].weight = table[i].weight;
		make_setup();
		shm_set_host_state(*state, 5, table[i].first, 1);
		shm_set_host_state(*state, 3, table[i].second, 1);
		down = report_find_down(*state, &setup);
		assert_int_equal(down != NULL, table[i].is_down);
		if (down != NULL)
			assert_string_equal(down->name, "g\"");
		render(*state, false);
		check_has(table[i].is_down ?
		    "kvproxy_group_up{service=\"S\",role=\"hosts\","
		    "group=\"g\\\"\"} 0\n" :
		    "kvproxy_group_up{service=\"S\",role=\"hosts\","
		    "group=\"g\\\"\"} 1\n");
	}
	/* Nothing is out of a group that was emptied on purpose. */
	hosts[0].weight = hosts[1].weight = 0;
	make_setup();
	shm_set_host_state(*state, 5, SHM_HOST_OUT, 1);
	assert_null(report_find_down(*state, &setup));
	hosts[0].weight = hosts[1].weight = 50;
}

static void
report_setup_is_refused_where_it_is_damaged(void **state)
{
	static const char *const table[] = {
		"", "x\n", "2\n", "2 x\n", "2 7\ns\n", "2 7\ns\037hosts\n",
		"2 7\ns\037hosts\037g\0374096\n",
		"2 7\ns\037hosts\037g\037-1\n",
	};
	struct report_setup got;
	FILE *f;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		f = fmemopen((void *)(uintptr_t)table[i],
		    strlen(table[i]) + 1, "r");
		assert_non_null(f);
		assert_false(report_read_setup(f, &got));
		report_free_setup(&got);
		fclose(f);
	}
}

static void
report_says_times_in_two_units(void **state)
{
	static const struct {
		uint64_t	 ms;
		const char	*want;
	} table[] = {
		{ 0, "0.0 s" },
		{ 300, "0.3 s" },
		{ 59949, "59.9 s" },
		{ 59999, "59.9 s" },
		{ 60000, "1 min 0 s" },
		{ 3599999, "59 min 59 s" },
		{ 3600000, "1 h 0 min" },
		{ 86399999, "23 h 59 min" },
		{ 90000000, "1 d 1 h" },
	};
	size_t len;
	FILE *out;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		out = open_memstream(&text, &len);
		assert_non_null(out);
		report_put_time(out, table[i].ms);
		assert_int_equal(fclose(out), 0);
		assert_string_equal(text, table[i].want);
		free(text);
		text = NULL;
	}
}

#define REPORT_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		REPORT_TEST(metrics_labels_are_escaped),
		REPORT_TEST(metrics_spell_a_service_in_one_way),
		REPORT_TEST(metrics_families_have_the_names_of_their_format),
		REPORT_TEST(metrics_times_are_in_seconds),
		REPORT_TEST(metrics_buckets_count_exactly),
		REPORT_TEST(
		    metrics_group_is_down_when_all_that_may_have_keys_are_out),
		REPORT_TEST(report_setup_is_refused_where_it_is_damaged),
		REPORT_TEST(report_says_times_in_two_units),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
