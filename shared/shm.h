/*
 * shm.h: the shared segment: header, hosts, services, a slot a worker.
 *
 * No locks: each cache line has one writer, the master the header, the hosts
 * and the services, a worker its own slot.  The segment is sparse, sized once
 * for the most there may ever be; a slot's pages are reserved before a worker
 * starts, for touching a full /dev/shm kills.  Named after the pid file, mode
 * 0600.
 */
#ifndef SHARED_SHM_H
#define SHARED_SHM_H

#include <sys/types.h>

#include "shared/counters.h"
#include "shared/hist.h"

#define SHM_WORKERS_MAX	256
#define SHM_HOSTS_MAX	4096
#define SHM_HOST_NAME	120
#define SHM_SERVICES_MAX 64
#define SHM_SERVICE_NAME 64

enum shm_host_state {
	SHM_HOST_OUT,		/* given nothing */
	SHM_HOST_REJOINING,	/* given writes; to be emptied, then read */
	SHM_HOST_UP,
	SHM_HOST_N_STATES
};

extern const char *const shm_host_state_names[SHM_HOST_N_STATES];

/* One address, in the master's hand.  An entry is its address's for the life
 * of the instance, in use or not. */
struct shm_host {
	char		 name[SHM_HOST_NAME];
	_Atomic uint32_t in_use;	/* some service's group has it */
	_Atomic uint32_t state;		/* enum shm_host_state */
	_Atomic uint64_t since_us;	/* monotonic, of its state */
	_Atomic uint64_t ejections;	/* how often it was taken out */
	_Atomic uint64_t returns;	/* and put back */
	/* REJOINING: the worker in this slot is to empty it; else none. */
	_Atomic uint32_t flusher;
	_Atomic uint32_t flush_n;	/* the number of that task */
	/* No fact of this host: the Nth in the file has the entry that entry N
	 * names here. */
	_Atomic uint32_t listed;
} __attribute__((aligned(64)));

#define SHM_NO_FLUSHER	UINT32_MAX

/* One section that is a service, in the master's hand.  An entry is its name's
 * for the life of the instance. */
struct shm_service {
	char		 name[SHM_SERVICE_NAME];
	_Atomic uint32_t listed;	/* as that of a host */
} __attribute__((aligned(64)));

/* What a client waits for, by what it asks. */
enum shm_latency {
	SHM_LATENCY_READ,	/* of one key; the first three are classes */
	SHM_LATENCY_WRITE,	/* of an extension's commands */
	SHM_LATENCY_EVERY,	/* what goes to all hosts */
	SHM_LATENCY_MULTI,	/* a command with several keys */
	SHM_LATENCY_N
};

extern const char *const shm_latency_names[SHM_LATENCY_N];

#define SHM_SLOW_N	64	/* requests that are remembered */
#define SHM_SLOW_KEY	64	/* bytes of a key, a multiple of 8 */

/* A request that took long.  SEQ is odd while it is being written. */
struct shm_slow {
	_Atomic uint64_t seq;
	_Atomic uint64_t at_ms;		/* when it ended, by the clock */
	_Atomic uint64_t total_us;
	_Atomic uint64_t queued_us;	/* of these, before it was sent */
	_Atomic uint32_t host;		/* entry */
	_Atomic uint16_t what;		/* enum shm_latency */
	_Atomic uint16_t is_failed;	/* no answer came */
	_Atomic uint64_t key_len;	/* before it was cut */
	_Atomic uint64_t key[SHM_SLOW_KEY / 8];
};

/* The same in a reader's hands. */
struct shm_slow_view {
	uint64_t	 at_ms, total_us, queued_us;
	unsigned	 host;
	enum shm_latency what;
	bool		 is_failed;
	size_t		 key_len;	/* at most SHM_SLOW_KEY is there */
	unsigned char	 key[SHM_SLOW_KEY];
};

/* Of one host: see shm_base. */
struct shm_base_host {
	counter_cell	 counter[HOST_N];
	counter_cell	 ejections, returns;
};

/* Of one worker. */
struct shm_base_worker {
	counter_cell	 counter[COUNTER_N];
	counter_cell	 n_slow;
};

/* What is taken off what `stats` shows, since somebody has said reset.  A
 * worker killed in the middle of a reset leaves a base that is partly the new
 * one; the next whole reset mends it. */
