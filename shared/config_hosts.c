/*
 * config_hosts.c: groups, their hosts, and the addresses of those in use.
 */
#include "shared/config_int.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "shared/hosts.h"
#include "shared/shm.h"

#define CONFIG_ID_MAX		INT64_C(2147483647)
#define CONFIG_WEIGHT_MAX	INT64_C(1000000)

/* Does some service name this section as one of its groups? */
static bool
config_hosts_is_named(const struct config *cfg, const char *name)
{
	for (size_t i = 0; i < cfg->n_services; i++) {
		const struct config_service *s = &cfg->services[i];
		const char *const names[] = { s->hosts_name,
		    s->hosts_backup_name, s->hosts_read_name };

		for (size_t j = 0; j < ARRAY_LEN(names); j++)
			if (names[j] != NULL && strcasecmp(names[j], name) == 0)
				return true;
	}
	return false;
}

/* Cut the field at *P off, up to a colon or the end, without blanks around;
 * *P is then behind the colon, or NULL. */
static char *
config_hosts_cut(char **p)
{
	char *field = *p + strspn(*p, " \t");
	char *colon = strchr(field, ':');
	size_t len = colon != NULL ? (size_t)(colon - field) : strlen(field);

	*p = colon != NULL ? colon + 1 : NULL;
	while (len > 0 && (field[len - 1] == ' ' || field[len - 1] == '\t'))
		len--;
	field[len] = '\0';
	return field;
}

static bool
config_hosts_parse_number(const char *text, int64_t most, unsigned *n)
{
	int64_t v = 0;

	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		v = v * 10 + (*text - '0');
		if (v > most)
			return false;
	}
	*n = (unsigned)v;
	return true;
}

/* A name for the ring: what a line of `status` can show. */
static bool
config_hosts_is_node(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len >= SHM_HOST_NAME)
		return false;
	for (; *text != '\0'; text++)
		if ((unsigned char)*text <= ' ')
			return false;
	return true;
}

/* "id:weight[:node]"; NULL, or what is wrong with it. */
static const char *
config_hosts_parse_value(struct config_file *file, const char *value,
    struct config_host *host)
{
	char *p = config_copy(file, value, strlen(value));
	const char *id, *weight;

	if (p == NULL)
		return "out of memory";
	id = config_hosts_cut(&p);
	if (p == NULL)
		return "\"id:weight\" or \"id:weight:name\" is wanted";
	weight = config_hosts_cut(&p);
	if (!config_hosts_parse_number(id, CONFIG_ID_MAX, &host->id))
		return "the id must be a number from 0 to 2147483647";
	if (!config_hosts_parse_number(weight, CONFIG_WEIGHT_MAX,
	    &host->weight))
		return "the weight must be a number from 0 to 1000000";
	if (p == NULL)
		return NULL;
	host->node = config_hosts_cut(&p);
	if (p != NULL || !config_hosts_is_node(host->node))
		return "the name must have 1 to 119 bytes, no blank or colon";
	return NULL;
}

static const char *
config_hosts_ring_name(const struct config_host *host)
{
	return host->node != NULL ? host->node : host->name;
}

/* What HOST must not share with the N hosts before it. */
static bool
config_hosts_check_twins(const struct config *cfg,
    const struct config_section *section, const struct config_entry *entry,
    const struct config_host *hosts, const struct config_host *host, char *err)
{
	for (const struct config_host *h = hosts; h < host; h++) {
		const char *what = NULL;

		if (strcmp(h->normal, host->normal) == 0)
			what = "this address";
		else if (h->id == host->id)
			what = "this id";
		else if (strcmp(config_hosts_ring_name(h),
		    config_hosts_ring_name(host)) == 0)
			what = "this name";
		if (what != NULL)
			return config_fail(err, cfg->file, section, entry,
			    "%s stands in line %u already", what, h->line);
	}
	return true;
}

static bool
config_hosts_read_host(struct config *cfg, const struct config_section *section,
    struct config_entry *entry, const struct config_host *hosts,
    struct config_host *host, char *err)
{
	char normal[HOSTS_NORMAL_MAX];
	struct sockaddr_storage sa;
	socklen_t sa_len;
	const char *why = NULL;

