/*
 * explain.c: where a key goes and why, for a person.
 *
 * It asks the same pool and the same routes as a worker does, but the pool has
 * no connections and takes the hosts' states from the running instance.
 */
#include <signal.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shared/hosts.h"
#include "shared/log.h"
#include "worker/core.h"
#include "worker/pool.h"
#include "worker/route.h"

/* What one service is explained from. */
struct explain {
	FILE		*out;
	const struct config_service *cfg;
	struct pool	*pool;
	struct route	*route;
	struct kvp_slice key;
};

/* The kinds of commands, as extensions tell them apart. */
static const struct {
	const char	*name;
	struct kvp_cmd	 cmd;
} explain_kinds[] = {
	{ "read", { .class = KVP_READ, .flags = KVP_CMD_MISS_OK } },
	{ "read for a CAS or a change", {
		.class = KVP_READ,
		.flags = KVP_CMD_MISS_OK | KVP_CMD_PRIMARY } },
	{ "write", { .class = KVP_WRITE } },
};

/*
 * The running instance.
 */

/* Is the master that made SHM alive?  One that was killed leaves it behind. */
static bool
explain_is_running(struct shm *shm)
{
	pid_t pid = (pid_t)shm_facts(shm)->master_pid;

	return kill(pid, 0) == 0 || errno == EPERM;
}

/* ADDR's entry in SHM, NULL: it has none. */
static const struct shm_host *
explain_find_host(struct shm *shm, const struct config_addr *addr)
{
	unsigned hosts[SHM_HOSTS_MAX], n = shm_look_hosts(shm, hosts);
	char wanted[HOSTS_NORMAL_MAX], normal[HOSTS_NORMAL_MAX];
	struct shm_host *host;

	hosts_normalize(addr->name, wanted);
	for (unsigned i = 0; i < n; i++) {
		host = shm_host(shm, hosts[i]);
		hosts_normalize(host->name, normal);
		if (host->in_use && strcmp(normal, wanted) == 0)
			return host;
	}
	return NULL;
}

/* The segment of CFG's running instance.  NULL: there is none; WHY (ROOM
 * bytes) says so. */
static struct shm *
explain_attach(const struct config *cfg, char *why, size_t room)
{
	char err[CONFIG_ERR_MAX];
	struct shm *shm = NULL;
	bool runs = access(cfg->pid_file, F_OK) == 0;

	if (runs && (shm = shm_attach(cfg->pid_file, err, sizeof(err))) == NULL)
		snprintf(why, room, "cannot be read, all hosts are taken as "
		    "up: %s", err);
	if (shm != NULL && !explain_is_running(shm)) {
		shm_close(&shm);
		runs = false;
	}
	if (!runs)
		snprintf(why, room, "no kvproxy runs, all hosts are taken as "
		    "up");
	return shm;
}

/* The states of CFG's addresses, those that SHM (NULL: none) does not know
 * up. */
static void
explain_read_states(const struct config *cfg, struct shm *shm,
    enum shm_host_state *states)
{
	for (size_t i = 0; i < cfg->n_addrs; i++) {
		const struct shm_host *host = shm != NULL ?
		    explain_find_host(shm, &cfg->addrs[i]) : NULL;

		states[i] = host != NULL ? (enum shm_host_state)
		    atomic_load(&host->state) : SHM_HOST_UP;
	}
}

/*
 * Lines.
 */

static const char *
explain_name(const struct explain *e, unsigned host)
{
	return pool_name(e->pool, host);
}

static bool
explain_is_out(const struct explain *e, unsigned host)
{
	return pool_state(e->pool, host) == SHM_HOST_OUT;
}

/* "distribution ketama, hash md5". */
static void
explain_head(const struct explain *e)
{
	const char *word;
	int len;

	word = config_service_word(e->cfg, "distribution", &len);
	fprintf(e->out, "service %s: distribution %.*s", e->cfg->name, len,
	    word);
	word = config_service_word(e->cfg, "hash", &len);
	/* The original knew no other. */
	if (e->cfg->distribution == DISTRIBUTION_KVPROXY)
		fprintf(e->out, ", hash crc32a\n");
	else
		fprintf(e->out, ", hash %.*s\n", len, word);
}

