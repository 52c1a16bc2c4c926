/* bench_interruption.c - what a lost leader costs those who worked with it. */
#include "bench.h"

#include <inttypes.h>

static uint64_t since_us(uint64_t now_ns, uint64_t then_ns)
{
    return (now_ns - then_ns) / 1000;
}

void bench_interruption_begin(struct bench_client *client)
{
    struct bench *bench = client->bench;

    if (client->cut_off || bench->phase == BENCH_CONNECT || bench->phase == BENCH_DRAIN) {
        return;
    }
    if (bench->cut_off == 0) {
        bench->interruption = (struct bench_interruption){0};
        bench->interrupted_ns = bench_now_ns();
        bench->before_ns = bench->last_grant_ns;
    }
    client->cut_off = true;
    bench->cut_off++;
    bench->interruption.clients++;
}

static void end(struct bench *bench)
{
    struct bench_result *result = bench->result;
    const struct bench_interruption *is = &bench->interruption;

    if (result->interruptions_count < BENCH_INTERRUPTIONS_MAX) {
        result->interruptions[result->interruptions_count++] = *is;
    }
    if (bench->options->tell_interruptions && cli_is_watched(bench->cli)) {
        cli_say("interruption: %" PRIu64 " ms without a grant; of %" PRIu64
                " clients the first was back after %" PRIu64 " ms, all after %" PRIu64
                " ms",
                is->gap_us / 1000, is->clients, is->first_us / 1000, is->all_us / 1000);
    }
}

void bench_interruption_grant(struct bench_client *client)
{
    struct bench *bench = client->bench;
    struct bench_interruption *is = &bench->interruption;
    uint64_t gap_us =
        bench->last_grant_ns == 0 ? 0 : since_us(bench->now_ns, bench->last_grant_ns);

    bench->last_grant_ns = bench->now_ns;
    if (bench->phase == BENCH_MEASURE && gap_us > bench->result->gap_us) {
        bench->result->gap_us = gap_us;
    }
    if (bench->cut_off > 0 && is->gap_us == 0 && bench->before_ns != 0) {
        is->gap_us = since_us(bench->now_ns, bench->before_ns);
    }
    if (!client->cut_off) {
        return;
    }
    client->cut_off = false;
    bench->cut_off--;
    is->all_us = since_us(bench->now_ns, bench->interrupted_ns);
    if (is->first_us == 0) {
        is->first_us = is->all_us;
    }
    if (bench->cut_off == 0) {
        end(bench);
    }
}
