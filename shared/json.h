/*
 * json.h: writes JSON (RFC 8259), an item a line, indented.
 *
 * A KEY is the item's name in an object; NULL in an array and at the top.
 * Texts are UTF-8, for JSON has no other way.
 */
#ifndef SHARED_JSON_H
#define SHARED_JSON_H

#include <stdio.h>

#include "shared/base.h"

/* Zeroed but for OUT at first. */
struct json {
	FILE		*out;
	unsigned	 depth;
	bool		 has_items;	/* what is open, already */
};

/* Open an object or an array, with its BRACKET, and close it. */
void	 json_open(struct json *j, const char *key, char bracket);
void	 json_close(struct json *j, char bracket);

void	 json_number(struct json *j, const char *key, uint64_t n);
/* THOUSANDTHS, with three decimals. */
void	 json_thousandths(struct json *j, const char *key,
	    uint64_t thousandths);
void	 json_string(struct json *j, const char *key, const char *text);
void	 json_null(struct json *j, const char *key);

#endif /* SHARED_JSON_H */
