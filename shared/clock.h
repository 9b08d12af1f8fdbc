/*
 * clock.h: what time it is.
 *
 * The steady clock is one for all processes of the machine and goes on while
 * the date is set; its times are compared with each other only.
 */
#ifndef SHARED_CLOCK_H
#define SHARED_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t
clock_read_us(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static inline uint64_t
clock_us(void)
{
	return clock_read_us(CLOCK_MONOTONIC);
}

static inline uint64_t
clock_ms(void)
{
	return clock_us() / 1000;
}

/* Since 1970. */
static inline uint64_t
clock_unix_ms(void)
{
	return clock_read_us(CLOCK_REALTIME) / 1000;
}

#endif /* SHARED_CLOCK_H */
