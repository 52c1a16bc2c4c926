/* event.h - virtual time, and the queue of what will happen in it.
 *
 * There is one time for everything, in microseconds since the simulation began; it jumps from one
 * event to the next. Events of the same instant happen in the order in which they were scheduled, so
 * a run is a function of its input. One simulation per process: like an operating system, the
 * simulator is there once, and the functions that replace the system's have nobody to ask for it.
 *
 * An event is embedded in its owner and owns nothing. Zero-initialise it, but for `fire`; cancel it
 * before the owner goes. */
#ifndef NETLOCK_SIM_EVENT_H
#define NETLOCK_SIM_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_NEVER UINT64_MAX

struct sim_event {
    /* It is no longer scheduled then, and may be scheduled anew, or its owner be freed. */
    void (*fire)(struct sim_event *event);
    uint64_t at_us;
    uint64_t order; /* of those of one instant */
    size_t place;   /* in the queue, from 1; 0: not scheduled */
};

uint64_t sim_now_us(void);

/* Schedule, or schedule anew. A time that has passed means now, after what is due already; SIM_NEVER
 * cancels. */
void sim_event_at(struct sim_event *event, uint64_t at_us);
void sim_event_in(struct sim_event *event, uint64_t delay_us);
void sim_event_cancel(struct sim_event *event); /* nothing if it is not scheduled */

static inline bool sim_event_scheduled(const struct sim_event *event)
{
    return event->place != 0;
}

/* Let happen what is due until @until_us, then it is @until_us; or until sim_stop() is called from an
 * event. Returns whether the time was reached. */
bool sim_run_until(uint64_t until_us);
void sim_stop(void);

/* Forget all events, none of which is scheduled any more; it is 0. */
void sim_events_reset(void);

/* What happened so far, as a number: every event's time and whatever sim_trace_mix() was told. Equal
 * in every run of the same input, on every compiler. */
uint64_t sim_trace_hash(void);
void sim_trace_mix(uint64_t value);
uint64_t sim_events_count(void); /* fired so far */

#endif
