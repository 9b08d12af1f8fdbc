/*
 * master_int.h: what the files of the master share; nobody else includes it.
 *
 * master.c holds the signals, the start and the end, crew.c the slots, reload.c
 * brings another configuration into force.
 */
#ifndef MASTER_MASTER_INT_H
#define MASTER_MASTER_INT_H

#include <ev.h>

#include "master/check.h"
#include "master/health.h"
#include "master/inbox.h"
#include "master/master.h"
#include "master/metrics_child.h"
#include "master/places.h"
#include "master/slot.h"
#include "master/sockets.h"

#define MASTER_N_SIGNALS	5

enum master_state { MASTER_STARTING, MASTER_SERVING, MASTER_STOPPING };

struct master {
	const struct master_birth *birth;
	struct setup	 setup;		/* what is in force */
	unsigned	*host_entry;	/* its addrs -> hosts table */
	struct ev_loop	*loop;
	ev_signal	 signals[MASTER_N_SIGNALS];
	ev_timer	 start_timer;
	ev_timer	 tick_timer;	/* see master_on_tick */
	enum master_state state;
	char		*err;		/* master_new's caller's */
	size_t		 err_room;
	bool		 is_failed;	/* the start; err says why */
	unsigned	 n_workers;	/* that the configuration asks for */
	unsigned	 n_slots;	/* the most there were: their sockets
					 * stay */
	unsigned	 keeper[SHM_WORKERS_MAX];	/* who accepts from
					 * whose sockets; n_slots: nobody */
	struct slot	*slots[SHM_WORKERS_MAX];
	struct slot_common common;
	struct sockets	*sockets;
	struct inboxes	 inboxes;
	struct places	 places;
	struct shm	*shm;
	struct metrics_child *metrics;
	struct health	*health;
	struct health_hooks health_hooks;

	/* reload.c's */
	struct check	*check;		/* of the file as it was read last */
	int		 snapshot;	/* of that file, -1: none */
	bool		 is_check_late;	/* another reload was asked for */
	ev_timer	 late_timer;	/* whose time may have come */
	uint64_t	 n_reloads;	/* that are in force */
};

/* The metrics page goes by the setup, too. */
void	 master_follow_metrics(struct master *m);
/* In a child: the master's signals and loop are not its own. */
void	 master_let_go(struct master *m);

/* crew.c */

/* How many clients a LIMIT of descriptors, which is enough, leaves all of CFG's
 * workers together. */
size_t	 crew_most_clients(const struct config *cfg, size_t limit);
/* Have slots [0, N) with all that they need but a worker.  False: ERR says
 * why, and what is there can stay. */
bool	 crew_grow(struct master *m, unsigned n, char *err, size_t room)
	    MUST_CHECK;
/* Pin the slots' workers as the configuration says. */
void	 crew_pin(struct master *m);
/* Have workers in the first n_workers slots, and none in others. */
void	 crew_fill(struct master *m);
/* Have each slot's sockets accepted from by somebody, and tell those whose
 * sockets have changed. */
void	 crew_keep_sockets(struct master *m, bool have_changed);
/* What is in the inbox of a slot whose worker does not read it goes to
 * another. */
void	 crew_forward_inboxes(struct master *m);
/* DATA is the master: have all workers look at the hosts. */
void	 crew_tell_workers(void *data);

/* reload.c */

/* Say to the segment what the setup is. */
void	 reload_publish(struct master *m);
/* SIGHUP. */
void	 reload_order(struct master *m);
/* PID has ended; false: it was none of this file's. */
bool	 reload_reap(struct master *m, pid_t pid);
/* In a worker: what of a reload is under way is the master's alone. */
void	 reload_forget(const struct master *m);
void	 reload_fini(struct master *m);

#endif /* MASTER_MASTER_INT_H */
