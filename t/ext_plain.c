/*
 * ext_plain.c: an extension that speaks no protocol, only to be loaded.
 *
 * The environment's EXT_FAULT spoils its table: "abi", "size", "name",
 * "option", "refuse", or the name of a function, which is then missing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ext/kvp_ext.h"

#define PLAIN_FUNCTION(f) { #f, offsetof(struct kvp_ext, f) }

/* Those that only must be there. */
static const struct {
	const char	*name;
	size_t		 offset;
} plain_functions[] = {
	PLAIN_FUNCTION(parse), PLAIN_FUNCTION(next_key),
	PLAIN_FUNCTION(encode), PLAIN_FUNCTION(greet), PLAIN_FUNCTION(greeted),
	PLAIN_FUNCTION(decode), PLAIN_FUNCTION(follow), PLAIN_FUNCTION(render),
	PLAIN_FUNCTION(fail), PLAIN_FUNCTION(effect), PLAIN_FUNCTION(age),
	PLAIN_FUNCTION(flush), PLAIN_FUNCTION(admin),
};

static struct kvp_option plain_options[] = {
	{ "size", KVP_OPT_INT, 0, "7", 1, 1000, NULL, "a number" },
	{ "loud", KVP_OPT_BOOL, 0, "off", 0, 1, NULL, "a switch" },
	{ "tone", KVP_OPT_ENUM, 0, "low", 0, 0, "low|mid|high", "a choice" },
	{ "tune", KVP_OPT_STR, 0, NULL, 1, 8, NULL, "a string" },
	{ "old", KVP_OPT_STR, KVP_OPT_INERT, NULL, 0, 99, NULL, "nothing" },
	{ "soon", KVP_OPT_BOOL, KVP_OPT_LATER, "off", 0, 1, NULL, "later" },
};

static bool plain_refuses;
static int plain_n_open;

static void *
plain_open(const struct kvp_conf *conf, char *err, size_t room)
{
	if (plain_refuses) {
		snprintf(err, room, "size %d does not suit it",
		    (int)conf->value[0].num);
		return NULL;
	}
	plain_n_open++;
	return &plain_n_open;
}

static void
plain_close(void *ext)
{
	--*(int *)ext;
}

static void
plain_do_nothing(void)
{
}

/* Not const, unlike the header's, for its faults come at run time. */
struct kvp_ext plain_table __asm__(KVP_SYMBOL) = {
	.abi = KVP_ABI,
	.size = sizeof(struct kvp_ext),
	.name = "plain",
	.options = plain_options,
	.n_options = sizeof(plain_options) / sizeof(plain_options[0]),
	.open = plain_open,
	.close = plain_close,
};

__attribute__((constructor)) static void
plain_fill_table(void)
{
	const size_t n = sizeof(plain_functions) / sizeof(plain_functions[0]);
	const char *fault = getenv("EXT_FAULT");
	void (*f)(void) = plain_do_nothing;

	if (fault == NULL)
		fault = "";
	for (size_t i = 0; i < n; i++)
		if (strcmp(fault, plain_functions[i].name) != 0)
			memcpy((char *)&plain_table +
			    plain_functions[i].offset, &f, sizeof(f));
	if (strcmp(fault, "open") == 0)
		plain_table.open = NULL;
	if (strcmp(fault, "close") == 0)
		plain_table.close = NULL;
	if (strcmp(fault, "abi") == 0)
		plain_table.abi = KVP_ABI + 1;
	if (strcmp(fault, "size") == 0)
		plain_table.size -= 8;
	if (strcmp(fault, "name") == 0)
		plain_table.name = NULL;
	if (strcmp(fault, "option") == 0)
		plain_options[2].names = NULL;
	plain_refuses = strcmp(fault, "refuse") == 0;
}
