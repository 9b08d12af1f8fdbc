/*
 * options.h: kvproxy's command line.
 */
#ifndef MASTER_OPTIONS_H
#define MASTER_OPTIONS_H

#include "shared/base.h"

enum options_task {
	OPTIONS_SERVE,
	OPTIONS_CHECK,		/* the configuration, and say what it means */
	OPTIONS_PATHS,		/* print where the pid file and so on are */
	OPTIONS_STATUS,		/* say what the one that runs is doing */
	OPTIONS_ROUTE		/* say where a key goes */
};

struct options {
	enum options_task task;
	const char	*config_path;	/* NULL: the installation's */
	bool		 is_background;
	bool		 is_json;	/* of OPTIONS_STATUS */
	const char	*route_key;	/* of OPTIONS_ROUTE, */
	const char	*route_service;	/* of this one alone; NULL: of all */
};

/* What the command line says goes to O, as pointers into it.  False: there is
 * nothing to do, what there was to say has been said, and *STATUS is the exit
 * status. */
bool	 options_parse(struct options *o, int argc, char **argv, int *status)
	    MUST_CHECK;

#endif /* MASTER_OPTIONS_H */
