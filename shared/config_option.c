/*
 * config_option.c: the tables of options, and values by them.
 */
#include "shared/config_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define CONFIG_OPTION_ROW(field, key, type, def, least, most, names, when, \
    text) \
	{ key, CONFIG_##type, CONFIG_##when, def, least, most, names, text },
#define CONFIG_OFFSET_CORE(field, ...) offsetof(struct config, field),
#define CONFIG_OFFSET_SERVICE(field, ...) \
	offsetof(struct config_service, field),

/* Column at which an option's names go to a line of their own: behind them
 * stand a bracket and perhaps a note. */
#define CONFIG_OPTION_NAMES_END	59

static const struct config_option config_option_core[] = {
	CONFIG_CORE(CONFIG_OPTION_ROW)
};
static const struct config_option config_option_service[] = {
	CONFIG_SERVICE(CONFIG_OPTION_ROW)
};
/* Where the values go, in the order of the tables. */
static const size_t config_option_core_offset[] = {
	CONFIG_CORE(CONFIG_OFFSET_CORE)
};
static const size_t config_option_service_offset[] = {
	CONFIG_SERVICE(CONFIG_OFFSET_SERVICE)
};

const struct config_option *
config_core_options(size_t *n)
{
	*n = ARRAY_LEN(config_option_core);
	return config_option_core;
}

const struct config_option *
config_service_options(size_t *n)
{
	*n = ARRAY_LEN(config_option_service);
	return config_option_service;
}

/* TEXT as thousandths, with up to DECIMALS digits behind a point; a sign is
 * read, so that what is wrong with it is its range. */
static bool
config_option_scan(const char *text, unsigned decimals, int64_t *thousandths)
{
	const int64_t most = INT64_C(1000000000000);
	bool is_negative = *text == '-';
	const char *p = text + is_negative;
	unsigned n_decimals = 0;
	int64_t n = 0;

	if (*p == '\0')
		return false;
	for (; *p >= '0' && *p <= '9'; p++)
		n = MIN(n * 10 + (*p - '0'), most);
	if (*p == '.' && decimals > 0) {
		for (p++; *p >= '0' && *p <= '9'; p++, n_decimals++)
			n = MIN(n * 10 + (*p - '0'), most * 1000);
		if (n_decimals == 0 || n_decimals > decimals)
			return false;
	}
	if (*p != '\0')
		return false;
	for (; n_decimals < 3; n_decimals++)
		n *= 10;
	*thousandths = is_negative ? -n : n;
	return true;
}

/* The unit of numbers of TYPE, for a person. */
static const char *
config_option_unit(enum config_type type)
{
	switch (type) {
	case CONFIG_MS:
		return " of milliseconds";
	case CONFIG_SEC:
		return " of seconds";
	case CONFIG_MB:
		return " of MiB";
	default:
		return "";
	}
}

static bool
config_option_parse_number(const struct config_option *opt, const char *text,
    struct config_value *value, char *why, size_t room)
{
	bool has_fraction = opt->type == CONFIG_SEC;
	int64_t n;

	if (!config_option_scan(text, has_fraction ? 3 : 0, &n) ||
	    (double)n < opt->least * 1000 || (double)n > opt->most * 1000) {
		snprintf(why, room,
		    "\"%.64s\" is not a %snumber%s from %.12g to %.12g%s",
		    text, has_fraction ? "" : "whole ",
		    config_option_unit(opt->type), opt->least, opt->most,
		    has_fraction ? " with up to 3 decimals" : "");
		return false;
	}
	value->num = has_fraction ? n : n / 1000;
	if (opt->type == CONFIG_MB)
		value->num *= 1024 * 1024;
	return true;
}

static bool
config_option_parse_enum(const struct config_option *opt, const char *text,
    struct config_value *value, char *why, size_t room)
{
	const char *p = opt->names;
	size_t len;

	for (value->num = 0; *p != '\0'; value->num++) {
		len = strcspn(p, "|");
		if (strlen(text) == len && strncasecmp(p, text, len) == 0)
			return true;
		p += len + (p[len] == '|');
	}
	snprintf(why, room, "\"%.64s\" is not one of %s", text, opt->names);
	return false;
}

static bool
config_option_parse_string(const struct config_option *opt, const char *text,
    struct config_value *value, char *why, size_t room)
{
	size_t len = strlen(text);

	if ((double)len < opt->least || (double)len > opt->most) {
		if (len == 0)
			snprintf(why, room, "has no value");
		else if (opt->least == opt->most)
			snprintf(why, room, "must have %.12g bytes, not %zu",
			    opt->most, len);
		else
			snprintf(why, room, "has %zu bytes, the most is %.12g",
			    len, opt->most);
		return false;
	}
	value->str = text;
	return true;
}

bool
config_option_parse(const struct config_option *opt, const char *text,
    struct config_value *value, char *why, size_t room)
{
	static const struct config_option on_off = { .names = "off|on" };

	value->num = 0;
	value->str = NULL;
	switch (opt->type) {
	case CONFIG_STR:
		return config_option_parse_string(opt, text, value, why, room);
	case CONFIG_ENUM:
		return config_option_parse_enum(opt, text, value, why, room);
	case CONFIG_BOOL:
		return config_option_parse_enum(&on_off, text, value, why,
		    room);
	case CONFIG_INT:
	case CONFIG_MS:
	case CONFIG_SEC:
	case CONFIG_MB:
		break;
	}
	return config_option_parse_number(opt, text, value, why, room);
}

bool
config_option_get(const struct config_option *opt,
    const struct config_file *file, struct config_section *section,
    struct config_section *fallback, struct config_value *value, char *err)
{
	struct config_section *const from[] = { section, fallback };
	struct config_entry *entry;
	bool is_found = false;
	char why[256];

	/* A line that is overridden must be right too. */
	for (size_t i = ARRAY_LEN(from); i-- > 0;) {
		entry = config_find(from[i], opt->key);
		if (entry == NULL)
			continue;
		if (!config_option_parse(opt, entry->value, value, why,
		    sizeof(why)))
			return config_fail(err, file, from[i], entry, "%s",
			    why);
		entry->mark = opt->when == CONFIG_LATER ?
		    CONFIG_KNOWN_LATER : CONFIG_KNOWN;
		is_found = true;
	}
	if (is_found)
		return true;
	value->num = -1;
	value->str = NULL;
	if (opt->def != NULL && !config_option_parse(opt, opt->def, value, why,
	    sizeof(why)))
		return config_fail(err, file, section, NULL,
		    "the default of %s is wrong: %s", opt->key, why);
	return true;
}

/* Put VALUE where a field of OPT's type is. */
static void
config_option_store(const struct config_option *opt, void *field,
    const struct config_value *value)
{
	switch (opt->type) {
	case CONFIG_INT:
	case CONFIG_MS:
	case CONFIG_SEC:
	case CONFIG_MB:
		*(int64_t *)field = value->num;
		break;
	case CONFIG_BOOL:
		*(bool *)field = value->num != 0;
		break;
	case CONFIG_ENUM:
		*(int *)field = (int)value->num;
		break;
	case CONFIG_STR:
		*(const char **)field = value->str;
		break;
	}
}

/* The row of OPTIONS with KEY, or NULL. */
static const struct config_option *
config_option_find(const struct config_option *options, size_t n,
    const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(options[i].key, key) == 0)
			return &options[i];
	return NULL;
}

