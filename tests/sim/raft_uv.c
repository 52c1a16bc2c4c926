/* What raft_node.c calls of libraft's I/O, of the connections between nodes and of the data directory: the
 * same functions on simulated disks and links. */
#include <raft/uv.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datadir.h"
#include "disk_io.h"
#include "net.h"
#include "node.h"
#include "peer_links.h"
#include "peers.h"
#include "process.h"
#include "raft_io.h"
#include "socket.h"
#include "transport.h"

static struct sim_node *here(void)
{
    return sim_node_of(sim_process_current());
}

/* Node.c calls it, and so has the linker take this file before the archives that have the real functions
 * of these names. */
void sim_raft_uv_forget(struct sim_node *node)
{
    node->io = NULL;
    node->guard = NULL;
    node->raft = NULL;
}

/* ---- raft_uv ---- */

int raft_uv_init(struct raft_io *io,
                 struct uv_loop_s *loop,
                 const char *dir,
                 struct raft_uv_transport *transport)
{
    (void)dir;
    (void)transport;
    sim_raft_io_init(io, here(), loop);
    return 0;
}

void raft_uv_close(struct raft_io *io)
{
    struct sim_raft_io *impl = io->impl;

    sim_raft_uv_forget(impl->node);
    sim_raft_io_release(io);
}

/* A peer is reached again as soon as it can be. */
void raft_uv_set_connect_retry_delay(struct raft_io *io, unsigned ms)
{
    (void)io;
    (void)ms;
}

/* A damaged log is refused: what raft_uv does without it. */
void raft_uv_set_auto_recovery(struct raft_io *io, bool on)
{
    (void)io;
    if (on) {
        abort();
    }
}

void raft_uv_set_tracer(struct raft_io *io, struct raft_tracer *tracer)
{
    struct sim_raft_io *impl = io->impl;

    impl->tracer = tracer;
}

/* ---- connections ---- */

void transport_init(struct raft_uv_transport *face,
                    uv_loop_t *loop,
                    const struct transport_config *config)
{
    *face = (struct raft_uv_transport){.version = 1};
    here()->connect_timeout_ms = config->connect_timeout_ms;
    here()->links = sim_peer_links_new(here(), loop, config);
}

/* Nobody sets any here. */
void transport_set_tls(struct raft_uv_transport *face, const struct transport_tls *tls)
{
    (void)face;
    (void)tls;
    abort();
}

void transport_release(struct raft_uv_transport *face)
{
    (void)face;
    sim_peer_links_free(here()->links);
    here()->links = NULL;
}

bool transport_reached_at(const struct raft_uv_transport *face,
                          uint64_t node_id,
                          struct sockaddr_storage *ret)
{
    struct sockaddr_in *to = (struct sockaddr_in *)ret;
    uint32_t host = sim_node((unsigned)node_id)->process.host;

    (void)face;
    *ret = (struct sockaddr_storage){0};
    to->sin_family = AF_INET;
    to->sin_port = htons(SIM_PEER_PORT);
    inet_pton(AF_INET, sim_host_address(host), &to->sin_addr);
    return sim_peer_links_reached(here()->links, (unsigned)node_id);
}

/* The simulated network takes what is said as it is said. */
void transport_flush(struct raft_uv_transport *face)
{
    (void)face;
}

bool transport_connected(const struct raft_uv_transport *face, uint64_t node_id)
{
    const struct sim_node *from = here();
    const struct sim_node *to = sim_node((unsigned)node_id);

    (void)face;
    if (from == NULL) {
        return false; /* a transcript asks, which shows no connections */
    }
    return sim_node_runs(to) && !sim_net_is_cut(from->process.host, to->process.host) &&
           !sim_net_is_cut(to->process.host, from->process.host);
}

uint32_t transport_level(const struct raft_uv_transport *face, uint64_t node_id)
{
    (void)face;
    return sim_node_level(sim_node((unsigned)node_id));
}

void transport_refuse(struct raft_uv_transport *face,
                      uint64_t node_id,
                      const char *reason)
{
    (void)face;
    sim_peers_refused(here(), node_id, reason);
}

int transport_listen_error(const struct raft_uv_transport *face)
{
    (void)face;
    return 0;
}

/* ---- the data directory ---- */

struct datadir {
    struct sim_image *image;
};

bool datadir_cluster_id_valid(const char *cluster_id)
{
    return cluster_id[0] != '\0' && strlen(cluster_id) <= DATADIR_CLUSTER_ID_BYTES_MAX;
}

/* What a crash left of a log that was never begun is thrown away, as there. */
int datadir_open(struct datadir **ret,
                 const char *path,
                 const struct datadir_identity *identity,
                 char ret_error[static DATADIR_ERROR_BYTES])
{
    struct sim_image *image = sim_disk_image(here()->disk);

    if (identity->node_id != here()->number) {
        snprintf(ret_error, DATADIR_ERROR_BYTES, "%s belongs to another node", path);
        return -EXDEV;
    }
    struct datadir *dir = malloc(sizeof(*dir));
    if (dir == NULL) {
        abort();
    }
    dir->image = image;
    if (!image->begun) {
        sim_image_clear(image);
    }
    *ret = dir;
    return 0;
}

void datadir_close(struct datadir *dir)
{
    free(dir);
}

const char *datadir_raft_path(const struct datadir *dir)
{
    (void)dir;
    return "/sim/raft";
}

bool datadir_is_new(const struct datadir *dir)
{
    return !dir->image->begun;
}

int datadir_log_begun(struct datadir *dir)
{
    dir->image->begun = true;
    return 0;
}

const char *datadir_doubtful_fs(const struct datadir *dir)
{
    (void)dir;
    return NULL;
}
