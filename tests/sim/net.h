/* net.h - hosts, and a directed link from each to each.
 *
 * A link has a weather (delay, jitter, loss, duplication, reordering, bandwidth) and a state (cut:
 * nothing passes; clogged: nothing passes until it is unclogged, then all of it). Peers' messages are
 * datagrams on a link; clients' bytes are streams that lose nothing but time (socket.h).
 *
 * What happens to packet number n of a link is drawn from (seed, link, n). Whatever is not plain (lost,
 * twice, late, out of order) is told to sim_net_on_decision, and can be decreed instead of drawn:
 * sim_net_decree(). With the weather's `drawn` off only decrees count. */
#ifndef NETLOCK_SIM_NET_H
#define NETLOCK_SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

enum { SIM_HOSTS_MAX = 128 };

struct sim_weather {
    uint32_t delay_us;  /* least; default 100 */
    uint32_t jitter_us; /* more, evenly; default 0 */
    uint32_t loss_ppm, duplicate_ppm, reorder_ppm;
    uint32_t reorder_us;   /* how much later at most a packet out of order comes */
    uint32_t bytes_per_ms; /* 0: no bound */
};

enum sim_fate_kind { SIM_FATE_LOST = 1, SIM_FATE_TWICE, SIM_FATE_LATE };
struct sim_fate {
    enum sim_fate_kind kind;
    uint64_t
        extra_us; /* TWICE: the second one's delay beyond the first; LATE: beyond the plain one's */
};

/* No hosts, all links plain. What is on its way is lost, which its owners are told. */
void sim_net_reset(uint64_t seed);
uint32_t sim_net_add_host(const char *name);
uint32_t sim_net_hosts(void);
const char *sim_net_host_name(uint32_t host);

void sim_net_set_weather(uint32_t from, uint32_t to, const struct sim_weather *weather);
struct sim_weather sim_net_weather(uint32_t from, uint32_t to);
/* Whether fates are drawn at all; default true. Jitter is no fate: it is there always. */
void sim_net_draw(bool drawn);
/* While a link is cut, what is sent on it is lost, as is what was on its way when it was cut. */
void sim_net_cut(uint32_t from, uint32_t to, bool cut);
bool sim_net_is_cut(uint32_t from, uint32_t to);
/* Who calls over this link is refused, as if nobody was there: a firewall's doing. */
void sim_net_refuse(uint32_t from, uint32_t to, bool refused);
bool sim_net_refuses(uint32_t from, uint32_t to);
/* What would arrive while a link is clogged arrives when it is unclogged, in order, the link's delay
 * later. */
void sim_net_clog(uint32_t from, uint32_t to, bool clogged);
/* Neither cut nor clogged. */
bool sim_net_passes(uint32_t from, uint32_t to);

/* Decide the fate of the @number-th packet (from 1) of a link in advance; what has been sent is not
 * changed. Every packet counts, also one that was sent while the link was cut. */
void sim_net_decree(uint32_t from,
                    uint32_t to,
                    uint64_t number,
                    const struct sim_fate *fate);
/* Told of every fate that was drawn. NULL: nobody. */
extern void (*sim_net_on_decision)(uint32_t from,
                                   uint32_t to,
                                   uint64_t number,
                                   const struct sim_fate *fate);

/* One copy of a packet under way. */
struct sim_flight {
    struct sim_event event;
    struct sim_packet *packet;
    struct sim_flight *next, *previous; /* of the same link */
};

/* A packet on its way; embedded in its owner, who sets the two functions and may send it again when no
 * copy is under way. For each copy that is sent exactly one of the two is called: `arrived` later, from
 * an event; `lost` before sim_net_send() returns if that is its fate or the link is cut, or later
 * when the link is cut. With a duplicate there are two calls; `copies` says how many are still to
 * come. */
struct sim_packet {
    void (*arrived)(struct sim_packet *packet);
    void (*lost)(struct sim_packet *packet);
    unsigned copies; /* still to come after this call; the owner is freed at 0 */

    /* Private. */
    uint32_t from, to;
    struct sim_flight flight;
};
void sim_net_send(uint32_t from, uint32_t to, size_t bytes, struct sim_packet *packet);

/* What was counted since the reset. */
struct sim_net_counts {
    uint64_t sent, arrived, lost, twice, late, cut;
};
struct sim_net_counts sim_net_counts(void);

#endif
