/*
 * metrics.c: the only place that knows libmicrohttpd.
 */
#include "master/metrics.h"

#include <sys/socket.h>

#include <microhttpd.h>

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "shared/clock.h"
#include "shared/log.h"

#define METRICS_CLIENTS_MAX	32	/* others wait in the kernel's queue */
#define METRICS_CLIENT_MEMORY	16384	/* bytes; a request's head fits in */
#define METRICS_GO_MS		1000	/* until we go, answered or not */
#define METRICS_HELD_MAX	((size_t)64 << 20) /* bytes of answers that
						    * are not taken yet */

/* How long a client may take to send its request, and then to take the
 * answer. */
struct metrics_patience {
	uint64_t	 ask_ms, take_ms;
};

static const struct metrics_patience metrics_leisure = { 5000, 30000 };
/* Where others may wait. */
static const struct metrics_patience metrics_hurry = { 500, 2000 };

struct metrics_client {
	struct MHD_Connection *conn;	/* NULL: free */
	uint64_t	 begun_ms;	/* it is as it is */
	uint64_t	 since_ms;	/* and what we did meanwhile left out */
	bool		 is_answered;
	size_t		 held;		/* bytes of its answer */
};

struct metrics {
	const struct metrics_birth *birth;
	int		 control;	/* birth's; -1: it has ended */
	struct MHD_Daemon *http;
	unsigned	 n_clients;
	bool		 is_full;	/* or was since the library listened */
	size_t		 held;		/* by all */
	struct metrics_client clients[METRICS_CLIENTS_MAX];
};

struct metrics_page {
	const char	*path;
	const char	*type;
	/* Write the page to OUT; its status. */
	unsigned	 (*write)(FILE *out, const struct metrics_birth *b);
	bool		 is_large;	/* with many hosts */
};

/*
 * Pages.
 */

static unsigned
metrics_write_text(FILE *out, const struct metrics_birth *b)
{
	report_metrics(out, b->shm, b->setup, false);
	return MHD_HTTP_OK;
}

static unsigned
metrics_write_openmetrics(FILE *out, const struct metrics_birth *b)
{
	report_metrics(out, b->shm, b->setup, true);
	return MHD_HTTP_OK;
}

static unsigned
metrics_write_json(FILE *out, const struct metrics_birth *b)
{
	report_json(out, b->shm);
	return MHD_HTTP_OK;
}

static unsigned
metrics_write_health(FILE *out, const struct metrics_birth *b)
{
	const struct report_group *down = report_find_down(b->shm, b->setup);

	if (down == NULL) {
		fputs("ok\n", out);
		return MHD_HTTP_OK;
	}
	fprintf(out, "[%s]: all hosts of group [%s] are out\n",
	    down->service, down->name);
	return MHD_HTTP_SERVICE_UNAVAILABLE;
}

static unsigned
metrics_write_nothing(FILE *out, const struct metrics_birth *b)
{
	(void)b;
	fputs("/metrics\n/status.json\n/healthz\n", out);
	return MHD_HTTP_NOT_FOUND;
}

static unsigned
metrics_write_refusal(FILE *out, const struct metrics_birth *b)
{
	(void)b;
	fputs("GET or HEAD\n", out);
	return MHD_HTTP_METHOD_NOT_ALLOWED;
}

static unsigned
metrics_write_busy(FILE *out, const struct metrics_birth *b)
{
	(void)b;
	fputs("too many answers wait to be read\n", out);
	return MHD_HTTP_SERVICE_UNAVAILABLE;
}

#define METRICS_PLAIN	"text/plain; charset=utf-8"

static const struct metrics_page metrics_pages[] = {
	{ "/metrics", "text/plain; version=0.0.4; charset=utf-8",
	    metrics_write_text, true },
	{ "/status.json", "application/json", metrics_write_json, true },
	{ "/healthz", METRICS_PLAIN, metrics_write_health, false },
};
static const struct metrics_page metrics_openmetrics = {
	"/metrics", "application/openmetrics-text; version=1.0.0; "
	"charset=utf-8", metrics_write_openmetrics, true
};
static const struct metrics_page metrics_none = {
	NULL, METRICS_PLAIN, metrics_write_nothing, false
};
static const struct metrics_page metrics_refusal = {
	NULL, METRICS_PLAIN, metrics_write_refusal, false
};
static const struct metrics_page metrics_busy = {
	NULL, METRICS_PLAIN, metrics_write_busy, false
};

