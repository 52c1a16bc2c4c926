#include "fsm_table.h"

/* ---- events as text --------------------------------------------------------------- */

static const char *deny_text(enum fsm_deny deny)
{
    switch (deny) {
    case FSM_DENY_HELD:
        return "held";
    case FSM_DENY_CANCELLED:
        return "cancelled";
    case FSM_DENY_NOT_HELD:
        return "not-held";
    case FSM_DENY_EXPIRED:
        return "expired";
    case FSM_DENY_UPGRADE_CONFLICT:
        return "upgrade-conflict";
    case FSM_DENY_LIMIT_MISMATCH:
        return "limit-mismatch";
    case FSM_DENY_NOT_ATTACHED:
        return "not-attached";
    case FSM_DENY_STALE_EPOCH:
        return "stale-epoch";
    case FSM_DENY_NOT_ALLOWED:
        return "not-allowed";
    case FSM_DENY_LIMIT_EXCEEDED:
        return "limit-exceeded";
    }
    return "?";
}

static const char *result_text(enum fsm_release_result result)
{
    switch (result) {
    case FSM_RELEASED:
        return "released";
    case FSM_WAS_QUEUED:
        return "was-queued";
    case FSM_NOT_HELD:
        return "not-held";
    case FSM_EXPIRED:
        return "expired";
    case FSM_HELD_BY_OTHER:
        return "held-by-other";
    }
    return "?";
}

static const char *state_text(enum fsm_lock_state state)
{
    switch (state) {
    case FSM_FREE:
        return "free";
    case FSM_HELD_BY_ME:
        return "mine";
    case FSM_WAITING:
        return "waiting";
    case FSM_STATE_HELD_BY_OTHER:
        return "other";
    }
    return "?";
}

static const char *token_text(enum fsm_token_state state)
{
    switch (state) {
    case FSM_TOKEN_CURRENT:
        return "current";
    case FSM_TOKEN_SUPERSEDED:
        return "superseded";
    case FSM_TOKEN_FREE:
        return "free";
    }
    return "?";
}

static char type_letter(enum fsm_type type)
{
    return type == FSM_READ ? 'R' : 'W';
}

static void print_claim(char *text, size_t size, const struct fsm_claim *claim)
{
    if (claim->waiting) {
        snprintf(text, size, "%c %u/", type_letter(claim->type), claim->position);
    } else if (claim->limit > 1) {
        snprintf(text, size, "%c#%llu slot %u", type_letter(claim->type),
                 (unsigned long long)claim->token, claim->slot);
    } else {
        snprintf(text, size, "%c#%llu", type_letter(claim->type),
                 (unsigned long long)claim->token);
    }
}

