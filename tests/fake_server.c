#include "fake_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "frame.h"

enum { WAIT_TURNS_MAX = 5000 }; /* of a millisecond */

struct wire_str fake_str(const char *text)
{
    return (struct wire_str){.data = text, .len = text != NULL ? strlen(text) : 0};
}

/* ---- the world ----------------------------------------------------------------------- */

static uint64_t world_clock(void *arg)
{
    return ((struct world *)arg)->clock_ms;
}

static void take_notice(void *arg, const struct netlock_notice *notice)
{
    struct world *world = arg;
    assert_true(world->notices_count < FAKE_NOTICES_MAX);
    struct fake_notice *copy = &world->notices[world->notices_count++];
    *copy = (struct fake_notice){
        .event = notice->event,
        .token = notice->token,
        .position = notice->position,
    };
    if (notice->name != NULL)
        memcpy(copy->name, notice->name, strlen(notice->name));
    if (world->in_notice != NULL)
        world->in_notice(world, notice);
}

static void fake_listen(struct fake *fake)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    fake->fd = -1;
    fake->grace_ms = FAKE_GRACE_MS;
    fake->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fake->listener >= 0);
    assert_int_equal(bind(fake->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fake->listener, 16), 0);
    assert_int_equal(getsockname(fake->listener, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(fake->address, sizeof(fake->address), "127.0.0.1:%u",
                   (unsigned)ntohs(address.sin_port));
}

struct world *world_new(const struct netlock_options *options)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    for (size_t i = 0; i < FAKE_SERVERS; i++)
        fake_listen(&world->server[i]);
    (void)snprintf(world->servers, sizeof(world->servers), "%s,%s,%s",
                   world->server[0].address, world->server[1].address,
                   world->server[2].address);
    struct netlock_options own = *options;
    own.flags |= NETLOCK_MANUAL;
    own.on_notice = take_notice;
    own.arg = world;
    if (own.servers == NULL)
        own.servers = world->server[0].address;
    else if (strcmp(own.servers, "all") == 0)
        own.servers = world->servers;
    assert_int_equal(netlock_open(&world->nl, &own), 0);
    world->clock_ms = world->nl->now_ms;
    world->cluster_ms = 777000; /* any */
    world->nl->clock_ms = world_clock;
    world->nl->clock_arg = world;
    world->nl->session.servers.next = 0;
    return world;
}

void world_free(struct world *world)
{
    if (world->nl != NULL)
        netlock_abandon(world->nl);
    for (size_t i = 0; i < FAKE_SERVERS; i++) {
        fake_close(&world->server[i]);
        fake_refuse_connections(&world->server[i]);
        wire_arena_release(&world->server[i].arena);
    }
    free(world);
}

void world_turn(struct world *world)
{
    (void)netlock_process(world->nl);
}

void world_advance(struct world *world, uint64_t ms)
{
    world->clock_ms += ms;
    world->cluster_ms += ms;
    world_turn(world);
}

unsigned
world_count(const struct world *world, enum netlock_event event, const char *name)
{
    unsigned count = 0;
    for (size_t i = 0; i < world->notices_count; i++)
        if (world->notices[i].event == event &&
            strcmp(world->notices[i].name, name != NULL ? name : "") == 0)
            count++;
    return count;
}

void world_done(void *arg, int rv, const struct netlock_grant *grant)
{
    struct fake_result *result = arg;
    result->done = true;
    result->rv = rv;
    result->calls++;
    result->has_grant = grant != NULL;
    if (grant != NULL)
        result->grant = *grant;
}

void world_wait(struct world *world, const struct fake_result *result)
{
    for (int i = 0; i < WAIT_TURNS_MAX && !result->done; i++) {
        world_turn(world);
        if (!result->done)
            (void)poll(NULL, 0, 1);
    }
    assert_true(result->done);
    assert_int_equal(result->calls, 1);
}

