/* The checkers of the simulator have nothing to say about the real lock table, whatever it is asked for: random
 * commands of few clients on few locks, with elections, snapshots and restarts; every rule, the model,
 * and the comparison of replicas at once. Time of the cluster and of the world are the same. */
#include "netlock.h"
#include "random_command.h"
#include "sim_check_world.h"

enum { COMMANDS = 20000, ROUNDS = 4, CLIENTS = 7, LOCKS = 4, NAME_BYTES = 8 };

struct draw {
    uint64_t random;
    uint64_t epochs[CLIENTS];
    char client[NAME_BYTES], lock[NAME_BYTES];
    unsigned which;
};

static bool chance(struct draw *draw, unsigned percent)
{
    return random_below(&draw->random, 100) < percent;
}

static uint64_t duration(struct draw *draw)
{
    if (chance(draw, 20)) {
        return FSM_UNLIMITED;
    }
    return 1 + random_below(&draw->random, chance(draw, 10) ? 40000 : 3000);
}

/* Its own, the next, or one that is over. */
static uint64_t some_epoch(struct draw *draw)
{
    uint64_t epoch = draw->epochs[draw->which] + random_below(&draw->random, 3);

    return epoch > 0 ? epoch - 1 : 0;
}

static uint64_t some_token(struct draw *draw)
{
    uint64_t last = fsm_last_token(world.tables[1]);

    return chance(draw, 60) ? 0
                            : last - random_below(&draw->random, last < 4 ? last + 1 : 4);
}

static void draw_attach(struct draw *draw, struct fsm_command *command)
{
    command->type = FSM_CMD_ATTACH;
    command->attach.has_epoch = chance(draw, 60);
    command->attach.epoch = some_epoch(draw);
    command->attach.supersede = command->attach.has_epoch && chance(draw, 50);
}

static void draw_lock(struct draw *draw, struct fsm_command *command)
{
    bool wide = draw->lock[1] == '0';

    command->type = FSM_CMD_LOCK;
    command->lock_.type = !wide && chance(draw, 50) ? FSM_READ : FSM_WRITE;
    command->lock_.mode = chance(draw, 70) ? FSM_WAIT : FSM_BREAK;
    command->lock_.drop = chance(draw, 30) ? FSM_DROP_IGNORE : FSM_DROP_RELEASE;
    command->lock_.wait_ms = duration(draw);
    command->lock_.hold_ms = duration(draw);
    command->lock_.limit = wide ? 2 : 1;
    command->lock_.downgrade = chance(draw, 30);
    if (chance(draw, 3)) {
        command->lock_.limit = (uint32_t)random_below(&draw->random, 4);
    }
}

static void draw_refresh(struct draw *draw, struct fsm_command *command)
{
    command->type = FSM_CMD_REFRESH;
    command->refresh.wait_ms = chance(draw, 50) ? 0 : duration(draw);
    command->refresh.hold_ms = chance(draw, 50) ? 0 : duration(draw);
    command->refresh.set_drop = chance(draw, 30);
    command->refresh.drop = chance(draw, 50) ? FSM_DROP_IGNORE : FSM_DROP_RELEASE;
    command->refresh.token = some_token(draw);
}

static void draw_detach(struct draw *draw, struct fsm_command *command)
{
    uint64_t epoch;

    command->type = FSM_CMD_DETACH;
    fsm_client_find(world.tables[1], command->client, &command->detach.attach_seq,
                    &epoch);
    command->detach.attach_seq -= chance(draw, 20);
    command->detach.last = chance(draw, 90);
}

