/* The machine against the model, over random commands: every event, and the whole state.
 *
 *     test_fsm_random [--seed N] [--commands N] [--verbose]
 *
 * Each round starts afresh with another mix of clients, locks, durations and limits. Three machines
 * get every command: one whose events are compared with the model's, a twin that nobody listens to
 * (as on a follower), with another hash seed, and now and then one of them is rebuilt from its dump.
 * A difference prints the seed, the number of the command and both sides.
 */
#include <getopt.h>
#include <inttypes.h>
#include <time.h>

#include "digest.h"
#include "fsm_compare.h"
#include "fsm_table.h"
#include "model.h"

enum {
    COMMANDS_DEFAULT = 1000000,
    ROUND_COMMANDS = 2500,
    NAME_BYTES = 16,
};

/* splitmix64, by Sebastiano Vigna: small, and every seed is a good one. */
static uint64_t draw(uint64_t *random)
{
    uint64_t z = (*random += UINT64_C(0x9E3779B97F4A7C15));

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* A dump in steps, between the commands. */
struct slow_dump {
    struct fsm_dump *dump;    /* NULL: none */
    uint64_t expected, given; /* hashes of its records */
    uint64_t count;           /* that came to their end */
};

struct round {
    uint64_t random;
    uint64_t number; /* of the command, from the start */
    bool verbose;

    uint32_t clients, locks;
    uint64_t duration_ms; /* typical */
    uint32_t pace;        /* percent of commands that come later than the one before */
    bool calm;            /* few elections, detaches and forced releases: crowds gather */
    uint32_t wide_limit;  /* of every third lock */
    struct fsm_settings settings;

    struct fsm *fsm;
    struct fsm *twin;
    struct model *model;
    struct fsm_events events;
    struct fsm_command command;
    struct slow_dump slow;
    char client[NAME_BYTES], lock[NAME_BYTES], info[NAME_BYTES], after[NAME_BYTES];
};

static uint32_t below(struct round *round, uint32_t bound)
{
    return (uint32_t)(draw(&round->random) % bound);
}

static bool chance(struct round *round, uint32_t percent)
{
    return below(round, 100) < percent;
}

/* ---- drawing a command ------------------------------------------------------------------------ */

static uint64_t draw_duration(struct round *round)
{
    if (chance(round, 15)) {
        return FSM_UNLIMITED;
    }
    return 1 + below(round, (uint32_t)round->duration_ms * 2);
}

/* Mostly the token that the client has, or one near it. */
static uint64_t draw_token(struct round *round)
{
    const struct model_claim *hold =
        model_hold(round->model, model_name(round->model, round->command.client),
                   model_name(round->model, round->command.lock));

    if (hold != NULL && chance(round, 80)) {
        return hold->token;
    }
    return fsm_last_token(round->fsm) - below(round, 4) + 1;
}

static void draw_epoch_of_connection(struct round *round)
{
    uint64_t attach_seq;
    uint64_t epoch;

    fsm_client_find(round->fsm, round->command.client, &attach_seq, &epoch);
    round->command.client_epoch = epoch;
    if (epoch > 0 && chance(round, 5)) {
        round->command.client_epoch = epoch - 1;
    }
}

static void draw_lock(struct round *round, uint32_t which)
{
    struct fsm_command *command = &round->command;
    bool wide = which % 3 == 2;

    command->type = FSM_CMD_LOCK;
    command->lock_.type = !wide && chance(round, 50) ? FSM_READ : FSM_WRITE;
    command->lock_.mode = chance(round, 70) ? FSM_WAIT : FSM_BREAK;
    command->lock_.drop = chance(round, 20) ? FSM_DROP_IGNORE : FSM_DROP_RELEASE;
    command->lock_.wait_ms = draw_duration(round);
    command->lock_.hold_ms = draw_duration(round);
    command->lock_.limit = wide ? round->wide_limit : 1;
    command->lock_.downgrade = chance(round, 30);
    if (chance(round, 2)) {
        command->lock_.limit = below(round, 4);
    }
    if (chance(round, 40)) {
        snprintf(round->info, sizeof(round->info), "info %u", below(round, 10));
        command->lock_.owner_info = str(round->info);
    }
}

static void draw_refresh(struct round *round)
{
    struct fsm_command *command = &round->command;

    command->type = FSM_CMD_REFRESH;
    command->refresh.wait_ms = chance(round, 50) ? 0 : draw_duration(round);
    command->refresh.hold_ms = chance(round, 50) ? 0 : draw_duration(round);
    command->refresh.set_drop = chance(round, 30);
    command->refresh.drop = chance(round, 50) ? FSM_DROP_IGNORE : FSM_DROP_RELEASE;
    command->refresh.token = chance(round, 50) ? 0 : draw_token(round);
}

static void draw_attach(struct round *round)
{
    struct fsm_command *command = &round->command;
    uint64_t attach_seq;
    uint64_t epoch;

    command->type = FSM_CMD_ATTACH;
    fsm_client_find(round->fsm, command->client, &attach_seq, &epoch);
    command->attach.has_epoch = chance(round, 30);
    if (command->attach.has_epoch) {
        command->attach.epoch = epoch + below(round, 3);
        command->attach.epoch -= command->attach.epoch > 0 && chance(round, 30);
    }
    command->attach.supersede = chance(round, 20);
    command->attach.create = chance(round, 10);
    /* One client in four has a secret; it is its id. */
    if (command->client.data[command->client.len - 1] % 4 == 0 && chance(round, 90)) {
        command->attach.secret_digest = command->client;
    }
}

static void draw_detach(struct round *round)
{
    struct fsm_command *command = &round->command;
    uint64_t epoch;

    command->type = FSM_CMD_DETACH;
    fsm_client_find(round->fsm, command->client, &command->detach.attach_seq, &epoch);
    command->detach.last = chance(round, 80);
    if (chance(round, 20)) {
        command->detach.attach_seq--;
    }
}

static void draw_epoch(struct round *round)
{
    struct fsm_command *command = &round->command;

    command->type = FSM_CMD_EPOCH;
    command->epoch.node_id = 1 + below(round, 3);
    command->epoch.term = fsm_term(round->fsm) + 1;
    command->epoch.settings = round->settings;
    if (chance(round, 30)) { /* a leader that is configured otherwise */
        command->epoch.settings.reattach_grace_ms = below(round, 600);
    }
}

static void draw_list(struct round *round)
{
    struct fsm_command *command = &round->command;

    command->type = chance(round, 50) ? FSM_CMD_LIST_LOCKS : FSM_CMD_LIST_CLIENTS;
    command->list.prefix = chance(round, 50) ? str("c") : str("");
    command->list.max = below(round, 12);
    snprintf(round->after, sizeof(round->after), "%c%u", chance(round, 50) ? 'c' : 'l',
             below(round, round->clients));
    command->list.after = chance(round, 50) ? str(round->after) : str("");
}

static void draw_query(struct round *round)
{
    struct fsm_command *command = &round->command;
    uint32_t kind = below(round, 20);

    if (kind < 8) {
        command->type = FSM_CMD_STATUS;
    } else if (kind < 15) {
        command->type = FSM_CMD_CHECK_TOKEN;
        command->check_token.token = draw_token(round);
    } else if (kind < 19) {
        draw_list(round);
    } else if (below(round, 2) == 0) {
        command->type = FSM_CMD_CHECKPOINT;
    } else {
        command->type = FSM_CMD_MEMBER;
        command->member.node_id = 1 + below(round, 2 * FSM_MEMBERS_MAX);
        command->member.address =
            below(round, 3) == 0 ? (struct fsm_str){0} : command->client;
    }
}

static void draw_time(struct round *round)
{
    uint64_t now_ms = fsm_now_ms(round->fsm);

    round->command.time_ms = now_ms;
    if (chance(round, round->pace)) {
        round->command.time_ms += below(round, (uint32_t)round->duration_ms / 8 + 1);
    }
    if (chance(round, round->pace / 5) &&
        fsm_next_deadline_ms(round->fsm) != FSM_UNLIMITED) {
        round->command.time_ms = fsm_next_deadline_ms(round->fsm);
    }
    if (chance(round, 2)) {
        round->command.time_ms = now_ms / 2; /* late */
    }
}

static void draw_command(struct round *round)
{
    uint32_t kind = below(round, 1000);
    bool disturbing = kind >= 860 && kind < 920;
    uint32_t which = below(round, round->locks);

    round->command = (struct fsm_command){.ref = 1 + round->number};
    snprintf(round->client, sizeof(round->client), "c%u", below(round, round->clients));
    snprintf(round->lock, sizeof(round->lock), "l%u", which);
    round->command.client = str(round->client);
    round->command.lock = str(round->lock);
    draw_epoch_of_connection(round);
    draw_time(round);
    if (kind < 480 || (round->calm && disturbing && chance(round, 95))) {
        draw_lock(round, which);
    } else if (kind < 600) {
        draw_refresh(round);
    } else if (kind < 770) {
        round->command.type = FSM_CMD_RELEASE;
        round->command.release.token = chance(round, 60) ? 0 : draw_token(round);
    } else if (kind < 860) {
        draw_attach(round);
    } else if (kind < 895) {
        draw_detach(round);
    } else if (kind < 900) {
        draw_epoch(round);
    } else if (kind < 920) {
        round->command.type = FSM_CMD_FORCE_RELEASE;
        round->command.force_release.token = chance(round, 30) ? 0 : draw_token(round);
    } else if (kind < 940) {
        round->command.type = FSM_CMD_TICK;
    } else {
        draw_query(round);
    }
}

/* ---- comparing -------------------------------------------------------------------------------- */

static void say_events(const char *who, const struct fsm_event *events, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char text[1024];
        event_print(text, sizeof(text), &events[i]);
        fprintf(stderr, "  %s: %s\n", who, text);
    }
}

