#include "server_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "frame.h"
#include "kept_port.h"
#include "peer_address.h"

enum { PATIENCE_MS = 60000, FLAGS_MAX = 40 };

uint64_t fixture_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void turn(struct fixture *fixture)
{
    struct fixture *one = fixture;

    do {
        if (!one->stopped) {
            uv_run(&one->loop, UV_RUN_NOWAIT);
        }
        one = one->next;
    } while (one != NULL && one != fixture);
    usleep(100);
}

void fixture_run(struct fixture *fixture, unsigned ms)
{
    uint64_t end_ms = fixture_now_ms() + ms;

    if (ms == 0) {
        return;
    }
    do {
        turn(fixture);
    } while (fixture_now_ms() < end_ms);
}

/* ---- the server ---- */

static void on_fatal(void *arg, const char *what)
{
    (void)arg;
    fprintf(stderr, "fatal: %s\n", what);
    abort();
}

static bool names_members(const char *const *flags)
{
    for (; flags != NULL && *flags != NULL; flags++) {
        if (strcmp(*flags, "--member") == 0) {
            return true;
        }
    }
    return false;
}

static void configure(struct fixture *fixture, const char *const *flags)
{
    char peer_listen[32];
    char error[CONFIG_ERROR_BYTES];
    const char *argv[FLAGS_MAX] = {"netlockd", "--data-dir", fixture->dir, "--log-level",
                                   "error"};
    int argc = 5;
    enum config_action action;

    if (!names_members(flags)) {
        snprintf(peer_listen, sizeof(peer_listen), "127.0.0.1:%d", keep_port());
        argv[argc++] = "--listen";
        argv[argc++] = "127.0.0.1:0";
        argv[argc++] = "--peer-listen";
        argv[argc++] = peer_listen;
    }
    for (; flags != NULL && *flags != NULL; flags++) {
        assert_true(argc < FLAGS_MAX - 1);
        argv[argc++] = *flags;
    }
    char *const *arguments = (char *const *)(uintptr_t)argv;
    if (config_load(&fixture->config, argc, arguments, &action, error) != 0) {
        fail_msg("%s", error);
    }
}

bool fixture_serves(struct fixture *fixture)
{
    struct peer peer;

    peer_open(&peer, fixture);
    struct wire_response hello = peer_hello(&peer, 0);
    bool leader = hello.hello.leader;
    peer_close(&peer);
    return leader;
}

