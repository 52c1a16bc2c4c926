/* Backups over the wire: the pieces make a file, and one copy is kept at a time. */
#include "server_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup.h"

enum { LOCKS = 2000, NAME_BYTES = 200 };

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    if (fixture == NULL) {
        return -1;
    }
    fixture_start(fixture, NULL);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_stop(*state);
    free(*state);
    return 0;
}

static void send_backup(struct peer *peer, uint64_t backup, uint64_t offset)
{
    struct wire_request request = {.type = WIRE_REQ_BACKUP,
                                   .key = str("b"),
                                   .backup = {.backup = backup, .offset = offset}};

    peer_send(peer, &request);
}

/* So many locks with names so long that a backup has several pieces. */
static void take_locks(struct peer *peer)
{
    char name[NAME_BYTES + 1];
    struct wire_request lock = {.type = WIRE_REQ_LOCK, .lock_ = {.limit = 1}};

    memset(name, 'n', sizeof(name));
    for (int i = 0; i < LOCKS; i++) {
        snprintf(name, 8, "%06d", i);
        name[6] = 'n';
        lock.lock = (struct wire_str){.data = name, .len = NAME_BYTES};
        peer_send(peer, &lock);
        peer_expect(peer, WIRE_RESP_GRANTED);
    }
}

/* Piece after piece; with @between some other work of the cluster between them. */
static uint8_t *fetch(struct peer *peer, struct peer *between, size_t *ret_len)
{
    struct wire_request lock = {
        .type = WIRE_REQ_LOCK, .lock = str("between"), .lock_ = {.limit = 1}};
    struct wire_request release = {.type = WIRE_REQ_RELEASE, .lock = str("between")};
    uint8_t *data = NULL;
    size_t len = 0;
    size_t pieces = 0;
    uint64_t backup = 0;
    uint64_t size = 1;

    while (len < size) {
        send_backup(peer, backup, len);
        struct wire_response piece = peer_expect(peer, WIRE_RESP_BACKUP);
        assert_str(piece.key, "b");
        assert_int_equal(piece.backup.offset, len);
        assert_true(piece.position.index != 0 || len != 0);
        backup = piece.backup.backup;
        size = piece.backup.size;
        data = realloc(data, len + piece.backup.data.len);
        assert_non_null(data);
        memcpy(data + len, piece.backup.data.data, piece.backup.data.len);
        len += piece.backup.data.len;
        pieces++;
        peer_send(between, &lock);
        peer_expect(between, WIRE_RESP_GRANTED);
        peer_send(between, &release);
        peer_expect(between, WIRE_RESP_RELEASE);
    }
    assert_int_equal(len, size);
    assert_true(pieces > 1);
    *ret_len = len;
    return data;
}

static void the_pieces_are_the_table_of_one_moment(void **state)
{
    struct peer peer;
    struct peer other;
    struct backup_origin origin;
    struct fsm *table;
    uint64_t commands_index;
    size_t len;

    peer_open(&peer, *state);
    peer_open(&other, *state);
    peer_hello(&peer, 0);
    peer_hello(&other, 0);
    take_locks(&peer);

    uint8_t *data = fetch(&peer, &other, &len);

    assert_null(backup_decode(data, len, &origin, &table, &commands_index));
    assert_int_equal(fsm_counts(table).locks, LOCKS);
    assert_int_equal(fsm_last_token(table), LOCKS);
    assert_string_equal(origin.cluster_id, "local");
    fsm_free(table);
    free(data);
    peer_close(&other);
    peer_close(&peer);
}

static void a_backup_without_hello_is_no_request(void **state)
{
    struct peer peer;

    peer_open(&peer, *state);
    send_backup(&peer, 0, 0);
    peer_expect_end(&peer);
    peer_close(&peer);
}

static void expect_error(struct peer *peer, enum wire_error code)
{
    assert_int_equal(peer_expect(peer, WIRE_RESP_ERROR).error.code, code);
}

static void pieces_that_there_are_not_are_refused(void **state)
{
    struct peer peer;

    peer_open(&peer, *state);
    peer_hello(&peer, 0);
    send_backup(&peer, 7, 0);
    expect_error(&peer, WIRE_ERROR_INVALID);

    take_locks(&peer);
    send_backup(&peer, 0, 0);
    struct wire_response piece = peer_expect(&peer, WIRE_RESP_BACKUP);
    uint64_t backup = piece.backup.backup;
    uint64_t size = piece.backup.size;

    send_backup(&peer, backup, size);
    expect_error(&peer, WIRE_ERROR_INVALID);
    send_backup(&peer, backup, UINT64_MAX);
    expect_error(&peer, WIRE_ERROR_INVALID);
    send_backup(&peer, backup + 1, 0);
    expect_error(&peer, WIRE_ERROR_INVALID);
    send_backup(&peer, backup, size - 1); /* the last one: it is given up */
    assert_int_equal(peer_expect(&peer, WIRE_RESP_BACKUP).backup.data.len, 1);
    send_backup(&peer, backup, 0);
    expect_error(&peer, WIRE_ERROR_INVALID);
    peer_close(&peer);
}

static void one_at_a_time_until_its_connection_goes(void **state)
{
    struct peer first;
    struct peer second;

    peer_open(&first, *state);
    peer_open(&second, *state);
    peer_hello(&first, 0);
    peer_hello(&second, 0);
    take_locks(&first);
    send_backup(&first, 0, 0);
    uint64_t backup = peer_expect(&first, WIRE_RESP_BACKUP).backup.backup;

    send_backup(&second, 0, 0);
    struct wire_response busy = peer_expect(&second, WIRE_RESP_ERROR);
    assert_int_equal(busy.error.code, WIRE_ERROR_BUSY);
    assert_true(busy.error.retry_after_ms > 0);
    send_backup(&second, backup, 0); /* somebody else's */
    expect_error(&second, WIRE_ERROR_INVALID);
    peer_reset(&first);
    bool ready = false;
    for (int i = 0; i < 1000 && !ready; i++) {
        send_backup(&second, 0, 0);
        ready = peer_expect_any(&second).type == WIRE_RESP_BACKUP;
        fixture_run(*state, 10);
    }
    assert_true(ready);
    peer_close(&second);
}

/* Nothing may be left of a copy that nobody fetches: the sanitizer looks. */
static void a_copy_that_is_not_fetched_goes_with_the_server(void **state)
{
    struct peer peer;

    peer_open(&peer, *state);
    peer_hello(&peer, 0);
    take_locks(&peer);
    send_backup(&peer, 0, 0);
    peer_expect(&peer, WIRE_RESP_BACKUP);
    send_backup(&peer, 0, 0);
    peer_close(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_pieces_are_the_table_of_one_moment),
        TEST(a_backup_without_hello_is_no_request),
        TEST(pieces_that_there_are_not_are_refused),
        TEST(one_at_a_time_until_its_connection_goes),
        TEST(a_copy_that_is_not_fetched_goes_with_the_server),
#undef TEST
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
