#include "script_internal.h"

#include <string.h>

/* ---- processes ---- */

static bool parse_who(struct sim_line *line, struct sim_command *command)
{
    return sim_line_who(line, &command->who);
}

/* `what` is an enum membership_verb. */
static bool parse_member(struct sim_line *line, struct sim_command *command)
{
    static const char *const names[] = {"add", "promote", "remove", "transfer", NULL};

    if (!sim_line_choice(line, names, &command->what) ||
        !sim_line_who(line, &command->who)) {
        return false;
    }
    return command->who.kind == SIM_WHO_NODE || sim_line_wrong(line, "a node");
}

static bool parse_kill(struct sim_line *line, struct sim_command *command)
{
    static const char *const names[] = {"nothing", "all", "first", NULL};

    if (!sim_line_who(line, &command->who)) {
        return false;
    }
    return !sim_line_is_next(line, "torn") ||
           sim_line_choice(line, names, &command->what);
}

static bool parse_pause(struct sim_line *line, struct sim_command *command)
{
    command->on = true;
    return sim_line_who(line, &command->who);
}

/* ---- links ---- */

static bool parse_link(struct sim_line *line, struct sim_command *command)
{
    return sim_line_link(line, command);
}

static bool parse_link_on(struct sim_line *line, struct sim_command *command)
{
    command->on = true;
    return sim_line_link(line, command);
}

static bool weather_value(struct sim_weather *weather, const char *key, const char *value)
{
    static const struct {
        const char *name;
        size_t offset;
        enum { DURATION, PPM, NUMBER } kind;
    } keys[] = {
        {"delay", offsetof(struct sim_weather, delay_us), DURATION},
        {"jitter", offsetof(struct sim_weather, jitter_us), DURATION},
        {"loss", offsetof(struct sim_weather, loss_ppm), PPM},
        {"duplicate", offsetof(struct sim_weather, duplicate_ppm), PPM},
        {"reorder", offsetof(struct sim_weather, reorder_ppm), PPM},
        {"late", offsetof(struct sim_weather, reorder_us), DURATION},
        {"rate", offsetof(struct sim_weather, bytes_per_ms), NUMBER},
    };
    uint64_t number = 0;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (strcmp(key, keys[i].name) != 0) {
            continue;
        }
        uint32_t *field = (uint32_t *)(void *)((char *)weather + keys[i].offset);
        if (keys[i].kind == PPM) {
            return sim_value_ppm(value, field);
        }
        if (!(keys[i].kind == DURATION ? sim_value_duration(value, &number)
                                       : sim_value_number(value, UINT32_MAX, &number)) ||
            number > UINT32_MAX) {
            return false;
        }
        *field = (uint32_t)number;
        return true;
    }
    return false;
}

/* Each line says the whole weather: what it does not name is plain. */
static bool parse_weather(struct sim_line *line, struct sim_command *command)
{
    char *word;

    if (!sim_line_link(line, command)) {
        return false;
    }
    command->weather = (struct sim_weather){.delay_us = 100, .reorder_us = 10000};
    while ((word = sim_line_next(line)) != NULL) {
        char *value = strchr(word, '=');
        if (value == NULL) {
            return strcmp(word, "plain") == 0 ||
                   sim_line_wrong(line,
                                  "\"%s\": delay= jitter= loss= duplicate= reorder= "
                                  "late= rate= or plain",
                                  word);
        }
        *value++ = '\0';
        if (!weather_value(&command->weather, word, value)) {
            return sim_line_wrong(line,
                                  "\"%s=%s\": delay= jitter= late=DUR, loss= duplicate= "
                                  "reorder=2%% or 300ppm, rate=BYTES per ms",
                                  word, value);
        }
    }
    return true;
}

static bool parse_fate(struct sim_line *line, struct sim_command *command)
{
    static const char *const names[] = {"lost", "twice", "late", NULL};
    unsigned which;

    if (!sim_line_link(line, command) ||
        !sim_line_number(line, UINT64_MAX, &command->decree.packet) ||
        !sim_line_choice(line, names, &which)) {
        return false;
    }
    command->decree.fate.kind = (enum sim_fate_kind)which;
    return which == SIM_FATE_LOST ||
           sim_line_duration(line, &command->decree.fate.extra_us);
}

static bool parse_on_off(struct sim_line *line, bool *ret)
{
    static const char *const names[] = {"on", "off", NULL};
    unsigned which;

    if (!sim_line_choice(line, names, &which)) {
        return false;
    }
    *ret = which == 1;
    return true;
}

static bool parse_draw(struct sim_line *line, struct sim_command *command)
{
    return parse_on_off(line, &command->on);
}

/* ---- disks and clocks ---- */

