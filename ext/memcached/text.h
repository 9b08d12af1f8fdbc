/*
 * text.h: the classic text protocol towards clients: text.c reads it,
 * text_render.c writes it.
 */
#ifndef MEMCACHED_TEXT_H
#define MEMCACHED_TEXT_H

#include "ext/memcached/memcached.h"

enum {
	TEXT_LINE_MAX = 2048,	/* but for reads of many keys */
	TEXT_SPACES_MAX = 100	/* before such a long line */
};

/* The functions of the dialect (see struct client_dialect). */
ssize_t	 text_parse(const struct memcached *m, const uint8_t *p, size_t len,
	    struct kvp_request *req);
bool	 text_next_key(struct kvp_slice keys, size_t *at, struct kvp_key *key);

void	 text_render(const struct memcached *m, struct kvp_cmd *cmd,
	    const struct kvp_key *key, const struct kvp_reply *r,
	    enum kvp_part part, struct kvp_out *out);
void	 text_fail(const struct kvp_cmd *cmd, enum kvp_fail why,
	    const char *host, struct kvp_out *out);
void	 text_admin(const struct kvp_cmd *cmd, struct kvp_slice name,
	    struct kvp_slice value, struct kvp_out *out);

#endif /* MEMCACHED_TEXT_H */
