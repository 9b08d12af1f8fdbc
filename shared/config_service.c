/*
 * config_service.c: the sections, from core and services to the whole.
 */
#include "shared/config_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "shared/shm.h"

#define CONFIG_CRC32_MAX	32768	/* numbers that hash = crc32 gives */

/* No key twice, in a section of options. */
static bool
config_service_check_twins(const struct config_file *file,
    const struct config_section *section, char *err)
{
	for (size_t i = 0; i < section->n_entries; i++) {
		const struct config_entry *e = &section->entries[i];
		const struct config_entry *first;

		first = config_find(section, e->key);
		if (first != e)
			return config_fail(err, file, section, e,
			    "stands in line %u already", first->line);
	}
	return true;
}

/* PATH, or where it is not given DEF; relative to PREFIX. */
static const char *
config_service_make_path(struct config_file *file, const char *prefix,
    const char *path, const char *def)
{
	char *full;
	size_t len;

	if (path == NULL)
		path = def;
	if (*path == '/')
		return path;
	len = strlen(prefix) + 1 + strlen(path);
	full = config_alloc(file, len + 1, 1);
	if (full != NULL)
		snprintf(full, len + 1, "%s/%s", prefix, path);
	return full;
}

static bool
config_service_make_paths(struct config *cfg, const char *prefix, char *err)
{
	struct config_file *f = cfg->file;

	cfg->log_path = config_service_make_path(f, prefix, cfg->log_path,
	    "log/kvproxy.log");
	cfg->pid_file = config_service_make_path(f, prefix, cfg->pid_file,
	    "log/kvproxy.pid");
	cfg->ext_path = config_service_make_path(f, prefix, cfg->ext_path,
	    "ext");
	if (cfg->log_path == NULL || cfg->pid_file == NULL ||
	    cfg->ext_path == NULL)
		return config_fail(err, f, NULL, NULL, "out of memory");
	return true;
}

/* A service is what has an extension; the rest, but [kvproxy], are groups. */
static bool
config_service_make_list(struct config *cfg, struct config_section *core,
    char *err)
{
	struct config_file *f = cfg->file;
	struct config_service *service;

	cfg->services = config_alloc(f, f->n_sections, sizeof(*cfg->services));
	if (cfg->services == NULL)
		return config_fail(err, f, NULL, NULL, "out of memory");
	for (size_t i = 0; i < f->n_sections; i++) {
		struct config_section *section = &f->sections[i];

		section->is_group = section != core &&
		    config_find(section, "extension") == NULL;
		if (section->is_group)
			continue;
		if (!config_service_check_twins(f, section, err))
			return false;
		if (section == core)
			continue;
		if (strlen(section->name) >= SHM_SERVICE_NAME)
			return config_fail(err, f, section, NULL,
			    "a service's name has at most %d bytes",
			    SHM_SERVICE_NAME - 1);
		if (cfg->n_services == SHM_SERVICES_MAX)
			return config_fail(err, f, section, NULL,
			    "more than %d services", SHM_SERVICES_MAX);
		service = &cfg->services[cfg->n_services++];
		service->name = section->name;
		service->line = section->line;
		service->section = section;
		if (!config_option_fill_service(cfg, service, core, err))
			return false;
		if (service->hosts_name == NULL)
			return config_fail(err, f, section, NULL,
			    "hosts is missing: the group that holds the keys");
	}
	if (cfg->n_services == 0)
		return config_fail(err, f, NULL, NULL,
		    "no service: no section has extension=");
	return config_listen_make_all(cfg, err);
}

/* Can SERVICE's hash work with its distribution?  Both may come from CORE. */
static bool
config_service_check_hash(const struct config *cfg,
    const struct config_service *service, const struct config_section *core,
    char *err)
{
	const struct config_section *section = service->section;
	const struct config_entry *entry = config_find(section, "hash");
	bool is_default = false;
	uint64_t total_weight = 0;

	if (entry == NULL) {
		section = core;
		entry = config_find(core, "hash");
		is_default = config_find(service->section, "distribution") !=
		    NULL;
	}
	if (entry == NULL)
		return true;

	/* What [kvproxy] says for all services is not said of one that goes
	 * its own way. */
	if (service->distribution == DISTRIBUTION_KVPROXY &&
	    service->hash != HASH_CRC32A && !is_default)
		return config_fail(err, cfg->file, section, entry,
		    "distribution = kvproxy hashes with crc32a and nothing "
		    "else");
	if (service->hash != HASH_CRC32)
		return true;
	if (service->distribution == DISTRIBUTION_KETAMA)
		return config_fail(err, cfg->file, section, entry,
		    "crc32 gives 15 bits, by which distribution = ketama "
		    "sends all keys to one host; crc32a gives 32");
	for (size_t i = 0; i < service->hosts->n_hosts; i++)
		total_weight += service->hosts->hosts[i].weight;
	if (service->distribution == DISTRIBUTION_MODULA &&
	    total_weight > CONFIG_CRC32_MAX)
		return config_fail(err, cfg->file, section, entry,
		    "crc32 gives 15 bits, for which the weights of [%s] may "
		    "add up to %d, not %llu", service->hosts->name,
		    CONFIG_CRC32_MAX, (unsigned long long)total_weight);
	return true;
}

