/* client.h - simulated users: programs on the shipped client library (libnetlock), and clients that speak
 * the protocol by hand, well or badly.
 *
 * A user is a process on a host of its own. It does nothing by itself: the script tells it what to ask
 * for, and when. What it asks for, what it is told and what it believes goes to the history (history.h),
 * with exact times.
 *
 * A turn of a user on the library: netlock_process(), so that LOST comes before anything else; then it
 * gives up what it has used for long enough; then what it was asked for, in order; and netlock_process()
 * again until that has nothing to do. The next turn comes when its socket changes, or in the microsecond
 * in which the millisecond of netlock_timeout_ms() begins on its own clock.
 *
 * All machines begin with the same date and each with its own time since boot. */
#ifndef NETLOCK_SIM_CLIENT_H
#define NETLOCK_SIM_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "netlock.h"
#include "process.h"

enum sim_client_kind {
    SIM_CLIENT_LIBRARY, /* libnetlock, as shipped */
    SIM_CLIENT_RAW, /* frames by hand: plain GoNetLock or extended, with connections to play with */
};

struct sim_client_options {
    char name[16];
    enum sim_client_kind kind;
    /* LIBRARY: */
    char client_id[64]; /* empty: the cluster makes one */
    uint32_t session_grace_ms, connect_timeout_ms,
        drift_ppm; /* 0: the library's default */
    bool no_refresh, share_id;
};

struct sim_client;

/* A host is added to the net; the process is not started. @seed: of the run. */
struct sim_client *sim_client_new(const struct sim_client_options *options,
                                  uint64_t seed);
/* All of them, without another record. Their numbers begin anew. */
void sim_clients_free(void);
unsigned sim_clients_count(void);
struct sim_client *sim_client(unsigned number);       /* from 0 */
struct sim_client *sim_client_find(const char *name); /* or NULL */
const struct sim_client_options *sim_client_options(const struct sim_client *client);
struct sim_process *sim_client_process(struct sim_client *client);
bool sim_client_runs(const struct sim_client *client);
/* Operations of this life that have no outcome yet, and what is still to be asked for. */
unsigned sim_client_pending(const struct sim_client *client);
unsigned sim_client_holds(const struct sim_client *client); /* beliefs */

/* All three: nothing if it is not the moment. */
void sim_client_start(
    struct sim_client *client); /* again after a kill: a new life, the same name */
void sim_client_kill(struct sim_client *client);
/* netlock_close(), after what it was asked before; ends with status 0 when it is done. RAW: hangs up. */
void sim_client_close(struct sim_client *client);

/* What one line of a script asks of a client. Strings are borrowed for the call. Nothing happens if the
 * process is dead; if it is paused, when it goes on. If it dies before its turn came, nothing was asked.
 *
 * RAW: requests carry the number of their operation as message key. What is asked for on a connection
 * that is not there (-ENOTCONN), or is there already (-EISCONN), or of a number that is none (-EINVAL),
 * has that as its outcome; while it is being made requests are queued, and lost if it is refused. A
 * client hangs up when the peer did. What was asked for before HOLD is not held back. */
enum sim_ask_type {
    SIM_ASK_LOCK = 1,
    SIM_ASK_UNLOCK,
    SIM_ASK_REFRESH,
    SIM_ASK_CANCEL,
    SIM_ASK_STATUS,
    SIM_ASK_CHECK_TOKEN,
    SIM_ASK_BREAK /* force release */,
    /* RAW only: */
    SIM_ASK_CONNECT, /* open connection `conn` to node `node` */
    SIM_ASK_HELLO,
    SIM_ASK_ATTACH,
    SIM_ASK_DETACH,
    SIM_ASK_CREATE,
    SIM_ASK_PING,
    SIM_ASK_HANG_UP, /* close connection `conn`; what its buffer had no room for is lost */
    SIM_ASK_RESET,   /* the same with RST */
    SIM_ASK_READ,    /* start (on) or stop (off) reading on `conn` */
    SIM_ASK_HOLD,    /* bytes written from now on are held back (on), and let go (off) */
    SIM_ASK_BYTES,   /* write these bytes as they are */
};
enum { SIM_CLIENT_CONNS_MAX = 8 };

struct sim_ask {
    enum sim_ask_type type;
    unsigned conn;      /* RAW: which connection, from 0, below SIM_CLIENT_CONNS_MAX */
    unsigned node;      /* RAW CONNECT: 1..; 0: the one that serves now */
    const char *client; /* RAW: client id; NULL or "": the connection's default */
    const char *lock;
    enum netlock_type type_of_lock;
    bool try_only, ignore, downgrade, on;
    uint32_t wait_ms, hold_ms, limit;
    uint64_t
        use_us; /* LOCK, LIBRARY: once granted, give it up by itself after so long on its own
                         * clock, unless it was lost; 0: keep it */
    uint64_t token; /* UNLOCK, REFRESH, CHECK_TOKEN, BREAK; 0: any.
                         * SIM_TOKEN_HELD: the one the client was last granted for the lock, in this life
                         * or an earlier one; if there was none, one that nobody has */
    bool has_epoch, supersede;
    uint64_t epoch;
    uint32_t grace_ms; /* HELLO */
    const uint8_t *bytes;
    size_t bytes_len;
};
#define SIM_TOKEN_HELD UINT64_MAX

void sim_client_ask(struct sim_client *client, const struct sim_ask *ask);

#endif
