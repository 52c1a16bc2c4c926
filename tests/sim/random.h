/* random.h - reproducible randomness.
 *
 * A stream (sim_random) is for what is drawn in an order that never changes. What the weather of links
 * and disks decides is drawn with sim_mix() from what it is about (a seed, a link, the number of
 * the packet on it), so that leaving out one fault does not change all that comes after it. */
#ifndef NETLOCK_SIM_RANDOM_H
#define NETLOCK_SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

enum { SIM_MILLION = 1000000 }; /* probabilities are in parts per million */

/* splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t sim_mix1(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline uint64_t sim_mix(uint64_t a, uint64_t b, uint64_t c)
{
    return sim_mix1(sim_mix1(sim_mix1(a) ^ b) ^ c);
}

struct sim_random {
    uint64_t state;
};

static inline uint64_t sim_random_next(struct sim_random *random)
{
    random->state += UINT64_C(0x9e3779b97f4a7c15);
    return sim_mix1(random->state);
}

/* Below @limit, which is not 0. */
static inline uint64_t sim_random_below(struct sim_random *random, uint64_t limit)
{
    return sim_random_next(random) % limit;
}

/* From @min to @max, both included. */
static inline uint64_t
sim_random_between(struct sim_random *random, uint64_t min, uint64_t max)
{
    return min + sim_random_below(random, max - min + 1);
}

static inline bool sim_random_chance(struct sim_random *random, uint32_t ppm)
{
    return sim_random_below(random, SIM_MILLION) < ppm;
}

#endif