static bool
config_service_check_hashes(const struct config *cfg,
    const struct config_section *core, char *err)
{
	for (size_t i = 0; i < cfg->n_services; i++)
		if (!config_service_check_hash(cfg, &cfg->services[i], core,
		    err))
			return false;
	return true;
}

bool
config_service_make_core(struct config *cfg, const char *prefix, char *err)
{
	struct config_section *core;

	core = config_find_section(cfg->file, CONFIG_CORE_NAME);
	return config_option_fill_core(cfg, core, err) &&
	    config_service_make_paths(cfg, prefix, err);
}

bool
config_service_make_all(struct config *cfg, const char *prefix, char *err)
{
	struct config_section *core;

	core = config_find_section(cfg->file, CONFIG_CORE_NAME);
	return config_service_make_core(cfg, prefix, err) &&
	    config_service_make_list(cfg, core, err) &&
	    config_hosts_read_groups(cfg, err) &&
	    config_hosts_link(cfg, err) &&
	    config_service_check_hashes(cfg, core, err);
}

bool
config_claim(struct config *cfg, struct config_service *service,
    const struct config_option *options, size_t n, char *err)
{
	struct config_value *values;

	values = config_alloc(cfg->file, n, sizeof(*values));
	if (values == NULL)
		return config_fail(err, cfg->file, service->section, NULL,
		    "out of memory");
	for (size_t i = 0; i < n; i++)
		if (!config_option_get(&options[i], cfg->file,
		    service->section, NULL, &values[i], err))
			return false;
	service->ext_values = values;
	return true;
}

static bool
config_service_has_addr(const struct config_group *group, unsigned addr)
{
	for (size_t i = 0; group != NULL && i < group->n_hosts; i++)
		if (group->hosts[i].addr == addr)
			return true;
	return false;
}

/* A backup is never emptied, or copies would be lost: what SERVICE wants
 * emptied must not be one. */
static void
config_service_warn_backups(const struct config *cfg,
    const struct config_service *service, const struct config_group *g,
    void (*warn)(const char *line))
{
	char line[CONFIG_ERR_MAX];

	for (size_t i = 0; g != NULL && i < g->n_hosts; i++)
		for (size_t j = 0; j < cfg->n_services; j++) {
			const struct config_service *s = &cfg->services[j];

			if (!config_service_has_addr(s->backup,
			    g->hosts[i].addr))
				continue;
			config_fail(line, cfg->file, service->section, NULL,
			    "rejoin = flush does not empty %s, which is in "
			    "hosts_backup of [%s] too", g->hosts[i].name,
			    s->name);
			warn(line);
			break;
		}
}

/* A key that belongs to one host in both groups has one copy, whatever sync_str
 * promises. */
static void
config_service_warn_overlap(const struct config *cfg,
    const struct config_service *service, void (*warn)(const char *line))
{
	char line[CONFIG_ERR_MAX];

	if (service->sync_str == NULL || *service->sync_str == '\0')
		return;
	for (size_t i = 0; i < service->hosts->n_hosts; i++) {
		const struct config_host *h = &service->hosts->hosts[i];

		if (!config_service_has_addr(service->backup, h->addr))
			continue;
		config_fail(line, cfg->file, service->section, NULL,
		    "%s is in hosts and in hosts_backup: keys that belong to "
		    "it in both have one copy, sync_str or not", h->name);
		warn(line);
	}
}

bool
config_fail_core(const struct config *cfg, const char *key, char *err,
    const char *fmt, ...)
{
	const struct config_section *core =
	    config_find_section(cfg->file, CONFIG_CORE_NAME);
	char what[CONFIG_ERR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return config_fail(err, cfg->file, core, config_find(core, key), "%s",
	    what);
}

bool
config_finish(struct config *cfg, void (*warn)(const char *line), char *err)
{
	const struct config_file *f = cfg->file;
	char line[CONFIG_ERR_MAX];

	for (size_t i = 0; i < cfg->n_services; i++) {
		const struct config_section *s = cfg->services[i].section;

		for (size_t j = 0; j < s->n_entries; j++)
			if (s->entries[j].mark == CONFIG_UNKNOWN)
				return config_fail(err, f, s, &s->entries[j],
				    "unknown option");
	}
	for (size_t i = 0; i < f->n_sections; i++) {
		const struct config_section *s = &f->sections[i];

		for (size_t j = 0; j < s->n_entries; j++) {
			if (s->entries[j].mark != CONFIG_KNOWN_LATER)
				continue;
			/* A warning has the form of an error. */
			config_fail(line, f, s, &s->entries[j],
			    "not built yet, has no effect");
			warn(line);
		}
	}
	for (size_t i = 0; i < cfg->n_services; i++) {
		const struct config_service *s = &cfg->services[i];

		config_service_warn_overlap(cfg, s, warn);
		if (s->rejoin != REJOIN_FLUSH)
			continue;
		config_service_warn_backups(cfg, s, s->hosts, warn);
		config_service_warn_backups(cfg, s, s->read, warn);
	}
	return true;
}
