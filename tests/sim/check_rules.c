/* check_rules.c - the rules of SPEC 3 on the canonical log, event by event: each is looked at with what there
 * was before it, and then counts.
 *
 * What a client leaves when it goes is not told one by one. A client whose grace is over, or that is being
 * detached, is `going` in this command: its holds end when another client is granted what they were in
 * the way of, at the answer of the command (what is due comes before it), or at the end. */
#include "check_internal.h"

#include <string.h>

#include <utlist.h>

struct check_step check_step;

struct pointers {
    void **items;
    size_t count, capacity;
};

static struct {
    struct pointers touched; /* struct check_lock */
    struct pointers going;   /* struct check_client */
    unsigned answers;
    uint64_t due_ms; /* while the table is looked through */
} step;

static void push(struct pointers *pointers, void *item)
{
    if (pointers->count == pointers->capacity) {
        pointers->capacity = pointers->capacity == 0 ? 64 : pointers->capacity * 2;
        pointers->items =
            sim_realloc(pointers->items, pointers->capacity * sizeof(pointers->items[0]));
    }
    pointers->items[pointers->count++] = item;
}

void check_rules_begin(void)
{
    check_rules_free();
    check_table_begin();
}

void check_rules_free(void)
{
    sim_free(step.touched.items);
    sim_free(step.going.items);
    memset(&step, 0, sizeof(step));
    memset(&check_step, 0, sizeof(check_step));
    check_table_free();
}

void check_touch(struct check_lock *lock)
{
    if (!lock->touched) {
        lock->touched = true;
        push(&step.touched, lock);
    }
}

/* ---- who may have it ------------------------------------------------------------------------- */

static bool admits_head(const struct check_lock *lock)
{
    if (lock->waits->upgrade) {
        return lock->holds_count == 1;
    }
    return check_admits(lock, lock->waits->type);
}

/* ---- clients that go --------------------------------------------------------------------------- */

static void leave(struct check_client *client)
{
    struct check_claim *hold;
    struct check_claim *next;

    client->going = false;
    check_client_not_missing(client);
    client->presence = FSM_GONE;
    if (client->waits != NULL) {
        sim_violation("P9", "disconnect, waits still: %s is gone and still waits for %s",
                      check_name_text(client->name),
                      check_name_text(client->waits->lock->name));
        return;
    }
    DL_FOREACH_SAFE2(client->holds, hold, next, client_next)
    {
        if (hold->drop == FSM_DROP_RELEASE) {
            check_drop(hold);
        }
    }
}

static void leave_all(void)
{
    while (step.going.count > 0) {
        struct check_client *client = step.going.items[--step.going.count];
        if (client->going) {
            leave(client);
        }
    }
}

static void goes(struct check_client *client)
{
    if (!client->going) {
        client->going = true;
        push(&step.going, client);
    }
}

static void end_graces(void)
{
    struct check_client *client;
    uint64_t end_ms = FSM_UNLIMITED;

    if (check_table.missing == NULL || check_table.missing_end_ms > check_table.now_ms) {
        return;
    }
    DL_FOREACH2(check_table.missing, client, missing_next)
    {
        if (client->grace_end_ms <= check_table.now_ms) {
            goes(client);
        } else if (client->grace_end_ms < end_ms) {
            end_ms = client->grace_end_ms;
        }
    }
    check_table.missing_end_ms = end_ms;
}

/* ---- ends ---------------------------------------------------------------------------------------- */

static void on_hold_ended(const struct fsm_event *event)
{
    struct check_lock *lock = check_lock_get(check_name_of(event->lock));
    struct check_client *client = check_client_get(check_name_of(event->client));
    struct check_claim *hold = check_hold_find(lock, client);
    const struct fsm_command *command = check_step.command;

    if (hold == NULL || hold->token != event->token) {
        sim_violation("P8",
                      "hold timeout, not held: entry %llu: the hold of %s on %s ended "
                      "under token %llu, which it does not have",
                      (unsigned long long)check_step.index, check_name_text(client->name),
                      check_name_text(lock->name), (unsigned long long)event->token);
        return;
    }
    check_touch(lock);
    if (event->hold_end == FSM_HOLD_EXPIRED) {
        check_run.counts.expiries++;
        check_deadline_came(hold, check_step.proposed_us);
        check_belief_lost(client->name, lock->name, event->token, CHECK_EXPIRED);
    } else {
        if (command->type != FSM_CMD_FORCE_RELEASE || lock != check_step.lock ||
            (command->force_release.token != 0 &&
             command->force_release.token != event->token)) {
            sim_violation("P6",
                          "release, broken: entry %llu: the hold of %s on %s under token "
                          "%llu is broken, which nobody asked for",
                          (unsigned long long)check_step.index,
                          check_name_text(client->name), check_name_text(lock->name),
                          (unsigned long long)event->token);
        }
        check_step.broken++;
        check_token_new(event->token)->broken = true;
        if (hold->read_token != 0) {
            check_token_new(hold->read_token)->broken = true;
        }
        check_belief_lost(client->name, lock->name, event->token, CHECK_BROKEN);
    }
    check_claim_end(hold);
}

