/* How long one lock request takes from bytes to value, and its grant from value to bytes. Prints
 * nanoseconds per message, the best of several rounds; asserts nothing about speed. */
#include "frame.h"
#include "wire.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MESSAGES = 200000, ROUNDS = 7 };

struct bench {
    struct wire_buf request_frame;
    struct wire_buf grant_frame;
    struct wire_buf out;
    struct wire_arena arena;
};

static const struct wire_request lock_request = {
    .type = WIRE_REQ_LOCK,
    .key = {"1234", 4},
    .client = {"c9a1d0e2f3a4b5c6d7e8f90a1b2c3d4e", 32},
    .lock = {"registration/42", 15},
    .lock_ = {.mode = WIRE_WAIT,
              .limit = 1,
              .lock_timeout_ms = 30000,
              .has_client_time = true,
              .client_time = 123456789012},
};
static const struct wire_response grant = {
    .type = WIRE_RESP_GRANTED,
    .key = {"1234", 4},
    .client = {"c9a1d0e2f3a4b5c6d7e8f90a1b2c3d4e", 32},
    .lock = {"registration/42", 15},
    .extended = true,
    .position = {.index = 123456, .term = 7, .cluster_time_ms = 123456789012},
    .granted = {.token = 987654,
                .lock_timeout_ms = 30000,
                .remaining_ms = 30000,
                .has_client_time = true,
                .client_time = 123456789012},
};

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void decode_request(struct bench *bench)
{
    struct wire_request request;
    struct wire_refusal refusal;
    wire_arena_clear(&bench->arena);
    int rv = wire_decode_request(bench->request_frame.data + FRAME_HEADER_BYTES,
                                 bench->request_frame.len - FRAME_HEADER_BYTES,
                                 &bench->arena, &request, &refusal);
    assert(rv == 0 && request.lock.len == 15);
}

static void encode_grant(struct bench *bench)
{
    bench->out.len = 0;
    int rv = wire_encode_response(&bench->out, &grant);
    assert(rv == 0);
}

static void encode_plain_grant(struct bench *bench)
{
    struct wire_response plain = grant;
    plain.extended = false;
    bench->out.len = 0;
    int rv = wire_encode_response(&bench->out, &plain);
    assert(rv == 0);
}

static void encode_request(struct bench *bench)
{
    bench->out.len = 0;
    int rv = wire_encode_request(&bench->out, &lock_request);
    assert(rv == 0);
}

static void decode_grant(struct bench *bench)
{
    struct wire_response response;
    wire_arena_clear(&bench->arena);
    int rv = wire_decode_response(bench->grant_frame.data + FRAME_HEADER_BYTES,
                                  bench->grant_frame.len - FRAME_HEADER_BYTES,
                                  &bench->arena, &response);
    assert(rv == 0 && response.granted.token == 987654);
}

static void measure(struct bench *bench, const char *what, void (*step)(struct bench *))
{
    double best_ns = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        double start_ns = now_ns();
        for (int i = 0; i < MESSAGES; i++) {
            step(bench);
        }
        double each_ns = (now_ns() - start_ns) / MESSAGES;
        best_ns = each_ns < best_ns ? each_ns : best_ns;
    }
    printf("%-28s %7.0f ns\n", what, best_ns);
}

int main(void)
{
    struct bench bench = {0};
    int rv = wire_encode_request(&bench.request_frame, &lock_request);
    assert(rv == 0);
    rv = wire_encode_response(&bench.grant_frame, &grant);
    assert(rv == 0);

    printf("LockRequest %zu bytes, Granted %zu bytes, frames\n", bench.request_frame.len,
           bench.grant_frame.len);
    measure(&bench, "server: decode LockRequest", decode_request);
    measure(&bench, "server: encode Granted", encode_grant);
    measure(&bench, "server: encode plain Granted", encode_plain_grant);
    measure(&bench, "client: encode LockRequest", encode_request);
    measure(&bench, "client: decode Granted", decode_grant);

    wire_arena_release(&bench.arena);
    free(bench.request_frame.data);
    free(bench.grant_frame.data);
    free(bench.out.data);
    return 0;
}
