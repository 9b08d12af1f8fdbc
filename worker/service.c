#include "worker/service.h"

#include <string.h>
#include <strings.h>

#include "worker/client.h"
#include "worker/extload.h"
#include "worker/listener.h"
#include "worker/pool.h"
#include "worker/replica.h"
#include "worker/route.h"
#include "worker/slow.h"

/* A service that leaves has had all clients that it will get by then, and the
 * last ones have had the time to ask something. */
enum { SERVICE_SERVE_US = LISTENER_LEAVE_US + 200000 };

struct conf *
conf_new(struct config *cfg, unsigned *host_entry)
{
	struct conf *conf = calloc(1, sizeof(*conf));

	if (conf != NULL)
		*conf = (struct conf){ cfg, host_entry, 1 };
	return conf;
}

void
conf_put(struct conf **confp)
{
	struct conf *conf = *confp;

	*confp = NULL;
	if (conf == NULL || --conf->refs > 0)
		return;
	config_free(&conf->cfg);
	free(conf->host_entry);
	free(conf);
}

static void
service_set_conf(struct service *svc, struct conf *conf, size_t i)
{
	struct shm *shm = svc->w->birth->shm;
	const unsigned n = shm_facts(shm)->n_service_entries;
	unsigned entry;

	conf->refs++;
	conf_put(&svc->conf);
	svc->conf = conf;
	svc->cfg = &conf->cfg->services[i];
	entry = shm_find_service(shm, svc->cfg->name, n);
	ASSERT(entry < n);
	svc->cells = svc->w->slot->counter[1 + entry];
}

static void
service_free(struct service **service)
{
	struct service *svc = *service;

	*service = NULL;
	if (svc == NULL)
		return;
	replica_free(&svc->replica);
	pool_free(&svc->pool);
	route_free(&svc->route);
	extload_close(&svc->loaded);
	conf_put(&svc->conf);
	free(svc);
}

struct service *
service_find(struct worker *w, const char *name)
{
	size_t i;

	for (i = 0; i < w->n_services; i++)
		if (w->services[i]->leave_us == 0 &&
		    strcasecmp(w->services[i]->cfg->name, name) == 0)
			return w->services[i];
	return NULL;
}

struct service *
service_find_any(struct worker *w, const char *name)
{
	struct service *svc = service_find(w, name);
	size_t i;

	for (i = 0; svc == NULL && i < w->n_services; i++)
		if (strcasecmp(w->services[i]->cfg->name, name) == 0)
			svc = w->services[i];
	return svc;
}

static struct service *
service_new(struct worker *w, struct conf *conf, size_t i,
    struct extload *loaded)
{
	struct service *svc = calloc(1, sizeof(*svc));

	if (svc == NULL)
		return NULL;
	svc->w = w;
	service_set_conf(svc, conf, i);
	/* Connections are greeted before it is committed. */
	svc->fn = loaded->fn;
	svc->ext = loaded->ext;
	if ((svc->pool = pool_new(svc)) == NULL)
		service_free(&svc);
	return svc;
}

struct service **
service_prepare_all(struct worker *w, struct conf *conf,
    struct extload *const *loaded)
{
	const struct config *cfg = conf->cfg;
	/* With room for those that will have to leave. */
	struct service **all = calloc(cfg->n_services + w->n_services,
	    sizeof(*all));
	size_t i;

	for (i = 0; all != NULL && i < cfg->n_services; i++) {
		all[i] = service_find(w, cfg->services[i].name);
		if (all[i] == NULL)
			all[i] = service_new(w, conf, i, loaded[i]);
		if (all[i] == NULL || !pool_prepare(all[i]->pool, cfg,
		    &cfg->services[i], conf->host_entry)) {
			free(all);
			return NULL;
		}
	}
	return all;
}