/* [kvproxy] has no extension to ask: what is in no table is wrong. */
static bool
config_option_check_core(const struct config_file *file,
    const struct config_section *core, char *err)
{
	for (size_t i = 0; i < core->n_entries; i++) {
		const struct config_entry *e = &core->entries[i];

		if (strcasecmp(e->key, "extension") == 0)
			return config_fail(err, file, core, e,
			    "stands in a service's own section only");
		if (config_option_find(config_option_core,
		    ARRAY_LEN(config_option_core), e->key) == NULL &&
		    config_option_find(config_option_service,
		    ARRAY_LEN(config_option_service), e->key) == NULL)
			return config_fail(err, file, core, e,
			    "unknown option");
	}
	return true;
}

bool
config_option_fill_core(struct config *cfg, struct config_section *core,
    char *err)
{
	const struct config_file *f = cfg->file;
	struct config_value value;

	if (core != NULL && !f->is_lenient &&
	    !config_option_check_core(f, core, err))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(config_option_core); i++) {
		const struct config_option *opt = &config_option_core[i];

		if (!config_option_get(opt, f, core, NULL, &value, err) &&
		    (!f->is_lenient ||
		    !config_option_get(opt, f, NULL, NULL, &value, err)))
			return false;
		config_option_store(opt,
		    (char *)cfg + config_option_core_offset[i], &value);
	}
	return true;
}

bool
config_option_fill_service(struct config *cfg, struct config_service *service,
    struct config_section *core, char *err)
{
	struct config_section *section = service->section;
	struct config_value value;

