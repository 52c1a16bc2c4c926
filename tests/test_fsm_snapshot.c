/* Dump and load: nothing is lost, nothing damaged is believed; and the fingerprints. */
#include <errno.h>

#include "fsm_compare.h"
#include "fsm_table.h"

/* A state with something of everything in it. */
static void fill(struct table *t)
{
    attach_all(t, "a b c gone missing");
    attach_epoch(t, "b", 4, false);
    apply(t, (struct fsm_command){
                 .type = FSM_CMD_ATTACH,
                 .client = str("secret"),
                 .attach = {.secret_digest = str("digest")},
             });
    lock(t, "c", "expired", (struct ask){.hold_ms = 1});
    pass(t, 1);
    lock(t, "gone", "kept", (struct ask){.ignore = true, .hold_ms = 5000});
    detach(t, "gone");
    epoch(t);
    attach_all(t, "a b c secret");
    lock(t, "a", "read", (struct ask){.read = true, .hold_ms = 700, .info = "reader"});
    lock(t, "c", "read", (struct ask){.read = true});
    lock(t, "a", "read", (struct ask){.wait = true, .wait_ms = 900, .info = "upgrader"});
    lock(t, "missing", "read", (struct ask){.wait = true});
    lock(t, "a", "count", (struct ask){.limit = 3});
    lock(t, "c", "count", (struct ask){.limit = 3});
    release(t, "a", "count", 0);
}

static struct records dump(const struct table *t)
{
    struct records records = {0};

    fsm_dump(t->fsm, records_add, &records);
    return records;
}

static struct fsm_record *
find(struct records *records, enum fsm_record_type type, int nth)
{
    for (size_t i = 0; i < records->count; i++) {
        if (records->items[i].type == type && nth-- == 0) {
            return &records->items[i];
        }
    }
    print_error("no such record\n");
    abort();
}

/* Load all of @records; the first error, or that of the end. */
static int load_all(const struct records *records)
{
    struct fsm *fsm = fsm_new(9);
    int rv = 0;

    for (size_t i = 0; i < records->count && rv == 0; i++) {
        rv = fsm_load(fsm, &records->items[i]);
    }
    if (rv == 0) {
        rv = fsm_load_end(fsm);
    }
    if (rv == 0) {
        fsm_check(fsm);
    }
    fsm_free(fsm);
    return rv;
}

static void a_dump_that_is_loaded_gives_the_same_dump(void **state)
{
    struct table *t = *state;
    struct fsm *old = t->fsm;
    struct records before;
    struct records after;
    struct fsm *copy = fsm_new(77);

    fill(t);
    before = dump(t);
    for (size_t i = 0; i < before.count; i++) {
        assert_int_equal(fsm_load(copy, &before.items[i]), 0);
    }
    assert_int_equal(fsm_load_end(copy), 0);
    assert_int_equal(fsm_load_end(copy), 0);
    t->fsm = copy;
    after = dump(t);

    assert_true(records_equal(&before, &after));
    assert_true(fsm_hash(old) == fsm_hash(copy));
    assert_true(fsm_digest(old) == fsm_digest(copy));
    assert_int_equal(fsm_now_ms(copy), fsm_now_ms(old));
    assert_int_equal(fsm_term(copy), fsm_term(old));
    assert_int_equal(fsm_next_deadline_ms(copy), fsm_next_deadline_ms(old));
    records_release(&before);
    records_release(&after);
    fsm_free(old);
}

static void load_step(void *arg, const struct fsm_record *record)
{
    assert_int_equal(fsm_load(arg, record), 0);
}

/* Each step is followed by a command that changes, ends or makes what the dump has given, has not given, or
 * must not give. */
