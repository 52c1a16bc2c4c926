/* script_internal.h - what the files of the script share: script_line.c takes lines apart, script_words.c
 * knows the words and makes commands of them, script_act.c carries a command out, script.c runs the
 * whole, transcript.c writes down what is seen. */
#ifndef NETLOCK_SIM_SCRIPT_INTERNAL_H
#define NETLOCK_SIM_SCRIPT_INTERNAL_H

#include "client.h"
#include "disk.h"
#include "event.h"
#include "net.h"
#include "node.h"
#include "random.h"
#include "replica.h"
#include "script.h"

enum { SIM_SCRIPT_CLIENTS_MAX = SIM_HOSTS_MAX - SIM_NODES_MAX };

/* Who a line is about. A leader is who leads when the line happens. */
enum sim_who_kind {
    SIM_WHO_NODE = 1,
    SIM_WHO_CLIENT,
    SIM_WHO_LEADER,
    SIM_WHO_FOLLOWER, /* the first running node that does not lead */
    SIM_WHO_NODES,
    SIM_WHO_CLIENTS,
    SIM_WHO_ALL,
};
struct sim_who {
    enum sim_who_kind kind;
    unsigned number; /* NODE: from 1; CLIENT: from 0 */
};

struct sim_script;
struct sim_command;
struct wire_response;

enum sim_word_kind {
    SIM_WORD_CLUSTER, /* describes the cluster; acts while it is read */
    SIM_WORD_ACT,     /* happens, now or at a time */
    SIM_WORD_STEP,    /* lets time pass or compares: never scheduled */
};

/* A line that is being read. */
struct sim_line {
    struct sim_script *script;
    unsigned number;
    char **words;
    unsigned count, next;
    bool missing; /* it is about what is not there */
};

struct sim_word {
    const char *name;
    enum sim_word_kind kind;
    const char *usage;
    /* Read the words behind the name. False: said why, by sim_line_wrong() or
     * sim_line_missing(). */
    bool (*parse)(struct sim_line *line, struct sim_command *command);
    void (*act)(struct sim_script *script, const struct sim_command *command);
};

struct sim_command {
    const struct sim_word *word;
    uint64_t at_us; /* SIM_NEVER: when it is its turn */
    unsigned line;
    unsigned what; /* which of the word's variants: as word.act understands it */
    struct sim_who who, to;
    bool both, on;
    union {
        uint64_t number;
        int64_t offset;
        struct sim_weather weather;
        struct sim_disk_timing timing;
        struct {
            struct sim_fate fate;
            uint64_t packet;
        } decree;
        const struct sim_ask *ask;
        struct {
            size_t start, end; /* in the script's text */
        } block;
    };
};

/* `what` of some words. */
enum { SIM_SHOW_LOCKS = 1, SIM_SHOW_NODES, SIM_SHOW_CLIENTS };
enum { SIM_CHECK_HEALED = 1, SIM_CHECK_END };
enum { SIM_RUN_FOR = 1, SIM_RUN_UNTIL };
enum {
    SIM_AWAIT_LEADER = 1,
    SIM_AWAIT_EQUAL,
    SIM_AWAIT_ANSWERED,
    SIM_AWAIT_CONNECTED,
    SIM_AWAIT_UP,
    SIM_AWAIT_DOWN,
};
enum {
    SIM_DISK_SLOW = 1,
    SIM_DISK_STALL,
    SIM_DISK_GO,
    SIM_DISK_FULL,
    SIM_DISK_SPACE,
    SIM_DISK_FAIL, /* number: enum sim_disk_failure */
    SIM_DISK_ROT_ENTRY,
    SIM_DISK_ROT_SNAPSHOT,
    SIM_DISK_ROT_META,
};
enum { SIM_CLOCK_RATE = 1, SIM_CLOCK_WALL };
/* What a transcript shows: each more than the one before. */
enum {
    SIM_TRANSCRIPT_OFF = 1,
    SIM_TRANSCRIPT_USERS,
    SIM_TRANSCRIPT_ROLES,
    SIM_TRANSCRIPT_ALL
};

