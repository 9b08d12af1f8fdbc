#include "shared/hist.h"

#include <math.h>

const struct hist_quantile_name hist_quantiles[HIST_N_QUANTILES] = {
	{ "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p99.9", 0.999 },
};

uint64_t
hist_from_us(unsigned bucket)
{
	unsigned bits = bucket >> HIST_SUB_BITS;

	ASSERT(bucket < HIST_BUCKETS);
	if (bits < 2)
		return bucket;
	bits--;
	return (uint64_t)(bucket - (bits << HIST_SUB_BITS)) << bits;
}

uint64_t
hist_until_us(unsigned bucket)
{
	return bucket == HIST_BUCKETS - 1 ? UINT64_MAX :
	    hist_from_us(bucket + 1);
}

void
hist_look(struct hist_view *view, const struct hist *h)
{
	uint64_t n;

	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		n = counter_get(&h->n[i]);
		view->n[i] += n;
		view->total += n;
	}
	view->sum_us += counter_get(&h->sum_us);
	n = counter_get(&h->max_us);
	view->max_us = MAX(view->max_us, n);
}

void
hist_since(struct hist_view *view, const struct hist *base)
{
	uint64_t most = 0, n;

	view->total = 0;
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		n = counter_get(&base->n[i]);
		view->n[i] -= MIN(view->n[i], n);
		view->total += view->n[i];
		if (view->n[i] > 0)
			most = hist_until_us(i) - 1;
	}
	n = counter_get(&base->sum_us);
	view->sum_us -= MIN(view->sum_us, n);
	view->max_us = MIN(view->max_us, most);
}

/* What is in a bucket is taken to lie evenly in it. */
double
hist_quantile(const struct hist_view *view, double p)
{
	double rank = ceil(p * (double)view->total), below = 0, from, width;

	if (view->total == 0)
		return 0;
	rank = MAX(rank, 1);
	for (unsigned i = 0; i < HIST_BUCKETS - 1; i++) {
		if (below + (double)view->n[i] < rank) {
			below += (double)view->n[i];
			continue;
		}
		from = (double)hist_from_us(i);
		width = (double)hist_until_us(i) - from;
		if (width <= 1)
			return from;
		from += width * (rank - below - 0.5) / (double)view->n[i];
		return MIN(from, (double)view->max_us);
	}
	return (double)view->max_us;
}

double
hist_mean(const struct hist_view *view)
{
	return view->total == 0 ? 0. :
	    (double)view->sum_us / (double)view->total;
}

uint64_t
hist_below(const struct hist_view *view, uint64_t us)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < HIST_BUCKETS && hist_until_us(i) <= us; i++)
		n += view->n[i];
	return n;
}
