#include "net.h"

#include <assert.h>
#include <stdio.h>

#include "process.h"
#include "random.h"

enum { DELAY_DEFAULT_US = 100, NAME_BYTES = 16 };

/* What is drawn for a packet; each from a number of its own, so that none depends on another. */
enum draw { DRAW_LOSS = 1, DRAW_DUPLICATE, DRAW_REORDER, DRAW_EXTRA, DRAW_JITTER };

struct decree {
    struct decree *next;
    uint64_t number;
    struct sim_fate fate;
};

struct link {
    struct sim_weather weather;
    bool cut, clogged, refused;
    uint64_t number;  /* of the last packet */
    uint64_t last_us; /* when the last one arrives; nothing in order comes before */
    uint64_t busy_us; /* until when its bandwidth is used up */
    /* In the order in which they were sent; while clogged, in which they would have arrived. */
    struct sim_flight *flights, *flights_last;
    struct decree *decrees, *decrees_last; /* lowest number first, none in the past */
};

void (*sim_net_on_decision)(uint32_t from,
                            uint32_t to,
                            uint64_t number,
                            const struct sim_fate *fate);

static struct {
    uint64_t seed;
    bool undrawn;
    uint32_t hosts;
    char names[SIM_HOSTS_MAX][NAME_BYTES];
    struct sim_net_counts counts;
    struct link links[SIM_HOSTS_MAX][SIM_HOSTS_MAX];
} net;

static struct link *link_of(uint32_t from, uint32_t to)
{
    assert(from < net.hosts && to < net.hosts);
    return &net.links[from][to];
}

/* ---- flights ---- */

static void flight_append(struct link *link, struct sim_flight *flight)
{
    flight->next = NULL;
    flight->previous = link->flights_last;
    if (link->flights_last != NULL) {
        link->flights_last->next = flight;
    } else {
        link->flights = flight;
    }
    link->flights_last = flight;
}

static void flight_remove(struct link *link, struct sim_flight *flight)
{
    if (flight->previous != NULL) {
        flight->previous->next = flight->next;
    } else {
        link->flights = flight->next;
    }
    if (flight->next != NULL) {
        flight->next->previous = flight->previous;
    } else {
        link->flights_last = flight->previous;
    }
}

/* It is over: what it carried, with one copy less to come. */
static struct sim_packet *flight_end(struct link *link, struct sim_flight *flight)
{
    struct sim_packet *packet = flight->packet;

    flight_remove(link, flight);
    if (flight != &packet->flight) {
        sim_free(flight);
    }
    packet->copies--;
    return packet;
}

static void on_arrival(struct sim_event *event)
{
    struct sim_flight *flight = (struct sim_flight *)event;
    struct link *link = link_of(flight->packet->from, flight->packet->to);

    net.counts.arrived++;
    struct sim_packet *packet = flight_end(link, flight);
    packet->arrived(packet);
}

static void launch(struct link *link,
                   struct sim_packet *packet,
                   struct sim_flight *flight,
                   uint64_t at_us)
{
    *flight = (struct sim_flight){.event = {.fire = on_arrival, .at_us = at_us},
                                  .packet = packet};
    packet->copies++;
    flight_append(link, flight);
    if (!link->clogged) {
        sim_event_at(&flight->event, at_us);
    }
}

static void lose_all(struct link *link)
{
    while (link->flights != NULL) {
        struct sim_flight *flight = link->flights;
        sim_event_cancel(&flight->event);
        net.counts.cut++;
        struct sim_packet *packet = flight_end(link, flight);
        packet->lost(packet);
    }
}

/* ---- fates ---- */

static uint64_t drawn(uint64_t luck, enum draw what)
{
    return sim_mix1(luck + what);
}

static bool chance(uint64_t luck, enum draw what, uint32_t ppm)
{
    return ppm != 0 && drawn(luck, what) % SIM_MILLION < ppm;
}

/* From 1 to @most, or to @least where that is more. */
static uint64_t extra(uint64_t luck, uint32_t most, uint32_t least)
{
    return 1 + drawn(luck, DRAW_EXTRA) % ((most > least ? most : least) + UINT64_C(1));
}

