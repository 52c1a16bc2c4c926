/* check_time.c - deadlines: never too early by any clock that the run allows, and after healing never too
 * late.
 *
 * The cluster counts with the clocks of its leaders, which may be wrong by rate_ppm_max, in milliseconds
 * that have begun: what it counts as n ms may be n - 1 and a little. A new leader counts from
 * something that it saw later than it was stamped, again in begun milliseconds. */
#include "check_internal.h"

#include "net.h"

enum {
    US_PER_MS = 1000,
    MILLION = 1000000,
    /* Beyond ticks: queues before disks, entries that are in flight. */
    LATE_SLACK_US = 1000000,
    ROUNDS = 6, /* of messages and writes between a deadline and its entry's apply */
    LOSS_US = 5000000,
};
/* Longer durations are no matter of a simulation. */
static const uint64_t forever_ms = UINT64_C(1) << 40;

uint64_t check_later_ms(uint64_t now_ms, uint64_t duration_ms)
{
    return duration_ms > FSM_UNLIMITED - now_ms ? FSM_UNLIMITED : now_ms + duration_ms;
}

/* @us * MILLION / @rate without overflow. */
static uint64_t scale(uint64_t us, uint64_t rate)
{
    return us / rate * MILLION + us % rate * MILLION / rate;
}

uint64_t check_least_us(uint64_t ms, uint64_t leaders)
{
    uint64_t lost_ms = leaders + 1;

    if (ms <= lost_ms) {
        return 0;
    }
    ms = ms - lost_ms > forever_ms ? forever_ms : ms - lost_ms;
    return scale(ms * US_PER_MS, (uint64_t)MILLION + check_run.options.rate_ppm_max);
}

uint64_t check_most_us(uint64_t ms)
{
    uint64_t ppm = check_run.options.rate_ppm_max;

    if (ms >= forever_ms || ppm >= MILLION) {
        return SIM_NEVER;
    }
    return scale((ms + 1) * US_PER_MS, MILLION - ppm) + 1;
}

void check_deadline_set(struct check_claim *claim,
                        uint64_t duration_ms,
                        uint64_t proposed_us)
{
    claim->duration_ms = duration_ms;
    claim->asked_deadline_ms = claim->deadline_ms =
        check_later_ms(check_table.now_ms, duration_ms);
    claim->since_us = proposed_us;
    claim->leaders = check_table.leaders;
    if (claim->deadline_ms < check_table.next_due_ms) {
        check_table.next_due_ms = claim->deadline_ms;
    }
}

/* ---- never early ----------------------------------------------------------------------------- */

static const char *kind_of(const struct check_claim *claim)
{
    return claim->waiting ? "wait" : "hold";
}

void check_deadline_came(const struct check_claim *claim, uint64_t proposed_us)
{
    const char *property = claim->waiting ? "P7" : "P8";
    uint64_t least_us =
        check_least_us(claim->duration_ms, check_table.leaders - claim->leaders);
    uint64_t at_us = proposed_us != SIM_NEVER ? proposed_us : sim_now_us();

    if (claim->deadline_ms > check_table.now_ms) {
        sim_violation(
            property,
            "%s timeout, before its time: %s on %s (token %llu) at cluster time %llu "
            "ms, not %llu ms",
            kind_of(claim), check_name_text(claim->client->name),
            check_name_text(claim->lock->name), (unsigned long long)claim->token,
            (unsigned long long)check_table.now_ms,
            (unsigned long long)claim->deadline_ms);
    } else if (claim->since_us != SIM_NEVER && at_us < claim->since_us + least_us) {
        sim_violation(
            property,
            "%s timeout, too short: %s on %s (token %llu) of %llu ms after %llu us",
            kind_of(claim), check_name_text(claim->client->name),
            check_name_text(claim->lock->name), (unsigned long long)claim->token,
            (unsigned long long)claim->duration_ms,
            (unsigned long long)(at_us - claim->since_us));
    }
}

/* ---- never late, in health -------------------------------------------------------------------- */

uint64_t check_healthy_late_us(void)
{
    uint64_t link_us = 0;
    bool loses = false;

    for (unsigned a = 1; a <= sim_nodes_count(); a++) {
        for (unsigned b = 1; b <= sim_nodes_count(); b++) {
            struct sim_weather weather =
                sim_net_weather(sim_node(a)->process.host, sim_node(b)->process.host);
            uint64_t us = (uint64_t)weather.delay_us + weather.jitter_us +
                          (weather.reorder_ppm > 0 ? weather.reorder_us : 0);
            link_us = us > link_us ? us : link_us;
            loses = loses || weather.loss_ppm > 0;
        }
    }
    return (uint64_t)check_run.options.tick_interval_ms * US_PER_MS + ROUNDS * link_us +
           LATE_SLACK_US + (loses ? LOSS_US : 0);
}

static uint64_t later_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* From the last moment at which anything could excuse it, the whole duration counts again. */
static void look_at(struct check_claim *claim)
{
    bool extended = claim->deadline_ms > claim->asked_deadline_ms;
    uint64_t ms = claim->duration_ms;
    uint64_t from_us = check_run.healed_us;
    uint64_t most_us;

    if (claim->deadline_ms == FSM_UNLIMITED) {
        return;
    }
    if (claim->since_us != SIM_NEVER) {
        from_us = later_of(from_us, claim->since_us);
    }
    from_us = later_of(from_us, check_table.epoch_us);
    from_us = later_of(from_us, check_run.unserved_us);
    ms = check_later_ms(ms, extended ? check_table.grace_ms : 0);
    most_us = check_most_us(ms);
    if (most_us != SIM_NEVER && sim_now_us() > from_us + most_us + check_run.late_us) {
        sim_violation(
            claim->waiting ? "P7" : "P8",
            "%s of %s on %s (token %llu) of %llu ms has not timed out after %llu us",
            kind_of(claim), check_name_text(claim->client->name),
            check_name_text(claim->lock->name), (unsigned long long)claim->token,
            (unsigned long long)ms, (unsigned long long)(sim_now_us() - from_us));
    }
}

void check_time_scan(void)
{
    check_table_scan(look_at);
}
