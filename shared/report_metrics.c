#include "shared/report_metrics.h"

#include <inttypes.h>
#include <string.h>

#include "shared/name.h"
#include "shared/report_int.h"

/* The least and the largest bound of a histogram's buckets, which are powers of
 * two microseconds: those are the ends of hist.h's buckets, so all counts are
 * exact. */
#define METRICS_LEAST_BITS	5	/* 32 us */
#define METRICS_MOST_BITS	24	/* 17 s */
_Static_assert(METRICS_MOST_BITS <= HIST_MAX_BITS, "a bound without bucket");

#define METRICS_NAME_MAX	96
#define METRICS_VALUE_MAX	1024	/* no line of the file has more */

enum metrics_type {
	METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM, METRICS_INFO
};

/* How the two formats call a type, and what ends the names of its samples. */
static const struct {
	const char	*text, *openmetrics, *suffix;
} metrics_types[] = {
	[METRICS_COUNTER] = { "counter", "counter", "_total" },
	[METRICS_GAUGE] = { "gauge", "gauge", "" },
	[METRICS_HISTOGRAM] = { "histogram", "histogram", "" },
	[METRICS_INFO] = { "gauge", "info", "_info" },
};

struct metrics_page {
	FILE		*out;
	struct shm	*shm;
	const struct report_setup *setup;
	bool		 is_openmetrics;
	char		 name[METRICS_NAME_MAX]; /* the samples of the family
						  * that is being written */
	unsigned	 n_hosts, n_services;
	unsigned	 hosts[SHM_HOSTS_MAX], services[SHM_SERVICES_MAX];
};

/*
 * Lines.
 */

/* Begin the family "kvproxy_" WHAT.  OpenMetrics gives it the name without what
 * ends its samples' names. */
static void
metrics_begin(struct metrics_page *p, const char *what,
    enum metrics_type type, const char *help)
{
	const char *suffix = metrics_types[type].suffix;
	char family[METRICS_NAME_MAX];
	int n;

	n = snprintf(p->name, sizeof(p->name), "kvproxy_%s%s", what, suffix);
	ASSERT(n > 0 && (size_t)n < sizeof(p->name));
	strcpy(family, p->name);
	if (p->is_openmetrics)
		family[(size_t)n - strlen(suffix)] = '\0';
	fprintf(p->out, "# HELP %s %s\n# TYPE %s %s\n", family, help, family,
	    p->is_openmetrics ? metrics_types[type].openmetrics :
	    metrics_types[type].text);
}

/* A label's value, in both formats: NAME. */
static void
metrics_put_value(FILE *out, const char *name)
{
	char spelled[NAME_ROOM(METRICS_VALUE_MAX)];
	const char *s = name_spell(spelled, sizeof(spelled), name);

	putc('"', out);
	for (; *s != '\0'; s++) {
		if (*s == '"' || *s == '\\')
			putc('\\', out);
		putc(*s, out);
	}
	putc('"', out);
}

/* A sample with the label KEY, NULL: with none; its value is to follow. */
static void
metrics_put_name(struct metrics_page *p, const char *key, const char *value)
{
	fputs(p->name, p->out);
	if (key != NULL) {
		fprintf(p->out, "{%s=", key);
		metrics_put_value(p->out, value);
		putc('}', p->out);
	}
	putc(' ', p->out);
}

static void
metrics_put(struct metrics_page *p, const char *key, const char *value,
    uint64_t n)
{
	metrics_put_name(p, key, value);
	fprintf(p->out, "%" PRIu64 "\n", n);
}

/* N of a family that is in seconds; N has UNIT to one. */
static void
metrics_put_seconds(struct metrics_page *p, const char *key,
    const char *value, uint64_t n, uint64_t unit)
{
	metrics_put_name(p, key, value);
	fprintf(p->out, "%" PRIu64 ".%0*" PRIu64 "\n", n / unit,
	    unit == 1000 ? 3 : 6, n % unit);
}

/*
 * Counters of the tables.
 */

static bool
metrics_is_ms(const struct counter_info *info)
{
	const size_t len = strlen(info->name);

	return len > 3 && strcmp(info->name + len - 3, "_ms") == 0;
}

static void
metrics_begin_counter(struct metrics_page *p, const char *prefix,
    const struct counter_info *info)
{
	const bool is_ms = metrics_is_ms(info);
	char what[METRICS_NAME_MAX];

	snprintf(what, sizeof(what), "%s%.*s%s", prefix,
	    (int)strlen(info->name) - (is_ms ? 2 : 0), info->name,
	    is_ms ? "seconds" : "");
	metrics_begin(p, what, info->kind == COUNTER_TOTAL ?
	    METRICS_COUNTER : METRICS_GAUGE, info->text);
}

