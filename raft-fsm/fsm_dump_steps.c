/* A dump in steps, of a state that goes on to change. */
#include <assert.h>

#include "dump.h"
#include "memory.h"

enum { RECORD_STRINGS_MAX = 3 };

/* A lock with its claims, or a client with what it remembers, as the dump must give it. */
struct frozen {
    struct roster_entry entry; /* right before what it is a copy of, or was */
    struct frozen *next;       /* of those whose ended holds come last */
    size_t count;
    struct fsm_record records[]; /* and their strings */
};

enum phase { PHASE_ROOT, PHASE_CLIENTS, PHASE_LOCKS, PHASE_EXPIRED, PHASE_END };

struct fsm_dump {
    struct fsm *fsm;
    enum phase phase;
    struct roster_entry *at; /* the next client or lock */
    struct fsm_record root;
    struct fsm members; /* of it, a copy of the members, which are few */
    struct elections elections;
    struct frozen *expired; /* the oldest client first */
    struct frozen *expired_last;
};

/* ---- freezing --------------------------------------------------------------------- */

static unsigned record_strings(struct fsm_record *record,
                               struct fsm_str *ret[static RECORD_STRINGS_MAX])
{
    unsigned count = 0;

    switch (record->type) {
    case FSM_REC_ROOT:
        break;
    case FSM_REC_CLIENT:
        ret[count++] = &record->client.id;
        ret[count++] = &record->client.secret_digest;
        break;
    case FSM_REC_LOCK:
        ret[count++] = &record->lock.name;
        break;
    case FSM_REC_HOLD:
        ret[count++] = &record->hold.client;
        ret[count++] = &record->hold.lock;
        ret[count++] = &record->hold.owner_info;
        break;
    case FSM_REC_WAIT:
        ret[count++] = &record->wait.client;
        ret[count++] = &record->wait.lock;
        ret[count++] = &record->wait.owner_info;
        break;
    case FSM_REC_EXPIRED:
        ret[count++] = &record->expired.client;
        ret[count++] = &record->expired.lock;
        break;
    case FSM_REC_MEMBER:
        ret[count++] = &record->member.address;
        break;
    }
    return count;
}

static void add_bytes(void *arg, const struct fsm_record *record)
{
    size_t *bytes = arg;
    struct fsm_record copy = *record;
    struct fsm_str *strings[RECORD_STRINGS_MAX];
    unsigned count = record_strings(&copy, strings);

    *bytes += sizeof(*record);
    for (unsigned i = 0; i < count; i++) {
        *bytes += strings[i]->len;
    }
}

struct copying {
    struct frozen *to;
    char *room; /* for strings */
};

static void add_copy(void *arg, const struct fsm_record *record)
{
    struct copying *copying = arg;
    struct fsm_record *copy = &copying->to->records[copying->to->count++];
    struct fsm_str *strings[RECORD_STRINGS_MAX];

    *copy = *record;
    for (unsigned i = 0, count = record_strings(copy, strings); i < count; i++) {
        memcpy(copying->room, str_data(*strings[i]), strings[i]->len);
        strings[i]->data = copying->room;
        copying->room += strings[i]->len;
    }
}

typedef void (*dump_record_fn)(const struct roster_entry *entry, struct dump_sink *sink);

static void give_lock(const struct roster_entry *entry, struct dump_sink *sink)
{
    dump_lock((const struct lock *)(const void *)entry, sink);
}

static void give_whole_client(const struct roster_entry *entry, struct dump_sink *sink)
{
    dump_client((const struct client *)(const void *)entry, sink);
    dump_expired((const struct client *)(const void *)entry, sink);
}

static struct frozen *
freeze(const struct fsm_dump *of, const struct roster_entry *entry, dump_record_fn dump)
{
    size_t bytes = 0;
    struct dump_sink measuring = {
        .cb = add_bytes, .arg = &bytes, .elections = &of->elections};

    dump(entry, &measuring);

    struct frozen *frozen = memory_new(sizeof(*frozen) + bytes);
    struct copying copying = {frozen, (char *)&frozen->records[measuring.count]};
    struct dump_sink sink = {
        .cb = add_copy, .arg = &copying, .elections = &of->elections};

    dump(entry, &sink);
    assert(frozen->count == measuring.count);
    return frozen;
}

static void put_before(struct fsm *fsm,
                       struct roster *roster,
                       struct frozen *frozen,
                       struct roster_entry *entry)
{
    roster_insert_frozen(roster, &frozen->entry, entry);
    if (fsm->dump->at == entry) {
        fsm->dump->at = &frozen->entry;
    }
    entry->copied = fsm->copied;
}

void dump_freeze_lock(struct fsm *fsm, struct lock *lock)
{
    put_before(fsm, &fsm->locks, freeze(fsm->dump, &lock->entry, give_lock),
               &lock->entry);
}

void dump_freeze_client(struct fsm *fsm, struct client *client)
{
    put_before(fsm, &fsm->clients, freeze(fsm->dump, &client->entry, give_whole_client),
               &client->entry);
}

void dump_pass(struct fsm *fsm, const struct roster_entry *entry)
{
    if (fsm->dump != NULL && fsm->dump->at == entry) {
        fsm->dump->at = entry->next;
    }
}

