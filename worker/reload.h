/*
 * reload.h: a new configuration, from the master's order to the swap.
 */
#ifndef WORKER_RELOAD_H
#define WORKER_RELOAD_H

#include "worker/core.h"

/* Prepare what MSG says, with the N descriptors of FDS, which are taken over:
 * it comes into force when all new hosts have been tried, after 2 s at most.
 * The master has checked it, so that what fails is memory, and then the worker
 * ends. */
void	 reload_start(struct worker *w, const struct worker_message *msg,
	    const int *fds, size_t n);
/* What is being prepared comes into force now, if there is any. */
void	 reload_finish(struct worker *w);
/* The services that the master means by their numbers: those of what is being
 * prepared, if there is any. */
struct service *const *reload_services(const struct worker *w);
/* All hosts have been tried: no need to wait any more. */
void	 reload_settled(struct worker *w);
/* Drop what is being prepared; the worker ends. */
void	 reload_drop(struct worker *w);

#endif /* WORKER_RELOAD_H */
