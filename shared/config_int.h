/*
 * config_int.h: what the files of config share; nobody else includes it.
 *
 * config.c reads the file, config_service.c makes the sections' sense of it,
 * config_option.c knows the tables, config_hosts.c the groups, config_listen.c
 * the addresses that are listened on.
 */
#ifndef SHARED_CONFIG_INT_H
#define SHARED_CONFIG_INT_H

#include "shared/config.h"

#define CONFIG_CORE_NAME	"kvproxy"

/* What became of a line. */
enum config_mark { CONFIG_UNKNOWN, CONFIG_KNOWN, CONFIG_KNOWN_LATER };

/* A line "key = value". */
struct config_entry {
	const char	*key;		/* true case */
	const char	*value;		/* without quotes and comment */
	unsigned	 line;
	enum config_mark mark;
};

struct config_section {
	const char	*name;		/* true case */
	unsigned	 line;
	bool		 is_group;	/* its keys are addresses */
	struct config_entry *entries;
	size_t		 n_entries;
};

/* The file as it was read, and all memory of the configuration. */
struct config_file {
	const char	*path;
	bool		 is_lenient;	/* pass over what is wrong */
	const struct config_lookup *lookup; /* config_parse's, or NULL */
	struct config_section *sections;
	size_t		 n_sections;
	struct config_block *blocks;
};

/* Zeroed memory for N objects of SIZE that lives as long as the config. */
void	*config_alloc(struct config_file *file, size_t n, size_t size)
	    MUST_CHECK;
/* LEN bytes of TEXT with a NUL behind, in such memory. */
char	*config_copy(struct config_file *file, const char *text, size_t len)
	    MUST_CHECK;

/* "FILE:LINE: [section] key: what" in ERR, always false.  Without ENTRY the
 * line is the section's, without SECTION there is none. */
bool	 config_fail(char *err, const struct config_file *file,
	    const struct config_section *section,
	    const struct config_entry *entry, const char *fmt, ...)
	    PRINTF_LIKE(5, 6);

/* The line of SECTION (NULL: none) that has KEY, in any case; or NULL. */
struct config_entry *config_find(const struct config_section *section,
	    const char *key);

/* The section with NAME, in any case; or NULL. */
struct config_section *config_find_section(const struct config_file *file,
	    const char *name);

/* config_service.c */

/* The core of CFG, and all of it, from the lines that its file has. */
bool	 config_service_make_core(struct config *cfg, const char *prefix,
	    char *err) MUST_CHECK;
bool	 config_service_make_all(struct config *cfg, const char *prefix,
	    char *err) MUST_CHECK;

/* config_option.c */

/* Read TEXT as a value of OPT.  False: WHY (ROOM bytes) says what is wanted. */
bool	 config_option_parse(const struct config_option *opt, const char *text,
	    struct config_value *value, char *why, size_t room) MUST_CHECK;
/* The value of OPT: the line of SECTION that has it, else of FALLBACK (NULL:
 * none), else the default.  The lines are marked. */
bool	 config_option_get(const struct config_option *opt,
	    const struct config_file *file, struct config_section *section,
	    struct config_section *fallback, struct config_value *value,
	    char *err) MUST_CHECK;
/* Fill CFG from CORE (NULL: no such section) alone, and SERVICE from its
 * section and CORE.  Where the file is read leniently, the core's options
 * that are wrong have their defaults. */
bool	 config_option_fill_core(struct config *cfg,
	    struct config_section *core, char *err) MUST_CHECK;
bool	 config_option_fill_service(struct config *cfg,
	    struct config_service *service, struct config_section *core,
	    char *err) MUST_CHECK;

/* config_listen.c */

/* Make the listens of all services, and that of the metrics page. */
bool	 config_listen_make_all(struct config *cfg, char *err) MUST_CHECK;

/* config_hosts.c */

/* Make CFG->groups of all sections that are groups, in file order. */
bool	 config_hosts_read_groups(struct config *cfg, char *err) MUST_CHECK;
/* Find the groups that services name, and look up the addresses of those that
 * are used. */
bool	 config_hosts_link(struct config *cfg, char *err) MUST_CHECK;

#endif /* SHARED_CONFIG_INT_H */
