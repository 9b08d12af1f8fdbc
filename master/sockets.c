#include "master/sockets.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <string.h>
#include <unistd.h>

#include "master/listen.h"
#include "shared/clock.h"

#define SOCKETS_LEAVE_MS	1000	/* the workers are done before */

struct sockets_addr {
	struct sockets_addr *next;
	uint32_t	 id;
	char		*name;
	char		*normal;
	bool		 is_unix;
	bool		 is_new;	/* since the last commit */
	unsigned	 n_new;		/* of its fds, likewise */
	uint32_t	 service;	/* in the configuration */
	uint64_t	 leave_ms;	/* when it is closed; 0: it stays */
	struct sockaddr_storage sa;
	unsigned	 n_fds;		/* 1 of a unix socket */
	int		 fds[SHM_WORKERS_MAX];
};

struct sockets {
	struct sockets_addr *addrs;
	uint32_t	 next_id;
};

static const char *
sockets_path(const struct sockets_addr *a)
{
	return ((const struct sockaddr_un *)(const void *)&a->sa)->sun_path;
}

/*
 * The lives of addresses.
 */

static struct sockets_addr *
sockets_new_addr(struct sockets *s, const struct config_listen *l)
{
	struct sockets_addr *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->name = strdup(l->name);
	a->normal = strdup(l->normal);
	if (a->name == NULL || a->normal == NULL) {
		free(a->name);
		free(a->normal);
		free(a);
		return NULL;
	}
	a->id = s->next_id++;
	a->sa = l->sa;
	a->is_unix = l->sa.ss_family == AF_UNIX;
	a->is_new = true;
	a->next = s->addrs;
	s->addrs = a;
	return a;
}

/* *LINK is closed and out of the list. */
static void
sockets_drop(struct sockets_addr **link)
{
	struct sockets_addr *a = *link;

	*link = a->next;
	/* The path of one that has left may be another's by now. */
	if (a->is_unix && a->leave_ms == 0 && a->n_fds > 0)
		unlink(sockets_path(a));
	for (unsigned i = 0; i < a->n_fds; i++)
		close(a->fds[i]);
	free(a->name);
	free(a->normal);
	free(a);
}

struct sockets *
sockets_new(void)
{
	return calloc(1, sizeof(struct sockets));
}

void
sockets_free(struct sockets **sockets)
{
	struct sockets *s = *sockets;

	if (s == NULL)
		return;
	*sockets = NULL;
	while (s->addrs != NULL)
		sockets_drop(&s->addrs);
	free(s);
}

/*
 * Changes.
 */

static struct sockets_addr *
sockets_find(const struct sockets *s, const struct config_listen *l)
{
	struct sockets_addr *a = s->addrs;

	/* A unix socket that has left has no path any more. */
	while (a != NULL && (strcmp(a->normal, l->normal) != 0 ||
	    (a->is_unix && a->leave_ms != 0)))
		a = a->next;
	return a;
}

/* Is L's port ours already, on any address or, where L is any, on one?  Then
 * nobody else has it. */
static bool
sockets_has_port(const struct sockets *s, const struct config_listen *l)
{
	for (const struct sockets_addr *a = s->addrs; a != NULL; a = a->next)
		if (a->n_fds > 0 && listen_overlaps(&a->sa, &l->sa))
			return true;
	return false;
}

/* The first socket of L. */
static int
sockets_claim(const struct config_service *service,
    const struct config_listen *l, bool is_patient, char *err, size_t room)
{
	return (is_patient ? listen_await : listen_claim)(l,
	    service->socket_mode, (int)service->backlog, err, room);
}

static bool
sockets_prepare_addr(struct sockets *s, const struct config_service *service,
    const struct config_listen *l, unsigned n_slots, bool is_patient,
    char *err, size_t room)
{
	struct sockets_addr *a = sockets_find(s, l);
	unsigned most;
	int fd;

	if (a == NULL && (a = sockets_new_addr(s, l)) == NULL) {
		strncpy(err, "out of memory", room);
		return false;
	}
	most = a->is_unix ? 1 : n_slots;
	while (a->n_fds < most) {
		fd = a->n_fds == 0 && (a->is_unix || !sockets_has_port(s, l)) ?
		    sockets_claim(service, l, is_patient, err, room) :
		    listen_join(l, (int)service->backlog, err, room);
		if (fd == -1)
			return false;
		a->fds[a->n_fds++] = fd;
		a->n_new++;
	}
	return true;
}