static void on_wait_timeout(const struct fsm_event *event)
{
    struct check_lock *lock = check_lock_get(check_name_of(event->lock));
    struct check_client *client = check_client_get(check_name_of(event->client));
    struct check_claim *wait = check_wait_find(lock, client);

    if (wait == NULL) {
        sim_violation("P7",
                      "wait timeout, does not wait: entry %llu: a wait of %s for %s "
                      "timed out that is not there",
                      (unsigned long long)check_step.index, check_name_text(client->name),
                      check_name_text(lock->name));
        return;
    }
    check_touch(lock);
    check_deadline_came(wait, check_step.proposed_us);
    check_claim_end(wait);
    check_users_verdict(CHECK_TIMED_OUT, client->name, lock->name);
}

static void on_client_ended(const struct fsm_event *event)
{
    struct check_client *client = check_client_get(check_name_of(event->client));

    if (client->going) {
        leave(client);
    }
    if (!client->exists || client->presence != FSM_GONE || client->holds != NULL ||
        client->waits != NULL) {
        sim_violation(
            "P9", "disconnect, forgotten: entry %llu: %s is forgotten and is not gone",
            (unsigned long long)check_step.index, check_name_text(client->name));
        return;
    }
    client->exists = false;
    client->epoch = client->attach_seq = 0;
    check_table.clients_count--;
}

/* ---- a new leader ---------------------------------------------------------------------------------- */

static void extend(struct check_claim *claim)
{
    uint64_t end_ms = check_later_ms(check_table.now_ms, check_table.grace_ms);
    uint64_t most_ms = check_later_ms(claim->asked_deadline_ms, check_table.grace_ms);

    end_ms = end_ms < most_ms ? end_ms : most_ms;
    if (!claim->waiting && claim->drop == FSM_DROP_RELEASE &&
        claim->deadline_ms < end_ms) {
        claim->deadline_ms = end_ms;
    }
}

static void miss(struct check_client *client)
{
    if (client->exists && client->presence == FSM_ATTACHED) {
        check_client_missing(client,
                             check_later_ms(check_table.now_ms, check_table.grace_ms));
    }
}

static void on_serving(void)
{
    const struct fsm_command *command = check_step.command;
    unsigned leader = check_raft_leader(command->epoch.term);

    check_run.counts.elections++;
    check_table.leaders++;
    check_table.epoch_us = sim_now_us();
    /* A node that is alone leads again in its old term when it starts again. */
    bool again = sim_nodes_count() == 1 && command->epoch.term == check_table.last_term;
    if (command->epoch.term <= check_table.last_term && !again) {
        sim_violation("P18",
                      "one leader, term goes back: entry %llu begins term %llu after "
                      "term %llu had begun",
                      (unsigned long long)check_step.index,
                      (unsigned long long)command->epoch.term,
                      (unsigned long long)check_table.last_term);
    }
    if (leader != 0 && leader != command->epoch.node_id) {
        sim_violation("P18",
                      "one leader, another leads: entry %llu begins term %llu of n%llu, "
                      "but n%u leads in it",
                      (unsigned long long)check_step.index,
                      (unsigned long long)command->epoch.term,
                      (unsigned long long)command->epoch.node_id, leader);
    }
    check_table.last_term = command->epoch.term;
    check_table.grace_ms = command->epoch.settings.reattach_grace_ms;
    check_clients_scan(miss);
    check_table_scan(extend);
    end_graces();
}

/* ---- one event --------------------------------------------------------------------------------------- */

static bool is_answer(const struct fsm_event *event)
{
    return event->command != 0 && event->type != FSM_EV_LIST_LOCK &&
           event->type != FSM_EV_LIST_CLIENT;
}

static void on_event(const struct fsm_event *event)
{
    if (event->command != 0) {
        leave_all();
    }
    step.answers += is_answer(event);
    switch (event->type) {
    case FSM_EV_SERVING:
        on_serving();
        return;
    case FSM_EV_ATTACHED:
        check_answer_attached(event);
        return;
    case FSM_EV_GRANTED:
        check_granted(event);
        return;
    case FSM_EV_WAITING:
        check_answer_waiting(event);
        return;
    case FSM_EV_DENIED:
        check_answer_denied(event);
        return;
    case FSM_EV_WAIT_TIMEOUT:
        on_wait_timeout(event);
        return;
    case FSM_EV_HOLD_ENDED:
        on_hold_ended(event);
        return;
    case FSM_EV_RELEASE:
        check_answer_release(event);
        return;
    case FSM_EV_STATUS:
        check_answer_status(event);
        return;
    case FSM_EV_TOKEN:
        check_answer_token(event);
        return;
    case FSM_EV_FORCED:
        if (event->holders_count != check_step.broken) {
            sim_violation(
                "P6",
                "release, breaks told: entry %llu: %u holds were broken, %u are answered",
                (unsigned long long)check_step.index, check_step.broken,
                event->holders_count);
        }
        return;
    case FSM_EV_CLIENT_ENDED:
        on_client_ended(event);
        return;
    case FSM_EV_DETACHED:
    case FSM_EV_LIST_LOCK:
    case FSM_EV_LIST_CLIENT:
    case FSM_EV_LIST_END:
    case FSM_EV_CHECKPOINT:
    case FSM_EV_MEMBER:
        return;
    }
}

