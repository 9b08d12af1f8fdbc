/*
 * service.h: a worker's services, and how they change with a reload.
 *
 * A reload is prepared beside what serves: the hosts that are new are
 * connected to first.  Then, between two turns, all services go by the new
 * configuration at once.  A service that the file has no more serves on while
 * clients may still come to its sockets, and a moment longer for those that
 * came last; then it drains: its clients are answered and closed, and it goes
 * when nothing is under way.
 */
#ifndef WORKER_SERVICE_H
#define WORKER_SERVICE_H

#include "worker/core.h"

/* CFG and HOST_ENTRY become the result's, which has one reference.  NULL: out
 * of memory, and they are the caller's still. */
struct conf *conf_new(struct config *cfg, unsigned *host_entry) MUST_CHECK;
void	 conf_put(struct conf **conf);

/* The services of CONF, with their extensions LOADED (one each, which become
 * theirs when they are committed): those that W has already under that name,
 * or new ones, in the order of CONF.  The caller frees.  All hosts are being
 * connected to.  NULL: out of memory. */
struct service **service_prepare_all(struct worker *w, struct conf *conf,
	    struct extload *const *loaded) MUST_CHECK;
/* From now on W's services are SERVICES, which were prepared for CONF, and
 * those that leave.  All of it is W's then.  False: out of memory, and the
 * worker cannot go on. */
bool	 service_commit_all(struct worker *w, struct service **services,
	    struct conf *conf, struct extload **loaded) MUST_CHECK;

/* Free what has left.  True: nothing is left of that. */
bool	 service_sweep(struct worker *w);
/* Free all; no clients are left. */
void	 service_free_all(struct worker *w);

/* W's service NAME, in any case, that does not leave; or NULL. */
struct service *service_find(struct worker *w, const char *name);
/* The same, but one that leaves will do where there is no other. */
struct service *service_find_any(struct worker *w, const char *name);

#endif /* WORKER_SERVICE_H */