static void a_dump_in_steps_is_of_the_moment_in_which_it_began(void **state)
{
    struct table *t = *state;
    struct fsm *copy = fsm_new(78);
    struct fsm_dump *dump;
    uint64_t hash;

    fill(t);
    hash = fsm_hash(t->fsm);
    dump = fsm_dump_begin(t->fsm);
    fsm_dump_step(dump, 1, load_step, copy);
    release(t, "c", "expired", 0);
    attach_epoch(t, "b", 9, true);
    fsm_dump_step(dump, 1, load_step, copy);
    detach(t, "secret");
    attach_all(t, "new");
    fsm_dump_step(dump, 1, load_step, copy);
    lock(t, "new", "after", (struct ask){0});
    release(t, "c", "read", 0);
    release(t, "c", "count", 0);
    force(t, "kept", 0);
    while (fsm_dump_step(dump, 1, load_step, copy)) {
        pass(t, 300);
    }
    fsm_dump_end(dump);
    assert_int_equal(fsm_load_end(copy), 0);

    assert_true(fsm_hash(copy) == hash);
    assert_true(fsm_hash(t->fsm) != hash);
    fsm_check(t->fsm);
    fsm_free(copy);
}

static void a_dump_given_up_leaves_no_trace(void **state)
{
    struct table *t = *state;
    struct records before;
    struct records after;

    fill(t);
    before = dump(t);
    struct fsm_dump *given_up = fsm_dump_begin(t->fsm);
    fsm_dump_step(given_up, 3, NULL, NULL);
    fsm_dump_end(given_up);
    after = dump(t);

    assert_true(records_equal(&before, &after));
    records_release(&before);
    records_release(&after);
}

static void the_records_come_in_the_order_that_the_header_says(void **state)
{
    struct table *t = *state;
    struct records records;

    fill(t);
    records = dump(t);

    assert_int_equal(records.items[0].type, FSM_REC_ROOT);
    assert_int_equal(records.items[1].type, FSM_REC_CLIENT);
    assert_memory_equal(records.items[1].client.id.data, "a", 1);
    assert_int_equal(records.items[records.count - 1].type, FSM_REC_EXPIRED);
    assert_int_equal(find(&records, FSM_REC_LOCK, 0)[1].type, FSM_REC_HOLD);
    assert_true(find(&records, FSM_REC_WAIT, 0)->wait.upgrade);
    assert_false(find(&records, FSM_REC_WAIT, 1)->wait.upgrade);
    records_release(&records);
}

static void a_rebuilt_machine_goes_on_as_the_first_would_have(void **state)
{
    struct table *t = *state;
    uint64_t digest;

    fill(t);
    release(t, "c", "read", 0);
    assert_told(t, "*c release read released #4; a granted read W#7");
    digest = fsm_digest(t->fsm);

    table_teardown(state);
    table_setup(state);
    t = *state;
    fill(t);
    table_reload(t);
    release(t, "c", "read", 0);
    assert_told(t, "*c release read released #4; a granted read W#7");
    assert_true(digest == fsm_digest(t->fsm));
}

static void the_first_command_ends_the_load_by_itself(void **state)
{
    struct table *t = *state;
    struct fsm *copy = fsm_new(5);
    struct records records;

    fill(t);
    records = dump(t);
    for (size_t i = 0; i < records.count; i++) {
        assert_int_equal(fsm_load(copy, &records.items[i]), 0);
    }
    fsm_free(t->fsm);
    t->fsm = copy;
    records_release(&records);

    attach(t, "a");

    assert_told(t, "*a attached epoch 0 claims 2");
}

/* ---- damage ----------------------------------------------------------------------------------- */

static void a_dump_is_accepted_only_whole_and_in_order(void **state)
{
    struct table *t = *state;
    struct records records;

    fill(t);
    records = dump(t);
    assert_int_equal(load_all(&records), 0);
    for (size_t i = 0; i + 1 < records.count; i++) {
        struct fsm_record swapped = records.items[i];
        records.items[i] = records.items[i + 1];
        records.items[i + 1] = swapped;
        if (records.items[i].type != records.items[i + 1].type) {
            assert_int_equal(load_all(&records), -EINVAL);
        }
        records.items[i + 1] = records.items[i];
        records.items[i] = swapped;
        /* twice the same */
        swapped = records.items[i + 1];
        records.items[i + 1] = records.items[i];
        assert_int_equal(load_all(&records), -EINVAL);
        records.items[i + 1] = swapped;
    }
    records_release(&records);
}