/* The part of the key that its hash tag leaves; all of it where there is no
 * such part. */
static struct kvp_slice
explain_hashed(const struct explain *e)
{
	const char *tag = e->cfg->hash_tag;
	const uint8_t *from, *to, *end = e->key.p + e->key.len;

	if (tag == NULL || (from = memchr(e->key.p, tag[0], e->key.len)) ==
	    NULL)
		return e->key;
	from++;
	to = memchr(from, tag[1], (size_t)(end - from));
	if (to == NULL || to == from)
		return e->key;
	return (struct kvp_slice){ from, (size_t)(to - from) };
}

static void
explain_key(const struct explain *e)
{
	struct kvp_slice hashed = explain_hashed(e);
	char text[4 * KVP_KEY_MAX + 1];

	fprintf(e->out, "  key: %s", log_escape(text, sizeof(text), e->key.p,
	    e->key.len));
	if (hashed.len < e->key.len)
		fprintf(e->out, ", hash tag %s: only %s is hashed",
		    e->cfg->hash_tag, log_escape(text, sizeof(text), hashed.p,
		    hashed.len));
	fprintf(e->out, "\n");
}

/* A line for each host of the service that is not up. */
static void
explain_states(const struct explain *e)
{
	static const char *const names[] = {
		[SHM_HOST_OUT] = "out",
		[SHM_HOST_REJOINING] = "rejoining",
		[SHM_HOST_UP] = "up",
	};
	unsigned i, n = pool_n_hosts(e->pool);

	for (i = 0; i < n; i++)
		if (pool_state(e->pool, i) != SHM_HOST_UP)
			fprintf(e->out, "  %s: %s\n",
			    names[pool_state(e->pool, i)], explain_name(e, i));
}

/* HOST has been found in GROUP, whose owner of the key is OWNER. */
static void
explain_found(const struct explain *e, unsigned host,
    const struct config_group *group, unsigned owner)
{
	fprintf(e->out, "%s, ", explain_name(e, host));
	if (host == owner)
		fprintf(e->out, "the owner in [%s]", group->name);
	else
		fprintf(e->out, "in [%s] for the owner %s, which is out",
		    group->name, explain_name(e, owner));
}

static void
explain_stand_in(const struct explain *e, unsigned host)
{
	const struct config_service *cfg = e->cfg;
	unsigned owner = route_owner(e->route, e->key);

	if (cfg->failover == FAILOVER_BACKUP)
		fprintf(e->out, "%s, the owner in [%s], for %s in [%s], which "
		    "is out", explain_name(e, host), cfg->backup->name,
		    explain_name(e, owner), cfg->hosts->name);
	else
		explain_found(e, host, cfg->hosts, owner);
}

/* It fails, and HOST is to blame. */
static void
explain_nowhere(const struct explain *e, unsigned host)
{
	const struct config_service *cfg = e->cfg;

	if (host == POOL_NONE) {
		fprintf(e->out, "nowhere, the group is empty: [%s]",
		    cfg->hosts->name);
		return;
	}
	fprintf(e->out, "nowhere, the owner %s in [%s] is out",
	    explain_name(e, host), cfg->hosts->name);
	if (cfg->failover == FAILOVER_NONE)
		fprintf(e->out, " (failover = none)");
	else if (cfg->failover == FAILOVER_REHASH)
		fprintf(e->out, " and so are all others; it is to be emptied "
		    "before it is read");
	else if (route_backup(e->route, e->key) == POOL_NONE)
		fprintf(e->out, " and the group is empty: [%s]",
		    cfg->backup->name);
	else
		fprintf(e->out, " and so is %s in [%s]", explain_name(e,
		    route_backup(e->route, e->key)), cfg->backup->name);
}

/* It would be answered by the read group, but that has no host. */
static bool
explain_missed_readers(const struct explain *e, const struct kvp_cmd *cmd,
    enum route_way way)
{
	return way != ROUTE_READ && way != ROUTE_MISS && e->cfg->read != NULL &&
	    cmd->class == KVP_READ && (cmd->flags & KVP_CMD_PRIMARY) == 0;
}

