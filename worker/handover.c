#include "worker/handover.h"

#include <sys/mman.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "shared/fdpass.h"
#include "worker/client.h"
#include "worker/door.h"
#include "worker/replica.h"
#include "worker/service.h"

enum {
	HANDOVER_NAME_MAX = 1024,	/* a section's name is shorter */
	HANDOVER_BATCH = 64,		/* clients taken in a turn */
	HANDOVER_UNTAKEN = 16,		/* as many clients counts one that is
					 * sent and not taken */
	HANDOVER_HOPS = 3		/* so often a new client is passed on */
};

/* How long to wait where all inboxes are full. */
static const double handover_pause_s = 0.01;

/* What goes with a client's descriptor.  A second one holds its bytes, where it
 * has any: what is to be parsed, then what is to be sent. */
struct handover_message {
	struct kvp_conn	 conn;
	uint64_t	 swallow;	/* bytes to be discarded */
	uint32_t	 in_len, out_len;
	uint8_t		 is_new;	/* it has asked nothing yet */
	uint8_t		 hops;		/* how often it was passed on */
	uint8_t		 is_eof;	/* the peer sends no more */
	char		 service[HANDOVER_NAME_MAX];
};

struct handover {
	struct worker	*w;
	ev_io		 inbox;
	ev_timer	 pause;		/* give again */
	unsigned	 last;		/* slot that got one last */
	uint64_t	 since_us;	/* we give; 0: not yet */
	struct {
		int		 fd;	/* -1: none */
		unsigned	 n_sent;	/* since it took some last */
		uint64_t	 n_taken;	/* in all, at that time */
	} ways[SHM_WORKERS_MAX];
};

/*
 * To whom.
 */

/* What it has not taken yet counts, too: a worker that hangs must not get all
 * there is. */
static uint64_t
handover_n_clients(struct handover *h, unsigned slot)
{
	struct shm *shm = h->w->birth->shm;
	const struct shm_slot *theirs = shm_slot(shm, slot);
	uint64_t n_taken = counter_get(
	    &theirs->counter[0][COUNTER_CLIENTS_TAKEN]);

	if (n_taken != h->ways[slot].n_taken) {
		h->ways[slot].n_taken = n_taken;
		h->ways[slot].n_sent = 0;
	}
	return shm_slot_sum(shm, theirs, COUNTER_CLIENTS) +
	    HANDOVER_UNTAKEN * h->ways[slot].n_sent;
}

/* May SLOT's worker be given clients?  New ones only where it goes by the same
 * configuration: it must have their service, and serve it as we would. */
static bool
handover_may_take(const struct handover *h, unsigned slot, bool is_new)
{
	const struct worker_birth *birth = h->w->birth;
	const struct shm_slot *theirs = shm_slot(birth->shm, slot);

	return slot != birth->slot && h->ways[slot].fd != -1 &&
	    theirs->serves &&
	    (!is_new || theirs->seen_config == h->w->slot->seen_config);
}

/* The worker with the fewest clients but us, those behind the last one first;
 * SHM_WORKERS_MAX: there is none. */
static unsigned
handover_choose(struct handover *h, bool is_new)
{
	unsigned n = shm_n_slots(h->w->birth->shm), i, slot;
	unsigned best = SHM_WORKERS_MAX;
	uint64_t least = UINT64_MAX, has;

	for (i = 1; i <= n; i++) {
		slot = (h->last + i) % n;
		if (!handover_may_take(h, slot, is_new))
			continue;
		has = handover_n_clients(h, slot);
		if (has < least) {
			least = has;
			best = slot;
		}
	}
	return best;
}

/*
 * Giving.
 */

/* The bytes of C, in a memory of their own; -1: there is no memory. */
static int
handover_write_bytes(const struct client *c)
{
	size_t len = c->in.len + c->out.len;
	int fd = memfd_create("kvproxy-client", MFD_CLOEXEC);
	uint8_t *p;

	if (fd == -1)
		return -1;
	/* Touching a page that cannot be had would kill. */
	if (posix_fallocate(fd, 0, (off_t)len) != 0)
		goto fail;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		goto fail;
	if (c->in.len > 0)
		memcpy(p, input_bytes(&c->in), c->in.len);
	chain_copy(&c->out, p + c->in.len);
	munmap(p, len);
	return fd;
fail:
	(void)close(fd);
	return -1;
}

