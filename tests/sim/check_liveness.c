/* check_liveness.c - what has to happen: after healing within a bound, and before the end at all. */
#include "check_internal.h"

enum {
    US_PER_MS = 1000,
    US_PER_S = 1000000,
    SESSION_GRACE_MS = 10000,     /* the library's default */
    SESSION_GRACE_MAX_MS = 60000, /* that a server grants */
    /* How long a connection that ended may go unnoticed beyond its grace: TCP sends its last segment again
     * after up to 10 s. */
    DETECTION_MS = 20000,
};

static uint64_t later_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A wait without end is answered when its turn comes, and it is the log's business when that is. */
static bool waits_its_turn(const struct check_user *user, const struct check_ask *ask)
{
    return ask->type == SIM_ASK_LOCK && !ask->try_only && user->id != 0 &&
           ask->lock != 0 &&
           check_wait_find(check_lock_get(ask->lock), check_client_get(user->id)) != NULL;
}

static bool is_endless(const struct check_ask *ask)
{
    return ask->type == SIM_ASK_LOCK && !ask->try_only &&
           (ask->wait_ms == 0 || ask->wait_ms == NETLOCK_UNLIMITED);
}

static const char *type_name(enum sim_ask_type type)
{
    static const char *const names[] = {
        [SIM_ASK_LOCK] = "lock",       [SIM_ASK_UNLOCK] = "unlock",
        [SIM_ASK_REFRESH] = "refresh", [SIM_ASK_CANCEL] = "cancel",
        [SIM_ASK_STATUS] = "status",   [SIM_ASK_CHECK_TOKEN] = "check",
        [SIM_ASK_BREAK] = "break",
    };

    return type <= SIM_ASK_BREAK ? names[type] : "request";
}

/* ---- after healing --------------------------------------------------------------------------------------- */

static void look_at_asks(struct check_user *user)
{
    if (!user->library || !user->alive || user->process->paused) {
        return;
    }
    for (unsigned i = 0; i < user->asks_count && check_run.running; i++) {
        const struct check_ask *ask = &user->asks[i];
        uint64_t wait_ms =
            ask->type == SIM_ASK_LOCK && !is_endless(ask) ? ask->wait_ms : 0;
        uint64_t limit_us = later_of(ask->at_us, check_run.healed_us) +
                            check_most_us(wait_ms) +
                            (uint64_t)SIM_CHECK_ANSWER_S * US_PER_S;
        if (sim_now_us() > limit_us && !(is_endless(ask) && waits_its_turn(user, ask))) {
            sim_violation("P12",
                          "liveness, no answer: %s of %s by %s (operation %llu) has no "
                          "answer after %llu ms",
                          type_name(ask->type), check_name_text(ask->lock),
                          check_user_name(user), (unsigned long long)ask->op,
                          (unsigned long long)((sim_now_us() - ask->at_us) / US_PER_MS));
        }
    }
}

static uint64_t session_grace_ms(const struct check_user *user)
{
    uint64_t grace_ms = user->options->session_grace_ms;

    grace_ms = grace_ms != 0 ? grace_ms : SESSION_GRACE_MS;
    return grace_ms < SESSION_GRACE_MAX_MS ? grace_ms : SESSION_GRACE_MAX_MS;
}

/* Of one who died: whatever does not stay by its drop policy. */
static void look_at_remains(struct check_claim *claim)
{
    const struct check_user *user = check_user_of_id(claim->client->name);
    uint64_t since_us;
    uint64_t most_ms;

    if (user == NULL || user->alive ||
        (!claim->waiting && claim->drop == FSM_DROP_IGNORE)) {
        return;
    }
    since_us = later_of(later_of(user->died_us, check_run.healed_us),
                        later_of(check_table.epoch_us, check_run.unserved_us));
    /* The silence is noticed after the grace, and then the grace begins. */
    most_ms =
        2 * session_grace_ms(user) + check_run.options.reattach_grace_ms + DETECTION_MS;
    if (sim_now_us() > since_us + check_most_us(most_ms)) {
        sim_violation("P9", "disconnect, dead: %s is dead for %llu ms, and still %s %s",
                      check_user_name(user),
                      (unsigned long long)((sim_now_us() - user->died_us) / US_PER_MS),
                      claim->waiting ? "waits for" : "holds",
                      check_name_text(claim->lock->name));
    }
}

static void look_at_service(void)
{
    uint64_t limit_us;

    if (sim_serving() != NULL) {
        check_run.served_us = sim_now_us();
        return;
    }
    check_run.unserved_us = sim_now_us();
    limit_us = later_of(check_run.served_us, check_run.healed_us) +
               (uint64_t)SIM_CHECK_ANSWER_S * US_PER_S;
    if (sim_now_us() > limit_us) {
        sim_violation("P12", "liveness, no service: no node has served for %u s",
                      (unsigned)SIM_CHECK_ANSWER_S);
    }
}

void check_liveness_scan(void)
{
    look_at_service();
    check_users_scan(look_at_asks);
    check_table_scan(look_at_remains);
    check_time_scan();
}

/* ---- at the end ------------------------------------------------------------------------------------------- */

static void look_at_asks_at_end(struct check_user *user)
{
    if (!user->library || !user->alive || user->process->paused) {
        return;
    }
    for (unsigned i = 0; i < user->asks_count && check_run.running; i++) {
        const struct check_ask *ask = &user->asks[i];
        if (!waits_its_turn(user, ask)) {
            sim_violation("P12",
                          "liveness, no answer at the end: %s of %s by %s (operation "
                          "%llu) has no answer at the end",
                          type_name(ask->type), check_name_text(ask->lock),
                          check_user_name(user), (unsigned long long)ask->op);
        }
    }
}

static bool asks_for(const struct check_user *user, uint32_t lock)
{
    for (unsigned i = 0; i < user->asks_count; i++) {
        if (user->asks[i].lock == lock) {
            return true;
        }
    }
    return false;
}

/* What the cluster keeps for somebody who does not know of it. What an earlier life left is there for the
 * next one to take up, or not. */
static void look_at_orphan(struct check_claim *claim)
{
    const struct check_user *user = check_user_of_id(claim->client->name);
    const struct check_token *token = check_token_find(claim->token);

    if (user == NULL || !user->alive || !user->connected || user->process->paused ||
        asks_for(user, claim->lock->name)) {
        return;
    }
    if (claim->waiting) {
        if (claim->index <= user->life_index) {
            return;
        }
        sim_violation(
            "P12",
            "liveness, waits unknowingly: %s waits for %s at the end, and does not know",
            check_user_name(user), check_name_text(claim->lock->name));
    } else if (token != NULL && token->index > user->life_index &&
               !check_believes(user, claim->lock->name)) {
        sim_violation("P5",
                      "no lost grant, holds unknowingly: %s has %s at the end under "
                      "token %llu, and does not know",
                      check_user_name(user), check_name_text(claim->lock->name),
                      (unsigned long long)claim->token);
    }
}

void check_liveness_end(void)
{
    if (sim_serving() == NULL) {
        sim_violation("P12", "liveness, no service: no node serves at the end");
    }
    check_users_scan(look_at_asks_at_end);
    check_table_scan(look_at_orphan);
}
