#include "worker/pool.h"

#include <string.h>

#include "worker/backend.h"
#include "worker/resolve.h"

struct pool_host {
	char		*text;		/* its address, as written */
	struct resolve_name *place;	/* NULL: it is not connected to */
	unsigned	 entry;		/* in the shared table */
	enum shm_host_state state;	/* what this worker goes by */
	uint32_t	 flush_n;	/* the last one it was told to do */
	unsigned	 addr;		/* in config.addrs, POOL_NONE: it leaves
					 * or is gone */
	unsigned	 next_addr;	/* the same, of what is prepared */
	struct backend	**lanes;	/* more than n_each: those leave */
	unsigned	 n_lanes;
};

struct pool {
	struct service	*svc;
	unsigned	 n_hosts;	/* those that are prepared too */
	unsigned	 n_at;		/* those that at has */
	unsigned	 n_each;	/* connections a host */
	unsigned	 next_each;	/* of what is prepared */
	struct pool_host **hosts;	/* by number */
	struct backend	**at;		/* [n_at][n_each] */
	struct backend	**next_at;	/* NULL: nothing is prepared */
};

static void
pool_free_host(struct pool_host **host)
{
	struct pool_host *h = *host;

	*host = NULL;
	if (h == NULL)
		return;
	ASSERT(h->n_lanes == 0);
	resolve_put(&h->place);
	free(h->lanes);
	free(h->text);
	free(h);
}

static struct pool_host *
pool_new_host(const struct config_addr *addr, unsigned entry,
    enum shm_host_state state)
{
	struct pool_host *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return NULL;
	h->text = strdup(addr->name);
	h->entry = entry;
	h->state = state;
	h->addr = h->next_addr = POOL_NONE;
	if (h->text == NULL)
		pool_free_host(&h);
	return h;
}

/* Mark in USED the addresses of GROUP, which may be NULL. */
static void
pool_mark(const struct config_group *group, bool *used)
{
	size_t i;

	for (i = 0; group != NULL && i < group->n_hosts; i++)
		used[group->hosts[i].addr] = true;
}

/* Which of CFG's addresses SERVICE's groups have.  The caller frees; NULL: out
 * of memory. */
static bool *
pool_find_used(const struct config *cfg, const struct config_service *service)
{
	bool *used = calloc(cfg->n_addrs, sizeof(*used));

	if (used == NULL)
		return NULL;
	pool_mark(service->hosts, used);
	pool_mark(service->backup, used);
	pool_mark(service->read, used);
	return used;
}

/* Room for all hosts that there may come to be with CFG. */
static bool
pool_grow(struct pool *p, const struct config *cfg)
{
	size_t most = p->n_hosts + cfg->n_addrs;
	struct pool_host **hosts = realloc(p->hosts, most * sizeof(*hosts));

	if (hosts == NULL)
		return false;
	p->hosts = hosts;
	return true;
}

struct pool *
pool_new(struct service *svc)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (p != NULL)
		p->svc = svc;
	return p;
}

struct pool *
pool_new_states(const struct config *cfg, const struct config_service *service,
    const enum shm_host_state *states)
{
	struct pool *p = calloc(1, sizeof(*p));
	bool *used = pool_find_used(cfg, service);
	bool ok = p != NULL && used != NULL && pool_grow(p, cfg);
	unsigned i;

	for (i = 0; ok && i < cfg->n_addrs; i++) {
		struct pool_host *h;

		if (!used[i])
			continue;
		h = pool_new_host(&cfg->addrs[i], 0, states[i]);
		ok = h != NULL;
		if (!ok)
			break;
		h->addr = i;
		p->hosts[p->n_hosts++] = h;
	}
	if (ok)
		p->n_at = p->n_hosts;
	free(used);
	if (!ok && p != NULL)
		pool_free(&p);
	return p;
}

/* Give up H's last connection, whatever is under way. */
static void
pool_drop_lane(struct pool_host *h)
{
	struct backend *b = h->lanes[--h->n_lanes];

	backend_fini(b);
	free(b);
}

void
pool_free(struct pool **pool)
{
	struct pool *p = *pool;
	unsigned i;

	*pool = NULL;
	if (p == NULL)
		return;
	for (i = 0; i < p->n_hosts; i++) {
		while (p->hosts[i]->n_lanes > 0)
			pool_drop_lane(p->hosts[i]);
		pool_free_host(&p->hosts[i]);
	}
	free(p->hosts);
	free(p->at);
	free(p->next_at);
	free(p);
}

/*
 * Changes.
 */

/* The host of ENTRY, or a number for it; *HOST is NULL where there is no such
 * host yet. */
static unsigned
pool_place(const struct pool *p, unsigned entry, struct pool_host **host)
{
	unsigned i, free_at = p->n_hosts;

	for (i = 0; i < p->n_hosts; i++) {
		*host = p->hosts[i];
		if ((*host)->entry == entry && (*host)->n_lanes > 0)
			return i;
		if ((*host)->n_lanes == 0 && free_at == p->n_hosts)
			free_at = i;
	}
	*host = NULL;
	return free_at;
}

static bool
pool_add_lanes(struct pool *p, struct pool_host *h, unsigned host)
{
	struct backend **lanes;

	if (h->n_lanes >= p->next_each)
		return true;
	lanes = realloc(h->lanes, p->next_each * sizeof(*lanes));
	if (lanes == NULL)
		return false;
	h->lanes = lanes;
	while (h->n_lanes < p->next_each) {
		struct backend *b = malloc(sizeof(*b));

		if (b == NULL)
			return false;
		h->lanes[h->n_lanes] = b;
		backend_init(b, p->svc, h->place, host, h->entry,
		    host * p->next_each + h->n_lanes);
		h->n_lanes++;
		if (h->state == SHM_HOST_OUT)
			backend_set_out(b, true);
	}
	return true;
}

