/* dump.h - the state as records, and how it stands still for a dump in steps. Private to this room.
 *
 * While a dump in steps is under way (fsm_dump_begin), records that it has not come to have another
 * `copied` than the machine. Whoever is about to change such a lock or its claims, or such a client or
 * what it remembers, touches it first: then a frozen copy takes its place in the order, and the dump
 * goes by that. Without a dump all records are as the machine, and a touch is a comparison or two.
 *
 * An epoch changes all clients that are attached, and copies none: a client knows in which election it became
 * missing, and a dump that began before it gives it as attached.
 */
#ifndef NETLOCK_DUMP_H
#define NETLOCK_DUMP_H

#include "election.h"
#include "state.h"

/* Where records go. */
struct dump_sink {
    fsm_record_cb cb; /* NULL: nowhere */
    void *arg;
    size_t count;
    const struct elections *elections; /* that there were in the state that is dumped */
};

void dump_root(const struct fsm *fsm, struct dump_sink *sink);
void dump_members(const struct fsm *fsm, struct dump_sink *sink);
void dump_client(const struct client *client, struct dump_sink *sink);
void dump_expired(const struct client *client, struct dump_sink *sink);
void dump_lock(const struct lock *lock, struct dump_sink *sink); /* with its claims */
void dump_give(struct dump_sink *sink, const struct fsm_record *record);

void dump_freeze_lock(struct fsm *fsm, struct lock *lock);
void dump_freeze_client(struct fsm *fsm, struct client *client);

static inline void lock_touch(struct fsm *fsm, struct lock *lock)
{
    if (lock->entry.copied != fsm->copied) {
        dump_freeze_lock(fsm, lock);
    }
    if (lock->entry.election != fsm->elections.last) {
        election_reach_lock(fsm, lock);
    }
}

static inline void client_touch(struct fsm *fsm, struct client *client)
{
    if (client->entry.copied != fsm->copied) {
        dump_freeze_client(fsm, client);
    }
}

/* A record, touched before, is about to be taken out of its roster. */
void dump_pass(struct fsm *fsm, const struct roster_entry *entry);

#endif