	host->name = entry->key;
	host->line = entry->line;
	host->addr = UINT_MAX;
	if (strlen(entry->key) >= SHM_HOST_NAME)
		return config_fail(err, cfg->file, section, entry,
		    "longer than %d bytes", SHM_HOST_NAME - 1);
	if (hosts_parse(entry->key, &sa, &sa_len, &why) != HOSTS_BAD)
		why = config_hosts_parse_value(cfg->file, entry->value, host);
	if (why != NULL)
		return config_fail(err, cfg->file, section, entry, "%s", why);
	hosts_normalize(entry->key, normal);
	host->normal = config_copy(cfg->file, normal, strlen(normal));
	if (host->normal == NULL)
		return config_fail(err, cfg->file, section, entry,
		    "out of memory");
	entry->mark = CONFIG_KNOWN;
	return config_hosts_check_twins(cfg, section, entry, hosts, host, err);
}

/* A group that nobody names must at least look like one: else it is a service
 * that lacks its extension, or a slip of the pen. */
static bool
config_hosts_looks_like_group(const struct config_section *section)
{
	struct sockaddr_storage sa;
	socklen_t sa_len;
	const char *why;

	for (size_t i = 0; i < section->n_entries; i++)
		if (hosts_parse(section->entries[i].key, &sa, &sa_len, &why) ==
		    HOSTS_BAD)
			return false;
	return true;
}

/* GROUP's hosts, in file order for now. */
static bool
config_hosts_read_group(struct config *cfg,
    const struct config_section *section, struct config_group *group, char *err)
{
	bool is_named = config_hosts_is_named(cfg, section->name);

	if (!is_named && !config_hosts_looks_like_group(section))
		return config_fail(err, cfg->file, section, NULL,
		    "neither a service, which has extension=, nor a group, "
		    "which has addresses");
	if (is_named && section->n_entries == 0)
		return config_fail(err, cfg->file, section, NULL,
		    "the group is empty");
	group->name = section->name;
	group->line = section->line;
	group->n_hosts = section->n_entries;
	group->hosts = config_alloc(cfg->file, group->n_hosts,
	    sizeof(*group->hosts));
	if (group->hosts == NULL)
		return config_fail(err, cfg->file, section, NULL,
		    "out of memory");
	if (group->n_hosts > CONFIG_HOSTS_MAX)
		return config_fail(err, cfg->file, section, NULL,
		    "more than %d hosts", CONFIG_HOSTS_MAX);
	for (size_t i = 0; i < group->n_hosts; i++)
		if (!config_hosts_read_host(cfg, section, &section->entries[i],
		    group->hosts, &group->hosts[i], err))
			return false;
	return true;
}

bool
config_hosts_read_groups(struct config *cfg, char *err)
{
	const struct config_file *f = cfg->file;

	cfg->groups = config_alloc(cfg->file, f->n_sections,
	    sizeof(*cfg->groups));
	if (cfg->groups == NULL)
		return config_fail(err, f, NULL, NULL, "out of memory");
	for (size_t i = 0; i < f->n_sections; i++)
		if (f->sections[i].is_group && !config_hosts_read_group(cfg,
		    &f->sections[i], &cfg->groups[cfg->n_groups++], err))
			return false;
	return true;
}

/* The group that SERVICE's option KEY names as NAME.  *GROUP is NULL where it
 * names none. */
static bool
config_hosts_find_group(const struct config *cfg,
    const struct config_service *service, const char *key, const char *name,
    struct config_group **group, char *err)
{
	const struct config_section *section = service->section;
	const struct config_entry *entry = config_find(section, key);

	*group = NULL;
	if (name == NULL || *name == '\0')
		return true;
	for (size_t i = 0; i < cfg->n_groups; i++)
		if (strcasecmp(cfg->groups[i].name, name) == 0)
			*group = &cfg->groups[i];
	if (*group != NULL)
		return true;
	if (entry == NULL)	/* it comes from [kvproxy] */
		return config_fail(err, cfg->file, section, NULL,
		    "%s: there is no group [%s]", key, name);
	return config_fail(err, cfg->file, section, entry,
	    "there is no group [%s]", name);
}

