/* fake_server.h - a server that says exactly what a test tells it to, in the thread of the test.
 *
 * The client under test is a NETLOCK_MANUAL one with the clock of the test: nothing happens by
 * itself, and whoever waits drives both sides. Every wait is bounded and fails the test. */
#ifndef NETLOCK_FAKE_SERVER_H
#define NETLOCK_FAKE_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "client_engine.h"
#include "netlock.h"
#include "wire.h"

enum {
    FAKE_SERVERS = 3,
    FAKE_NOTICES_MAX = 64,
    FAKE_RESULTS_MAX = 16,
    FAKE_GRACE_MS = 10000,
};

struct fake {
    int listener, fd; /* -1: none */
    char address[32]; /* host:port */
    uint8_t in[65536];
    size_t in_len;
    struct wire_arena arena;
    struct wire_request
        request; /* the last one; only its client and lock are kept as text */
    char client[WIRE_NAME_BYTES_MAX + 1], lock[WIRE_NAME_BYTES_MAX + 1];
    char key[WIRE_KEY_BYTES_MAX + 1];
    uint32_t grace_ms; /* granted in Hello, and after a leader change */
};

struct fake_notice {
    enum netlock_event event;
    char name[NETLOCK_NAME_BYTES_MAX + 1];
    uint64_t token;
    uint32_t position;
};

struct fake_result {
    bool done;
    int rv;
    bool has_grant;
    struct netlock_grant grant;
    unsigned calls;
};

struct world {
    struct netlock *nl;
    uint64_t clock_ms;
    uint64_t cluster_ms, index; /* of the next answer from the log */
    struct fake server[FAKE_SERVERS];
    char servers[128]; /* their addresses, as netlock_options wants them */
    struct fake_notice notices[FAKE_NOTICES_MAX];
    size_t notices_count;
    struct fake_result result[FAKE_RESULTS_MAX];
    void (*in_notice)(struct world *world, const struct netlock_notice *notice);
};

/* Open a client of the fake servers. @options: `servers` NULL means the first only; flags, callback
 * and clock are set here. */
struct world *world_new(const struct netlock_options *options);
/* The same, connected to the first server, which grants @grace_ms, and holding "job" with token 7,
 * asked for just now. */
struct world *world_holding(const struct netlock_options *options,
                            uint32_t lock_timeout_ms,
                            enum netlock_drop drop,
                            uint32_t grace_ms);
void world_free(struct world *world);

/* netlock_lock_async() with the first result. */
void world_lock(struct world *world,
                const char *name,
                const struct netlock_lock_options *options);
/* The first server is gone and nobody listens there. */
void world_isolate(struct world *world);

/* Let time pass, and the client notice it. */
void world_advance(struct world *world, uint64_t ms);
/* Let the client do what it can now. */
void world_turn(struct world *world);
unsigned
world_count(const struct world *world, enum netlock_event event, const char *name);
/* Let the client go on until it has given its connection up, or has given this notice. */
void world_until_down(struct world *world);
void world_until(struct world *world, enum netlock_event event, const char *name);
/* netlock_done_cb; @arg is a struct fake_result. */
void world_done(void *arg, int rv, const struct netlock_grant *grant);
void world_wait(struct world *world, const struct fake_result *result);

/* ---- one server ---------------------------------------------------------------------- */

void fake_accept(struct world *world, struct fake *fake);
/* The next request must be of @type. */
const struct wire_request *
fake_expect(struct world *world, struct fake *fake, enum wire_request_type type);
void fake_expect_nothing(struct world *world, struct fake *fake);
void fake_expect_closed(struct world *world, struct fake *fake);
/* Accept who comes (instead of who was there), and let @answer answer every request, without a turn
 * of the client. */
void fake_serve(struct world *world,
                struct fake *fake,
                void (*answer)(struct world *world, struct fake *fake));
void fake_close(struct fake *fake);
void fake_refuse_connections(struct fake *fake);

/* Send @response, with the key of the last request unless it has one; from the log if @log. */
void fake_send(struct world *world,
               struct fake *fake,
               struct wire_response response,
               bool log);
void fake_send_bytes(struct fake *fake, const void *bytes, size_t len);

void fake_hello(struct world *world,
                struct fake *fake,
                bool leader,
                const char *leader_address);
/* Accept, expect Hello and attach (or create), answer as leader with these claims. Returns the
 * epoch that the client sent. */
uint64_t fake_greet(struct world *world,
                    struct fake *fake,
                    const struct wire_claim *claims,
                    size_t claims_count);
void fake_grant(struct world *world,
                struct fake *fake,
                const char *name,
                uint64_t token,
                uint32_t lock_timeout_ms,
                enum wire_drop drop);
void fake_granted_later(struct world *world,
                        struct fake *fake,
                        const char *key,
                        const char *name,
                        uint64_t token,
                        uint32_t lock_timeout_ms,
                        enum wire_drop drop);
void fake_wait(struct world *world,
               struct fake *fake,
               const char *name,
               uint32_t position);
void fake_deny(struct world *world,
               struct fake *fake,
               const char *name,
               enum wire_deny reason);
void fake_released(struct world *world,
                   struct fake *fake,
                   const char *name,
                   enum wire_release_result result);
void fake_error(struct world *world,
                struct fake *fake,
                enum wire_error code,
                const char *leader,
                uint32_t retry_after_ms);
struct wire_str fake_str(const char *text);
/* The cluster's view of a hold of "job"; its lock timeout is what remains. */
struct wire_claim fake_claim(uint64_t token, uint32_t remaining_ms, enum wire_drop drop);

#endif
