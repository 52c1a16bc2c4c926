/* check_outcomes.c - what users are told: always something that the log has decided, for them, after they
 * asked, and not before it could be. */
#include "check_internal.h"

static struct {
    uint64_t index; /* the highest that anybody was told of */
    struct check_map
        held; /* by client and lock: when it was last refused as held, and one */
    struct check_map timed; /* the same, when a wait timed out */
} told;

void check_outcomes_begin(void)
{
    check_outcomes_free();
}

void check_outcomes_free(void)
{
    check_map_free(&told.held);
    check_map_free(&told.timed);
    told.index = 0;
}

uint64_t check_seen_index(void)
{
    return told.index;
}

/* ---- where in the log ------------------------------------------------------------------------------- */

/* It was decided by an entry that was applied, and not before what was known when it was asked. */
static void
look_at_index(const struct check_user *user, uint64_t index, const struct check_ask *ask)
{
    if (index == 0) {
        return;
    }
    if (!check_log_has(index)) {
        sim_violation("P15",
                      "durability, answered: %s is answered from entry %llu, which no "
                      "node has applied "
                      "(the last is %llu)",
                      check_user_name(user), (unsigned long long)index,
                      (unsigned long long)check_log_last());
    } else if (ask != NULL && index < ask->seen_index) {
        sim_violation("P18",
                      "one leader, old answer: %s is answered from entry %llu, and entry "
                      "%llu was known "
                      "before it asked (operation %llu)",
                      check_user_name(user), (unsigned long long)index,
                      (unsigned long long)ask->seen_index, (unsigned long long)ask->op);
    }
    told.index = index > told.index ? index : told.index;
}

/* The hold that the user is told of is one that was granted to it. */
static const struct check_token *look_at_token(const struct check_user *user,
                                               uint64_t token,
                                               uint32_t lock,
                                               uint32_t client)
{
    const struct check_token *granted = check_token_find(token);

    if (granted == NULL) {
        sim_violation("P17",
                      "ghost, never granted: %s is told that it has %s under token %llu, "
                      "which was never "
                      "granted",
                      check_user_name(user), check_name_text(lock),
                      (unsigned long long)token);
    } else if (granted->lock != lock || (client != 0 && granted->client != client)) {
        sim_violation("P17",
                      "ghost, granted to another: %s (%s) is told that it has %s under "
                      "token %llu, which was granted "
                      "to %s for %s",
                      check_user_name(user), check_name_text(client),
                      check_name_text(lock), (unsigned long long)token,
                      check_name_text(granted->client), check_name_text(granted->lock));
    }
    return granted;
}

/* ---- lock ---------------------------------------------------------------------------------------------- */

static void on_granted(struct check_user *user,
                       const struct check_ask *ask,
                       const struct netlock_grant *grant)
{
    const struct check_token *granted =
        look_at_token(user, grant->token, ask->lock, user->id);
    const struct check_use *use = check_use_find(user, ask->lock);

    look_at_index(user, grant->index, ask);
    if (granted != NULL && grant->index < granted->index) {
        sim_violation("P17",
                      "ghost, another entry: %s is told of token %llu by entry %llu; it "
                      "was granted by %llu",
                      check_user_name(user), (unsigned long long)grant->token,
                      (unsigned long long)grant->index,
                      (unsigned long long)granted->index);
    }
    if (ask->type == SIM_ASK_LOCK && ask->write && grant->type != NETLOCK_WRITE) {
        sim_violation("P2", "exclusion, weaker type: %s asked to write %s and may read",
                      check_user_name(user), check_name_text(ask->lock));
    }
    if (use != NULL && !user->shared && grant->token <= use->lost_token) {
        sim_violation("P13",
                      "lost once, granted after: %s is told that it has token %llu of "
                      "%s, and was told that it "
                      "lost %llu",
                      check_user_name(user), (unsigned long long)grant->token,
                      check_name_text(ask->lock), (unsigned long long)use->lost_token);
    }
}

static void on_timed_out(const struct check_user *user, const struct check_ask *ask)
{
    uint64_t leaders = check_table.leaders - ask->leaders;
    uint64_t least_us = check_least_us(ask->wait_ms, leaders);
    uint64_t said_us = check_map_get(&told.timed, check_pair(user->id, ask->lock));

    if (said_us <= ask->at_us) {
        sim_violation("P7",
                      "wait timeout, not in the log: %s is told that its wait for %s "
                      "timed out; the log does not "
                      "say so",
                      check_user_name(user), check_name_text(ask->lock));
    } else if (user->shared) {
        return; /* the wait of whoever asked last is the wait of all */
    } else if (ask->try_only || ask->wait_ms == 0 || ask->wait_ms == NETLOCK_UNLIMITED) {
        sim_violation("P7",
                      "wait timeout, none asked for: %s timed out waiting for %s, and "
                      "there was no timeout",
                      check_user_name(user), check_name_text(ask->lock));
    } else if (sim_now_us() < ask->at_us + least_us) {
        sim_violation("P7", "wait timeout, when: %s waited for %s for %llu us of %u ms",
                      check_user_name(user), check_name_text(ask->lock),
                      (unsigned long long)(sim_now_us() - ask->at_us), ask->wait_ms);
    }
}