static bool
service_commit(struct service *svc, struct conf *conf, size_t i,
    struct extload *loaded)
{
	service_set_conf(svc, conf, i);
	extload_close(&svc->loaded);
	svc->loaded = loaded;
	svc->fn = loaded->fn;
	svc->ext = loaded->ext;
	pool_commit(svc->pool);
	route_free(&svc->route);
	if ((svc->route = route_new(svc)) == NULL)
		return false;
	if (svc->replica == NULL && svc->cfg->backup != NULL &&
	    (svc->replica = replica_new(svc)) == NULL)
		return false;
	if (svc->replica != NULL)
		replica_configure(svc->replica);
	return true;
}

/* The file has SVC no more. */
static void
service_leave(struct service *svc)
{
	if (svc->leave_us != 0)
		return;
	svc->drain_us = svc->w->now_us + SERVICE_SERVE_US;
	svc->leave_us = svc->drain_us +
	    (uint64_t)svc->conf->cfg->shutdown_timeout_ms * 1000 + 1;
	worker_sweep_later(svc->w);
}

/* Those of W's services that are not among the first N of ALL go behind them;
 * how many there are then. */
static size_t
service_keep_leaving(struct worker *w, struct service **all, size_t n)
{
	size_t i, j, total = n;

	for (i = 0; i < w->n_services; i++) {
		for (j = 0; j < n && all[j] != w->services[i]; j++)
			;
		if (j < n)
			continue;
		all[total++] = w->services[i];
		service_leave(w->services[i]);
	}
	return total;
}

/* A client whose lane is no more has another when nothing of it is under
 * way. */
static void
service_tell_clients(struct worker *w)
{
	struct client *c;

	TAILQ_FOREACH(c, &w->all_clients, link)
		c->lane_gone = c->lane >= pool_n_lanes(c->svc->pool);
}

bool
service_commit_all(struct worker *w, struct service **all, struct conf *conf,
    struct extload **loaded)
{
	size_t i, n = conf->cfg->n_services, total;

	total = service_keep_leaving(w, all, n);
	free(w->services);
	w->services = all;
	w->n_services = total;
	for (i = 0; i < n; i++)
		if (!service_commit(all[i], conf, i, loaded[i]))
			return false;
	conf_put(&w->conf);
	w->conf = conf;
	slow_configure(w);
	service_tell_clients(w);
	worker_sweep_later(w);
	return true;
}

static bool
service_has_clients(const struct service *svc)
{
	const struct client *c;

	TAILQ_FOREACH(c, &svc->w->all_clients, link)
		if (c->svc == svc)
			return true;
	TAILQ_FOREACH(c, &svc->w->lingering, link)
		if (c->svc == svc)
			return true;
	return false;
}

static void
service_close_clients(struct service *svc)
{
	struct client *c, *next;

	for (c = TAILQ_FIRST(&svc->w->all_clients); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->svc == svc)
			client_close(c, COUNTER_CLOSE_STOP);
	}
}

static void
service_drain(struct service *svc)
{
	struct client *c;

	svc->draining = true;
	TAILQ_FOREACH(c, &svc->w->all_clients, link)
		if (c->svc == svc)
			client_drain(c);
}

/* True: SVC, which leaves, is gone. */
static bool
service_sweep_leaving(struct service *svc)
{
	if (svc->w->now_us < svc->drain_us)
		return false;
	if (!svc->draining)
		service_drain(svc);
	if (svc->w->now_us >= svc->leave_us)
		service_close_clients(svc);
	if (service_has_clients(svc))
		return false;
	pool_leave(svc->pool);
	return pool_sweep(svc->pool);
}

bool
service_sweep(struct worker *w)
{
	bool done = true;
	size_t i = 0;

	while (i < w->n_services) {
		struct service *svc = w->services[i];

		if (svc->leave_us == 0)
			done = pool_sweep(svc->pool) && done;
		else if (!service_sweep_leaving(svc))
			done = false;
		else {
			service_free(&svc);
			/* Those that leave stand behind all others. */
			w->services[i] = w->services[--w->n_services];
			continue;
		}
		i++;
	}
	return done;
}

void
service_free_all(struct worker *w)
{
	size_t i, n = w->n_services;

	/* Who is told of what goes with one must not look at the others. */
	w->n_services = 0;
	for (i = 0; i < n; i++)
		service_free(&w->services[i]);
	free(w->services);
	w->services = NULL;
}
