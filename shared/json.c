#include "shared/json.h"

#include <inttypes.h>

static void
json_put_string(FILE *out, const char *s)
{
	putc('"', out);
	for (; *s != '\0'; s++)
		if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else if ((unsigned char)*s < ' ' || *s == 0x7f)
			fprintf(out, "\\u%04x", (unsigned)*s);
		else
			putc(*s, out);
	putc('"', out);
}

static void
json_put_line(struct json *j)
{
	fprintf(j->out, "\n%*s", (int)j->depth * 2, "");
}

/* What stands before every item. */
static void
json_put_key(struct json *j, const char *key)
{
	if (j->has_items)
		putc(',', j->out);
	if (j->depth > 0)
		json_put_line(j);
	j->has_items = true;
	if (key != NULL) {
		json_put_string(j->out, key);
		fputs(": ", j->out);
	}
}

void
json_open(struct json *j, const char *key, char bracket)
{
	json_put_key(j, key);
	putc(bracket, j->out);
	j->depth++;
	j->has_items = false;
}

void
json_close(struct json *j, char bracket)
{
	ASSERT(j->depth > 0);
	j->depth--;
	if (j->has_items)
		json_put_line(j);
	putc(bracket, j->out);
	j->has_items = true;
	if (j->depth == 0)
		putc('\n', j->out);
}

void
json_number(struct json *j, const char *key, uint64_t n)
{
	json_put_key(j, key);
	fprintf(j->out, "%" PRIu64, n);
}

void
json_thousandths(struct json *j, const char *key, uint64_t thousandths)
{
	json_put_key(j, key);
	fprintf(j->out, "%" PRIu64 ".%03u", thousandths / 1000,
	    (unsigned)(thousandths % 1000));
}

void
json_string(struct json *j, const char *key, const char *text)
{
	json_put_key(j, key);
	json_put_string(j->out, text);
}

void
json_null(struct json *j, const char *key)
{
	json_put_key(j, key);
	fputs("null", j->out);
}
