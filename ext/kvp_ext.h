/*
 * kvp_ext.h: what kvproxy and a protocol extension say to each other.
 *
 * An extension is a shared object that speaks one key-value protocol.  It
 * exports one symbol, kvp_extension, a const table of functions and options.
 * The core owns sockets, buffers, queues, time and routing; the extension
 * turns bytes into commands and replies into bytes.  This header is the whole
 * contract; it is installed, and an extension includes nothing else of ours.
 *
 * What always holds
 *   - The functions do no I/O, never block, start no thread and do not fork.
 *     They keep no state but what is named here.
 *   - A slice that the core passes is valid during the call only.  A slice
 *     that an extension hands back points into the input it was given, into
 *     kvp_request.room, or at static storage; the core checks the first two.
 *   - A function that reads never reads past the given length and gives the
 *     same answer however the bytes were cut.  A function that writes is told
 *     its room, at least KVP_ROOM bytes and the length of the key and note
 *     it is given, and never writes past it.
 *   - No call allocates memory but open.
 *
 * The way of a request
 *   parse      client's bytes     -> a command, its keys
 *   next_key   a multi-key command -> its keys, one at a time
 *   encode     command, key       -> bytes for a backend       (one leg)
 *   decode     backend's bytes    -> the reply to that leg
 *   follow     a reply that calls for one more leg, or for another try
 *   render     reply              -> bytes for the client
 *   fail       no reply will come -> bytes for the client
 */
#ifndef KVP_EXT_H
#define KVP_EXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define KVP_ABI		5	/* changes when anything below does */
#define KVP_ROOM	1024	/* least room of a function that writes */
#define KVP_KEY_MAX	1024	/* longest key the core carries */
#define KVP_NOTE_MAX	1024	/* longest note the core carries */
#define KVP_MEM		8	/* words of a command's memory */
#define KVP_GREET_MAX	4096	/* longest answer to a greeting */

struct kvp_slice {
	const uint8_t	*p;
	size_t		 len;
};

/* What an extension remembers of a connection; all 0 when it opens.  What a
 * backend's says after its greeting is its dialect: requests are kept for the
 * next connection where that is the same, byte for byte. */
struct kvp_conn {
	uint64_t	 u[2];
};

enum kvp_class {
	KVP_READ,	/* changes nothing: may be asked again */
	KVP_WRITE,	/* never sent twice */
	KVP_EVERY,	/* to every host, without a key; a write */
	KVP_LOCAL	/* answered by the proxy, see enum kvp_local */
};

enum kvp_local {
	KVP_LOCAL_ANSWER,	/* render alone, without a reply, answers */
	KVP_LOCAL_STATUS,	/* the core's status block, through admin */
	KVP_LOCAL_STATS,	/* the core's statistics named by the note */
	KVP_LOCAL_RESET		/* these begin anew; admin ends the answer, or
				 * fail is it: no memory */
};

/* kvp_cmd.flags; of the three that say what it counts as, one at most */
#define KVP_CMD_MANY	  0x01	/* several keys: walk them with next_key */
#define KVP_CMD_FETCHES	  0x02	/* counts as a get: asks for values */
#define KVP_CMD_CLOSE	  0x04	/* close the client after the answer */
#define KVP_CMD_BAD	  0x08	/* a request in error, counted as such */
#define KVP_CMD_PRIMARY	  0x10	/* a read that only `hosts` can answer */
#define KVP_CMD_TOO_LARGE 0x20	/* a store over max_value; one that is not
				 * KVP_LOCAL is sent as a delete */
#define KVP_CMD_MISS_OK	  0x40	/* under read_failure=miss a failure is
				 * rendered from a reply of nothing but its
				 * class, KVP_REPLY_MISS */
#define KVP_CMD_REPEATABLE 0x80	/* a copy that may be sent twice */
#define KVP_CMD_LENIENT	  0x100	/* a copy that finds nothing has done it too */
#define KVP_CMD_EMPTIES	  0x200	/* of KVP_EVERY: all that was there is gone */
#define KVP_CMD_STORES	  0x400	/* counts as a set: brings a value that is
				 * not too large */