static bool parse_timing(struct sim_line *line, struct sim_disk_timing *timing)
{
    char *word;

    *timing = (struct sim_disk_timing){200, 100, 5000, 5000};
    while ((word = sim_line_next(line)) != NULL) {
        static const char *const names[] = {
            "write=", "jitter=", "snapshot=", "snapshot-jitter="};
        uint32_t *const fields[] = {&timing->write_us, &timing->write_jitter_us,
                                    &timing->snapshot_us, &timing->snapshot_jitter_us};
        uint64_t us;
        size_t i = 0;
        while (i < 4 && strncmp(word, names[i], strlen(names[i])) != 0) {
            i++;
        }
        if (i == 4 || !sim_value_duration(word + strlen(names[i]), &us) ||
            us > UINT32_MAX) {
            return sim_line_wrong(
                line, "\"%s\": write= jitter= snapshot= snapshot-jitter=DUR", word);
        }
        *fields[i] = (uint32_t)us;
    }
    return true;
}

static bool parse_disk(struct sim_line *line, struct sim_command *command)
{
    static const char *const states[] = {"slow",  "stall", "go",  "full",
                                         "space", "fail",  "rot", NULL};
    static const char *const failures[] = {"append", "truncate", "snapshot",
                                           "term",   "vote",     NULL};
    static const char *const rots[] = {"entry", "snapshot", "meta", NULL};
    unsigned which;

    if (!sim_line_who(line, &command->who) ||
        !sim_line_choice(line, states, &command->what)) {
        return false;
    }
    if (command->what == SIM_DISK_SLOW) {
        return parse_timing(line, &command->timing);
    }
    if (command->what == SIM_DISK_FAIL) {
        if (!sim_line_choice(line, failures, &which)) {
            return false;
        }
        command->number = which;
        return true;
    }
    if (command->what == SIM_DISK_ROT_ENTRY) {
        if (!sim_line_choice(line, rots, &which)) {
            return false;
        }
        command->what = SIM_DISK_ROT_ENTRY + which - 1;
        return which != 1 || line->next == line->count ||
               sim_line_number(line, UINT64_MAX, &command->number);
    }
    return true;
}

/* "+1h", "-30": a sign, then what the word wants. */
static int64_t sign_take(char **word)
{
    int64_t sign = **word == '-' ? -1 : 1;

    if (**word == '-' || **word == '+') {
        (*word)++;
    }
    return sign;
}

static bool parse_clock(struct sim_line *line, struct sim_command *command)
{
    static const char *const names[] = {"rate", "wall", NULL};
    uint64_t value = 0;

    if (!sim_line_who(line, &command->who) ||
        !sim_line_choice(line, names, &command->what)) {
        return false;
    }
    char *word = sim_line_next(line);
    if (word == NULL) {
        return sim_line_wrong(line, "rate -300 (ppm), or wall +1h");
    }
    int64_t sign = sign_take(&word);
    if (command->what == SIM_CLOCK_RATE ? !sim_value_number(word, SIM_MILLION / 2, &value)
                                        : !sim_value_duration(word, &value)) {
        return sim_line_wrong(line, "\"%s\": rate -300 (ppm), or wall +1h", word);
    }
    command->offset = sign * (int64_t)value;
    return true;
}

/* ---- time, comparing, looking ---- */

static bool parse_run(struct sim_line *line, struct sim_command *command)
{
    command->what = sim_line_is_next(line, "until") ? SIM_RUN_UNTIL : SIM_RUN_FOR;
    return sim_line_duration(line, &command->number);
}

static bool parse_await(struct sim_line *line, struct sim_command *command)
{
    static const char *const whole[] = {"leader", "equal", "answered", NULL};
    static const char *const one[] = {"leader", "equal", "answered", "connected",
                                      "up",     "down",  NULL};
    const char *word = line->next < line->count ? line->words[line->next] : "";
    bool alone = false;

    for (size_t i = 0; whole[i] != NULL; i++) {
        alone = alone || strcmp(word, whole[i]) == 0;
    }
    command->who.kind = SIM_WHO_ALL;
    if ((!alone && !sim_line_who(line, &command->who)) ||
        !sim_line_choice(line, one, &command->what)) {
        return false;
    }
    if (command->what == SIM_AWAIT_ANSWERED || command->what == SIM_AWAIT_CONNECTED) {
        line->script->watches_users = true;
    }
    command->number = 60 * SIM_MILLION;
    return !sim_line_is_next(line, "within") || sim_line_duration(line, &command->number);
}

static bool parse_check(struct sim_line *line, struct sim_command *command)
{
    static const char *const names[] = {"healed", "end", NULL};

    return sim_line_choice(line, names, &command->what);
}

static bool parse_show(struct sim_line *line, struct sim_command *command)
{
    static const char *const names[] = {"locks", "nodes", "clients", NULL};

    line->script->watches_users = true;
    return sim_line_choice(line, names, &command->what);
}

static bool parse_transcript(struct sim_line *line, struct sim_command *command)
{
    static const char *const names[] = {"off", "users", "roles", "all", NULL};

    return sim_line_choice(line, names, &command->what);
}

/* ---- the table ---- */

const struct sim_word sim_word_ask = {"NAME ...", SIM_WORD_ACT, "NAME lock LOCK ...",
                                      NULL, sim_act_ask};
const struct sim_word sim_word_compare = {"----", SIM_WORD_STEP, "----", NULL,
                                          sim_act_compare};