/* ---- one command --------------------------------------------------------------------------------------- */

static void begin(uint64_t index, uint64_t proposed_us, const struct fsm_command *command)
{
    uint32_t client = check_name_of(command->client);
    uint32_t lock = check_name_of(command->lock);

    check_step = (struct check_step){
        .index = index,
        .proposed_us = proposed_us,
        .command = command,
        .client = client != 0 ? check_client_get(client) : NULL,
        .lock = lock != 0 ? check_lock_get(lock) : NULL,
    };
    step.answers = 0;
    if (command->time_ms > check_table.now_ms) {
        check_table.now_ms = command->time_ms;
    }
    end_graces();
    if (command->type == FSM_CMD_DETACH && command->detach.last &&
        check_step.client != NULL && check_step.client->exists &&
        check_step.client->attach_seq == command->detach.attach_seq) {
        goes(check_step.client);
    }
}

static void settle(struct check_lock *lock)
{
    lock->touched = false;
    if (lock->waits != NULL && (lock->holds == NULL || admits_head(lock))) {
        sim_violation(
            "P5",
            "no lost grant, free: after entry %llu %s waits for %s and could have it",
            (unsigned long long)check_step.index,
            check_name_text(lock->waits->client->name), check_name_text(lock->name));
    }
}

static void find_next_due(struct check_claim *claim)
{
    if (claim->deadline_ms < step.due_ms) {
        step.due_ms = claim->deadline_ms;
    }
    if (claim->deadline_ms <= check_table.now_ms) {
        sim_violation(
            claim->waiting ? "P7" : "P8",
            "after entry %llu it is %llu ms, and %s's claim of %s is not over since %llu "
            "ms",
            (unsigned long long)check_step.index, (unsigned long long)check_table.now_ms,
            check_name_text(claim->client->name), check_name_text(claim->lock->name),
            (unsigned long long)claim->deadline_ms);
    }
}

static void compare_totals(const struct fsm *fsm)
{
    struct fsm_counts counts = fsm_counts(fsm);

    if (counts.holds != check_table.holds_count ||
        counts.waits != check_table.waits_count ||
        counts.locks != check_table.locks_count ||
        counts.clients != check_table.clients_count) {
        sim_violation("P14",
                      "rules: after entry %llu there are %llu holds, %llu waits, %llu "
                      "locks and %llu "
                      "clients; by the rules %llu, %llu, %llu and %llu",
                      (unsigned long long)check_step.index,
                      (unsigned long long)counts.holds, (unsigned long long)counts.waits,
                      (unsigned long long)counts.locks,
                      (unsigned long long)counts.clients,
                      (unsigned long long)check_table.holds_count,
                      (unsigned long long)check_table.waits_count,
                      (unsigned long long)check_table.locks_count,
                      (unsigned long long)check_table.clients_count);
    } else if (fsm_last_token(fsm) != check_table.last_token) {
        sim_violation("P3",
                      "fencing tokens, counter: after entry %llu the counter is %llu, "
                      "the last grant had %llu",
                      (unsigned long long)check_step.index,
                      (unsigned long long)fsm_last_token(fsm),
                      (unsigned long long)check_table.last_token);
    } else if (fsm_now_ms(fsm) != check_table.now_ms) {
        sim_violation("P8", "cluster time: after entry %llu it is %llu, not %llu",
                      (unsigned long long)check_step.index,
                      (unsigned long long)fsm_now_ms(fsm),
                      (unsigned long long)check_table.now_ms);
    }
}

static void finish(const struct fsm *fsm)
{
    leave_all();
    while (step.touched.count > 0) {
        settle(step.touched.items[--step.touched.count]);
    }
    if (check_table.next_due_ms <= check_table.now_ms) {
        step.due_ms = FSM_UNLIMITED;
        check_table_scan(find_next_due);
        check_table.next_due_ms = step.due_ms;
    }
    if (step.answers != (check_step.command->type == FSM_CMD_TICK ? 0 : 1)) {
        sim_violation("P17",
                      "ghost, answers: entry %llu: a command (type %d) has %u answers",
                      (unsigned long long)check_step.index, (int)check_step.command->type,
                      step.answers);
    }
    compare_totals(fsm);
}

void check_rules_applied(uint64_t index,
                         uint64_t proposed_us,
                         const struct fsm *fsm,
                         const struct fsm_command *command,
                         const struct fsm_event *events,
                         size_t count)
{
    begin(index, proposed_us, command);
    for (size_t i = 0; i < count && check_run.running; i++) {
        on_event(&events[i]);
    }
    if (check_run.running) {
        finish(fsm);
    }
}
