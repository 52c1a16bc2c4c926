/* check.c - the life of the checkers, and the first violation. */
#include "check_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    SCAN_US = 1000000, /* after healing: how often it is looked for what did not happen */
    TEXT_BYTES = 1024,
};

struct check_run check_run;

static struct {
    char first[TEXT_BYTES]; /* empty: none */
    struct sim_event scan;
} life;

/* ---- violations ---------------------------------------------------------------------------------- */

void sim_violation(const char *property, const char *format, ...)
{
    uint64_t now_us = sim_now_us();
    va_list args;
    size_t len;

    check_run.running = false;
    sim_stop();
    if (life.first[0] != '\0') {
        return;
    }
    len = (size_t)snprintf(life.first, sizeof(life.first), "%s: ", property);
    va_start(args, format);
    vsnprintf(life.first + len, sizeof(life.first) - len, format, args);
    va_end(args);
    fprintf(stderr, "VIOLATION %s at %llu.%06llus\n", life.first,
            (unsigned long long)(now_us / 1000000),
            (unsigned long long)(now_us % 1000000));
}

const char *sim_first_violation(void)
{
    return life.first[0] != '\0' ? life.first : NULL;
}

struct sim_check_counts sim_check_counts(void)
{
    return check_run.counts;
}

/* ---- what is told ----------------------------------------------------------------------------------- */

static void on_record(void *arg, const struct sim_record *record)
{
    (void)arg;
    if (check_run.running) {
        check_users_record(record);
        check_beliefs_look();
    }
}

static void on_life(struct sim_node *node)
{
    if (check_run.running) {
        check_log_life(node);
        check_raft_life(node);
    }
}

static void on_ended(struct sim_node *node, int status)
{
    (void)status;
    on_life(node);
}

static void on_turned(struct sim_node *node)
{
    if (check_run.running) {
        check_raft_turned(node);
        check_beliefs_look();
    }
}

static void on_applied(struct sim_node *node,
                       uint64_t index,
                       const struct fsm *fsm,
                       const struct fsm_command *command,
                       const struct fsm_event *events,
                       size_t count)
{
    if (check_run.running) {
        check_log_applied(node, index, fsm, command, events, count);
    }
}

static void on_restored(struct sim_node *node, uint64_t index, const struct fsm *fsm)
{
    if (check_run.running) {
        check_log_restored(node, index, fsm);
    }
}

static void on_refused(struct sim_node *node, uint64_t peer, const char *what)
{
    if (check_run.running) {
        check_raft_refused(node, peer, what);
    }
}

static void on_sent(struct sim_node *node, const struct raft_message *message)
{
    if (check_run.running) {
        check_raft_sent(node, message);
    }
}

/* ---- begin and end ------------------------------------------------------------------------------------ */

static void on_scan(struct sim_event *event)
{
    if (check_run.running && check_run.healed) {
        check_liveness_scan();
        sim_event_in(event, SCAN_US);
    }
}

void sim_check_begin(const struct sim_check_options *options)
{
    sim_check_free();
    check_run = (struct check_run){.running = true, .options = *options};
    life.first[0] = '\0';
    life.scan = (struct sim_event){.fire = on_scan};
    check_log_begin();
    check_model_begin();
    check_rules_begin();
    check_users_begin();
    check_outcomes_begin();
    check_beliefs_begin();
    check_raft_begin();
    sim_node_hooks = (struct sim_node_hooks){
        .started = on_life,
        .ended = on_ended,
        .turned = on_turned,
        .applied = on_applied,
        .restored = on_restored,
        .sent = on_sent,
        .refused = on_refused,
    };
    sim_history_listen(on_record, NULL);
}

void sim_check_healed(void)
{
    check_run.healed = true;
    check_run.healed_us = check_run.served_us = check_run.unserved_us = sim_now_us();
    check_run.late_us = check_healthy_late_us();
    sim_event_in(&life.scan, SCAN_US);
}

void sim_check_hurt(void)
{
    check_run.healed = false;
    sim_event_cancel(&life.scan);
}

void sim_check_end(uint64_t index)
{
    if (check_run.running) {
        check_suspects();
    }
    if (check_run.running) {
        check_raft_end();
    }
    if (check_run.running) {
        check_log_end(index);
    }
    if (check_run.running) {
        check_liveness_end();
    }
}

void sim_check_free(void)
{
    check_run.running = false;
    sim_node_hooks = (struct sim_node_hooks){0};
    if (life.scan.fire != NULL) {
        sim_event_cancel(&life.scan);
        life.scan.fire = NULL;
    }
    check_log_free();
    check_model_free();
    check_rules_free();
    check_outcomes_free();
    check_beliefs_free();
    check_users_free();
    check_raft_free();
    check_store_free();
}
