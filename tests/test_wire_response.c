/* Responses: each against what protoc says; plain ones carry upstream's fields alone. */
#include "frame.h"
#include "wire.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden_messages.h"
#include "wire_bytes.h"

#define STR(text)                                                                        \
    {                                                                                    \
        (text), sizeof(text) - 1                                                         \
    }
#define POSITION                                                                         \
    .extended = true, .position = {                                                      \
                          .index = 1001,                                                 \
                          .term = 7,                                                     \
                          .cluster_time_ms = 123456789012,                               \
    }

struct fixture {
    struct bytes payload;
    struct bytes value;
    struct bytes any;
    struct wire_arena arena;
    struct wire_buf buf;
    struct wire_response response;
};

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct fixture));
    return *state != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    wire_arena_release(&f->arena);
    free(f->buf.data);
    free(f);
    return 0;
}

/* Decodes f->payload; when it can be read, encodes the result into f->buf. */
static int decode(struct fixture *f)
{
    wire_arena_clear(&f->arena);
    uint8_t *exact = malloc(f->payload.len != 0 ? f->payload.len : 1);
    assert_non_null(exact);
    memcpy(exact, f->payload.data, f->payload.len);
    int rv = wire_decode_response(exact, f->payload.len, &f->arena, &f->response);
    free(exact); /* what was read lives in the arena */
    if (rv == 0) {
        f->buf.len = 0;
        assert_int_equal(wire_encode_response(&f->buf, &f->response), 0);
    }
    return rv;
}

static int decode_value(struct fixture *f, const char *name)
{
    char url[128];
    snprintf(url, sizeof(url), "type.googleapis.com/gonetlock.%s", name);
    f->any.len = 0;
    f->payload.len = 0;
    bytes_put_text(&f->any, 1, url);
    bytes_put_blob(&f->any, 2, f->value.data, f->value.len);
    bytes_put_text(&f->payload, 1, "k");
    bytes_put_blob(&f->payload, 2, f->any.data, f->any.len);
    return decode(f);
}

static void assert_buf_is_the_frame_of(const struct wire_buf *buf,
                                       const struct bytes *payload)
{
    uint8_t header[FRAME_HEADER_BYTES];
    frame_put_header(header, payload->len);
    assert_int_equal(buf->len, FRAME_HEADER_BYTES + payload->len);
    assert_memory_equal(buf->data, header, sizeof(header));
    assert_memory_equal(buf->data + FRAME_HEADER_BYTES, payload->data, payload->len);
}

/* ---- every message ------------------------------------------------------------------ */

static const struct wire_claim holders[] = {
    {.client = STR("h1"),
     .lock = STR("n"),
     .owner_info = STR("host:pid"),
     .type = WIRE_READ,
     .drop = WIRE_DROP_IGNORE,
     .connected = true,
     .token = 41,
     .slot = 2,
     .limit = 3,
     .since_ms = 5000000000,
     .remaining_ms = 60,
     .lock_timeout_ms = 70},
    {.client = STR("h2"), .lock = STR("n")},
};
static const struct wire_claim waiters[] = {
    {.client = STR("w"), .lock = STR("n"), .waiting = true, .queue_position = 1},
};
static const struct wire_claim own_claims[] = {
    {.client = STR("c"),
     .lock = STR("n1"),
     .token = 9,
     .limit = 1,
     .remaining_ms = WIRE_UNLIMITED,
     .lock_timeout_ms = WIRE_UNLIMITED},
    {.client = STR("c"), .lock = STR("n2"), .waiting = true, .queue_position = 3},
};
static const struct wire_member members[] = {
    {.node_id = 1,
     .client_address = STR("a:1"),
     .peer_address = STR("a:2"),
     .voter = true},
    {.node_id = 2,
     .client_address = STR("b:1"),
     .peer_address = STR("b:2"),
     .match_index = 9,
     .connected = true},
};
static const struct wire_lock_summary locks[] = {
    {.lock = STR("n"),
     .type = WIRE_READ,
     .limit = 1,
     .holders_count = 2,
     .queue_length = 3,
     .holders = holders,
     .holders_shown = 2,
     .waiters = waiters,
     .waiters_shown = 1},
    {.lock = STR("o")},
};
static const struct wire_client_summary clients[] = {
    {.client = STR("c"),
     .epoch = 5,
     .holds_count = 6,
     .waits_count = 7,
     .connected = true},
    {.client = STR("d")},
};
static const struct wire_str ids[] = {STR("c"), STR("d")};

