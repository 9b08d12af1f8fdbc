/*
 * text.h: the classic text protocol towards clients: text.c reads it,
 * text_render.c writes it.
 */
#ifndef MEMCACHED_TEXT_H
#define MEMCACHED_TEXT_H

#include "ext/memcached/memcached.h"

enum {
	TEXT_LINE_MAX = 2048,	/* but for reads of many keys */
	TEXT_SPACES_MAX = 100,	/* before such a long line */
	TEXT_LONG_MAX = 8 << 20	/* of those, and at most a value's */
};

/* The contract's parse and next_key of a connection that sends lines (see
 * kvp_ext.h): classic and meta requests. */
ssize_t	 text_parse(const struct memcached *m, const uint8_t *p, size_t len,
	    struct kvp_request *req);
bool	 text_next_key(struct kvp_slice keys, size_t *at, struct kvp_key *key);

/* Lines that both kinds of request are answered with. */
void	 text_put_error(const struct kvp_reply *r, struct kvp_out *out);
void	 text_put_failure(const struct kvp_cmd *cmd, enum kvp_fail why,
	    const char *host, struct kvp_out *out);
void	 text_put_too_large(struct kvp_out *out);

#endif /* MEMCACHED_TEXT_H */
