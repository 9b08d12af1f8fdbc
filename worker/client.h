/*
 * client.h: one client connection.
 *
 * Bytes are received into the worker's scratch buffer and parsed there; only
 * an unfinished rest is kept.  A client is not read while a window of its legs
 * is in flight or too much waits for it.  A close after an answer lingers, or
 * the peer might never see the answer.
 */
#ifndef WORKER_CLIENT_H
#define WORKER_CLIENT_H

#include "worker/core.h"
#include "worker/request.h"

enum client_state {
	CLIENT_OPEN,
	CLIENT_CLOSING,		/* reads no more; closes when answered */
	CLIENT_LINGERING,	/* told the peer; waits for its EOF */
	CLIENT_CLOSED		/* in the graveyard */
};

struct client {
	ev_io		 io;
	struct worker	*w;
	struct service	*svc;
	uint64_t	 id;
	TAILQ_ENTRY(client) link;	/* w->all_clients or w->lingering */
	TAILQ_ENTRY(client) wait_link;	/* w->waiting */
	STAILQ_ENTRY(client) dirty_next, ready_next, dead_next;
	struct request_queue reqs;	/* in the order of arrival */
	struct request	*feeding;	/* the last, with keys to issue */
	size_t		 feed_at;	/* where next_key goes on */
	size_t		 feed_keys;	/* its keys, from the input's start */
	size_t		 feed_len;
	size_t		 feed_frame;	/* its frame, still in the input */
	struct kvp_conn	 conn;
	struct input	 in;
	size_t		 need;
	size_t		 held;		/* budget.c's: of w->arriving */
	uint64_t	 swallow;
	size_t		 look;		/* drain: bytes to receive still */
	struct chain	 out;
	size_t		 kept;		/* bytes of answers not in their turn */
	uint32_t	 n_reqs;	/* in its queue, answered or not */
	uint32_t	 in_flight;	/* legs */
	uint32_t	 window;	/* legs it may have; grows */
	uint32_t	 value_len;	/* of its recent values, about */
	unsigned	 lane;		/* its connections, see pool.h */
	uint64_t	 wrote_mark;	/* legs.c's: is w->write_mark where C
					 * wrote behind the leg looked at */
	uint64_t	 active_us;	/* it has sent or taken bytes last, or
					 * we began to read it again */
	uint64_t	 begun_us;	/* to wait for the rest of a request */
	uint64_t	 linger_us;	/* when lingering ends */
	size_t		 lingered;	/* bytes discarded meanwhile */
	uint8_t		 state;		/* client_set_state's alone */
	uint8_t		 reason;	/* of a close, from CLOSE_CLIENT on */
	bool		 eof;		/* the peer sends no more */
	bool		 stalled;	/* may not issue now */
	bool		 paused;	/* and that is counted, see budget.h */
	bool		 blocked;	/* waits to be writable */
	bool		 broken;	/* out of memory: close it */
	bool		 lane_fixed;	/* a write may still be in its lane */
	bool		 lane_gone;	/* its lane is no more for new legs */
	bool		 waits;		/* budget.c's: it is in w->waiting */
	bool		 dirty, is_ready;
};

/* Take over the descriptor FD, which was accepted here, or IS_GIVEN by another
 * worker, and is counted at the door.  NULL: there was no memory, and it is
 * closed. */
struct client *client_new(struct service *svc, int fd, bool is_given);
/* A closed one, by turn.c. */
void	 client_free(struct client **c);

/* Parse and start what C has sent, within its budget. */
void	 client_run(struct client *c);
/* Write what C's requests have answered. */
void	 client_flush(struct client *c);

/* Nothing is under way and nothing has come: a request boundary. */
bool	 client_is_idle(const struct client *c);
/* A request of C's has begun to come, and C is read for the rest of it. */
bool	 client_awaits_rest(const struct client *c);

/* C has output to be written at the end of this turn. */
void	 client_mark_dirty(struct client *c);
/* Something that C waited for has happened. */
void	 client_wake(struct client *c);
/* The rest of C's request may come now: read on. */
void	 client_resume(struct client *c);
/* May C have another leg now? */
bool	 client_may_issue(const struct client *c);
/* C begins a leg that stores LEN bytes (0: none).  Its lane changes only while
 * none is under way. */
void	 client_leg_begins(struct client *c, size_t len);
/* A leg of C ended, with a value of LEN bytes. */
void	 client_leg_ended(struct client *c, size_t len);
/* There is no memory for what C must be sent: close it at the end of the
 * turn. */
void	 client_break(struct client *c);
/* At once, without lingering; REASON is one of COUNTER_CLOSE_*. */
void	 client_close(struct client *c, enum counter reason);
/* It goes on elsewhere: as client_close, but it counts as no close. */
void	 client_release(struct client *c);
/* Go on with bytes that were put into its input and output. */
void	 client_go_on(struct client *c);
/* C's worker gives its clients away: C too, when nothing of it is under way. */
void	 client_give(struct client *c);
/* No more is read; close when all is answered. */
void	 client_finish(struct client *c, enum counter reason);
/* The worker drains: what C has sent until now is read, and C closes when that
 * is answered. */
void	 client_drain(struct client *c);

void	 client_on_linger_timer(struct ev_loop *loop, ev_timer *ev,
	    int revents);

#endif /* WORKER_CLIENT_H */
