#include "script_internal.h"

#include <string.h>

/* What may stand behind the verb of a client's line. */
enum {
    TAKES_READ = 1 << 0,
    TAKES_TRY = 1 << 1,
    TAKES_IGNORE = 1 << 2,
    TAKES_DOWNGRADE = 1 << 3,
    TAKES_WAIT = 1 << 4,
    TAKES_HOLD = 1 << 5,
    TAKES_LIMIT = 1 << 6,
    TAKES_USE = 1 << 7,
    TAKES_TOKEN = 1 << 8,
    TAKES_CLIENT = 1 << 9,
    TAKES_EPOCH = 1 << 10,
    TAKES_SUPERSEDE = 1 << 11,
    TAKES_GRACE = 1 << 12,
};

enum operand {
    OPERAND_NONE,
    OPERAND_LOCK,
    OPERAND_ID,
    OPERAND_NODE,
    OPERAND_ON_OFF,
    OPERAND_HEX
};

static const struct verb {
    const char *name;
    enum sim_ask_type type;
    bool raw_only;
    enum operand operand;
    unsigned takes;
    const char *usage;
} verbs[] = {
    {"lock", SIM_ASK_LOCK, false, OPERAND_LOCK,
     TAKES_READ | TAKES_TRY | TAKES_IGNORE | TAKES_DOWNGRADE | TAKES_WAIT | TAKES_HOLD |
         TAKES_LIMIT | TAKES_USE | TAKES_CLIENT,
     "NAME lock LOCK [read] [try] [ignore] [downgrade] [wait=DUR] [hold=DUR|unlimited] "
     "[limit=N] "
     "[use=DUR] [client=ID]"},
    {"unlock", SIM_ASK_UNLOCK, false, OPERAND_LOCK, TAKES_TOKEN | TAKES_CLIENT,
     "NAME unlock LOCK [token=N|held] [client=ID]"},
    {"refresh", SIM_ASK_REFRESH, false, OPERAND_LOCK,
     TAKES_IGNORE | TAKES_HOLD | TAKES_WAIT | TAKES_TOKEN | TAKES_CLIENT,
     "NAME refresh LOCK [ignore] [hold=DUR] [wait=DUR] [token=N|held] [client=ID]"},
    {"cancel", SIM_ASK_CANCEL, false, OPERAND_LOCK, TAKES_CLIENT, "NAME cancel LOCK"},
    {"status", SIM_ASK_STATUS, false, OPERAND_LOCK, TAKES_CLIENT, "NAME status LOCK"},
    {"check", SIM_ASK_CHECK_TOKEN, false, OPERAND_LOCK, TAKES_TOKEN | TAKES_CLIENT,
     "NAME check LOCK token=N|held"},
    {"break", SIM_ASK_BREAK, false, OPERAND_LOCK, TAKES_TOKEN | TAKES_CLIENT,
     "NAME break LOCK [token=N|held]"},
    {"connect", SIM_ASK_CONNECT, true, OPERAND_NODE, 0, "NAME.CONN connect [nX]"},
    {"hello", SIM_ASK_HELLO, true, OPERAND_NONE, TAKES_GRACE,
     "NAME.CONN hello [grace=DUR]"},
    {"attach", SIM_ASK_ATTACH, true, OPERAND_ID, TAKES_EPOCH | TAKES_SUPERSEDE,
     "NAME.CONN attach [ID] [epoch=N] [supersede]"},
    {"detach", SIM_ASK_DETACH, true, OPERAND_ID, 0, "NAME.CONN detach [ID]"},
    {"create", SIM_ASK_CREATE, true, OPERAND_NONE, 0, "NAME.CONN create"},
    {"ping", SIM_ASK_PING, true, OPERAND_NONE, 0, "NAME.CONN ping"},
    {"hang-up", SIM_ASK_HANG_UP, true, OPERAND_NONE, 0, "NAME.CONN hang-up"},
    {"reset", SIM_ASK_RESET, true, OPERAND_NONE, 0, "NAME.CONN reset"},
    {"read", SIM_ASK_READ, true, OPERAND_ON_OFF, 0, "NAME.CONN read on|off"},
    {"hold", SIM_ASK_HOLD, true, OPERAND_ON_OFF, 0, "NAME.CONN hold on|off"},
    {"bytes", SIM_ASK_BYTES, true, OPERAND_HEX, 0, "NAME.CONN bytes HEX"},
};