static void
handover_name(struct handover_message *msg, const struct service *svc)
{
	size_t len = strlen(svc->cfg->name);

	ASSERT(len < sizeof(msg->service));
	memcpy(msg->service, svc->cfg->name, len + 1);
}

/* False: the inbox is full. */
static bool
handover_send(struct handover *h, unsigned slot,
    const struct handover_message *msg, const int *fds, size_t n_fds)
{
	size_t len = offsetof(struct handover_message, service) +
	    strlen(msg->service) + 1;

	if (!fdpass_send(h->ways[slot].fd, msg, len, fds, n_fds))
		return false;
	h->last = slot;
	h->ways[slot].n_sent++;
	worker_count(h->w, COUNTER_CLIENTS_GIVEN, 1);
	return true;
}

static void
handover_wait(struct handover *h)
{
	if (!ev_is_active(&h->pause)) {
		ev_timer_set(&h->pause, handover_pause_s, 0.);
		ev_timer_start(h->w->loop, &h->pause);
	}
}

bool
handover_give(struct handover *h, struct client *c)
{
	struct handover_message msg = {
		.conn = c->conn, .swallow = c->swallow,
		.in_len = c->in.len, .out_len = (uint32_t)c->out.len,
		.is_eof = c->eof
	};
	unsigned slot = handover_choose(h, false);
	int fds[2] = { c->io.fd, -1 };
	bool sent = false;

	if (slot == SHM_WORKERS_MAX) {
		/* The others are dead or starting. */
		handover_wait(h);
		return false;
	}
	handover_name(&msg, c->svc);
	if (msg.in_len + msg.out_len > 0)
		fds[1] = handover_write_bytes(c);
	if (msg.in_len + msg.out_len == 0 || fds[1] != -1)
		sent = handover_send(h, slot, &msg, fds,
		    fds[1] != -1 ? 2 : 1);
	if (fds[1] != -1)
		(void)close(fds[1]);
	if (!sent) {
		handover_wait(h);
		return false;
	}
	client_release(c);
	return true;
}

static void
handover_give_idle(struct handover *h)
{
	struct client *c, *next;

	for (c = TAILQ_FIRST(&h->w->all_clients); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		client_give(c);
		/* The others would have to wait as well. */
		if (ev_is_active(&h->pause))
			return;
	}
}

/* What the next worker writes for a client must not overtake the copies that
 * wait here; but they are not waited for for ever. */
static bool
handover_has_copies(const struct handover *h)
{
	const struct worker *w = h->w;

	for (size_t i = 0; i < w->n_services; i++) {
		const struct service *svc = w->services[i];

		if (!replica_is_empty(svc->replica) && w->now_us - h->since_us <
		    (uint64_t)svc->cfg->recv_timeout_ms * 1000)
			return true;
	}
	return false;
}

void
handover_give_all(struct handover *h)
{
	if (h->since_us == 0)
		h->since_us = h->w->now_us;
	if (handover_has_copies(h)) {
		handover_wait(h);
		return;
	}
	handover_take_all(h);
	h->w->giving = true;
	handover_give_idle(h);
	worker_client_gone(h->w);
}

static void
handover_on_pause_over(struct ev_loop *loop, ev_timer *timer, int revents)
{
	struct handover *h = timer->data;

	(void)loop;
	(void)revents;
	turn_now(h->w);
	/* The whole may stop meanwhile. */
	if (!h->w->draining)
		handover_give_all(h);
}

/*
 * New clients.
 */

/* Far fewer: the difference is more than a client and a quarter of theirs. */
static bool
handover_pass_on(struct handover *h, const struct handover_message *msg,
    int fd)
{
	uint64_t ours = handover_n_clients(h, h->w->birth->slot) + 1;
	unsigned slot = handover_choose(h, true);
	uint64_t theirs;

	if (slot == SHM_WORKERS_MAX)
		return false;
	theirs = handover_n_clients(h, slot);
	return ours >= theirs + theirs / 4 + 2 &&
	    handover_send(h, slot, msg, &fd, 1);
}

bool
handover_share(struct handover *h, struct service *svc, int fd)
{
	struct handover_message msg = { .is_new = true };

	/* Others may have no such service any more. */
	if (h->w->n_workers == 1 || h->w->draining || svc->leave_us != 0)
		return false;
	handover_name(&msg, svc);
	if (!handover_pass_on(h, &msg, fd))
		return false;
	(void)close(fd);
	return true;
}

/*
 * Taking.
 */

