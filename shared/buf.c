#include "shared/buf.h"

#include <string.h>

enum {
	BUF_SMALLEST = 256,
	BUF_KEEP = 2 * 1024 * 1024,	/* bytes of a class kept for reuse */
	BUF_KEEP_N = 8,			/* but at least so many leases */
	BUF_COPY_MAX = 1024		/* pieces that a splice copies */
};

struct chain_seg {
	struct chain_seg *next;
	struct lease	*lease;
	uint8_t		*p;
	size_t		 len;
	size_t		 room;	/* behind it, ours alone to write */
};

void
buf_pool_init(struct buf_pool *pool)
{
	memset(pool, 0, sizeof(*pool));
	slab_init(&pool->segs, sizeof(struct chain_seg));
}

void
buf_pool_fini(struct buf_pool *pool)
{
	struct lease *l;
	int i;

	if (pool->scratch != NULL)
		lease_put(pool, &pool->scratch);
	for (i = 0; i < BUF_CLASSES; i++) {
		while ((l = pool->free[i]) != NULL) {
			pool->free[i] = l->next;
			free(l);
		}
	}
	ASSERT(pool->segs.n_used == 0 && pool->leased == 0);
	slab_fini(&pool->segs);
}

static int
buf_class(size_t size)
{
	int class;

	if (size <= BUF_SMALLEST)
		return 0;
	class = 64 - __builtin_clzll(size - 1) - 8;
	return class < BUF_CLASSES ? class : -1;
}

struct lease *
lease_get(struct buf_pool *pool, size_t size)
{
	int class = buf_class(size);
	struct lease *l;

	if (class >= 0 && (l = pool->free[class]) != NULL) {
		pool->free[class] = l->next;
		pool->n_free[class]--;
	} else {
		if (class >= 0)
			size = (size_t)BUF_SMALLEST << class;
		if ((l = malloc(sizeof(*l) + size)) == NULL)
			return NULL;
		l->class = class;
		l->cap = size;
	}
	l->refs = 1;
	pool->leased += l->cap;
	return l;
}

void
lease_put(struct buf_pool *pool, struct lease **lease)
{
	struct lease *l = *lease;
	int class = l->class;

	*lease = NULL;
	ASSERT(l->refs > 0);
	if (--l->refs > 0)
		return;
	pool->leased -= l->cap;
	if (class < 0 || (pool->n_free[class] >= BUF_KEEP_N &&
	    pool->n_free[class] * l->cap >= BUF_KEEP)) {
		free(l);
		return;
	}
	l->next = pool->free[class];
	pool->free[class] = l;
	pool->n_free[class]++;
}

static struct chain_seg *
chain_add_seg(struct buf_pool *pool, struct chain *chain,
    struct lease *lease, uint8_t *p, size_t len, size_t room)
{
	struct chain_seg *s = slab_get(&pool->segs);

	if (s == NULL)
		return NULL;
	*s = (struct chain_seg){
		.lease = lease, .p = p, .len = len, .room = room
	};
	if (chain->tail != NULL)
		chain->tail->next = s;
	else
		chain->head = s;
	chain->tail = s;
	chain->len += len;
	return s;
}

uint8_t *
chain_room(struct buf_pool *pool, struct chain *chain, size_t need, size_t fit)
{
	struct chain_seg *s = chain->tail;
	struct lease *l;

	if (s != NULL && s->room >= need)
		return s->p + s->len;
	if ((l = lease_get(pool, MAX(need, fit))) == NULL)
		return NULL;
	s = chain_add_seg(pool, chain, l, l->data, 0, l->cap);
	if (s == NULL) {
		lease_put(pool, &l);
		return NULL;
	}
	return s->p;
}

void
chain_extend(struct chain *chain, size_t len)
{
	struct chain_seg *s = chain->tail;

	ASSERT(s != NULL && len <= s->room);
	s->len += len;
	s->room -= len;
	chain->len += len;
}

bool
chain_append(struct buf_pool *pool, struct chain *chain, const void *p,
    size_t len, size_t fit)
{
	const uint8_t *from = p;
	size_t n;
	uint8_t *to;

	if (chain->tail != NULL && chain->tail->room > 0 &&
	    chain->tail->room < len) {
		n = chain->tail->room;
		memcpy(chain->tail->p + chain->tail->len, from, n);
		chain_extend(chain, n);
		from += n;
		len -= n;
	}
	if (len == 0)
		return true;
	if ((to = chain_room(pool, chain, len, fit)) == NULL)
		return false;
	memcpy(to, from, len);
	chain_extend(chain, len);
	return true;
}

bool
chain_append_from(struct buf_pool *pool, struct chain *chain,
    struct lease *lease, const void *p, size_t len, size_t fit)
{
	if (len < BUF_REF_MIN || len * 8 < lease->cap)
		return chain_append(pool, chain, p, len, fit);
	if (chain_add_seg(pool, chain, lease, (uint8_t *)(uintptr_t)p, len, 0)
	    == NULL)
		return false;
	lease->refs++;
	return true;
}

