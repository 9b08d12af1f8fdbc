/*
 * resolve.c: the only place that knows c-ares.
 *
 * c-ares opens sockets and says what it waits for; the worker's loop watches
 * them.  It reads resolv.conf when the first name is held.
 */
#include "worker/resolve.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <ares.h>
#include <stdio.h>
#include <string.h>

#include "shared/hosts.h"
#include "shared/log.h"

enum {
	RESOLVE_EVERY_US = 1000000,	/* a name, at the most */
	RESOLVE_TIMEOUT_US = 5000000,	/* for all that a look-up takes */
	RESOLVE_TRY_MS = 1000,		/* for a server, doubled once */
	RESOLVE_TRIES = 2,
	RESOLVE_SOCKETS = 16,		/* watched at once */
	RESOLVE_NAME_MAX = 256
};

/* An address that hosts have, of this configuration or the one before. */
struct resolve_name {
	struct resolve	*r;
	LIST_ENTRY(resolve_name) link;
	unsigned	 refs;		/* and one while it is asked for */
	char		*text;
	char		*normal;
	unsigned	 entry;		/* in the shared table */
	bool		 is_name;	/* else it is never looked up */
	bool		 asking;	/* in r->asking */
	int		 family;	/* that is asked for */
	TAILQ_ENTRY(resolve_name) next;
	uint64_t	 asked_us;	/* when last; 0: never */
	struct sockaddr_storage sa;	/* where it is */
	socklen_t	 sa_len;
	struct log_gate	 gate;
};

TAILQ_HEAD(resolve_queue, resolve_name);

struct resolve {
	struct worker	*w;
	ares_channel	 channel;
	bool		 is_open;	/* tried to */
	bool		 has_channel;	/* else nothing can be looked up */
	ev_io		 sockets[RESOLVE_SOCKETS]; /* fd -1: free */
	ev_timer	 timer;
	struct resolve_queue asking;	/* the oldest first */
	LIST_HEAD(, resolve_name) names;
};

static void	resolve_on_answer(void *arg, int status, int timeouts,
		    struct ares_addrinfo *res);

/*
 * What c-ares waits for.
 */

/* It has opened FD, wants other events of it, or closes it.  One socket too
 * many is not watched, and what is asked over it times out. */
static void
resolve_on_socket(void *data, ares_socket_t fd, int readable, int writable)
{
	struct resolve *r = data;
	ev_io *io = NULL;
	size_t i;

	for (i = 0; i < RESOLVE_SOCKETS; i++) {
		if (r->sockets[i].fd == fd) {
			io = &r->sockets[i];
			break;
		}
		if (r->sockets[i].fd == -1 && io == NULL)
			io = &r->sockets[i];
	}
	if (io == NULL)
		return;
	ev_io_stop(r->w->loop, io);
	if (!readable && !writable) {
		ev_io_set(io, -1, 0);
		return;
	}
	ev_io_set(io, fd, (readable ? EV_READ : 0) |
	    (writable ? EV_WRITE : 0));
	ev_io_start(r->w->loop, io);
}

/* Have the timer fire when c-ares or the oldest look-up is due. */
static void
resolve_arm(struct resolve *r)
{
	struct resolve_name *oldest = TAILQ_FIRST(&r->asking);
	uint64_t due, after = 0;
	struct timeval tv;

	ev_timer_stop(r->w->loop, &r->timer);
	if (oldest == NULL)
		return;
	due = oldest->asked_us + RESOLVE_TIMEOUT_US;
	if (due > r->w->now_us)
		after = due - r->w->now_us;
	if (ares_timeout(r->channel, NULL, &tv) != NULL)
		after = MIN(after, (uint64_t)tv.tv_sec * 1000000 +
		    (uint64_t)tv.tv_usec);
	ev_timer_set(&r->timer, (double)(after + 1000) / 1e6, 0.);
	ev_timer_start(r->w->loop, &r->timer);
}

static void
resolve_on_io(struct ev_loop *loop, ev_io *io, int revents)
{
	struct resolve *r = io->data;
	int fd = io->fd;

	(void)loop;
	turn_now(r->w);
	ares_process_fd(r->channel, revents & EV_READ ? fd : ARES_SOCKET_BAD,
	    revents & EV_WRITE ? fd : ARES_SOCKET_BAD);
	resolve_arm(r);
}

/* What takes too long ends with all that is under way: the same servers are
 * asked for the others, which will be asked for again. */
