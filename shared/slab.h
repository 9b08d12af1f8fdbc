/*
 * slab.h: objects of one size, taken and given back without malloc.
 *
 * Memory grows in chunks to the most that was ever in use and stays.  Under
 * AddressSanitizer a free object is poisoned.
 */
#ifndef SHARED_SLAB_H
#define SHARED_SLAB_H

#include "shared/base.h"

struct slab {
	size_t		 size;		/* of an object, rounded up */
	struct slab_item *free;
	struct slab_chunk *chunks;
	size_t		 n_used;
};

void	 slab_init(struct slab *slab, size_t size);
/* Everything, used or not; the objects are gone. */
void	 slab_fini(struct slab *slab);

/* An object, not cleared.  NULL: out of memory. */
void	*slab_get(struct slab *slab) MUST_CHECK;
void	 slab_put_item(struct slab *slab, void *item);

/* Give *PP back and forget it. */
#define slab_put(slab, pp) \
	(slab_put_item((slab), *(pp)), (void)(*(pp) = NULL))

#endif /* SHARED_SLAB_H */