/* Copies to the group that they come from would be none. */
static bool
config_hosts_check_backup(const struct config *cfg,
    const struct config_service *service, const struct config_group *hosts,
    const struct config_group *backup, char *err)
{
	const struct config_section *section = service->section;

	if (backup == NULL && service->failover == FAILOVER_BACKUP)
		return config_fail(err, cfg->file, section,
		    config_find(section, "failover"),
		    "backup, but there is no hosts_backup");
	if (backup != hosts)
		return true;
	return config_fail(err, cfg->file, section,
	    config_find(section, "hosts_backup"),
	    "[%s] is the group of hosts already", hosts->name);
}

static bool
config_hosts_link_service(struct config *cfg, struct config_service *service,
    char *err)
{
	struct config_group *hosts, *backup, *read;

	if (!config_hosts_find_group(cfg, service, "hosts",
	    service->hosts_name, &hosts, err) ||
	    !config_hosts_find_group(cfg, service, "hosts_backup",
	    service->hosts_backup_name, &backup, err) ||
	    !config_hosts_find_group(cfg, service, "hosts_read",
	    service->hosts_read_name, &read, err) ||
	    !config_hosts_check_backup(cfg, service, hosts, backup, err))
		return false;
	hosts->used = true;
	if (backup != NULL)
		backup->used = true;
	if (read != NULL)
		read->used = true;
	service->hosts = hosts;
	service->backup = backup;
	service->read = read == hosts ? NULL : read;
	return true;
}

/* HOST's place in CFG->addrs, where it is new. */
static bool
config_hosts_add_addr(struct config *cfg, const struct config_group *group,
    struct config_host *host, char *err)
{
	const struct config_section section = {
		.name = group->name,
	};
	const struct config_entry entry = {
		.key = host->name,
		.line = host->line,
	};
	const struct config_lookup *lookup = cfg->file->lookup;
	struct config_addr *addr = &cfg->addrs[cfg->n_addrs];
	const char *why;

	for (host->addr = 0; host->addr < cfg->n_addrs; host->addr++)
		if (strcmp(cfg->addrs[host->addr].normal, host->normal) == 0)
			return true;
	if (cfg->n_addrs == CONFIG_HOSTS_MAX)
		return config_fail(err, cfg->file, &section, &entry,
		    "more than %d hosts in all", CONFIG_HOSTS_MAX);
	addr->name = host->name;
	addr->normal = host->normal;
	if (lookup != NULL ? !lookup->find(lookup->data, addr, &why) :
	    !hosts_resolve(host->name, &addr->sa, &addr->sa_len, &why))
		return config_fail(err, cfg->file, &section, &entry, "%s",
		    why);
	cfg->n_addrs++;
	return true;
}

static int
config_hosts_compare_ids(const void *a, const void *b)
{
	const struct config_host *ha = a, *hb = b;

	return (ha->id > hb->id) - (ha->id < hb->id);
}

bool
config_hosts_link(struct config *cfg, char *err)
{
	cfg->addrs = config_alloc(cfg->file, CONFIG_HOSTS_MAX + 1,
	    sizeof(*cfg->addrs));
	if (cfg->addrs == NULL)
		return config_fail(err, cfg->file, NULL, NULL,
		    "out of memory");
	for (size_t i = 0; i < cfg->n_services; i++)
		if (!config_hosts_link_service(cfg, &cfg->services[i], err))
			return false;
	for (size_t i = 0; i < cfg->n_groups; i++) {
		struct config_group *group = &cfg->groups[i];

		for (size_t j = 0; group->used && j < group->n_hosts; j++)
			if (!config_hosts_add_addr(cfg, group,
			    &group->hosts[j], err))
				return false;
		qsort(group->hosts, group->n_hosts, sizeof(*group->hosts),
		    config_hosts_compare_ids);
	}
	return true;
}
