/*
 * config_listen.c: the addresses that services listen on, and the metrics page.
 */
#include "shared/config_int.h"

#include <stdio.h>
#include <string.h>

#include "shared/hosts.h"

#define CONFIG_LISTEN_SPACE	" \t,"
#define CONFIG_LISTEN_WORD	1024	/* room for an address */

/* Who listens on what L says already, before SERVICE's Nth address; NULL:
 * nobody. */
static const struct config_service *
config_listen_find_twin(const struct config *cfg,
    const struct config_service *service, size_t n,
    const struct config_listen *l)
{
	const struct config_service *s;

	for (s = cfg->services; s <= service; s++) {
		size_t most = s == service ? n : s->n_listens;

		for (size_t i = 0; i < most; i++)
			if (strcmp(s->listens[i].normal, l->normal) == 0)
				return s;
	}
	return NULL;
}

/* L from the LEN bytes at TEXT, which stand in ENTRY of SECTION: an address
 * or, where MAY_BE_PATH, a path. */
static bool
config_listen_parse(const struct config *cfg, struct config_listen *l,
    const struct config_section *section, const struct config_entry *entry,
    const char *text, size_t len, bool may_be_path, char *err)
{
	char normal[HOSTS_NORMAL_MAX];
	enum hosts_form form;
	const char *why;

	l->name = config_copy(cfg->file, text, len);
	if (l->name == NULL)
		return config_fail(err, cfg->file, section, NULL,
		    "out of memory");
	form = hosts_parse(l->name, &l->sa, &l->sa_len, &why);
	if (form == HOSTS_NAME)
		why = may_be_path ? "a name; an address or a path is wanted" :
		    "a name; an address is wanted";
	else if (form == HOSTS_UNIX && !may_be_path)
		why = "a path; an address is wanted";
	else if (form != HOSTS_BAD)
		why = NULL;
	if (why != NULL)
		return config_fail(err, cfg->file, section, entry,
		    "\"%.200s\": %s", l->name, why);
	hosts_normalize(l->name, normal);
	l->normal = config_copy(cfg->file, normal, strlen(normal));
	return l->normal != NULL || config_fail(err, cfg->file, section, NULL,
	    "out of memory");
}

/* An address that is free still, from the LEN bytes at TEXT. */
static bool
config_listen_add(struct config *cfg, struct config_service *service,
    const char *key, const char *text, size_t len, char *err)
{
	const struct config_section *section = service->section;
	const struct config_entry *entry = config_find(section, key);
	struct config_listen *l = &service->listens[service->n_listens];
	const struct config_service *twin;

	if (!config_listen_parse(cfg, l, section, entry, text, len, true,
	    err))
		return false;
	twin = config_listen_find_twin(cfg, service, service->n_listens, l);
	if (twin != NULL && strcmp(key, "port") == 0)
		return config_fail(err, cfg->file, section, entry,
		    "port %d is the one of [%s] already", (int)service->port,
		    twin->name);
	if (twin != NULL)
		return config_fail(err, cfg->file, section, entry,
		    "%s is one of [%s] already", l->name, twin->name);
	service->n_listens++;
	return true;
}

static bool
config_listen_read_mode(const struct config *cfg,
    struct config_service *service, char *err)
{
	const char *text = service->listen_mode;
	const struct config_section *section = service->section;

	service->socket_mode = 0;
	for (const char *p = text; *p != '\0'; p++) {
		if (*p < '0' || *p > '7' || (strlen(text) == 4 && *text != '0'))
			return config_fail(err, cfg->file, section,
			    config_find(section, "listen_mode"),
			    "\"%s\" is not a mode from 000 to 777", text);
		service->socket_mode = service->socket_mode * 8 +
		    (unsigned)(*p - '0');
	}
	return true;
}

/* The LEN bytes at TEXT as an address, in WORD: a star is any, and what has no
 * port has the service's.  Its length. */