static void compare_events(struct round *round)
{
    const struct model *model = round->model;
    bool equal = round->events.count == model->events_count;

    for (size_t i = 0; equal && i < round->events.count; i++) {
        equal = compare_event(&round->events.items[i], &model->events[i]);
    }
    if (!equal || round->verbose) {
        fprintf(stderr, "command %" PRIu64 " type %d client %s lock %s\n", round->number,
                round->command.type, round->client, round->lock);
        say_events("machine", round->events.items, round->events.count);
        say_events("model  ", model->events, model->events_count);
    }
    assert_true(equal);
}

static void compare_states(struct round *round)
{
    struct records machine = {0};
    struct records model = {0};

    fsm_dump(round->fsm, records_add, &machine);
    model_dump(round->model, records_add, &model);
    assert_true(records_equal(&machine, &model));
    records_release(&machine);
    records_release(&model);

    fsm_check(round->fsm);
    fsm_check(round->twin);
    assert_true(fsm_hash(round->fsm) == fsm_hash(round->twin));
}

static void load_record(void *arg, const struct fsm_record *record)
{
    assert_int_equal(fsm_load(arg, record), 0);
}

/* ---- a dump in steps ---- */

static void slow_dump_begin(struct round *round)
{
    round->slow.expected = fsm_hash(round->fsm);
    round->slow.given = 0;
    round->slow.dump = fsm_dump_begin(round->fsm);
}