	for (size_t i = 0; i < section->n_entries; i++)
		if (config_option_find(config_option_core,
		    ARRAY_LEN(config_option_core), section->entries[i].key))
			return config_fail(err, cfg->file, section,
			    &section->entries[i], "stands in [kvproxy] only");
	for (size_t i = 0; i < ARRAY_LEN(config_option_service); i++) {
		const struct config_option *opt = &config_option_service[i];

		if (!config_option_get(opt, cfg->file, section, core, &value,
		    err))
			return false;
		config_option_store(opt,
		    (char *)service + config_option_service_offset[i], &value);
	}
	return true;
}

/* Are two fields of OPT's type alike? */
static bool
config_option_is_same(const struct config_option *opt, const void *a,
    const void *b)
{
	const char *sa, *sb;

	switch (opt->type) {
	case CONFIG_BOOL:
		return *(const bool *)a == *(const bool *)b;
	case CONFIG_ENUM:
		return *(const int *)a == *(const int *)b;
	case CONFIG_STR:
		sa = *(const char *const *)a;
		sb = *(const char *const *)b;
		return sa == sb ||
		    (sa != NULL && sb != NULL && strcmp(sa, sb) == 0);
	default:
		return *(const int64_t *)a == *(const int64_t *)b;
	}
}

bool
config_keep_restart(struct config *cfg, const struct config *old,
    void (*say)(const char *line))
{
	const struct config_section *core = config_find_section(cfg->file,
	    CONFIG_CORE_NAME);
	const struct config_entry *entry;
	char line[CONFIG_ERR_MAX];

	for (size_t i = 0; i < ARRAY_LEN(config_option_core); i++) {
		const struct config_option *opt = &config_option_core[i];
		void *now = (char *)cfg + config_option_core_offset[i];
		const void *was = (const char *)old +
		    config_option_core_offset[i];
		struct config_value value = { .num = 0 };

		if (opt->when != CONFIG_RESTART ||
		    config_option_is_same(opt, now, was))
			continue;
		entry = config_find(core, opt->key);
		config_fail(line, cfg->file, core, entry, "%s%schanges with a "
		    "restart only", entry == NULL ? opt->key : "",
		    entry == NULL ? " " : "");
		say(line);
		ASSERT(opt->type == CONFIG_BOOL || opt->type == CONFIG_STR);
		if (opt->type == CONFIG_BOOL)
			value.num = *(const bool *)was;
		else if (*(const char *const *)was != NULL) {
			value.str = config_copy(cfg->file,
			    *(const char *const *)was,
			    strlen(*(const char *const *)was));
			if (value.str == NULL)
				return false;
		}
		config_option_store(opt, now, &value);
	}
	return true;
}

const char *
config_service_word(const struct config_service *service, const char *key,
    int *len)
{
	const struct config_option *opt = config_option_find(
	    config_option_service, ARRAY_LEN(config_option_service), key);
	const void *field;
	const char *word;

	ASSERT(opt != NULL);
	field = (const char *)service +
	    config_option_service_offset[opt - config_option_service];
	if (opt->type == CONFIG_ENUM) {
		word = opt->names;
		for (int i = *(const int *)field; i > 0; i--)
			word = strchr(word, '|') + 1;
	} else {
		ASSERT(opt->type == CONFIG_STR);
		word = *(const char *const *)field;
		word = word != NULL ? word : "";
	}
	*len = (int)strcspn(word, "|");
	return word;
}

static void
config_option_print(FILE *out, const struct config_option *opt)
{
	int width = fprintf(out, "  %s", opt->key);

	if (opt->def != NULL)
		width += fprintf(out, " = %s", opt->def);
	if (opt->type == CONFIG_BOOL)
		fprintf(out, " (on|off)");
	else if (opt->type == CONFIG_ENUM)
		fprintf(out, "%s(%s)", width + (int)strlen(opt->names) >
		    CONFIG_OPTION_NAMES_END ? "\n      " : " ", opt->names);
	else if (opt->type != CONFIG_STR)
		fprintf(out, " (%.12g to %.12g)", opt->least, opt->most);
	fprintf(out, "%s\n      %s\n",
	    opt->when == CONFIG_LATER ? " [not built yet]" : "", opt->text);
}

void
config_usage(FILE *out)
{
	fprintf(out, "In [kvproxy], with their defaults:\n");
	for (size_t i = 0; i < ARRAY_LEN(config_option_core); i++)
		config_option_print(out, &config_option_core[i]);
	fprintf(out, "\nIn a service's section, or in [kvproxy] for all "
	    "services:\n");
	for (size_t i = 0; i < ARRAY_LEN(config_option_service); i++)
		config_option_print(out, &config_option_service[i]);
	fprintf(out, "\nIn a group's section, a line a host:\n"
	    "  ADDRESS = \"ID:WEIGHT[:NAME]\"\n");
}
