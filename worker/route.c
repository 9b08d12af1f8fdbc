#include "worker/route.h"

#include "worker/pool.h"
#include "worker/ring.h"

/* A group and who of it is out; without a ring there is no such group. */
struct route_group {
	struct ring	*ring;
	unsigned	*host;		/* ring's number -> the pool's */
	bool		*out;		/* by the ring's number */
	size_t		 n;
};

struct route {
	struct pool	*pool;		/* the service's */
	enum config_failover failover;
	bool		 flush;		/* what was out is emptied first */
	struct route_group hosts, backup, read;
	bool		 all_up;	/* no state has to be looked at */
};

/*
 * Groups.
 */

static void
route_group_fini(struct route_group *g)
{
	ring_free(&g->ring);
	free(g->host);
	free(g->out);
}

static bool
route_group_init(struct route_group *g, const struct service *svc,
    const struct config_group *cfg)
{
	size_t i;

	if (cfg == NULL)
		return true;
	g->n = cfg->n_hosts;
	g->ring = ring_new(cfg, svc->cfg);
	g->host = calloc(g->n, sizeof(*g->host));
	g->out = calloc(g->n, sizeof(*g->out));
	if (g->ring == NULL || g->host == NULL || g->out == NULL)
		return false;
	for (i = 0; i < g->n; i++)
		g->host[i] = pool_find(svc->pool, cfg->hosts[i].addr);
	return true;
}

/* Take over who is out; true: nobody, and nobody rejoins. */
static bool
route_group_look(struct route_group *g, const struct pool *pool)
{
	bool all_up = true;
	size_t i;

	for (i = 0; i < g->n; i++) {
		enum shm_host_state state = pool_state(pool, g->host[i]);

		g->out[i] = state == SHM_HOST_OUT;
		all_up = all_up && state == SHM_HOST_UP;
	}
	return all_up;
}

static unsigned
route_group_host(const struct route_group *g, unsigned i)
{
	return i == RING_NONE ? POOL_NONE : g->host[i];
}

static unsigned
route_group_owner(const struct route_group *g, struct kvp_slice key)
{
	return route_group_host(g, ring_find(g->ring, key.p, key.len));
}

/* The owner, or who has its place while it is out; POOL_NONE: all are. */
static unsigned
route_group_live(const struct route_group *g, struct kvp_slice key)
{
	return route_group_host(g,
	    ring_find_live(g->ring, key.p, key.len, g->out));
}

/*
 * Choices.
 */

struct route *
route_new(struct service *svc)
{
	struct route *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->pool = svc->pool;
	r->failover = (enum config_failover)svc->cfg->failover;
	r->flush = svc->cfg->rejoin == REJOIN_FLUSH;
	if (!route_group_init(&r->hosts, svc, svc->cfg->hosts) ||
	    !route_group_init(&r->backup, svc, svc->cfg->backup) ||
	    !route_group_init(&r->read, svc, svc->cfg->read)) {
		route_free(&r);
		return NULL;
	}
	route_look(r);
	return r;
}

void
route_free(struct route **route)
{
	struct route *r = *route;

	*route = NULL;
	if (r == NULL)
		return;
	route_group_fini(&r->hosts);
	route_group_fini(&r->backup);
	route_group_fini(&r->read);
	free(r);
}

void
route_look(struct route *r)
{
	bool hosts = route_group_look(&r->hosts, r->pool);
	bool backup = route_group_look(&r->backup, r->pool);
	bool read = route_group_look(&r->read, r->pool);

	r->all_up = hosts && backup && read;
}

unsigned
route_owner(const struct route *r, struct kvp_slice key)
{
	return route_group_owner(&r->hosts, key);
}

unsigned
route_reader(const struct route *r, struct kvp_slice key)
{
	return r->read.ring == NULL ? POOL_NONE :
	    route_group_owner(&r->read, key);
}

unsigned
route_backup(const struct route *r, struct kvp_slice key)
{
	return r->backup.ring == NULL ? POOL_NONE :
	    route_group_owner(&r->backup, key);
}

bool
route_is_backup(const struct route *r, unsigned host)
{
	size_t i;

	for (i = 0; i < r->backup.n; i++)
		if (r->backup.host[i] == host)
			return true;
	return false;
}

/* HOST, unless it rejoins and CMD would read what is to be thrown away. */
static struct route_choice
route_to(const struct route *r, const struct kvp_cmd *cmd, enum route_way way,
    unsigned host)
{
	bool rejoins = pool_state(r->pool, host) == SHM_HOST_REJOINING;

	if (rejoins && (cmd->flags & KVP_CMD_MISS_OK) != 0)
		way = ROUTE_MISS;
	return (struct route_choice){ way, host, rejoins };
}

/* OWNER is out. */
static struct route_choice
route_around(const struct route *r, const struct kvp_cmd *cmd,
    struct kvp_slice key, unsigned owner)
{
	unsigned host = POOL_NONE;

	if (r->failover == FAILOVER_REHASH) {
		/* Where all are out, each is tried for its own keys. */
		host = route_group_live(&r->hosts, key);
		if (host == POOL_NONE)
			return (struct route_choice){ r->flush &&
			    (cmd->flags & KVP_CMD_MISS_OK) != 0 ?
			    ROUTE_NOWHERE : ROUTE_OWNER, owner,
			    r->flush && !route_is_backup(r, owner) };
	} else if (r->failover == FAILOVER_BACKUP)
		host = route_group_owner(&r->backup, key);
	if (host == POOL_NONE || pool_state(r->pool, host) == SHM_HOST_OUT)
		return (struct route_choice){ ROUTE_NOWHERE, owner, false };
	return route_to(r, cmd, ROUTE_STAND_IN, host);
}

struct route_choice
route_choose(const struct route *r, const struct kvp_cmd *cmd,
    struct kvp_slice key)
{
	bool read = r->read.ring != NULL && cmd->class == KVP_READ &&
	    (cmd->flags & KVP_CMD_PRIMARY) == 0;
	unsigned host;

	if (read && (host = r->all_up ? route_group_owner(&r->read, key) :
	    route_group_live(&r->read, key)) != POOL_NONE)
		return route_to(r, cmd, ROUTE_READ, host);
	host = route_group_owner(&r->hosts, key);
	if (host == POOL_NONE)
		return (struct route_choice){ ROUTE_NOWHERE, host, false };
	if (LIKELY(r->all_up))
		return (struct route_choice){ ROUTE_OWNER, host, false };
	if (pool_state(r->pool, host) == SHM_HOST_OUT)
		return route_around(r, cmd, key, host);
	return route_to(r, cmd, ROUTE_OWNER, host);
}