#define CLIENT      .key = STR("k"), .client = STR("c")
#define CLIENT_LOCK CLIENT, .lock = STR("n")
#define LOCK        .key = STR("k"), .lock = STR("n")
#define SECRET      STR("0123456789abcdef")

/* In pairs where upstream has the message: the answer after Hello, and the same without it. */
static const struct {
    const char *hex;
    const char *plain_hex;
    struct wire_response response;
} golden[] = {
    {golden_response_attach,
     golden_response_attach_plain,
     {.type = WIRE_RESP_ATTACH,
      CLIENT,
      POSITION,
      .attach = {.claims = own_claims, .claims_count = 2}}},
    {golden_response_detach,
     golden_response_detach_plain,
     {.type = WIRE_RESP_DETACH, CLIENT, POSITION}},
    {golden_response_create,
     golden_response_create_plain,
     {.type = WIRE_RESP_CREATE, CLIENT, POSITION, .create = {.secret = SECRET}}},
    {golden_response_default_id,
     golden_response_default_id,
     {.type = WIRE_RESP_DEFAULT_ID, CLIENT, .extended = true}},
    {golden_response_attached_ids,
     golden_response_attached_ids,
     {.type = WIRE_RESP_ATTACHED_IDS,
      .key = STR("k"),
      .extended = true,
      .attached_ids = {.ids = ids, .ids_count = 2}}},
    {golden_response_denied,
     golden_response_denied_plain,
     {.type = WIRE_RESP_DENIED,
      CLIENT_LOCK,
      POSITION,
      .denied = {.reason = WIRE_DENY_HELD,
                 .text = STR("held"),
                 .holders = holders,
                 .holders_shown = 2,
                 .holders_count = 17,
                 .queue_length = 6}}},
    {golden_response_wait,
     golden_response_wait_plain,
     {.type = WIRE_RESP_WAIT,
      CLIENT_LOCK,
      POSITION,
      .wait = {.queue_position = 2, .queue_length = 5}}},
    {golden_response_granted,
     golden_response_granted_plain,
     {.type = WIRE_RESP_GRANTED,
      CLIENT_LOCK,
      POSITION,
      .granted = {.token = 42,
                  .lock_timeout_ms = 30000,
                  .remaining_ms = 29000,
                  .has_client_time = true}}},
    {golden_response_granted_slot,
     golden_response_granted_plain,
     {.type = WIRE_RESP_GRANTED,
      CLIENT_LOCK,
      POSITION,
      .granted = {.token = 42, .type = WIRE_READ, .slot = 7, .drop = WIRE_DROP_IGNORE}}},
    {golden_response_wait_timeout,
     golden_response_wait_timeout_plain,
     {.type = WIRE_RESP_WAIT_TIMEOUT, CLIENT_LOCK, POSITION}},
    {golden_response_timeout,
     golden_response_timeout_plain,
     {.type = WIRE_RESP_TIMEOUT,
      CLIENT_LOCK,
      POSITION,
      .timeout = {.token = 42, .reason = WIRE_HOLD_BROKEN}}},
    {golden_response_release,
     golden_response_release_plain,
     {.type = WIRE_RESP_RELEASE,
      CLIENT_LOCK,
      POSITION,
      .release = {.result = WIRE_HELD_BY_OTHER, .token = 42}}},
    {golden_response_status,
     golden_response_status_plain,
     {.type = WIRE_RESP_STATUS,
      CLIENT_LOCK,
      POSITION,
      .status = {.type = WIRE_READ,
                 .state = WIRE_HELD_BY_ME,
                 .token = 42,
                 .drop = WIRE_DROP_IGNORE,
                 .holders = holders,
                 .holders_shown = 2,
                 .holders_count = 2,
                 .queue_length = 4,
                 .queue_position = 1,
                 .limit = 3,
                 .slot = 2}}},
    {golden_response_hello,
     NULL,
     {.type = WIRE_RESP_HELLO,
      .key = STR("k"),
      .extended = true,
      .hello = {.version = 1,
                .server = STR("netlockd/1"),
                .cluster_id = STR("id"),
                .leader_address = STR("b:1"),
                .node_id = 2,
                .leader_id = 2,
                .leader = true,
                .members = members,
                .members_count = 2,
                .session_grace_ms = 1,
                .reattach_grace_ms = 2,
                .frame_bytes_max = 3,
                .lock_timeout_max_ms = 4}}},
    {golden_response_ping,
     NULL,
     {.type = WIRE_RESP_PING,
      .key = STR("k"),
      .extended = true,
      .ping = {.payload = STR("\000\377")}}},
    {golden_response_error,
     NULL,
     {.type = WIRE_RESP_ERROR,
      CLIENT_LOCK,
      .extended = true,
      .error = {.code = WIRE_ERROR_NOT_LEADER,
                .text = STR("elsewhere"),
                .leader_address = STR("c:1"),
                .leader_id = 3,
                .retry_after_ms = 50}}},
    {golden_response_check_token,
     NULL,
     {.type = WIRE_RESP_CHECK_TOKEN,
      LOCK,
      POSITION,
      .check_token = {.token = 41, .superseded_by = 42, .state = WIRE_TOKEN_SUPERSEDED}}},
    {golden_response_list_locks,
     NULL,
     {.type = WIRE_RESP_LIST_LOCKS,
      .key = STR("k"),
      POSITION,
      .list_locks = {.locks = locks, .count = 2, .more = true}}},
    {golden_response_list_clients,
     NULL,
     {.type = WIRE_RESP_LIST_CLIENTS,
      .key = STR("k"),
      POSITION,
      .list_clients = {.clients = clients, .count = 2, .more = true}}},
    {golden_response_force_release,
     NULL,
     {.type = WIRE_RESP_FORCE_RELEASE,
      LOCK,
      POSITION,
      .force_release = {.holds_broken = 2}}},
    {golden_response_cluster_status,
     NULL,
     {.type = WIRE_RESP_CLUSTER_STATUS,
      .key = STR("k"),
      .extended = true,
      .cluster_status = {.node_id = 1,
                         .term = 7,
                         .leader_id = 1,
                         .commit_index = 9,
                         .applied_index = 8,
                         .last_index = 10,
                         .cluster_time_ms = 11,
                         .checkpoint_index = 12,
                         .checkpoint_hash = UINT64_MAX - 1,
                         .locks = 13,
                         .holds = 14,
                         .waits = 15,
                         .clients = 16,
                         .connections = 18,
                         .uptime_ms = 19,
                         .last_token = 20,
                         .draining = true,
                         .log_level = WIRE_LOG_DEBUG,
                         .feature_level = 21,
                         .feature_level_max = 22,
                         .requests = 23,
                         .commits = 24,
                         .commits_us = 25,
                         .role = WIRE_ROLE_SERVING,
                         .cluster_id = STR("id"),
                         .server = STR("netlockd/1"),
                         .leader_address = STR("a:1"),
                         .members = members,
                         .members_count = 2}}},
    {golden_response_backup,
     NULL,
     {.type = WIRE_RESP_BACKUP,
      .key = STR("k"),
      POSITION,
      .backup =
          {.backup = 3, .offset = 4, .size = 5, .last_token = 6, .data = STR("NLBK")}}},
    {golden_response_client_kill,
     NULL,
     {.type = WIRE_RESP_CLIENT_KILL,
      .key = STR("k"),
      .client = STR("c"),
      POSITION,
      .client_kill = {.found = true}}},
    {golden_response_cluster_change,
     NULL,
     {.type = WIRE_RESP_CLUSTER_CHANGE,
      .key = STR("k"),
      .cluster_change = {.result = WIRE_CHANGE_REFUSED, .text = STR("no")}}},
    {golden_response_node_control,
     NULL,
     {.type = WIRE_RESP_NODE_CONTROL,
      .key = STR("k"),
      .extended = true,
      .node_control = {.node_id = 3, .draining = true, .log_level = WIRE_LOG_WARNING}}},
};
enum { GOLDEN_COUNT = sizeof(golden) / sizeof(golden[0]) };

