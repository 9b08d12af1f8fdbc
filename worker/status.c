#include "worker/status.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shared/log.h"
#include "shared/name.h"
#include "shared/report.h"
#include "worker/answer.h"
#include "worker/client.h"

enum { STATUS_NAME_MAX = SHM_HOST_NAME + 64, STATUS_VALUE_MAX = 960 };

void
status_answer_block(struct request *req)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out;

	if ((out = open_memstream(&text, &len)) == NULL) {
		client_break(req->client);
		return;
	}
	report_block(out, req->svc->w->birth->shm);
	if (fclose(out) == 0)
		answer_admin(req, NULL, text, len);
	else
		client_break(req->client);
	free(text);
	answer_admin(req, NULL, NULL, 0);
}

/*
 * Statistics.
 */

static void status_stat(struct request *req, const char *name, const char *fmt,
    ...) PRINTF_LIKE(3, 4);

static void
status_stat(struct request *req, const char *name, const char *fmt, ...)
{
	char spelled[NAME_ROOM(STATUS_NAME_MAX)], value[STATUS_VALUE_MAX];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	if (n >= 0)
		answer_admin(req, name_spell(spelled, sizeof(spelled), name),
		    value, MIN((size_t)n, sizeof(value) - 1));
}

/* N of a total, less BASE of it when the statistics were reset last; a gauge
 * stays. */
static uint64_t
status_since(enum counter_kind kind, uint64_t n, const counter_cell *base)
{
	uint64_t before;

	if (kind != COUNTER_TOTAL || base == NULL)
		return n;
	before = counter_get(base);
	return n - MIN(n, before);
}

/* In what follows BASE is NULL where there was no reset, or what it is of came
 * later. */
static uint64_t
status_total(struct shm *shm, const struct shm_base *base, enum counter c)
{
	return status_since(counters_worker[c].kind, shm_sum(shm, c),
	    base != NULL ? &base->counter[c] : NULL);
}

static uint64_t
status_host_total(struct shm *shm, unsigned host,
    const struct shm_base_host *base, enum host_counter c)
{
	if (c == HOST_CONTINUOUS)
		return shm_host_continuous(shm, host);
	return status_since(counters_host[c].kind, shm_host_sum(shm, host, c),
	    base != NULL ? &base->counter[c] : NULL);
}

static void
status_stats_totals(struct request *req, struct worker *w)
{
	struct shm *shm = w->birth->shm;
	struct shm_facts *facts = shm_facts(shm);
	const struct shm_base *base = shm_base(shm);
	int c;

	status_stat(req, "pid", "%" PRId64, facts->master_pid);
	status_stat(req, "uptime", "%" PRIu64,
	    (w->now_us / 1000 - facts->started_ms) / 1000);
	status_stat(req, "time", "%lld", (long long)time(NULL));
	status_stat(req, "version", "%s", KVPROXY_VERSION);
	status_stat(req, "libevent", "libev %d.%d", ev_version_major(),
	    ev_version_minor());
	status_stat(req, "pointer_size", "%zu", 8 * sizeof(void *));
	status_stat(req, "threads", "%u", shm_n_slots(shm));
	status_stat(req, "hosts_generation", "%" PRIu64, shm_generation(shm));
	status_stat(req, "reloads", "%" PRIu64, (uint64_t)facts->reloads);
	status_stat(req, "reload_errors", "%" PRIu64,
	    (uint64_t)facts->reload_errors);
	status_stat(req, "cmd_get", "%" PRIu64,
	    status_total(shm, base, COUNTER_KEYS_READ));
	status_stat(req, "cmd_set", "%" PRIu64,
	    status_total(shm, base, COUNTER_STORES));
	for (c = 0; c < COUNTER_N; c++)
		status_stat(req, counters_worker[c].name, "%" PRIu64,
		    status_total(shm, base, (enum counter)c));
}

/* Of each service, but for what is counted for all together. */
static void
status_stats_services(struct request *req, struct worker *w)
{
	struct shm *shm = w->birth->shm;
	const struct shm_base *base = shm_base(shm);
	unsigned services[SHM_SERVICES_MAX];
	unsigned i, service, n = shm_look_services(shm, services);
	char name[STATUS_NAME_MAX];
	int c;

	for (i = 0; i < n; i++) {
		service = services[i];
		for (c = 0; c < COUNTER_N; c++) {
			if (!counters_is_of_service((enum counter)c))
				continue;
			snprintf(name, sizeof(name), "%s:%s",
			    shm_service(shm, service)->name,
			    counters_worker[c].name);
			status_stat(req, name, "%" PRIu64, status_since(
			    counters_worker[c].kind,
			    shm_service_sum(shm, service, (enum counter)c),
			    base != NULL && service < base->n_services ?
			    &base->service[service][c] : NULL));
		}
	}
}

