/*
 * memcached.c: the table that the core loads, and the choice of dialects.
 */
#include "ext/memcached/memcached.h"

#include <stdlib.h>
#include <string.h>

#include "ext/memcached/backend.h"
#include "ext/memcached/binary.h"
#include "ext/memcached/text.h"
#include "ext/memcached/wire.h"

#define SPOKEN_VERSION	"1.6.18"	/* clients go by it */

/* kvp_conn.u[0] of a client whose first byte has come. */
enum client_wire {
	WIRE_UNKNOWN,
	WIRE_LINES,		/* text and meta */
	WIRE_PACKETS,		/* binary */
	WIRE_PERSON,		/* somebody on a port for binary clients */
	WIRE_NONE		/* what this service does not speak */
};

enum memcached_option {
	OPTION_CLIENT_PROTO,
	OPTION_BACKEND_PROTO,
	OPTION_BINARY_CAS,
	OPTION_PROTO,
	N_OPTIONS
};

static const struct kvp_option memcached_options[N_OPTIONS] = {
	[OPTION_CLIENT_PROTO] = {
		.key = "client_proto", .type = KVP_OPT_ENUM, .def = "auto",
		.names = "auto|text|binary",
		.text = "the protocol clients must speak; "
		    "auto goes by their first byte",
	},
	[OPTION_BACKEND_PROTO] = {
		.key = "backend_proto", .type = KVP_OPT_ENUM, .def = "auto",
		.names = "auto|meta|text",
		.text = "the protocol servers are asked in; "
		    "auto is meta from memcached 1.6.18 on, else text",
	},
	[OPTION_BINARY_CAS] = {
		.key = "binary_cas", .type = KVP_OPT_BOOL, .def = "off",
		.text = "binary reads go to hosts, not hosts_read, "
		    "and return their CAS",
	},
	[OPTION_PROTO] = {
		.key = "proto", .type = KVP_OPT_ENUM,
		.flags = KVP_OPT_INERT, .def = "text",
		.names = "text|binary",
		.text = "read for old files, does nothing: "
		    "see client_proto",
	},
};

static const struct client_dialect *const client_dialects[] = {
	[CLIENT_TEXT] = &client_text,
	[CLIENT_META] = &client_meta,
	[CLIENT_BINARY] = &client_binary
};

static const struct backend_dialect *const backend_dialects[] = {
	[BACKEND_META] = &backend_meta,
	[BACKEND_TEXT] = &backend_text
};

static const struct client_dialect *
memcached_client(const struct kvp_cmd *cmd)
{
	return client_dialects[command_peek(cmd)->dialect];
}

static void
memcached_copy_error(char *err, size_t room, const char *why)
{
	size_t len = strlen(why);

	if (room == 0)
		return;
	if (len > room - 1)
		len = room - 1;
	memcpy(err, why, len);
	err[len] = '\0';
}

static void *
memcached_open(const struct kvp_conf *conf, char *err, size_t room)
{
	size_t len = strlen(conf->version);
	struct memcached *m;
	uint8_t *p;

	if (len > MEMCACHED_VERSION_MAX -
	    sizeof(SPOKEN_VERSION " kvproxy-")) {
		memcached_copy_error(err, room, "the version is too long");
		return NULL;
	}
	if ((m = calloc(1, sizeof(*m))) == NULL) {
		memcached_copy_error(err, room, "out of memory");
		return NULL;
	}
	m->max_value = conf->max_value;
	m->allow_flush = conf->allow_flush;
	m->binary_cas = conf->value[OPTION_BINARY_CAS].num != 0;
	m->client_proto =
	    (enum client_proto)conf->value[OPTION_CLIENT_PROTO].num;
	m->backend_proto =
	    (enum backend_proto)conf->value[OPTION_BACKEND_PROTO].num;
	p = wire_put_str((uint8_t *)m->version, SPOKEN_VERSION " kvproxy-");
	p = wire_put(p, conf->version, len);
	m->version_len = (size_t)(p - (uint8_t *)m->version);
	return m;
}

static void
memcached_close(void *ext)
{
	free(ext);
}

static enum client_wire
memcached_find_wire(const struct memcached *m, uint8_t first)
{
	bool binary = first == BINARY_REQUEST;

	if (m->client_proto == CLIENT_PROTO_TEXT && binary)
		return WIRE_NONE;
	if (m->client_proto == CLIENT_PROTO_BINARY && !binary)
		return WIRE_PERSON;
	return binary ? WIRE_PACKETS : WIRE_LINES;
}

/* Lines of one of a few words, for people; others are no business here. */
static ssize_t
memcached_parse_person(const struct memcached *m, const uint8_t *p,
    size_t len, struct kvp_request *req)
{
	static const struct kvp_slice words[] = {
		WIRE_SLICE("status"), WIRE_SLICE("version"),
		WIRE_SLICE("quit")
	};
	size_t i, n;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		n = len < words[i].len ? len : words[i].len;
		if (memcmp(p, words[i].p, n) == 0)
			return text_parse(m, p, len, req);
	}
	return -1;
}

