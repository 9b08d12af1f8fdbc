/*
 * shm.c: the only place that opens shared memory.
 *
 * Layout: a page of header, the hosts, the services, and from a page's start
 * each slot.
 */
#include "shared/shm.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define SHM_MAGIC	UINT64_C(0x6b767072786f7931)
#define SHM_VERSION	7
#define SHM_PAGE	4096
#define SHM_PAGES(n)	(((n) + SHM_PAGE - 1) / SHM_PAGE * SHM_PAGE)
#define SHM_NAME_MAX	32

/* Only numbers of known width, so that a reader of another build can tell. */
struct shm_header {
	uint64_t	 magic;
	uint64_t	 total_size;
	uint32_t	 version;
	uint32_t	 n_counters;
	uint32_t	 n_host_counters;
	_Atomic uint32_t ready;
	_Atomic uint32_t n_slots;
	_Atomic uint64_t generation;	/* of the hosts' states */
	struct shm_facts facts;
};

struct shm {
	unsigned char	*base;
	int		 fd;		/* the maker's, or -1 */
	bool		 is_reserved[SHM_WORKERS_MAX];
	char		 name[SHM_NAME_MAX];
};

#define SHM_SERVICES_AT	SHM_PAGES(sizeof(struct shm_header))
#define SHM_HOSTS_AT \
	(SHM_SERVICES_AT + \
	SHM_PAGES(SHM_SERVICES_MAX * sizeof(struct shm_service)))
#define SHM_SLOTS_AT \
	(SHM_HOSTS_AT + SHM_PAGES(SHM_HOSTS_MAX * sizeof(struct shm_host)))
#define SHM_SLOT_SIZE	SHM_PAGES(sizeof(struct shm_slot))
#define SHM_SIZE	(SHM_SLOTS_AT + SHM_WORKERS_MAX * SHM_SLOT_SIZE)

/* A lock inside an atomic would be one that a killed worker holds for ever. */
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics take locks");
_Static_assert(sizeof(counter_cell) == sizeof(uint64_t), "padded counters");
_Static_assert(_Alignof(counter_cell) == 8, "counters across cache lines");
_Static_assert(sizeof(struct shm_host) % 64 == 0, "hosts share cache lines");
_Static_assert(sizeof(struct shm_slot) % 64 == 0, "slots share cache lines");
_Static_assert(offsetof(struct shm_slot, heartbeat) % 64 == 0 &&
    offsetof(struct shm_slot, counter) % 64 == 0 &&
    offsetof(struct shm_slot, host) % 64 == 0, "two writers in a cache line");
_Static_assert(SHM_SIZE <= LONG_MAX, "the segment has no offset_t");

const char *const shm_host_state_names[SHM_HOST_N_STATES] = {
	[SHM_HOST_OUT] = "out",
	[SHM_HOST_REJOINING] = "rejoining",
	[SHM_HOST_UP] = "up",
};

const char *const shm_latency_names[SHM_LATENCY_N] = {
	[SHM_LATENCY_READ] = "read",
	[SHM_LATENCY_MULTI] = "multi",
	[SHM_LATENCY_WRITE] = "write",
	[SHM_LATENCY_EVERY] = "every",
};

static struct shm_header *
shm_header(const struct shm *shm)
{
	return (struct shm_header *)(void *)shm->base;
}

/* "/kvproxy-" and the FNV-1a of PID_FILE's absolute name: its folder without
 * symlinks, so that all ways to write it lead to one segment. */
static bool
shm_format_name(char name[SHM_NAME_MAX], const char *pid_file, char *err,
    size_t room)
{
	char folder[PATH_MAX], path[PATH_MAX + NAME_MAX + 2];
	const char *slash = strrchr(pid_file, '/');
	const char *base = slash != NULL ? slash + 1 : pid_file;
	size_t len = slash != NULL ? (size_t)(slash - pid_file) : 0;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	if (len >= sizeof(folder) || strlen(base) > NAME_MAX) {
		snprintf(err, room, "%.200s...: too long a name", pid_file);
		return false;
	}
	memcpy(folder, pid_file, len);
	folder[len] = '\0';
	if (len == 0)
		strcpy(folder, slash != NULL ? "/" : ".");
	if (realpath(folder, path) == NULL) {
		snprintf(err, room, "%s: %s", folder, strerror(errno));
		return false;
	}
	len = strlen(path);
	snprintf(path + len, sizeof(path) - len, "/%s", base);
	for (const char *p = path; *p != '\0'; p++)
		hash = (hash ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	snprintf(name, SHM_NAME_MAX, "/kvproxy-%016" PRIx64, hash);
	return true;
}

/* The master's mark on its segment is a record lock, for that is a process's
 * own: its workers do not inherit it, and it can be asked who holds it. */
static bool
shm_lock(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_SETLK, &lock) == 0;
}

