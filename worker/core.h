/*
 * core.h: what the files of a worker share: the worker itself, its services,
 * and its turns.
 *
 * A turn is one round of the event loop.  In it all that is readable is read
 * and queued; before the loop waits again, every backend with something to
 * say gets one write and then every client gets one.  What was closed is
 * freed last, so that no callback on the stack meets freed memory.
 */
#ifndef WORKER_CORE_H
#define WORKER_CORE_H

#include <sys/queue.h>

#include <ev.h>

#include "ext/kvp_ext.h"
#include "shared/buf.h"
#include "shared/log.h"
#include "worker/worker.h"

struct backend;
struct client;
struct door;
struct listener;
struct pool;
struct replica;
struct resolve;
struct route;

struct extload;
struct handover;
struct reload;

/* A configuration that something goes by still. */
struct conf {
	struct config	*cfg;
	unsigned	*host_entry;	/* cfg->addrs -> the shared table */
	unsigned	 refs;
};

/* One section with extension=: addresses, a protocol, groups of hosts.  It is
 * the same for as long as reloads have a section of that name; what it goes by
 * changes between two turns. */
struct service {
	struct worker	*w;
	struct conf	*conf;		/* that cfg is in */
	const struct config_service *cfg;
	counter_cell	*cells;		/* our counters of it */
	struct extload	*loaded;
	const struct kvp_ext *fn;	/* loaded's */
	void		*ext;		/* first argument of all of fn */
	struct pool	*pool;		/* connections to the group's hosts */
	struct route	*route;		/* key -> host */
	struct replica	*replica;	/* NULL: there was no backup yet */
	bool		 draining;	/* its clients are to finish */
	uint64_t	 drain_us;	/* it is in no file any more: when it
					 * begins to drain */
	uint64_t	 leave_us;	/* and when its clients are closed; 0:
					 * it stays */
};

STAILQ_HEAD(client_queue, client);
STAILQ_HEAD(backend_queue, backend);
TAILQ_HEAD(client_list, client);
LIST_HEAD(listener_list, listener);

struct worker {
	struct ev_loop	*loop;
	const struct worker_birth *birth;
	struct shm_slot	*slot;		/* our counters */
	uint64_t	 now_us;	/* monotonic, see turn_now */
	struct buf_pool	 bufs;
	struct slab	 clients, requests, copies, legs_small, legs_large;
	uint8_t		 room[KVP_ROOM + KVP_KEY_MAX + KVP_NOTE_MAX];
	struct resolve	*resolve;	/* where hosts are */
	struct door	*door;		/* how many clients come in */
	struct conf	*conf;
	unsigned	 n_workers;	/* that it asks for */
	struct service	**services;	/* as in conf, then those that leave */
	size_t		 n_services;	/* both */
	struct listener_list listeners;	/* of our slot, and adopted ones */
	struct reload	*reload;	/* being prepared, or NULL */
	struct handover	*handover;

	/* this turn's */
	struct backend_queue dirty_backends;	/* have bytes to send */
	struct client_queue dirty_clients;
	struct client_queue ready;	/* have whole requests unparsed */
	struct client_queue graveyard;	/* closed */
	unsigned	 work;		/* commands since the last flush */
	uint64_t	 flushed_us;

	struct client_list all_clients;	/* patience.c looks at the first */
	struct client_list lingering;	/* in order of their deadlines */
	struct client_list waiting;	/* for others' requests to be whole */
	size_t		 arriving;	/* bytes that large requests have */
	struct log_gate	 reset_gate;	/* status.c's */
	uint64_t	 slow_us;	/* what takes as long is slow */
	uint64_t	 slow_second;	/* slow.c's, and how many in it */
	unsigned	 slow_n;
	uint64_t	 next_client_id;
	uint64_t	 write_mark;	/* see client.wrote_mark */
	unsigned	 backends_unsettled;	/* not yet up or down */
	bool		 serving;	/* our slot's listeners are open */
	bool		 draining;	/* finish what was read, and end */
	bool		 is_surplus;	/* others have our sockets; clients go
					 * to them, and then we end */
	bool		 giving;	/* that begins: none is read */
	bool		 is_failed;	/* the exit status says so */
	ev_prepare	 prepare;
	ev_check	 check;
	ev_idle		 idle;		/* runs while `ready` is not empty */
	ev_timer	 linger_timer;
	ev_timer	 patience;
	ev_timer	 drain_timer;
	ev_timer	 settle_timer;
	ev_timer	 sweep_timer;	/* runs while something leaves */
	ev_timer	 beat_timer;
	uint64_t	 log_dropped;	/* lines, that are counted */
	ev_io		 control;
};

/* This worker's counter C, which is of no service, and its counters of the host
 * in entry HOST. */
static inline void
worker_count(struct worker *w, enum counter c, uint64_t n)
{
	counter_add(&w->slot->counter[0][c], n);
}

/* The same of one service. */
static inline void
service_count(struct service *svc, enum counter c, uint64_t n)
{
	counter_add(&svc->cells[c], n);
}

static inline counter_cell *
worker_host(struct worker *w, unsigned host)
{
	return w->slot->host[host];
}

/* What was asked of the host has failed. */
static inline void
worker_host_failed(struct worker *w, unsigned host)
{
	counter_cell *cell = worker_host(w, host);

	counter_add(&cell[HOST_FAILED], 1);
	counter_add(&cell[HOST_CONTINUOUS], 1);
	counter_set(&cell[HOST_LAST_FAILED_US], w->now_us);
}

/* End, with an exit status that says that we cannot go on. */
void	 worker_fail(struct worker *w, const char *why);
/* Say REPORT to the master. */
void	 worker_report(struct worker *w, enum worker_report report);
/* Where the master has changed some host's state, go by it from now on. */
void	 worker_look_if_new(struct worker *w);
/* Every backend has been tried once: serve.  Called by backend.c. */
void	 worker_backend_settled(struct worker *w);
/* A client or a request is gone; the last one ends a drain. */
void	 worker_client_gone(struct worker *w);

/* Obey what the master has ordered by now; the last reload is in force then. */
void	 worker_catch_up(struct worker *w);
/* Go by the hosts' states from the next request on, and say so. */
void	 worker_look(struct worker *w);
/* Look after what is to leave, until it has. */
void	 worker_sweep_later(struct worker *w);

/* turn.c */
void	 turn_init(struct worker *w);
void	 turn_fini(struct worker *w);
/* Read the clock again: w->now_us. */
void	 turn_now(struct worker *w);
/* The end of a callback that started N commands: read the clock, and flush
 * where the turn has become long.  May close clients and backends (they are
 * freed later). */
void	 turn_work(struct worker *w, unsigned n);

#endif /* WORKER_CORE_H */