static void on_refused(const struct check_user *user, const struct check_ask *ask)
{
    uint64_t said_us = check_map_get(&told.held, check_pair(user->id, ask->lock));

    if (!ask->try_only) {
        sim_violation(
            "P16",
            "false busy, would wait: %s would wait for %s, and is told that it is held",
            check_user_name(user), check_name_text(ask->lock));
    } else if (said_us <= ask->at_us) {
        sim_violation("P16",
                      "false busy, not in the log: %s is told that %s is held; the log "
                      "does not say so",
                      check_user_name(user), check_name_text(ask->lock));
    }
}

/* After such an outcome nothing that the operation sent can have an effect any more. */
static bool is_definite(int rv)
{
    switch (-rv) {
    case 0:
    case NETLOCK_EHELD:
    case NETLOCK_ETIMEOUT:
    case NETLOCK_ECONFLICT:
    case NETLOCK_ELIMIT:
    case NETLOCK_EFULL:
    case NETLOCK_ENOTHELD:
    case NETLOCK_EEXPIRED:
    case NETLOCK_EOTHER:
        return true;
    default:
        return false;
    }
}

/* Errors of the system: the operation was never made. */
static bool was_made(int rv)
{
    return rv == 0 || rv <= -NETLOCK_EHELD;
}

static void on_lock(struct check_user *user,
                    const struct check_ask *ask,
                    const struct sim_record *record)
{
    struct check_use *use = check_use_get(user, ask->lock);

    use->open_locks -= use->open_locks > 0 ? 1 : 0;
    /* A try that is refused leaves in the queue what an earlier life put there. */
    if (was_made(record->rv) && record->rv != -NETLOCK_EHELD) {
        use->settled = is_definite(record->rv);
    }
    if (record->rv == 0 && record->grant == NULL) {
        sim_violation("P17",
                      "ghost, no token: %s is told that it has %s, without a token",
                      check_user_name(user), check_name_text(ask->lock));
    } else if (record->rv == 0) {
        on_granted(user, ask, record->grant);
    } else if (record->rv == -NETLOCK_ETIMEOUT) {
        on_timed_out(user, ask);
    } else if (record->rv == -NETLOCK_EHELD) {
        on_refused(user, ask);
    }
}

/* ---- unlock -------------------------------------------------------------------------------------------- */

static void on_unlock(struct check_user *user, const struct check_ask *ask, int rv)
{
    struct check_use *use = check_use_get(user, ask->lock);
    const struct check_claim *hold;

    /* What was asked for later, even if it is over, may have had its effect already. */
    if (!is_definite(rv) || use->lock_op > ask->op) {
        return;
    }
    if (ask->token == 0) {
        use->settled = true;
    }
    if (user->shared || user->id == 0) {
        return;
    }
    hold = check_hold_find(check_lock_get(ask->lock), check_client_get(user->id));
    if (rv == 0 && hold != NULL && (ask->token == 0 || ask->token == hold->token)) {
        sim_violation("P6",
                      "release, held after: %s is told that it let go of %s, and has it "
                      "under token %llu",
                      check_user_name(user), check_name_text(ask->lock),
                      (unsigned long long)hold->token);
    }
}

/* ---- outcomes ------------------------------------------------------------------------------------------- */

void check_outcome(struct check_user *user, const struct sim_record *record)
{
    struct check_ask *found = check_ask_find(user, record->op);
    struct check_ask ask;

    check_run.counts.outcomes++;
    if (!user->library) {
        return;
    }
    if (found == NULL) {
        sim_violation("P17",
                      "ghost, operation: %s gets an outcome of operation %llu, which is "
                      "not under way",
                      check_user_name(user), (unsigned long long)record->op);
        return;
    }
    ask = *found;
    check_ask_end(user, found);
    if (record->answer != NULL) {
        look_at_index(user, record->answer->index, &ask);
    }
    if (ask.lock == 0) {
        return;
    }
    if (ask.lowers && record->rv != 0) {
        check_belief_lowers(user, ask.lock, false);
    }
    if (ask.type == SIM_ASK_LOCK) {
        on_lock(user, &ask, record);
    } else if (ask.type == SIM_ASK_UNLOCK) {
        on_unlock(user, &ask, record->rv);
    } else if (ask.type == SIM_ASK_REFRESH && record->rv == 0 && record->grant != NULL) {
        on_granted(user, &ask, record->grant);
    }
}

/* ---- notices -------------------------------------------------------------------------------------------- */

