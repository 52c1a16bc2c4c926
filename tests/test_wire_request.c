/* Requests: each against what protoc says, cut short and damaged. */
#include "wire_request_fixture.h"

#include "frame.h"
#include "golden_messages.h"

/* ---- every message ------------------------------------------------------------------ */

static const struct {
    const char *hex;
    struct wire_request request; /* without key: "k" */
} golden[] = {
    {golden_request_attach,
     {.type = WIRE_REQ_ATTACH,
      .client = {"c", 1},
      .attach = {.has_epoch = true,
                 .epoch = 5,
                 .supersede = true,
                 .secret = {"0123456789abcdef", 16}}}},
    {golden_request_attach_zero,
     {.type = WIRE_REQ_ATTACH, .client = {"c", 1}, .attach = {.has_epoch = true}}},
    {golden_request_detach, {.type = WIRE_REQ_DETACH, .client = {"c", 1}}},
    {golden_request_create, {.type = WIRE_REQ_CREATE}},
    {golden_request_get_default_id, {.type = WIRE_REQ_GET_DEFAULT_ID}},
    {golden_request_get_attached_ids, {.type = WIRE_REQ_GET_ATTACHED_IDS}},
    {golden_request_lock,
     {.type = WIRE_REQ_LOCK,
      .client = {"c", 1},
      .lock = {"n", 1},
      .lock_ = {.mode = WIRE_WAIT,
                .drop = WIRE_DROP_IGNORE,
                .wait_timeout_ms = WIRE_UNLIMITED,
                .lock_timeout_ms = 30000,
                .limit = 2,
                .downgrade = true,
                .owner_info = {"me", 2},
                .has_client_time = true,
                .client_time = UINT64_MAX}}},
    {golden_request_lock_read,
     {.type = WIRE_REQ_LOCK,
      .lock = {"n", 1},
      .lock_ = {.type = WIRE_READ, .limit = 1, .has_client_time = true}}},
    {golden_request_refresh,
     {.type = WIRE_REQ_REFRESH,
      .client = {"c", 1},
      .lock = {"n", 1},
      .refresh = {.wait_timeout_ms = 5,
                  .lock_timeout_ms = 6,
                  .set_drop = true,
                  .drop = WIRE_DROP_RELEASE,
                  .token = 77,
                  .has_client_time = true,
                  .client_time = 8}}},
    {golden_request_release,
     {.type = WIRE_REQ_RELEASE,
      .client = {"c", 1},
      .lock = {"n", 1},
      .release = {.token = 77}}},
    {golden_request_status,
     {.type = WIRE_REQ_STATUS, .client = {"c", 1}, .lock = {"n", 1}}},
    {golden_request_hello,
     {.type = WIRE_REQ_HELLO,
      .hello = {.version_min = 1,
                .version_max = 2,
                .library = {"lib/1.0", 7},
                .token = {"0123456789abcdef", 16},
                .session_grace_ms = 10000}}},
    {golden_request_ping, {.type = WIRE_REQ_PING, .ping = {.payload = {"\000\377", 2}}}},
    {golden_request_check_token,
     {.type = WIRE_REQ_CHECK_TOKEN, .lock = {"n", 1}, .check_token = {.token = 77}}},
    {golden_request_list_locks,
     {.type = WIRE_REQ_LIST_LOCKS,
      .list = {.prefix = {"p", 1}, .after = {"pa", 2}, .max = 1000}}},
    {golden_request_list_clients,
     {.type = WIRE_REQ_LIST_CLIENTS,
      .list = {.prefix = {"p", 1}, .after = {"pa", 2}, .max = 1}}},
    {golden_request_force_release,
     {.type = WIRE_REQ_FORCE_RELEASE, .lock = {"n", 1}, .force_release = {.token = 77}}},
    {golden_request_cluster_status,
     {.type = WIRE_REQ_CLUSTER_STATUS, .cluster_status = {.checkpoint = true}}},
    {golden_request_backup,
     {.type = WIRE_REQ_BACKUP, .backup = {.backup = UINT64_MAX, .offset = 262144}}},
    {golden_request_client_kill, {.type = WIRE_REQ_CLIENT_KILL, .client = {"c", 1}}},
    {golden_request_cluster_change,
     {.type = WIRE_REQ_CLUSTER_CHANGE,
      .cluster_change = {.change = WIRE_CHANGE_ADD,
                         .node_id = 4,
                         .peer_address = {"d:2", 3},
                         .client_address = {"d:1", 3},
                         .force = true}}},
    {golden_request_node_control,
     {.type = WIRE_REQ_NODE_CONTROL,
      .node_control = {.has_draining = true, .log_level = WIRE_LOG_ERROR}}},
};
enum { GOLDEN_COUNT = sizeof(golden) / sizeof(golden[0]) };

