#include "script_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "history.h"
#include "server_internal.h"

/* One simulation per process, and hooks that are given no argument: so there is one transcript. */
static struct {
    char *text;
    size_t len, capacity;
    unsigned level;
    bool aloud;
    struct sim_node_hooks others; /* who listened before */
    enum replica_role roles[SIM_NODES_MAX + 1];
    bool connected[SIM_SCRIPT_CLIENTS_MAX];
} transcript;

/* ---- lines ---- */

static void put(const char *data, size_t len)
{
    if (transcript.len + len + 1 > transcript.capacity) {
        transcript.capacity = (transcript.len + len + 1) * 2 + 1024;
        transcript.text = sim_realloc(transcript.text, transcript.capacity);
    }
    memcpy(transcript.text + transcript.len, data, len);
    transcript.len += len;
    transcript.text[transcript.len] = '\0';
}

/* "12.345 what", of now. */
void sim_transcript_line(const char *format, ...)
{
    char line[1024];
    uint64_t now_ms = sim_now_us() / 1000;
    va_list args;

    int len = snprintf(line, sizeof(line), "%" PRIu64 ".%03u ", now_ms / 1000,
                       (unsigned)(now_ms % 1000));
    va_start(args, format);
    len += vsnprintf(line + len, sizeof(line) - (size_t)len, format, args);
    va_end(args);
    len = len < (int)sizeof(line) - 1 ? len : (int)sizeof(line) - 2;
    line[len] = '\n';
    if (transcript.aloud) {
        fwrite(line, 1, (size_t)len + 1, stderr);
    }
    put(line, (size_t)len + 1);
}

const char *sim_transcript_text(void)
{
    return transcript.text != NULL ? transcript.text : "";
}

void sim_transcript_clear(void)
{
    transcript.len = 0;
    if (transcript.text != NULL) {
        transcript.text[0] = '\0';
    }
}

void sim_transcript_level(unsigned level)
{
    transcript.level = transcript.aloud ? SIM_TRANSCRIPT_ALL : level;
}

/* ---- words ---- */

static const char *error_word(int rv)
{
    static const struct {
        int rv;
        const char *word;
    } words[] = {
        {-NETLOCK_EHELD, "busy"},
        {-NETLOCK_ETIMEOUT, "timed out"},
        {-NETLOCK_ECANCELLED, "cancelled"},
        {-NETLOCK_ENOTHELD, "not held"},
        {-NETLOCK_EEXPIRED, "expired"},
        {-NETLOCK_EOTHER, "held by another"},
        {-NETLOCK_ECONFLICT, "upgrade conflict"},
        {-NETLOCK_ELIMIT, "limit mismatch"},
        {-NETLOCK_ESTALE, "stale"},
        {-NETLOCK_EDENIED, "denied"},
        {-NETLOCK_EINVALID, "invalid"},
        {-NETLOCK_EFULL, "full"},
        {-NETLOCK_EUNREACHABLE, "unreachable"},
        {-NETLOCK_ECLOSED, "closed"},
        {-NETLOCK_EPROTOCOL, "protocol error"},
        {-EALREADY, "asked already"},
        {-ENOENT, "nothing to cancel"},
        {-ENOTCONN, "not connected"},
        {-EISCONN, "connected already"},
        {-EINVAL, "invalid argument"},
        {-ECONNRESET, "reset"},
        {-ECONNREFUSED, "refused"},
        {-EPIPE, "closed by the server"},
        {-ETIMEDOUT, "timed out"},
        {-EBUSY, "upgrading"},
    };
    static char number[24];

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (words[i].rv == rv) {
            return words[i].word;
        }
    }
    snprintf(number, sizeof(number), "error %d", -rv);
    return number;
}

static const char *const state_words[] = {"free", "held", "waiting", "held by another"};
static const char *const token_words[] = {"current", "superseded", "free"};
#define WORD_OF(words, index)                                                            \
    sim_transcript_word(words, sizeof(words) / sizeof((words)[0]), (unsigned)(index))

/* ---- users on the library ---- */

/* "10.0.0.2:7670" is n2. */
static const char *node_name(const char *address)
{
    for (unsigned i = 1; address != NULL && i <= sim_nodes_count(); i++) {
        const char *host = sim_node(i)->config.advertise;
        const char *listen = sim_node(i)->config.listen;
        if (strcmp(address, host) == 0 || strcmp(address, listen) == 0) {
            return sim_node(i)->process.name;
        }
    }
    return address != NULL ? address : "?";
}

