#include "worker/door.h"

#include <sys/resource.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "shared/log.h"
#include "worker/io.h"

enum {
	DOOR_OWN_FDS = 16,		/* log, event loop, look-ups and such */
	DOOR_GUESTS = 32,		/* refused, and not closed yet */
	DOOR_LINGER_US = 1000000,
	DOOR_LINGER_BYTES = 1024 * 1024
};

/* One that was refused and has not read that yet. */
struct door_guest {
	ev_io		 io;
	TAILQ_ENTRY(door_guest) link;
	uint64_t	 until_us;
	size_t		 discarded;	/* bytes */
};

TAILQ_HEAD(door_guests, door_guest);

struct door {
	struct worker	*w;
	size_t		 fds_max;	/* descriptors we may have */
	int		 reserve;	/* -1: a guest has it */
	struct log_gate	 gate;
	ev_timer	 timer;		/* the first guest's */
	struct door_guests guests;	/* in order of until_us */
	struct door_guests unused;
	struct door_guest guest[DOOR_GUESTS];
};

size_t
worker_count_fds(const struct config *cfg, size_t n_slots)
{
	/* Of each slot, a way to its inbox and perhaps its sockets. */
	size_t n = DOOR_OWN_FDS + DOOR_GUESTS + n_slots;
	size_t i, j, n_hosts;

	for (i = 0; i < cfg->n_services; i++) {
		const struct config_service *s = &cfg->services[i];
		const struct config_group *groups[] = {
			s->hosts, s->backup, s->read
		};

		for (j = n_hosts = 0; j < ARRAY_LEN(groups); j++)
			if (groups[j] != NULL)
				n_hosts += groups[j]->n_hosts;
		/* Once more those that an order brings, until they are known
		 * for what is there. */
		n += n_hosts * (size_t)s->server_connections +
		    (n_slots + 1) * s->n_listens;
	}
	return n;
}

