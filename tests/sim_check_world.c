#include "sim_check_world.h"

#include <assert.h>

#include "net.h"

enum { DISK_ENTRIES = 65536, USERS_MAX = 16 };

struct sim_disk {
    struct sim_disk_view view;
    struct raft_entry entries[DISK_ENTRIES]; /* by index; term 0: not there */
};

struct world world;
struct sim_node_hooks sim_node_hooks;

static struct sim_disk disks[WORLD_NODES + 1];
const uint32_t sim_newest_level = 1;
static struct raft_server servers[WORLD_NODES];
static struct sim_client users_list[USERS_MAX];
static unsigned users_count;

/* ---- what the checkers ask the simulator for ------------------------------------------------ */

void *sim_alloc(size_t size)
{
    void *memory = calloc(1, size);

    assert(memory != NULL);
    return memory;
}

void *sim_realloc(void *memory, size_t size)
{
    memory = realloc(memory, size);
    assert(memory != NULL);
    return memory;
}

void sim_free(void *memory)
{
    free(memory);
}

struct sim_process *sim_process_outside(struct sim_process *back)
{
    (void)back;
    return NULL;
}

unsigned sim_nodes_count(void)
{
    return WORLD_NODES;
}

struct sim_node *sim_node(unsigned number)
{
    return &world.nodes[number];
}

const struct sim_node_options *sim_nodes_options(void)
{
    static const struct sim_node_options options = {.nodes = WORLD_NODES};

    return &options;
}

struct sim_node *sim_leader(void)
{
    return sim_serving();
}

struct sim_node *sim_serving(void)
{
    return world.serving ? &world.nodes[world.leader] : NULL;
}

struct sim_weather sim_net_weather(uint32_t from, uint32_t to)
{
    (void)from;
    (void)to;
    return (struct sim_weather){.delay_us = 100};
}

struct sim_disk_view sim_disk_view(const struct sim_disk *disk)
{
    return disk->view;
}

const struct raft_entry *sim_disk_entry(const struct sim_disk *disk, raft_index index)
{
    if (index == 0 || index >= DISK_ENTRIES || disk->entries[index].term == 0) {
        return NULL;
    }
    return &disk->entries[index];
}

raft_index raft_last_index(struct raft *raft)
{
    return world.last[raft - world.rafts];
}

struct sim_process *sim_client_process(struct sim_client *client)
{
    return &client->process;
}

const struct sim_client_options *sim_client_options(const struct sim_client *client)
{
    return &client->options;
}

/* ---- life ------------------------------------------------------------------------------------- */

static void make_node(unsigned number)
{
    struct sim_node *node = &world.nodes[number];
    struct raft *raft = &world.rafts[number];

    servers[number - 1] = (struct raft_server){.id = number, .role = RAFT_VOTER};
    raft->state = RAFT_FOLLOWER;
    raft->configuration =
        (struct raft_configuration){.servers = servers, .n = WORLD_NODES};
    *node = (struct sim_node){.number = number, .disk = &disks[number], .raft = raft};
    node->process.alive = true;
    world.tables[number] = fsm_new(number);
    sim_node_hooks.started(node);
}

void world_begin(const struct sim_check_options *options)
{
    static const struct sim_check_options usual = {
        .reattach_grace_ms = WORLD_GRACE_MS,
        .leader_lease_ms = 1000,
        .tick_interval_ms = 1000,
        .rate_ppm_max = 200,
        .model = true,
    };

    sim_events_reset();
    sim_history_reset();
    memset(disks, 0, sizeof(disks));
    memset(users_list, 0, sizeof(users_list));
    users_count = 0;
    world = (struct world){.cluster_offset_ms = 1000, .stored_by = WORLD_NODES};
    sim_check_begin(options != NULL ? options : &usual);
    for (unsigned i = 1; i <= WORLD_NODES; i++) {
        make_node(i);
    }
}

void world_end(void)
{
    sim_check_free();
    sim_events_reset();
    sim_history_reset();
    for (unsigned i = 1; i <= WORLD_NODES; i++) {
        fsm_free(world.tables[i]);
        fsm_events_release(&world.said[i]);
        world.tables[i] = NULL;
    }
}

int world_setup(void **state)
{
    (void)state;
    world_begin(NULL);
    world_lead(1);
    return 0;
}

int world_teardown(void **state)
{
    (void)state;
    world_end();
    return 0;
}

/* ---- raft --------------------------------------------------------------------------------------- */

struct sim_disk *world_disk(unsigned node)
{
    return &disks[node];
}

struct sim_disk_view *world_view(unsigned node)
{
    return &disks[node].view;
}

void world_store(unsigned node, uint64_t index, uint64_t term)
{
    struct sim_disk *disk = &disks[node];

    assert(index < DISK_ENTRIES);
    disk->entries[index] = (struct raft_entry){.term = term, .type = RAFT_COMMAND};
    if (disk->view.first_index == 0) {
        disk->view.first_index = index;
    }
    disk->view.last_index = index;
    world.last[node] = index;
}