bool
sockets_prepare(struct sockets *s, const struct config *cfg, unsigned n_slots,
    bool is_patient, char *err, size_t room)
{
	for (size_t i = 0; i < cfg->n_services; i++) {
		const struct config_service *service = &cfg->services[i];

		for (size_t j = 0; j < service->n_listens; j++)
			if (!sockets_prepare_addr(s, service,
			    &service->listens[j], n_slots, is_patient, err,
			    room)) {
				sockets_undo(s);
				return false;
			}
	}
	return true;
}

void
sockets_undo(struct sockets *s)
{
	struct sockets_addr **link = &s->addrs;

	while (*link != NULL) {
		struct sockets_addr *a = *link;

		if (a->is_new) {
			sockets_drop(link);
			continue;
		}
		for (; a->n_new > 0; a->n_new--)
			close(a->fds[--a->n_fds]);
		link = &a->next;
	}
}

/* A's sockets let nobody new in, and are closed soon. */
static void
sockets_leave(struct sockets_addr *a)
{
	a->leave_ms = clock_ms() + SOCKETS_LEAVE_MS;
	/* Who connects to a path is there at once. */
	if (a->is_unix)
		unlink(sockets_path(a));
	for (unsigned i = 0; !a->is_unix && i < a->n_fds; i++)
		listen_refuse(a->fds[i]);
}

static void
sockets_stay(struct sockets_addr *a, const struct config_service *service,
    size_t index)
{
	if (a->leave_ms != 0)
		for (unsigned i = 0; i < a->n_fds; i++)
			listen_admit(a->fds[i]);
	a->leave_ms = 0;
	a->service = (uint32_t)index;
	for (unsigned i = 0; i < a->n_fds; i++)
		(void)listen(a->fds[i], (int)service->backlog);
	if (a->is_unix)
		(void)chmod(sockets_path(a), (mode_t)service->socket_mode);
}

/* The service of CFG that has A; NULL: none, else *INDEX is its number. */
static const struct config_service *
sockets_find_service(const struct config *cfg, const struct sockets_addr *a,
    size_t *index)
{
	for (size_t i = 0; i < cfg->n_services; i++)
		for (size_t j = 0; j < cfg->services[i].n_listens; j++)
			if (strcmp(cfg->services[i].listens[j].normal,
			    a->normal) == 0) {
				*index = i;
				return &cfg->services[i];
			}
	return NULL;
}

void
sockets_commit(struct sockets *s, const struct config *cfg)
{
	const struct config_service *service;
	size_t index;

	for (struct sockets_addr *a = s->addrs; a != NULL; a = a->next) {
		a->is_new = false;
		a->n_new = 0;
		if (a->is_unix && a->leave_ms != 0)
			continue;
		service = sockets_find_service(cfg, a, &index);
		if (service != NULL)
			sockets_stay(a, service, index);
		else if (a->leave_ms == 0)
			sockets_leave(a);
	}
}

bool
sockets_sweep(struct sockets *s)
{
	struct sockets_addr **link = &s->addrs;
	uint64_t now = clock_ms();
	bool done = true;

	while (*link != NULL) {
		struct sockets_addr *a = *link;

		if (a->leave_ms != 0 && a->leave_ms <= now) {
			sockets_drop(link);
			continue;
		}
		done = done && a->leave_ms == 0;
		link = &a->next;
	}
	return done;
}

/*
 * Questions.
 */

size_t
sockets_list(const struct sockets *s, unsigned slot, bool with_unix,
    struct worker_listen *list)
{
	size_t n = 0;

	for (const struct sockets_addr *a = s->addrs; a != NULL; a = a->next) {
		if (a->leave_ms != 0 || (a->is_unix ? !with_unix :
		    slot >= a->n_fds))
			continue;
		ASSERT(n < CONFIG_LISTENS_MAX);
		list[n++] = (struct worker_listen){
			a->id, a->service, a->fds[a->is_unix ? 0 : slot]
		};
	}
	return n;
}

void
sockets_close_others(struct sockets *s, unsigned slot)
{
	for (struct sockets_addr *a = s->addrs; a != NULL; a = a->next)
		for (unsigned i = 0; i < a->n_fds; i++)
			if (a->leave_ms != 0 || (!a->is_unix && i != slot))
				close(a->fds[i]);
}
