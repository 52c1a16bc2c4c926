/* transport_ends.h - two ends of a transport on one loop, for its tests. */
#ifndef NETLOCK_TRANSPORT_ENDS_H
#define NETLOCK_TRANSPORT_ENDS_H

#include "transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { WAIT_MS_MAX = 20000, LINES_MAX = 256, STREAMS_MAX = 80 };

/* One node's transport and what it did. */
struct end {
    struct raft_uv_transport face;
    uv_loop_t *loop;
    char address[64];
    unsigned port;
    uint64_t stranger; /* this id is no member */
    bool undecided;
    const char *member_address;
    unsigned ended[2]; /* connections, by enum peer_direction */
    enum peer_end last_end;
    char lines[LINES_MAX][512];
    unsigned lines_count;
    struct {
        raft_id id;
        char address[256];
        uv_stream_t *stream;
    } accepted[STREAMS_MAX];
    unsigned accepted_count;
    bool closed;
};

struct attempt {
    struct raft_uv_connect request;
    uv_stream_t *stream;
    int status;
    bool done;
};

struct fixture {
    uv_loop_t loop;
    struct end a; /* node 1 */
    struct end b; /* node 2 */
};

/* For cmocka: *state is a struct fixture. Closing must leave nothing behind. */
int ends_setup(void **state);
int ends_teardown(void **state);

/* Turn the loop until @condition, for at most @limit_ms. Returns whether it has come. */
bool ends_run_until(uv_loop_t *loop,
                    bool (*condition)(void *arg),
                    void *arg,
                    unsigned limit_ms);
bool ends_never(void *arg);

struct transport_config end_config(struct end *end, uint64_t node_id);
void end_start(struct end *end, uv_loop_t *loop, const struct transport_config *config);
void end_listen(struct end *end);
void end_close(struct end *end);
void end_on_accept(struct raft_uv_transport *face,
                   raft_id id,
                   const char *address,
                   uv_stream_t *stream);

/* Some line that was logged has @part. */
void end_assert_line(const struct end *end, const char *part);

/* Node 1 and node 2, which listens. */
void ends_start_both(struct fixture *f);
bool ends_b_accepted(void *fixture);

void attempt_start(struct end *from,
                   struct attempt *attempt,
                   raft_id id,
                   const char *address);
int attempt_wait(struct end *from,
                 struct attempt *attempt,
                 raft_id id,
                 const char *address);
bool attempt_done(void *attempt);
void attempt_free(struct attempt *attempt);
void attempt_on_connect(struct raft_uv_connect *request, uv_stream_t *stream, int status);

/* A message that an honest peer may send: libraft's TimeoutNow. */
enum { ENDS_MESSAGE_BYTES = 40 };
extern const uint8_t ENDS_MESSAGE[ENDS_MESSAGE_BYTES];

/* Exactly that message can be read from @stream. */
void ends_assert_reads_message(uv_loop_t *loop, uv_stream_t *stream);

void ends_free_stream(uv_handle_t *handle);

/* A connection to @port, not blocking. */
int ends_raw_connect(unsigned port);

/* A listener that the kernel answers for, and that says nothing. */
int ends_mute_listener(unsigned backlog, unsigned *ret_port);

/* An address whose SYNs are dropped, as by a host that is gone. */
int ends_black_hole(char *ret_address, size_t size, int fill[static 3]);

#endif