static void slow_dump_end(struct round *round)
{
    fsm_dump_end(round->slow.dump); /* NULL is ended at once */
    round->slow.dump = NULL;
}

static void give_slowly(void *arg, const struct fsm_record *record)
{
    struct slow_dump *slow = arg;

    slow->given = digest_record(slow->given, record);
}

static void slow_dump_step(struct round *round, size_t records)
{
    struct slow_dump *slow = &round->slow;

    if (!fsm_dump_step(slow->dump, records, give_slowly, slow)) {
        assert_true(slow->given == slow->expected);
        slow_dump_end(round);
        slow->count++;
    }
}

/* Before the machine goes: to its end, or half-way. */
static void slow_dump_stop(struct round *round)
{
    if (round->slow.dump != NULL && chance(round, 50)) {
        slow_dump_step(round, SIZE_MAX);
    }
    slow_dump_end(round);
}

static void slow_dump(struct round *round)
{
    if (round->slow.dump != NULL) {
        slow_dump_step(round, 1 + below(round, 4));
    } else if (chance(round, 5)) {
        slow_dump_begin(round);
    }
}

static struct fsm *rebuild(struct round *round, struct fsm *fsm)
{
    struct fsm *copy = fsm_new(draw(&round->random));

    fsm_dump(fsm, load_record, copy);
    assert_int_equal(fsm_load_end(copy), 0);
    fsm_check(copy);
    assert_true(fsm_hash(copy) == fsm_hash(fsm));
    assert_true(fsm_digest(copy) == fsm_digest(fsm));
    fsm_free(fsm);
    return copy;
}