static void
resolve_on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
	struct resolve *r = timer->data;
	const struct resolve_name *oldest;

	(void)loop;
	(void)revents;
	turn_now(r->w);
	ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	oldest = TAILQ_FIRST(&r->asking);
	if (oldest != NULL &&
	    r->w->now_us - oldest->asked_us >= RESOLVE_TIMEOUT_US)
		ares_cancel(r->channel);
	resolve_arm(r);
}

/*
 * Questions and answers.
 */

/* IPv4 first, as the master does, for that is where servers listen by
 * default; both at once would wait for servers that do not answer the
 * other. */
static void
resolve_ask(struct resolve_name *n, int family)
{
	const struct ares_addrinfo_hints hints = {
		.ai_flags = ARES_AI_NOSORT,
		.ai_family = family,
		.ai_socktype = SOCK_STREAM,
	};
	char host[RESOLVE_NAME_MAX];
	const char *text = n->text;

	snprintf(host, sizeof(host), "%.*s", (int)strcspn(text, ":"), text);
	n->family = family;
	ares_getaddrinfo(n->r->channel, host, NULL, &hints, resolve_on_answer,
	    n);
}

/* NODE's address with N's port.  False: it is of another family. */
static bool
resolve_read_node(const struct resolve_name *n,
    const struct ares_addrinfo_node *node, struct sockaddr_storage *sa,
    socklen_t *sa_len)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)sa;
	const struct sockaddr_storage *was = &n->sa;
	in_port_t port = was->ss_family == AF_INET6 ?
	    ((const struct sockaddr_in6 *)(const void *)was)->sin6_port :
	    ((const struct sockaddr_in *)(const void *)was)->sin_port;

	memset(sa, 0, sizeof(*sa));
	if (node->ai_family != n->family)
		return false;
	if (n->family == AF_INET) {
		*sa_len = sizeof(*in);
		memcpy(in, node->ai_addr, sizeof(*in));
		memset(in->sin_zero, 0, sizeof(in->sin_zero));
		in->sin_port = port;
	} else {
		*sa_len = sizeof(*in6);
		memcpy(in6, node->ai_addr, sizeof(*in6));
		in6->sin6_port = port;
	}
	return true;
}

static void
resolve_move(struct resolve_name *n, const struct sockaddr_storage *sa,
    socklen_t sa_len)
{
	const void *ip = sa->ss_family == AF_INET6 ?
	    (const void *)&((const struct sockaddr_in6 *)
		(const void *)sa)->sin6_addr :
	    (const void *)&((const struct sockaddr_in *)
		(const void *)sa)->sin_addr;
	char text[INET6_ADDRSTRLEN];

	n->sa = *sa;
	n->sa_len = sa_len;
	if (inet_ntop(sa->ss_family, ip, text, sizeof(text)) != NULL)
		log_info("%s: is at %s now", n->text, text);
}

/* Stay where N is while its name has that address too; else the least, for
 * servers give them in any order.  False: there is none. */
static bool
resolve_take(struct resolve_name *n, const struct ares_addrinfo *res)
{
	struct sockaddr_storage sa, least;
	const struct ares_addrinfo_node *node;
	socklen_t sa_len, least_len = 0;

	for (node = res->nodes; node != NULL; node = node->ai_next) {
		if (!resolve_read_node(n, node, &sa, &sa_len))
			continue;
		if (memcmp(&sa, &n->sa, sizeof(sa)) == 0)
			return true;
		if (least_len == 0 || memcmp(&sa, &least, sizeof(sa)) < 0) {
			least = sa;
			least_len = sa_len;
		}
	}
	if (least_len == 0)
		return false;
	resolve_move(n, &least, least_len);
	return true;
}

static void
resolve_failed(struct resolve_name *n, int status)
{
	counter_cell *cell = worker_host(n->r->w, n->entry);
	unsigned held;

	counter_add(&cell[HOST_LOOKUP_ERRORS], 1);
	if (log_gate_pass(&n->gate, &held))
		log_warnx("%s: cannot be looked up, its last address serves: "
		    "%s", n->text, status == ARES_ECANCELLED ?
		    "no answer in time" : ares_strerror(status));
}

static void
resolve_on_answer(void *arg, int status, int timeouts,
    struct ares_addrinfo *res)
{
	struct resolve_name *n = arg;

	(void)timeouts;
	if ((status == ARES_ENOTFOUND || status == ARES_ENODATA) &&
	    n->family == AF_INET) {
		resolve_ask(n, AF_INET6);
		return;
	}
	TAILQ_REMOVE(&n->r->asking, n, next);
	n->asking = false;
	if (status == ARES_SUCCESS && !resolve_take(n, res))
		status = ARES_ENODATA;
	if (res != NULL)
		ares_freeaddrinfo(res);
	/* EDESTRUCTION: the worker ends. */
	if (status != ARES_SUCCESS && status != ARES_EDESTRUCTION)
		resolve_failed(n, status);
	resolve_put(&n);
}