struct sim_script {
    const char *name;
    const char *text; /* as it was given */
    char *words;      /* a copy: names in commands point into it */
    bool lenient;
    bool begun; /* a line that is no description of the cluster was read */

    /* The cluster. */
    struct sim_node_options nodes;
    struct sim_client_options clients[SIM_SCRIPT_CLIENTS_MAX];
    unsigned clients_count;
    uint64_t seed;
    uint32_t rate_ppm_max;
    bool model;

    struct sim_command *commands;
    size_t commands_count, commands_capacity;
    struct sim_chunk *chunks; /* what commands point to */
    bool has_blocks, watches_users;
    bool aloud; /* what is seen is told at once, too */

    /* While it runs. */
    const struct sim_command *
        *queue; /* scheduled, by time; those before `head` have happened */
    size_t queue_head, queue_count, queue_capacity;
    size_t queue_sorted; /* up to here */
    struct sim_event walker;
    bool stopped;
    FILE *actual;
    size_t written; /* of the text, to `actual` */
    struct sim_script_result *ret;
};

/* ---- script_line.c ---- */

/* Read the whole text. On a mistake ret->syntax_error is set, and its message. */
void sim_script_read(struct sim_script *script);
void sim_script_forget(struct sim_script *script);
void *sim_script_keep(struct sim_script *script,
                      size_t size); /* zeroed, until it is forgotten */

/* Both return false. */
__attribute__((format(printf, 2, 3))) bool
sim_line_wrong(struct sim_line *line, const char *format, ...);
bool sim_line_missing(struct sim_line *line, const char *what, const char *name);

char *sim_line_next(struct sim_line *line); /* the next word, or NULL */
bool sim_line_is_next(struct sim_line *line,
                      const char *word); /* and if so, it is taken */

/* The next word as a value. False: said why. */
bool sim_line_number(struct sim_line *line, uint64_t max, uint64_t *ret);
bool sim_line_duration(struct sim_line *line, uint64_t *ret_us);
bool sim_line_who(struct sim_line *line, struct sim_who *ret);
bool sim_line_link(struct sim_line *line, struct sim_command *command);
/* One of @names (NULL ends them): its place, from 1. */
bool sim_line_choice(struct sim_line *line, const char *const *names, unsigned *ret);

/* Values that stand behind a `=`. */
bool sim_value_number(const char *text, uint64_t max, uint64_t *ret);
bool sim_value_duration(const char *text, uint64_t *ret_us);
bool sim_value_ppm(const char *text, uint32_t *ret); /* "2%", "0.5%", "300ppm" */

/* ---- script_cluster.c: lines that describe the cluster ---- */

bool sim_cluster_lenient(struct sim_line *line, struct sim_command *command);
bool sim_cluster_nodes(struct sim_line *line, struct sim_command *command);
bool sim_cluster_joiners(struct sim_line *line, struct sim_command *command);
bool sim_cluster_build(struct sim_line *line, struct sim_command *command);
bool sim_cluster_lease(struct sim_line *line, struct sim_command *command);
bool sim_cluster_fast_failover(struct sim_line *line, struct sim_command *command);
bool sim_cluster_reattach_grace(struct sim_line *line, struct sim_command *command);
bool sim_cluster_grace_max(struct sim_line *line, struct sim_command *command);
bool sim_cluster_plain_min(struct sim_line *line, struct sim_command *command);
bool sim_cluster_restart(struct sim_line *line, struct sim_command *command);
bool sim_cluster_snapshot(struct sim_line *line, struct sim_command *command);
bool sim_cluster_limit(struct sim_line *line, struct sim_command *command);
bool sim_cluster_seed(struct sim_line *line, struct sim_command *command);
bool sim_cluster_model(struct sim_line *line, struct sim_command *command);
bool sim_cluster_rate_max(struct sim_line *line, struct sim_command *command);
bool sim_cluster_client(struct sim_line *line, struct sim_command *command);