static const struct sim_word words[] = {
    {"lenient", SIM_WORD_CLUSTER, "lenient", sim_cluster_lenient, NULL},
    {"nodes", SIM_WORD_CLUSTER, "nodes N", sim_cluster_nodes, NULL},
    {"joiners", SIM_WORD_CLUSTER, "joiners N", sim_cluster_joiners, NULL},
    {"build", SIM_WORD_CLUSTER, "build LEVEL", sim_cluster_build, NULL},
    {"lease", SIM_WORD_CLUSTER, "lease DUR", sim_cluster_lease, NULL},
    {"fast-failover", SIM_WORD_CLUSTER, "fast-failover on|off", sim_cluster_fast_failover,
     NULL},
    {"reattach-grace", SIM_WORD_CLUSTER, "reattach-grace DUR", sim_cluster_reattach_grace,
     NULL},
    {"grace", SIM_WORD_CLUSTER, "grace DUR", sim_cluster_grace_max, NULL},
    {"plain-min", SIM_WORD_CLUSTER, "plain-min DUR", sim_cluster_plain_min, NULL},
    {"snapshot", SIM_WORD_CLUSTER, "snapshot threshold N trailing N",
     sim_cluster_snapshot, NULL},
    {"limit", SIM_WORD_CLUSTER, "limit commands-waiting|output-bytes|pending|events N",
     sim_cluster_limit, NULL},
    {"restart", SIM_WORD_CLUSTER, "restart DUR", sim_cluster_restart, NULL},
    {"seed", SIM_WORD_CLUSTER, "seed N", sim_cluster_seed, NULL},
    {"model", SIM_WORD_CLUSTER, "model on|off", sim_cluster_model, NULL},
    {"rate-max", SIM_WORD_CLUSTER, "rate-max PPM", sim_cluster_rate_max, NULL},
    {"client", SIM_WORD_CLUSTER,
     "client NAME [library|raw] [id ID|fresh-id] [grace DUR] [connect-timeout DUR] "
     "[no-refresh] "
     "[share-id] [drift PPM]",
     sim_cluster_client, NULL},
    {"start", SIM_WORD_ACT, "start WHO", parse_who, sim_act_start},
    {"stop", SIM_WORD_ACT, "stop NODE", parse_who, sim_act_stop},
    {"upgrade", SIM_WORD_ACT, "upgrade NODE", parse_who, sim_act_upgrade},
    {"kill", SIM_WORD_ACT, "kill WHO [torn nothing|all|first]", parse_kill, sim_act_kill},
    {"member", SIM_WORD_ACT, "member add|promote|remove|transfer NODE", parse_member,
     sim_act_member},
    {"pause", SIM_WORD_ACT, "pause WHO", parse_pause, sim_act_pause},
    {"resume", SIM_WORD_ACT, "resume WHO", parse_who, sim_act_pause},
    {"close", SIM_WORD_ACT, "close CLIENT", parse_who, sim_act_close},
    {"cut", SIM_WORD_ACT, "cut LINK", parse_link_on, sim_act_cut},
    {"heal", SIM_WORD_ACT, "heal LINK", parse_link, sim_act_cut},
    {"refuse", SIM_WORD_ACT, "refuse LINK", parse_link_on, sim_act_refuse},
    {"accept", SIM_WORD_ACT, "accept LINK", parse_link, sim_act_refuse},
    {"break-off", SIM_WORD_ACT, "break-off LINK", parse_link, sim_act_break_off},
    {"clog", SIM_WORD_ACT, "clog LINK", parse_link_on, sim_act_clog},
    {"unclog", SIM_WORD_ACT, "unclog LINK", parse_link, sim_act_clog},
    {"weather", SIM_WORD_ACT, "weather LINK plain|KEY=VALUE...", parse_weather,
     sim_act_weather},
    {"fate", SIM_WORD_ACT, "fate LINK N lost|twice DUR|late DUR", parse_fate,
     sim_act_fate},
    {"draw", SIM_WORD_ACT, "draw on|off", parse_draw, sim_act_draw},
    {"disk", SIM_WORD_ACT,
     "disk NODE slow [KEY=DUR]|stall|go|full|space|fail WHAT|rot entry [N]|rot "
     "snapshot|rot meta",
     parse_disk, sim_act_disk},
    {"clock", SIM_WORD_ACT, "clock WHO rate PPM|wall DUR", parse_clock, sim_act_clock},
    {"show", SIM_WORD_ACT, "show locks|nodes|clients", parse_show, sim_act_show},
    {"transcript", SIM_WORD_ACT, "transcript off|users|roles|all", parse_transcript,
     sim_act_transcript},
    {"run", SIM_WORD_STEP, "run DUR, run until TIME", parse_run, sim_act_run},
    {"await", SIM_WORD_STEP,
     "await [WHO] leader|equal|answered|connected|up|down [within DUR]", parse_await,
     sim_act_await},
    {"check", SIM_WORD_STEP, "check healed|end", parse_check, sim_act_check},
};

const struct sim_word *sim_word_find(const char *name)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(words[i].name, name) == 0) {
            return &words[i];
        }
    }
    return NULL;
}
