/* fsm.h - the replicated lock table: grants, queues, clients, fencing tokens.
 *
 * A pure, deterministic machine. It reads no clock, no randomness, no environment, does
 * no I/O and does not log. Two machines that apply the same commands are equal, byte for
 * byte in fsm_dump().
 *
 *     struct fsm *fsm = fsm_new(seed);
 *     struct fsm_events events = {0};
 *     for each committed command:
 *         fsm_apply(fsm, &command, &events);       never fails: a refusal is an event
 *     for (i = 0; i < events.count; i++) ... events.items[i] ...
 *     fsm_events_clear(&events);                   keeps the memory for the next round
 *     fsm_events_release(&events);
 *     fsm_free(fsm);
 *
 * Time. Every command carries the cluster time that the leader stamped on its entry. The
 * machine's now = max(now, command time); before the command acts, everything that is due
 * by then happens in order of (deadline, age). So nothing expires early, and a late entry
 * cannot move time back.
 *
 * Order. Iteration (dump, lists, drops) is by insertion, never by address or hash bucket.
 * The hash seed of fsm_new() only defends against crafted names and cannot be seen from
 * outside.
 *
 * Memory. Out of memory aborts: a replica that skipped a command would diverge from the
 * others.
 */
#ifndef NETLOCK_FSM_H
#define NETLOCK_FSM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FSM_NAME_BYTES_MAX = 255, /* lock names, client ids and owner info; asserted */
    FSM_SECRET_DIGEST_BYTES_MAX = 32,
    FSM_LIMIT_MAX = 65535,      /* holders of a counting lock */
    FSM_HOLDERS_SHOWN_MAX = 16, /* in a refusal or a status */
    FSM_LIST_MAX = 1000,        /* items of one page */
    FSM_EXPIRED_MEMORY_MAX =
        16, /* holds that timed out and that a client record remembers */
    FSM_POSITION_COUNTED_MAX = 100, /* see fsm_claim.position */
    FSM_MEMBERS_MAX = 64,           /* of the cluster, see FSM_CMD_MEMBER */
};

#define FSM_UNLIMITED UINT64_MAX /* a duration or a deadline that never ends */

/* Borrowed bytes, not NUL-terminated; valid for the duration of the call, inside events
 * until the next fsm_events_clear(). The machine copies what it keeps. */
struct fsm_str {
    const char *data;
    size_t len;
};

enum fsm_type { FSM_WRITE = 0, FSM_READ = 1 };
enum fsm_mode { FSM_BREAK = 0, FSM_WAIT = 1 };
enum fsm_drop { FSM_DROP_RELEASE = 0, FSM_DROP_IGNORE = 1 };

/* ---- commands --------------------------------------------------------------------- */

enum { FSM_DROP_TURN_MS = 10 };

/* Limits that decide outcomes; they travel in the epoch entry so that all replicas agree.
 * Before the first one nothing is limited and the grace is 0. */
struct fsm_settings {
    uint64_t reattach_grace_ms;
    uint64_t clients_max;
    uint64_t claims_max; /* holds plus waits in all */
    uint64_t claims_per_client_max;
    uint64_t waiters_per_lock_max;
    /* Graces that end together take so many clients and claims with them at once; those who come after that
     * go in turns of as many, FSM_DROP_TURN_MS apart. 0: all at once. */
    uint64_t drop_max;
};

enum fsm_command_type {
    FSM_CMD_EPOCH = 1, /* first entry of a leader */
    FSM_CMD_TICK,      /* only time passes */
    FSM_CMD_ATTACH,
    FSM_CMD_DETACH,
    FSM_CMD_LOCK,
    FSM_CMD_REFRESH,
    FSM_CMD_RELEASE,
    FSM_CMD_STATUS,
    FSM_CMD_CHECK_TOKEN,
    FSM_CMD_LIST_LOCKS,
    FSM_CMD_LIST_CLIENTS,
    FSM_CMD_FORCE_RELEASE,
    FSM_CMD_CHECKPOINT, /* every replica answers with its fsm_hash() at this index */
    FSM_CMD_MEMBER,     /* about a node of the cluster */
};

