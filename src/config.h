/* config.h - what the operator says: one flat file of `key = value` lines, and the same
 * keys as flags.
 *
 *     struct config config;
 *     char error[CONFIG_ERROR_BYTES];
 *     int rv = config_load(&config, argc, argv, &action, error);
 *
 * const after that. Flags override the file. Every key is in one table (config.c), from
 * which the parser, the flags and --help are made; `config_help()` is the reference of
 * all keys.
 *
 * Membership is not configuration: it lives in the raft log. `member` lines are the
 * initial cluster, and tell this node the client addresses of the others, to send clients
 * on to the leader.
 *
 * Limits that decide outcomes (clients-max, claims-max, claims-per-client-max,
 * waiters-per-lock-max, reattach-grace) are those of the leader: it puts them into the
 * log, and all nodes follow it. */
#ifndef NETLOCK_CONFIG_H
#define NETLOCK_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "log.h"
#include "raft_node.h"

enum {
    CONFIG_ERROR_BYTES = 512,
    CONFIG_PATH_BYTES = 1024,
    CONFIG_ADDRESS_BYTES = 256,
    CONFIG_CLUSTER_BYTES = 65,
    CONFIG_USER_BYTES = 65,
    CONFIG_LINE_BYTES_MAX = 190, /* what inih takes */
};

#define CONFIG_UNLIMITED UINT64_MAX

struct config_member {
    uint64_t node_id;
    char peer_address[CONFIG_ADDRESS_BYTES];
    char client_address[CONFIG_ADDRESS_BYTES];
};

struct config {
    uint64_t node_id;
    char cluster[CONFIG_CLUSTER_BYTES];
    char data_dir[CONFIG_PATH_BYTES];
    bool data_dir_is_default;
    char listen[CONFIG_ADDRESS_BYTES];      /* for clients; port 0: any free one */
    char peer_listen[CONFIG_ADDRESS_BYTES]; /* for the other nodes */
    char http_listen[CONFIG_ADDRESS_BYTES]; /* for people and monitors; empty: none */
    char advertise
        [CONFIG_ADDRESS_BYTES]; /* where clients reach this node; empty: `listen` */
    struct config_member members[RAFT_NODE_MEMBERS_MAX];
    size_t members_count;
    bool join; /* begin no cluster: wait to be added to one */
    bool insecure_listen;
    char tls_ca[CONFIG_PATH_BYTES], tls_cert[CONFIG_PATH_BYTES],
        tls_key[CONFIG_PATH_BYTES];      /* all or none */
    char user[CONFIG_USER_BYTES];        /* whom root becomes; empty: nobody else */
    char ready_file[CONFIG_PATH_BYTES];  /* empty: none */
    char acl_file[CONFIG_PATH_BYTES];    /* empty: none */
    char tokens_file[CONFIG_PATH_BYTES]; /* empty: none */

    uint64_t leader_lease_ms;
    bool fast_failover;
    uint64_t reattach_grace_ms; /* 0: derived, see config_timing() */
    uint64_t session_grace_max_ms;
    uint64_t frame_timeout_ms;

    uint64_t lock_timeout_default_ms; /* CONFIG_UNLIMITED: none */
    uint64_t lock_timeout_max_ms;     /* CONFIG_UNLIMITED: none */
    uint64_t plain_lock_timeout_min_ms;
    bool allow_ignore_without_timeout;

    uint64_t connections_max;
    uint64_t connections_per_address_max;
    uint64_t clients_per_connection_max;
    uint64_t pending_per_connection_max;
    uint64_t output_bytes_max;
    uint64_t commands_waiting_max;
    uint64_t clients_max;
    uint64_t claims_max;
    uint64_t claims_per_client_max;
    uint64_t waiters_per_lock_max;

    uint64_t disk_free_min_bytes; /* 0: no floor */
    uint64_t snapshot_threshold;
    uint64_t snapshot_trailing;
    /* 0: as shipped. Without a key, for the simulator. */
    uint64_t snapshot_step_records;
    uint64_t events_per_flush;
    enum log_level log_level;
};

enum config_action { CONFIG_RUN, CONFIG_CHECK, CONFIG_HELP, CONFIG_VERSION };

/* Flags and the file that --config names. Returns 0; -EINVAL (or why the file could not
 * be read) with one line in @ret_error: where, which key, what is wrong and what is
 * allowed. */
int config_load(struct config *ret,
                int argc,
                char *const *argv,
                enum config_action *ret_action,
                char ret_error[static CONFIG_ERROR_BYTES]);

void config_help(FILE *out);

/* Everything that follows from the leader lease, in one place:
 *
 *     election timeout    = lease: a leader that hears no majority for so long steps
 *                           down, followers that hear no leader for one and a half of
 *                           it elect (without fast-failover: for one to two)
 *     heartbeat           = lease / 10
 *     connect timeout, connect retry, user timeout of peer connections:
 *                           raft_node_timing_from_lease()
 *     re-attach grace     = 20 leases, at least 10 s; or the key reattach-grace */
struct config_timing {
    struct raft_node_timing raft;
    uint64_t reattach_grace_ms;
};
struct config_timing config_timing(const struct config *config);

static inline bool config_has_tls(const struct config *config)
{
    return config->tls_cert[0] != '\0';
}

/* Whether only this machine reaches the HOST of @address, "HOST:PORT". */
bool config_is_loopback(const char *address);

/* The member with this id, or NULL. */
const struct config_member *config_member_find(const struct config *config,
                                               uint64_t node_id);

/* "30s", "500ms", "2m", "1h"; a plain number is seconds. Returns 0, -EINVAL, -ERANGE. */
int config_duration_parse(const char *text, uint64_t *ret_ms);

#endif