void fixture_start(struct fixture *fixture, const char *const *flags)
{
    struct server_host host = {.fatal = on_fatal};
    char error[SERVER_ERROR_BYTES] = "";

    *fixture = (struct fixture){0};
    signal(SIGPIPE, SIG_IGN);
    snprintf(fixture->dir, sizeof(fixture->dir), "/tmp/netlock-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->dir));
    configure(fixture, flags);
    log_init(&fixture->log, fixture->config.log_level);
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    int rv = server_new(&fixture->server, &fixture->loop, &fixture->config, &fixture->log,
                        &host, error);
    if (rv == 0) {
        rv = server_start(fixture->server, error);
    }
    if (rv != 0) {
        fail_msg("%s", error);
    }
    uint64_t end_ms = fixture_now_ms() + PATIENCE_MS;
    while (fixture->config.members_count == 1 && !fixture_serves(fixture)) {
        assert_true(fixture_now_ms() < end_ms);
    }
}

static void on_stopped(void *arg)
{
    *(bool *)arg = true;
}

static int
remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void fixture_stop(struct fixture *fixture)
{
    uint64_t end_ms = fixture_now_ms() + PATIENCE_MS;

    server_stop(fixture->server, on_stopped, &fixture->stopped);
    while (!fixture->stopped) {
        assert_true(fixture_now_ms() < end_ms);
        turn(fixture);
    }
    server_free(fixture->server);
    uv_run(&fixture->loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    nftw(fixture->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- peers ---- */

void peer_open(struct peer *peer, struct fixture *fixture)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct peer_address parsed;

    *peer = (struct peer){.fixture = fixture};
    assert_int_equal(peer_address_parse(server_address(fixture->server), &parsed), 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)atoi(parsed.port));
    peer->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(peer->fd >= 0);
    assert_int_equal(connect(peer->fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

void peer_close(struct peer *peer)
{
    close(peer->fd);
    free(peer->in);
    wire_arena_release(&peer->arena);
}

void peer_reset(struct peer *peer)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    peer_close(peer);
}

void peer_send_bytes(struct peer *peer, const void *data, size_t len)
{
    const uint8_t *at = data;
    uint64_t end_ms = fixture_now_ms() + PATIENCE_MS;

    while (len != 0) {
        ssize_t sent = send(peer->fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            at += sent;
            len -= (size_t)sent;
        } else {
            assert_int_equal(errno, EAGAIN);
        }
        turn(peer->fixture);
        assert_true(fixture_now_ms() < end_ms);
    }
}

void peer_send(struct peer *peer, const struct wire_request *request)
{
    struct wire_buf buf = {0};

    assert_int_equal(wire_encode_request(&buf, request), 0);
    peer_send_bytes(peer, buf.data, buf.len);
    free(buf.data);
}

/* Read what is there. */
static void fill(struct peer *peer)
{
    if (peer->in_capacity - peer->in_len < 65536) {
        peer->in_capacity = peer->in_capacity + 131072;
        peer->in = realloc(peer->in, peer->in_capacity);
        assert_non_null(peer->in);
    }
    ssize_t got = recv(peer->fd, peer->in + peer->in_len,
                       peer->in_capacity - peer->in_len, MSG_DONTWAIT);
    if (got > 0) {
        peer->in_len += (size_t)got;
    } else if (got == 0 || errno != EAGAIN) {
        peer->ended = true;
    }
}

static bool next(struct peer *peer, struct wire_response *ret)
{
    const uint8_t *payload;
    size_t payload_len;
    int size = frame_next(peer->in + peer->in_taken, peer->in_len - peer->in_taken,
                          &payload, &payload_len);

    assert_true(size >= 0);
    if (size == 0) {
        return false;
    }
    peer->in_taken += (size_t)size;
    wire_arena_clear(&peer->arena);
    assert_int_equal(wire_decode_response(payload, payload_len, &peer->arena, ret), 0);
    return true;
}

struct wire_response peer_expect_any(struct peer *peer)
{
    uint64_t end_ms = fixture_now_ms() + PATIENCE_MS;
    struct wire_response response;

    if (peer->in == NULL) {
        fill(peer);
    }
    while (!next(peer, &response)) {
        if (peer->ended || fixture_now_ms() > end_ms) {
            fail_msg("%s instead of an answer", peer->ended ? "the end" : "nothing");
        }
        turn(peer->fixture);
        fill(peer);
    }
    return response;
}

struct wire_response peer_expect(struct peer *peer, enum wire_response_type type)
{
    struct wire_response response = peer_expect_any(peer);

    if (response.type != type) {
        bool error = response.type == WIRE_RESP_ERROR;
        fail_msg("an answer of type %d instead of %d: %.*s", response.type, type,
                 error ? (int)response.error.text.len : 0,
                 error ? response.error.text.data : "");
    }
    return response;
}

void peer_expect_nothing(struct peer *peer)
{
    struct wire_response response;

    fixture_run(peer->fixture, 60);
    fill(peer);
    assert_false(peer->ended);
    assert_false(next(peer, &response));
}

void peer_expect_end(struct peer *peer)
{
    uint64_t end_ms = fixture_now_ms() + PATIENCE_MS;

    while (!peer->ended) {
        assert_true(fixture_now_ms() < end_ms);
        turn(peer->fixture);
        fill(peer);
    }
}

struct wire_response peer_hello(struct peer *peer, uint32_t session_grace_ms)
{
    struct wire_request hello = {
        .type = WIRE_REQ_HELLO,
        .hello = {.version_min = 1,
                  .version_max = 1,
                  .session_grace_ms = session_grace_ms},
    };

    peer_send(peer, &hello);
    return peer_expect(peer, WIRE_RESP_HELLO);
}

struct wire_str str(const char *text)
{
    return (struct wire_str){.data = text, .len = strlen(text)};
}

bool str_is(struct wire_str actual, const char *text)
{
    return actual.len == strlen(text) && memcmp(actual.data, text, actual.len) == 0;
}
