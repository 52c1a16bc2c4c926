#include "metrics.h"

#include <stdlib.h>
#include <time.h>

const uint64_t metrics_bounds_us[METRICS_BUCKETS] = {
    250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000,
};

uint64_t metrics_now_us(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
        abort();
    }
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void metrics_add_duration(struct metrics_durations *durations, uint64_t us)
{
    durations->count++;
    durations->sum_us += us;
    for (int i = 0; i < METRICS_BUCKETS; i++) {
        if (us <= metrics_bounds_us[i]) {
            durations->buckets[i]++;
            return;
        }
    }
}

uint64_t metrics_requests(const struct metrics *metrics)
{
    uint64_t sum = 0;

    for (int i = 0; i < METRICS_REQUESTS; i++) {
        sum += metrics->requests[i];
    }
    return sum;
}

void metrics_on_event(struct metrics *metrics, const struct fsm_event *event)
{
    switch (event->type) {
    case FSM_EV_GRANTED:
        metrics->grants += event->command != FSM_CMD_REFRESH;
        return;
    case FSM_EV_WAITING:
        metrics->waits += event->command == FSM_CMD_LOCK;
        return;
    case FSM_EV_DENIED:
        metrics->denials[event->deny]++;
        return;
    case FSM_EV_WAIT_TIMEOUT:
        metrics->wait_timeouts++;
        return;
    case FSM_EV_HOLD_ENDED:
        metrics->holds_expired += event->hold_end == FSM_HOLD_EXPIRED;
        metrics->holds_broken += event->hold_end == FSM_HOLD_BROKEN;
        return;
    case FSM_EV_RELEASE:
        metrics->releases += event->result == FSM_RELEASED;
        return;
    default:
        return;
    }
}
