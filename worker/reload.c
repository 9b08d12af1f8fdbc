#include "worker/reload.h"

#include <string.h>
#include <unistd.h>

#include "shared/log.h"
#include "worker/extload.h"
#include "worker/listener.h"
#include "worker/service.h"

/* How long new hosts may take. */
static const double reload_settle_s = 2.;

struct reload {
	struct worker	*w;
	uint64_t	 number;
	unsigned	 n_workers;
	struct conf	*conf;
	struct extload	**loaded;	/* one a service */
	struct service	**services;
	struct worker_listen listens[CONFIG_LISTENS_MAX];
	size_t		 n_listens;	/* whose descriptors are ours */
	ev_timer	 timer;
};

static void
reload_on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
	struct reload *r = timer->data;

	(void)loop;
	(void)revents;
	turn_now(r->w);
	reload_finish(r->w);
}

/* The plan's next address. */
struct reload_plan {
	int		 fd;
	unsigned	*host_entry;
	size_t		 n;
};

/* Where ADDR is, as the master has found it; and its entry. */
static bool
reload_find(void *data, struct config_addr *addr, const char **why)
{
	struct reload_plan *plan = data;
	struct worker_place place;
	unsigned *grown;

	if (pread(plan->fd, &place, sizeof(place),
	    (off_t)(plan->n * sizeof(place))) != (ssize_t)sizeof(place)) {
		*why = "not in the master's plan";
		return false;
	}
	grown = realloc(plan->host_entry,
	    (plan->n + 1) * sizeof(*plan->host_entry));
	if (grown == NULL) {
		*why = "out of memory";
		return false;
	}
	plan->host_entry = grown;
	plan->host_entry[plan->n++] = place.entry;
	addr->sa = place.sa;
	addr->sa_len = (socklen_t)place.sa_len;
	return true;
}

/* The master says it. */
static void
reload_ignore(const char *line)
{
	(void)line;
}

/* The configuration in the snapshot SHOT with the plan in PLAN_FD.  NULL: ERR
 * says why. */
static struct conf *
reload_read(struct worker *w, int shot, int plan_fd, char *err)
{
	const struct config *old = w->conf->cfg;
	struct reload_plan plan = { .fd = plan_fd };
	const struct config_lookup lookup = { reload_find, &plan };
	struct config *cfg;
	struct conf *conf;

	/* Relative paths are the master's affair: ours are made already. */
	cfg = config_parse(shot, old->path, "/", &lookup, err);
	if (cfg == NULL) {
		free(plan.host_entry);
		return NULL;
	}
	conf = config_keep_restart(cfg, old, reload_ignore) ?
	    conf_new(cfg, plan.host_entry) : NULL;
	if (conf == NULL) {
		snprintf(err, CONFIG_ERR_MAX, "out of memory");
		config_free(&cfg);
		free(plan.host_entry);
	}
	return conf;
}

static bool
reload_open_extensions(struct reload *r, char *err)
{
	struct config *cfg = r->conf->cfg;
	size_t i;

	r->loaded = calloc(cfg->n_services, sizeof(*r->loaded));
	if (r->loaded == NULL)
		return false;
	for (i = 0; i < cfg->n_services; i++)
		if ((r->loaded[i] = extload_open(cfg, &cfg->services[i],
		    err)) == NULL)
			return false;
	return true;
}

/* False: ERR says why. */
static bool
reload_prepare(struct reload *r, int shot, int plan, char *err)
{
	snprintf(err, CONFIG_ERR_MAX, "out of memory");
	r->conf = reload_read(r->w, shot, plan, err);
	if (r->conf == NULL || !reload_open_extensions(r, err))
		return false;
	snprintf(err, CONFIG_ERR_MAX, "out of memory");
	r->services = service_prepare_all(r->w, r->conf, r->loaded);
	return r->services != NULL;
}

static void
reload_take_listens(struct reload *r, const struct worker_message *msg,
    const int *fds, size_t n)
{
	ASSERT(msg->n_listens == n);
	r->n_listens = worker_message_unpack(msg, fds, r->listens);
}

void
reload_start(struct worker *w, const struct worker_message *msg,
    const int *fds, size_t n)
{
	char err[CONFIG_ERR_MAX];
	struct reload *r;
	bool ok;

	reload_finish(w);
	ASSERT(n >= 2);
	if ((r = calloc(1, sizeof(*r))) == NULL) {
		worker_fail(w, "out of memory");
		return;
	}
	w->reload = r;
	r->w = w;
	r->number = msg->reload;
	r->n_workers = msg->n_workers;
	ev_timer_init(&r->timer, reload_on_timer, reload_settle_s, 0.);
	r->timer.data = r;
	reload_take_listens(r, msg, fds + 2, n - 2);
	/* One of our own, so that none settles all while they are made. */
	w->backends_unsettled++;
	ok = reload_prepare(r, fds[0], fds[1], err);
	(void)close(fds[0]);
	(void)close(fds[1]);
	if (!ok) {
		worker_fail(w, err);
		return;
	}
	ev_timer_start(w->loop, &r->timer);
	worker_backend_settled(w);
}

void
reload_settled(struct worker *w)
{
	struct reload *r = w->reload;

	if (r == NULL || r->services == NULL)
		return;
	/* Not from here, where callbacks are on the stack. */
	ev_timer_stop(w->loop, &r->timer);
	ev_timer_set(&r->timer, 0., 0.);
	ev_timer_start(w->loop, &r->timer);
}

static void
reload_close_listens(struct reload *r)
{
	while (r->n_listens > 0)
		(void)close(r->listens[--r->n_listens].fd);
}

/* A worker that gives its clients away has no sockets any more: held by it,
 * they would stay open when all others have closed them. */
static bool
reload_set_listens(struct reload *r)
{
	struct worker *w = r->w;

	if (w->is_surplus) {
		reload_close_listens(r);
		return true;
	}
	return listener_set(w, w->birth->slot, r->listens, r->n_listens,
	    w->services, false);
}

void
reload_finish(struct worker *w)
{
	struct reload *r = w->reload;
	bool ok;

	if (r == NULL)
		return;
	w->reload = NULL;
	ev_timer_stop(w->loop, &r->timer);
	ok = service_commit_all(w, r->services, r->conf, r->loaded) &&
	    reload_set_listens(r);
	w->n_workers = r->n_workers;
	log_set_level((enum log_level)w->conf->cfg->log_level);
	atomic_store_explicit(&w->slot->seen_config, r->number,
	    memory_order_release);
	free(r->loaded);
	free(r);
	if (!ok) {
		worker_fail(w, "out of memory");
		return;
	}
	worker_look(w);
	/* Adopted ones of new services have waited for this. */
	if (w->serving && !w->is_surplus && !w->draining)
		listener_start_all(w);
}

struct service *const *
reload_services(const struct worker *w)
{
	return w->reload != NULL ? w->reload->services : w->services;
}

void
reload_drop(struct worker *w)
{
	struct reload *r = w->reload;

	if (r == NULL)
		return;
	w->reload = NULL;
	ev_timer_stop(w->loop, &r->timer);
	reload_close_listens(r);
	free(r);
}