struct fsm_command {
    enum fsm_command_type type;
    uint64_t time_ms; /* cluster time of the entry */
    uint64_t ref;     /* copied into the direct answer; not durable, decides nothing, 0
                         elsewhere */

    struct fsm_str client;
    uint64_t
        client_epoch; /* of the connection that the request came by; see FSM_CMD_ATTACH */
    struct fsm_str lock;

    union {
        /* A new leader: every client that had a connection has until the end of the grace
         * to come back (a client that was already missing keeps its earlier end, so a row
         * of elections does not feed a dead one); RELEASE holds that would time out
         * within the grace are extended to its end, counted from the deadline that was
         * asked for, so never twice. */
        struct {
            uint64_t node_id;
            uint64_t term;
            struct fsm_settings settings;
        } epoch;

        /* The client has a connection (again). Creates the record if there is none.
         * `epoch`, when given, must not be below the record's, and with `supersede` must
         * be above it; then it becomes the record's, and commands that carry a lower one
         * are refused. A record that was made with a secret digest is attached only with
         * an equal one. */
        struct {
            bool has_epoch;
            uint64_t epoch;
            bool supersede;
            bool create; /* refused (NOT_ALLOWED) if the record exists */
            struct fsm_str secret_digest;
        } attach;

        /* A connection let go of the client. With `last` the client is gone: its waits
         * are cancelled, its RELEASE holds freed, IGNORE holds stay; nothing happens if
         * the client was attached again since (`attach_seq` differs from the record's).
         */
        struct {
            uint64_t attach_seq;
            bool last;
        } detach;

        struct {
            enum fsm_type type;
            enum fsm_mode mode;
            enum fsm_drop drop;
            uint64_t
                wait_ms; /* FSM_UNLIMITED: as long as the client lives. 0 is not valid */
            uint64_t hold_ms; /* FSM_UNLIMITED: no limit. 0 is not valid */
            uint32_t limit;   /* 1: an ordinary lock; above 1 only with FSM_WRITE */
            bool downgrade;
            struct fsm_str owner_info;
        } lock_;

        struct {
            uint64_t wait_ms; /* 0: the duration that the wait has */
            uint64_t hold_ms; /* 0: the duration that the hold has */
            bool set_drop;
            enum fsm_drop drop;
            uint64_t token; /* 0: whatever the client holds */
        } refresh;

        struct {
            uint64_t token; /* 0: whatever the client holds or waits for */
        } release;

        struct {
            uint64_t token;
        } check_token;

        struct {
            struct fsm_str prefix;
            struct fsm_str after; /* bytewise; empty: from the start */
            uint32_t max;         /* 1..FSM_LIST_MAX */
        } list;

        struct {
            uint64_t token; /* 0: every hold of the lock */
        } force_release;

        /* Where clients reach a node; an empty address: that is not to be told any more. The id
         * counts as used for ever, see fsm_node_id_max(). Who is a member is not decided here.
         * An address beyond FSM_MEMBERS_MAX is not kept. */
        struct {
            uint64_t node_id;
            struct fsm_str address;
        } member;
    };
};

/* ---- events ----------------------------------------------------------------------- */

/* A hold or a place in a queue, as shown to people and clients. */
struct fsm_claim {
    struct fsm_str client;
    struct fsm_str lock;
    struct fsm_str owner_info;
    enum fsm_type type;
    enum fsm_drop drop;
    bool waiting;
    bool connected;
    uint64_t token; /* 0 while waiting */
    uint32_t slot;
    uint32_t limit;
    uint64_t since_ms;     /* how long it has been held or waited */
    uint64_t remaining_ms; /* FSM_UNLIMITED: no limit */
    uint64_t hold_ms;      /* FSM_UNLIMITED: no limit */
    /* 1: next; 0 unless waiting. Exact when a wait begins and in a status. When a wait is
     * refreshed, joined or reported to a client that attaches, counting stops at
     * FSM_POSITION_COUNTED_MAX, and beyond it is 0 too: a client that asks often must not
     * cost time in proportion to the queue. */
    uint32_t position;
};