static void
chain_del_head(struct buf_pool *pool, struct chain *chain)
{
	struct chain_seg *s = chain->head;

	chain->head = s->next;
	if (chain->head == NULL)
		chain->tail = NULL;
	chain->len -= s->len;
	lease_put(pool, &s->lease);
	slab_put(&pool->segs, &s);
}

void
chain_splice(struct buf_pool *pool, struct chain *dst, struct chain *src)
{
	struct chain_seg *s;

	while ((s = src->head) != NULL && s->len <= BUF_COPY_MAX &&
	    dst->tail != NULL && dst->tail->room >= s->len) {
		memcpy(dst->tail->p + dst->tail->len, s->p, s->len);
		chain_extend(dst, s->len);
		chain_del_head(pool, src);
	}
	if (src->head == NULL)
		return;
	if (dst->tail != NULL)
		dst->tail->next = src->head;
	else
		dst->head = src->head;
	dst->tail = src->tail;
	dst->len += src->len;
	src->head = src->tail = NULL;
	src->len = 0;
}

void
chain_drop(struct buf_pool *pool, struct chain *chain, size_t len)
{
	struct chain_seg *s;

	ASSERT(len <= chain->len);
	while ((s = chain->head) != NULL && len >= s->len) {
		len -= s->len;
		chain_del_head(pool, chain);
	}
	if (len > 0) {
		s->p += len;
		s->len -= len;
		chain->len -= len;
	}
}

void
chain_clear(struct buf_pool *pool, struct chain *chain)
{
	while (chain->head != NULL)
		chain_del_head(pool, chain);
}

int
chain_iov(const struct chain *chain, struct iovec *iov, int n, size_t most)
{
	const struct chain_seg *s;
	int i = 0;

	for (s = chain->head; s != NULL && i < n && most > 0; s = s->next) {
		if (s->len == 0)
			continue;
		iov[i].iov_base = s->p;
		iov[i].iov_len = MIN(s->len, most);
		most -= iov[i].iov_len;
		i++;
	}
	return i;
}

void
chain_copy(const struct chain *chain, uint8_t *dst)
{
	const struct chain_seg *s;

	for (s = chain->head; s != NULL; s = s->next) {
		if (s->len > 0)
			memcpy(dst, s->p, s->len);
		dst += s->len;
	}
}

/* The scratch lease, with no bytes in it that a chain still refers to. */
static struct lease *
buf_scratch(struct buf_pool *pool)
{
	if (pool->scratch != NULL && pool->scratch->refs > 1)
		lease_put(pool, &pool->scratch);
	if (pool->scratch == NULL)
		pool->scratch = lease_get(pool, BUF_SCRATCH);
	return pool->scratch;
}

size_t
input_room(struct buf_pool *pool, struct input *in, size_t need, uint8_t **p)
{
	struct lease *l = in->lease;

	need = MAX(need, (size_t)in->len + 1);
	/* A large frame is received where its beginning lies, if it fits. */
	if (l != NULL && need > BUF_SCRATCH / 16 && need <= l->cap - in->off) {
		*p = l->data + in->off + in->len;
		return l->cap - in->off - in->len;
	}
	/* Where nothing is known but that it is not all, much more may come. */
	if (need > BUF_SCRATCH)
		l = lease_get(pool, need > (size_t)in->len + 1 ? need :
		    need + need / 2);
	else if ((l = buf_scratch(pool)) != NULL)
		l->refs++;
	if (l == NULL)
		return 0;
	if (in->lease != NULL) {
		memcpy(l->data, input_bytes(in), in->len);
		lease_put(pool, &in->lease);
	}
	in->lease = l;
	in->off = 0;
	*p = l->data + in->len;
	return l->cap - in->len;
}

bool
input_settle(struct buf_pool *pool, struct input *in, size_t need, bool greedy)
{
	struct lease *l;

	if (in->lease == NULL)
		return true;
	if (in->len == 0) {
		input_clear(pool, in);
		return true;
	}
	if (in->lease != pool->scratch) {
		/* It stays, unless it is far larger than what is left. */
		if (in->lease->cap <= BUF_SCRATCH / 16 ||
		    need > BUF_SCRATCH / 16 || in->len >= in->lease->cap / 8)
			return true;
	} else if (in->len * 2 >= BUF_SCRATCH ||
	    (greedy && need > BUF_SCRATCH / 16)) {
		/* It keeps the scratch; the next receive makes another. */
		lease_put(pool, &pool->scratch);
		return true;
	}
	if (need > BUF_SCRATCH / 16 && need <= BUF_SCRATCH)
		l = lease_get(pool, need);
	else
		l = lease_get(pool, in->len);
	if (l == NULL) {
		input_clear(pool, in);
		return false;
	}
	memcpy(l->data, input_bytes(in), in->len);
	lease_put(pool, &in->lease);
	in->lease = l;
	in->off = 0;
	return true;
}

void
input_clear(struct buf_pool *pool, struct input *in)
{
	if (in->lease != NULL)
		lease_put(pool, &in->lease);
	in->off = in->len = 0;
}
