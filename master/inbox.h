/*
 * inbox.h: the workers' inboxes, where clients go from one to another.
 *
 * A slot's inbox outlives its workers, so that what is in it is not lost when
 * one dies.
 */
#ifndef MASTER_INBOX_H
#define MASTER_INBOX_H

#include "shared/shm.h"

struct inboxes {
	int		 in[SHM_WORKERS_MAX];	/* the ways to them; -1: none */
	int		 out[SHM_WORKERS_MAX];	/* what a slot's worker reads */
};

void	 inbox_init(struct inboxes *boxes);
void	 inbox_fini(struct inboxes *boxes);
/* Make the one of SLOT, if it is not there yet.  False with errno. */
bool	 inbox_open(struct inboxes *boxes, unsigned slot) MUST_CHECK;
/* In a worker: close all but what SLOT's needs. */
void	 inbox_close_others(struct inboxes *boxes, unsigned slot);
/* What is in FROM's inbox goes to TO's, as far as there is room: FROM has no
 * worker any more. */
void	 inbox_forward(const struct inboxes *boxes, unsigned from, unsigned to);

#endif /* MASTER_INBOX_H */
