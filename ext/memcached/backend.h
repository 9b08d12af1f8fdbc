/*
 * backend.h: what both backend dialects share: the greeting, the lines of a
 * reply, its values, the errors.
 *
 * Everything is read strictly: a byte that cannot be there means that the
 * connection has lost its step, and < 0 says so.
 */
#ifndef MEMCACHED_BACKEND_H
#define MEMCACHED_BACKEND_H

#include "ext/memcached/memcached.h"

enum {
	BACKEND_LINE_MAX = 2048	/* of a reply, with its line end */
};

/* The contract's greet and greeted (see kvp_ext.h). */
size_t	 backend_greet(const struct memcached *m, uint8_t *dst, size_t room);
ssize_t	 backend_greeted(const struct memcached *m, const uint8_t *p,
	    size_t len, enum backend_kind *kind);

/* The length of the line at P with its CRLF; 0: more, and *NEED is set. */
ssize_t	 backend_read_line(const uint8_t *p, size_t len, size_t *need);

/* The value of VLEN bytes that begins at P + LINE and is followed by END.
 * The length of it all, with R->body; 0: more; < 0: desync.  One that is
 * longer than max_value becomes an error, and is to be swallowed. */
ssize_t	 backend_read_value(const struct memcached *m, const uint8_t *p,
	    size_t len, size_t line, uint64_t vlen, struct kvp_slice end,
	    struct kvp_reply *r);

/* A value whose flags no client of ours has room for becomes an error. */
void	 backend_refuse_wide_flags(struct kvp_reply *r);

/* The error in the line P of LEN bytes (without CRLF).  False: it is none.
 * An error that this command cannot have earned is KVP_REPLY_FATAL. */
bool	 backend_read_error(enum command_op op, const uint8_t *p, size_t len,
	    struct kvp_reply *r);

/* Has KEY only bytes that may stand in a line, and a length that a server
 * takes? */
bool	 backend_key_is_plain(struct kvp_slice key);

#endif /* MEMCACHED_BACKEND_H */