/* True: process *PID uses FD's segment. */
static bool
shm_is_used(int fd, pid_t *pid)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_GETLK, &lock) == -1 || lock.l_type == F_UNLCK)
		return false;
	*pid = lock.l_pid;
	return true;
}

/* Why what is under the name NAME may not be taken away: FD is it, or -1 where
 * it cannot be opened, with errno.  False: it may. */
static bool
shm_is_not_ours(const char *name, int fd, char *err, size_t room)
{
	struct stat st;
	pid_t pid;

	if (fd == -1 && (errno == EACCES || errno == EPERM || errno == ELOOP))
		snprintf(err, room, "/dev/shm%s is in the way and not ours: %s",
		    name, strerror(errno));
	else if (fd == -1 || fstat(fd, &st) == -1)
		snprintf(err, room, "/dev/shm%s: %s", name, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		snprintf(err, room, "/dev/shm%s is in the way and not ours: "
		    "not a file", name);
	else if (st.st_uid != geteuid())
		snprintf(err, room, "/dev/shm%s is in the way and not ours: "
		    "made by user %ld", name, (long)st.st_uid);
	else if (shm_is_used(fd, &pid))
		snprintf(err, room, "/dev/shm%s is in use by a running kvproxy "
		    "(pid %ld)", name, (long)pid);
	else
		return false;
	return true;
}

/* Remove what a master that was killed left behind; what is not ours stays,
 * and so does the way of whoever put it there. */
static bool
shm_unlink_stale(const char *name, char *err, size_t room)
{
	bool is_theirs;
	int fd;

	fd = shm_open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	if (fd == -1 && errno == ENOENT)
		return true;
	is_theirs = shm_is_not_ours(name, fd, err, room);
	if (fd != -1)
		close(fd);
	if (is_theirs)
		return false;
	if (shm_unlink(name) == -1 && errno != ENOENT) {
		snprintf(err, room, "/dev/shm%s cannot be removed: %s", name,
		    strerror(errno));
		return false;
	}
	return true;
}

/* posix_fallocate, which returns its error. */
static int
shm_fallocate(int fd, size_t at, size_t len)
{
	int rc;

	do {
		rc = posix_fallocate(fd, (off_t)at, (off_t)len);
	} while (rc == EINTR);
	return rc;
}

static void
shm_write_header(struct shm *shm)
{
	struct shm_header *h = shm_header(shm);

	h->magic = SHM_MAGIC;
	h->total_size = SHM_SIZE;
	h->version = SHM_VERSION;
	h->n_counters = COUNTER_N;
	h->n_host_counters = HOST_N;
}

struct shm *
shm_create(const char *pid_file, char *err, size_t room)
{
	struct shm *shm = calloc(1, sizeof(*shm));
	void *base = MAP_FAILED;
	int rc;

	if (shm == NULL) {
		snprintf(err, room, "out of memory");
		return NULL;
	}
	shm->fd = -1;
	if (!shm_format_name(shm->name, pid_file, err, room) ||
	    !shm_unlink_stale(shm->name, err, room)) {
		free(shm);
		return NULL;
	}
	shm->fd = shm_open(shm->name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC,
	    0600);
	if (shm->fd == -1) {
		snprintf(err, room, "/dev/shm%s: %s", shm->name,
		    strerror(errno));
		free(shm);
		return NULL;
	}
	rc = !shm_lock(shm->fd) ||
	    ftruncate(shm->fd, (off_t)SHM_SIZE) == -1 ? errno :
	    shm_fallocate(shm->fd, 0, SHM_SLOTS_AT);
	if (rc == 0) {
		base = mmap(NULL, SHM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		    shm->fd, 0);
		rc = base == MAP_FAILED ? errno : 0;
	}
	if (rc != 0) {
		snprintf(err, room, "/dev/shm%s: %s", shm->name, strerror(rc));
		shm_unlink(shm->name);
		close(shm->fd);
		free(shm);
		return NULL;
	}
	shm->base = base;
	shm_write_header(shm);
	return shm;
}

/* Read FD's header without mapping it: a short file is then short, and no
 * SIGBUS.  NULL: it is a segment that may be mapped. */
static const char *
shm_check(int fd)
{
	struct shm_header h;
	struct stat st;

	if (fstat(fd, &st) == -1)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "not a shared segment";
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return "made by another user";
	if (pread(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h))
		return "truncated";
	if (h.magic != SHM_MAGIC)
		return "not kvproxy's";
	if (h.version != SHM_VERSION || h.total_size != SHM_SIZE ||
	    h.n_counters != COUNTER_N || h.n_host_counters != HOST_N)
		return "of another version of kvproxy";
	if (st.st_size < (off_t)SHM_SIZE)
		return "truncated";
	if (h.ready == 0)
		return "not ready yet";
	return NULL;
}

struct shm *
shm_attach(const char *pid_file, char *err, size_t room)
{
	struct shm *shm = calloc(1, sizeof(*shm));
	void *base = MAP_FAILED;
	const char *why;
	int fd = -1;

	if (shm == NULL) {
		snprintf(err, room, "out of memory");
		return NULL;
	}
	shm->fd = -1;
	if (!shm_format_name(shm->name, pid_file, err, room))
		goto fail;
	fd = shm_open(shm->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	why = fd == -1 ? strerror(errno) : shm_check(fd);
	if (why == NULL) {
		base = mmap(NULL, SHM_SIZE, PROT_READ, MAP_SHARED, fd, 0);
		why = base == MAP_FAILED ? strerror(errno) : NULL;
	}
	if (why != NULL) {
		snprintf(err, room, "/dev/shm%s (of %s): %s", shm->name,
		    pid_file, why);
		goto fail;
	}
	close(fd);
	shm->base = base;
	/* Pairs with shm_set_ready: what was said before it is seen. */
	atomic_load_explicit(&shm_header(shm)->ready, memory_order_acquire);
	return shm;
fail:
	if (fd != -1)
		close(fd);
	free(shm);
	return NULL;
}

bool
shm_has_master(const char *pid_file, pid_t *pid)
{
	char name[SHM_NAME_MAX], err[PATH_MAX];
	bool is_used;
	int fd;

	errno = ENOENT;
	if (!shm_format_name(name, pid_file, err, sizeof(err)))
		return false;
	fd = shm_open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	if (fd == -1)
		return false;
	is_used = shm_is_used(fd, pid);
	close(fd);
	errno = ESRCH;
	return is_used;
}

/* By way of /proc, for under its name there may be another by now. */
int
shm_open_for_reader(const struct shm *shm)
{
	char path[64];

	ASSERT(shm->fd != -1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", shm->fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

struct shm *
shm_adopt(int fd, char *err, size_t room)
{
	struct shm *shm = calloc(1, sizeof(*shm));
	void *base = MAP_FAILED;
	const char *why = shm == NULL ? "out of memory" : shm_check(fd);

	if (why == NULL) {
		base = mmap(NULL, SHM_SIZE, PROT_READ, MAP_SHARED, fd, 0);
		why = base == MAP_FAILED ? strerror(errno) : NULL;
	}
	close(fd);
	if (why != NULL) {
		snprintf(err, room, "the segment: %s", why);
		free(shm);
		return NULL;
	}
	shm->fd = -1;
	shm->base = base;
	return shm;
}

void
shm_close(struct shm **shm)
{
	if (*shm == NULL)
		return;
	munmap((*shm)->base, SHM_SIZE);
	if ((*shm)->fd != -1)
		close((*shm)->fd);
	free(*shm);
	*shm = NULL;
}

void
shm_unlink_made(struct shm *shm)
{
	struct stat ours, there;
	int fd;

	ASSERT(shm->fd != -1);
	fd = shm_open(shm->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	if (fd == -1)
		return;
	if (fstat(shm->fd, &ours) == 0 && fstat(fd, &there) == 0 &&
	    ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
		shm_unlink(shm->name);
	close(fd);
}

bool
shm_reserve(struct shm *shm, unsigned i, unsigned n_hosts)
{
	size_t at = SHM_SLOTS_AT + i * SHM_SLOT_SIZE;
	int rc;

	ASSERT(i < SHM_WORKERS_MAX && n_hosts <= SHM_HOSTS_MAX);
	ASSERT(shm->fd != -1);
	rc = shm_fallocate(shm->fd, at,
	    offsetof(struct shm_slot, host) +
	    n_hosts * sizeof(((struct shm_slot *)NULL)->host[0]));
	if (rc == 0)
		rc = shm_fallocate(shm->fd,
		    at + offsetof(struct shm_slot, host_latency),
		    MAX(n_hosts, 1) * sizeof(struct hist));
	/* Of the base no more than its beginning, which says whether there
	 * is one. */
	if (rc == 0)
		rc = shm_fallocate(shm->fd, at + offsetof(struct shm_slot,
		    base), sizeof(uint64_t));
	shm->is_reserved[i] |= rc == 0;
	errno = rc;
	return rc == 0;
}

bool
shm_reserve_base(struct shm *shm, unsigned slot)
{
	const struct shm_facts *facts = shm_facts(shm);
	const struct shm_base *b = NULL;
	const struct {
		size_t		 at, len;
	} parts[] = {
		{ 0, offsetof(struct shm_base, service) +
		    facts->n_service_entries * sizeof(b->service[0]) },
		{ offsetof(struct shm_base, worker),
		    shm_n_slots(shm) * sizeof(b->worker[0]) },
		{ offsetof(struct shm_base, host),
		    facts->n_entries * sizeof(b->host[0]) },
		{ offsetof(struct shm_base, host_latency),
		    facts->n_entries * sizeof(b->host_latency[0]) },
	};
	const size_t at = SHM_SLOTS_AT + slot * SHM_SLOT_SIZE +
	    offsetof(struct shm_slot, base);
	int rc = 0;

	for (size_t i = 0; i < ARRAY_LEN(parts) && rc == 0; i++)
		if (parts[i].len > 0)
			rc = shm_fallocate(shm->fd, at + parts[i].at,
			    parts[i].len);
	errno = rc;
	return rc == 0;
}

void
shm_set_ready(struct shm *shm)
{
	atomic_store_explicit(&shm_header(shm)->ready, 1,
	    memory_order_release);
}

struct shm_facts *
shm_facts(struct shm *shm)
{
	return &shm_header(shm)->facts;
}

struct shm_host *
shm_host(struct shm *shm, unsigned i)
{
	ASSERT(i < SHM_HOSTS_MAX);
	return (struct shm_host *)(void *)(shm->base + SHM_HOSTS_AT) + i;
}

void
shm_list_host(struct shm *shm, unsigned n, unsigned entry)
{
	ASSERT(entry < SHM_HOSTS_MAX);
	atomic_store_explicit(&shm_host(shm, n)->listed, entry,
	    memory_order_release);
}

struct shm_service *
shm_service(struct shm *shm, unsigned i)
{
	ASSERT(i < SHM_SERVICES_MAX);
	return (struct shm_service *)(void *)(shm->base + SHM_SERVICES_AT) + i;
}

void
shm_list_service(struct shm *shm, unsigned n, unsigned entry)
{
	ASSERT(entry < SHM_SERVICES_MAX);
	atomic_store_explicit(&shm_service(shm, n)->listed, entry,
	    memory_order_release);
}

unsigned
shm_find_service(struct shm *shm, const char *name, unsigned n)
{
	unsigned i = 0;

	while (i < n && strcasecmp(shm_service(shm, i)->name, name) != 0)
		i++;
	return i;
}

struct shm_slot *
shm_slot(struct shm *shm, unsigned i)
{
	ASSERT(i < SHM_WORKERS_MAX);
	return (struct shm_slot *)(void *)(shm->base + SHM_SLOTS_AT +
	    i * SHM_SLOT_SIZE);
}

void
shm_set_n_slots(struct shm *shm, unsigned n)
{
	ASSERT(n <= SHM_WORKERS_MAX);
	for (unsigned i = 0; i < n; i++)
		ASSERT(shm->is_reserved[i]);
	atomic_store_explicit(&shm_header(shm)->n_slots, n,
	    memory_order_release);
}

unsigned
shm_n_slots(const struct shm *shm)
{
	return atomic_load_explicit(&shm_header(shm)->n_slots,
	    memory_order_acquire);
}

void
shm_set_host_state(struct shm *shm, unsigned host, enum shm_host_state state,
    uint64_t now_us)
{
	struct shm_host *h = shm_host(shm, host);

	atomic_store_explicit(&h->flusher, SHM_NO_FLUSHER,
	    memory_order_relaxed);
	atomic_store_explicit(&h->since_us, now_us, memory_order_relaxed);
	atomic_store_explicit(&h->state, state, memory_order_relaxed);
}

void
shm_next_generation(struct shm *shm)
{
	atomic_fetch_add_explicit(&shm_header(shm)->generation, 1,
	    memory_order_release);
}

uint64_t
shm_generation(const struct shm *shm)
{
	return atomic_load_explicit(&shm_header(shm)->generation,
	    memory_order_acquire);
}

enum shm_host_state
shm_host_state(struct shm *shm, unsigned host)
{
	return (enum shm_host_state)atomic_load_explicit(
	    &shm_host(shm, host)->state, memory_order_relaxed);
}

void
shm_zero_gauges(struct shm_slot *slot, unsigned n_hosts)
{
	for (unsigned i = 0; i <= SHM_SERVICES_MAX; i++)
		for (unsigned c = 0; c < COUNTER_N; c++)
			if (counters_worker[c].kind != COUNTER_TOTAL)
				counter_set(&slot->counter[i][c], 0);
	for (unsigned i = 0; i < n_hosts; i++)
		for (unsigned c = 0; c < HOST_N; c++)
			if (counters_host[c].kind != COUNTER_TOTAL)
				counter_set(&slot->host[i][c], 0);
}
