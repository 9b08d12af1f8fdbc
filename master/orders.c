#include "master/orders.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "shared/fdpass.h"

#define ORDERS_MAX	4096	/* that wait for one worker */

struct waiting_order {
	STAILQ_ENTRY(waiting_order) next;
	struct worker_message msg;
	size_t		 n_fds;
	int		 fds[FDPASS_MAX];
};

static void
orders_drop_first(struct orders *o)
{
	struct waiting_order *first = STAILQ_FIRST(&o->queue);

	STAILQ_REMOVE_HEAD(&o->queue, next);
	o->n--;
	while (first->n_fds > 0)
		close(first->fds[--first->n_fds]);
	free(first);
}

static bool
orders_pass(struct orders *o, const struct worker_message *msg,
    const int *fds, size_t n)
{
	return fdpass_send(o->io.fd, msg, worker_message_len(msg), fds, n);
}

/* A broken pipe says that the worker is dead. */
static void
orders_refused(struct orders *o, const struct worker_message *msg)
{
	if (errno != EPIPE)
		o->on_refused(o->data, msg);
}

/* False with errno: there is no room for more to wait. */
static bool
orders_queue(struct orders *o, const struct worker_message *msg,
    const int *fds, size_t n)
{
	struct waiting_order *last;

	errno = ENOBUFS;
	if (o->n == ORDERS_MAX || (last = calloc(1, sizeof(*last))) == NULL)
		return false;
	last->msg = *msg;
	STAILQ_INSERT_TAIL(&o->queue, last, next);
	o->n++;
	for (; last->n_fds < n; last->n_fds++) {
		last->fds[last->n_fds] =
		    fcntl(fds[last->n_fds], F_DUPFD_CLOEXEC, 0);
		if (last->fds[last->n_fds] == -1)
			return false;
	}
	ev_io_start(o->loop, &o->io);
	return true;
}

static void
orders_on_writable(struct ev_loop *loop, ev_io *io, int revents)
{
	struct orders *o = io->data;
	const struct waiting_order *first;

	(void)loop;
	(void)revents;
	while ((first = STAILQ_FIRST(&o->queue)) != NULL) {
		if (orders_pass(o, &first->msg, first->fds, first->n_fds)) {
			orders_drop_first(o);
			continue;
		}
		if (errno == EAGAIN)
			return;
		orders_refused(o, &first->msg);
		break;
	}
	orders_close(o);
}

void
orders_init(struct orders *o, struct ev_loop *loop,
    void (*on_refused)(void *, const struct worker_message *), void *data)
{
	*o = (struct orders){
		.loop = loop, .on_refused = on_refused, .data = data
	};
	STAILQ_INIT(&o->queue);
	ev_init(&o->io, orders_on_writable);
	o->io.data = o;
}

void
orders_open(struct orders *o, int sock)
{
	ev_io_set(&o->io, sock, EV_WRITE);
}

void
orders_drop(struct orders *o)
{
	while (!STAILQ_EMPTY(&o->queue))
		orders_drop_first(o);
}

void
orders_close(struct orders *o)
{
	ev_io_stop(o->loop, &o->io);
	orders_drop(o);
}

void
orders_send(struct orders *o, const struct worker_message *msg,
    const int *fds, size_t n)
{
	bool is_first = STAILQ_EMPTY(&o->queue);

	if (is_first && orders_pass(o, msg, fds, n))
		return;
	if ((is_first && errno != EAGAIN) || !orders_queue(o, msg, fds, n))
		orders_refused(o, msg);
}