static void
metrics_put_counter(struct metrics_page *p, const char *key,
    const char *value, const struct counter_info *info, uint64_t n)
{
	if (metrics_is_ms(info))
		metrics_put_seconds(p, key, value, n, 1000);
	else
		metrics_put(p, key, value, n);
}

static void
metrics_put_totals(struct metrics_page *p)
{
	for (int c = 0; c < COUNTER_N; c++) {
		metrics_begin_counter(p, "", &counters_worker[c]);
		metrics_put_counter(p, NULL, NULL, &counters_worker[c],
		    shm_sum(p->shm, (enum counter)c));
	}
}

/* The same of each service, but for what is counted for all together. */
static void
metrics_put_services(struct metrics_page *p)
{
	for (int c = 0; c < COUNTER_N; c++) {
		if (!counters_is_of_service((enum counter)c))
			continue;
		metrics_begin_counter(p, "service_", &counters_worker[c]);
		for (unsigned i = 0; i < p->n_services; i++)
			metrics_put_counter(p, "service",
			    shm_service(p->shm, p->services[i])->name,
			    &counters_worker[c], shm_service_sum(p->shm,
			    p->services[i], (enum counter)c));
	}
}

static void
metrics_put_hosts(struct metrics_page *p)
{
	for (int c = 0; c < HOST_N; c++) {
		if (counters_is_internal((enum host_counter)c))
			continue;
		metrics_begin_counter(p, "host_", &counters_host[c]);
		for (unsigned i = 0; i < p->n_hosts; i++)
			metrics_put_counter(p, "host",
			    shm_host(p->shm, p->hosts[i])->name,
			    &counters_host[c], report_host_total(p->shm,
			    p->hosts[i], (enum host_counter)c));
	}
}

/*
 * Latency.
 */

static void
metrics_put_histogram(struct metrics_page *p, const char *key,
    const char *value, const struct hist_view *view)
{
	for (unsigned bits = METRICS_LEAST_BITS; bits <= METRICS_MOST_BITS;
	    bits++) {
		fprintf(p->out, "%s_bucket{%s=", p->name, key);
		metrics_put_value(p->out, value);
		fprintf(p->out, ",le=\"%.9g\"} %" PRIu64 "\n",
		    (double)(UINT64_C(1) << bits) / 1e6,
		    hist_below(view, UINT64_C(1) << bits));
	}
	fprintf(p->out, "%s_bucket{%s=", p->name, key);
	metrics_put_value(p->out, value);
	fprintf(p->out, ",le=\"+Inf\"} %" PRIu64 "\n%s_sum{%s=", view->total,
	    p->name, key);
	metrics_put_value(p->out, value);
	fprintf(p->out, "} %" PRIu64 ".%06" PRIu64 "\n%s_count{%s=",
	    view->sum_us / 1000000, view->sum_us % 1000000, p->name, key);
	metrics_put_value(p->out, value);
	fprintf(p->out, "} %" PRIu64 "\n", view->total);
}

static void
metrics_put_latency(struct metrics_page *p)
{
	struct hist_view view;

	metrics_begin(p, "request_duration_seconds", METRICS_HISTOGRAM,
	    "what clients wait for, by what they ask");
	for (int i = 0; i < SHM_LATENCY_N; i++) {
		shm_look_latency(p->shm, (enum shm_latency)i, &view);
		metrics_put_histogram(p, "class", shm_latency_names[i], &view);
	}
	metrics_begin(p, "host_request_duration_seconds", METRICS_HISTOGRAM,
	    "what the host takes, as the worker sees it");
	for (unsigned i = 0; i < p->n_hosts; i++) {
		shm_look_host_latency(p->shm, p->hosts[i], &view);
		metrics_put_histogram(p, "host",
		    shm_host(p->shm, p->hosts[i])->name, &view);
	}
}

/*
 * The master's facts.
 */

static void
metrics_put_instance(struct metrics_page *p)
{
	const struct shm_facts *facts = shm_facts(p->shm);

	metrics_begin(p, "build", METRICS_INFO, "the version that runs");
	metrics_put(p, "version", KVPROXY_VERSION, 1);
	metrics_begin(p, "start_time_seconds", METRICS_GAUGE,
	    "when the master was started, since 1970");
	metrics_put_seconds(p, NULL, NULL, facts->started_unix_ms, 1000);
	metrics_begin(p, "config_reloads", METRICS_COUNTER,
	    "reloads that have come into force");
	metrics_put(p, NULL, NULL, facts->reloads);
	metrics_begin(p, "config_reload_errors", METRICS_COUNTER,
	    "reloads that were refused");
	metrics_put(p, NULL, NULL, facts->reload_errors);
	metrics_begin(p, "max_connections", METRICS_GAUGE,
	    "client connections that there may be");
	metrics_put(p, NULL, NULL, p->setup->max_connections);
}

