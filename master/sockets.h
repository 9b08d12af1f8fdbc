/*
 * sockets.h: the listening sockets of all slots.
 *
 * Each address has a socket a slot, and keeps it when the slot has no worker:
 * closing one would reset the connections that wait in it.  A unix socket is
 * one for all.  An address that the file has no more is closed a moment after
 * the workers were told.
 */
#ifndef MASTER_SOCKETS_H
#define MASTER_SOCKETS_H

#include "worker/worker.h"

struct sockets;

struct sockets *sockets_new(void) MUST_CHECK;
/* Close all, and take away the files of unix sockets. */
void	 sockets_free(struct sockets **sockets);

/* Open what CFG asks for and is not there yet, in N_SLOTS slots.  IS_PATIENT:
 * who has an address may be about to let go of it.  False: ERR (ROOM bytes)
 * says why, and all is as it was. */
bool	 sockets_prepare(struct sockets *sockets, const struct config *cfg,
	    unsigned n_slots, bool is_patient, char *err, size_t room)
	    MUST_CHECK;
/* Close again what was opened since the last commit. */
void	 sockets_undo(struct sockets *sockets);
/* What CFG, which was prepared, asks for stays; the rest leaves. */
void	 sockets_commit(struct sockets *sockets, const struct config *cfg);
/* Close what has left for long enough.  True: nothing is left of that. */
bool	 sockets_sweep(struct sockets *sockets);

/* Those of SLOT, to LIST (CONFIG_LISTENS_MAX); how many.  WITH_UNIX: those that
 * all slots share, too. */
size_t	 sockets_list(const struct sockets *sockets, unsigned slot,
	    bool with_unix, struct worker_listen *list);
/* In a worker: close all but those of SLOT. */
void	 sockets_close_others(struct sockets *sockets, unsigned slot);

#endif /* MASTER_SOCKETS_H */