static struct sim_fate draw_fate(const struct sim_weather *weather, uint64_t luck)
{
    if (chance(luck, DRAW_LOSS, weather->loss_ppm)) {
        return (struct sim_fate){.kind = SIM_FATE_LOST};
    }
    if (chance(luck, DRAW_DUPLICATE, weather->duplicate_ppm)) {
        return (struct sim_fate){.kind = SIM_FATE_TWICE,
                                 .extra_us =
                                     extra(luck, weather->reorder_us, weather->delay_us)};
    }
    if (chance(luck, DRAW_REORDER, weather->reorder_ppm)) {
        return (struct sim_fate){.kind = SIM_FATE_LATE,
                                 .extra_us = extra(luck, weather->reorder_us, 0)};
    }
    return (struct sim_fate){0};
}

/* Whether the packet's fate was decreed. */
static bool decreed(struct link *link, struct sim_fate *ret)
{
    bool found = false;

    while (link->decrees != NULL && link->decrees->number <= link->number) {
        struct decree *decree = link->decrees;
        link->decrees = decree->next;
        if (decree->number == link->number) {
            *ret = decree->fate;
            found = true;
        }
        sim_free(decree);
    }
    if (link->decrees == NULL) {
        link->decrees_last = NULL;
    }
    return found;
}

static struct sim_fate
decide(struct link *link, uint32_t from, uint32_t to, uint64_t luck)
{
    struct sim_fate fate = {0};

    if ((link->decrees != NULL && decreed(link, &fate)) || net.undrawn || link->cut) {
        return fate;
    }
    fate = draw_fate(&link->weather, luck);
    if (fate.kind != 0 && sim_net_on_decision != NULL) {
        sim_net_on_decision(from, to, link->number, &fate);
    }
    return fate;
}

void sim_net_decree(uint32_t from,
                    uint32_t to,
                    uint64_t number,
                    const struct sim_fate *fate)
{
    struct link *link = link_of(from, to);
    struct decree *decree;
    struct decree **at = &link->decrees;

    if (number <= link->number) {
        return;
    }
    decree = sim_alloc(sizeof(*decree));
    *decree = (struct decree){.number = number, .fate = *fate};
    /* A trace tells them in order. */
    if (link->decrees_last != NULL && link->decrees_last->number <= number) {
        at = &link->decrees_last->next;
    }
    while (*at != NULL && (*at)->number <= number) {
        at = &(*at)->next;
    }
    decree->next = *at;
    *at = decree;
    if (decree->next == NULL) {
        link->decrees_last = decree;
    }
}

/* ---- sending ---- */

/* When it would arrive if nothing happened to it. That counts for those behind it whatever happens to
 * it: another fate of this one is not to move them. */
static uint64_t plain_arrival(struct link *link, uint64_t luck, size_t bytes)
{
    const struct sim_weather *weather = &link->weather;
    uint64_t at_us = sim_now_us();

    if (weather->bytes_per_ms != 0) {
        if (at_us < link->busy_us) {
            at_us = link->busy_us;
        }
        at_us +=
            ((uint64_t)bytes * 1000 + weather->bytes_per_ms - 1) / weather->bytes_per_ms;
        link->busy_us = at_us;
    }
    at_us += weather->delay_us;
    if (weather->jitter_us != 0) {
        at_us += drawn(luck, DRAW_JITTER) % (weather->jitter_us + UINT64_C(1));
    }
    if (at_us < link->last_us) {
        at_us = link->last_us;
    }
    link->last_us = at_us;
    return at_us;
}

static void count_fate(enum sim_fate_kind kind)
{
    net.counts.lost += kind == SIM_FATE_LOST;
    net.counts.twice += kind == SIM_FATE_TWICE;
    net.counts.late += kind == SIM_FATE_LATE;
}

void sim_net_send(uint32_t from, uint32_t to, size_t bytes, struct sim_packet *packet)
{
    struct link *link = link_of(from, to);
    uint64_t place = (uint64_t)from << 32 | to;

    assert(packet->copies == 0);
    packet->from = from;
    packet->to = to;
    net.counts.sent++;
    uint64_t luck = sim_mix(net.seed, place, ++link->number);
    struct sim_fate fate = decide(link, from, to, luck);
    sim_trace_mix(place ^ (uint64_t)bytes << 8 ^ (uint64_t)fate.kind << 62);
    if (link->cut) {
        net.counts.cut++;
        packet->lost(packet);
        return;
    }
    count_fate(fate.kind);
    uint64_t at_us = plain_arrival(link, luck, bytes);
    if (fate.kind == SIM_FATE_LOST) {
        packet->lost(packet);
        return;
    }
    launch(link, packet, &packet->flight,
           fate.kind == SIM_FATE_LATE ? at_us + fate.extra_us : at_us);
    if (fate.kind == SIM_FATE_TWICE) {
        launch(link, packet, sim_alloc(sizeof(struct sim_flight)), at_us + fate.extra_us);
    }
}

