/*
 * fuzz.h: what the fuzz targets share.
 *
 * A target gives bytes to one parser of the extension, through the contract
 * in kvp_ext.h and by no other way, and checks what the contract promises.
 * It is built twice: with libFuzzer, which makes the bytes up (t/fuzz.sh),
 * and with fuzz_main.c, which takes them from t/corpus/ (make check).
 *
 *   fuzz_common.c    a stream of frames, cut everywhere; what is written
 *   fuzz_command.c   a client's stream, and all that becomes of a request
 *   fuzz_replies.c   a server's stream
 */
#ifndef T_FUZZ_H
#define T_FUZZ_H

#include "ext/kvp_ext.h"

/* What does not hold is said, and ends the program. */
#define FUZZ_CHECK(x) \
	((x) ? (void)0 : fuzz_failed(#x, __FILE__, __LINE__))

#define FUZZ_LEN(a)	(sizeof(a) / sizeof((a)[0]))

enum {
	FUZZ_INPUT_MAX = 64 * 1024,	/* longer inputs are left alone */
	FUZZ_SMALL_VALUE = 1024,	/* most that a small service takes */
	FUZZ_OPAQUE = 7
};

enum fuzz_backend {
	FUZZ_META,
	FUZZ_TEXT,
	FUZZ_N_BACKENDS
};

/* What a reader made of some bytes. */
struct fuzz_found {
	size_t		 need;		/* more: at least so many */
	uint64_t	 swallow;
	bool		 last;		/* the connection ends here */
	uint64_t	 digest;	/* of all that was found */
	uint64_t	 deep_digest;	/* of all that followed from it */
};

/* One stream, and what its reader works with. */
struct fuzz_talk {
	/* Read one frame in the LEN bytes at P, as parse and decode do;
	 * with DEEP, do all that the core does with what is found. */
	ssize_t		(*read)(struct fuzz_talk *t, const uint8_t *p,
			    size_t len, bool deep, struct fuzz_found *found);
	void		*ext;
	struct kvp_conn	 conn;		/* of the connection that is read */
	struct kvp_conn	 client;	/* whom answers are for */
	bool		 binary;	/* he speaks so */
	struct kvp_conn	 backend;	/* who is asked */
	struct kvp_request *asked;	/* what he was asked */
	unsigned	 aside;		/* nobody waits for the answer: how
					 * many were asked on the way here */
};

/* One part of what an extension is to write. */
struct fuzz_part {
	struct kvp_slice given[4];	/* what its body may be */
	struct kvp_out	 out;
};

/* libFuzzer's entry; a target defines it. */
int	 LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

/* fuzz_command.c: a client's stream of LEN bytes at P; binary ones begin with
 * 0x80. */
void	 fuzz_requests(const uint8_t *p, size_t len);
/* fuzz_replies.c: a server's; the first byte says what he has been asked. */
void	 fuzz_replies(enum fuzz_backend kind, const uint8_t *p, size_t len);

/* Read the LEN bytes at P to their end, and every frame of them at every
 * cut. */
void	 fuzz_stream(struct fuzz_talk *t, const uint8_t *p, size_t len);

/* Open a service with the options' defaults but for KEY (NULL: none). */
void	*fuzz_open(uint64_t max_value, bool allow_flush, const char *key,
	    int64_t value);
/* A connection to a server, greeted by EXT. */
struct kvp_conn fuzz_greeted(void *ext, enum fuzz_backend kind);

/* Give PART room for KVP_ROOM + EXTRA bytes, until the next part. */
void	 fuzz_part_begin(struct fuzz_part *part, size_t extra);
/* Check what stands in PART, and join it to the answer. */
void	 fuzz_part_end(const struct fuzz_part *part);
/* The answer of the parts since the last call, until the next part. */
struct kvp_slice fuzz_answer_take(void);

/* CMD as the talk's backend is asked it, until the next part; p is NULL: its
 * dialect cannot say it. */
struct kvp_slice fuzz_encode(struct fuzz_talk *t, const struct kvp_cmd *cmd,
	    const struct kvp_key *key);
/* The reply to CMD in the LEN bytes at P. */
ssize_t	 fuzz_decode(struct fuzz_talk *t, const struct kvp_cmd *cmd,
	    const struct kvp_key *key, const uint8_t *p, size_t len,
	    struct kvp_reply *r);
/* All that the core does with R; all that is written is in DIGEST. */
void	 fuzz_answer(struct fuzz_talk *t, const struct kvp_cmd *cmd,
	    const struct kvp_key *key, struct kvp_slice note,
	    const struct kvp_reply *r, uint64_t *digest);

/* Nothing, or one whole answer to a text or binary client. */
void	 fuzz_check_lines(const uint8_t *p, size_t len);
void	 fuzz_check_frames(const uint8_t *p, size_t len);

/* Where a slice may point. */
bool	 fuzz_is_within(struct kvp_slice s, const uint8_t *p, size_t len);
bool	 fuzz_is_static(struct kvp_slice s);

void	 fuzz_digest(uint64_t *digest, const void *p, size_t len);
void	 fuzz_digest_slice(uint64_t *digest, struct kvp_slice s);
/* A byte to fill what is to be written with: never twice the same. */
uint8_t	 fuzz_filler(void);

void	 fuzz_failed(const char *what, const char *file, int line)
	    __attribute__((noreturn));

#endif /* T_FUZZ_H */