void event_print(char *text, size_t size, const struct fsm_event *event)
{
    const char *star = event->ref != 0 ? "*" : "";
    int who = (int)event->client.len;
    const char *client = event->client.data;
    int what = (int)event->lock.len;
    const char *name = event->lock.data;
    unsigned long long token = event->token;
    char claim[64];

    print_claim(claim, sizeof(claim), &event->claim);
    switch (event->type) {
    case FSM_EV_SERVING:
        snprintf(text, size, "%sserving", star);
        return;
    case FSM_EV_ATTACHED:
        snprintf(text, size, "%s%.*s attached epoch %llu%s claims %u", star, who, client,
                 (unsigned long long)event->epoch,
                 event->superseded ? " superseding" : "", event->claims_count);
        return;
    case FSM_EV_DETACHED:
        snprintf(text, size, "%s%.*s detached", star, who, client);
        return;
    case FSM_EV_GRANTED:
        snprintf(text, size, "%s%.*s granted %.*s %s", star, who, client, what, name,
                 claim);
        return;
    case FSM_EV_WAITING:
        snprintf(text, size, "%s%.*s waiting %.*s %s%u", star, who, client, what, name,
                 claim, event->queue_length);
        return;
    case FSM_EV_DENIED:
        snprintf(text, size, "%s%.*s denied %.*s %s%s%s", star, who, client, what, name,
                 deny_text(event->deny), event->limit_name != NULL ? " " : "",
                 event->limit_name != NULL ? event->limit_name : "");
        return;
    case FSM_EV_WAIT_TIMEOUT:
        snprintf(text, size, "%s%.*s wait-timeout %.*s", star, who, client, what, name);
        return;
    case FSM_EV_HOLD_ENDED:
        snprintf(text, size, "%s%.*s %s %.*s #%llu", star, who, client,
                 event->hold_end == FSM_HOLD_EXPIRED ? "expired" : "broken", what, name,
                 token);
        return;
    case FSM_EV_RELEASE:
        snprintf(text, size, "%s%.*s release %.*s %s #%llu", star, who, client, what,
                 name, result_text(event->result), token);
        return;
    case FSM_EV_STATUS:
        snprintf(text, size, "%s%.*s status %.*s %s %s holders %u queue %u", star, who,
                 client, what, name, state_text(event->state), claim,
                 event->holders_count, event->queue_length);
        return;
    case FSM_EV_TOKEN:
        snprintf(text, size, "%s%.*s #%llu %s by #%llu", star, what, name, token,
                 token_text(event->token_state),
                 (unsigned long long)event->superseded_by);
        return;
    case FSM_EV_LIST_LOCK:
        snprintf(text, size, "%s%.*s %c limit %u holders %u queue %u", star, what, name,
                 type_letter(event->claim.type), event->claim.limit, event->holders_count,
                 event->queue_length);
        return;
    case FSM_EV_LIST_CLIENT:
        snprintf(text, size, "%s%.*s epoch %llu holds %u waits %u%s", star, who, client,
                 (unsigned long long)event->epoch, event->holds_count, event->waits_count,
                 event->connected ? " connected" : "");
        return;
    case FSM_EV_LIST_END:
        snprintf(text, size, "%send%s", star, event->more ? " more" : "");
        return;
    case FSM_EV_FORCED:
        snprintf(text, size, "%sforced %.*s %u", star, what, name, event->holders_count);
        return;
    case FSM_EV_CHECKPOINT:
        snprintf(text, size, "%scheckpoint", star);
        return;
    case FSM_EV_MEMBER:
        snprintf(text, size, "%smember", star);
        return;
    case FSM_EV_CLIENT_ENDED:
        snprintf(text, size, "%s%.*s ended", star, who, client);
        return;
    }
    snprintf(text, size, "?");
}

static void table_print(struct table *t)
{
    size_t used = 0;

    t->told[0] = '\0';
    for (size_t i = 0; i < t->events.count; i++) {
        char text[1024];
        event_print(text, sizeof(text), &t->events.items[i]);
        used += (size_t)snprintf(t->told + used, sizeof(t->told) - used, "%s%s",
                                 i > 0 ? "; " : "", text);
        assert_true(used < sizeof(t->told));
    }
}

/* ---- the table -------------------------------------------------------------------- */

struct fsm_str str(const char *text)
{
    return (struct fsm_str){text, text != NULL ? strlen(text) : 0};
}

int table_setup(void **state)
{
    struct table *t = calloc(1, sizeof(*t));

    if (t == NULL) {
        return -1;
    }
    t->fsm = fsm_new(1);
    t->now_ms = 1000;
    t->settings = (struct fsm_settings){
        .reattach_grace_ms = 10000,
        .clients_max = 1000,
        .claims_max = 100000,
        .claims_per_client_max = 10000,
        .waiters_per_lock_max = 10000,
    };
    *state = t;
    epoch(t);
    return 0;
}

int table_teardown(void **state)
{
    struct table *t = *state;

    fsm_events_release(&t->events);
    fsm_free(t->fsm);
    free(t);
    return 0;
}

static void load_into(void *arg, const struct fsm_record *record)
{
    assert_int_equal(fsm_load(arg, record), 0);
}

void table_reload(struct table *t)
{
    struct fsm *copy = fsm_new(t->now_ms * 31 + 7);

    fsm_dump(t->fsm, load_into, copy);
    fsm_check(copy);
    assert_int_equal(fsm_load_end(copy), 0);
    fsm_check(copy);
    assert_int_equal(fsm_hash(copy), fsm_hash(t->fsm));
    fsm_free(t->fsm);
    t->fsm = copy;
}

/* ---- commands --------------------------------------------------------------------- */

const struct fsm_event *apply(struct table *t, struct fsm_command command)
{
    const struct fsm_event *answer = NULL;

    command.time_ms = t->now_ms;
    command.ref = ++t->ref;
    fsm_events_clear(&t->events);
    fsm_apply(t->fsm, &command, &t->events);
    fsm_check(t->fsm);
    table_print(t);
    for (size_t i = 0; i < t->events.count; i++) {
        if (t->events.items[i].ref == t->ref) {
            assert_null(answer);
            answer = &t->events.items[i];
            assert_int_equal(answer->command, command.type);
        } else {
            assert_int_equal(t->events.items[i].ref, 0);
        }
    }
    assert_int_equal(answer == NULL, command.type == FSM_CMD_TICK);
    return answer;
}