#define KVP_CMD_TOUCHES	  0x800	/* counts as a touch: gives what is there a
				 * new time to live */

/* One request.  The core copies it freely and keeps it until the request has
 * been answered and the last reply to it has come. */
struct kvp_cmd {
	uint8_t		 class;		/* enum kvp_class */
	uint8_t		 local;		/* enum kvp_local, of KVP_LOCAL */
	uint16_t	 flags;		/* KVP_CMD_... */
	uint32_t	 n_keys;
	uint64_t	 mem[KVP_MEM];	/* the extension's own */
};

struct kvp_key {
	struct kvp_slice key;	/* decoded: what is hashed */
	struct kvp_slice body;	/* the value to store; len 0: none */
	unsigned	 step;	/* how often follow has asked for it again */
	uint32_t	 ttl_max; /* seconds it may live when stored; 0: any */
	bool		 elsewhere; /* of render: read from hosts_read, whose
				 * versions are not those of hosts */
};

/* What parse found. */
struct kvp_request {
	struct kvp_cmd	 cmd;
	struct kvp_key	 key;		/* the only key, if there is just one */
	struct kvp_slice keys;		/* of KVP_CMD_MANY, for next_key */
	struct kvp_slice note;		/* kept for render, fail and admin */
	uint64_t	 swallow;	/* bytes after the frame to discard */
	size_t		 need;		/* more: the frame has at least this */
	uint8_t		 room[KVP_KEY_MAX];	/* for a key that was decoded */
};

enum kvp_reply_class {
	KVP_REPLY_HIT,
	KVP_REPLY_MISS,
	KVP_REPLY_STORED,	/* a write said yes */
	KVP_REPLY_NOT_STORED,	/* a write said no */
	KVP_REPLY_ERROR		/* an error that is an ordinary reply */
};

/* kvp_reply.flags */
#define KVP_REPLY_FATAL	  0x01	/* answer it, then close the backend */
#define KVP_REPLY_FAILED  0x02	/* the host failed it: counts against it */
#define KVP_REPLY_FOLLOW  0x04	/* ask follow what it calls for */

/* What decode found. */
struct kvp_reply {
	uint8_t		 class;		/* enum kvp_reply_class */
	uint8_t		 flags;		/* KVP_REPLY_... */
	struct kvp_slice body;		/* the value, or the error's text */
	uint64_t	 swallow;	/* bytes after the frame to discard */
	size_t		 need;		/* more: the frame has at least this */
	uint64_t	 mem[4];	/* the extension's own */
};

/* Bytes to send: `len` that were written at dst, then the body, then the
 * tail.  The core sets dst and room and zeroes the rest; body may be any
 * slice that the call was given, tail points at static storage. */
struct kvp_out {
	uint8_t		*dst;
	size_t		 room;
	size_t		 len;
	struct kvp_slice body;
	struct kvp_slice tail;
};

/* Which part of an answer render is to write. */
enum kvp_part {
	KVP_PART_ONLY,	/* the whole answer, of one leg or none */
	KVP_PART_BEGIN,	/* what stands before the first leg's, no reply */
	KVP_PART_ITEM,	/* one leg's; may write nothing and note it in mem */
	KVP_PART_END	/* what stands after the last leg's, no reply */
};

/* Why no reply will come.  The words for it are the extension's. */
enum kvp_fail {
	KVP_FAIL_NO_HOST,	/* the group is empty */
	KVP_FAIL_DOWN,		/* the host cannot be reached */
	KVP_FAIL_TIMEOUT,	/* no reply within recv_timeout */
	KVP_FAIL_CLOSED,	/* the connection died before the reply */
	KVP_FAIL_PROTOCOL,	/* the backend's reply made no sense */
	KVP_FAIL_QUEUE_FULL,	/* too much is waiting for this host */
	KVP_FAIL_MEMORY,	/* out of memory */
	KVP_FAIL_UNSUPPORTED,	/* the backend's dialect cannot say it */
	KVP_FAIL_UNREAD,	/* the client leaves too much unread */
	KVP_FAIL_BACKUP		/* the primary has it, the backup has not */
};