static void put_grant(const char *name,
                      const char *lock,
                      const char *what,
                      const struct sim_record *record)
{
    const struct netlock_grant *grant = record->grant;
    char slot[24] = "";

    if (grant == NULL) {
        sim_transcript_line("%s %s %s", name, lock, what);
        return;
    }
    if (record->limit > 1 || (record->ask != NULL && record->ask->limit > 1)) {
        snprintf(slot, sizeof(slot), " slot=%u", (unsigned)grant->slot);
    }
    sim_transcript_line("%s %s %s token=%" PRIu64 "%s%s", name, lock, what, grant->token,
                        grant->type == NETLOCK_READ ? " read" : "", slot);
}

static void
put_answer(const char *name, const char *lock, const struct sim_record *record)
{
    const struct sim_answer *answer = record->answer;

    switch (record->ask_type) {
    case SIM_ASK_STATUS:
        sim_transcript_line("%s %s status %s token=%" PRIu64 " holders=%u queue=%u", name,
                            lock, WORD_OF(state_words, answer->state), answer->token,
                            (unsigned)answer->holders_count,
                            (unsigned)answer->queue_length);
        return;
    case SIM_ASK_CHECK_TOKEN:
        if (answer->token_state == NETLOCK_SUPERSEDED) {
            sim_transcript_line("%s %s token superseded by %" PRIu64, name, lock,
                                answer->superseded_by);
        } else {
            sim_transcript_line("%s %s token %s", name, lock,
                                WORD_OF(token_words, answer->token_state));
        }
        return;
    default:
        sim_transcript_line("%s %s broke %u", name, lock, (unsigned)answer->count);
    }
}

static void put_outcome(const char *name, const struct sim_record *record)
{
    static const char *const done[] = {
        [SIM_ASK_LOCK] = "granted",      [SIM_ASK_UNLOCK] = "released",
        [SIM_ASK_REFRESH] = "refreshed", [SIM_ASK_CANCEL] = "cancel asked for",
        [SIM_ASK_STATUS] = "status",     [SIM_ASK_CHECK_TOKEN] = "check",
        [SIM_ASK_BREAK] = "break",
    };
    static const char *const failed[] = {
        [SIM_ASK_LOCK] = "",
        [SIM_ASK_UNLOCK] = "unlock: ",
        [SIM_ASK_REFRESH] = "refresh: ",
        [SIM_ASK_CANCEL] = "cancel: ",
        [SIM_ASK_STATUS] = "status: ",
        [SIM_ASK_CHECK_TOKEN] = "check: ",
        [SIM_ASK_BREAK] = "break: ",
    };
    const char *lock = record->lock != NULL ? record->lock : "-";
    unsigned type = record->ask_type;

    if (type == 0 || type > SIM_ASK_BREAK) {
        sim_transcript_line("%s: %s", name,
                            record->rv == 0 ? "done" : error_word(record->rv));
    } else if (record->rv != 0) {
        sim_transcript_line("%s %s %s%s", name, lock, failed[type],
                            error_word(record->rv));
    } else if (record->answer != NULL) {
        put_answer(name, lock, record);
    } else {
        put_grant(name, lock, done[type], record);
    }
}

static void put_notice(const char *name, const struct netlock_notice *notice)
{
    const char *lock = notice->name != NULL ? notice->name : "-";

    switch (notice->event) {
    case NETLOCK_QUEUED:
        sim_transcript_line("%s %s queued position=%u", name, lock,
                            (unsigned)notice->position);
        return;
    case NETLOCK_JEOPARDY:
        sim_transcript_line("%s %s in jeopardy token=%" PRIu64, name, lock,
                            notice->token);
        return;
    case NETLOCK_SAFE:
        sim_transcript_line("%s %s safe token=%" PRIu64, name, lock, notice->token);
        return;
    case NETLOCK_LOST:
        sim_transcript_line("%s %s lost token=%" PRIu64, name, lock, notice->token);
        return;
    case NETLOCK_CONNECTED:
        sim_transcript_line("%s connected %s", name, node_name(notice->server));
        return;
    case NETLOCK_DISCONNECTED:
        sim_transcript_line("%s disconnected", name);
        return;
    }
}

/* ---- what users did and saw ---- */

static unsigned client_number(const struct sim_client *client)
{
    unsigned number = 0;

    while (number < sim_clients_count() && sim_client(number) != client) {
        number++;
    }
    return number;
}

static void note_connection(const struct sim_record *record)
{
    unsigned number = client_number(record->client);

    if (number >= SIM_SCRIPT_CLIENTS_MAX) {
        return;
    }
    if (record->type == SIM_REC_NOTICE && record->notice->event == NETLOCK_CONNECTED) {
        transcript.connected[number] = true;
    } else if (record->type == SIM_REC_LIFE ||
               (record->type == SIM_REC_NOTICE &&
                record->notice->event == NETLOCK_DISCONNECTED)) {
        transcript.connected[number] = false;
    } else if (record->type == SIM_REC_CONN) {
        transcript.connected[number] = record->on;
    }
}

