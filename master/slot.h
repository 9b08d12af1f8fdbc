/*
 * slot.h: the place of one worker, and whoever fills it.
 *
 * A slot is spawned, watched, respawned and stopped.  What happens is a table
 * of state and event (slot.c).  A worker that lived a second is replaced at
 * once; one that dies young, after a pause that grows to 200 ms.  One whose
 * heart does not beat is killed, and replaced like that.
 */
#ifndef MASTER_SLOT_H
#define MASTER_SLOT_H

#include <sys/types.h>

#include <ev.h>

#include "shared/config.h"
#include "shared/shm.h"
#include "worker/worker.h"

struct slot;
struct user;

enum slot_state {
	SLOT_EMPTY,	/* no worker, and none is wanted */
	SLOT_STARTING,	/* forked, does not serve yet */
	SLOT_RUNNING,	/* serves */
	SLOT_PAUSED,	/* no worker; one will be spawned soon */
	SLOT_STOPPING,	/* told to go, or killed */
	SLOT_N_STATES
};

enum slot_event {
	SLOT_START,	/* the master wants a worker here */
	SLOT_READY,	/* the worker says that it serves */
	SLOT_DIED,	/* it was reaped */
	SLOT_TIMEOUT,	/* the pause, or the time to stop, is over */
	SLOT_DRAIN,	/* the master wants it to finish and go */
	SLOT_GIVE,	/* the same, but its clients go on with others */
	SLOT_HANGS,	/* its heart has not beaten for long */
	SLOT_KILL,	/* the master wants it gone now */
	SLOT_N_EVENTS
};

extern const char *const slot_state_names[SLOT_N_STATES];

/* What all slots share; lives longer than they do. */
struct slot_common {
	struct ev_loop	*loop;
	const struct config *cfg;	/* the one in force */
	unsigned	 n_entries;	/* of the hosts table, ever used */
	struct shm	*shm;		/* has reserved the slots */
	const struct user *user;	/* that workers become */

	/* Called in SLOT's new worker before anything else, with all signals
	 * blocked: let go of everything that is the master's, the loop
	 * included, and of its ways to the other workers, and fill in BIRTH but
	 * for control. */
	void		 (*on_fork)(void *data, unsigned slot,
			    struct worker_birth *birth);
	/* SLOT is in another state, or its worker's heart has stopped or beats
	 * again.  It may not be told anything from here. */
	void		 (*on_change)(void *data, const struct slot *slot);
	/* A worker has something to say of a host. */
	void		 (*on_alarm)(void *data);
	void		*data;
};

/* Slot I, empty.  NULL: no memory. */
struct slot *slot_new(const struct slot_common *common, unsigned i)
	    MUST_CHECK;
/* An empty slot. */
void	 slot_free(struct slot **slot);

/* What is meaningless in the slot's state is ignored. */
void	 slot_tell(struct slot *slot, enum slot_event event);
/* Pin SLOT's workers to CPU from now on (-1: to none), the one there is too. */
void	 slot_pin(struct slot *slot, int cpu);
/* Give SLOT's worker, which is there, the order MSG with N descriptors, which
 * stay the caller's; it waits while the worker has many to read.  One that does
 * not take them is killed: it would be replaced anyway. */
void	 slot_send(struct slot *slot, const struct worker_message *msg,
	    const int *fds, size_t n);
/* The same, of an order that is nothing but a word about slot ABOUT. */
void	 slot_order(struct slot *slot, enum worker_order order,
	    unsigned about);
/* Have SLOT's worker, if there is one, look at the hosts: some state has
 * changed. */
void	 slot_look(struct slot *slot);
/* Look whether the worker's heart beats; to be called at an even pace. */
void	 slot_check_beat(struct slot *slot);
/* The child PID has ended with STATUS; false: it is none of this slot's. */
bool	 slot_reap(struct slot *slot, pid_t pid, int status);
/* In a worker: close what belongs to SLOT's (the loop is not touched). */
void	 slot_forget(struct slot *slot);

/* It is running, and its heart has beaten lately. */
bool	 slot_serves(const struct slot *slot);
bool	 slot_has_worker(const struct slot *slot);
enum slot_state slot_state(const struct slot *slot);
/* Why the last worker is gone, "worker 3 ..."; until the next one is. */
const char *slot_why(const struct slot *slot);

#endif /* MASTER_SLOT_H */