enum fsm_deny {
    FSM_DENY_HELD = 1,
    FSM_DENY_CANCELLED,
    FSM_DENY_NOT_HELD,
    FSM_DENY_EXPIRED,
    FSM_DENY_UPGRADE_CONFLICT,
    FSM_DENY_LIMIT_MISMATCH,
    FSM_DENY_NOT_ATTACHED,
    FSM_DENY_STALE_EPOCH,
    FSM_DENY_NOT_ALLOWED,
    FSM_DENY_LIMIT_EXCEEDED,
};

enum fsm_release_result {
    FSM_RELEASED = 1,
    FSM_WAS_QUEUED,
    FSM_NOT_HELD,
    FSM_EXPIRED,
    FSM_HELD_BY_OTHER,
};

enum fsm_hold_end { FSM_HOLD_EXPIRED = 1, FSM_HOLD_BROKEN };

enum fsm_lock_state {
    FSM_FREE = 1,
    FSM_HELD_BY_ME,
    FSM_WAITING,
    FSM_STATE_HELD_BY_OTHER
};

enum fsm_token_state { FSM_TOKEN_CURRENT = 1, FSM_TOKEN_SUPERSEDED, FSM_TOKEN_FREE };

enum fsm_event_type {
    FSM_EV_SERVING = 1, /* FSM_CMD_EPOCH was applied */
    FSM_EV_ATTACHED,    /* epoch, attach_seq, superseded, claims: holds in order of grant,
                           then waits */
    FSM_EV_DETACHED,
    FSM_EV_GRANTED, /* answer, or a later grant to a waiter (ref 0) */
    FSM_EV_WAITING, /* position, queue_length */
    FSM_EV_DENIED,  /* reason; claims: holders; also for attach and detach */
    FSM_EV_WAIT_TIMEOUT,
    FSM_EV_HOLD_ENDED, /* hold_end: to the holder, who did not ask for it */
    FSM_EV_RELEASE,    /* result, token */
    FSM_EV_STATUS,     /* state, own claim in `claim`, claims: holders */
    FSM_EV_TOKEN,      /* token_state, token, superseded_by */
    FSM_EV_LIST_LOCK, /* one per lock: claim.lock, type, limit; claims: at most 4 holders.
                       * The items of a list have ref 0 and come right before their
                       * FSM_EV_LIST_END */
    FSM_EV_LIST_CLIENT,  /* one per client: client, epoch, holds_count, waits_count,
                            connected */
    FSM_EV_LIST_END,     /* the answer to a list: more */
    FSM_EV_FORCED,       /* the answer to a force release: holders_count = holds broken */
    FSM_EV_CHECKPOINT,   /* hash */
    FSM_EV_CLIENT_ENDED, /* the record is gone; nobody is told */
    FSM_EV_MEMBER,       /* the answer to FSM_CMD_MEMBER */
};

struct fsm_event {
    enum fsm_event_type type;
    uint64_t ref; /* of the command, in its direct answer (one per command, none for a
                     tick); else 0 */
    enum fsm_command_type command; /* what the command was; 0 when nobody asked */
    struct fsm_str client;
    struct fsm_str lock;
    uint64_t token;
    uint64_t epoch;
    uint64_t attach_seq;
    bool superseded;
    struct fsm_claim claim; /* GRANTED, WAITING, STATUS, LIST_LOCK: the claim itself */
    enum fsm_deny deny;
    enum fsm_release_result result;
    enum fsm_hold_end hold_end;
    enum fsm_lock_state state;
    enum fsm_token_state token_state;
    uint64_t superseded_by;
    const struct fsm_claim *claims;
    uint32_t claims_count;
    uint32_t holders_count;
    uint32_t queue_length;
    uint32_t holds_count;
    uint32_t waits_count;
    bool connected;
    bool more;
    uint64_t hash;
    const char *limit_name; /* DENIED(LIMIT_EXCEEDED): which, a static string */
};

/* Events in the order in which they happened. Zero-initialise. Strings and claim arrays
 * inside live in chunks that this struct owns until fsm_events_clear(). */
struct fsm_events {
    struct fsm_event *items;
    size_t count;
    size_t capacity;
    struct fsm_arena *arena;
};

void fsm_events_clear(struct fsm_events *events);
void fsm_events_release(struct fsm_events *events);