static void every_response_is_encoded_as_protoc_does(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < GOLDEN_COUNT; i++) {
        f->payload.len = 0;
        bytes_put_hex(&f->payload, golden[i].hex);
        f->buf.len = 0;

        assert_int_equal(wire_encode_response(&f->buf, &golden[i].response), 0);

        assert_buf_is_the_frame_of(&f->buf, &f->payload);
    }
}

static void plain_responses_carry_only_upstreams_fields(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < GOLDEN_COUNT; i++) {
        if (golden[i].plain_hex == NULL) {
            continue;
        }
        struct wire_response plain = golden[i].response;
        plain.extended =
            false; /* all the rest is still filled in, and must not get out */
        f->payload.len = 0;
        bytes_put_hex(&f->payload, golden[i].plain_hex);
        f->buf.len = 0;

        assert_int_equal(wire_encode_response(&f->buf, &plain), 0);

        assert_buf_is_the_frame_of(&f->buf, &f->payload);
    }
}

static void every_response_survives_decoding(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < GOLDEN_COUNT; i++) {
        const char *const forms[] = {golden[i].hex, golden[i].plain_hex};
        for (size_t form = 0; form < 2 && forms[form] != NULL; form++) {
            f->payload.len = 0;
            bytes_put_hex(&f->payload, forms[form]);

            assert_int_equal(decode(f), 0);

            assert_int_equal(f->response.type, golden[i].response.type);
            bool differs = golden[i].plain_hex != golden[i].hex;
            assert_int_equal(f->response.extended, form == 0 && differs);
            assert_buf_is_the_frame_of(&f->buf, &f->payload);
        }
    }
}