static void assert_buf_is_the_frame_of(const struct wire_buf *buf,
                                       const struct bytes *payload)
{
    uint8_t header[FRAME_HEADER_BYTES];
    frame_put_header(header, payload->len);
    assert_int_equal(buf->len, FRAME_HEADER_BYTES + payload->len);
    assert_memory_equal(buf->data, header, sizeof(header));
    assert_memory_equal(buf->data + FRAME_HEADER_BYTES, payload->data, payload->len);
}

static void every_request_is_encoded_as_protoc_does(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < GOLDEN_COUNT; i++) {
        f->payload.len = 0;
        bytes_put_hex(&f->payload, golden[i].hex);
        struct wire_request request = golden[i].request;
        request.key = STR("k");
        f->buf.len = 0;

        assert_int_equal(wire_encode_request(&f->buf, &request), 0);

        assert_buf_is_the_frame_of(&f->buf, &f->payload);
    }
}

/* decode() encodes again; so a field that is lost in reading shows. */
static void every_request_survives_decoding(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < GOLDEN_COUNT; i++) {
        f->payload.len = 0;
        bytes_put_hex(&f->payload, golden[i].hex);

        assert_int_equal(decode(f), 0);

        assert_int_equal(f->request.type, golden[i].request.type);
        assert_str(f->request.key, "k");
        assert_buf_is_the_frame_of(&f->buf, &f->payload);
    }
}

static void golden_frame_of_the_specification_both_ways(void **state)
{
    struct fixture *f = *state;
    bytes_put_hex(
        &f->payload,
        "000000460a03313233123f0a31747970652e676f6f676c65617069732e636f6d2f676f6e6574"
        "6c6f636b2e436c69656e7441747461636852657175657374120a0a08706c617965722d31");
    const uint8_t *payload = NULL;
    size_t len = 0;
    struct wire_request request = {
        .type = WIRE_REQ_ATTACH, .key = STR("123"), .client = STR("player-1")};

    assert_int_equal(frame_next(f->payload.data, f->payload.len, &payload, &len),
                     f->payload.len);
    assert_int_equal(
        wire_decode_request(payload, len, &f->arena, &f->request, &f->refusal), 0);
    assert_int_equal(wire_encode_request(&f->buf, &request), 0);

    assert_int_equal(f->request.type, WIRE_REQ_ATTACH);
    assert_str(f->request.key, "123");
    assert_str(f->request.client, "player-1");
    assert_int_equal(f->buf.len, f->payload.len);
    assert_memory_equal(f->buf.data, f->payload.data, f->payload.len);
}

static void every_truncation_of_every_request_is_survived(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < GOLDEN_COUNT; i++) {
        f->payload.len = 0;
        bytes_put_hex(&f->payload, golden[i].hex);
        size_t whole = f->payload.len;
        size_t key = 3; /* a message may end behind its key: that is one of no type */
        for (size_t len = 0; len < whole; len++) {
            f->payload.len = len;
            assert_int_equal(decode(f), -EINVAL);
            bool between_fields = len == 0 || len == key;
            assert_int_equal(f->refusal.problem,
                             between_fields ? WIRE_UNKNOWN_TYPE : WIRE_MALFORMED);
        }
    }
}

/* The same for the message inside: here the lengths around it are right. */
static void every_truncation_of_a_lock_request_is_survived(void **state)
{
    struct fixture *f = *state;
    static uint8_t whole[256];
    bytes_put_text(&f->value, 1, "client");
    bytes_put_text(&f->value, 2, "lock");
    bytes_put_number(&f->value, 5, 300);
    bytes_put_text(&f->value, 102, "info");
    bytes_put_number(&f->value, 103, UINT64_MAX);
    size_t len = f->value.len;
    memcpy(whole, f->value.data, len);
    size_t accepted = 0;

    for (size_t part = 0; part <= len; part++) {
        f->value.len = 0;
        bytes_put(&f->value, whole, part);
        accepted += decode_value(f, "LockRequest") == 0;
    }

    assert_int_equal(accepted, 4); /* with two fields, three, four, all five */
}

