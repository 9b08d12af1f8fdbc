#include "worker/pool.h"

#include "worker/backend.h"

struct pool_host {
	const struct config_addr *addr;
	unsigned	 index;		/* in config.addrs */
	unsigned	 entry;		/* in the shared table */
	enum shm_host_state state;	/* what this worker goes by */
};

struct pool {
	struct worker	*w;
	unsigned	 n_hosts;
	unsigned	 n_each;	/* connections a host */
	struct pool_host *hosts;
	struct backend	*backends;	/* those of one host side by side */
};

/* Mark in USED the addresses of GROUP, which may be NULL. */
static void
pool_mark(const struct config_group *group, bool *used)
{
	size_t i;

	for (i = 0; group != NULL && i < group->n_hosts; i++)
		used[group->hosts[i].addr] = true;
}

/* The hosts of SERVICE's groups, all out for now. */
static bool
pool_fill(struct pool *p, const struct config *cfg,
    const struct config_service *service)
{
	bool *used = calloc(cfg->n_addrs, sizeof(*used));
	struct pool_host *h;
	unsigned i;

	p->hosts = calloc(cfg->n_addrs, sizeof(*p->hosts));
	if (used == NULL || p->hosts == NULL) {
		free(used);
		return false;
	}
	pool_mark(service->hosts, used);
	pool_mark(service->backup, used);
	pool_mark(service->read, used);
	for (i = 0; i < cfg->n_addrs; i++) {
		if (!used[i])
			continue;
		h = &p->hosts[p->n_hosts++];
		h->addr = &cfg->addrs[i];
		h->index = i;
	}
	free(used);
	return true;
}

struct pool *
pool_new(struct service *svc)
{
	struct pool *p = calloc(1, sizeof(*p));
	unsigned i, n;

	if (p == NULL)
		return NULL;
	p->w = svc->w;
	p->n_each = (unsigned)svc->cfg->server_connections;
	if (!pool_fill(p, p->w->birth->cfg, svc->cfg))
		goto fail;
	for (i = 0; i < p->n_hosts; i++) {
		struct pool_host *h = &p->hosts[i];

		h->entry = p->w->birth->host_entry[h->index];
		h->state = shm_host_state(p->w->birth->shm, h->entry);
	}
	n = p->n_hosts * p->n_each;
	if ((p->backends = calloc(n, sizeof(*p->backends))) == NULL)
		goto fail;
	for (i = 0; i < n; i++) {
		struct pool_host *h = &p->hosts[i / p->n_each];

		backend_init(&p->backends[i], svc, h->addr, i / p->n_each,
		    h->entry, i);
		if (h->state == SHM_HOST_OUT)
			backend_set_out(&p->backends[i], true);
	}
	return p;
fail:
	free(p->hosts);
	free(p);
	return NULL;
}

struct pool *
pool_new_states(const struct config *cfg, const struct config_service *service,
    const enum shm_host_state *states)
{
	struct pool *p = calloc(1, sizeof(*p));
	unsigned i;

	if (p == NULL)
		return NULL;
	if (!pool_fill(p, cfg, service)) {
		free(p->hosts);
		free(p);
		return NULL;
	}
	for (i = 0; i < p->n_hosts; i++)
		p->hosts[i].state = states[p->hosts[i].index];
	return p;
}

void
pool_free(struct pool **pool)
{
	struct pool *p = *pool;
	unsigned i;

	*pool = NULL;
	for (i = 0; i < p->n_hosts * p->n_each; i++)
		backend_fini(&p->backends[i]);
	free(p->backends);
	free(p->hosts);
	free(p);
}

unsigned
pool_n_hosts(const struct pool *pool)
{
	return pool->n_hosts;
}

unsigned
pool_find(const struct pool *pool, unsigned addr)
{
	unsigned i;

	for (i = 0; pool->hosts[i].index != addr; i++)
		ASSERT(i + 1 < pool->n_hosts);
	return i;
}

const char *
pool_name(const struct pool *pool, unsigned host)
{
	return pool->hosts[host].addr->name;
}

enum shm_host_state
pool_state(const struct pool *pool, unsigned host)
{
	return pool->hosts[host].state;
}

unsigned
pool_lane(const struct pool *pool, uint64_t client_id, bool bulk)
{
	unsigned last = pool->n_each - 1;

	return bulk || last == 0 ? last : (unsigned)(client_id % last);
}

struct backend *
pool_backend(struct pool *pool, unsigned host, unsigned lane)
{
	return &pool->backends[host * pool->n_each + lane];
}

bool
pool_look(struct pool *pool)
{
	enum shm_host_state state;
	bool changed = false;
	struct pool_host *h;
	unsigned i, lane;

	for (i = 0; i < pool->n_hosts; i++) {
		h = &pool->hosts[i];
		state = shm_host_state(pool->w->birth->shm, h->entry);
		if (state == h->state)
			continue;
		changed = true;
		h->state = state;
		for (lane = 0; lane < pool->n_each; lane++)
			backend_set_out(pool_backend(pool, i, lane),
			    state == SHM_HOST_OUT);
	}
	return changed;
}