static void a_truncated_dump_is_refused_where_it_can_be_seen(void **state)
{
    struct table *t = *state;
    struct records records;
    struct records part;

    fill(t);
    records = dump(t);
    part = records;
    while (part.count > 0 && part.items[part.count - 1].type != FSM_REC_LOCK) {
        part.count--;
    }
    assert_int_equal(load_all(&part), -EINVAL); /* a lock that nobody holds */
    while (part.items[part.count - 1].type != FSM_REC_CLIENT) {
        part.count--;
    }
    assert_int_equal(load_all(&part), -EINVAL); /* a gone client with nothing */
    records_release(&records);
}

static void a_live_machine_loads_nothing(void **state)
{
    struct table *t = *state;
    struct records records;

    fill(t);
    records = dump(t);
    for (size_t i = 0; i < records.count; i++) {
        assert_int_equal(fsm_load(t->fsm, &records.items[i]), -EINVAL);
    }
    fsm_check(t->fsm);
    records_release(&records);
}

static void a_record_of_an_unknown_type_is_refused(void **state)
{
    struct table *t = *state;
    struct fsm *fsm = fsm_new(1);
    struct fsm_record record = {.type = (enum fsm_record_type)99};

    (void)t;
    assert_int_equal(fsm_load(fsm, &record), -EINVAL);
    fsm_free(fsm);
}

/* One field of the @nth record of @type is set to what it must not be. */
#define DAMAGED(type, nth, change)                                                       \
    do {                                                                                 \
        struct fsm_record *record = find(&records, type, nth);                           \
        struct fsm_record saved = *record;                                               \
        change;                                                                          \
        assert_int_equal(load_all(&records), -EINVAL);                                   \
        *record = saved;                                                                 \
    } while (0)

static char long_name[FSM_NAME_BYTES_MAX + 2];

static void a_damaged_client_is_refused(void **state)
{
    struct table *t = *state;
    struct records records;
    struct fsm_str too_long = {long_name, FSM_NAME_BYTES_MAX + 1};

    fill(t);
    records = dump(t);
    DAMAGED(FSM_REC_CLIENT, 0, record->client.id = too_long);
    DAMAGED(FSM_REC_CLIENT, 0, record->client.id = str("b"));
    DAMAGED(FSM_REC_CLIENT, 0, record->client.secret_digest = too_long);
    DAMAGED(FSM_REC_CLIENT, 0, record->client.presence = (enum fsm_presence)9);
    DAMAGED(FSM_REC_CLIENT, 0, record->client.grace_end_ms = 5);
    DAMAGED(FSM_REC_CLIENT, 4, record->client.grace_end_ms = 1);
    DAMAGED(FSM_REC_CLIENT, 0, record->client.attach_seq = 0);
    DAMAGED(FSM_REC_CLIENT, 0, record->client.attach_seq = 1000);
    DAMAGED(FSM_REC_CLIENT, 0, record->client.id = str("other"));
    DAMAGED(FSM_REC_CLIENT, 0, record->client.presence = FSM_GONE);
    DAMAGED(FSM_REC_CLIENT, 3, record->client.id = str("other"));
    records_release(&records);
}