void world_until_down(struct world *world)
{
    for (int i = 0; i < WAIT_TURNS_MAX && world->nl->session.state == SESSION_READY;
         i++) {
        world_turn(world);
        (void)poll(NULL, 0, 1);
    }
    assert_int_not_equal(world->nl->session.state, SESSION_READY);
}

void world_until(struct world *world, enum netlock_event event, const char *name)
{
    for (int i = 0; i < WAIT_TURNS_MAX && world_count(world, event, name) == 0; i++) {
        world_turn(world);
        (void)poll(NULL, 0, 1);
    }
    assert_true(world_count(world, event, name) > 0);
}

/* ---- connections --------------------------------------------------------------------- */

void fake_close(struct fake *fake)
{
    if (fake->fd >= 0)
        close(fake->fd);
    fake->fd = -1;
    fake->in_len = 0;
}

void fake_refuse_connections(struct fake *fake)
{
    if (fake->listener >= 0)
        close(fake->listener);
    fake->listener = -1;
}

static bool is_given_up(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK);

    return n == 0 || (n < 0 && errno != EAGAIN);
}

/* The next connection that the client has not given up meanwhile, or -1. */
static int accept_one(const struct fake *fake)
{
    int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    while (fd >= 0 && is_given_up(fd)) {
        close(fd);
        fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    return fd;
}

void fake_accept(struct world *world, struct fake *fake)
{
    fake_close(fake);
    for (int i = 0; i < WAIT_TURNS_MAX && fake->fd < 0; i++) {
        world_turn(world);
        fake->fd = accept_one(fake);
        if (fake->fd < 0)
            (void)poll(NULL, 0, 1);
    }
    assert_true(fake->fd >= 0);
    /* What is sent in one go arrives in one turn. */
    int on = 1;
    assert_int_equal(setsockopt(fake->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
}

/* The next frame, if it is there: 1, 0, -1 for the end. */
static int next_request(struct fake *fake)
{
    const uint8_t *payload;
    size_t payload_len;
    int n = frame_next(fake->in, fake->in_len, &payload, &payload_len);
    if (n == 0) {
        ssize_t got =
            recv(fake->fd, fake->in + fake->in_len, sizeof(fake->in) - fake->in_len, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            return -1;
        if (got > 0)
            fake->in_len += (size_t)got;
        n = frame_next(fake->in, fake->in_len, &payload, &payload_len);
    }
    assert_true(n >= 0);
    if (n == 0)
        return 0;
    struct wire_refusal refusal;
    wire_arena_clear(&fake->arena);
    assert_int_equal(
        wire_decode_request(payload, payload_len, &fake->arena, &fake->request, &refusal),
        0);
    memcpy(fake->key, fake->request.key.data, fake->request.key.len);
    fake->key[fake->request.key.len] = 0;
    return n;
}

static void drop_frame(struct fake *fake, int n)
{
    memmove(fake->in, fake->in + n, fake->in_len - (size_t)n);
    fake->in_len -= (size_t)n;
}

static int next_message(struct world *world, struct fake *fake)
{
    for (int i = 0; i < WAIT_TURNS_MAX; i++) {
        world_turn(world);
        int n = next_request(fake);
        if (n != 0)
            return n;
        (void)poll(NULL, 0, 1);
    }
    return 0;
}

/* Strings of a decoded request may point into its frame, which drop_frame() moves. */
static void copy_string(char out[static WIRE_NAME_BYTES_MAX + 1], struct wire_str *str)
{
    assert_true(str->len <= WIRE_NAME_BYTES_MAX);
    if (str->len > 0)
        memcpy(out, str->data, str->len);
    out[str->len] = 0;
    str->data = out;
}

static void take_request(struct fake *fake, int n)
{
    copy_string(fake->client, &fake->request.client);
    copy_string(fake->lock, &fake->request.lock);
    drop_frame(fake, n);
}

const struct wire_request *
fake_expect(struct world *world, struct fake *fake, enum wire_request_type type)
{
    int n = next_message(world, fake);
    assert_true(n > 0);
    take_request(fake, n);
    assert_int_equal(fake->request.type, type);
    return &fake->request;
}

void fake_serve(struct world *world,
                struct fake *fake,
                void (*answer)(struct world *world, struct fake *fake))
{
    int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        fake_close(fake);
        fake->fd = fd;
    }
    int n = 0;
    while (fake->fd >= 0 && (n = next_request(fake)) > 0) {
        take_request(fake, n);
        answer(world, fake);
    }
    if (n < 0)
        fake_close(fake);
}

void fake_expect_nothing(struct world *world, struct fake *fake)
{
    for (int i = 0; i < 5; i++) {
        world_turn(world);
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(next_request(fake), 0);
}

void fake_expect_closed(struct world *world, struct fake *fake)
{
    assert_int_equal(next_message(world, fake), -1);
    fake_close(fake);
}

/* ---- answers ------------------------------------------------------------------------- */

void fake_send_bytes(struct fake *fake, const void *bytes, size_t len)
{
    ssize_t n = send(fake->fd, bytes, len, MSG_NOSIGNAL);
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
        return; /* the client has given up this connection */
    assert_int_equal(n, (ssize_t)len);
}

void fake_send(struct world *world,
               struct fake *fake,
               struct wire_response response,
               bool log)
{
    struct wire_buf buf = {0};
    if (response.key.data == NULL)
        response.key = fake_str(fake->key);
    response.extended = true;
    if (log)
        response.position = (struct wire_position){
            .index = ++world->index, .term = 1, .cluster_time_ms = world->cluster_ms};
    assert_int_equal(wire_encode_response(&buf, &response), 0);
    fake_send_bytes(fake, buf.data, buf.len);
    free(buf.data);
}

void fake_hello(struct world *world,
                struct fake *fake,
                bool leader,
                const char *leader_address)
{
    fake_send(world, fake,
              (struct wire_response){.type = WIRE_RESP_HELLO,
                                     .hello = {.version = WIRE_VERSION,
                                               .server = fake_str("fake"),
                                               .cluster_id = fake_str("test"),
                                               .node_id = 1,
                                               .leader = leader,
                                               .leader_address = fake_str(leader_address),
                                               .session_grace_ms = fake->grace_ms,
                                               .reattach_grace_ms = fake->grace_ms,
                                               .frame_bytes_max = FRAME_PAYLOAD_BYTES_MAX,
                                               .lock_timeout_max_ms = WIRE_UNLIMITED}},
              false);
}

uint64_t fake_greet(struct world *world,
                    struct fake *fake,
                    const struct wire_claim *claims,
                    size_t claims_count)
{
    static const uint8_t secret[WIRE_SECRET_BYTES] = "0123456789abcde";
    fake_accept(world, fake);
    fake_expect(world, fake, WIRE_REQ_HELLO);
    fake_hello(world, fake, true, fake->address);
    bool create = world->nl->client_id[0] == 0;
    const struct wire_request *request =
        fake_expect(world, fake, create ? WIRE_REQ_CREATE : WIRE_REQ_ATTACH);
    uint64_t epoch = create ? 0 : request->attach.epoch;
    struct wire_response response = {.type = WIRE_RESP_ATTACH, .client = request->client};
    if (create) {
        response.type = WIRE_RESP_CREATE;
        response.client = fake_str("made-by-the-cluster");
        response.create.secret =
            (struct wire_str){.data = (const char *)secret, .len = sizeof(secret)};
    } else {
        response.attach.epoch = epoch;
        response.attach.claims = claims;
        response.attach.claims_count = claims_count;
    }
    fake_send(world, fake, response, true);
    for (int i = 0; i < WAIT_TURNS_MAX && world->nl->session.state != SESSION_READY;
         i++) {
        world_turn(world);
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(world->nl->session.state, SESSION_READY);
    return epoch;
}

void fake_granted_later(struct world *world,
                        struct fake *fake,
                        const char *key,
                        const char *name,
                        uint64_t token,
                        uint32_t lock_timeout_ms,
                        enum wire_drop drop)
{
    fake_send(world, fake,
              (struct wire_response){.type = WIRE_RESP_GRANTED,
                                     .key = fake_str(key),
                                     .client = fake_str(world->nl->client_id),
                                     .lock = fake_str(name),
                                     .granted = {.token = token,
                                                 .lock_timeout_ms = lock_timeout_ms,
                                                 .remaining_ms = lock_timeout_ms,
                                                 .drop = drop}},
              true);
}

void fake_grant(struct world *world,
                struct fake *fake,
                const char *name,
                uint64_t token,
                uint32_t lock_timeout_ms,
                enum wire_drop drop)
{
    fake_granted_later(world, fake, fake->key, name, token, lock_timeout_ms, drop);
}

static void answer_lock(struct world *world,
                        struct fake *fake,
                        const char *name,
                        struct wire_response response)
{
    response.client = fake_str(world->nl->client_id);
    response.lock = fake_str(name);
    fake_send(world, fake, response, true);
}

void fake_wait(struct world *world,
               struct fake *fake,
               const char *name,
               uint32_t position)
{
    answer_lock(world, fake, name,
                (struct wire_response){
                    .type = WIRE_RESP_WAIT,
                    .wait = {.queue_position = position, .queue_length = position}});
}

void fake_deny(struct world *world,
               struct fake *fake,
               const char *name,
               enum wire_deny reason)
{
    answer_lock(
        world, fake, name,
        (struct wire_response){
            .type = WIRE_RESP_DENIED,
            .denied = {.reason = reason, .text = fake_str("because of\na test")}});
}

void fake_released(struct world *world,
                   struct fake *fake,
                   const char *name,
                   enum wire_release_result result)
{
    answer_lock(
        world, fake, name,
        (struct wire_response){.type = WIRE_RESP_RELEASE, .release = {.result = result}});
}

void fake_error(struct world *world,
                struct fake *fake,
                enum wire_error code,
                const char *leader,
                uint32_t retry_after_ms)
{
    fake_send(world, fake,
              (struct wire_response){.type = WIRE_RESP_ERROR,
                                     .error = {.code = code,
                                               .text = fake_str("the server says no"),
                                               .leader_address = fake_str(leader),
                                               .retry_after_ms = retry_after_ms}},
              false);
}

struct wire_claim fake_claim(uint64_t token, uint32_t remaining_ms, enum wire_drop drop)
{
    return (struct wire_claim){
        .client = fake_str("tester"),
        .lock = fake_str("job"),
        .token = token,
        .drop = drop,
        .remaining_ms = remaining_ms,
        .lock_timeout_ms = remaining_ms,
        .limit = 1,
    };
}

/* ---- both together ------------------------------------------------------------------- */

void world_lock(struct world *world,
                const char *name,
                const struct netlock_lock_options *options)
{
    assert_int_equal(
        netlock_lock_async(world->nl, name, options, world_done, &world->result[0]), 0);
}

struct world *world_holding(const struct netlock_options *options,
                            uint32_t lock_timeout_ms,
                            enum netlock_drop drop,
                            uint32_t grace_ms)
{
    struct world *world = world_new(options);
    struct fake *fake = &world->server[0];
    fake->grace_ms = grace_ms;
    fake_greet(world, fake, NULL, 0);
    struct netlock_lock_options how = {.lock_timeout_ms = lock_timeout_ms, .drop = drop};
    world_lock(world, "job", &how);
    fake_expect(world, fake, WIRE_REQ_LOCK);
    fake_grant(world, fake, "job", 7, lock_timeout_ms, (enum wire_drop)drop);
    world_wait(world, &world->result[0]);
    assert_int_equal(world->result[0].rv, 0);
    world->result[0] = (struct fake_result){0};
    return world;
}

void world_isolate(struct world *world)
{
    fake_refuse_connections(&world->server[0]);
    fake_close(&world->server[0]);
    world_until_down(world);
}
