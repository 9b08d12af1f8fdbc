/*
 * setup.h: a configuration with its extensions opened, ready to be served.
 */
#ifndef MASTER_SETUP_H
#define MASTER_SETUP_H

#include "shared/config.h"

struct extload;

struct setup {
	struct config	*cfg;		/* NULL: there is none */
	struct extload	**ext;		/* one a service */
};

/* What a setup is made of.  It is only used meanwhile. */
struct setup_source {
	int		 snapshot;	/* config_snapshot's */
	const char	*path;		/* of what it is one */
	const char	*prefix;	/* the installation's folder */
	const struct config_lookup *lookup;	/* NULL: look names up */
	void		(*warn)(const char *line);	/* NULL: nobody cares */
};

/* False: ERR (CONFIG_ERR_MAX bytes) says why, and S is empty. */
bool	 setup_load(struct setup *s, const struct setup_source *from,
	    char *err) MUST_CHECK;
void	 setup_free(struct setup *s);

/* Which of the files of S's extensions have changed since they were loaded, a
 * line each to SAY. */
void	 setup_name_changed(const struct setup *s,
	    void (*say)(const char *line));

#endif /* MASTER_SETUP_H */