/* ---- one step --------------------------------------------------------------------- */

static void
give_frozen(const struct frozen *frozen, size_t from, size_t to, struct dump_sink *sink)
{
    for (size_t i = from; i < to; i++) {
        dump_give(sink, &frozen->records[i]);
    }
}

/* Ended holds come behind all locks. */
static void keep_expired(struct fsm_dump *dump, struct frozen *frozen)
{
    if (frozen->count == 1) {
        free(frozen);
        return;
    }
    frozen->next = NULL;
    *(dump->expired != NULL ? &dump->expired_last->next : &dump->expired) = frozen;
    dump->expired_last = frozen;
}

static struct frozen *thaw(struct roster *roster, struct roster_entry *entry)
{
    roster_remove_frozen(roster, entry);
    return (struct frozen *)(void *)entry;
}

static void
step_client(struct fsm_dump *dump, struct roster_entry *entry, struct dump_sink *sink)
{
    struct fsm *fsm = dump->fsm;

    if (entry->frozen) {
        struct frozen *frozen = thaw(&fsm->clients, entry);
        give_frozen(frozen, 0, 1, sink);
        keep_expired(dump, frozen);
    } else if (entry->copied != fsm->copied) {
        const struct client *client = (const struct client *)(void *)entry;
        entry->copied = fsm->copied;
        dump_client(client, sink);
        if (client->expired != NULL) {
            keep_expired(dump, freeze(dump, entry, give_whole_client));
        }
    }
}

static void
step_lock(struct fsm_dump *dump, struct roster_entry *entry, struct dump_sink *sink)
{
    struct fsm *fsm = dump->fsm;

    if (entry->frozen) {
        struct frozen *frozen = thaw(&fsm->locks, entry);
        give_frozen(frozen, 0, frozen->count, sink);
        free(frozen);
    } else if (entry->copied != fsm->copied) {
        entry->copied = fsm->copied;
        dump_lock((const struct lock *)(void *)entry, sink);
    }
}

static void step_expired(struct fsm_dump *dump, struct dump_sink *sink)
{
    struct frozen *frozen = dump->expired;

    dump->expired = frozen->next;
    give_frozen(frozen, 1, frozen->count, sink);
    free(frozen);
}

static struct roster_entry *next_entry(struct fsm_dump *dump)
{
    struct roster_entry *entry = dump->at;

    dump->at = entry->next;
    return entry;
}

static void step(struct fsm_dump *dump, struct dump_sink *sink)
{
    switch (dump->phase) {
    case PHASE_ROOT:
        dump_give(sink, &dump->root);
        dump_members(&dump->members, sink);
        dump->phase = PHASE_CLIENTS;
        return;
    case PHASE_CLIENTS:
        if (dump->at != NULL) {
            step_client(dump, next_entry(dump), sink);
            return;
        }
        dump->phase = PHASE_LOCKS;
        dump->at = dump->fsm->locks.first;
        return;
    case PHASE_LOCKS:
        if (dump->at != NULL) {
            step_lock(dump, next_entry(dump), sink);
            return;
        }
        dump->phase = PHASE_EXPIRED;
        return;
    case PHASE_EXPIRED:
        if (dump->expired != NULL) {
            step_expired(dump, sink);
            return;
        }
        dump->phase = PHASE_END;
        return;
    case PHASE_END:
        return;
    }
}

/* ---- public ----------------------------------------------------------------------- */

static void keep_root(void *arg, const struct fsm_record *record)
{
    *(struct fsm_record *)arg = *record;
}

static void copy_members(const struct fsm *fsm, struct fsm *to)
{
    size_t bytes = fsm->members_count * sizeof(fsm->members[0]);

    to->members_count = fsm->members_count;
    if (bytes != 0) {
        to->members = memory_new(bytes);
        memcpy(to->members, fsm->members, bytes);
    }
}

struct fsm_dump *fsm_dump_begin(struct fsm *fsm)
{
    struct fsm_dump *dump = memory_new(sizeof(*dump));
    struct dump_sink sink = {.cb = keep_root, .arg = &dump->root};

    assert(fsm->dump == NULL);
    dump->fsm = fsm;
    dump->at = fsm->clients.first;
    dump_root(fsm, &sink);
    copy_members(fsm, &dump->members);
    dump->elections = fsm->elections;
    fsm->copied = !fsm->copied;
    fsm->dump = dump;
    return dump;
}

bool fsm_dump_step(struct fsm_dump *dump, size_t records, fsm_record_cb cb, void *arg)
{
    struct dump_sink sink = {.cb = cb, .arg = arg, .elections = &dump->elections};

    /* Also bounded in what gives nothing. */
    for (size_t i = 0; i < records && sink.count < records && dump->phase != PHASE_END;
         i++) {
        step(dump, &sink);
    }
    return dump->phase != PHASE_END;
}

void fsm_dump_end(struct fsm_dump *dump)
{
    if (dump == NULL) {
        return;
    }
    while (fsm_dump_step(dump, SIZE_MAX, NULL, NULL)) {
    }
    dump->fsm->dump = NULL;
    free(dump->members.members);
    free(dump);
}
