/*
 * buf.h: leased buffers, chains of bytes to send, inputs of bytes received.
 *
 * A lease is a refcounted buffer from the worker's pool.  Bytes arrive in
 * one; a large value in it is never copied: the chains that are to send it
 * hold a reference.  An idle connection holds no lease.
 */
#ifndef SHARED_BUF_H
#define SHARED_BUF_H

#include <sys/uio.h>

#include "shared/slab.h"

enum {
	BUF_CLASSES = 14,		/* 256 bytes, doubling, to 2 MiB */
	BUF_SCRATCH = 256 * 1024,	/* what one receive takes at the most */
	BUF_REF_MIN = 32 * 1024		/* values from here on are not copied */
};

struct lease {
	struct lease	*next;		/* in the pool */
	unsigned	 refs;
	int		 class;		/* -1: larger than all classes */
	size_t		 cap;
	uint8_t		 data[];
};

/* Free leases by size, and the scratch lease that receives share. */
struct buf_pool {
	struct lease	*free[BUF_CLASSES];
	size_t		 n_free[BUF_CLASSES];
	struct lease	*scratch;
	size_t		 leased;	/* bytes, those of the scratch too */
	struct slab	 segs;
};

void	 buf_pool_init(struct buf_pool *pool);
/* All leases must have been put. */
void	 buf_pool_fini(struct buf_pool *pool);

/* A lease of at least SIZE bytes, one reference.  NULL: out of memory. */
struct lease *lease_get(struct buf_pool *pool, size_t size) MUST_CHECK;
void	 lease_put(struct buf_pool *pool, struct lease **lease);

/*
 * A chain: bytes to be sent, in order.  All 0 is an empty one.
 */
struct chain_seg;

struct chain {
	struct chain_seg *head, *tail;
	size_t		 len;
};

/* Room for NEED bytes at the end, to be filled and then given to
 * chain_extend.  A new segment is at least FIT bytes.  NULL: out of memory. */
uint8_t	*chain_room(struct buf_pool *pool, struct chain *chain, size_t need,
	    size_t fit) MUST_CHECK;
void	 chain_extend(struct chain *chain, size_t len);
/* Copy LEN bytes in; new segments as for chain_room. */
bool	 chain_append(struct buf_pool *pool, struct chain *chain,
	    const void *p, size_t len, size_t fit) MUST_CHECK;
/* LEN bytes at P, which lie in LEASE: referenced where that pays, else
 * copied. */
bool	 chain_append_from(struct buf_pool *pool, struct chain *chain,
	    struct lease *lease, const void *p, size_t len, size_t fit)
	    MUST_CHECK;
/* All of SRC to the end of DST, SRC is empty afterwards.  Small pieces are
 * copied into DST's room, others change hands. */
void	 chain_splice(struct buf_pool *pool, struct chain *dst,
	    struct chain *src);
/* Forget the first LEN bytes, or all. */
void	 chain_drop(struct buf_pool *pool, struct chain *chain, size_t len);
void	 chain_clear(struct buf_pool *pool, struct chain *chain);
/* The first pieces, N and MOST bytes at the most; how many. */
int	 chain_iov(const struct chain *chain, struct iovec *iov, int n,
	    size_t most);
/* All of it to DST, which has room for that. */
void	 chain_copy(const struct chain *chain, uint8_t *dst);

static inline bool
chain_is_empty(const struct chain *chain)
{
	return chain->len == 0;
}

/*
 * An input: what was received and not yet consumed.  All 0 is an empty one.
 */
struct input {
	struct lease	*lease;		/* NULL: nothing is kept */
	uint32_t	 off, len;	/* the unread bytes in it */
};

/* Make room to receive behind what is there; NEED is what the frame at the
 * start has at least (0: not known).  The room starts at *P; its size, 0: out
 * of memory.  Must be followed by input_settle in the same callback. */
size_t	 input_room(struct buf_pool *pool, struct input *in, size_t need,
	    uint8_t **p) MUST_CHECK;
/* After parsing: give back what an empty input need not hold.  GREEDY keeps
 * a large beginning where it lies, instead of copying it to a buffer of NEED
 * bytes: for the few connections to backends.  False: out of memory, the
 * input is lost. */
bool	 input_settle(struct buf_pool *pool, struct input *in, size_t need,
	    bool greedy) MUST_CHECK;
void	 input_clear(struct buf_pool *pool, struct input *in);

static inline const uint8_t *
input_bytes(const struct input *in)
{
	return in->lease->data + in->off;
}

static inline void
input_eat(struct input *in, size_t len)
{
	in->off += (uint32_t)len;
	in->len -= (uint32_t)len;
}

#endif /* SHARED_BUF_H */