static void on_lost(struct check_user *user, uint32_t lock, uint64_t token)
{
    struct check_use *use = check_use_get(user, lock);

    check_run.counts.lost_notices++;
    if (user->shared) {
        return;
    }
    look_at_token(user, token, lock, user->id);
    if (token <= use->lost_token) {
        sim_violation("P13",
                      "lost once, told again: %s is told that it lost token %llu of %s, "
                      "and was told so of "
                      "%llu",
                      check_user_name(user), (unsigned long long)token,
                      check_name_text(lock), (unsigned long long)use->lost_token);
    }
    use->lost_token = token;
}

void check_notice(struct check_user *user, const struct sim_record *record)
{
    const struct netlock_notice *notice = record->notice;

    switch (notice->event) {
    case NETLOCK_CONNECTED:
    case NETLOCK_DISCONNECTED:
        user->connected = notice->event == NETLOCK_CONNECTED;
        if (user->connected && user->life_index == 0) {
            user->life_index = check_log_last();
        }
        return;
    case NETLOCK_LOST:
        on_lost(user, check_name_of_text(notice->name), notice->token);
        return;
    case NETLOCK_QUEUED:
    case NETLOCK_JEOPARDY:
    case NETLOCK_SAFE:
        return;
    }
}

/* ---- beliefs -------------------------------------------------------------------------------------------- */

void check_belief(struct check_user *user, const struct sim_record *record)
{
    uint32_t lock = check_name_of_text(record->lock);
    uint32_t client = check_name_of_text(record->client_id);
    const struct check_token *granted;
    const struct check_use *use;

    if (!record->holding) {
        check_belief_ends(user, lock, record->token);
        return;
    }
    granted = NULL;
    if (user->library || record->token != 0) { /* plain clients are told of none */
        granted = look_at_token(user, record->token, lock, client);
    }
    if (granted != NULL && record->type_of_lock == NETLOCK_WRITE && !granted->write) {
        sim_violation("P2",
                      "exclusion, writes under a read: %s thinks that it may write %s "
                      "under token %llu, which is for "
                      "reading",
                      check_user_name(user), check_name_text(lock),
                      (unsigned long long)record->token);
    }
    use = user->library ? check_use_find(user, lock) : NULL;
    if (use != NULL && !user->shared && record->token <= use->lost_token) {
        sim_violation(
            "P13",
            "lost once, goes on: %s goes on with token %llu of %s after it was told LOST",
            check_user_name(user), (unsigned long long)record->token,
            check_name_text(lock));
    }
    check_belief_begins(user, client, lock, record->token, record->type_of_lock,
                        record->limit);
}

/* ---- messages ------------------------------------------------------------------------------------------- */

static uint32_t name_of(struct wire_str str)
{
    return check_name(str.data, str.len);
}

void check_response(struct check_user *user, const struct sim_record *record)
{
    const struct wire_response *response = record->response;
    uint64_t index;

    if (response == NULL || response->type == WIRE_RESP_CLUSTER_STATUS) {
        return;
    }
    index = response->position.index;
    look_at_index(user, index, check_ask_find(user, record->op));
    if (index != 0 && record->conn < SIM_CLIENT_CONNS_MAX) {
        if (index < user->conn_index[record->conn]) {
            sim_violation("P18",
                          "one leader, goes back: %s is told of entry %llu after entry "
                          "%llu, on one "
                          "connection",
                          check_user_name(user), (unsigned long long)index,
                          (unsigned long long)user->conn_index[record->conn]);
        }
        user->conn_index[record->conn] = index;
    }
    if (response->type == WIRE_RESP_GRANTED && response->granted.token != 0) {
        look_at_token(user, response->granted.token, name_of(response->lock),
                      name_of(response->client));
    }
}

/* ---- what the log decides ------------------------------------------------------------------------------- */

/* A request that comes late, by a connection that its client has given up, must not take a lock that the
 * client believes released. */
static void look_for_ghost(uint32_t client, uint32_t lock)
{
    const struct check_user *user = check_user_of_id(client);
    const struct check_use *use;

    if (user == NULL || !user->alive) {
        return;
    }
    use = check_use_find(user, lock);
    if (use == NULL || (use->open_locks == 0 && use->settled)) {
        sim_violation("P13",
                      "idempotence, no request: %s is granted to %s, which has no "
                      "request for it open",
                      check_name_text(lock), check_user_name(user));
    }
}

void check_users_verdict(enum check_verdict verdict, uint32_t client, uint32_t lock)
{
    switch (verdict) {
    case CHECK_GRANTED:
        look_for_ghost(client, lock);
        return;
    case CHECK_HELD:
        *check_map_at(&told.held, check_pair(client, lock)) = sim_now_us() + 1;
        return;
    case CHECK_TIMED_OUT:
        *check_map_at(&told.timed, check_pair(client, lock)) = sim_now_us() + 1;
        return;
    }
}