static void every_changed_byte_of_every_request_is_survived(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < GOLDEN_COUNT; i++) {
        f->payload.len = 0;
        bytes_put_hex(&f->payload, golden[i].hex);
        for (size_t at = 0; at < f->payload.len; at++) {
            uint8_t right = f->payload.data[at];
            for (unsigned wrong = 0; wrong <= 0xff; wrong++) {
                f->payload.data[at] = (uint8_t)wrong;
                (void)decode(f);
            }
            f->payload.data[at] = right;
        }
    }
}

/* ---- the envelope ------------------------------------------------------------------- */

static void type_url_counts_from_its_last_slash(void **state)
{
    struct fixture *f = *state;
    const char *const urls[] = {
        "type.googleapis.com/gonetlock.ClientCreateRequest",
        "gonetlock.ClientCreateRequest",
        "/gonetlock.ClientCreateRequest",
        "https://example.org/a/b/gonetlock.ClientCreateRequest",
    };
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        wrap(f, urls[i], NULL);
        assert_int_equal(decode(f), 0);
        assert_int_equal(f->request.type, WIRE_REQ_CREATE);
        assert_int_equal(f->request.key.len, 0);
    }
}

static void unknown_type_is_named_so_and_keeps_the_key(void **state)
{
    struct fixture *f = *state;
    const char *const urls[] = {
        "",
        "/",
        "type.googleapis.com/gonetlock.LockRequests",
        "type.googleapis.com/gonetlock.LockRequest/",
        "type.googleapis.com/LockRequest",
        "type.googleapis.com/gonetlock.lockRequest",
        "type.googleapis.com/gonetlock.LockGrantedResponse",
    };
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        wrap(f, urls[i], "key");
        assert_int_equal(decode(f), -EINVAL);
        assert_int_equal(f->refusal.problem, WIRE_UNKNOWN_TYPE);
        assert_int_equal(f->request.type, 0);
        assert_str(f->request.key, "key");
    }
}

static void message_without_content_is_of_unknown_type(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(decode(f), -EINVAL);
    assert_int_equal(f->refusal.problem, WIRE_UNKNOWN_TYPE);

    bytes_put_text(&f->payload, 1, "key");
    assert_int_equal(decode(f), -EINVAL);
    assert_int_equal(f->refusal.problem, WIRE_UNKNOWN_TYPE);
    assert_str(f->request.key, "key");
}

static void key_is_any_text_up_to_255_bytes(void **state)
{
    struct fixture *f = *state;
    char key[257];
    memset(key, 'k', sizeof(key));

    key[255] = '\0';
    wrap(f, "/gonetlock.ClientCreateRequest", key);
    assert_int_equal(decode(f), 0);
    assert_str(f->request.key, key);

    key[255] = 'k';
    key[256] = '\0';
    wrap(f, "/gonetlock.ClientCreateRequest", key);
    assert_int_equal(decode(f), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "message_key: not UTF-8 or longer than 255 bytes");
    assert_int_equal(f->request.key.len, 0);

    wrap(f, "/gonetlock.ClientCreateRequest", "line\n\x1b[1m \xc3\xa4");
    assert_int_equal(decode(f), 0);

    wrap(f, "/gonetlock.ClientCreateRequest", "\xff");
    assert_int_equal(decode(f), -EINVAL);
    assert_int_equal(f->refusal.problem, WIRE_INVALID);
}

static void key_is_found_behind_the_message_too(void **state)
{
    struct fixture *f = *state;
    wrap(f, "/gonetlock.ClientCreateRequest", NULL);
    bytes_put_text(&f->payload, 1, "late");
    assert_int_equal(decode(f), 0);
    assert_str(f->request.key, "late");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_request_is_encoded_as_protoc_does),
        TEST(every_request_survives_decoding),
        TEST(golden_frame_of_the_specification_both_ways),
        TEST(every_truncation_of_every_request_is_survived),
        TEST(every_truncation_of_a_lock_request_is_survived),
        TEST(every_changed_byte_of_every_request_is_survived),
        TEST(type_url_counts_from_its_last_slash),
        TEST(unknown_type_is_named_so_and_keeps_the_key),
        TEST(message_without_content_is_of_unknown_type),
        TEST(key_is_any_text_up_to_255_bytes),
        TEST(key_is_found_behind_the_message_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
