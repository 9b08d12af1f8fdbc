/*
 * orders.h: the orders for one worker, in turn.
 *
 * They go over its control socket, with descriptors, and wait here while the
 * worker has many to read.
 */
#ifndef MASTER_ORDERS_H
#define MASTER_ORDERS_H

#include <sys/queue.h>

#include <ev.h>

#include "worker/worker.h"

STAILQ_HEAD(order_queue, waiting_order);

struct orders {
	struct ev_loop	*loop;
	ev_io		 io;		/* on the socket, while orders wait */
	struct order_queue queue;
	unsigned	 n;
	/* The worker does not take them: MSG could not be sent.  Not called
	 * where it is dead already. */
	void		 (*on_refused)(void *data,
			    const struct worker_message *msg);
	void		*data;
};

void	 orders_init(struct orders *o, struct ev_loop *loop,
	    void (*on_refused)(void *, const struct worker_message *),
	    void *data);
/* They go to SOCK from now on, which stays the caller's. */
void	 orders_open(struct orders *o, int sock);
/* What waits is for nobody any more. */
void	 orders_close(struct orders *o);
/* The same, in another process: the loop is not touched. */
void	 orders_drop(struct orders *o);
/* Send MSG with N descriptors, which stay the caller's. */
void	 orders_send(struct orders *o, const struct worker_message *msg,
	    const int *fds, size_t n);

#endif /* MASTER_ORDERS_H */