/* ---- options ---- */

static bool number32(const char *text, uint32_t *ret)
{
    uint64_t number;

    if (!sim_value_number(text, UINT32_MAX, &number)) {
        return false;
    }
    *ret = (uint32_t)number;
    return true;
}

static bool milliseconds(const char *text, uint32_t *ret)
{
    uint64_t us;

    if (strcmp(text, "unlimited") == 0) {
        *ret = NETLOCK_UNLIMITED;
        return true;
    }
    if (!sim_value_duration(text, &us) || us % 1000 != 0 ||
        us / 1000 >= NETLOCK_UNLIMITED) {
        return false;
    }
    *ret = (uint32_t)(us / 1000);
    return true;
}

static bool token(const char *text, uint64_t *ret)
{
    if (strcmp(text, "held") == 0) {
        *ret = SIM_TOKEN_HELD;
        return true;
    }
    return sim_value_number(text, UINT64_MAX, ret);
}

static bool epoch(const char *text, struct sim_ask *ask)
{
    ask->has_epoch = true;
    return sim_value_number(text, UINT64_MAX, &ask->epoch);
}

static unsigned flag_set(const char *word, struct sim_ask *ask)
{
    if (strcmp(word, "read") == 0) {
        ask->type_of_lock = NETLOCK_READ;
        return TAKES_READ;
    }
    if (strcmp(word, "try") == 0) {
        ask->try_only = true;
        return TAKES_TRY;
    }
    if (strcmp(word, "ignore") == 0) {
        ask->ignore = true;
        return TAKES_IGNORE;
    }
    if (strcmp(word, "downgrade") == 0) {
        ask->downgrade = true;
        return TAKES_DOWNGRADE;
    }
    if (strcmp(word, "supersede") == 0) {
        ask->supersede = true;
        return TAKES_SUPERSEDE;
    }
    return 0;
}

/* @word is "key=value". Returns which option it is; 0 if it is none, or its value is wrong. */
static unsigned value_set(const char *word, struct sim_ask *ask)
{
    static const struct {
        const char *key;
        unsigned takes;
    } keys[] = {
        {"wait=", TAKES_WAIT},   {"hold=", TAKES_HOLD},   {"use=", TAKES_USE},
        {"limit=", TAKES_LIMIT}, {"token=", TAKES_TOKEN}, {"client=", TAKES_CLIENT},
        {"epoch=", TAKES_EPOCH}, {"grace=", TAKES_GRACE},
    };
    size_t i = 0, count = sizeof(keys) / sizeof(keys[0]);

    while (i < count && strncmp(word, keys[i].key, strlen(keys[i].key)) != 0) {
        i++;
    }
    if (i == count) {
        return 0;
    }
    const char *value = word + strlen(keys[i].key);
    bool right = false;
    switch (keys[i].takes) {
    case TAKES_WAIT:
        right = milliseconds(value, &ask->wait_ms);
        break;
    case TAKES_HOLD:
        right = milliseconds(value, &ask->hold_ms);
        break;
    case TAKES_USE:
        right = sim_value_duration(value, &ask->use_us);
        break;
    case TAKES_LIMIT:
        right = number32(value, &ask->limit);
        break;
    case TAKES_TOKEN:
        right = token(value, &ask->token);
        break;
    case TAKES_CLIENT:
        ask->client = value;
        right = true;
        break;
    case TAKES_EPOCH:
        right = epoch(value, ask);
        break;
    case TAKES_GRACE:
        right = milliseconds(value, &ask->grace_ms);
        break;
    }
    return right ? keys[i].takes : 0;
}

