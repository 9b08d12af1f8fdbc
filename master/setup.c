#include "master/setup.h"

#include <stdio.h>
#include <string.h>

#include "worker/extload.h"

static void
setup_ignore(const char *line)
{
	(void)line;
}

static bool
setup_open_extensions(struct setup *s, char *err)
{
	s->ext = calloc(s->cfg->n_services, sizeof(*s->ext));
	if (s->ext == NULL) {
		snprintf(err, CONFIG_ERR_MAX, "out of memory");
		return false;
	}
	for (size_t i = 0; i < s->cfg->n_services; i++) {
		s->ext[i] = extload_open(s->cfg, &s->cfg->services[i], err);
		if (s->ext[i] == NULL)
			return false;
	}
	return true;
}

bool
setup_load(struct setup *s, const struct setup_source *from, char *err)
{
	memset(s, 0, sizeof(*s));
	s->cfg = config_parse(from->snapshot, from->path, from->prefix,
	    from->lookup, err);
	if (s->cfg == NULL)
		return false;
	if (setup_open_extensions(s, err) && config_finish(s->cfg,
	    from->warn != NULL ? from->warn : setup_ignore, err))
		return true;
	setup_free(s);
	return false;
}

void
setup_free(struct setup *s)
{
	for (size_t i = 0; s->ext != NULL && i < s->cfg->n_services; i++)
		extload_close(&s->ext[i]);
	free(s->ext);
	s->ext = NULL;
	config_free(&s->cfg);
}

void
setup_name_changed(const struct setup *s, void (*say)(const char *line))
{
	char line[CONFIG_ERR_MAX];

	for (size_t i = 0; i < s->cfg->n_services; i++) {
		if (!extload_has_changed(s->ext[i]))
			continue;
		snprintf(line, sizeof(line), "%.300s:%u: [%.200s] extension: "
		    "%s is another file now, which needs a restart",
		    s->cfg->path, s->cfg->services[i].line,
		    s->cfg->services[i].name, s->cfg->services[i].extension);
		say(line);
	}
}
