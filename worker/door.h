/*
 * door.h: who is let in, and how the others are turned away.
 *
 * The gauge of client connections is counted up here, before the clients of
 * all workers are summed up: of workers that race for the last places the
 * later one sees the others, so max_connections is not exceeded, but by those
 * that are on their way from one worker to another.  (At the very bound both of
 * two may be refused.)
 *
 * Who is refused is told so, and is closed when it has read that, or a second
 * later; few are waited for, and they cost no memory.  One descriptor is kept
 * in reserve, so that this works too when all others are in use.
 */
#ifndef WORKER_DOOR_H
#define WORKER_DOOR_H

#include "worker/core.h"

/* NULL: out of memory. */
struct door *door_new(struct worker *w) MUST_CHECK;
void	 door_free(struct door **door);

/* May one more client of SVC come in?  It is counted then, until
 * door_leave. */
bool	 door_admit(struct door *d, struct service *svc) MUST_CHECK;
/* A client comes that another worker has let in before. */
void	 door_let_in(struct service *svc);
/* A client that was counted is gone. */
void	 door_leave(struct service *svc);

/* Tell the client at FD, one of SVC's, that there is no room, and close it,
 * now or soon. */
void	 door_refuse(struct door *d, struct service *svc, int fd);
/* There is no descriptor left: let go of the one in reserve.  What is accepted
 * with it must be refused.  False: that is in use, too. */
bool	 door_make_room(struct door *d) MUST_CHECK;

#endif /* WORKER_DOOR_H */
