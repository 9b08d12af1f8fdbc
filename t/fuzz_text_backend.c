/*
 * fuzz_text_backend.c: the bytes of a server that is asked in text.
 */
#include "t/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	fuzz_replies(FUZZ_TEXT, p, len);
	return 0;
}