/* All are closed on exec, so that no other program holds them open. */
static void
door_keep_reserve(struct door *d)
{
	if (d->reserve == -1)
		d->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* --- guests --- */

static void
door_close_guest(struct door *d, struct door_guest *g)
{
	ev_io_stop(d->w->loop, &g->io);
	(void)close(g->io.fd);
	TAILQ_REMOVE(&d->guests, g, link);
	TAILQ_INSERT_HEAD(&d->unused, g, link);
}

static void
door_on_guest(struct ev_loop *loop, ev_io *ev, int revents)
{
	struct door_guest *g = CONTAINER_OF(ev, struct door_guest, io);
	struct door *d = ev->data;
	enum io_result res;
	size_t n;

	(void)loop;
	(void)revents;
	res = io_discard(ev->fd, &n);
	g->discarded += n;
	if (res != IO_EOF && res != IO_FAILED &&
	    g->discarded <= DOOR_LINGER_BYTES)
		return;
	door_close_guest(d, g);
	door_keep_reserve(d);
}

static void
door_arm(struct door *d)
{
	const struct door_guest *g = TAILQ_FIRST(&d->guests);
	uint64_t now = d->w->now_us;

	ev_timer_stop(d->w->loop, &d->timer);
	if (g == NULL)
		return;
	ev_timer_set(&d->timer, g->until_us <= now ? 0. :
	    (double)(g->until_us - now) / 1e6, 0.);
	ev_timer_start(d->w->loop, &d->timer);
}

static void
door_on_timer(struct ev_loop *loop, ev_timer *ev, int revents)
{
	struct door *d = ev->data;
	struct door_guest *g;

	(void)loop;
	(void)revents;
	turn_now(d->w);
	while ((g = TAILQ_FIRST(&d->guests)) != NULL &&
	    g->until_us <= d->w->now_us)
		door_close_guest(d, g);
	door_keep_reserve(d);
	door_arm(d);
}

/* FD has been told: wait for its end, or the peer might never see that. */
static void
door_take_guest(struct door *d, int fd)
{
	struct door_guest *g;

	if (TAILQ_EMPTY(&d->unused))
		door_close_guest(d, TAILQ_FIRST(&d->guests));
	g = TAILQ_FIRST(&d->unused);
	TAILQ_REMOVE(&d->unused, g, link);
	TAILQ_INSERT_TAIL(&d->guests, g, link);
	g->until_us = d->w->now_us + DOOR_LINGER_US;
	g->discarded = 0;
	ev_io_init(&g->io, door_on_guest, fd, EV_READ);
	g->io.data = d;
	ev_io_start(d->w->loop, &g->io);
	if (TAILQ_FIRST(&d->guests) == g)
		door_arm(d);
}

void
door_refuse(struct door *d, struct service *svc, int fd)
{
	const char *why = svc->fn->full;
	unsigned held;

	service_count(svc, COUNTER_REJECTED, 1);
	if (log_gate_pass(&d->gate, &held))
		log_warnx("%s: too many connections, %u refused",
		    svc->cfg->name, held + 1);
	if (why != NULL)
		io_say(fd, why, strlen(why));
	io_shutdown(fd);
	door_take_guest(d, fd);
}

bool
door_make_room(struct door *d)
{
	struct door_guest *g = TAILQ_FIRST(&d->guests);

	if (d->reserve != -1) {
		(void)close(d->reserve);
		d->reserve = -1;
		return true;
	}
	if (g == NULL)
		return false;
	door_close_guest(d, g);
	return true;
}

/* --- clients --- */

/* How many clients there may be in this worker, by its descriptors. */
static size_t
door_room(const struct door *d)
{
	size_t own = worker_count_fds(d->w->conf->cfg,
	    shm_n_slots(d->w->birth->shm));

	return d->fds_max > own ? d->fds_max - own : 0;
}

bool
door_admit(struct door *d, struct service *svc)
{
	const uint64_t most = (uint64_t)d->w->conf->cfg->max_connections;
	struct shm *shm = d->w->birth->shm;

	if (TAILQ_EMPTY(&d->guests))
		door_keep_reserve(d);
	door_let_in(svc);
	/* Ours is seen before we see the others'. */
	atomic_thread_fence(memory_order_seq_cst);
	if (shm_slot_sum(shm, d->w->slot, COUNTER_CLIENTS) <= door_room(d) &&
	    (most == 0 || shm_sum(shm, COUNTER_CLIENTS) <= most))
		return true;
	door_leave(svc);
	return false;
}

void
door_let_in(struct service *svc)
{
	service_count(svc, COUNTER_CLIENTS, 1);
}

void
door_leave(struct service *svc)
{
	ASSERT(counter_get(&svc->cells[COUNTER_CLIENTS]) > 0);
	counter_sub(&svc->cells[COUNTER_CLIENTS], 1);
}

struct door *
door_new(struct worker *w)
{
	struct door *d = calloc(1, sizeof(*d));
	struct rlimit limit;
	int i;

	if (d == NULL)
		return NULL;
	d->w = w;
	d->fds_max = SIZE_MAX;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
	    limit.rlim_cur < SIZE_MAX)
		d->fds_max = (size_t)limit.rlim_cur;
	TAILQ_INIT(&d->guests);
	TAILQ_INIT(&d->unused);
	for (i = 0; i < DOOR_GUESTS; i++)
		TAILQ_INSERT_TAIL(&d->unused, &d->guest[i], link);
	ev_timer_init(&d->timer, door_on_timer, 0., 0.);
	d->timer.data = d;
	d->reserve = -1;
	door_keep_reserve(d);
	return d;
}

void
door_free(struct door **door)
{
	struct door *d = *door;
	struct door_guest *g;

	*door = NULL;
	if (d == NULL)
		return;
	while ((g = TAILQ_FIRST(&d->guests)) != NULL)
		door_close_guest(d, g);
	ev_timer_stop(d->w->loop, &d->timer);
	if (d->reserve != -1)
		(void)close(d->reserve);
	free(d);
}