void world_turn(void)
{
    for (unsigned i = 1; i <= WORLD_NODES; i++) {
        sim_node_hooks.turned(&world.nodes[i]);
    }
}

static struct fsm_settings settings(void)
{
    return (struct fsm_settings){
        .reattach_grace_ms = WORLD_GRACE_MS,
        .clients_max = 100,
        .claims_max = 1000,
        .claims_per_client_max = 100,
        .waiters_per_lock_max = 100,
    };
}

void world_lead(unsigned node)
{
    world.term++;
    world.leader = node;
    for (unsigned i = 1; i <= WORLD_NODES; i++) {
        disks[i].view.term = world.rafts[i].current_term = world.term;
        disks[i].view.voted_for = world.rafts[i].voted_for = node;
        world.rafts[i].state = i == node ? RAFT_LEADER : RAFT_FOLLOWER;
    }
    world_turn();
    world_commit((struct fsm_command){
        .type = FSM_CMD_EPOCH,
        .epoch = {.node_id = node, .term = world.term, .settings = settings()},
    });
    world.serving = true;
}

void world_pass(uint64_t ms)
{
    sim_run_until(sim_now_us() + ms * 1000);
}

/* ---- the log ---------------------------------------------------------------------------------------- */

void world_apply(unsigned node, uint64_t index, const struct fsm_command *command)
{
    struct fsm_events *events = &world.said[node];
    struct fsm_event told[WORLD_EVENTS_MAX];
    size_t count;

    fsm_events_release(events);
    fsm_apply(world.tables[node], command, events);
    count = events->count;
    assert(count < WORLD_EVENTS_MAX);
    if (count > 0) {
        memcpy(told, events->items, count * sizeof(told[0]));
    }
    if (node == 1) {
        if (world.tamper != NULL) {
            world.tamper(told, &count);
        }
        memcpy(world.events, told, count * sizeof(told[0]));
        world.events_count = count;
    }
    sim_node_hooks.applied(&world.nodes[node], index, world.tables[node], command, told,
                           count);
    world.rafts[node].last_applied = index;
}

static void store(void)
{
    world.index++;
    for (unsigned i = 1; i <= WORLD_NODES; i++) {
        if (i <= world.stored_by) {
            world_store(i, world.index, world.term);
        }
    }
    world.last[world.leader] = world.index;
    sim_node_hooks.turned(&world.nodes[world.leader]);
}

const struct fsm_event *world_commit(struct fsm_command command)
{
    static struct fsm_event none;

    command.time_ms =
        (uint64_t)((int64_t)(sim_now_us() / 1000) + world.cluster_offset_ms);
    store();
    for (unsigned i = 1; i <= WORLD_NODES; i++) {
        struct fsm_command own = command;
        if (i == world.behind) {
            continue;
        }
        if (world.tamper_command != NULL) {
            world.tamper_command(&own, i);
        }
        world_apply(i, world.index, &own);
        world.rafts[i].commit_index = world.index;
    }
    for (size_t i = 0; i < world.events_count; i++) {
        if (world.events[i].command != 0) {
            return &world.events[i];
        }
    }
    return world.events_count > 0 ? &world.events[world.events_count - 1] : &none;
}

const struct fsm_event *world_attach(const char *client)
{
    return world_commit(
        (struct fsm_command){.type = FSM_CMD_ATTACH, .client = str(client)});
}

const struct fsm_event *world_detach(const char *client)
{
    struct fsm_command command = {
        .type = FSM_CMD_DETACH, .client = str(client), .detach = {.last = true}};
    uint64_t epoch;

    fsm_client_find(world.tables[1], command.client, &command.detach.attach_seq, &epoch);
    return world_commit(command);
}

const struct fsm_event *world_lock(const char *client, const char *lock, struct ask ask)
{
    return world_commit((struct fsm_command){
        .type = FSM_CMD_LOCK,
        .client = str(client),
        .client_epoch = ask.epoch,
        .lock = str(lock),
        .lock_ = {.type = ask.read ? FSM_READ : FSM_WRITE,
                  .mode = ask.wait ? FSM_WAIT : FSM_BREAK,
                  .drop = ask.ignore ? FSM_DROP_IGNORE : FSM_DROP_RELEASE,
                  .wait_ms = ask.wait_ms != 0 ? ask.wait_ms : FSM_UNLIMITED,
                  .hold_ms = ask.hold_ms != 0 ? ask.hold_ms : FSM_UNLIMITED,
                  .limit = ask.limit != 0 ? ask.limit : 1,
                  .downgrade = ask.downgrade},
    });
}

const struct fsm_event *
world_release(const char *client, const char *lock, uint64_t token)
{
    return world_commit((struct fsm_command){
        .type = FSM_CMD_RELEASE,
        .client = str(client),
        .lock = str(lock),
        .release = {.token = token},
    });
}

void world_tick(void)
{
    world_commit((struct fsm_command){.type = FSM_CMD_TICK});
}

