/*
 * text_line.h: lines of the text protocol, which classic and meta requests
 * share: their words, their values, the answers to bad ones.
 */
#ifndef MEMCACHED_TEXT_LINE_H
#define MEMCACHED_TEXT_LINE_H

#include <string.h>

#include "ext/memcached/memcached.h"

/* A line being parsed. */
struct text_line {
	const struct memcached *m;
	const uint8_t	*p;		/* the frame's beginning */
	size_t		 len;		/* what is there of it and after it */
	size_t		 frame;		/* the line with its end */
	const uint8_t	*end;		/* where its words end */
	struct kvp_request *req;
};

struct text_verb {
	const char	*name;
	size_t		 len;
	/* Parse the line, whose arguments begin at ARGS, as parse does. */
	ssize_t		(*parse)(const struct text_verb *v,
			    const struct text_line *line, const uint8_t *args);
	uint8_t		 op;
	uint8_t		 least, most;	/* words, where they are counted */
};

/* Begin LINE's request anew; its command, to be filled in. */
struct command *text_begin(const struct text_line *line, enum kvp_class class,
	    enum command_op op, uint16_t bits);

/* What follows gives what parse is to return. */

/* A command of one KEY and no value has been read. */
ssize_t	 text_accept(const struct text_line *line, struct kvp_slice key);
/* The same with the value of LENGTH bytes behind the line. */
ssize_t	 text_take_value(const struct text_line *line, struct kvp_slice key,
	    uint64_t length);
/* The proxy answers. */
ssize_t	 text_answer(const struct text_line *line, enum command_answer answer);
/* A line in error; BITS may be COMMAND_QUIET. */
ssize_t	 text_refuse(const struct text_line *line, enum command_answer answer,
	    uint16_t bits);
/* The same for a store, with its value of LENGTH bytes. */
ssize_t	 text_refuse_store(const struct text_line *line,
	    enum command_answer answer, uint16_t bits, uint64_t length);
/* What follows the FRAME cannot be told apart from commands. */
ssize_t	 text_refuse_and_close(const struct text_line *line,
	    enum command_answer answer, size_t frame, uint16_t bits);

/* Split P..END at spaces into W, MOST words at the most; how many. */
size_t	 text_split(struct kvp_slice *w, size_t most, const uint8_t *p,
	    const uint8_t *end);

/* A time to live: of any size that 64 bits hold, and taken as 32 bits, which
 * is what memcached does. */
bool	 text_read_exptime(struct kvp_slice word, int32_t *exptime);

static inline const uint8_t *
text_skip_spaces(const uint8_t *p, const uint8_t *end)
{
	while (p < end && *p == ' ')
		p++;
	return p;
}

static inline const uint8_t *
text_skip_word(const uint8_t *p, const uint8_t *end)
{
	while (p < end && *p != ' ')
		p++;
	return p;
}

static inline bool
text_key_is_fit(struct kvp_slice key)
{
	return key.len <= COMMAND_KEY_MAX &&
	    memchr(key.p, '\0', key.len) == NULL;
}

#endif /* MEMCACHED_TEXT_LINE_H */