/* ---- script_words.c ---- */

const struct sim_word *sim_word_find(const char *name); /* or NULL */
extern const struct sim_word sim_word_ask, sim_word_compare;
/* script_ask.c: a line that begins with the client's name; the word behind it comes next. */
bool sim_word_parse_ask(struct sim_line *line,
                        unsigned client,
                        unsigned conn,
                        struct sim_command *command);

/* ---- script.c ---- */

enum sim_script_failure { SIM_SCRIPT_SYNTAX, SIM_SCRIPT_MISMATCH };
/* The script stops here. The first failure counts. */
__attribute__((format(printf, 4, 5))) void
sim_script_fail(struct sim_script *script,
                enum sim_script_failure failure,
                unsigned line,
                const char *format,
                ...);
/* Let time pass, with all that is scheduled. */
void sim_script_run_until(struct sim_script *script, uint64_t until_us);

/* ---- script_act.c ---- */

void sim_act_start(struct sim_script *script, const struct sim_command *command);
void sim_act_stop(struct sim_script *script, const struct sim_command *command);
void sim_act_upgrade(struct sim_script *script, const struct sim_command *command);
void sim_act_kill(struct sim_script *script, const struct sim_command *command);
void sim_act_member(struct sim_script *script, const struct sim_command *command);
void sim_act_pause(struct sim_script *script, const struct sim_command *command);
void sim_act_close(struct sim_script *script, const struct sim_command *command);
void sim_act_cut(struct sim_script *script, const struct sim_command *command);
void sim_act_refuse(struct sim_script *script, const struct sim_command *command);
void sim_act_break_off(struct sim_script *script, const struct sim_command *command);
void sim_act_clog(struct sim_script *script, const struct sim_command *command);
void sim_act_weather(struct sim_script *script, const struct sim_command *command);
void sim_act_fate(struct sim_script *script, const struct sim_command *command);
void sim_act_draw(struct sim_script *script, const struct sim_command *command);
void sim_act_disk(struct sim_script *script, const struct sim_command *command);
void sim_act_clock(struct sim_script *script, const struct sim_command *command);
void sim_act_ask(struct sim_script *script, const struct sim_command *command);
void sim_act_show(struct sim_script *script, const struct sim_command *command);
void sim_act_transcript(struct sim_script *script, const struct sim_command *command);

/* ---- script.c: what lets time pass ---- */

void sim_act_run(struct sim_script *script, const struct sim_command *command);
void sim_act_await(struct sim_script *script, const struct sim_command *command);
void sim_act_check(struct sim_script *script, const struct sim_command *command);
void sim_act_compare(struct sim_script *script, const struct sim_command *command);

/* ---- transcript.c ---- */

/* Listen to users and nodes; after sim_check_begin(), whose hooks are called as before. */
void sim_transcript_begin(const struct sim_script *script);
void sim_transcript_end(void);
void sim_transcript_level(unsigned level);
/* What was seen since the last clearing: lines, each with its newline. Valid until more is seen. */
const char *sim_transcript_text(void);
void sim_transcript_clear(void);
__attribute__((format(printf, 1, 2))) void sim_transcript_line(const char *format, ...);
bool sim_transcript_connected(const struct sim_client *client);
enum replica_role sim_transcript_role(const struct sim_node *node);

/* transcript_show.c: the state of things, as lines of the transcript. */
void sim_transcript_show_locks(void);
void sim_transcript_show_nodes(void);
void sim_transcript_show_clients(void);

/* transcript_raw.c: what came to a raw client's connection, "c.0". */
void sim_transcript_response(const char *who, const struct wire_response *response);
/* The word at @index of @count that begin with number 1; "?" for what a newer server may say. */
const char *sim_transcript_word(const char *const *words, size_t count, unsigned index);

#endif
