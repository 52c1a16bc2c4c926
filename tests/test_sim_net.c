/* Links between simulated hosts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "event.h"
#include "random.h"
#include "sim_pair.h"
#include "sim_told.h"

struct numbered {
    struct sim_packet packet;
    int number;
};

static void on_arrived(struct sim_packet *packet)
{
    struct numbered *numbered = (struct numbered *)packet;

    tell("%d@%llu", numbered->number, (unsigned long long)sim_now_us());
    if (packet->copies == 0) {
        sim_free(numbered);
    }
}

static void on_lost(struct sim_packet *packet)
{
    struct numbered *numbered = (struct numbered *)packet;

    tell("%d-lost", numbered->number);
    if (packet->copies == 0) {
        sim_free(numbered);
    }
}

static void put(int number, size_t bytes)
{
    struct numbered *numbered = sim_alloc(sizeof(*numbered));

    *numbered = (struct numbered){.packet = {.arrived = on_arrived, .lost = on_lost},
                                  .number = number};
    sim_net_send(a.host, b.host, bytes, &numbered->packet);
}

static void test_plain_link(void **state)
{
    (void)state;
    put(1, 10);
    run(40);
    put(2, 1000000);
    run(SECOND);
    assert_told("1@100 2@140");
    assert_int_equal(sim_net_counts().arrived, 2);
}

static void test_decrees(void **state)
{
    (void)state;
    decree(4, SIM_FATE_LATE, 500); /* in any order */
    decree(2, SIM_FATE_LOST, 0);
    decree(3, SIM_FATE_TWICE, 50);
    for (int i = 1; i <= 5; i++) {
        put(i, 1);
    }
    run(SECOND);
    assert_told("2-lost 1@100 3@100 5@100 3@150 4@600");
    decree(3, SIM_FATE_LOST, 0); /* is over */
    put(6, 1);
    run(SECOND);
    assert_told("6@1000100");
    struct sim_net_counts counts = sim_net_counts();
    assert_true(counts.sent == 6 && counts.lost == 1 && counts.twice == 1 &&
                counts.late == 1 && counts.arrived == 6);
}

static void test_cut(void **state)
{
    (void)state;
    decree(1, SIM_FATE_TWICE, 10);
    put(1, 1);
    put(2, 1);
    run(50);
    sim_net_cut(a.host, b.host, true);
    assert_true(sim_net_is_cut(a.host, b.host) && !sim_net_is_cut(b.host, a.host));
    assert_false(sim_net_passes(a.host, b.host));
    put(3, 1);
    sim_net_cut(a.host, b.host, false);
    put(4, 1);
    run(SECOND);
    assert_told("1-lost 1-lost 2-lost 3-lost 4@150");
}

static void test_clog(void **state)
{
    (void)state;
    decree(1, SIM_FATE_LATE, 20);
    put(1, 1);
    put(2, 1);
    run(50);
    sim_net_clog(a.host, b.host, true);
    put(3, 1);
    run(SECOND);
    assert_told("");
    sim_net_clog(a.host, b.host, false);
    put(4, 1);
    run(SECOND);
    assert_told("2@1000150 1@1000150 3@1000150 4@1000150");
}

static void test_cut_while_clogged(void **state)
{
    (void)state;
    sim_net_clog(a.host, b.host, true);
    put(1, 1);
    sim_net_cut(a.host, b.host, true);
    sim_net_cut(a.host, b.host, false);
    put(2, 1);
    run(SECOND);
    sim_net_clog(a.host, b.host, false);
    run(SECOND);
    assert_told("1-lost 2@1000100");
}

static void test_bandwidth(void **state)
{
    (void)state;
    weather((struct sim_weather){.delay_us = 100, .bytes_per_ms = 1000});
    put(1, 2000);
    put(2, 1);
    run(10 * MS);
    put(3, 1000);
    run(SECOND);
    assert_told("1@2100 2@2101 3@11100");
}

static void test_jitter_keeps_order(void **state)
{
    (void)state;
    weather((struct sim_weather){.delay_us = 100, .jitter_us = 1000});
    for (int i = 0; i < 9; i++) {
        put(i, 1);
        run(10);
    }
    run(SECOND);
    for (int i = 0; i < 9; i++) {
        const char *at = i == 0 ? told : strchr(told, ' ') + 1;
        assert_int_equal(at[0] - '0', i);
        memmove(told, at, strlen(at) + 1);
    }
    told[0] = '\0';
}

static unsigned decisions[4];

static void
on_decision(uint32_t from, uint32_t to, uint64_t number, const struct sim_fate *fate)
{
    assert_true(from == a.host && to == b.host && number > 0);
    decisions[fate->kind]++;
}

static void on_counted(struct sim_packet *packet)
{
    if (packet->copies == 0) {
        sim_free(packet);
    }
}

static void put_many(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct numbered *numbered = sim_alloc(sizeof(*numbered));
        numbered->packet = (struct sim_packet){.arrived = on_counted, .lost = on_counted};
        sim_net_send(a.host, b.host, 1, &numbered->packet);
    }
    run(SECOND);
}

static void test_drawn(void **state)
{
    (void)state;
    weather((struct sim_weather){.delay_us = 100,
                                 .loss_ppm = 100000,
                                 .duplicate_ppm = 50000,
                                 .reorder_ppm = 20000,
                                 .reorder_us = 1000});
    memset(decisions, 0, sizeof(decisions));
    sim_net_on_decision = on_decision;
    put_many(10000);
    assert_in_range(decisions[SIM_FATE_LOST], 900, 1100);
    assert_in_range(decisions[SIM_FATE_TWICE], 380, 520);
    assert_in_range(decisions[SIM_FATE_LATE], 130, 210);
    struct sim_net_counts counts = sim_net_counts();
    assert_int_equal(counts.lost, decisions[SIM_FATE_LOST]);
    assert_int_equal(counts.arrived, 10000 - counts.lost + counts.twice);
    sim_net_draw(false);
    put_many(1000);
    assert_int_equal(sim_net_counts().lost, counts.lost);
}

static uint64_t hash_of(uint64_t seed)
{
    pair_new(seed);
    weather((struct sim_weather){.delay_us = 100, .jitter_us = 50, .loss_ppm = 100000});
    put_many(100);
    uint64_t hash = sim_trace_hash();
    pair_teardown(NULL);
    return hash;
}

static void test_a_function_of_the_seed(void **state)
{
    uint64_t one = hash_of(1);

    assert_true(one == hash_of(1));
    assert_true(one != hash_of(2));
    pair_setup(state);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_plain_link),
        TEST(test_decrees),
        TEST(test_cut),
        TEST(test_clog),
        TEST(test_cut_while_clogged),
        TEST(test_bandwidth),
        TEST(test_jitter_keeps_order),
        TEST(test_drawn),
        TEST(test_a_function_of_the_seed),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