static ssize_t
memcached_parse_wire(void *ext, struct kvp_conn *client, const uint8_t *p,
    size_t len, struct kvp_request *req)
{
	switch ((enum client_wire)client->u[0]) {
	case WIRE_LINES:
		return text_parse(ext, p, len, req);
	case WIRE_PACKETS:
		return binary_parse(ext, p, len, req);
	case WIRE_PERSON:
		return memcached_parse_person(ext, p, len, req);
	default:
		return -1;
	}
}

static ssize_t
memcached_parse(void *ext, struct kvp_conn *client, const uint8_t *p,
    size_t len, struct kvp_request *req)
{
	ssize_t n;

	if (len == 0) {
		req->need = 1;
		return 0;
	}
	if (client->u[0] == WIRE_UNKNOWN)
		client->u[0] = memcached_find_wire(ext, p[0]);
	n = memcached_parse_wire(ext, client, p, len, req);
	if (n > 0)
		req->cmd.flags |= command_counts_as(&req->cmd);
	return n;
}

/* Only lines have several keys: those that follow. */
static bool
memcached_next_key(void *ext, const struct kvp_cmd *cmd,
    struct kvp_slice keys, size_t *at, struct kvp_key *key, uint8_t *room)
{
	(void)ext;
	(void)cmd;
	(void)room;
	return text_next_key(keys, at, key);
}

static bool
memcached_encode(void *ext, struct kvp_conn *backend,
    const struct kvp_cmd *cmd, const struct kvp_key *key, uint32_t opaque,
    struct kvp_out *out)
{
	(void)ext;
	return backend_dialects[backend->u[0]]->encode(cmd, key, opaque, out);
}

static size_t
memcached_greet(void *ext, struct kvp_conn *backend, uint8_t *dst,
    size_t room)
{
	(void)backend;
	return backend_greet(ext, dst, room);
}

static ssize_t
memcached_greeted(void *ext, struct kvp_conn *backend, const uint8_t *p,
    size_t len)
{
	enum backend_kind kind;
	ssize_t n = backend_greeted(ext, p, len, &kind);

	if (n > 0)
		backend->u[0] = kind;
	return n;
}

static ssize_t
memcached_decode(void *ext, struct kvp_conn *backend,
    const struct kvp_cmd *cmd, const struct kvp_key *key, uint32_t opaque,
    const uint8_t *p, size_t len, struct kvp_reply *r)
{
	ssize_t n = backend_dialects[backend->u[0]]->decode(ext, cmd, key,
	    opaque, p, len, r);

	if (n > 0 && command_misses_number(command_peek(cmd), r))
		r->flags |= KVP_REPLY_FOLLOW;
	return n;
}

static unsigned
memcached_follow(void *ext, const struct kvp_cmd *cmd,
    const struct kvp_key *key, const struct kvp_reply *r,
    struct kvp_cmd *next)
{
	(void)ext;
	return command_follow(cmd, key, r, next);
}

static void
memcached_render(void *ext, struct kvp_conn *client, struct kvp_cmd *cmd,
    const struct kvp_key *key, struct kvp_slice note,
    const struct kvp_reply *r, enum kvp_part part, struct kvp_out *out)
{
	(void)client;
	memcached_client(cmd)->render(ext, cmd, key, note, r, part, out);
}

static void
memcached_fail(void *ext, struct kvp_conn *client, struct kvp_cmd *cmd,
    struct kvp_slice note, enum kvp_fail why, const char *host,
    struct kvp_out *out)
{
	(void)ext;
	(void)client;
	(void)note;
	memcached_client(cmd)->fail(cmd, why, host, out);
}

static bool
memcached_effect(void *ext, const struct kvp_cmd *cmd,
    const struct kvp_key *key, enum kvp_outcome outcome,
    const struct kvp_reply *r, struct kvp_cmd *copy)
{
	(void)ext;
	(void)key;
	return command_effect(cmd, outcome, r, copy);
}

static void
memcached_age(void *ext, struct kvp_cmd *copy, uint32_t waited_s)
{
	(void)ext;
	command_age(copy, waited_s);
}

static void
memcached_flush(void *ext, struct kvp_cmd *cmd)
{
	(void)ext;
	command_flush(cmd);
}

static void
memcached_admin(void *ext, struct kvp_conn *client, const struct kvp_cmd *cmd,
    struct kvp_slice note, struct kvp_slice name, struct kvp_slice value,
    struct kvp_out *out)
{
	(void)ext;
	(void)client;
	(void)note;
	memcached_client(cmd)->admin(cmd, name, value, out);
}

const struct kvp_ext kvp_extension = {
	.abi = KVP_ABI,
	.size = sizeof(struct kvp_ext),
	.name = "memcached",
	.options = memcached_options,
	.n_options = N_OPTIONS,
	.full = "ERROR Too many open connections\r\n",
	.open = memcached_open,
	.close = memcached_close,
	.parse = memcached_parse,
	.next_key = memcached_next_key,
	.encode = memcached_encode,
	.greet = memcached_greet,
	.greeted = memcached_greeted,
	.decode = memcached_decode,
	.follow = memcached_follow,
	.render = memcached_render,
	.fail = memcached_fail,
	.effect = memcached_effect,
	.age = memcached_age,
	.flush = memcached_flush,
	.admin = memcached_admin,
};
