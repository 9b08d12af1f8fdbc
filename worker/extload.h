/*
 * extload.h: protocol extensions, loaded and checked before the fork.
 *
 * The only place that calls dlopen and dlsym.
 */
#ifndef WORKER_EXTLOAD_H
#define WORKER_EXTLOAD_H

#include "ext/kvp_ext.h"
#include "shared/config.h"

struct extload_file;

/* An extension opened for one service. */
struct extload {
	struct extload_file *file;
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

/* From now on the files that are loaded stay, and no other is: extload_open
 * opens what is there once more, and refuses what is not. */
void	 extload_seal(void);
/* Has EXT's file become another one since it was loaded? */
bool	 extload_has_changed(const struct extload *ext);

/* The extension's option FROM in the form of the core's, for whoever claims it,
 * and for the test of sample file and manual. */
void	 extload_make_option(struct config_option *to,
	    const struct kvp_option *from);

#endif /* WORKER_EXTLOAD_H */