/* ---- rounds ----------------------------------------------------------------------------------- */

static void round_begin(struct round *round)
{
    static const uint32_t clients[] = {2, 4, 10, 40, 120};
    static const uint32_t locks[] = {1, 3, 3, 9, 30};
    static const uint32_t durations[] = {4, 50, 400, 3000};
    static const uint32_t paces[] = {1, 10, 50};
    bool tight = chance(round, 30);

    round->clients = clients[below(round, 5)];
    round->locks = locks[below(round, 5)];
    round->duration_ms = durations[below(round, 4)];
    round->pace = paces[below(round, 3)];
    round->calm = chance(round, 40);
    round->wide_limit = chance(round, 50) ? 3 : 100;
    round->settings = (struct fsm_settings){
        .reattach_grace_ms = chance(round, 10) ? 0 : 1 + below(round, 600),
        .clients_max = tight ? round->clients * 3 / 4 + 1 : 1000,
        .claims_max = tight ? round->clients + 1 : 100000,
        .claims_per_client_max = tight ? 3 : 1000,
        .waiters_per_lock_max = tight ? 4 : 1000,
        .drop_max = chance(round, 50) ? 1 + below(round, 8) : 0,
    };
    round->fsm = fsm_new(draw(&round->random));
    round->twin = fsm_new(draw(&round->random));
    round->model = model_new();
}

static void round_step(struct round *round)
{
    draw_command(round);
    fsm_events_clear(&round->events);
    model_apply(round->model, &round->command);
    fsm_apply(round->fsm, &round->command, &round->events);
    round->command.ref = 0;
    fsm_apply(round->twin, &round->command, NULL);
    round->command.ref = 1 + round->number;

    compare_events(round);
    assert_true(fsm_digest(round->fsm) == fsm_digest(round->twin));
    if (chance(round, 2)) {
        compare_states(round);
    }
    if (chance(round, 40)) {
        slow_dump(round);
    }
    if (below(round, 1000) < 2) {
        slow_dump_stop(round);
        round->fsm = rebuild(round, round->fsm);
    }
    if (below(round, 1000) < 2) {
        round->twin = rebuild(round, round->twin);
    }
    round->number++;
}

static void round_end(struct round *round)
{
    slow_dump_stop(round);
    compare_states(round);
    fsm_free(round->fsm);
    fsm_free(round->twin);
    model_free(round->model);
}

static struct {
    uint64_t seed, commands;
    bool verbose;
} options = {.commands = COMMANDS_DEFAULT};

static void machine_and_model_agree(void **state)
{
    struct round round = {.random = options.seed, .verbose = options.verbose};

    (void)state;
    while (round.number < options.commands) {
        round_begin(&round);
        for (int i = 0; i < ROUND_COMMANDS && round.number < options.commands; i++) {
            round_step(&round);
        }
        round_end(&round);
    }
    assert_true(options.commands < COMMANDS_DEFAULT || round.slow.count > 0);
    fsm_events_release(&round.events);
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"seed", required_argument, NULL, 's'},
        {"commands", required_argument, NULL, 'c'},
        {"verbose", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    const struct CMUnitTest tests[] = {cmocka_unit_test(machine_and_model_agree)};
    int option;

    options.seed = (uint64_t)time(NULL);
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 's') {
            options.seed = strtoull(optarg, NULL, 0);
        } else if (option == 'c') {
            options.commands = strtoull(optarg, NULL, 0);
        } else if (option == 'v') {
            options.verbose = true;
        } else {
            return 64;
        }
    }
    printf("seed %" PRIu64 ", %" PRIu64 " commands\n", options.seed, options.commands);
    fflush(stdout);
    return cmocka_run_group_tests_name("fsm_random", tests, NULL, NULL);
}
