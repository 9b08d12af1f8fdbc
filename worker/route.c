#include "worker/route.h"

#include "worker/pool.h"
#include "worker/ring.h"

struct route {
	struct ring	*ring;
	struct pool	*pool;		/* the service's */
};

struct route *
route_new(struct service *svc)
{
	struct route *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->pool = svc->pool;
	r->ring = ring_new(svc->cfg->hosts,
	    (enum config_distribution)svc->cfg->distribution);
	if (r->ring == NULL) {
		free(r);
		return NULL;
	}
	return r;
}

void
route_free(struct route **route)
{
	struct route *r = *route;

	*route = NULL;
	ring_free(&r->ring);
	free(r);
}

struct backend *
route_key(const struct route *route, struct kvp_slice key, unsigned lane)
{
	unsigned i = ring_find(route->ring, key.p, key.len);

	return i == RING_NONE ? NULL : pool_backend(route->pool, i, lane);
}