static void
status_stats_host(struct request *req, struct shm *shm, unsigned entry,
    const struct shm_base_host *base)
{
	const struct shm_host *host = shm_host(shm, entry);
	char name[STATUS_NAME_MAX];
	int c;

	snprintf(name, sizeof(name), "%s:state", host->name);
	status_stat(req, name, "%s", shm_host_state_names[host->state]);
	snprintf(name, sizeof(name), "%s:ejections", host->name);
	status_stat(req, name, "%" PRIu64, status_since(COUNTER_TOTAL,
	    counter_get(&host->ejections), base != NULL ? &base->ejections :
	    NULL));
	snprintf(name, sizeof(name), "%s:returns", host->name);
	status_stat(req, name, "%" PRIu64, status_since(COUNTER_TOTAL,
	    counter_get(&host->returns), base != NULL ? &base->returns :
	    NULL));
	for (c = 0; c < HOST_N; c++) {
		if (counters_is_internal((enum host_counter)c))
			continue;
		snprintf(name, sizeof(name), "%s:%s", host->name,
		    counters_host[c].name);
		status_stat(req, name, "%" PRIu64, status_host_total(shm,
		    entry, base, (enum host_counter)c));
	}
}

static void
status_stats_backends(struct request *req, struct worker *w)
{
	struct shm *shm = w->birth->shm;
	const struct shm_base *base = shm_base(shm);
	unsigned hosts[SHM_HOSTS_MAX];
	unsigned i, n = shm_look_hosts(shm, hosts);

	for (i = 0; i < n; i++)
		status_stats_host(req, shm, hosts[i],
		    base != NULL && hosts[i] < base->n_hosts ?
		    &base->host[hosts[i]] : NULL);
}

static void
status_stats_workers(struct request *req, struct worker *w)
{
	struct shm *shm = w->birth->shm;
	const struct shm_base *base = shm_base(shm);
	unsigned i, n = shm_n_slots(shm);
	char name[STATUS_NAME_MAX];
	struct shm_slot *slot;
	int c;

	for (i = 0; i < n; i++) {
		slot = shm_slot(shm, i);
		snprintf(name, sizeof(name), "%u:pid", i);
		status_stat(req, name, "%" PRId64, (int64_t)slot->pid);
		snprintf(name, sizeof(name), "%u:starts", i);
		status_stat(req, name, "%" PRIu64, (uint64_t)slot->starts);
		/* Of the hosts' states: what it goes by. */
		snprintf(name, sizeof(name), "%u:hosts_generation", i);
		status_stat(req, name, "%" PRIu64,
		    (uint64_t)slot->seen_generation);
		snprintf(name, sizeof(name), "%u:reloads", i);
		status_stat(req, name, "%" PRIu64,
		    (uint64_t)slot->seen_config);
		for (c = 0; c < COUNTER_N; c++) {
			snprintf(name, sizeof(name), "%u:%s", i,
			    counters_worker[c].name);
			status_stat(req, name, "%" PRIu64, status_since(
			    counters_worker[c].kind,
			    shm_slot_sum(shm, slot, (enum counter)c),
			    base != NULL && i < base->n_workers ?
			    &base->worker[i].counter[c] : NULL));
		}
	}
}

/* An option as its type is kept. */
#define STATUS_NUM(v)	"%" PRId64, (int64_t)(v)
#define STATUS_INT	STATUS_NUM
#define STATUS_MS	STATUS_NUM
#define STATUS_SEC(v)	"%g", (double)(v) / 1000
#define STATUS_MB(v)	STATUS_NUM((v) >> 20)
#define STATUS_BOOL(v)	"%s", (v) ? "on" : "off"
#define STATUS_STR(v)	"%s", (v) != NULL ? (v) : ""
#define STATUS_OPTION(from, field, key, type, names) \
	status_option_##type(req, key, from->field, names);

static void
status_option_ENUM(struct request *req, const char *key, int v,
    const char *names)
{
	for (; v > 0; v--)
		names = strchr(names, '|') + 1;
	status_stat(req, key, "%.*s", (int)strcspn(names, "|"), names);
}

