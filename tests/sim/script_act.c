#include "script_internal.h"

#include "peer_links.h"

/* ---- who, when the line happens ---- */

struct group {
    uint32_t hosts[SIM_HOSTS_MAX];
    unsigned count;
};

static struct sim_node *follower(void)
{
    const struct sim_node *leader = sim_leader();

    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        if (sim_node_runs(sim_node(i)) && sim_node(i) != leader) {
            return sim_node(i);
        }
    }
    return NULL;
}

/* The nodes that are meant, from 1: a bit for each. */
static unsigned nodes_of(struct sim_script *script,
                         const struct sim_command *command,
                         const struct sim_who *who)
{
    const struct sim_node *node = NULL;

    switch (who->kind) {
    case SIM_WHO_NODE:
        return 1U << who->number;
    case SIM_WHO_LEADER:
        node = sim_leader();
        break;
    case SIM_WHO_FOLLOWER:
        node = follower();
        break;
    case SIM_WHO_NODES:
    case SIM_WHO_ALL:
        return ((1U << sim_nodes_count()) - 1) << 1;
    case SIM_WHO_CLIENT:
    case SIM_WHO_CLIENTS:
        return 0;
    }
    if (node == NULL && !script->lenient) {
        sim_script_fail(script, SIM_SCRIPT_MISMATCH, command->line, "there is no %s now",
                        who->kind == SIM_WHO_LEADER ? "leader" : "follower");
    }
    return node != NULL ? 1U << node->number : 0;
}

/* The clients that are meant: from *@ret_first on, so many. */
static unsigned clients_of(const struct sim_who *who, unsigned *ret_first)
{
    *ret_first = who->kind == SIM_WHO_CLIENT ? who->number : 0;
    if (who->kind == SIM_WHO_CLIENT) {
        return 1;
    }
    return who->kind == SIM_WHO_CLIENTS || who->kind == SIM_WHO_ALL ? sim_clients_count()
                                                                    : 0;
}

static void hosts_of(struct sim_script *script,
                     const struct sim_command *command,
                     const struct sim_who *who,
                     struct group *ret)
{
    unsigned nodes = nodes_of(script, command, who);
    unsigned first, count = clients_of(who, &first);

    ret->count = 0;
    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        if ((nodes & 1U << i) != 0) {
            ret->hosts[ret->count++] = sim_node(i)->process.host;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        ret->hosts[ret->count++] = sim_client_process(sim_client(first + i))->host;
    }
}

/* Every process that is meant. */
static void each_process(struct sim_script *script,
                         const struct sim_command *command,
                         void (*call)(struct sim_process *process,
                                      const struct sim_command *command))
{
    unsigned nodes = nodes_of(script, command, &command->who);
    unsigned first, count = clients_of(&command->who, &first);

    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        if ((nodes & 1U << i) != 0) {
            call(&sim_node(i)->process, command);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        call(sim_client_process(sim_client(first + i)), command);
    }
}

static void count(struct sim_script *script, enum sim_fault fault)
{
    script->ret->faults[fault]++;
}

static bool is_user(const struct sim_who *who)
{
    return who->kind == SIM_WHO_CLIENT || who->kind == SIM_WHO_CLIENTS;
}

/* ---- life ---- */

void sim_act_start(struct sim_script *script, const struct sim_command *command)
{
    unsigned nodes = nodes_of(script, command, &command->who);
    unsigned first, clients = clients_of(&command->who, &first);

    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        if ((nodes & 1U << i) != 0) {
            sim_node_start(sim_node(i));
        }
    }
    for (unsigned i = 0; i < clients; i++) {
        struct sim_client *client = sim_client(first + i);
        if (!sim_client_process(client)->alive) {
            sim_client_start(client);
        }
    }
}

void sim_act_stop(struct sim_script *script, const struct sim_command *command)
{
    unsigned nodes = nodes_of(script, command, &command->who);

    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        if ((nodes & 1U << i) != 0 && sim_node_runs(sim_node(i))) {
            count(script, SIM_FAULT_STOP);
            sim_node_stop(sim_node(i));
        }
    }
}

void sim_act_upgrade(struct sim_script *script, const struct sim_command *command)
{
    unsigned nodes = nodes_of(script, command, &command->who);

    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        if ((nodes & 1U << i) != 0) {
            count(script, SIM_FAULT_UPGRADE);
            sim_node_upgrade(sim_node(i));
        }
    }
}