static void on_record(void *arg, const struct sim_record *record)
{
    const char *name = sim_client_options(record->client)->name;
    char who[32];

    (void)arg;
    note_connection(record);
    if (transcript.level < SIM_TRANSCRIPT_USERS) {
        return;
    }
    snprintf(who, sizeof(who), "%s.%u", name, record->conn);
    switch (record->type) {
    case SIM_REC_OUTCOME:
        put_outcome(name, record);
        return;
    case SIM_REC_NOTICE:
        put_notice(name, record->notice);
        return;
    case SIM_REC_RESPONSE:
        if (record->response != NULL) {
            sim_transcript_response(who, record->response);
        } else {
            sim_transcript_line("%s got what it cannot read", who);
        }
        return;
    case SIM_REC_CONN:
        sim_transcript_line("%s %s", who,
                            record->on        ? "connected"
                            : record->rv == 0 ? "hung up"
                                              : error_word(record->rv));
        return;
    case SIM_REC_LIFE:
        if (!record->on && record->rv != -1) {
            sim_transcript_line("%s ended", name);
        }
        return;
    case SIM_REC_ASK:
        if (transcript.level == SIM_TRANSCRIPT_ALL) {
            sim_transcript_line("%s %s asks (%" PRIu64 ")", name,
                                record->lock != NULL ? record->lock : "-", record->op);
        }
        return;
    case SIM_REC_BELIEF:
        if (transcript.level == SIM_TRANSCRIPT_ALL) {
            sim_transcript_line("%s %s %s token=%" PRIu64, name, record->lock,
                                record->holding ? "believes it holds" : "stops",
                                record->token);
        }
        return;
    }
}

bool sim_transcript_connected(const struct sim_client *client)
{
    unsigned number = client_number(client);

    return number < SIM_SCRIPT_CLIENTS_MAX && transcript.connected[number];
}

/* ---- nodes ---- */

enum replica_role sim_transcript_role(const struct sim_node *node)
{
    const struct server *server = node->server;

    if (!sim_node_runs(node) || server == NULL || server->node == NULL ||
        server->node_closed) {
        return REPLICA_FOLLOWER;
    }
    return replica_role(server_replica(server));
}

static void note_role(struct sim_node *node)
{
    enum replica_role role = sim_transcript_role(node),
                      was = transcript.roles[node->number];

    if (role == was) {
        return;
    }
    transcript.roles[node->number] = role;
    if (role == REPLICA_SERVING && transcript.level >= SIM_TRANSCRIPT_USERS) {
        sim_transcript_line("%s serves term=%" PRIu64, node->process.name,
                            (uint64_t)sim_disk_view(node->disk).term);
    } else if (transcript.level >= SIM_TRANSCRIPT_ROLES) {
        sim_transcript_line("%s %s", node->process.name,
                            role == REPLICA_ELECTED ? "is elected" : "follows");
    }
}

static void on_turned(struct sim_node *node)
{
    if (transcript.others.turned != NULL) {
        transcript.others.turned(node);
    }
    note_role(node);
}

static void on_started(struct sim_node *node)
{
    if (transcript.others.started != NULL) {
        transcript.others.started(node);
    }
    transcript.roles[node->number] = REPLICA_FOLLOWER;
    if (transcript.level >= SIM_TRANSCRIPT_ROLES) {
        sim_transcript_line("%s started", node->process.name);
    }
}

static void on_ended(struct sim_node *node, int status)
{
    if (transcript.others.ended != NULL) {
        transcript.others.ended(node, status);
    }
    transcript.roles[node->number] = REPLICA_FOLLOWER;
    if (transcript.level < SIM_TRANSCRIPT_USERS) {
        return;
    }
    if (node->refused) {
        sim_transcript_line("%s would not start: %s", node->process.name,
                            node->last_words);
    } else if (status > 0) {
        sim_transcript_line("%s stopped itself: %s", node->process.name,
                            node->last_words);
    } else if (status == 0) {
        sim_transcript_line("%s ended", node->process.name);
    }
}

/* ---- life ---- */

void sim_transcript_begin(const struct sim_script *script)
{
    transcript.level = SIM_TRANSCRIPT_OFF;
    transcript.others = sim_node_hooks;
    transcript.aloud = script->aloud;
    if (script->has_blocks || script->watches_users || script->aloud) {
        sim_history_listen(on_record, NULL);
    }
    if (script->has_blocks || script->aloud) {
        transcript.level = script->aloud ? SIM_TRANSCRIPT_ALL : SIM_TRANSCRIPT_USERS;
        sim_node_hooks.turned = on_turned;
        sim_node_hooks.started = on_started;
        sim_node_hooks.ended = on_ended;
    }
}

void sim_transcript_end(void)
{
    sim_node_hooks = transcript.others;
    sim_free(transcript.text);
    memset(&transcript, 0, sizeof(transcript));
}