/* Is the range at TEXT, one of Accept's, of TYPE? */
static bool
metrics_is_of(const char *text, const char *type)
{
	const size_t len = strlen(type);

	return strncasecmp(text, type, len) == 0 &&
	    strchr("; \t,", text[len]) != NULL;
}

/* The weight that the LEN bytes of the range at TEXT give it. */
static double
metrics_weigh(const char *text, size_t len)
{
	const char *p = text, *end = text + len;

	while ((p = memchr(p, ';', (size_t)(end - p))) != NULL) {
		p += 1 + strspn(p + 1, " \t");
		if (strncasecmp(p, "q=", 2) == 0)
			return strtod(p + 2, NULL);
	}
	return 1;
}

/* Would who has sent ACCEPT rather have OpenMetrics than text? */
static bool
metrics_wants_openmetrics(const char *accept)
{
	double wanted = 0, other = 0, weight;
	size_t len;

	for (; *accept != '\0'; accept += len + (accept[len] == ',')) {
		accept += strspn(accept, " \t");
		len = strcspn(accept, ",");
		weight = metrics_weigh(accept, len);
		if (metrics_is_of(accept, "application/openmetrics-text"))
			wanted = MAX(wanted, weight);
		else if (metrics_is_of(accept, "text/plain"))
			other = MAX(other, weight);
	}
	return wanted > 0 && wanted >= other;
}

static const struct metrics_page *
metrics_choose(struct MHD_Connection *conn, const char *path,
    const char *method)
{
	const char *accept = MHD_lookup_connection_value(conn,
	    MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
	const struct metrics_page *page = &metrics_none;

	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 &&
	    strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return &metrics_refusal;
	for (size_t i = 0; i < ARRAY_LEN(metrics_pages); i++)
		if (strcmp(path, metrics_pages[i].path) == 0)
			page = &metrics_pages[i];
	if (page->write == metrics_write_text && accept != NULL &&
	    metrics_wants_openmetrics(accept))
		return &metrics_openmetrics;
	return page;
}

/*
 * Requests.
 */

/* NULL: out of memory.  LEN is its body's length. */
static struct MHD_Response *
metrics_make(const struct metrics *m, const struct metrics_page *page,
    unsigned *status, size_t *len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len);
	struct MHD_Response *response = NULL;

	if (out == NULL)
		return NULL;
	*status = page->write(out, m->birth);
	if (fclose(out) == 0)
		response = MHD_create_response_from_buffer(*len, text,
		    MHD_RESPMEM_MUST_FREE);
	if (response == NULL) {
		free(text);
		return NULL;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
	    page->type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL,
	    "no-store");
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	if (page == &metrics_refusal)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW,
		    "GET, HEAD");
	return response;
}