/* ---- the machine ------------------------------------------------------------------ */

struct fsm;

struct fsm *fsm_new(uint64_t hash_seed);
void fsm_free(struct fsm *fsm);

/* Apply one committed command. @out may be NULL (a follower): the same changes, no
 * events. */
void fsm_apply(struct fsm *fsm,
               const struct fsm_command *command,
               struct fsm_events *out);

uint64_t fsm_now_ms(const struct fsm *fsm);
/* Nothing happens by itself before; after an election, maybe not yet then. FSM_UNLIMITED: nothing ever does. */
uint64_t fsm_next_deadline_ms(const struct fsm *fsm);
uint64_t fsm_last_token(const struct fsm *fsm);
uint64_t fsm_term(const struct fsm *fsm); /* of the last epoch */

struct fsm_counts {
    uint64_t clients, locks, holds, waits;
};
struct fsm_counts fsm_counts(const struct fsm *fsm);

/* The highest id that any FSM_CMD_MEMBER has named. A node that comes without the log of an id could vote
 * twice under it: new nodes have higher ones. */
uint64_t fsm_node_id_max(const struct fsm *fsm);

/* Where clients reach the node; empty: not known here. Borrowed until the next command. */
struct fsm_str fsm_member_address(const struct fsm *fsm, uint64_t node_id);

/* The node ids that have an address here, ascending; returns how many. */
size_t fsm_members(const struct fsm *fsm, uint64_t ret_node_ids[static FSM_MEMBERS_MAX]);

/* What the leader compares before it proposes. attach_seq and epoch are 0 and the result
 * false if there is no record of this client. */
bool fsm_client_find(const struct fsm *fsm,
                     struct fsm_str client,
                     uint64_t *ret_attach_seq,
                     uint64_t *ret_epoch);

/* Holds and waits of a client; 0 if there is no record of it. */
uint64_t fsm_client_claims(const struct fsm *fsm, struct fsm_str client);

/* ---- looking ----------------------------------------------------------------------
 *
 *     look = fsm_look_new(fsm, prefix, after, max);
 *     while (fsm_look_step(look, cb, arg)) ... commands may be applied in between ...
 *     more = fsm_look_more(look);
 *     fsm_look_free(look);
 *
 * For people who look at one replica, without a command. Each step takes well below a millisecond,
 * whatever there is. A look shows every lock that there was all the time, as it is when it is told;
 * one that came or went meanwhile may be missing. */

enum { FSM_LOOK_CLAIMS_MAX = 16 }; /* holders, and waiters, of one lock that are shown */

/* Borrowed for the call. */
struct fsm_lock_view {
    struct fsm_str name;
    enum fsm_type type;
    uint32_t limit;
    uint32_t holders_count, queue_length;
    const struct fsm_claim *holders; /* in order of grant */
    const struct fsm_claim *waiters; /* from the head of the queue, with positions */
    uint32_t holders_shown, waiters_shown;
};

/* False: enough; the lock counts as not told. */
typedef bool (*fsm_look_cb)(void *arg, const struct fsm_lock_view *lock);

struct fsm_look;

/* The locks whose names begin with @prefix and come after @after (empty: all), in the order of names: at
 * most @max, 1..FSM_LIST_MAX. Copies both. */
struct fsm_look *fsm_look_new(const struct fsm *fsm,
                              struct fsm_str prefix,
                              struct fsm_str after,
                              uint32_t max);
void fsm_look_free(struct fsm_look *look); /* also after fsm_free() */

/* Whether there is more to do. */
bool fsm_look_step(struct fsm_look *look, fsm_look_cb cb, void *arg);

/* At the end: whether there are locks behind the last one; whether the machine was freed meanwhile, so that
 * what was told is not all. */
bool fsm_look_more(const struct fsm_look *look);
bool fsm_look_lost(const struct fsm_look *look);

/* The first @max of those who wait for @lock, with positions; returns how many. Strings are borrowed until the
 * next command. */
uint32_t fsm_queue(const struct fsm *fsm,
                   struct fsm_str lock,
                   uint32_t max,
                   struct fsm_claim *ret);

/* ---- snapshots and comparison ----------------------------------------------------- */