/* ---- users --------------------------------------------------------------------------------------------- */

static struct sim_record record_of(struct sim_client *client, enum sim_record_type type)
{
    return (struct sim_record){
        .type = type,
        .at_us = sim_now_us(),
        .client = client,
        .client_id = client->options.client_id,
        .counts_lease = client->options.kind == SIM_CLIENT_LIBRARY,
    };
}

void user_life(struct sim_client *client, bool on)
{
    struct sim_record record = record_of(client, SIM_REC_LIFE);

    client->process.alive = on;
    record.on = on;
    record.rv = on ? 0 : -1;
    sim_history_tell(&record);
}

static struct sim_client *new_user(const char *name, enum sim_client_kind kind)
{
    assert(users_count < USERS_MAX);
    struct sim_client *client = &users_list[users_count++];

    client->options.kind = kind;
    snprintf(client->options.name, sizeof(client->options.name), "%s", name);
    snprintf(client->options.client_id, sizeof(client->options.client_id), "%s",
             kind == SIM_CLIENT_LIBRARY ? name : "");
    user_life(client, true);
    return client;
}

struct sim_client *user(const char *name)
{
    struct sim_client *client = new_user(name, SIM_CLIENT_LIBRARY);

    user_notice(client, NETLOCK_CONNECTED, NULL, 0);
    return client;
}

struct sim_client *raw_user(const char *name)
{
    return new_user(name, SIM_CLIENT_RAW);
}

uint64_t user_asks(struct sim_client *client, struct sim_ask ask)
{
    struct sim_record record = record_of(client, SIM_REC_ASK);

    record.op = ++world.op;
    record.ask = &ask;
    record.ask_type = ask.type;
    record.lock = ask.lock;
    record.token = ask.token;
    sim_history_tell(&record);
    return world.op;
}

void user_told(struct sim_client *client,
               uint64_t op,
               enum sim_ask_type type,
               const char *lock,
               int rv,
               const struct netlock_grant *grant)
{
    struct sim_record record = record_of(client, SIM_REC_OUTCOME);

    record.op = op;
    record.rv = rv;
    record.ask_type = type;
    record.lock = lock;
    record.grant = grant;
    sim_history_tell(&record);
}

void user_granted(struct sim_client *client,
                  uint64_t op,
                  const char *lock,
                  uint64_t token,
                  uint64_t index)
{
    const struct netlock_grant grant = {.token = token, .index = index};

    user_told(client, op, SIM_ASK_LOCK, lock, 0, &grant);
}

void user_notice(struct sim_client *client,
                 enum netlock_event event,
                 const char *lock,
                 uint64_t token)
{
    const struct netlock_notice notice = {.event = event, .name = lock, .token = token};
    struct sim_record record = record_of(client, SIM_REC_NOTICE);

    record.lock = lock;
    record.notice = &notice;
    sim_history_tell(&record);
}

void user_believes(struct sim_client *client,
                   const char *lock,
                   uint64_t token,
                   enum netlock_type type,
                   bool holding)
{
    struct sim_record record = record_of(client, SIM_REC_BELIEF);

    record.lock = lock;
    record.token = token;
    record.type_of_lock = type;
    record.limit = 1;
    record.holding = holding;
    sim_history_tell(&record);
}

void user_response(struct sim_client *client,
                   unsigned conn,
                   enum wire_response_type type,
                   uint64_t index,
                   uint64_t token)
{
    struct wire_response response = {.type = type, .position = {.index = index}};
    struct sim_record record = record_of(client, SIM_REC_RESPONSE);

    if (type == WIRE_RESP_GRANTED) {
        response.lock = (struct wire_str){"L", 1};
        response.granted.token = token;
    }
    record.conn = conn;
    record.response = &response;
    sim_history_tell(&record);
}

uint64_t take(struct sim_client *client, const char *lock, struct ask ask)
{
    const char *name = client->options.name;
    uint64_t op =
        user_asks(client, (struct sim_ask){
                              .type = SIM_ASK_LOCK,
                              .lock = lock,
                              .type_of_lock = ask.read ? NETLOCK_READ : NETLOCK_WRITE,
                          });
    const struct fsm_event *event = world_lock(name, lock, ask);
    const struct netlock_grant grant = {
        .token = event->token,
        .type = ask.read ? NETLOCK_READ : NETLOCK_WRITE,
        .index = world.index,
    };

    assert_int_equal(event->type, FSM_EV_GRANTED);
    user_told(client, op, SIM_ASK_LOCK, lock, 0, &grant);
    user_believes(client, lock, grant.token, grant.type, true);
    return grant.token;
}

uint64_t gives_up(struct sim_client *client, const char *lock, uint64_t token)
{
    uint64_t op =
        user_asks(client, (struct sim_ask){.type = SIM_ASK_UNLOCK, .lock = lock});

    user_believes(client, lock, token, NETLOCK_WRITE, false);
    return op;
}