static struct metrics_client *
metrics_client(struct MHD_Connection *conn)
{
	return MHD_get_connection_info(conn,
	    MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* Called at the head, at each part of a body, and at the end; false closes. */
static enum MHD_Result
metrics_on_request(void *data, struct MHD_Connection *conn, const char *path,
    const char *method, const char *version, const char *body,
    size_t *body_len, void **is_begun)
{
	struct metrics *m = data;
	const struct metrics_page *page;
	struct metrics_client *client;
	struct MHD_Response *response;
	enum MHD_Result result;
	unsigned status;
	size_t len = 0;

	(void)version;
	(void)body;
	/* Nobody is sent a body for; one that comes is thrown away. */
	if (*is_begun == NULL || *body_len > 0) {
		*is_begun = m;
		*body_len = 0;
		return MHD_YES;
	}
	page = metrics_choose(conn, path, method);
	if (page->is_large && m->held >= METRICS_HELD_MAX)
		page = &metrics_busy;
	client = metrics_client(conn);
	response = metrics_make(m, page, &status, &len);
	if (response == NULL)
		return MHD_NO;
	client->held = len;
	m->held += len;
	client->begun_ms = client->since_ms = clock_ms();
	client->is_answered = true;
	result = MHD_queue_response(conn, status, response);
	MHD_destroy_response(response);
	return result;
}

static void
metrics_on_connection(void *data, struct MHD_Connection *conn,
    void **context, enum MHD_ConnectionNotificationCode what)
{
	struct metrics *m = data;
	const uint64_t now = clock_ms();
	struct metrics_client *client = m->clients;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		client = *context;
		client->conn = NULL;
		m->held -= client->held;
		m->n_clients--;
		return;
	}
	while (client->conn != NULL)
		client++;
	ASSERT(client < m->clients + METRICS_CLIENTS_MAX);
	*client = (struct metrics_client){
		.conn = conn, .begun_ms = now, .since_ms = now
	};
	*context = client;
	if (++m->n_clients == METRICS_CLIENTS_MAX)
		m->is_full = true;
}

/* When CLIENT will be late. */
static uint64_t
metrics_end_ms(const struct metrics *m, const struct metrics_client *client)
{
	const struct metrics_patience *most =
	    m->n_clients == METRICS_CLIENTS_MAX ||
	    m->held >= METRICS_HELD_MAX ? &metrics_hurry : &metrics_leisure;

	/* However much there is to do. */
	return MIN(client->begun_ms + metrics_leisure.take_ms,
	    client->since_ms + (client->is_answered ? most->take_ms :
	    most->ask_ms));
}

/* In how many milliseconds somebody will be late, -1: never. */
static int
metrics_until_late(const struct metrics *m)
{
	const uint64_t now = clock_ms();
	uint64_t next = UINT64_MAX, end;

	for (size_t i = 0; i < METRICS_CLIENTS_MAX; i++)
		if (m->clients[i].conn != NULL) {
			end = metrics_end_ms(m, &m->clients[i]);
			next = MIN(next, end - MIN(end, now));
		}
	return next == UINT64_MAX ? -1 : (int)next;
}

/* Serve what has come, and hang up on those that are late.  Pages take time to
 * write, which is not their clients' fault. */
static void
metrics_serve(struct metrics *m)
{
	const uint64_t begin = clock_ms();
	uint64_t end;

	(void)MHD_run(m->http);
	end = clock_ms();
	for (size_t i = 0; i < METRICS_CLIENTS_MAX; i++) {
		struct metrics_client *client = &m->clients[i];

		if (client->conn == NULL)
			continue;
		client->since_ms += end - MIN(MAX(begin, client->since_ms),
		    end);
		if (metrics_end_ms(m, client) > end)
			continue;
		/* The library sees it, and closes. */
		shutdown(MHD_get_connection_info(client->conn,
		    MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd,
		    SHUT_RDWR);
		client->begun_ms = client->since_ms = end;
	}
}

/*
 * The loop.
 */

/* Wait for MS at most (-1: for any time) and do what there is to do.  True:
 * told to go. */
static bool
metrics_turn(struct metrics *m, int ms)
{
	struct pollfd fds[] = {
		{ .events = POLLIN },
		{ .fd = m->control, .events = POLLIN },
	};
	const int late_ms = metrics_until_late(m);
	MHD_UNSIGNED_LONG_LONG http_ms;

	fds[0].fd = MHD_get_daemon_info(m->http,
	    MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	if (late_ms != -1)
		ms = ms == -1 ? late_ms : MIN(ms, late_ms);
	if (MHD_get_timeout(m->http, &http_ms) == MHD_YES &&
	    (ms == -1 || http_ms < (unsigned)ms))
		ms = (int)http_ms;
	/* It listens again when it is run next, and nothing says so. */
	if (m->is_full && m->n_clients < METRICS_CLIENTS_MAX) {
		m->is_full = false;
		ms = 0;
	}
	(void)poll(fds, ARRAY_LEN(fds), ms);
	metrics_serve(m);
	return fds[1].revents != 0;
}

/* Take nobody new; who follows us does. */
static void
metrics_finish(struct metrics *m)
{
	const uint64_t end = clock_ms() + METRICS_GO_MS;
	uint64_t now;

	m->control = -1;
	(void)MHD_quiesce_daemon(m->http);
	while (m->n_clients > 0 && (now = clock_ms()) < end)
		(void)metrics_turn(m, (int)(end - now));
}

/* Paths are compared as they were sent: no other way to write one is known. */
static size_t
metrics_keep_escaped(void *data, struct MHD_Connection *conn, char *text)
{
	(void)data;
	(void)conn;
	return strlen(text);
}

int
metrics_run(const struct metrics_birth *birth)
{
	static struct metrics m;

	m.birth = birth;
	m.control = birth->control;
	m.http = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL,
	    metrics_on_request, &m,
	    MHD_OPTION_LISTEN_SOCKET, birth->listener,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)METRICS_CLIENTS_MAX,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	    (size_t)METRICS_CLIENT_MEMORY,
	    MHD_OPTION_NOTIFY_CONNECTION, metrics_on_connection, &m,
	    MHD_OPTION_UNESCAPE_CALLBACK, metrics_keep_escaped, NULL,
	    MHD_OPTION_END);
	if (m.http == NULL) {
		log_error("metrics: cannot serve");
		return 1;
	}
	while (!metrics_turn(&m, -1))
		;
	metrics_finish(&m);
	MHD_stop_daemon(m.http);
	return 0;
}
