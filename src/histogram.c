#include "histogram.h"

#include <assert.h>

static_assert(HISTOGRAM_STEPS == 1 << HISTOGRAM_STEPS_LOG, "one is the log of the other");

/* How many low bits do not matter for a value of this size. */
static unsigned shift_of(uint64_t value)
{
    return value < HISTOGRAM_STEPS
               ? 0
               : 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_STEPS_LOG;
}

static uint32_t bucket_of(uint64_t value)
{
    unsigned shift = shift_of(value);

    /* What is left of a shifted value begins with its top bit, so rows do not overlap. */
    return (uint32_t)(shift * HISTOGRAM_STEPS + (value >> shift));
}

static uint64_t greatest_in(uint32_t bucket)
{
    uint32_t row = bucket / HISTOGRAM_STEPS;
    unsigned shift = row > 1 ? row - 1 : 0;
    uint64_t step = bucket - shift * HISTOGRAM_STEPS;

    return (step << shift) + ((UINT64_C(1) << shift) - 1);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    if (histogram->count == 0 || value < histogram->least) {
        histogram->least = value;
    }
    if (value > histogram->greatest) {
        histogram->greatest = value;
    }
    histogram->count++;
    histogram->sum += (double)value;
    histogram->buckets[bucket_of(value)]++;
}

uint64_t histogram_quantile(const struct histogram *histogram, double quantile)
{
    uint64_t below = 0;

    if (histogram->count == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        below += histogram->buckets[i];
        if (below > 0 && (double)below >= quantile * (double)histogram->count) {
            uint64_t value = greatest_in(i);

            return value < histogram->greatest ? value : histogram->greatest;
        }
    }
    return histogram->greatest;
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count == 0 ? 0 : histogram->sum / (double)histogram->count;
}