static void
metrics_put_host_facts(struct metrics_page *p)
{
	static const struct {
		const char	*what;
		enum metrics_type type;
		const char	*help;
	} rows[] = {
		{ "host_up", METRICS_GAUGE,
		    "1: it is given all its requests; 0: out, or about to "
		    "be emptied" },
		{ "host_ejections", METRICS_COUNTER,
		    "times it was taken out" },
		{ "host_returns", METRICS_COUNTER, "times it was put back" },
	};
	const struct shm_host *host;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		metrics_begin(p, rows[i].what, rows[i].type, rows[i].help);
		for (unsigned j = 0; j < p->n_hosts; j++) {
			host = shm_host(p->shm, p->hosts[j]);
			metrics_put(p, "host", host->name,
			    i == 0 ? host->state == SHM_HOST_UP :
			    i == 1 ? host->ejections : host->returns);
		}
	}
}

/* All hosts of GROUP are out; one that was emptied on purpose is not down. */
static bool
metrics_is_down(struct shm *shm, const struct report_group *group)
{
	for (size_t i = 0; i < group->n_entries; i++)
		if (shm_host_state(shm, group->entries[i]) != SHM_HOST_OUT)
			return false;
	return group->n_entries > 0;
}

static void
metrics_put_groups(struct metrics_page *p)
{
	const struct report_setup *setup = p->setup;

	metrics_begin(p, "group_up", METRICS_GAUGE,
	    "0: all hosts of the service's group are out");
	for (size_t i = 0; i < setup->n_groups; i++) {
		const struct report_group *group = &setup->groups[i];

		fprintf(p->out, "%s{service=", p->name);
		metrics_put_value(p->out, group->service);
		fputs(",role=", p->out);
		metrics_put_value(p->out, group->role);
		fputs(",group=", p->out);
		metrics_put_value(p->out, group->name);
		fprintf(p->out, "} %d\n", !metrics_is_down(p->shm, group));
	}
}

const struct report_group *
report_find_down(struct shm *shm, const struct report_setup *setup)
{
	for (size_t i = 0; i < setup->n_groups; i++)
		if (metrics_is_down(shm, &setup->groups[i]))
			return &setup->groups[i];
	return NULL;
}

/*
 * Workers.
 */

/* Of those that there should be: whether they are there. */
static void
metrics_put_worker_facts(struct metrics_page *p)
{
	const unsigned n = MIN(shm_n_slots(p->shm), p->setup->n_workers);
	const struct shm_slot *slot;
	char number[16];

	metrics_begin(p, "worker_up", METRICS_GAUGE, "1: it serves");
	for (unsigned i = 0; i < n; i++) {
		slot = shm_slot(p->shm, i);
		snprintf(number, sizeof(number), "%u", i);
		metrics_put(p, "worker", number, slot->pid != 0 &&
		    slot->serves != 0);
	}
	metrics_begin(p, "worker_starts", METRICS_COUNTER,
	    "times it was started");
	for (unsigned i = 0; i < n; i++) {
		snprintf(number, sizeof(number), "%u", i);
		metrics_put(p, "worker", number, shm_slot(p->shm, i)->starts);
	}
}

/* What each of them has now: totals by worker say nothing more. */
static void
metrics_put_worker_gauges(struct metrics_page *p)
{
	const unsigned n = MIN(shm_n_slots(p->shm), p->setup->n_workers);
	char number[16];

	for (int c = 0; c < COUNTER_N; c++) {
		if (counters_worker[c].kind == COUNTER_TOTAL)
			continue;
		metrics_begin_counter(p, "worker_", &counters_worker[c]);
		for (unsigned i = 0; i < n; i++) {
			snprintf(number, sizeof(number), "%u", i);
			metrics_put_counter(p, "worker", number,
			    &counters_worker[c],
			    shm_slot_sum(p->shm, shm_slot(p->shm, i),
			    (enum counter)c));
		}
	}
}

void
report_metrics(FILE *out, struct shm *shm, const struct report_setup *setup,
    bool is_openmetrics)
{
	struct metrics_page p = {
		.out = out, .shm = shm, .setup = setup,
		.is_openmetrics = is_openmetrics,
	};

	p.n_hosts = shm_look_hosts(shm, p.hosts);
	p.n_services = shm_look_services(shm, p.services);
	metrics_put_instance(&p);
	metrics_put_totals(&p);
	metrics_put_services(&p);
	metrics_put_latency(&p);
	metrics_put_groups(&p);
	metrics_put_host_facts(&p);
	metrics_put_hosts(&p);
	metrics_put_worker_facts(&p);
	metrics_put_worker_gauges(&p);
	if (is_openmetrics)
		fputs("# EOF\n", out);
}
