#include "shared/report.h"

#include <inttypes.h>

#include "shared/clock.h"
#include "shared/report_int.h"

/*
 * What all forms share.
 */

uint64_t
report_host_total(struct shm *shm, unsigned host, enum host_counter c)
{
	return c == HOST_CONTINUOUS ? shm_host_continuous(shm, host) :
	    shm_host_sum(shm, host, c);
}

const char *
report_worker_state(const struct shm_slot *slot)
{
	return slot->pid == 0 ? "none" : slot->serves ? "serving" :
	    "not serving";
}

uint64_t
report_age_ms(uint64_t now_ms, uint64_t ms)
{
	return now_ms > ms ? now_ms - ms : 0;
}

/*
 * The block.  Its words and blanks are the original's, byte for byte.
 */

static void
report_put_hosts(FILE *out, struct shm *shm, const char *what,
    uint64_t (*value)(struct shm *shm, unsigned host))
{
	unsigned hosts[SHM_HOSTS_MAX];
	unsigned i, n = shm_look_hosts(shm, hosts);
	uint64_t sum = 0;

	for (i = 0; i < n; i++)
		sum += value(shm, hosts[i]);
	fprintf(out, "%s [%" PRIu64 "]\n", what, sum);
	for (i = 0; i < n; i++)
		fprintf(out, "  - %s [%" PRIu64 "]\n",
		    shm_host(shm, hosts[i])->name, value(shm, hosts[i]));
}

static uint64_t
report_host_failed(struct shm *shm, unsigned host)
{
	return shm_host_sum(shm, host, HOST_FAILED);
}

static void
report_put_offline(FILE *out, struct shm *shm)
{
	unsigned hosts[SHM_HOSTS_MAX];
	unsigned i, n = shm_look_hosts(shm, hosts), n_offline = 0;

	for (i = 0; i < n; i++)
		if (shm_host_state(shm, hosts[i]) != SHM_HOST_UP)
			hosts[n_offline++] = hosts[i];
	fprintf(out, "All of offline hosts [%u] \n", n_offline);
	for (i = 0; i < n_offline; i++)
		fprintf(out, "  - %s [offline]\n",
		    shm_host(shm, hosts[i])->name);
}

void
report_block(FILE *out, struct shm *shm)
{
	fprintf(out, "\nNumber of processed requests [%" PRIu64 "]\n",
	    shm_sum(shm, COUNTER_REQUESTS));
	report_put_hosts(out, shm, "Number of requests failed",
	    report_host_failed);
	report_put_hosts(out, shm, "Number of continuous requests failed",
	    shm_host_continuous);
	report_put_offline(out, shm);
	fprintf(out, "Number of client connection [%" PRIu64 "]\n",
	    shm_sum(shm, COUNTER_CLIENTS));
	fprintf(out, "Number of backend connection [%" PRIu64 "]\n",
	    shm_sum(shm, COUNTER_SERVERS));
	fprintf(out, "Read timeout of backend connection [%" PRIu32 "ms]\n",
	    (uint32_t)shm_facts(shm)->recv_timeout_ms);
	fprintf(out, "Size of async queue [%" PRIu64 "]\n\n",
	    shm_sum(shm, COUNTER_COPIES_QUEUED));
}

/*
 * What stands below it.
 */

void
report_put_time(FILE *out, uint64_t ms)
{
	const uint64_t s = ms / 1000;

	if (s < 60)
		fprintf(out, "%" PRIu64 ".%" PRIu64 " s", s, ms / 100 % 10);
	else if (s < 3600)
		fprintf(out, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
	else if (s < 86400)
		fprintf(out, "%" PRIu64 " h %" PRIu64 " min", s / 3600,
		    s / 60 % 60);
	else
		fprintf(out, "%" PRIu64 " d %" PRIu64 " h", s / 86400,
		    s / 3600 % 24);
}

static void
report_put_instance(FILE *out, struct shm *shm, uint64_t now_ms)
{
	const struct shm_facts *facts = shm_facts(shm);
	const uint64_t last_ms = facts->last_reload_ms;

	fprintf(out, "kvproxy %s, pid %" PRId64 ", up ", KVPROXY_VERSION,
	    facts->master_pid);
	report_put_time(out, report_age_ms(now_ms, facts->started_ms));
	fprintf(out, "\nReloads [%" PRIu64 "], refused [%" PRIu64 "]",
	    (uint64_t)facts->reloads, (uint64_t)facts->reload_errors);
	if (last_ms != 0) {
		fputs(", the last one ", out);
		report_put_time(out, report_age_ms(now_ms, last_ms));
		fputs(" ago", out);
	}
	putc('\n', out);
}

static void
report_put_workers(FILE *out, struct shm *shm, uint64_t now_ms)
{
	const unsigned n = shm_n_slots(shm);
	const struct shm_slot *slot;

	fputs("Workers\n", out);
	for (unsigned i = 0; i < n; i++) {
		slot = shm_slot(shm, i);
		fprintf(out, "  - %u [%s], starts %" PRIu64, i,
		    report_worker_state(slot), (uint64_t)slot->starts);
		if (slot->pid != 0) {
			fprintf(out, ", pid %" PRId64 ", up ",
			    (int64_t)slot->pid);
			report_put_time(out, report_age_ms(now_ms,
			    slot->spawned_ms));
			fputs(", heart beat ", out);
			report_put_time(out, report_age_ms(now_ms,
			    slot->beat_ms));
			fputs(" ago", out);
		}
		putc('\n', out);
	}
}

/* Those that are in use since the start have no time. */
static void
report_put_states(FILE *out, struct shm *shm, uint64_t now_ms)
{
	unsigned hosts[SHM_HOSTS_MAX];
	const unsigned n = shm_look_hosts(shm, hosts);
	const struct shm_host *host;

	fputs("Hosts\n", out);
	for (unsigned i = 0; i < n; i++) {
		host = shm_host(shm, hosts[i]);
		fprintf(out, "  - %s [%s] for ", host->name,
		    shm_host_state_names[shm_host_state(shm, hosts[i])]);
		report_put_time(out, report_age_ms(now_ms,
		    MAX(host->since_us / 1000, shm_facts(shm)->started_ms)));
		fprintf(out, ", went out %" PRIu64 " times\n",
		    (uint64_t)host->ejections);
	}
}

void
report_text(FILE *out, struct shm *shm)
{
	const uint64_t now_ms = clock_ms();

	report_block(out, shm);
	report_put_instance(out, shm, now_ms);
	report_put_workers(out, shm, now_ms);
	report_put_states(out, shm, now_ms);
}
