/*
 * places.h: which entry of the shared hosts table is whose.
 *
 * An entry belongs to one address for the life of the instance: what is counted
 * in it goes on when the address returns.
 */
#ifndef MASTER_PLACES_H
#define MASTER_PLACES_H

#include "shared/config.h"
#include "shared/shm.h"

struct places {
	char		*normal[SHM_HOSTS_MAX];	/* of each entry's address */
	bool		 used[SHM_HOSTS_MAX];	/* by what is in force */
	unsigned	 n;		/* entries that are somebody's */
	unsigned	 n_committed;	/* of these: not only found */
	unsigned	 n_services;	/* entries of services */
	unsigned	 n_services_committed;	/* of these, likewise */
};

void	 places_fini(struct places *places);

/* See that each of CFG's services has an entry in SHM.  False: there is none
 * left. */
bool	 places_find_services(struct places *places, const struct config *cfg,
	    struct shm *shm) MUST_CHECK;
/* The entries of CFG's addresses, in their order, for the caller to free; those
 * that are new are given out.  NULL with errno: there is no memory, or (ENOSPC)
 * no entry left. */
unsigned *places_find(struct places *places, const struct config *cfg)
	    MUST_CHECK;
/* Take back what was given out since the last commit. */
void	 places_undo(struct places *places);
/* CFG, with these entries, comes into force: SHM says so.  Addresses that were
 * not in force are up at first. */
void	 places_commit(struct places *places, const struct config *cfg,
	    const unsigned *entry, struct shm *shm, uint64_t now_us);

#endif /* MASTER_PLACES_H */