static void
explain_command(const struct explain *e, const char *name,
    const struct kvp_cmd *cmd)
{
	const struct config_service *cfg = e->cfg;
	struct route_choice c = route_choose(e->route, cmd, e->key);

	fprintf(e->out, "  %s: ", name);
	switch (c.way) {
	case ROUTE_OWNER:
		explain_found(e, c.host, cfg->hosts, c.host);
		if (explain_is_out(e, c.host))
			fprintf(e->out, ", for all hosts are out");
		break;
	case ROUTE_READ:
		explain_found(e, c.host, cfg->read,
		    route_reader(e->route, e->key));
		break;
	case ROUTE_STAND_IN:
		explain_stand_in(e, c.host);
		break;
	case ROUTE_MISS:
		fprintf(e->out, "nowhere, a miss: %s rejoins and is to be "
		    "emptied first", explain_name(e, c.host));
		break;
	case ROUTE_NOWHERE:
		explain_nowhere(e, c.host);
		break;
	}
	if (explain_missed_readers(e, cmd, c.way))
		fprintf(e->out, "; no host is up in [%s]", cfg->read->name);
	fprintf(e->out, "\n");
}

/* Where a copy of a write goes, which has no stand-in. */
static void
explain_copy(const struct explain *e)
{
	const struct config_group *group = e->cfg->backup;
	struct route_choice c = route_choose(e->route,
	    &(struct kvp_cmd){ .class = KVP_WRITE }, e->key);
	unsigned host = route_backup(e->route, e->key);

	fprintf(e->out, "  copy: ");
	if (group == NULL)
		fprintf(e->out, "nowhere, there is no hosts_backup\n");
	else if (host == POOL_NONE)
		fprintf(e->out, "nowhere, the group is empty: [%s]\n",
		    group->name);
	else if (c.way == ROUTE_NOWHERE)
		fprintf(e->out, "nowhere, the write fails\n");
	else if (c.host == host)
		fprintf(e->out, "nowhere, the write goes to the owner in [%s] "
		    "itself\n", group->name);
	else
		fprintf(e->out, "%s, the owner in [%s]%s\n",
		    explain_name(e, host), group->name,
		    explain_is_out(e, host) ? ", which is out: it waits" : "");
}

static bool
explain_service(const struct config *cfg, const struct config_service *scfg,
    const enum shm_host_state *states, struct kvp_slice key, const char *state,
    FILE *out)
{
	struct service svc = { .cfg = scfg };
	struct explain e = { .out = out, .cfg = scfg, .key = key };
	bool done;

	svc.pool = e.pool = pool_new_states(cfg, scfg, states);
	if (e.pool == NULL)
		return false;
	e.route = route_new(&svc);
	done = e.route != NULL;
	if (done) {
		explain_head(&e);
		explain_key(&e);
		fprintf(out, "  state: %s\n", state);
		explain_states(&e);
		for (size_t i = 0; i < ARRAY_LEN(explain_kinds); i++)
			explain_command(&e, explain_kinds[i].name,
			    &explain_kinds[i].cmd);
		explain_copy(&e);
	}
	route_free(&e.route);
	pool_free(&e.pool);
	return done;
}

bool
explain_route(const struct config *cfg, const struct config_service *service,
    const char *key, FILE *out, char *err)
{
	struct kvp_slice slice = { (const uint8_t *)key, strlen(key) };
	enum shm_host_state *states;
	char state[2 * CONFIG_ERR_MAX];
	struct shm *shm;
	bool done = false;

	if (slice.len == 0 || slice.len > KVP_KEY_MAX) {
		snprintf(err, CONFIG_ERR_MAX, "a key has 1 to %d bytes",
		    KVP_KEY_MAX);
		return false;
	}
	snprintf(err, CONFIG_ERR_MAX, "out of memory");
	states = calloc(cfg->n_addrs + 1, sizeof(*states));
	if (states == NULL)
		return false;
	shm = explain_attach(cfg, state, sizeof(state));
	if (shm != NULL)
		snprintf(state, sizeof(state), "of the running kvproxy, pid "
		    "%lld", (long long)shm_facts(shm)->master_pid);
	explain_read_states(cfg, shm, states);
	done = explain_service(cfg, service, states, slice, state, out);
	shm_close(&shm);
	free(states);
	return done;
}
