/*
 * extload.h: protocol extensions, loaded and checked before the fork.
 *
 * The only place that calls dlopen and dlsym.
 */
#ifndef WORKER_EXTLOAD_H
#define WORKER_EXTLOAD_H

#include "ext/kvp_ext.h"
#include "shared/config.h"

/* An extension opened for one service. */
struct extload {
	void		*handle;	/* dlopen's */
	const struct kvp_ext *fn;
	void		*ext;		/* what fn->open gave */
	struct kvp_conf	 conf;
};

/* Load the extension of SERVICE from CFG->ext_path, claim its options and
 * open it.  Refused, with one line in ERR (CONFIG_ERR_MAX bytes) that names
 * the file: one that is missing, of the wrong kind, writable by group or other
 * or in such a folder, owned by neither root nor the user, without the symbol,
 * of another ABI or table size, without one of its functions.  CFG must live
 * as long as what is returned. */
struct extload *extload_open(struct config *cfg,
	    struct config_service *service, char *err) MUST_CHECK;
void	 extload_close(struct extload **ext);

#endif /* WORKER_EXTLOAD_H */
