/*
 * base.h: the few words that every file uses.
 */
#ifndef SHARED_BASE_H
#define SHARED_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define MUST_CHECK	__attribute__((warn_unused_result))
#define NORETURN	__attribute__((noreturn))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define LIKELY(x)	__builtin_expect(!!(x), 1)
#define UNLIKELY(x)	__builtin_expect(!!(x), 0)

#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)	((a) < (b) ? (a) : (b))
#define MAX(a, b)	((a) > (b) ? (a) : (b))

/* The object of TYPE whose MEMBER is at P. */
#define CONTAINER_OF(p, type, member) \
	((type *)(void *)((char *)(p) - offsetof(type, member)))

/* A bug is never survived: always compiled in; says what and where in the
 * log, and aborts. */
#define ASSERT(x) \
	(LIKELY(x) ? (void)0 : base_assert_failed(#x, __FILE__, __LINE__))

void	base_assert_failed(const char *what, const char *file, int line)
	    NORETURN;	/* log.c */

#endif /* SHARED_BASE_H */