/* ---- links ---- */

void sim_net_set_weather(uint32_t from, uint32_t to, const struct sim_weather *weather)
{
    link_of(from, to)->weather = *weather;
}

struct sim_weather sim_net_weather(uint32_t from, uint32_t to)
{
    return link_of(from, to)->weather;
}

void sim_net_draw(bool drawn_at_all)
{
    net.undrawn = !drawn_at_all;
}

void sim_net_cut(uint32_t from, uint32_t to, bool cut)
{
    struct link *link = link_of(from, to);

    link->cut = cut;
    if (cut) {
        lose_all(link);
    }
}

void sim_net_refuse(uint32_t from, uint32_t to, bool refused)
{
    link_of(from, to)->refused = refused;
}

bool sim_net_refuses(uint32_t from, uint32_t to)
{
    return link_of(from, to)->refused;
}

bool sim_net_is_cut(uint32_t from, uint32_t to)
{
    return link_of(from, to)->cut;
}

bool sim_net_passes(uint32_t from, uint32_t to)
{
    const struct link *link = link_of(from, to);

    return !link->cut && !link->clogged;
}

static bool arrives_before(const struct sim_flight *a, const struct sim_flight *b)
{
    return a->event.at_us != b->event.at_us ? a->event.at_us < b->event.at_us
                                            : a->event.order < b->event.order;
}

/* Nothing moves any more, and what is under way is kept in the order in which it would have come. */
static void hold_all(struct link *link)
{
    struct sim_flight *left = link->flights;

    link->flights = link->flights_last = NULL;
    while (left != NULL) {
        struct sim_flight *flight = left;
        left = flight->next;
        sim_event_cancel(&flight->event);
        struct sim_flight *before = link->flights_last;
        while (before != NULL && arrives_before(flight, before)) {
            before = before->previous;
        }
        flight->previous = before;
        flight->next = before != NULL ? before->next : link->flights;
        *(before != NULL ? &before->next : &link->flights) = flight;
        *(flight->next != NULL ? &flight->next->previous : &link->flights_last) = flight;
    }
}

static void let_go(struct link *link)
{
    uint64_t at_us = sim_now_us() + link->weather.delay_us;

    for (struct sim_flight *flight = link->flights; flight != NULL;
         flight = flight->next) {
        sim_event_at(&flight->event, at_us);
    }
    /* What the clog held up has not come late by fate: the next ones follow it. */
    link->last_us = at_us;
}

void sim_net_clog(uint32_t from, uint32_t to, bool clogged)
{
    struct link *link = link_of(from, to);

    if (link->clogged == clogged) {
        return;
    }
    link->clogged = clogged;
    if (clogged) {
        hold_all(link);
    } else {
        let_go(link);
    }
}

/* ---- all of it ---- */

void sim_net_reset(uint64_t seed)
{
    for (uint32_t from = 0; from < net.hosts; from++) {
        for (uint32_t to = 0; to < net.hosts; to++) {
            struct link *link = &net.links[from][to];
            link->cut = true; /* who hears of a loss might send again */
            lose_all(link);
            link->number = UINT64_MAX;
            (void)decreed(link, &(struct sim_fate){0});
        }
    }
    net.seed = seed;
    net.undrawn = false;
    net.hosts = 0;
    net.counts = (struct sim_net_counts){0};
}

uint32_t sim_net_add_host(const char *name)
{
    uint32_t host = net.hosts++;

    assert(host < SIM_HOSTS_MAX);
    (void)snprintf(net.names[host], NAME_BYTES, "%s", name);
    for (uint32_t other = 0; other <= host; other++) {
        const struct link plain = {.weather = {.delay_us = DELAY_DEFAULT_US}};
        net.links[host][other] = net.links[other][host] = plain;
    }
    return host;
}

uint32_t sim_net_hosts(void)
{
    return net.hosts;
}

const char *sim_net_host_name(uint32_t host)
{
    assert(host < net.hosts);
    return net.names[host];
}

struct sim_net_counts sim_net_counts(void)
{
    return net.counts;
}
