/* histogram.h - how a great many durations were spread, in constant memory.
 *
 * Durations are counted in steps that grow with them: exact below HISTOGRAM_STEPS, from there on
 * HISTOGRAM_STEPS of them to each power of two, so that a quantile is at most 1/HISTOGRAM_STEPS
 * (0.8 %) above the true one, and never below it. Least, greatest and mean are exact. All zero is an
 * empty histogram.
 */
#ifndef NETLOCK_HISTOGRAM_H
#define NETLOCK_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_STEPS = 128, /* a power of two */
    HISTOGRAM_STEPS_LOG = 7,
    HISTOGRAM_BUCKETS = (64 - HISTOGRAM_STEPS_LOG + 1) * HISTOGRAM_STEPS,
};

struct histogram {
    uint64_t count, least, greatest;
    double sum;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The value that the part @quantile (0 to 1) of what was added does not exceed: 0.5 is the median, 1
 * the greatest. 0 if nothing was added. */
uint64_t histogram_quantile(const struct histogram *histogram, double quantile);

double histogram_mean(const struct histogram *histogram);

#endif
