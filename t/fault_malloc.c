/*
 * fault_malloc.c: kvproxy, one of whose mallocs fails.
 *
 * Linked into a kvproxy with --wrap=malloc.  The file that the environment's
 * KVPROXY_FAULT names, if it is there, says which: the Nth from now.  It is
 * removed when that one is reached.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void	*__real_malloc(size_t size);
void	*__wrap_malloc(size_t size);

/* One malloc less to go.  True: it was the last. */
static int
fault_is_due(const char *path)
{
	char text[16] = "";
	FILE *f = fopen(path, "r+");
	int n = 0;

	if (f == NULL)
		return 0;
	if (fgets(text, sizeof(text), f) != NULL)
		n = atoi(text);
	rewind(f);
	fprintf(f, "%-8d", n - 1);
	fclose(f);
	return n == 1 && unlink(path) == 0;
}

void *
__wrap_malloc(size_t size)
{
	const char *path = getenv("KVPROXY_FAULT");

	if (path != NULL && fault_is_due(path)) {
		errno = ENOMEM;
		return NULL;
	}
	return __real_malloc(size);
}