void sim_act_kill(struct sim_script *script, const struct sim_command *command)
{
    bool everybody =
        command->who.kind == SIM_WHO_NODES || command->who.kind == SIM_WHO_ALL;
    unsigned nodes = nodes_of(script, command, &command->who);
    unsigned first, clients = clients_of(&command->who, &first);

    if (everybody) {
        count(script, SIM_FAULT_CRASH_ALL);
    }
    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        if ((nodes & 1U << i) != 0 && sim_node_runs(sim_node(i))) {
            if (!everybody) {
                count(script, SIM_FAULT_CRASH);
            }
            sim_node_kill(sim_node(i), (enum sim_torn)command->what);
        }
    }
    for (unsigned i = 0; i < clients; i++) {
        if (sim_client_process(sim_client(first + i))->alive) {
            count(script, SIM_FAULT_CLIENT_KILL);
            sim_client_kill(sim_client(first + i));
        }
    }
}

static void pause_one(struct sim_process *process, const struct sim_command *command)
{
    if (!process->alive || process->paused == command->on) {
        return;
    }
    if (command->on) {
        sim_process_pause(process);
    } else {
        sim_process_resume(process);
    }
}

void sim_act_pause(struct sim_script *script, const struct sim_command *command)
{
    if (command->on) {
        count(script, is_user(&command->who) ? SIM_FAULT_CLIENT_PAUSE : SIM_FAULT_PAUSE);
    }
    each_process(script, command, pause_one);
}

void sim_act_close(struct sim_script *script, const struct sim_command *command)
{
    unsigned first, clients = clients_of(&command->who, &first);

    (void)script;
    for (unsigned i = 0; i < clients; i++) {
        if (sim_client_process(sim_client(first + i))->alive) {
            sim_client_close(sim_client(first + i));
        }
    }
}

/* ---- links ---- */

typedef void (*link_call)(uint32_t from, uint32_t to, const struct sim_command *command);

/* Every link that is meant, once each way; none from a host to itself. */
static void
each_link(struct sim_script *script, const struct sim_command *command, link_call call)
{
    struct group from, to;

    hosts_of(script, command, &command->who, &from);
    hosts_of(script, command, &command->to, &to);
    bool mirrored = command->both && (command->who.kind != command->to.kind ||
                                      command->who.number != command->to.number);
    for (unsigned i = 0; i < from.count; i++) {
        for (unsigned j = 0; j < to.count; j++) {
            if (from.hosts[i] == to.hosts[j]) {
                continue;
            }
            call(from.hosts[i], to.hosts[j], command);
            if (mirrored) {
                call(to.hosts[j], from.hosts[i], command);
            }
        }
    }
}

static bool touches_users(const struct sim_command *command)
{
    return is_user(&command->who) || is_user(&command->to);
}

static void cut_one(uint32_t from, uint32_t to, const struct sim_command *command)
{
    sim_net_cut(from, to, command->on);
}

void sim_act_cut(struct sim_script *script, const struct sim_command *command)
{
    if (command->on) {
        count(script, SIM_FAULT_CUT);
    }
    each_link(script, command, cut_one);
}

static void refuse_one(uint32_t from, uint32_t to, const struct sim_command *command)
{
    sim_net_refuse(from, to, command->on);
}

void sim_act_refuse(struct sim_script *script, const struct sim_command *command)
{
    if (command->on) {
        count(script, SIM_FAULT_ALARM);
    }
    each_link(script, command, refuse_one);
}

static struct sim_node *node_at(uint32_t host)
{
    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        if (sim_node(i)->process.host == host) {
            return sim_node(i);
        }
    }
    return NULL;
}

static void break_off_one(uint32_t from, uint32_t to, const struct sim_command *command)
{
    struct sim_node *one = node_at(from), *other = node_at(to);

    (void)command;
    if (one != NULL && other != NULL) {
        sim_peer_links_break(one, other);
    }
}

void sim_act_break_off(struct sim_script *script, const struct sim_command *command)
{
    count(script, SIM_FAULT_ALARM);
    each_link(script, command, break_off_one);
}

static void clog_one(uint32_t from, uint32_t to, const struct sim_command *command)
{
    sim_net_clog(from, to, command->on);
}

void sim_act_clog(struct sim_script *script, const struct sim_command *command)
{
    if (command->on) {
        count(script, SIM_FAULT_CLOG);
    }
    each_link(script, command, clog_one);
}

static void weather_one(uint32_t from, uint32_t to, const struct sim_command *command)
{
    sim_net_set_weather(from, to, &command->weather);
}

