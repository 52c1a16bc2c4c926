#include "leader_clock.h"

static uint64_t saturating_add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void leader_clock_applied(struct leader_clock *clock,
                          uint64_t cluster_ms,
                          uint64_t mono_ms)
{
    if (!clock->known || cluster_ms > clock->applied_ms) {
        clock->known = true;
        clock->applied_ms = cluster_ms;
        clock->applied_mono_ms = mono_ms;
    }
}

uint64_t leader_clock_now(const struct leader_clock *clock, uint64_t mono_ms)
{
    if (!clock->known || mono_ms <= clock->applied_mono_ms) {
        return clock->applied_ms;
    }
    return saturating_add(clock->applied_ms, mono_ms - clock->applied_mono_ms);
}

uint64_t leader_clock_until(const struct leader_clock *clock,
                            uint64_t cluster_ms,
                            uint64_t mono_ms)
{
    if (cluster_ms <= clock->applied_ms) {
        return 0;
    }

    uint64_t from_mono_ms = clock->known ? clock->applied_mono_ms : mono_ms;
    uint64_t reached_mono_ms =
        saturating_add(from_mono_ms, cluster_ms - clock->applied_ms);
    return reached_mono_ms > mono_ms ? reached_mono_ms - mono_ms : 0;
}
