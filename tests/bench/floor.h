/* floor.h - the frames between floor.c and floor_client.c. They have as many bytes as
 * netlock's in `run-peer netlock:own`, seen with strace; of these only the first, the
 * kind, means anything. A client has one request under way at a time. */
#ifndef NETLOCK_BENCH_FLOOR_H
#define NETLOCK_BENCH_FLOOR_H

#include <stddef.h>
#include <stdint.h>

/* Bits of the kind. Every request is answered when it is durable, except: */
enum {
    FLOOR_LOCK = 1,  /* as long as a lock request; without it an unlock */
    FLOOR_QUEUE = 2, /* there is one lock: who asks gets it in the order of arrival, with
                      * the commit of the unlock before */
    FLOOR_ECHO = 4,  /* answered at once */
};

static inline size_t floor_request_bytes(uint8_t kind)
{
    return kind & FLOOR_LOCK ? 117 : 112;
}

static inline size_t floor_answer_bytes(uint8_t kind)
{
    return kind & FLOOR_LOCK ? 149 : 132;
}

enum { FLOOR_FRAME_BYTES_MAX = 149 };

#endif
