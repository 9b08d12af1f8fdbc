#include "worker/slow.h"

#include <string.h>

#include "shared/clock.h"
#include "shared/log.h"
#include "worker/latency.h"
#include "worker/resolve.h"

enum {
	SLOW_LOG_MAX = 10,		/* lines a second */
	SLOW_TEXT = SHM_SLOW_KEY * 4 + 4
};

void
slow_configure(struct worker *w)
{
	const int64_t slow_ms = w->conf->cfg->slow_ms;

	w->slow_us = slow_ms > 0 ? (uint64_t)slow_ms * 1000 : UINT64_MAX;
}

void
slow_end_second(struct worker *w)
{
	uint64_t second = w->now_us / 1000000;

	if (second == w->slow_second)
		return;
	if (w->slow_n > SLOW_LOG_MAX)
		log_warnx("slow: %u more in that second",
		    w->slow_n - SLOW_LOG_MAX);
	w->slow_second = second;
	w->slow_n = 0;
}

static void
slow_log(struct backend *b, const struct shm_slow_view *v)
{
	char key[SLOW_TEXT];

	log_escape(key, sizeof(key), v->key, MIN(v->key_len, SHM_SLOW_KEY));
	log_warnx("slow: %s \"%s\"%s at %s: %llu ms%s, %llu of them before it "
	    "was sent", shm_latency_names[v->what], key,
	    v->key_len > SHM_SLOW_KEY ? "..." : "", resolve_text(b->place),
	    (unsigned long long)(v->total_us / 1000),
	    v->is_failed ? " without an answer" : "",
	    (unsigned long long)(v->queued_us / 1000));
}

void
slow_note(struct backend *b, const struct leg *leg, bool is_failed)
{
	struct worker *w = b->w;
	struct shm_slow_view v = {
		.at_ms = clock_unix_ms(),
		.total_us = w->now_us - leg->queued_us,
		.host = b->entry,
		.what = latency_class(leg->req),
		.is_failed = is_failed,
		.key_len = leg->key_len,
	};

	v.queued_us = leg->sent_us == 0 ? v.total_us :
	    leg->sent_us - leg->queued_us;
	memcpy(v.key, leg->key, MIN(v.key_len, SHM_SLOW_KEY));
	service_count(b->svc, COUNTER_SLOW, 1);
	shm_add_slow(w->slot, &v);
	slow_end_second(w);
	if (++w->slow_n <= SLOW_LOG_MAX)
		slow_log(b, &v);
}
