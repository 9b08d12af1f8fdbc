/*
 * hist.h: how long things took, counted in buckets.
 *
 * Log-linear, as in HdrHistogram (Tene): a bucket a microsecond up to 64, then
 * each doubling has 32 buckets of the same width, up to 67 s, and what took
 * longer is in the last one.  So the middle of a bucket is off by less than
 * 1.6 %.  One writes, and everybody may read at any time: cells are counters
 * (counters.h), which are never seen torn.
 */
#ifndef SHARED_HIST_H
#define SHARED_HIST_H

#include "shared/counters.h"

enum {
	HIST_SUB_BITS = 5,		/* 32 buckets a doubling */
	HIST_MAX_BITS = 26,		/* up to 2^26 us */
	HIST_BUCKETS = ((HIST_MAX_BITS - HIST_SUB_BITS + 1) <<
	    HIST_SUB_BITS) + 1		/* and one for what is over that */
};

struct hist {
	counter_cell	 n[HIST_BUCKETS];
	counter_cell	 sum_us;
	counter_cell	 max_us;
};

/* The same in a reader's hands: added up over workers. */
struct hist_view {
	uint64_t	 n[HIST_BUCKETS];
	uint64_t	 total;
	uint64_t	 sum_us;
	uint64_t	 max_us;
};

/* The bucket of US. */
static inline unsigned
hist_bucket(uint64_t us)
{
	unsigned bits;

	if (us < UINT64_C(1) << (HIST_SUB_BITS + 1))
		return (unsigned)us;
	bits = 63 - (unsigned)__builtin_clzll(us) - HIST_SUB_BITS;
	if (bits >= HIST_MAX_BITS - HIST_SUB_BITS)
		return HIST_BUCKETS - 1;
	return (bits << HIST_SUB_BITS) + (unsigned)(us >> bits);
}

/* Something took US. */
static inline void
hist_add(struct hist *h, uint64_t us)
{
	counter_add(&h->n[hist_bucket(us)], 1);
	counter_add(&h->sum_us, us);
	if (us > counter_get(&h->max_us))
		counter_set(&h->max_us, us);
}

/* The least that is in BUCKET, and the least that is in none up to it. */
uint64_t hist_from_us(unsigned bucket);
uint64_t hist_until_us(unsigned bucket);

/* Add H to VIEW, which is zeroed at first. */
void	 hist_look(struct hist_view *view, const struct hist *h);
/* Take BASE, what was counted earlier, off VIEW; max_us is then the end of the
 * last bucket that has something, at most. */
void	 hist_since(struct hist_view *view, const struct hist *base);
/* The time that the share P (0 to 1) of all took at most, in microseconds; 0
 * where there is nothing. */
double	 hist_quantile(const struct hist_view *view, double p);
/* The shares that people are told. */
struct hist_quantile_name {
	const char	*name;
	double		 p;
};
#define HIST_N_QUANTILES 4
extern const struct hist_quantile_name hist_quantiles[HIST_N_QUANTILES];
/* The mean, in microseconds; 0 where there is nothing. */
double	 hist_mean(const struct hist_view *view);
/* How many took less than US, for cumulative buckets; US counts as the end of
 * the bucket it is in. */
uint64_t hist_below(const struct hist_view *view, uint64_t us);

#endif /* SHARED_HIST_H */
