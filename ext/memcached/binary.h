/*
 * binary.h: memcached's binary protocol towards clients: binary.c reads it,
 * binary_render.c writes it.
 */
#ifndef MEMCACHED_BINARY_H
#define MEMCACHED_BINARY_H

#include "ext/memcached/memcached.h"

enum {
	BINARY_REQUEST = 0x80,	/* magic bytes */
	BINARY_RESPONSE = 0x81,
	BINARY_HEADER = 24	/* bytes of a header */
};

enum binary_opcode {
	BINARY_GET = 0x00,
	BINARY_SET = 0x01,
	BINARY_ADD = 0x02,
	BINARY_REPLACE = 0x03,
	BINARY_DELETE = 0x04,
	BINARY_INCREMENT = 0x05,
	BINARY_DECREMENT = 0x06,
	BINARY_QUIT = 0x07,
	BINARY_FLUSH = 0x08,
	BINARY_GETQ = 0x09,
	BINARY_NOOP = 0x0a,
	BINARY_VERSION = 0x0b,
	BINARY_GETK = 0x0c,
	BINARY_GETKQ = 0x0d,
	BINARY_APPEND = 0x0e,
	BINARY_PREPEND = 0x0f,
	BINARY_STAT = 0x10,
	BINARY_SETQ = 0x11,
	BINARY_ADDQ = 0x12,
	BINARY_REPLACEQ = 0x13,
	BINARY_DELETEQ = 0x14,
	BINARY_INCREMENTQ = 0x15,
	BINARY_DECREMENTQ = 0x16,
	BINARY_QUITQ = 0x17,
	BINARY_FLUSHQ = 0x18,
	BINARY_APPENDQ = 0x19,
	BINARY_PREPENDQ = 0x1a,
	BINARY_VERBOSITY = 0x1b,
	BINARY_TOUCH = 0x1c,
	BINARY_GAT = 0x1d,
	BINARY_GATQ = 0x1e,
	BINARY_GATK = 0x23,
	BINARY_GATKQ = 0x24
};

enum binary_status {
	BINARY_OK = 0x00,
	BINARY_NOT_FOUND = 0x01,
	BINARY_EXISTS = 0x02,
	BINARY_TOO_LARGE = 0x03,
	BINARY_INVALID = 0x04,
	BINARY_NOT_STORED = 0x05,
	BINARY_NOT_A_NUMBER = 0x06,
	BINARY_NOT_ALLOWED = 0x20,
	BINARY_UNKNOWN = 0x81,
	BINARY_NO_MEMORY = 0x82,
	BINARY_FAILED = 0x86
};

/* The contract's parse of a connection that sends packets (see kvp_ext.h). */
ssize_t	 binary_parse(const struct memcached *m, const uint8_t *p, size_t len,
	    struct kvp_request *req);

#endif /* MEMCACHED_BINARY_H */
