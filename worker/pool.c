#include "worker/pool.h"

#include "worker/backend.h"

struct pool {
	unsigned	 n_hosts;
	unsigned	 n_each;	/* connections a host */
	struct backend	 backends[];	/* those of one host side by side */
};

struct pool *
pool_new(struct service *svc)
{
	const struct config_group *group = svc->cfg->hosts;
	unsigned each = (unsigned)svc->cfg->server_connections;
	struct pool *p;
	unsigned i;
	size_t n;

	n = group->n_hosts * each;
	if ((p = calloc(1, sizeof(*p) + n * sizeof(p->backends[0]))) == NULL)
		return NULL;
	p->n_hosts = (unsigned)group->n_hosts;
	p->n_each = each;
	for (i = 0; i < n; i++)
		backend_init(&p->backends[i], svc, &group->hosts[i / each],
		    i / each, i);
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
	free(p);
}

unsigned
pool_n_hosts(const struct pool *pool)
{
	return pool->n_hosts;
}

unsigned
pool_lane(const struct pool *pool, uint64_t client_id, bool bulk)
{
	unsigned last = pool->n_each - 1;

	return bulk || last == 0 ? last : (unsigned)(client_id % last);
}

struct backend *
pool_backend(struct pool *pool, unsigned i, unsigned lane)
{
	return &pool->backends[i * pool->n_each + lane];
}
