#include "master/places.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void
places_fini(struct places *p)
{
	while (p->n > 0)
		free(p->normal[--p->n]);
}

/* The entry of NORMAL, a new one if need be.  False with errno: there is
 * none. */
static bool
places_find_one(struct places *p, const char *normal, unsigned *entry)
{
	for (*entry = 0; *entry < p->n; (*entry)++)
		if (strcmp(p->normal[*entry], normal) == 0)
			return true;
	errno = ENOSPC;
	if (p->n == SHM_HOSTS_MAX)
		return false;
	p->normal[p->n] = strdup(normal);
	if (p->normal[p->n] == NULL)
		return false;
	p->n++;
	return true;
}

/* A file that is refused uses nothing up. */
void
places_undo(struct places *p)
{
	while (p->n > p->n_committed)
		free(p->normal[--p->n]);
	p->n_services = p->n_services_committed;
}

unsigned *
places_find(struct places *p, const struct config *cfg)
{
	unsigned *entry = calloc(cfg->n_addrs + 1, sizeof(*entry));

	for (size_t i = 0; entry != NULL && i < cfg->n_addrs; i++)
		if (!places_find_one(p, cfg->addrs[i].normal, &entry[i])) {
			const int saved = errno;

			places_undo(p);
			free(entry);
			errno = saved;
			return NULL;
		}
	return entry;
}

bool
places_find_services(struct places *p, const struct config *cfg,
    struct shm *shm)
{
	for (size_t i = 0; i < cfg->n_services; i++) {
		const char *name = cfg->services[i].name;

		if (shm_find_service(shm, name, p->n_services) < p->n_services)
			continue;
		if (p->n_services == SHM_SERVICES_MAX)
			return false;
		snprintf(shm_service(shm, p->n_services)->name,
		    SHM_SERVICE_NAME, "%s", name);
		p->n_services++;
	}
	return true;
}

static void
places_commit_services(struct places *p, const struct config *cfg,
    struct shm *shm)
{
	for (size_t i = 0; i < cfg->n_services; i++)
		shm_list_service(shm, (unsigned)i,
		    shm_find_service(shm, cfg->services[i].name,
		    p->n_services));
	p->n_services_committed = p->n_services;
	shm_facts(shm)->n_service_entries = p->n_services;
	shm_facts(shm)->n_services = (uint32_t)cfg->n_services;
}

void
places_commit(struct places *p, const struct config *cfg,
    const unsigned *entry, struct shm *shm, uint64_t now_us)
{
	bool was_used[SHM_HOSTS_MAX];
	struct shm_host *host;

	places_commit_services(p, cfg, shm);
	p->n_committed = p->n;
	memcpy(was_used, p->used, sizeof(was_used));
	memset(p->used, 0, sizeof(p->used));
	for (size_t i = 0; i < cfg->n_addrs; i++) {
		host = shm_host(shm, entry[i]);
		p->used[entry[i]] = true;
		/* It keeps its first name. */
		if (host->name[0] == '\0')
			snprintf(host->name, sizeof(host->name), "%s",
			    cfg->addrs[i].name);
		if (!was_used[entry[i]]) {
			shm_set_host_state(shm, entry[i], SHM_HOST_UP,
			    now_us);
			host->in_use = 1;
		}
		shm_list_host(shm, (unsigned)i, entry[i]);
	}
	shm_facts(shm)->n_hosts = (uint32_t)cfg->n_addrs;
	for (unsigned i = 0; i < p->n; i++)
		if (was_used[i] && !p->used[i])
			shm_host(shm, i)->in_use = 0;
}
