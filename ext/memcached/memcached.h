/*
 * memcached.h: the extension's own face: one service's settings and the
 * tables of dialects.
 *
 *   client dialects   bytes <-> command, towards clients
 *   backend dialects  command <-> bytes, towards servers
 *
 * A dialect's functions are those of the contract in kvp_ext.h, under the
 * same names and with the same rules.
 */
#ifndef MEMCACHED_MEMCACHED_H
#define MEMCACHED_MEMCACHED_H

#include "ext/memcached/command.h"

enum {
	MEMCACHED_VERSION_MAX = 128
};

enum client_proto {
	CLIENT_PROTO_AUTO,
	CLIENT_PROTO_TEXT,
	CLIENT_PROTO_BINARY
};

enum backend_proto {
	BACKEND_PROTO_AUTO,
	BACKEND_PROTO_META,
	BACKEND_PROTO_TEXT
};

/* What open returns. */
struct memcached {
	uint64_t	 max_value;
	enum client_proto client_proto;
	enum backend_proto backend_proto;
	bool		 allow_flush;
	bool		 binary_cas;	/* binary reads bring it */
	size_t		 version_len;
	char		 version[MEMCACHED_VERSION_MAX]; /* as clients see it */
};

/* What a client speaks, but for its requests, which its connection tells how
 * to read. */
struct client_dialect {
	void	(*render)(const struct memcached *m, struct kvp_cmd *cmd,
		    const struct kvp_key *key, struct kvp_slice note,
		    const struct kvp_reply *r, enum kvp_part part,
		    struct kvp_out *out);
	void	(*fail)(const struct kvp_cmd *cmd, enum kvp_fail why,
		    const char *host, struct kvp_out *out);
	void	(*admin)(const struct kvp_cmd *cmd, struct kvp_slice name,
		    struct kvp_slice value, struct kvp_out *out);
};

extern const struct client_dialect client_text;	/* text_render.c */
extern const struct client_dialect client_meta;	/* meta_render.c */
extern const struct client_dialect client_binary;	/* binary_render.c */

/* kvp_conn.u[0] of a backend that has greeted. */
enum backend_kind {
	BACKEND_UNKNOWN,
	BACKEND_META,
	BACKEND_TEXT
};

struct backend_dialect {
	bool	(*encode)(const struct kvp_cmd *cmd, const struct kvp_key *key,
		    uint32_t opaque, struct kvp_out *out);
	ssize_t	(*decode)(const struct memcached *m, const struct kvp_cmd *cmd,
		    const struct kvp_key *key, uint32_t opaque,
		    const uint8_t *p, size_t len, struct kvp_reply *r);
};

extern const struct backend_dialect backend_meta;	/* backend_meta.c */
extern const struct backend_dialect backend_text;	/* backend_text.c */

#endif /* MEMCACHED_MEMCACHED_H */