/* What a reply calls for besides being rendered: a sum of these. */
enum kvp_follow {
	KVP_FOLLOW_NONE = 0,
	/* One more leg to the same host, whose reply no client sees. */
	KVP_FOLLOW_ASIDE = 1,
	/* The client is answered when that leg has been. */
	KVP_FOLLOW_HOLD = 2,
	/* Behind it: ask for the same key again, its step one higher.  This
	 * reply is forgotten and the next one answers.  Only of what may be
	 * asked again and has no body.  Where the client has asked for a
	 * change in the meantime, which the next one would show too early,
	 * or it cannot be asked, this one answers. */
	KVP_FOLLOW_AGAIN = 4
};

/* What became of a write whose effect is to be copied. */
enum kvp_outcome {
	KVP_OUTCOME_REPLY,	/* this reply, in time or late */
	KVP_OUTCOME_UNKNOWN	/* it was sent and no reply will come */
};

enum kvp_option_type {
	KVP_OPT_INT,	/* least..most */
	KVP_OPT_BOOL,	/* on | off */
	KVP_OPT_ENUM,	/* one of `names`; the value is its index */
	KVP_OPT_STR	/* least..most bytes */
};

/* kvp_option.flags */
#define KVP_OPT_INERT	0x01	/* read for compatibility, does nothing */
#define KVP_OPT_LATER	0x02	/* not built yet: one warning when it is set */

/* One option of the section that names the extension. */
struct kvp_option {
	const char	*key;
	uint8_t		 type;		/* enum kvp_option_type */
	uint8_t		 flags;		/* KVP_OPT_... */
	const char	*def;		/* the default, as in the file */
	int64_t		 least, most;
	const char	*names;		/* KVP_OPT_ENUM: "auto|meta|text" */
	const char	*text;		/* one sentence for a person */
};

struct kvp_value {
	int64_t		 num;		/* of all types but KVP_OPT_STR */
	const char	*str;		/* of KVP_OPT_STR, else NULL */
};

/* What open is told.  Valid until close. */
struct kvp_conf {
	const struct kvp_value *value;	/* in the order of the option table */
	uint64_t	 max_value;	/* bytes of a value (max_packet) */
	bool		 allow_flush;
	const char	*version;	/* kvproxy's own, "0.1.0" */
};

struct kvp_ext {
	uint32_t	 abi;		/* KVP_ABI */
	uint32_t	 size;		/* sizeof(struct kvp_ext) */
	const char	*name;		/* "memcached" */
	const struct kvp_option *options;
	size_t		 n_options;
	/* What a client is told that cannot be served, for there are too many;
	 * what it speaks is not known yet.  NULL: nothing. */
	const char	*full;

	/* Make ready for one service.  NULL: refused, the reason is in ERR, a
	 * line of at most ROOM bytes with its NUL.  What is returned comes
	 * back as EXT in every other call. */
	void *(*open)(const struct kvp_conf *conf, char *err, size_t room);
	void (*close)(void *ext);

	/* Read one request at P.  > 0: the length of its frame, and REQ is
	 * filled in.  0: more is needed, REQ->need says how much the frame
	 * has at least (more than LEN).  < 0: close without an answer.
	 * An error that has an answer is a KVP_LOCAL command with KVP_CMD_BAD
	 * and, where the stream cannot be trusted any more, KVP_CMD_CLOSE. */
	ssize_t (*parse)(void *ext, struct kvp_conn *client, const uint8_t *p,
	    size_t len, struct kvp_request *req);

	/* The key at *AT of a multi-key command's KEYS (0 for the first);
	 * *AT moves on.  False: there is no more.  CMD and KEYS are as parse
	 * gave them; ROOM is KVP_KEY_MAX bytes for a key to be decoded. */
	bool (*next_key)(void *ext, const struct kvp_cmd *cmd,
	    struct kvp_slice keys, size_t *at, struct kvp_key *key,
	    uint8_t *room);