static void draw_look(struct draw *draw, struct fsm_command *command)
{
    switch (random_below(&draw->random, 4)) {
    case 0:
        command->type = FSM_CMD_STATUS;
        return;
    case 1:
        command->type = FSM_CMD_CHECK_TOKEN;
        command->check_token.token = some_token(draw);
        return;
    case 2:
        command->type = chance(draw, 50) ? FSM_CMD_LIST_LOCKS : FSM_CMD_LIST_CLIENTS;
        command->list.max = 3;
        return;
    default:
        command->type = chance(draw, 50) ? FSM_CMD_CHECKPOINT : FSM_CMD_TICK;
        return;
    }
}

static struct fsm_command draw_command(struct draw *draw)
{
    unsigned kind = (unsigned)random_below(&draw->random, 100);
    struct fsm_command command = {0};

    draw->which = (unsigned)random_below(&draw->random, CLIENTS);
    snprintf(draw->client, sizeof(draw->client), "c%u", draw->which);
    snprintf(draw->lock, sizeof(draw->lock), "L%u",
             (unsigned)random_below(&draw->random, LOCKS));
    command.client = str(draw->client);
    command.lock = str(draw->lock);
    command.client_epoch = some_epoch(draw) + chance(draw, 60);
    if (kind < 16) {
        draw_attach(draw, &command);
    } else if (kind < 58) {
        draw_lock(draw, &command);
    } else if (kind < 68) {
        draw_refresh(draw, &command);
    } else if (kind < 84) {
        command.type = FSM_CMD_RELEASE;
        command.release.token = some_token(draw);
    } else if (kind < 88) {
        draw_detach(draw, &command);
    } else if (kind < 90) {
        command.type = FSM_CMD_FORCE_RELEASE;
        command.force_release.token = some_token(draw);
    } else {
        draw_look(draw, &command);
    }
    return command;
}

static void copy_record(void *arg, const struct fsm_record *record)
{
    assert_int_equal(fsm_load(arg, record), 0);
}

/* A node starts again from the snapshot of another one. */
static void restart(unsigned node)
{
    struct fsm *table = fsm_new(node);

    fsm_dump(world.tables[1], copy_record, table);
    assert_int_equal(fsm_load_end(table), 0);
    fsm_free(world.tables[node]);
    world.tables[node] = table;
    sim_node_hooks.ended(&world.nodes[node], -1);
    sim_node_hooks.started(&world.nodes[node]);
    sim_node_hooks.restored(&world.nodes[node], world.index, table);
}

/* A new leader that has not applied everything when it stamps its first entry: its time is behind. */
static void elect(struct draw *draw)
{
    int64_t behind_ms = (int64_t)random_below(&draw->random, 500);

    world.cluster_offset_ms -= behind_ms;
    world_lead(1 + (unsigned)random_below(&draw->random, WORLD_NODES));
    world.cluster_offset_ms += behind_ms;
}

static void one_round(uint64_t seed)
{
    struct draw draw = {.random = seed};

    world_begin(NULL);
    world_lead(1);
    for (int i = 0; i < COMMANDS && sim_first_violation() == NULL; i++) {
        struct fsm_command command = draw_command(&draw);
        const struct fsm_event *event = world_commit(command);
        if (event->type == FSM_EV_ATTACHED) {
            draw.epochs[draw.which] = event->epoch;
        }
        if (chance(&draw, 40)) {
            world_pass(random_below(&draw.random, chance(&draw, 5) ? 4000 : 100));
        }
        if (random_below(&draw.random, 400) == 0) {
            elect(&draw);
        }
        if (random_below(&draw.random, 300) == 0) {
            restart(2 + (unsigned)random_below(&draw.random, 2));
        }
    }
    sim_check_end(sim_check_applied());
    assert_clean();
    assert_true(sim_check_counts().grants > COMMANDS / 50);
    assert_true(sim_check_counts().expiries > 100);
    assert_true(sim_check_counts().drops > 100);
    assert_true(sim_check_counts().snapshots_restored > 10);
    assert_true(sim_check_counts().comparisons == sim_check_counts().commands);
    world_end();
}

static void random_commands_break_no_rule(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        one_round(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_commands_break_no_rule),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