static size_t
config_listen_expand(const struct config_service *service, const char *text,
    size_t len, char word[CONFIG_LISTEN_WORD])
{
	bool is_any = *text == '*';
	const char *end = memchr(text, ']', len);
	const char *from = end != NULL ? end : text;
	bool has_port = *text == '/' ||
	    memchr(from, ':', len - (size_t)(from - text)) != NULL;
	char port[16] = "";
	int n;

	if (!has_port)
		snprintf(port, sizeof(port), ":%d", (int)service->port);
	n = snprintf(word, CONFIG_LISTEN_WORD, "%s%.*s%s",
	    is_any ? "0.0.0.0" : "", (int)(len - is_any), text + is_any,
	    port);
	return MIN((size_t)n, CONFIG_LISTEN_WORD - 1);
}

/* All of SERVICE's: those of listen, or its port on any address. */
static bool
config_listen_make(struct config *cfg, struct config_service *service,
    size_t room, char *err)
{
	const struct config_section *section = service->section;
	const char *text = service->listen;
	char word[CONFIG_LISTEN_WORD];
	size_t len;

	service->listens = config_alloc(cfg->file, room + 1,
	    sizeof(*service->listens));
	if (service->listens == NULL)
		return config_fail(err, cfg->file, section, NULL,
		    "out of memory");
	if (!config_listen_read_mode(cfg, service, err))
		return false;
	if (text == NULL) {
		len = config_listen_expand(service, "*", 1, word);
		return config_listen_add(cfg, service, "port", word, len, err);
	}
	for (;; text += len) {
		text += strspn(text, CONFIG_LISTEN_SPACE);
		len = strcspn(text, CONFIG_LISTEN_SPACE);
		if (len == 0)
			break;
		if (service->n_listens == room)
			return config_fail(err, cfg->file, section,
			    config_find(section, "listen"),
			    "more than %d addresses in all",
			    CONFIG_LISTENS_MAX);
		if (!config_listen_add(cfg, service, "listen", word,
		    config_listen_expand(service, text, len, word), err))
			return false;
	}
	if (service->n_listens == 0)
		return config_fail(err, cfg->file, section,
		    config_find(section, "listen"), "no address");
	return true;
}

/* A port alone, or with a colon before it, is one of this machine alone; a star
 * is any address. */
static bool
config_listen_make_metrics(struct config *cfg, char *err)
{
	const struct config_section *core = config_find_section(cfg->file,
	    CONFIG_CORE_NAME);
	const struct config_entry *entry = config_find(core, "metrics");
	const struct config_service *last =
	    &cfg->services[cfg->n_services - 1], *twin;
	const char *text = cfg->metrics, *host = "";
	struct config_listen *l;
	char word[CONFIG_LISTEN_WORD];

	if (text == NULL)
		return true;
	if (text[strspn(text, "0123456789")] == '\0')
		host = "127.0.0.1:";
	else if (*text == ':')
		host = "127.0.0.1";
	else if (*text == '*')
		host = "0.0.0.0";
	snprintf(word, sizeof(word), "%s%s", host, text + (*text == '*'));
	l = config_alloc(cfg->file, 1, sizeof(*l));
	if (l == NULL)
		return config_fail(err, cfg->file, core, NULL,
		    "out of memory");
	if (!config_listen_parse(cfg, l, core, entry, word, strlen(word),
	    false, err))
		return false;
	twin = config_listen_find_twin(cfg, last, last->n_listens, l);
	if (twin != NULL)
		return config_fail(err, cfg->file, core, entry,
		    "%s is one of [%s] already", l->name, twin->name);
	cfg->metrics_listen = l;
	return true;
}

bool
config_listen_make_all(struct config *cfg, char *err)
{
	size_t room = CONFIG_LISTENS_MAX;

	for (size_t i = 0; i < cfg->n_services; i++) {
		if (!config_listen_make(cfg, &cfg->services[i], room, err))
			return false;
		room -= cfg->services[i].n_listens;
	}
	return config_listen_make_metrics(cfg, err);
}