	/* The bytes that ask a backend for KEY's part of CMD.  OPAQUE is the
	 * core's number for this leg; a protocol that can carries it to the
	 * reply.  False: this backend's dialect cannot say it. */
	bool (*encode)(void *ext, struct kvp_conn *backend,
	    const struct kvp_cmd *cmd, const struct kvp_key *key,
	    uint32_t opaque, struct kvp_out *out);

	/* The first bytes on a backend connection, 0: none. */
	size_t (*greet)(void *ext, struct kvp_conn *backend, uint8_t *dst,
	    size_t room);

	/* Their answer.  > 0: whole, this long, BACKEND knows its dialect.
	 * 0: more.  < 0: not a server that this protocol can talk to. */
	ssize_t (*greeted)(void *ext, struct kvp_conn *backend,
	    const uint8_t *p, size_t len);

	/* Read the reply to the leg (CMD, KEY, OPAQUE).  > 0: its length, and
	 * R is filled in.  0: more, R->need as above.  < 0: desync, the bytes
	 * are not a reply to this leg; the connection will be closed.  CMD and
	 * the key of KEY are as they were encoded; KEY's body is not there. */
	ssize_t (*decode)(void *ext, struct kvp_conn *backend,
	    const struct kvp_cmd *cmd, const struct kvp_key *key,
	    uint32_t opaque, const uint8_t *p, size_t len,
	    struct kvp_reply *r);

	/* What R calls for, of enum kvp_follow; with KVP_FOLLOW_ASIDE NEXT is
	 * that leg's command, for the same KEY.  Of a copy that did not do what
	 * it was to, only KVP_FOLLOW_ASIDE: what mends that. */
	unsigned (*follow)(void *ext, const struct kvp_cmd *cmd,
	    const struct kvp_key *key, const struct kvp_reply *r,
	    struct kvp_cmd *next);

	/* The client's bytes for PART of CMD's answer.  R and KEY are NULL
	 * where the part has none.  Nothing written: the client sees
	 * nothing. */
	void (*render)(void *ext, struct kvp_conn *client, struct kvp_cmd *cmd,
	    const struct kvp_key *key, struct kvp_slice note,
	    const struct kvp_reply *r, enum kvp_part part,
	    struct kvp_out *out);

	/* The client's bytes for a command that failed for WHY; HOST is the
	 * backend's name or NULL.  It stands in the place of the whole
	 * answer, or, where parts of it are gone out, of KVP_PART_END. */
	void (*fail)(void *ext, struct kvp_conn *client, struct kvp_cmd *cmd,
	    struct kvp_slice note, enum kvp_fail why, const char *host,
	    struct kvp_out *out);

	/* The command that brings to a backup what CMD did with KEY at the
	 * primary.  False: nothing is to be copied.  A copy that stores takes
	 * the body of the original.  R is NULL for KVP_OUTCOME_UNKNOWN, after
	 * which the copy must be repeatable. */
	bool (*effect)(void *ext, const struct kvp_cmd *cmd,
	    const struct kvp_key *key, enum kvp_outcome outcome,
	    const struct kvp_reply *r, struct kvp_cmd *copy);

	/* COPY has waited that long: take it off its time to live; a store
	 * whose time has passed becomes a delete. */
	void (*age)(void *ext, struct kvp_cmd *copy, uint32_t waited_s);

	/* The command that empties a host, of class KVP_EVERY. */
	void (*flush)(void *ext, struct kvp_cmd *cmd);

	/* An answer that the core knows, in the client's dialect: a NAME with
	 * its VALUE (statistics); a NAME whose value.p is NULL: there are no
	 * statistics of that name, which ends the answer; a VALUE without a
	 * name (a block of text as it stands, to be given back as out->body
	 * where that serves); neither: what ends the answer. */
	void (*admin)(void *ext, struct kvp_conn *client,
	    const struct kvp_cmd *cmd, struct kvp_slice note,
	    struct kvp_slice name, struct kvp_slice value,
	    struct kvp_out *out);
};

#define KVP_SYMBOL "kvp_extension"
extern const struct kvp_ext kvp_extension;

#endif /* KVP_EXT_H */
