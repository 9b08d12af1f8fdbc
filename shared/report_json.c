/*
 * report_json.c: everything that the segment says, as JSON.
 *
 * Names are those of `stats`.
 */
#include "shared/json.h"
#include "shared/clock.h"
#include "shared/name.h"
#include "shared/report_int.h"

static void
report_json_instance(struct json *j, struct shm *shm, uint64_t now_ms)
{
	const struct shm_facts *facts = shm_facts(shm);
	const uint64_t last_ms = facts->last_reload_ms;

	json_string(j, "version", KVPROXY_VERSION);
	json_number(j, "pid", (uint64_t)facts->master_pid);
	json_thousandths(j, "started", facts->started_unix_ms);
	json_thousandths(j, "uptime_s",
	    report_age_ms(now_ms, facts->started_ms));
	json_number(j, "recv_timeout_ms", facts->recv_timeout_ms);
	json_number(j, "hosts_generation", shm_generation(shm));
	json_number(j, "reloads", facts->reloads);
	json_number(j, "reload_errors", facts->reload_errors);
	if (last_ms == 0)
		json_null(j, "last_reload_age_s");
	else
		json_thousandths(j, "last_reload_age_s",
		    report_age_ms(now_ms, last_ms));
}

static void
report_json_totals(struct json *j, struct shm *shm)
{
	json_open(j, "counters", '{');
	for (int c = 0; c < COUNTER_N; c++)
		json_number(j, counters_worker[c].name,
		    shm_sum(shm, (enum counter)c));
	json_close(j, '}');
}

static void
report_json_latency(struct json *j, const char *key,
    const struct hist_view *view)
{
	char name[32];

	json_open(j, key, '{');
	json_number(j, "count", view->total);
	json_thousandths(j, "mean_us", (uint64_t)(hist_mean(view) * 1000));
	for (size_t i = 0; i < HIST_N_QUANTILES; i++) {
		snprintf(name, sizeof(name), "%s_us", hist_quantiles[i].name);
		json_thousandths(j, name, (uint64_t)(hist_quantile(view,
		    hist_quantiles[i].p) * 1000));
	}
	json_number(j, "max_us", view->max_us);
	json_close(j, '}');
}

static void
report_json_latencies(struct json *j, struct shm *shm)
{
	struct hist_view view;

	json_open(j, "latency", '{');
	for (int i = 0; i < SHM_LATENCY_N; i++) {
		shm_look_latency(shm, (enum shm_latency)i, &view);
		report_json_latency(j, shm_latency_names[i], &view);
	}
	json_close(j, '}');
}

static void
report_json_worker(struct json *j, struct shm *shm, unsigned i,
    uint64_t now_ms)
{
	const struct shm_slot *slot = shm_slot(shm, i);
	const bool is_there = slot->pid != 0;

	json_open(j, NULL, '{');
	json_number(j, "worker", i);
	json_number(j, "pid", (uint64_t)slot->pid);
	json_string(j, "state", report_worker_state(slot));
	json_number(j, "starts", slot->starts);
	if (is_there) {
		json_thousandths(j, "uptime_s",
		    report_age_ms(now_ms, slot->spawned_ms));
		json_thousandths(j, "heartbeat_age_s",
		    report_age_ms(now_ms, slot->beat_ms));
	} else {
		json_null(j, "uptime_s");
		json_null(j, "heartbeat_age_s");
	}
	json_number(j, "hosts_generation", slot->seen_generation);
	json_number(j, "reloads", slot->seen_config);
	json_open(j, "counters", '{');
	for (int c = 0; c < COUNTER_N; c++)
		json_number(j, counters_worker[c].name,
		    shm_slot_sum(shm, slot, (enum counter)c));
	json_close(j, '}');
	json_close(j, '}');
}

static void
report_json_service(struct json *j, struct shm *shm, unsigned service)
{
	char name[NAME_ROOM(SHM_SERVICE_NAME)];

	json_open(j, NULL, '{');
	json_string(j, "service", name_spell(name, sizeof(name),
	    shm_service(shm, service)->name));
	json_open(j, "counters", '{');
	for (int c = 0; c < COUNTER_N; c++)
		if (counters_is_of_service((enum counter)c))
			json_number(j, counters_worker[c].name,
			    shm_service_sum(shm, service, (enum counter)c));
	json_close(j, '}');
	json_close(j, '}');
}

static void
report_json_host(struct json *j, struct shm *shm, unsigned host,
    uint64_t now_ms)
{
	const struct shm_host *h = shm_host(shm, host);
	char name[NAME_ROOM(SHM_HOST_NAME)];
	struct hist_view view;

	json_open(j, NULL, '{');
	json_string(j, "host", name_spell(name, sizeof(name), h->name));
	json_string(j, "state",
	    shm_host_state_names[shm_host_state(shm, host)]);
	json_thousandths(j, "state_age_s", report_age_ms(now_ms,
	    MAX(h->since_us / 1000, shm_facts(shm)->started_ms)));
	json_number(j, "ejections", h->ejections);
	json_number(j, "returns", h->returns);
	json_open(j, "counters", '{');
	for (int c = 0; c < HOST_N; c++)
		if (!counters_is_internal((enum host_counter)c))
			json_number(j, counters_host[c].name,
			    report_host_total(shm, host,
			    (enum host_counter)c));
	json_close(j, '}');
	shm_look_host_latency(shm, host, &view);
	report_json_latency(j, "latency", &view);
	json_close(j, '}');
}

void
report_json(FILE *out, struct shm *shm)
{
	const uint64_t now_ms = clock_ms();
	const unsigned n_slots = shm_n_slots(shm);
	unsigned services[SHM_SERVICES_MAX], hosts[SHM_HOSTS_MAX];
	const unsigned n_services = shm_look_services(shm, services);
	const unsigned n_hosts = shm_look_hosts(shm, hosts);
	struct json j = { .out = out };

	json_open(&j, NULL, '{');
	report_json_instance(&j, shm, now_ms);
	report_json_totals(&j, shm);
	report_json_latencies(&j, shm);
	json_open(&j, "services", '[');
	for (unsigned i = 0; i < n_services; i++)
		report_json_service(&j, shm, services[i]);
	json_close(&j, ']');
	json_open(&j, "workers", '[');
	for (unsigned i = 0; i < n_slots; i++)
		report_json_worker(&j, shm, i, now_ms);
	json_close(&j, ']');
	json_open(&j, "hosts", '[');
	for (unsigned i = 0; i < n_hosts; i++)
		report_json_host(&j, shm, hosts[i], now_ms);
	json_close(&j, ']');
	json_close(&j, '}');
}