/* ---- operands ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_read(struct sim_line *line, const char *word, struct sim_ask *ask)
{
    size_t len = strlen(word);
    uint8_t *bytes = sim_script_keep(line->script, len / 2 + 1);

    for (size_t i = 0; i + 1 < len; i += 2) {
        int high = hex_digit(word[i]), low = hex_digit(word[i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        bytes[i / 2] = (uint8_t)(high * 16 + low);
    }
    ask->bytes = bytes;
    ask->bytes_len = len / 2;
    return len % 2 == 0;
}

static bool node_read(struct sim_line *line, struct sim_ask *ask)
{
    struct sim_who who;

    if (!sim_line_who(line, &who)) {
        return false;
    }
    if (who.kind != SIM_WHO_NODE && who.kind != SIM_WHO_LEADER) {
        return sim_line_wrong(
            line, "connect to a node: nX, or nothing for the one that serves");
    }
    ask->node = who.kind == SIM_WHO_NODE ? who.number : 0;
    return true;
}

static bool
operand_read(struct sim_line *line, const struct verb *verb, struct sim_ask *ask)
{
    bool more = line->next < line->count;
    const char *word = more ? line->words[line->next] : NULL;

    switch (verb->operand) {
    case OPERAND_NONE:
        return true;
    case OPERAND_NODE:
        return !more || node_read(line, ask);
    case OPERAND_ID:
        if (more && strchr(word, '=') == NULL && strcmp(word, "supersede") != 0) {
            ask->client = sim_line_next(line);
        }
        return true;
    case OPERAND_LOCK:
        ask->lock = sim_line_next(line);
        return ask->lock != NULL || sim_line_wrong(line, "which lock? %s", verb->usage);
    case OPERAND_ON_OFF:
        ask->on = more && strcmp(word, "on") == 0;
        return sim_line_is_next(line, "on") || sim_line_is_next(line, "off") ||
               sim_line_wrong(line, "on or off? %s", verb->usage);
    case OPERAND_HEX:
        return (more && hex_read(line, sim_line_next(line), ask)) ||
               sim_line_wrong(line, "hexadecimal digits, two for each byte");
    }
    return false;
}

/* ---- the line ---- */

static const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

bool sim_word_parse_ask(struct sim_line *line,
                        unsigned client,
                        unsigned conn,
                        struct sim_command *command)
{
    bool raw = line->script->clients[client].kind == SIM_CLIENT_RAW;
    const char *name = sim_line_next(line);
    const struct verb *verb = name != NULL ? verb_find(name) : NULL;
    const char *word;

    if (verb == NULL) {
        return sim_line_wrong(
            line,
            "what does it do? lock, unlock, refresh, cancel, status, check, break; "
            "raw: connect, hello, attach, detach, create, ping, hang-up, reset, read, "
            "hold, bytes");
    }
    if (verb->raw_only && !raw) {
        return sim_line_wrong(line, "only a raw client can \"%s\"", verb->name);
    }
    struct sim_ask *ask = sim_script_keep(line->script, sizeof(*ask));
    *ask = (struct sim_ask){.type = verb->type, .conn = conn};
    if (!operand_read(line, verb, ask)) {
        return false;
    }
    while ((word = sim_line_next(line)) != NULL) {
        unsigned took = flag_set(word, ask);
        took = took != 0 ? took : value_set(word, ask);
        if ((took & verb->takes) == 0 || (took == TAKES_CLIENT && !raw)) {
            return sim_line_wrong(line, "\"%s\": %s", word, verb->usage);
        }
    }
    command->who = (struct sim_who){.kind = SIM_WHO_CLIENT, .number = client};
    command->ask = ask;
    return true;
}
