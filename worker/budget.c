#include "worker/budget.h"

enum { BUDGET_SMALL = 16 * 1024 };	/* not worth counting */

/* May NEED bytes more arrive?  One large request always may. */
static bool
budget_has_room(const struct worker *w, size_t need)
{
	return w->arriving == 0 || w->arriving + need <=
	    (size_t)w->conf->cfg->worker_buffer / 2;
}

static void
budget_take(struct client *c, size_t need)
{
	c->w->arriving += need - c->held;
	c->held = need;
}

static void
budget_stop_waiting(struct client *c)
{
	if (!c->waits)
		return;
	c->waits = false;
	TAILQ_REMOVE(&c->w->waiting, c, wait_link);
}

static void
budget_return(struct client *c)
{
	struct worker *w = c->w;
	struct client *next;

	if (LIKELY(c->held == 0))
		return;
	budget_take(c, 0);
	while ((next = TAILQ_FIRST(&w->waiting)) != NULL &&
	    budget_has_room(w, next->need)) {
		budget_stop_waiting(next);
		budget_take(next, next->need);
		client_resume(next);
	}
}

bool
budget_ask(struct client *c)
{
	struct worker *w = c->w;

	if (LIKELY(c->need <= BUDGET_SMALL)) {
		budget_return(c);
		budget_stop_waiting(c);
		return true;
	}
	/* Who has begun goes on, or two that grow would wait for each other. */
	if (c->held > 0 || budget_has_room(w, c->need)) {
		budget_stop_waiting(c);
		budget_take(c, MAX(c->need, c->held));
		return true;
	}
	if (!c->waits) {
		c->waits = true;
		TAILQ_INSERT_TAIL(&w->waiting, c, wait_link);
		service_count(c->svc, COUNTER_BUFFER_WAITS, 1);
	}
	return false;
}

void
budget_leave(struct client *c)
{
	budget_stop_waiting(c);
	budget_return(c);
}
