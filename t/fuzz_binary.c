/*
 * fuzz_binary.c: the bytes of clients that speak binary.
 */
#include "t/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	if (len > 0 && p[0] == 0x80)
		fuzz_requests(p, len);
	return 0;
}