#define STATUS_OPTION_FN(type, ctype) \
static void \
status_option_##type(struct request *req, const char *key, ctype v, \
    const char *names) \
{ \
	(void)names; \
	status_stat(req, key, STATUS_##type(v)); \
}
STATUS_OPTION_FN(INT, int64_t)
STATUS_OPTION_FN(MS, int64_t)
STATUS_OPTION_FN(SEC, int64_t)
STATUS_OPTION_FN(MB, int64_t)
STATUS_OPTION_FN(BOOL, bool)
STATUS_OPTION_FN(STR, const char *)

static void
status_stats_settings(struct request *req, struct worker *w)
{
	const struct config *core = w->conf->cfg;
	const struct config_service *service = req->svc->cfg;

#define STATUS_CORE(field, key, type, def, least, most, names, ...) \
	STATUS_OPTION(core, field, key, type, names)
#define STATUS_SERVICE(field, key, type, def, least, most, names, ...) \
	STATUS_OPTION(service, field, key, type, names)
	CONFIG_CORE(STATUS_CORE)
	CONFIG_SERVICE(STATUS_SERVICE)
}

static void
status_stat_latency(struct request *req, const char *what,
    const struct hist_view *view)
{
	const struct hist_quantile_name *q = hist_quantiles;
	char name[STATUS_NAME_MAX];
	size_t i;

	snprintf(name, sizeof(name), "%s:count", what);
	status_stat(req, name, "%" PRIu64, view->total);
	snprintf(name, sizeof(name), "%s:mean_us", what);
	status_stat(req, name, "%.0f", hist_mean(view));
	for (i = 0; i < HIST_N_QUANTILES; i++) {
		snprintf(name, sizeof(name), "%s:%s_us", what, q[i].name);
		status_stat(req, name, "%.0f", hist_quantile(view, q[i].p));
	}
	snprintf(name, sizeof(name), "%s:max_us", what);
	status_stat(req, name, "%" PRIu64, view->max_us);
}

/* What clients wait for, and what hosts take. */
static void
status_stats_latency(struct request *req, struct worker *w)
{
	struct shm *shm = w->birth->shm;
	const struct shm_base *base = shm_base(shm);
	unsigned hosts[SHM_HOSTS_MAX];
	unsigned i, host, n = shm_look_hosts(shm, hosts);
	struct hist_view view;

	for (i = 0; i < SHM_LATENCY_N; i++) {
		shm_look_latency(shm, (enum shm_latency)i, &view);
		if (base != NULL)
			hist_since(&view, &base->latency[i]);
		status_stat_latency(req, shm_latency_names[i], &view);
	}
	for (i = 0; i < n; i++) {
		host = hosts[i];
		shm_look_host_latency(shm, host, &view);
		if (base != NULL && host < base->n_hosts)
			hist_since(&view, &base->host_latency[host]);
		status_stat_latency(req, shm_host(shm, host)->name, &view);
	}
}

/* When VIEW ended, by the clock here. */
static void
status_format_time(char *dst, size_t size, uint64_t at_ms)
{
	time_t t = (time_t)(at_ms / 1000);
	struct tm tm;
	size_t len;

	if (localtime_r(&t, &tm) == NULL)
		memset(&tm, 0, sizeof(tm));
	len = strftime(dst, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(dst + len, size - len, ".%03u", (unsigned)(at_ms % 1000));
}

/* The last ones that were slow, the newest first. */
static void
status_stats_slow(struct request *req, struct worker *w)
{
	struct shm *shm = w->birth->shm;
	struct shm_slow_view views[SHM_SLOW_N];
	unsigned i, n = shm_look_slow(shm, shm_base(shm), views);
	char name[32], when[64], key[SHM_SLOW_KEY * 4 + 4];
	char host[NAME_ROOM(SHM_HOST_NAME)];

	for (i = 0; i < n; i++) {
		const struct shm_slow_view *v = &views[i];

		snprintf(name, sizeof(name), "slow:%u", i);
		status_format_time(when, sizeof(when), v->at_ms);
		log_escape(key, sizeof(key), v->key,
		    MIN(v->key_len, SHM_SLOW_KEY));
		status_stat(req, name, "%s %s %s%s %s %s total_us=%" PRIu64
		    " queued_us=%" PRIu64, when, shm_latency_names[v->what],
		    v->key_len > 0 ? key : "-",
		    v->key_len > SHM_SLOW_KEY ? "..." : "",
		    name_spell(host, sizeof(host),
		    shm_host(shm, v->host)->name),
		    v->is_failed ? "failed" : "answered", v->total_us,
		    v->queued_us);
	}
}

/* Kinds that only a server has: there is nothing to list, which is not an
 * error for those who ask every server for them. */
static void
status_stats_none(struct request *req, struct worker *w)
{
	(void)req;
	(void)w;
}

void
status_answer_stats(struct request *req)
{
	static const struct {
		const char	*name;
		void		(*fn)(struct request *req, struct worker *w);
	} kinds[] = {
		{ "", status_stats_totals },
		{ "backends", status_stats_backends },
		{ "services", status_stats_services },
		{ "workers", status_stats_workers },
		{ "latency", status_stats_latency },
		{ "settings", status_stats_settings },
		{ "slow", status_stats_slow },
		{ "items", status_stats_none },
		{ "slabs", status_stats_none },
	};
	struct kvp_slice kind = request_note(req);
	char name[STATUS_NAME_MAX];
	size_t i;

	for (i = 0; i < ARRAY_LEN(kinds); i++) {
		if (strlen(kinds[i].name) != kind.len || (kind.len > 0 &&
		    memcmp(kinds[i].name, kind.p, kind.len) != 0))
			continue;
		kinds[i].fn(req, req->svc->w);
		answer_admin(req, NULL, NULL, 0);
		return;
	}
	snprintf(name, sizeof(name), "%.*s",
	    (int)MIN(kind.len, sizeof(name) - 1), (const char *)kind.p);
	answer_admin(req, name, NULL, 0);
}

void
status_answer_reset(struct request *req)
{
	struct worker *w = req->svc->w;
	unsigned held;

	if (shm_reset(w->birth->shm, w->birth->slot, w->now_us)) {
		answer_admin(req, NULL, NULL, 0);
		return;
	}
	if (log_gate_pass(&w->reset_gate, &held))
		log_warn("worker %u: cannot reset the statistics",
		    w->birth->slot);
	req->why = KVP_FAIL_MEMORY;
	answer_render_failure(req, &req->reply);
}