struct shm_base {
	_Atomic uint64_t at_us;		/* monotonic; 0: never */
	/* Entries below; of others there are no pages. */
	_Atomic uint32_t n_services, n_workers, n_hosts;
	counter_cell	 counter[COUNTER_N];
	struct hist	 latency[SHM_LATENCY_N];
	counter_cell	 service[SHM_SERVICES_MAX][COUNTER_N];
	struct shm_base_worker worker[SHM_WORKERS_MAX];
	struct shm_base_host host[SHM_HOSTS_MAX];
	struct hist	 host_latency[SHM_HOSTS_MAX];
};

/* One worker's, in the worker's hand; what stands before the heartbeat is in
 * the master's. */
struct shm_slot {
	_Atomic int64_t	 pid;		/* 0: no worker */
	_Atomic uint64_t starts;	/* how often one was started here */
	_Atomic uint64_t spawned_ms;	/* monotonic */
	_Atomic uint64_t beat_ms;	/* when the master saw its heart beat
					 * last, or spawned it */
	_Atomic uint32_t serves;	/* it takes clients, given ones too */
	_Atomic uint64_t heartbeat __attribute__((aligned(64)));
	_Atomic uint64_t seen_generation; /* of the hosts; it goes by that */
	_Atomic uint64_t seen_config;	/* the reload that it goes by */
	/* Of no service, and then of each by its entry. */
	counter_cell	 counter[1 + SHM_SERVICES_MAX][COUNTER_N]
			    __attribute__((aligned(64)));
	struct hist	 latency[SHM_LATENCY_N];
	_Atomic uint64_t n_slow;	/* ever; the last ones are there */
	struct shm_slow	 slow[SHM_SLOW_N];
	counter_cell	 host[SHM_HOSTS_MAX][HOST_N]
			    __attribute__((aligned(64)));
	struct hist	 host_latency[SHM_HOSTS_MAX];
	struct shm_base	 base;		/* of whom was told to reset last */
};

struct shm;

/* What the master says of the whole.  The first three are set before the
 * segment is ready, the others change with a reload. */
struct shm_facts {
	int64_t		 master_pid;
	uint64_t	 started_ms;	/* monotonic */
	uint64_t	 started_unix_ms;	/* the same by the clock */
	_Atomic uint32_t recv_timeout_ms;
	_Atomic uint32_t n_hosts;	/* in use: see shm_look_hosts */
	_Atomic uint32_t n_entries;	/* of the hosts table, ever used */
	_Atomic uint32_t n_services;	/* likewise in use, and ever used */
	_Atomic uint32_t n_service_entries;
	_Atomic uint64_t reloads;	/* that are in force */
	_Atomic uint64_t reload_errors;	/* files that were refused */
	_Atomic uint64_t last_reload_ms; /* monotonic, of either; 0: none */
	_Atomic uint64_t log_dropped;	/* of the master's lines */
};

/* The master's: make the segment for PID_FILE, whose lock it holds; a stale
 * one is removed, but never another user's, nor one that a master uses whose
 * pid file somebody has removed.  NULL: ERR (a line of at most ROOM bytes) says
 * why. */
struct shm *shm_create(const char *pid_file, char *err, size_t room)
	    MUST_CHECK;
/* A reader's: map the segment of PID_FILE read-only; refuses one that is not
 * ready, of another version, size or owner. */
struct shm *shm_attach(const char *pid_file, char *err, size_t room)
	    MUST_CHECK;
/* Does a master use the segment of PID_FILE, whatever its version is?  A
 * killed one leaves it behind.  False: no, or nobody may tell, with errno. */
bool	 shm_has_master(const char *pid_file, pid_t *pid);
/* The master's segment for a program that is only to read it: a descriptor that
 * can never write.  -1 with errno. */
int	 shm_open_for_reader(const struct shm *shm) MUST_CHECK;
/* And there: map that of FD, which is closed; else as shm_attach. */
struct shm *shm_adopt(int fd, char *err, size_t room) MUST_CHECK;
/* Unmap; the segment stays. */
void	 shm_close(struct shm **shm);
/* Remove the name of a segment that the caller made, if it is its name still.
 * From then on it does not count as used. */
void	 shm_unlink_made(struct shm *shm);

/* Reserve the pages of slot I for N_HOSTS hosts, or for more than before;
 * false with errno: /dev/shm is full.  To be done before shm_set_n_slots counts
 * the slot, for readers touch the pages too. */