enum fsm_record_type {
    FSM_REC_ROOT = 1, /* always first, exactly once */
    FSM_REC_CLIENT,   /* all clients, in order of creation */
    FSM_REC_LOCK,     /* then each lock, followed by */
    FSM_REC_HOLD,     /*     its holds in order of grant and */
    FSM_REC_WAIT,     /*     its queue from the head */
    FSM_REC_EXPIRED,  /* last: what clients are still to be told about ended holds */
    FSM_REC_MEMBER,   /* right behind the root, by ascending node id */
};

enum fsm_presence {
    FSM_ATTACHED = 1,
    FSM_MISSING = 2 /* until grace_end */,
    FSM_GONE = 3
};

/* One record of the state. A plain value; strings are borrowed for the call. */
struct fsm_record {
    enum fsm_record_type type;
    union {
        struct {
            uint64_t now_ms, token, order, term, digest, node_id_max;
            struct fsm_settings settings;
        } root;
        struct {
            struct fsm_str id;
            uint64_t epoch, attach_seq, grace_end_ms;
            enum fsm_presence presence;
            struct fsm_str secret_digest;
        } client;
        struct {
            struct fsm_str name;
            uint32_t limit;
        } lock;
        struct {
            struct fsm_str client, lock, owner_info;
            enum fsm_type type;
            enum fsm_drop drop;
            uint32_t slot;
            uint64_t token, hold_ms, granted_at_ms, deadline_ms, asked_deadline_ms, order;
        } hold;
        struct {
            struct fsm_str client, lock, owner_info;
            enum fsm_type type;
            enum fsm_drop drop;
            bool upgrade;
            uint64_t wait_ms, hold_ms, queued_at_ms, deadline_ms, order;
        } wait;
        struct {
            struct fsm_str client, lock;
            uint64_t token;
        } expired;
        struct {
            uint64_t node_id;
            struct fsm_str address;
        } member;
    };
};

typedef void (*fsm_record_cb)(void *arg, const struct fsm_record *record);

/* Give every record to @cb, in the order above: the same sequence on every equal replica.
 */
void fsm_dump(const struct fsm *fsm, fsm_record_cb cb, void *arg);

/* The same in steps, while commands are applied in between: the records are those of the state in which the
 * dump began.
 *
 *     dump = fsm_dump_begin(fsm);
 *     while (fsm_dump_step(dump, records, cb, arg)) ... commands ...
 *     fsm_dump_end(dump);
 *
 * A step gives about so many records, but never a part of a lock, and says whether there is more. Commands
 * copy what they change and was not given yet, which costs memory until it is. One at a time for a machine;
 * to be ended before fsm_free(), also half-way. NULL is ended at once. */
struct fsm_dump;

struct fsm_dump *fsm_dump_begin(struct fsm *fsm);
bool fsm_dump_step(struct fsm_dump *dump, size_t records, fsm_record_cb cb, void *arg);
void fsm_dump_end(struct fsm_dump *dump);

/* Before the first record: about how many locks will come, so that loading them is faster. */
void fsm_expect_locks(struct fsm *fsm, uint64_t locks);

/* Add one record to a new machine that is being rebuilt; records must come in the order
 * of fsm_dump(). Returns 0, or -EINVAL if the record contradicts what is there (a damaged
 * snapshot): then the machine is only good for fsm_free(). */
int fsm_load(struct fsm *fsm, const struct fsm_record *record);

/* Call it after the last record. Returns 0, or -EINVAL if the last records are missing.
 * The first fsm_apply() does this itself if nobody did, and aborts on what would have
 * been -EINVAL. */
int fsm_load_end(struct fsm *fsm);

/* Hash of the whole state: walks everything. Equal states have equal hashes. */
uint64_t fsm_hash(const struct fsm *fsm);

/* A running digest over every command applied and every event that it caused: costs a few
 * nanoseconds per command, so that replicas can compare it in every entry. Part of the
 * root record. */
uint64_t fsm_digest(const struct fsm *fsm);

/* Check every invariant of the state; aborts with a line on stderr. For tests and the
 * simulator. */
void fsm_check(const struct fsm *fsm);

#endif
