/*
 * meta.h: the meta protocol towards clients: meta.c reads it, meta_render.c
 * writes it.  Its lines stand among classic ones on a connection; what the
 * proxy itself answers to them is worded as there.
 */
#ifndef MEMCACHED_META_H
#define MEMCACHED_META_H

#include "ext/memcached/text_line.h"

enum {
	META_WORDS_MAX = 18	/* behind the verb */
};

/* text_verb.parse of mg, ms, md and ma. */
ssize_t	 meta_parse_get(const struct text_verb *v,
	    const struct text_line *line, const uint8_t *args);
ssize_t	 meta_parse_store(const struct text_verb *v,
	    const struct text_line *line, const uint8_t *args);
ssize_t	 meta_parse_delete(const struct text_verb *v,
	    const struct text_line *line, const uint8_t *args);
ssize_t	 meta_parse_count(const struct text_verb *v,
	    const struct text_line *line, const uint8_t *args);

#endif /* MEMCACHED_META_H */
