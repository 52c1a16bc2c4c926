/* metrics.h - what the server counts: a few numbers, whatever it keeps.
 *
 * Counted by every node since its start; what concerns locks, by the one that served. They
 * only rise. http_metrics.c prints them. */
#ifndef NETLOCK_METRICS_H
#define NETLOCK_METRICS_H

#include <stdint.h>

#include "fsm.h"
#include "wire.h"

enum {
    METRICS_REQUESTS = WIRE_REQ_NODE_CONTROL + 1,
    METRICS_DENIALS = FSM_DENY_LIMIT_EXCEEDED + 1,
    METRICS_BUCKETS = 12,
};

/* Upper bounds, ascending; what is above the last one counts in `count` only. */
extern const uint64_t metrics_bounds_us[METRICS_BUCKETS];

struct metrics_durations {
    uint64_t buckets[METRICS_BUCKETS]; /* each without those below */
    uint64_t count, sum_us;
};

/* Zero-initialise. */
struct metrics {
    uint64_t requests[METRICS_REQUESTS]; /* by enum wire_request_type */
    uint64_t malformed;
    uint64_t grants, waits, releases, wait_timeouts, holds_expired, holds_broken;
    uint64_t denials[METRICS_DENIALS]; /* by enum fsm_deny */
    uint64_t connections_accepted, connections_refused;
    struct metrics_durations commits; /* from a command to its answer */
};

/* Steady time, for durations. */
uint64_t metrics_now_us(void);

void metrics_add_duration(struct metrics_durations *durations, uint64_t us);

/* Of every type. */
uint64_t metrics_requests(const struct metrics *metrics);

/* An event that a client is told. */
void metrics_on_event(struct metrics *metrics, const struct fsm_event *event);

#endif
