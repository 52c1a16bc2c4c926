#include "script_internal.h"

#include <inttypes.h>
#include <stdarg.h>

#include "raft_node.h"
#include "server_internal.h"

struct locks_text {
    char line[900];
    size_t len;
    unsigned holders, waiters;
};

__attribute__((format(printf, 2, 3))) static void
text_add(struct locks_text *text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int len =
        vsnprintf(text->line + text->len, sizeof(text->line) - text->len, format, args);
    va_end(args);
    text->len += (size_t)len;
    text->len = text->len < sizeof(text->line) ? text->len : sizeof(text->line) - 1;
}

static void text_end(struct locks_text *text)
{
    if (text->len != 0) {
        sim_transcript_line("%s", text->line);
    }
    *text = (struct locks_text){.len = 0};
}

static void put_claim(struct locks_text *text, struct fsm_str client, enum fsm_type type)
{
    /* An id that the cluster makes is another one tomorrow. */
    bool made = client.len >= 32;

    text_add(text, "%.*s%s", made ? 6 : (int)client.len, made ? "(made)" : client.data,
             type == FSM_READ ? " read" : "");
}

static void on_table_record(void *arg, const struct fsm_record *record)
{
    struct locks_text *text = arg;

    switch (record->type) {
    case FSM_REC_LOCK:
        text_end(text);
        text_add(text, "lock %.*s", (int)record->lock.name.len, record->lock.name.data);
        if (record->lock.limit > 1) {
            text_add(text, " (%u)", (unsigned)record->lock.limit);
        }
        return;
    case FSM_REC_HOLD:
        text_add(text, "%s", text->holders++ == 0 ? " held by " : ", ");
        put_claim(text, record->hold.client, record->hold.type);
        text_add(text, "%s token=%" PRIu64,
                 record->hold.drop == FSM_DROP_IGNORE ? " ignore" : "",
                 record->hold.token);
        return;
    case FSM_REC_WAIT:
        text_add(text, "%s", text->waiters++ == 0 ? "; wait " : ", ");
        put_claim(text, record->wait.client, record->wait.type);
        return;
    case FSM_REC_ROOT:
    case FSM_REC_CLIENT:
    case FSM_REC_EXPIRED:
    case FSM_REC_MEMBER:
        return;
    }
}

void sim_transcript_show_locks(void)
{
    const struct sim_node *node = sim_serving();
    struct locks_text text = {.len = 0};

    if (node == NULL) {
        sim_transcript_line("nobody serves");
        return;
    }
    const struct fsm *fsm = replica_table(server_replica(node->server));
    if (fsm_counts(fsm).locks == 0) {
        sim_transcript_line("no locks");
    }
    fsm_dump(fsm, on_table_record, &text);
    text_end(&text);
}

void sim_transcript_show_nodes(void)
{
    static const char *const roles[] = {"follows", "elected", "serves"};

    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        const struct sim_node *node = sim_node(i);
        struct raft_node_status status;
        if (!sim_node_runs(node) || node->server == NULL || node->server->node == NULL) {
            sim_transcript_line("%s %s", node->process.name,
                                node->refused ? "refused" : "down");
            continue;
        }
        raft_node_status(node->server->node, &status);
        struct sim_disk_view disk = sim_disk_view(node->disk);
        sim_transcript_line("%s %s%s term=%" PRIu64 " commit=%" PRIu64 " applied=%" PRIu64
                            " log=%" PRIu64 "..%" PRIu64,
                            node->process.name, roles[sim_transcript_role(node)],
                            node->process.paused ? " (paused)" : "", status.term,
                            status.commit_index, status.applied_index,
                            (uint64_t)disk.first_index, (uint64_t)disk.last_index);
    }
}

void sim_transcript_show_clients(void)
{
    for (unsigned i = 0; i < sim_clients_count(); i++) {
        const struct sim_client *client = sim_client(i);
        sim_transcript_line("%s %s holds=%u pending=%u", sim_client_options(client)->name,
                            !sim_client_runs(client)           ? "down"
                            : sim_transcript_connected(client) ? "connected"
                                                               : "alone",
                            sim_client_holds(client), sim_client_pending(client));
    }
}