static void a_damaged_lock_is_refused(void **state)
{
    struct table *t = *state;
    struct records records;
    struct fsm_str too_long = {long_name, FSM_NAME_BYTES_MAX + 1};

    fill(t);
    records = dump(t);
    DAMAGED(FSM_REC_LOCK, 0, record->lock.name = too_long);
    DAMAGED(FSM_REC_LOCK, 0, record->lock.name = str("other"));
    DAMAGED(FSM_REC_LOCK, 1, record->lock.name = str("kept"));
    DAMAGED(FSM_REC_LOCK, 0, record->lock.limit = 0);
    DAMAGED(FSM_REC_LOCK, 0, record->lock.limit = FSM_LIMIT_MAX + 1);
    DAMAGED(FSM_REC_LOCK, 1, record->lock.limit = 2);
    records_release(&records);
}

static void a_damaged_hold_is_refused(void **state)
{
    struct table *t = *state;
    struct records records;
    struct fsm_str too_long = {long_name, FSM_NAME_BYTES_MAX + 1};

    fill(t);
    records = dump(t);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.client = str("nobody"));
    DAMAGED(FSM_REC_HOLD, 0, record->hold.lock = str("read"));
    DAMAGED(FSM_REC_HOLD, 0, record->hold.owner_info = too_long);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.type = (enum fsm_type)2);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.drop = (enum fsm_drop)2);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.drop = FSM_DROP_RELEASE);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.slot = 1);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.token = 0);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.token = 1000);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.order = 0);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.order = 1000);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.hold_ms = 0);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.granted_at_ms = 1000000);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.deadline_ms = 1);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.asked_deadline_ms = FSM_UNLIMITED);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.deadline_ms += 1 << 28);
    DAMAGED(FSM_REC_HOLD, 0, record->hold.deadline_ms = FSM_UNLIMITED;
            record->hold.asked_deadline_ms = FSM_UNLIMITED - 1);
    DAMAGED(FSM_REC_HOLD, 1, record->hold.type = FSM_WRITE);
    DAMAGED(FSM_REC_HOLD, 2, record->hold.type = FSM_WRITE);
    DAMAGED(FSM_REC_HOLD, 2, record->hold.client = str("a"));
    DAMAGED(FSM_REC_HOLD, 2,
            record->hold.token = find(&records, FSM_REC_HOLD, 1)->hold.token);
    DAMAGED(FSM_REC_HOLD, 2,
            record->hold.order = find(&records, FSM_REC_HOLD, 1)->hold.order);
    DAMAGED(FSM_REC_HOLD, 3, record->hold.type = FSM_READ);
    records_release(&records);
}

/* Found by fuzz_snapshot: within one lock they were compared, between locks not. */
static void an_age_or_a_token_given_twice_is_refused(void **state)
{
    struct table *t = *state;
    struct records records;

    attach_all(t, "a b");
    lock(t, "a", "k", (struct ask){0});
    lock(t, "a", "l", (struct ask){0});
    lock(t, "b", "l", (struct ask){.wait = true});
    records = dump(t);
    assert_int_equal(load_all(&records), 0);

    const struct fsm_record *other = find(&records, FSM_REC_HOLD, 0);
    DAMAGED(FSM_REC_HOLD, 1, record->hold.token = other->hold.token);
    DAMAGED(FSM_REC_HOLD, 1, record->hold.order = other->hold.order);
    DAMAGED(FSM_REC_WAIT, 0, record->wait.order = other->hold.order);
    DAMAGED(FSM_REC_CLIENT, 0, record->client.attach_seq = other->hold.order);
    records_release(&records);
}

static void a_slot_taken_twice_is_refused(void **state)
{
    struct table *t = *state;
    struct records records;

    attach_all(t, "a b");
    lock(t, "a", "N", (struct ask){.limit = 2});
    lock(t, "b", "N", (struct ask){.limit = 2});
    records = dump(t);
    assert_int_equal(load_all(&records), 0);
    DAMAGED(FSM_REC_HOLD, 1, record->hold.slot = 0);
    DAMAGED(FSM_REC_HOLD, 1, record->hold.slot = 2);
    records_release(&records);
}