const char *
resolve_text(const struct resolve_name *n)
{
	return n->text;
}

const struct sockaddr *
resolve_get(const struct resolve_name *n, socklen_t *len)
{
	*len = n->sa_len;
	return (const struct sockaddr *)&n->sa;
}

void
resolve_again(struct resolve_name *n)
{
	struct resolve *r = n->r;
	uint64_t now = r->w->now_us;

	if (!n->is_name || !r->has_channel || n->asking ||
	    (n->asked_us != 0 && now - n->asked_us < RESOLVE_EVERY_US))
		return;
	n->asked_us = now;
	n->asking = true;
	n->refs++;
	TAILQ_INSERT_TAIL(&r->asking, n, next);
	counter_add(&worker_host(r->w, n->entry)[HOST_LOOKUPS], 1);
	resolve_ask(n, AF_INET);
	resolve_arm(r);
}

/*
 * The whole.
 */

static void
resolve_open(struct resolve *r)
{
	struct ares_options options = {
		.timeout = RESOLVE_TRY_MS,
		.tries = RESOLVE_TRIES,
		.sock_state_cb = resolve_on_socket,
		.sock_state_cb_data = r,
	};
	int status = ares_library_init(ARES_LIB_INIT_ALL);

	r->is_open = true;
	if (status == ARES_SUCCESS) {
		status = ares_init_options(&r->channel, &options,
		    ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
		    ARES_OPT_SOCK_STATE_CB);
		if (status != ARES_SUCCESS)
			ares_library_cleanup();
	}
	r->has_channel = status == ARES_SUCCESS;
	if (!r->has_channel)
		log_warnx("worker %u: names cannot be looked up, their "
		    "addresses stay: %s", r->w->birth->slot,
		    ares_strerror(status));
}

struct resolve_name *
resolve_hold(struct resolve *r, const struct config_addr *addr,
    unsigned entry)
{
	struct resolve_name *n;
	struct sockaddr_storage sa;
	socklen_t sa_len;
	const char *why;

	bool is_name = hosts_parse(addr->name, &sa, &sa_len, &why) ==
	    HOSTS_NAME;

	/* Numbers are nothing to be shared. */
	LIST_FOREACH(n, &r->names, link)
		if (is_name && strcmp(n->normal, addr->normal) == 0) {
			n->refs++;
			return n;
		}
	if ((n = calloc(1, sizeof(*n))) == NULL)
		return NULL;
	n->text = strdup(addr->name);
	n->normal = strdup(addr->normal);
	n->r = r;
	n->refs = 1;
	n->entry = entry;
	n->sa = addr->sa;
	n->sa_len = addr->sa_len;
	n->is_name = is_name;
	if (is_name)
		LIST_INSERT_HEAD(&r->names, n, link);
	if (n->text == NULL || n->normal == NULL) {
		resolve_put(&n);
		return NULL;
	}
	if (is_name && !r->is_open)
		resolve_open(r);
	return n;
}

void
resolve_put(struct resolve_name **name)
{
	struct resolve_name *n = *name;

	*name = NULL;
	if (n == NULL || --n->refs > 0)
		return;
	if (n->is_name)
		LIST_REMOVE(n, link);
	free(n->text);
	free(n->normal);
	free(n);
}

struct resolve *
resolve_new(struct worker *w)
{
	struct resolve *r = calloc(1, sizeof(*r));
	size_t i;

	if (r == NULL)
		return NULL;
	r->w = w;
	TAILQ_INIT(&r->asking);
	LIST_INIT(&r->names);
	ev_timer_init(&r->timer, resolve_on_timer, 0., 0.);
	r->timer.data = r;
	for (i = 0; i < RESOLVE_SOCKETS; i++) {
		ev_io_init(&r->sockets[i], resolve_on_io, -1, 0);
		r->sockets[i].data = r;
	}
	return r;
}

void
resolve_free(struct resolve **resolve)
{
	struct resolve *r = *resolve;

	*resolve = NULL;
	ev_timer_stop(r->w->loop, &r->timer);
	if (r->has_channel) {
		ares_destroy(r->channel);
		ares_library_cleanup();
	}
	ASSERT(LIST_EMPTY(&r->names));
	free(r);
}
