/* server_fixture.h - a real single-node server in this process, and peers that talk to it
 * over loopback. Client and server share one thread: whatever waits for an answer turns
 * the loop. */
#ifndef NETLOCK_SERVER_FIXTURE_H
#define NETLOCK_SERVER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <uv.h>

#include "config.h"
#include "server.h"
#include "wire.h"

struct fixture {
    uv_loop_t loop;
    struct config config;
    struct log log;
    struct server *server;
    char dir[64];
    bool stopped;
    struct fixture *next; /* another one, turned along with this one; may be a ring */
};

/* @flags are further flags of netlockd, NULL at the end; may be NULL. The node serves on
 * return, unless the flags name other members. */
void fixture_start(struct fixture *fixture, const char *const *flags);

/* What the node says of itself. */
bool fixture_serves(struct fixture *fixture);

/* As netlockd on SIGTERM; asserts that nothing is left on the loop. */
void fixture_stop(struct fixture *fixture);

/* Turn the loop for @ms, and at least once unless that is 0. */
void fixture_run(struct fixture *fixture, unsigned ms);

/* Of a steady clock. A test may say that something took so long at least, never at most. */
uint64_t fixture_now_ms(void);

struct peer {
    struct fixture *fixture;
    int fd;
    uint8_t *in;
    size_t in_len, in_taken, in_capacity;
    bool ended; /* the server has closed */
    struct wire_arena arena;
};

void peer_open(struct peer *peer, struct fixture *fixture);
/* Orderly; peer_reset() sends RST. */
void peer_close(struct peer *peer);
void peer_reset(struct peer *peer);

void peer_send_bytes(struct peer *peer, const void *data, size_t len);
void peer_send(struct peer *peer, const struct wire_request *request);

/* The next response; it must be of @type. Valid until the next call. */
struct wire_response peer_expect_any(struct peer *peer);
struct wire_response peer_expect(struct peer *peer, enum wire_response_type type);
/* Nothing comes, and the connection lives: shown by a ping, or by running for a while. */
void peer_expect_nothing(struct peer *peer);
void peer_expect_end(struct peer *peer);

/* Hello; returns what was granted. */
struct wire_response peer_hello(struct peer *peer, uint32_t session_grace_ms);

struct wire_str str(const char *text);
bool str_is(struct wire_str str, const char *text);

#define assert_str(actual, expected) assert_true(str_is(actual, expected))

#endif