static void a_damaged_wait_is_refused(void **state)
{
    struct table *t = *state;
    struct records records;
    struct fsm_str too_long = {long_name, FSM_NAME_BYTES_MAX + 1};

    fill(t);
    records = dump(t);
    DAMAGED(FSM_REC_WAIT, 0, record->wait.client = str("nobody"));
    DAMAGED(FSM_REC_WAIT, 0, record->wait.client = str("b"));
    DAMAGED(FSM_REC_WAIT, 0, record->wait.lock = str("kept"));
    DAMAGED(FSM_REC_WAIT, 0, record->wait.owner_info = too_long);
    DAMAGED(FSM_REC_WAIT, 0, record->wait.type = (enum fsm_type)2);
    DAMAGED(FSM_REC_WAIT, 0, record->wait.type = FSM_READ);
    DAMAGED(FSM_REC_WAIT, 0, record->wait.drop = (enum fsm_drop)2);
    DAMAGED(FSM_REC_WAIT, 0, record->wait.upgrade = false);
    DAMAGED(FSM_REC_WAIT, 0, record->wait.order = 0);
    DAMAGED(FSM_REC_WAIT, 0, record->wait.wait_ms = 0);
    DAMAGED(FSM_REC_WAIT, 0, record->wait.hold_ms = 0);
    DAMAGED(FSM_REC_WAIT, 0, record->wait.queued_at_ms = 1000000);
    DAMAGED(FSM_REC_WAIT, 0, record->wait.deadline_ms = 1);
    DAMAGED(FSM_REC_WAIT, 1, record->wait.client = str("a"));
    DAMAGED(FSM_REC_WAIT, 1, record->wait.client = str("gone"));
    DAMAGED(FSM_REC_WAIT, 1, record->wait.upgrade = true);
    DAMAGED(
        FSM_REC_WAIT, 1,
        (record->wait.upgrade = true, record->wait.client = str("c"))); /* a second one */
    records_release(&records);
}

static void a_queue_whose_head_could_be_granted_is_refused(void **state)
{
    struct table *t = *state;
    struct records records;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.wait = true});
    records = dump(t);
    DAMAGED(FSM_REC_WAIT, 0, record->wait.type = FSM_READ);
    records_release(&records);
}

static void a_damaged_memory_is_refused(void **state)
{
    struct table *t = *state;
    struct records records;
    struct fsm_str too_long = {long_name, FSM_NAME_BYTES_MAX + 1};

    fill(t);
    records = dump(t);
    DAMAGED(FSM_REC_EXPIRED, 0, record->expired.client = str("nobody"));
    DAMAGED(FSM_REC_EXPIRED, 0, record->expired.lock = too_long);
    DAMAGED(FSM_REC_EXPIRED, 0, record->expired.lock = str("read"));
    DAMAGED(FSM_REC_EXPIRED, 0, record->expired.token = 0);
    DAMAGED(FSM_REC_EXPIRED, 0, record->expired.token = 1000);
    records_release(&records);
}

static void more_memories_than_a_client_can_have_are_refused(void **state)
{
    struct table *t = *state;
    struct fsm *copy = fsm_new(1);
    struct fsm_record record = {.type = FSM_REC_EXPIRED,
                                .expired = {.client = str("c"), .token = 1}};
    struct records records;
    char name[16];

    fill(t);
    records = dump(t);
    for (size_t i = 0; i < records.count; i++) {
        assert_int_equal(fsm_load(copy, &records.items[i]), 0);
    }
    for (int i = 1; i <= FSM_EXPIRED_MEMORY_MAX; i++) {
        snprintf(name, sizeof(name), "more %d", i);
        record.expired.lock = str(name);
        assert_int_equal(fsm_load(copy, &record),
                         i < FSM_EXPIRED_MEMORY_MAX ? 0 : -EINVAL);
    }
    records_release(&records);
    fsm_free(copy);
}

/* ---- fingerprints ----------------------------------------------------------------------------- */

