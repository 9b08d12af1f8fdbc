/*
 * worker.h: one worker process, from fork to exit.
 *
 * The master forks and calls worker_run, which returns the exit status.  From
 * then on the two talk over the control socket (fdpass.h): orders go down it,
 * reports come up.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stdio.h>

#include "shared/config.h"
#include "shared/shm.h"

struct extload;

/* A listening socket. */
struct worker_listen {
	uint32_t	 id;		/* of its address, for the life of the
					 * instance */
	uint32_t	 service;	/* in the configuration */
	int		 fd;
};

/* What a worker is born with.  All of it was made before the fork and is the
 * worker's own, but for the segment and the descriptors of inboxes. */
struct worker_birth {
	struct config	*cfg;
	struct extload	**ext;		/* one a service, in order */
	unsigned	*host_entry;	/* config.addrs -> the hosts table */
	uint64_t	 reload;	/* the number of that configuration */
	unsigned	 n_workers;	/* that it asks for */
	struct shm	*shm;
	unsigned	 slot;		/* its slot in the segment */
	int		 control;	/* to the master; EOF: it is gone */
	const struct worker_listen *listens;	/* its slot's */
	size_t		 n_listens;
	int		 inbox;		/* where other workers' clients come */
	const int	*inboxes;	/* the ways to all of them, by slot; -1:
					 * there is none */
};

enum worker_order {
	WORKER_DRAIN = 'd',	/* accept nothing more, answer, exit */
	WORKER_GIVE = 'g',	/* give the clients to others, exit */
	WORKER_ADOPT = 'a',	/* accept from slot's sockets too: these, and
				 * no others of it */
	WORKER_RETURN = 'r',	/* no longer: it has a worker again */
	WORKER_LOOK = 'h',	/* at the hosts: some state has changed */
	WORKER_INBOX = 'i',	/* this is the way to slot's inbox */
	WORKER_RELOAD = 'c',	/* with a snapshot of the configuration, its
				 * plan and the own slot's sockets */
	WORKER_LOG = 'l'	/* write the log here */
};

/* What the master says down the control socket; the descriptors that an order
 * has go with it, sockets last, in the order of listens. */
struct worker_message {
	uint8_t		 order;		/* enum worker_order */
	uint8_t		 n_listens;
	uint16_t	 slot;		/* that it is about */
	uint32_t	 n_workers;	/* RELOAD */
	uint64_t	 reload;	/* its number */
	struct {
		uint32_t	 id, service;
	} listens[CONFIG_LISTENS_MAX];
};

_Static_assert(CONFIG_LISTENS_MAX <= UINT8_MAX, "n_listens is a byte");

/* As much of MSG as is sent. */
static inline size_t
worker_message_len(const struct worker_message *msg)
{
	return offsetof(struct worker_message, listens) +
	    msg->n_listens * sizeof(msg->listens[0]);
}

/* LIST's N sockets go with MSG; their descriptors, in order, to FDS. */
static inline void
worker_message_pack(struct worker_message *msg, int *fds,
    const struct worker_listen *list, size_t n)
{
	msg->n_listens = (uint8_t)n;
	for (size_t i = 0; i < n; i++) {
		msg->listens[i].id = list[i].id;
		msg->listens[i].service = list[i].service;
		fds[i] = list[i].fd;
	}
}

/* And back: to LIST (CONFIG_LISTENS_MAX); how many. */
static inline size_t
worker_message_unpack(const struct worker_message *msg, const int *fds,
    struct worker_listen *list)
{
	for (size_t i = 0; i < msg->n_listens; i++)
		list[i] = (struct worker_listen){
			msg->listens[i].id, msg->listens[i].service, fds[i]
		};
	return msg->n_listens;
}

/* A reload's plan, one of each for every address of the configuration, in
 * order: what the master alone knows of it. */
struct worker_place {
	uint32_t	 entry;		/* in the hosts table */
	uint32_t	 sa_len;
	struct sockaddr_storage sa;	/* where it was found */
};

/* What a worker says up its control socket, a byte each. */
enum worker_report {
	WORKER_READY = 'r',	/* it serves */
	WORKER_ALARM = 'a'	/* something of a host calls for a decision */
};

/* Run until the master says so or is gone.  The caller has made the process
 * this worker's own (signals, descriptors); 0: a clean end. */
int	 worker_run(const struct worker_birth *birth) MUST_CHECK;

/* door.c */

/* How many descriptors a worker of CFG has at the most besides its clients',
 * where there are N_SLOTS. */
size_t	 worker_count_fds(const struct config *cfg, size_t n_slots);

/* explain.c */

/* Say on OUT where commands for KEY of SERVICE, one of CFG's, go and why, a
 * line each: as a worker would have it, with the hosts' states of the instance
 * that runs, if any.  Only reads.  False: ERR (CONFIG_ERR_MAX bytes) says why
 * not. */
bool	 explain_route(const struct config *cfg,
	    const struct config_service *service, const char *key, FILE *out,
	    char *err) MUST_CHECK;

#endif /* WORKER_WORKER_H */
