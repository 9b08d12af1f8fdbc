/*
 * fuzz_meta_backend.c: the bytes of a server that is asked in meta.
 */
#include "t/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	fuzz_replies(FUZZ_META, p, len);
	return 0;
}
