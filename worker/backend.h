/*
 * backend.h: one connection to one host.
 *
 * It connects, greets, and is used when the greeting was answered; reconnects
 * by itself, at once or with growing pauses.  Legs are queued at any time
 * while it is up or is being renewed after a connection that worked; a host
 * that could not be reached fails its legs at once.  Replies come in the order
 * of the queue; the extension checks that each belongs to its leg.
 */
#ifndef WORKER_BACKEND_H
#define WORKER_BACKEND_H

#include "shared/log.h"
#include "worker/core.h"
#include "worker/request.h"

enum backend_state {
	BACKEND_DOWN,		/* waits for its next try */
	BACKEND_CONNECTING,
	BACKEND_GREETING,
	BACKEND_UP
};

struct backend {
	ev_io		 io;
	ev_timer	 timer;
	struct worker	*w;
	struct service	*svc;
	struct resolve_name *place;	/* where its host is; the pool's */
	unsigned	 host;		/* its number in the pool */
	unsigned	 entry;		/* of the host in the shared table */
	counter_cell	*cells;		/* our counters of it there */
	struct hist	*latency;
	unsigned	 number;	/* for the log */
	enum backend_state state;
	bool		 failing;	/* the last try failed: no queueing */
	bool		 stale;		/* was made before the host went out */
	bool		 greeted;	/* once at least: conn is valid */
	bool		 settled;	/* was tried once */
	bool		 dirty;		/* in w->dirty_backends */
	bool		 blocked;	/* waits to be writable */
	bool		 broken;	/* half a frame is queued */
	bool		 rx_more;	/* a receive filled its room */
	STAILQ_ENTRY(backend) dirty_next;
	struct kvp_conn	 conn;		/* the dialect, once greeted */
	struct kvp_conn	 greeting;	/* of the connection in the making */
	struct leg_queue legs;		/* in the order they were encoded */
	unsigned	 n_legs;
	unsigned	 n_copies;	/* of these */
	struct leg_queue waiting;	/* copies not in it yet, replica.c's */
	struct leg	*unsent;	/* the first that is not sent wholly */
	struct leg	*due;		/* the first that somebody waits for */
	uint64_t	 copy_due_us;	/* no awaited copy is due before; 0:
					 * there is none */
	uint32_t	 opaque;	/* the next leg's */
	uint64_t	 queued;	/* bytes ever queued and ever sent */
	uint64_t	 sent;
	struct chain	 out;		/* the bytes between the two */
	struct input	 in;
	size_t		 need;
	uint64_t	 swallow;
	uint64_t	 armed_us;	/* when the timer fires; 0: never */
	uint64_t	 rx_us;		/* when bytes came last */
	uint64_t	 event_us;	/* when silence was counted last */
	uint64_t	 since_us;	/* when it came to its state */
	unsigned	 quick_deaths;	/* connections that died young */
	int64_t		 pause_ms;	/* before the next try */
	struct log_gate	 gate;
};

/* B is the caller's memory; it starts to connect to HOST of the pool, which is
 * at PLACE and ENTRY in the shared table. */
void	 backend_init(struct backend *b, struct service *svc,
	    struct resolve_name *place, unsigned host, unsigned entry,
	    unsigned number);
/* Close it; its legs are gone without an answer. */
void	 backend_fini(struct backend *b);

/* Queue LEG, to be written at the end of this turn: KEY's part of its
 * command, with bytes that lie in SRC (NULL: nowhere special).  Never blocks.
 * -1, or an enum kvp_fail that says why not: the leg is still the caller's. */
int	 backend_add(struct backend *b, struct leg *leg,
	    const struct kvp_key *key, struct lease *src) MUST_CHECK;

/* B's host is taken out, or put back.  While it is out, B closes what it has
 * when nothing is under way and connects anew: that is the probe.  When it is
 * put back, B connects at once if it was waiting to. */
void	 backend_set_out(struct backend *b, bool out);

static inline uint64_t
backend_recv_timeout_us(const struct backend *b)
{
	return (uint64_t)b->svc->cfg->recv_timeout_ms * 1000;
}

/* Is nothing under way, so that B may be closed? */
static inline bool
backend_is_idle(const struct backend *b)
{
	return TAILQ_EMPTY(&b->legs) && TAILQ_EMPTY(&b->waiting) && !b->dirty;
}

/* How long the oldest copy in B's queue has been under way; 0: none is. */
uint64_t backend_copy_lag_us(const struct backend *b);

/* Send what is queued; turn.c's. */
void	 backend_flush(struct backend *b);

#endif /* WORKER_BACKEND_H */