void sim_act_weather(struct sim_script *script, const struct sim_command *command)
{
    const struct sim_weather *weather = &command->weather;

    if (weather->loss_ppm != 0 || weather->duplicate_ppm != 0 ||
        weather->reorder_ppm != 0 || weather->bytes_per_ms != 0 ||
        weather->delay_us > 20000 || weather->jitter_us > 20000) {
        count(script,
              touches_users(command) ? SIM_FAULT_CLIENT_WEATHER : SIM_FAULT_WEATHER);
    }
    each_link(script, command, weather_one);
}

static void fate_one(uint32_t from, uint32_t to, const struct sim_command *command)
{
    sim_net_decree(from, to, command->decree.packet, &command->decree.fate);
}

void sim_act_fate(struct sim_script *script, const struct sim_command *command)
{
    each_link(script, command, fate_one);
}

void sim_act_draw(struct sim_script *script, const struct sim_command *command)
{
    (void)script;
    sim_net_draw(command->on);
}

/* ---- disks and clocks ---- */

static void disk_one(struct sim_script *script,
                     struct sim_disk *disk,
                     const struct sim_command *command)
{
    switch (command->what) {
    case SIM_DISK_SLOW:
        if (command->timing.write_us + command->timing.write_jitter_us > 10000) {
            count(script, SIM_FAULT_SLOW_DISK);
        }
        sim_disk_set_timing(disk, &command->timing);
        break;
    case SIM_DISK_STALL:
        count(script, SIM_FAULT_STALL);
        sim_disk_stall(disk, true);
        break;
    case SIM_DISK_GO:
        sim_disk_stall(disk, false);
        break;
    case SIM_DISK_FULL:
        count(script, SIM_FAULT_FULL_DISK);
        sim_disk_fill(disk, true);
        break;
    case SIM_DISK_SPACE:
        sim_disk_fill(disk, false);
        break;
    case SIM_DISK_FAIL:
        count(script, SIM_FAULT_DISK_ERROR);
        sim_disk_fail_next(disk, (enum sim_disk_failure)command->number);
        break;
    case SIM_DISK_ROT_ENTRY:
        count(script, SIM_FAULT_ROT);
        sim_disk_rot_entry(disk, command->number);
        break;
    case SIM_DISK_ROT_SNAPSHOT:
        count(script, SIM_FAULT_ROT);
        sim_disk_rot_snapshot(disk);
        break;
    case SIM_DISK_ROT_META:
        count(script, SIM_FAULT_ROT);
        sim_disk_rot_snapshot_meta(disk);
        break;
    }
}

void sim_act_disk(struct sim_script *script, const struct sim_command *command)
{
    unsigned nodes = nodes_of(script, command, &command->who);

    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        if ((nodes & 1U << i) != 0) {
            disk_one(script, sim_node(i)->disk, command);
        }
    }
}

static void clock_one(struct sim_process *process, const struct sim_command *command)
{
    if (command->what == SIM_CLOCK_RATE) {
        sim_clock_set_rate(&process->clock, (int32_t)command->offset);
    } else {
        process->clock.wall_offset_us += command->offset;
    }
    /* When it wanted to wake, it reckoned with the old rate. */
    if (process->alive) {
        sim_process_wake(process, sim_now_us());
    }
}

void sim_act_clock(struct sim_script *script, const struct sim_command *command)
{
    count(script, command->what == SIM_CLOCK_RATE ? SIM_FAULT_RATE : SIM_FAULT_WALL);
    each_process(script, command, clock_one);
}

/* ---- users, and looking ---- */

void sim_act_ask(struct sim_script *script, const struct sim_command *command)
{
    switch (command->ask->type) {
    case SIM_ASK_RESET:
    case SIM_ASK_HOLD:
    case SIM_ASK_READ:
    case SIM_ASK_BYTES:
        count(script, SIM_FAULT_HOSTILE);
        break;
    default:
        break;
    }
    sim_client_ask(sim_client(command->who.number), command->ask);
}

void sim_act_show(struct sim_script *script, const struct sim_command *command)
{
    if (!script->has_blocks) {
        return;
    }
    switch (command->what) {
    case SIM_SHOW_LOCKS:
        sim_transcript_show_locks();
        break;
    case SIM_SHOW_NODES:
        sim_transcript_show_nodes();
        break;
    case SIM_SHOW_CLIENTS:
        sim_transcript_show_clients();
        break;
    }
}

void sim_act_transcript(struct sim_script *script, const struct sim_command *command)
{
    (void)script;
    sim_transcript_level(command->what);
}