/* Fill C's input and output from the memory FD.  False: out of memory. */
static bool
handover_read_bytes(struct client *c, const struct handover_message *msg,
    int fd)
{
	struct buf_pool *bufs = &c->w->bufs;
	size_t len = (size_t)msg->in_len + msg->out_len, room;
	uint8_t *p, *in;
	bool ok;

	p = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return false;
	ok = chain_append(bufs, &c->out, p + msg->in_len, msg->out_len, 0);
	if (ok && msg->in_len > 0) {
		room = input_room(bufs, &c->in, msg->in_len, &in);
		ok = room >= msg->in_len;
		if (ok) {
			memcpy(in, p, msg->in_len);
			c->in.len += msg->in_len;
		}
		ok = input_settle(bufs, &c->in, 0, false) && ok;
	}
	munmap(p, len);
	return ok;
}

static void
handover_take(struct handover *h, struct handover_message *msg,
    const int *fds, size_t n_fds)
{
	struct service *svc = service_find_any(h->w, msg->service);
	struct client *c;

	worker_count(h->w, COUNTER_CLIENTS_TAKEN, 1);
	if (svc == NULL || svc->route == NULL) {
		/* The file has it no more. */
		(void)close(fds[0]);
		/* Of a service that we may never have had. */
		worker_count(h->w, COUNTER_CLOSE_STOP, 1);
		return;
	}
	if (msg->is_new && svc->leave_us == 0 && msg->hops++ < HANDOVER_HOPS &&
	    handover_pass_on(h, msg, fds[0])) {
		(void)close(fds[0]);
		return;
	}
	if (!msg->is_new)
		door_let_in(svc);
	else if (!door_admit(h->w->door, svc)) {
		door_refuse(h->w->door, svc, fds[0]);
		return;
	}
	c = client_new(svc, fds[0], !msg->is_new);
	if (c == NULL)
		return;
	c->conn = msg->conn;
	c->swallow = msg->swallow;
	c->eof = msg->is_eof;
	if (n_fds == 2 && !handover_read_bytes(c, msg, fds[1]))
		client_close(c, COUNTER_CLOSE_MEMORY);
	else
		client_go_on(c);
	/* We may be later than the one that had it: it must not wait here for
	 * what nobody reads. */
	if (svc->draining)
		client_drain(c);
}

/* False: the inbox is empty. */
static bool
handover_take_one(struct handover *h)
{
	struct handover_message msg;
	int fds[FDPASS_MAX];
	size_t n;

	if (fdpass_recv(h->inbox.fd, &msg, sizeof(msg), fds, &n) <= 0)
		return false;
	ASSERT(n == 1 || n == 2);
	handover_take(h, &msg, fds, n);
	if (n == 2)
		(void)close(fds[1]);
	return true;
}

void
handover_take_all(struct handover *h)
{
	while (handover_take_one(h))
		;
}

static void
handover_on_inbox(struct ev_loop *loop, ev_io *io, int revents)
{
	struct handover *h = io->data;
	int i = 0;

	(void)loop;
	(void)revents;
	turn_now(h->w);
	while (i < HANDOVER_BATCH && handover_take_one(h))
		i++;
	turn_work(h->w, 0);
}

/*
 * The whole.
 */

void
handover_set_inbox(struct handover *h, unsigned slot, int fd)
{
	if (h->ways[slot].fd != -1)
		(void)close(h->ways[slot].fd);
	h->ways[slot].fd = fd;
}

struct handover *
handover_new(struct worker *w)
{
	struct handover *h = calloc(1, sizeof(*h));
	unsigned i;

	if (h == NULL)
		return NULL;
	h->w = w;
	h->last = w->birth->slot;
	for (i = 0; i < SHM_WORKERS_MAX; i++)
		h->ways[i].fd = w->birth->inboxes[i];
	ev_io_init(&h->inbox, handover_on_inbox, w->birth->inbox, EV_READ);
	ev_timer_init(&h->pause, handover_on_pause_over, 0., 0.);
	h->inbox.data = h->pause.data = h;
	return h;
}

void
handover_start(struct handover *h)
{
	ev_io_start(h->w->loop, &h->inbox);
}

void
handover_free(struct handover **handover)
{
	struct handover *h = *handover;

	*handover = NULL;
	ev_io_stop(h->w->loop, &h->inbox);
	ev_timer_stop(h->w->loop, &h->pause);
	free(h);
}
