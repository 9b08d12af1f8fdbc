#include "shared/slab.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)		((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n)	((void)(p), (void)(n))
#endif

enum { SLAB_CHUNK = 32 * 1024, SLAB_ALIGN = 16 };

struct slab_item {
	struct slab_item *next;
};

struct slab_chunk {
	struct slab_chunk *next;
	uint64_t	 pad;		/* keeps the items aligned */
};

void
slab_init(struct slab *slab, size_t size)
{
	size = MAX(size, sizeof(struct slab_item));
	slab->size = (size + SLAB_ALIGN - 1) & ~(size_t)(SLAB_ALIGN - 1);
	slab->free = NULL;
	slab->chunks = NULL;
	slab->n_used = 0;
}

void
slab_fini(struct slab *slab)
{
	struct slab_chunk *c;

	while ((c = slab->chunks) != NULL) {
		slab->chunks = c->next;
		free(c);
	}
	slab->free = NULL;
	slab->n_used = 0;
}

static bool
slab_grow(struct slab *slab)
{
	size_t n = MAX(SLAB_CHUNK / slab->size, 1);
	struct slab_chunk *c = malloc(sizeof(*c) + n * slab->size);
	struct slab_item *it;
	size_t i;

	if (c == NULL)
		return false;
	c->next = slab->chunks;
	slab->chunks = c;
	for (i = n; i-- > 0; ) {
		it = (struct slab_item *)(void *)
		    ((char *)(c + 1) + i * slab->size);
		it->next = slab->free;
		slab->free = it;
		ASAN_POISON_MEMORY_REGION(it, slab->size);
	}
	return true;
}

void *
slab_get(struct slab *slab)
{
	struct slab_item *it;

	if (UNLIKELY(slab->free == NULL) && !slab_grow(slab))
		return NULL;
	it = slab->free;
	ASAN_UNPOISON_MEMORY_REGION(it, slab->size);
	slab->free = it->next;
	slab->n_used++;
	return it;
}

void
slab_put_item(struct slab *slab, void *item)
{
	struct slab_item *it = item;

	ASSERT(slab->n_used > 0);
	it->next = slab->free;
	slab->free = it;
	slab->n_used--;
	ASAN_POISON_MEMORY_REGION(it, slab->size);
}
