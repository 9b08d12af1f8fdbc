/*
 * memcached_rows.h: what the tests of the memcached extension share: tables
 * of requests and talks, and what walks them.
 *
 * A row is a request and what it becomes, written as
 *
 *   FRAME CLASS[+FLAG...][ swallow=N][ note=NOTE] REST
 *
 * REST is the keys and the value of what goes to servers, and the answer of
 * what does not.  "close" stands for a connection closed without an answer.
 *
 * A talk is a request, what a server is asked for it, what the server replies,
 * what that is taken for, and what the client sees:
 *
 *   outcome   LENGTH CLASS[+fatal][+failed][ swallow=N], or "desync"
 *
 * What is read ends where memory ends, and so does the room for what is
 * written.  Everything that is wrong fails the test.
 */
#ifndef T_MEMCACHED_ROWS_H
#define T_MEMCACHED_ROWS_H

#include "ext/kvp_ext.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define LEN(a)		(sizeof(a) / sizeof((a)[0]))
/* A string that may hold NULs. */
#define BYTES(str)	{ (const uint8_t *)(str), sizeof(str) - 1 }

#define KEY_50	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define KEY_250	KEY_50 KEY_50 KEY_50 KEY_50 KEY_50
#define KEY_251	KEY_250 "k"

#define FORMAT	"CLIENT_ERROR bad command line format"
#define CHUNK	"CLIENT_ERROR bad data chunk"
#define NON_NUMERIC \
	"CLIENT_ERROR cannot increment or decrement non-numeric value"
#define TOO_LARGE	"SERVER_ERROR object too large for cache"

enum {
	ROWS_MAX_VALUE = 64 * 1024,
	ROWS_TEXT_MAX = 32 * 1024,
	ROWS_OPAQUE = 7		/* of every leg */
};

/* backend_proto. */
enum rows_proto {
	ROWS_AUTO,
	ROWS_META,
	ROWS_TEXT
};

/* How requests and answers are written in the tables. */
struct rows_dialect {
	/* The bytes of a request, at DST; how many. */
	size_t	(*pack)(uint8_t *dst, const char *request);
	/* The LEN bytes of an answer as a string, at DST. */
	void	(*say)(char *dst, const uint8_t *answer, size_t len);
};

struct row {
	struct kvp_slice in;
	const char	*expected;
};

struct talk {
	const char	*request;
	const char	*asked;		/* NULL: it cannot be said */
	const char	*reply;
	const char	*outcome;
	const char	*answered;
};

/* A reply that cannot be one to the request. */
struct nonsense {
	const char	*request;
	const char	*reply;
};

/* What fail says of a request. */
struct failure {
	const char	*request;
	enum kvp_fail	 why;
	const char	*host;
	const char	*expected;
};

/* What a reply of a meta server calls for. */
struct sequel {
	const char	*request;
	unsigned	 step;
	const char	*reply;
	unsigned	 what;		/* enum kvp_follow */
	const char	*asked;		/* aside; "": nothing */
};

/* Lines, as they stand. */
extern const struct rows_dialect rows_lines;

extern void *rows_ext;			/* opened by rows_setup */
extern struct kvp_conn rows_client;	/* who makes the requests */
extern struct kvp_conn rows_meta;	/* servers that have greeted */
extern struct kvp_conn rows_text;

/* For cmocka_run_group_tests. */
int	 rows_setup(void **state);
int	 rows_teardown(void **state);

/* The extension with other options; to be closed. */
void	*rows_open(unsigned client_proto, enum rows_proto backend_proto,
	    bool allow_flush);

/* The LEN bytes at P where memory ends; they stay until the next ones. */
const uint8_t *rows_place(const void *p, size_t len);

/* parse, encode, decode.  What is asked is a string at ASKED. */
ssize_t	 rows_parse(void *ext, const void *p, size_t len,
	    struct kvp_request *req);
void	 rows_request(const struct rows_dialect *d, const char *request,
	    struct kvp_request *req);
bool	 rows_encode(struct kvp_conn *backend, const struct kvp_cmd *cmd,
	    const struct kvp_key *key, char *asked);
ssize_t	 rows_decode(struct kvp_conn *backend, const struct kvp_request *req,
	    const char *reply, size_t len, struct kvp_reply *r);

/* REQ's whole answer, as it is written. */
void	 rows_answer(const struct rows_dialect *d, struct kvp_request *req,
	    const struct kvp_reply *r, char *answered);

/* Walk a table: whole, with other bytes behind, and cut everywhere. */
void	 rows_check(void *ext, const struct rows_dialect *d,
	    const struct row *rows, size_t n);
void	 rows_check_talks(struct kvp_conn *backend,
	    const struct rows_dialect *d, const struct talk *talks, size_t n);
void	 rows_check_nonsense(struct kvp_conn *backend,
	    const struct rows_dialect *d, const struct nonsense *rows,
	    size_t n);
void	 rows_check_failures(const struct rows_dialect *d,
	    const struct failure *rows, size_t n);
void	 rows_check_sequels(const struct rows_dialect *d,
	    const struct sequel *rows, size_t n);
/* Of requests and their answers where nothing is known but that they miss. */
void	 rows_check_bare_misses(const struct rows_dialect *d,
	    const char *const (*rows)[2], size_t n);

/* Fail, naming OF, where GOT is not what is EXPECTED. */
void	 rows_expect(const char *got, const char *expected, const char *of);

/* What admin says of REQUEST. */
void	 rows_check_admin(const struct rows_dialect *d, const char *request,
	    struct kvp_slice name, struct kvp_slice value,
	    const char *expected);

/* The answer to REQUEST of several parts, where the servers say REPLIES. */
void	 rows_check_parts(const struct rows_dialect *d, const char *request,
	    const char *const *replies, size_t n, const char *answered);

/* What REPLY, of a meta server to REQ, calls for; a further command, which
 * becomes REQ's, is written to ASKED. */
unsigned rows_follow(struct kvp_conn *backend, struct kvp_request *req,
	    const char *reply, char *asked);

#endif /* T_MEMCACHED_ROWS_H */