/* Have ADDR, which is ENTRY in the shared table, be there. */
static bool
pool_prepare_host(struct pool *p, const struct config_addr *addr,
    unsigned index, unsigned entry)
{
	struct worker *w = p->svc->w;
	struct pool_host *h;
	unsigned i = pool_place(p, entry, &h);

	if (h == NULL) {
		h = pool_new_host(addr, entry,
		    shm_host_state(w->birth->shm, entry));
		if (h == NULL)
			return false;
		if (i < p->n_hosts)
			pool_free_host(&p->hosts[i]);
		p->hosts[i] = h;
		p->n_hosts = MAX(p->n_hosts, i + 1);
		h->place = resolve_hold(w->resolve, addr, entry);
		if (h->place == NULL)
			return false;
	}
	h->next_addr = index;
	return pool_add_lanes(p, h, i);
}

bool
pool_prepare(struct pool *p, const struct config *cfg,
    const struct config_service *service, const unsigned *host_entry)
{
	bool *used = pool_find_used(cfg, service);
	bool ok = used != NULL && pool_grow(p, cfg);
	unsigned i;

	p->next_each = (unsigned)service->server_connections;
	for (i = 0; i < p->n_hosts; i++)
		p->hosts[i]->next_addr = POOL_NONE;
	for (i = 0; ok && i < cfg->n_addrs; i++)
		if (used[i])
			ok = pool_prepare_host(p, &cfg->addrs[i], i,
			    host_entry[i]);
	free(used);
	if (!ok)
		return false;
	free(p->next_at);
	p->next_at = calloc((size_t)p->n_hosts * p->next_each + 1,
	    sizeof(*p->next_at));
	return p->next_at != NULL;
}

void
pool_commit(struct pool *p)
{
	unsigned i, lane;

	free(p->at);
	p->at = p->next_at;
	p->next_at = NULL;
	p->n_at = p->n_hosts;
	p->n_each = p->next_each;
	for (i = 0; i < p->n_hosts; i++) {
		struct pool_host *h = p->hosts[i];

		h->addr = h->next_addr;
		for (lane = 0; lane < MIN(h->n_lanes, p->n_each); lane++)
			p->at[i * p->n_each + lane] = h->lanes[lane];
	}
}

void
pool_leave(struct pool *p)
{
	unsigned i;

	for (i = 0; i < p->n_hosts; i++)
		p->hosts[i]->addr = POOL_NONE;
}

/* True: nothing is left of H that is to leave. */
static bool
pool_sweep_host(struct pool *p, struct pool_host *h, unsigned host)
{
	unsigned stay = h->addr == POOL_NONE ? 0 : p->n_each;

	while (h->n_lanes > stay) {
		struct backend *b = h->lanes[h->n_lanes - 1];

		if (!backend_is_idle(b))
			return false;
		if (h->n_lanes <= p->n_each)
			p->at[host * p->n_each + h->n_lanes - 1] = NULL;
		pool_drop_lane(h);
	}
	return true;
}

bool
pool_sweep(struct pool *p)
{
	bool done = true;
	unsigned i;

	/* What is prepared would pass for something that leaves. */
	if (p->next_at != NULL)
		return false;
	for (i = 0; i < p->n_hosts; i++)
		done = pool_sweep_host(p, p->hosts[i], i) && done;
	return done;
}

/*
 * Questions.
 */

unsigned
pool_n_hosts(const struct pool *p)
{
	return p->n_at;
}

bool
pool_has(const struct pool *p, unsigned host)
{
	return p->hosts[host]->addr != POOL_NONE;
}

unsigned
pool_find(const struct pool *p, unsigned addr)
{
	unsigned i;

	for (i = 0; p->hosts[i]->addr != addr; i++)
		ASSERT(i + 1 < p->n_hosts);
	return i;
}

const char *
pool_name(const struct pool *p, unsigned host)
{
	return p->hosts[host]->text;
}

unsigned
pool_entry(const struct pool *p, unsigned host)
{
	return p->hosts[host]->entry;
}

enum shm_host_state
pool_state(const struct pool *p, unsigned host)
{
	return p->hosts[host]->state;
}

bool
pool_take_flush(struct pool *pool, unsigned host)
{
	const struct worker_birth *birth = pool->svc->w->birth;
	struct pool_host *h = pool->hosts[host];
	const struct shm_host *sh = shm_host(birth->shm, h->entry);
	uint32_t n;

	if (h->state != SHM_HOST_REJOINING || sh->flusher != birth->slot ||
	    (n = sh->flush_n) == h->flush_n)
		return false;
	h->flush_n = n;
	return true;
}

unsigned
pool_lane(const struct pool *p, uint64_t client_id, bool bulk)
{
	unsigned last = p->n_each - 1;

	return bulk || last == 0 ? last : (unsigned)(client_id % last);
}

unsigned
pool_n_lanes(const struct pool *p)
{
	return p->n_each;
}

struct backend *
pool_backend(struct pool *p, unsigned host, unsigned lane)
{
	return p->at[host * p->n_each + lane];
}

bool
pool_look(struct pool *p)
{
	enum shm_host_state state;
	bool changed = false;
	unsigned i, lane;

	for (i = 0; i < p->n_hosts; i++) {
		struct pool_host *h = p->hosts[i];

		state = shm_host_state(p->svc->w->birth->shm, h->entry);
		if (state == h->state)
			continue;
		changed = true;
		h->state = state;
		for (lane = 0; lane < h->n_lanes; lane++)
			backend_set_out(h->lanes[lane],
			    state == SHM_HOST_OUT);
	}
	return changed;
}