/* By value, where the same mistake in reading and writing would cancel out. */
static void decoded_values_are_the_right_ones(void **state)
{
    struct fixture *f = *state;
    bytes_put_hex(&f->payload, golden_response_granted);
    assert_int_equal(decode(f), 0);
    assert_int_equal(f->response.granted.token, 42);
    assert_int_equal(f->response.granted.lock_timeout_ms, 30000);
    assert_int_equal(f->response.granted.remaining_ms, 29000);
    assert_int_equal(f->response.position.index, 1001);
    assert_int_equal(f->response.position.term, 7);
    assert_int_equal(f->response.position.cluster_time_ms, 123456789012);

    f->payload.len = 0;
    bytes_put_hex(&f->payload, golden_response_attach);
    assert_int_equal(decode(f), 0);
    assert_int_equal(f->response.attach.claims_count, 2);
    const struct wire_claim *wait = &f->response.attach.claims[1];
    assert_int_equal(wait->client.len, 1); /* left out on the wire: the answer's client */
    assert_memory_equal(wait->client.data, "c", 1);
    assert_memory_equal(wait->lock.data, "n2", 2);
    assert_true(wait->waiting);
    assert_int_equal(wait->queue_position, 3);

    f->payload.len = 0;
    bytes_put_hex(&f->payload, golden_response_list_locks);
    assert_int_equal(decode(f), 0);
    const struct wire_claim *holder = &f->response.list_locks.locks[0].holders[0];
    assert_memory_equal(holder->lock.data, "n", 1);
    assert_memory_equal(holder->client.data, "h1", 2);
    assert_int_equal(holder->since_ms, 5000000000);
}