static void a_checkpoint_answers_with_the_hash_at_that_point(void **state)
{
    struct table *t = *state;
    struct fsm *twin = fsm_new(123);
    struct fsm_command epoch_command = {
        .type = FSM_CMD_EPOCH,
        .time_ms = 1000,
        .epoch = {.node_id = 1, .term = 1, .settings = t->settings},
    };
    struct fsm_command attach_command = {
        .type = FSM_CMD_ATTACH, .time_ms = 1000, .client = str("a")};
    struct fsm_command checkpoint = {
        .type = FSM_CMD_CHECKPOINT, .time_ms = 1000, .ref = 1};
    struct fsm_events events = {0};

    attach(t, "a");
    fsm_apply(twin, &epoch_command, NULL);
    fsm_apply(twin, &attach_command, NULL);
    fsm_apply(twin, &checkpoint, &events);

    assert_true(apply(t, checkpoint)->hash == events.items[0].hash);
    assert_true(events.items[0].hash != 0);
    fsm_events_release(&events);
    fsm_free(twin);
}

static void the_digest_tells_histories_apart_that_end_in_equal_tables(void **state)
{
    struct table *t = *state;
    struct fsm *twin = fsm_new(1);
    struct records records = dump(t);

    for (size_t i = 0; i < records.count; i++) {
        assert_int_equal(fsm_load(twin, &records.items[i]), 0);
    }
    assert_true(fsm_digest(twin) == fsm_digest(t->fsm));
    check_token(t, "L", 1);
    assert_true(fsm_digest(twin) != fsm_digest(t->fsm));
    assert_true(fsm_hash(twin) != fsm_hash(t->fsm));
    records_release(&records);
    fsm_free(twin);
}

static void a_ref_leaves_no_trace(void **state)
{
    struct fsm *a = fsm_new(1);
    struct fsm *b = fsm_new(2);
    struct fsm_command command = {.type = FSM_CMD_ATTACH, .client = str("a"), .ref = 1};

    (void)state;
    fsm_apply(a, &command, NULL);
    command.ref = 2;
    fsm_apply(b, &command, NULL);
    assert_true(fsm_digest(a) == fsm_digest(b));
    assert_true(fsm_hash(a) == fsm_hash(b));
    fsm_free(a);
    fsm_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fsm_test(a_dump_that_is_loaded_gives_the_same_dump),
        fsm_test(a_dump_in_steps_is_of_the_moment_in_which_it_began),
        fsm_test(a_dump_given_up_leaves_no_trace),
        fsm_test(the_records_come_in_the_order_that_the_header_says),
        fsm_test(a_rebuilt_machine_goes_on_as_the_first_would_have),
        fsm_test(the_first_command_ends_the_load_by_itself),
        fsm_test(a_dump_is_accepted_only_whole_and_in_order),
        fsm_test(a_truncated_dump_is_refused_where_it_can_be_seen),
        fsm_test(a_live_machine_loads_nothing),
        fsm_test(a_record_of_an_unknown_type_is_refused),
        fsm_test(a_damaged_client_is_refused),
        fsm_test(a_damaged_lock_is_refused),
        fsm_test(a_damaged_hold_is_refused),
        fsm_test(an_age_or_a_token_given_twice_is_refused),
        fsm_test(a_slot_taken_twice_is_refused),
        fsm_test(a_damaged_wait_is_refused),
        fsm_test(a_queue_whose_head_could_be_granted_is_refused),
        fsm_test(a_damaged_memory_is_refused),
        fsm_test(more_memories_than_a_client_can_have_are_refused),
        fsm_test(a_checkpoint_answers_with_the_hash_at_that_point),
        fsm_test(the_digest_tells_histories_apart_that_end_in_equal_tables),
        fsm_test(a_ref_leaves_no_trace),
    };

    return cmocka_run_group_tests_name("fsm_snapshot", tests, NULL, NULL);
}