bool	 shm_reserve(struct shm *shm, unsigned i, unsigned n_hosts) MUST_CHECK;
/* The same for the base of slot I, for all that there is; any process that has
 * the segment from its maker may. */
bool	 shm_reserve_base(struct shm *shm, unsigned i) MUST_CHECK;
/* Say that readers may come. */
void	 shm_set_ready(struct shm *shm);

struct shm_facts *shm_facts(struct shm *shm);
struct shm_host *shm_host(struct shm *shm, unsigned i);
struct shm_service *shm_service(struct shm *shm, unsigned i);
/* The Nth host in use, in the order of the file, is ENTRY, which is filled in;
 * facts.n_hosts says how many there are.  The same for services. */
void	 shm_list_host(struct shm *shm, unsigned n, unsigned entry);
void	 shm_list_service(struct shm *shm, unsigned n, unsigned entry);
/* Which of the first N entries is that of the service NAME, in any case; N:
 * none. */
unsigned shm_find_service(struct shm *shm, const char *name, unsigned n);
struct shm_slot *shm_slot(struct shm *shm, unsigned i);
/* The master's: readers may sum up the first N slots, which are reserved. */
void	 shm_set_n_slots(struct shm *shm, unsigned n);
unsigned shm_n_slots(const struct shm *shm);

/* The hosts' states, which the master alone changes: what it changed is seen
 * with the generation that says so. */
void	 shm_set_host_state(struct shm *shm, unsigned host,
	    enum shm_host_state state, uint64_t now_us);
void	 shm_next_generation(struct shm *shm);
uint64_t shm_generation(const struct shm *shm);
enum shm_host_state shm_host_state(struct shm *shm, unsigned host);

/* A dead worker's gauges back to 0. */
void	 shm_zero_gauges(struct shm_slot *slot, unsigned n_hosts);

/*
 * What readers want to know (shm_read.c).
 */

/* The entries of what is in use, in the order of the file, each once however a
 * reload is just writing them; how many. */
unsigned shm_look_hosts(struct shm *shm, unsigned hosts[SHM_HOSTS_MAX]);
unsigned shm_look_services(struct shm *shm,
	    unsigned services[SHM_SERVICES_MAX]);

/* The sum of a counter over all slots, and what the master has of it; of an age
 * the largest. */
uint64_t shm_sum(struct shm *shm, enum counter c);
/* The same of one service over all slots, and of all that is in SLOT. */
uint64_t shm_service_sum(struct shm *shm, unsigned service, enum counter c);
uint64_t shm_slot_sum(struct shm *shm, const struct shm_slot *slot,
	    enum counter c);
uint64_t shm_host_sum(struct shm *shm, unsigned host, enum host_counter c);
/* When any worker had a good reply from HOST last, or was connected to it
 * and greeted (monotonic; 0: never). */
uint64_t shm_host_last_us(struct shm *shm, unsigned host, enum host_counter c);
/* Failure events of HOST since the last good reply in any worker, and since it
 * came to its state. */
uint64_t shm_host_events(struct shm *shm, unsigned host);
/* All that clients have waited for, and what HOST has taken, over all
 * slots. */
void	 shm_look_latency(struct shm *shm, enum shm_latency what,
	    struct hist_view *view);
void	 shm_look_host_latency(struct shm *shm, unsigned host,
	    struct hist_view *view);
/* SLOT's worker was told to reset: from now on shm_base is what is counted now.
 * False with errno: /dev/shm is full. */
bool	 shm_reset(struct shm *shm, unsigned slot, uint64_t now_us) MUST_CHECK;
/* The newest reset's; NULL: there was none. */
const struct shm_base *shm_base(struct shm *shm);
/* A worker's: V, of which key has V->key_len bytes or SHM_SLOW_KEY, is
 * SLOT's newest slow request. */
void	 shm_add_slow(struct shm_slot *slot, const struct shm_slow_view *v);
/* The newest ones of all slots since BASE (NULL: the start) to VIEWS
 * (SHM_SLOW_N), newest first; how many. */
unsigned shm_look_slow(struct shm *shm, const struct shm_base *base,
	    struct shm_slow_view *views);
/* Legs to HOST failed in a row: those of workers whose last failure is no
 * older than the last good reply in any of them. */
uint64_t shm_host_continuous(struct shm *shm, unsigned host);

#endif /* SHARED_SHM_H */
