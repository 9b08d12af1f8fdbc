/*
 * name.h: names out of the file, as statistics spell them.
 *
 * A word of UTF-8: what is none, a control character, a blank and the backslash
 * are written \xNN, a byte each.  So no two names are spelled alike, and
 * `stats`, the JSON and the metrics page spell one alike.
 */
#ifndef SHARED_NAME_H
#define SHARED_NAME_H

#include "shared/base.h"

/* Bytes for a name of LEN, with the NUL. */
#define NAME_ROOM(len)	(4 * (len) + 1)

/* NAME to DST, which has ROOM bytes, more than 0, and is returned; cut where it
 * does not fit, but not within a character. */
const char *name_spell(char *dst, size_t room, const char *name);

/* The length of the UTF-8 character at S, which ends in a NUL; 0: there is
 * none: the end, a byte that cannot stand there, a character that is written
 * too long or that Unicode does not have. */
size_t	 name_utf8_len(const char *s);

#endif /* SHARED_NAME_H */