void pass(struct table *t, uint64_t ms)
{
    t->now_ms += ms;
    apply(t, (struct fsm_command){.type = FSM_CMD_TICK});
}

void epoch(struct table *t)
{
    apply(t, (struct fsm_command){
                 .type = FSM_CMD_EPOCH,
                 .epoch = {.node_id = 1,
                           .term = fsm_term(t->fsm) + 1,
                           .settings = t->settings},
             });
}

const struct fsm_event *attach(struct table *t, const char *client)
{
    return apply(t, (struct fsm_command){.type = FSM_CMD_ATTACH, .client = str(client)});
}

const struct fsm_event *
attach_epoch(struct table *t, const char *client, uint64_t number, bool supersede)
{
    return apply(
        t, (struct fsm_command){
               .type = FSM_CMD_ATTACH,
               .client = str(client),
               .attach = {.has_epoch = true, .epoch = number, .supersede = supersede},
           });
}

const struct fsm_event *detach(struct table *t, const char *client)
{
    uint64_t attach_seq;
    uint64_t number;

    fsm_client_find(t->fsm, str(client), &attach_seq, &number);
    return apply(t, (struct fsm_command){
                        .type = FSM_CMD_DETACH,
                        .client = str(client),
                        .detach = {.attach_seq = attach_seq, .last = true},
                    });
}

const struct fsm_event *
lock(struct table *t, const char *client, const char *name, struct ask ask)
{
    return apply(t,
                 (struct fsm_command){
                     .type = FSM_CMD_LOCK,
                     .client = str(client),
                     .client_epoch = ask.epoch,
                     .lock = str(name),
                     .lock_ = {.type = ask.read ? FSM_READ : FSM_WRITE,
                               .mode = ask.wait ? FSM_WAIT : FSM_BREAK,
                               .drop = ask.ignore ? FSM_DROP_IGNORE : FSM_DROP_RELEASE,
                               .wait_ms = ask.wait_ms > 0 ? ask.wait_ms : FSM_UNLIMITED,
                               .hold_ms = ask.hold_ms > 0 ? ask.hold_ms : FSM_UNLIMITED,
                               .limit = ask.limit > 0 ? ask.limit : 1,
                               .downgrade = ask.downgrade,
                               .owner_info = str(ask.info)},
                 });
}

const struct fsm_event *refresh(struct table *t,
                                const char *client,
                                const char *name,
                                uint64_t token,
                                uint64_t hold_ms)
{
    return apply(t, (struct fsm_command){
                        .type = FSM_CMD_REFRESH,
                        .client = str(client),
                        .lock = str(name),
                        .refresh = {.hold_ms = hold_ms, .token = token},
                    });
}

const struct fsm_event *
release(struct table *t, const char *client, const char *name, uint64_t token)
{
    return apply(t, (struct fsm_command){
                        .type = FSM_CMD_RELEASE,
                        .client = str(client),
                        .lock = str(name),
                        .release = {.token = token},
                    });
}

const struct fsm_event *status(struct table *t, const char *client, const char *name)
{
    return apply(t, (struct fsm_command){
                        .type = FSM_CMD_STATUS,
                        .client = str(client),
                        .lock = str(name),
                    });
}

const struct fsm_event *check_token(struct table *t, const char *name, uint64_t token)
{
    return apply(t, (struct fsm_command){
                        .type = FSM_CMD_CHECK_TOKEN,
                        .lock = str(name),
                        .check_token = {.token = token},
                    });
}

const struct fsm_event *force(struct table *t, const char *name, uint64_t token)
{
    return apply(t, (struct fsm_command){
                        .type = FSM_CMD_FORCE_RELEASE,
                        .lock = str(name),
                        .force_release = {.token = token},
                    });
}

void attach_all(struct table *t, const char *clients)
{
    char copy[1024];
    char *rest = copy;
    const char *client;

    snprintf(copy, sizeof(copy), "%s", clients);
    while ((client = strsep(&rest, " ")) != NULL) {
        attach(t, client);
    }
}