static void every_truncation_and_change_of_every_response_is_survived(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < GOLDEN_COUNT; i++) {
        f->payload.len = 0;
        bytes_put_hex(&f->payload, golden[i].hex);
        size_t whole = f->payload.len;
        for (size_t len = 0; len < whole; len++) {
            f->payload.len = len;
            assert_int_not_equal(decode(f), 0);
        }
        f->payload.len = whole;
        for (size_t at = 0; at < whole; at++) {
            uint8_t right = f->payload.data[at];
            for (unsigned bit = 0; bit < 8; bit++) {
                f->payload.data[at] = (uint8_t)(right ^ 1u << bit);
                (void)decode(f);
            }
            f->payload.data[at] = right;
        }
    }
}

/* ---- a newer or a broken server ----------------------------------------------------- */

static void unknown_fields_and_reasons_of_a_newer_server_are_taken(void **state)
{
    struct fixture *f = *state;
    bytes_put_text(&f->value, 1, "c");
    bytes_put_text(&f->value, 2, "n");
    bytes_put_number(&f->value, 100, 99); /* a reason that does not exist yet */
    for (unsigned i = 0; i < 40; i++) {
        bytes_put_number(&f->value, 200 + i, 1);
    }
    assert_int_equal(decode_value(f, "LockDeniedResponse"), 0);
    assert_int_equal(f->response.denied.reason, 0);
    assert_int_equal(f->response.client.len, 1);
}

static void response_of_an_unknown_type_is_told_apart(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(decode_value(f, "LockBrandNewResponse"), -EOPNOTSUPP);
    assert_int_equal(f->response.key.len, 1);
    assert_memory_equal(f->response.key.data, "k", 1);
    assert_int_equal(decode_value(f, "LockRequest"), -EOPNOTSUPP);
}

static void what_decides_who_holds_must_be_understood(void **state)
{
    struct fixture *f = *state;
    bytes_put_text(&f->value, 1, "c");
    bytes_put_text(&f->value, 2, "n");
    bytes_put_number(&f->value, 101, 2); /* neither WRITE nor READ */
    assert_int_equal(decode_value(f, "LockGrantedResponse"), -EINVAL);

    f->value.len = 0;
    bytes_put_text(&f->value, 2, "n\x1b[2J"); /* would clear a terminal */
    assert_int_equal(decode_value(f, "LockGrantedResponse"), -EINVAL);

    f->value.len = 0;
    bytes_put_text(&f->value, 2, "c");
    bytes_put_text(&f->value, 100, "short secret");
    assert_int_equal(decode_value(f, "ClientCreateResponse"), -EINVAL);
}

static void answer_above_the_limit_of_the_arena_is_refused(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 1000; i++) {
        bytes_put_text(&f->value, 1, "some-client-id");
    }
    f->arena.limit_bytes = 20000;
    assert_int_equal(decode_value(f, "ClientGetAttachedIdsResponse"), -EINVAL);
    f->arena.limit_bytes = 200000;
    assert_int_equal(decode_value(f, "ClientGetAttachedIdsResponse"), 0);
    assert_int_equal(f->response.attached_ids.ids_count, 1000);
}

/* ---- size --------------------------------------------------------------------------- */

static struct wire_claim *
many_claims(size_t count, struct wire_str client, char names[][32])
{
    struct wire_claim *claims = calloc(count, sizeof(*claims));
    assert_non_null(claims);
    for (size_t i = 0; i < count; i++) {
        int len = snprintf(names[i], sizeof(names[i]), "registration/lock-%05zu", i);
        claims[i] = (struct wire_claim){.client = client,
                                        .lock = {names[i], (size_t)len},
                                        .token = 1000000 + i,
                                        .limit = 1,
                                        .since_ms = 3600000,
                                        .remaining_ms = 30000,
                                        .lock_timeout_ms = 30000,
                                        .connected = true};
    }
    return claims;
}

