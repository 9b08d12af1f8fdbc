/*
 * print_options.c: the tables of options as the program has them, for
 * t/sys_manual.py: the core's, the services', the extension's.
 *
 * A line an option, of fields with tabs between: table, key, type, default,
 * least, most, names, when, sentence.  What is not given is "-".
 */
#include <stdio.h>

#include "ext/kvp_ext.h"
#include "shared/config.h"
#include "worker/extload.h"

static const char *const types[] = {
	[CONFIG_INT] = "INT",
	[CONFIG_MS] = "MS",
	[CONFIG_SEC] = "SEC",
	[CONFIG_MB] = "MB",
	[CONFIG_BOOL] = "BOOL",
	[CONFIG_ENUM] = "ENUM",
	[CONFIG_STR] = "STR",
};
static const char *const whens[] = {
	[CONFIG_NOW] = "NOW",
	[CONFIG_RESTART] = "RESTART",
	[CONFIG_LATER] = "LATER",
	[CONFIG_INERT] = "INERT",
};

static const char *
or_dash(const char *text)
{
	return text != NULL ? text : "-";
}

static void
print_option(const char *table, const struct config_option *o)
{
	printf("%s\t%s\t%s\t%s\t%.12g\t%.12g\t%s\t%s\t%s\n", table, o->key,
	    types[o->type], or_dash(o->def), o->least, o->most,
	    or_dash(o->names), whens[o->when], o->text);
}

int
main(void)
{
	const struct config_option *options;
	struct config_option o;
	size_t n;

	options = config_core_options(&n);
	for (size_t i = 0; i < n; i++)
		print_option("core", &options[i]);
	options = config_service_options(&n);
	for (size_t i = 0; i < n; i++)
		print_option("service", &options[i]);
	for (size_t i = 0; i < kvp_extension.n_options; i++) {
		extload_make_option(&o, &kvp_extension.options[i]);
		print_option("extension", &o);
	}
	return 0;
}