static void ten_thousand_claims_of_a_client_fit_its_attach_response(void **state)
{
    struct fixture *f = *state;
    struct wire_str client = STR("c9a1d0e2f3a4b5c6d7e8f90a1b2c3d4e");
    char(*names)[32] = calloc(WIRE_CLAIMS_MAX, sizeof(*names));
    assert_non_null(names);
    struct wire_claim *claims = many_claims(WIRE_CLAIMS_MAX, client, names);
    struct wire_response response = {
        .type = WIRE_RESP_ATTACH,
        .client = client,
        .extended = true,
        .attach = {.epoch = 1, .claims = claims, .claims_count = WIRE_CLAIMS_MAX}};

    assert_int_equal(wire_encode_response(&f->buf, &response), 0);
    assert_int_equal(wire_decode_response(f->buf.data + FRAME_HEADER_BYTES,
                                          f->buf.len - FRAME_HEADER_BYTES, &f->arena,
                                          &f->response),
                     0);

    assert_int_equal(f->response.attach.claims_count, WIRE_CLAIMS_MAX);
    const struct wire_claim *last = &f->response.attach.claims[WIRE_CLAIMS_MAX - 1];
    assert_int_equal(last->token, 1000000 + WIRE_CLAIMS_MAX - 1);
    assert_int_equal(last->client.len, 32);
    free(claims);
    free(names);
}

static void answer_that_does_not_fit_a_frame_leaves_the_buffer_alone(void **state)
{
    struct fixture *f = *state;
    static char text[255];
    memset(text, 'x', sizeof(text));
    static struct wire_str
        many[4096]; /* 4096 * (3 + 255) bytes are just above the limit */
    for (size_t i = 0; i < 4096; i++) {
        many[i] = (struct wire_str){text, sizeof(text)};
    }
    struct wire_response small = {.type = WIRE_RESP_PING, .ping = {.payload = STR("x")}};
    struct wire_response large = {.type = WIRE_RESP_ATTACHED_IDS,
                                  .attached_ids = {.ids = many, .ids_count = 4096}};
    assert_int_equal(wire_encode_response(&f->buf, &small), 0);
    size_t len = f->buf.len;

    assert_int_equal(wire_encode_response(&f->buf, &large), -EMSGSIZE);
    assert_int_equal(f->buf.len, len);

    large.attached_ids.ids_count = 4000;
    assert_int_equal(wire_encode_response(&f->buf, &large), 0);
    assert_memory_equal(f->buf.data, "\x00\x00\x00",
                        3); /* the small one is still in front */
}

static void frames_are_appended_one_behind_the_other(void **state)
{
    struct fixture *f = *state;
    const uint8_t *payload = NULL;
    size_t len = 0;
    for (size_t i = 0; i < GOLDEN_COUNT; i++) {
        assert_int_equal(wire_encode_response(&f->buf, &golden[i].response), 0);
    }
    size_t at = 0;
    for (size_t i = 0; i < GOLDEN_COUNT; i++) {
        int size = frame_next(f->buf.data + at, f->buf.len - at, &payload, &len);
        assert_true(size > 0);
        assert_int_equal(len * 2, strlen(golden[i].hex));
        at += (size_t)size;
    }
    assert_int_equal(at, f->buf.len);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_response_is_encoded_as_protoc_does),
        TEST(plain_responses_carry_only_upstreams_fields),
        TEST(every_response_survives_decoding),
        TEST(decoded_values_are_the_right_ones),
        TEST(every_truncation_and_change_of_every_response_is_survived),
        TEST(unknown_fields_and_reasons_of_a_newer_server_are_taken),
        TEST(response_of_an_unknown_type_is_told_apart),
        TEST(what_decides_who_holds_must_be_understood),
        TEST(answer_above_the_limit_of_the_arena_is_refused),
        TEST(ten_thousand_claims_of_a_client_fit_its_attach_response),
        TEST(answer_that_does_not_fit_a_frame_leaves_the_buffer_alone),
        TEST(frames_are_appended_one_behind_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
