#include "script_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

enum { WORDS_MAX = 32, CHUNK_BYTES = 65536, REPEAT_MAX = 1000000 };

/* Memory for what commands point to: thousands of small things that are forgotten together. */
struct sim_chunk {
    struct sim_chunk *next;
    size_t used;
    _Alignas(16) uint8_t data[];
};

void *sim_script_keep(struct sim_script *script, size_t size)
{
    struct sim_chunk *chunk = script->chunks;

    size = (size + 15) & ~(size_t)15;
    if (chunk == NULL || chunk->used + size > CHUNK_BYTES) {
        size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;
        chunk = sim_alloc(sizeof(*chunk) + room);
        chunk->next = script->chunks;
        script->chunks = chunk;
    }
    void *memory = chunk->data + chunk->used;
    chunk->used += size;
    return memory;
}

void sim_script_forget(struct sim_script *script)
{
    while (script->chunks != NULL) {
        struct sim_chunk *chunk = script->chunks;
        script->chunks = chunk->next;
        sim_free(chunk);
    }
    sim_free(script->commands);
    sim_free(script->queue);
    sim_free(script->words);
}

/* ---- mistakes ---- */

bool sim_line_wrong(struct sim_line *line, const char *format, ...)
{
    char text[768];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    sim_script_fail(line->script, SIM_SCRIPT_SYNTAX, line->number, "%s", text);
    return false;
}

bool sim_line_missing(struct sim_line *line, const char *what, const char *name)
{
    line->missing = true;
    if (!line->script->lenient) {
        sim_line_wrong(line, "there is no %s \"%s\"", what, name);
    }
    return false;
}

/* ---- values ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A decimal number, up to *@ret_end; false if there is none, or it is too large for anything. */
static bool digits(const char *text, uint64_t *ret, const char **ret_end)
{
    uint64_t value = 0;
    const char *at = text;

    for (; is_digit(*at); at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *ret = value;
    *ret_end = at;
    return at != text;
}

/* "1.25" in units of 1/@scale; digits beyond the scale are dropped. */
static bool decimal(const char *text, uint64_t scale, uint64_t *ret, const char **ret_end)
{
    uint64_t whole;
    const char *at;

    if (!digits(text, &whole, &at) || whole > UINT64_MAX / 4 / scale) {
        return false;
    }
    whole *= scale;
    if (*at == '.') {
        if (!is_digit(at[1])) {
            return false;
        }
        for (at++; is_digit(*at); at++) {
            scale /= 10;
            whole += scale * (uint64_t)(*at - '0');
        }
    }
    *ret = whole;
    *ret_end = at;
    return true;
}

bool sim_value_number(const char *text, uint64_t max, uint64_t *ret)
{
    const char *end;
    uint64_t value;

    if (!digits(text, &value, &end) || *end != '\0' || value > max) {
        return false;
    }
    *ret = value;
    return true;
}

bool sim_value_duration(const char *text, uint64_t *ret_us)
{
    static const struct {
        const char *name;
        uint64_t us;
    } units[] = {
        {"us", 1},
        {"ms", 1000},
        {"s", 1000000},
        {"m", UINT64_C(60000000)},
        {"h", UINT64_C(3600000000)},
    };
    const char *unit = text;

    while (is_digit(*unit) || *unit == '.') {
        unit++;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(unit, units[i].name) == 0) {
            const char *end;
            return decimal(text, units[i].us, ret_us, &end) && end == unit;
        }
    }
    return false;
}

bool sim_value_ppm(const char *text, uint32_t *ret)
{
    const char *end;
    uint64_t value;

    if (decimal(text, SIM_MILLION / 100, &value, &end) && strcmp(end, "%") == 0) {
        /* value is in millionths already */
    } else if (!digits(text, &value, &end) || strcmp(end, "ppm") != 0) {
        return false;
    }
    if (value > SIM_MILLION) {
        return false;
    }
    *ret = (uint32_t)value;
    return true;
}

/* ---- the words of a line ---- */

char *sim_line_next(struct sim_line *line)
{
    return line->next < line->count ? line->words[line->next++] : NULL;
}

bool sim_line_is_next(struct sim_line *line, const char *word)
{
    if (line->next < line->count && strcmp(line->words[line->next], word) == 0) {
        line->next++;
        return true;
    }
    return false;
}

bool sim_line_number(struct sim_line *line, uint64_t max, uint64_t *ret)
{
    const char *word = sim_line_next(line);

    if (word == NULL) {
        return sim_line_wrong(line, "a number is missing at the end");
    }
    return sim_value_number(word, max, ret) ||
           sim_line_wrong(line, "\"%s\" is no number up to %" PRIu64, word, max);
}

bool sim_line_duration(struct sim_line *line, uint64_t *ret_us)
{
    const char *word = sim_line_next(line);

    if (word == NULL) {
        return sim_line_wrong(line, "a duration is missing at the end");
    }
    return sim_value_duration(word, ret_us) ||
           sim_line_wrong(line, "\"%s\" is no duration: 250us, 30ms, 1.5s, 2m, 1h", word);
}

bool sim_line_choice(struct sim_line *line, const char *const *names, unsigned *ret)
{
    char allowed[512] = "";
    size_t len = 0;
    const char *word = sim_line_next(line);

    for (unsigned i = 0; names[i] != NULL; i++) {
        if (word != NULL && strcmp(word, names[i]) == 0) {
            *ret = i + 1;
            return true;
        }
    }
    for (unsigned i = 0; names[i] != NULL && len < sizeof(allowed); i++) {
        len += (size_t)snprintf(allowed + len, sizeof(allowed) - len, "%s%s",
                                i == 0 ? "" : ", ", names[i]);
    }
    return sim_line_wrong(line, "\"%s\": one of %s is wanted", word != NULL ? word : "",
                          allowed);
}

/* ---- who ---- */

static bool
client_find(const struct sim_script *script, const char *name, size_t len, unsigned *ret)
{
    for (unsigned i = 0; i < script->clients_count; i++) {
        const char *known = script->clients[i].name;
        if (strncmp(known, name, len) == 0 && known[len] == '\0') {
            *ret = i;
            return true;
        }
    }
    return false;
}

static bool same(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

/* "n3": the number; 0 if it is not such a name. */
static unsigned node_number(const char *text, size_t len)
{
    if (len != 2 || text[0] != 'n' || text[1] < '1' || text[1] > '9') {
        return 0;
    }
    return (unsigned)(text[1] - '0');
}

static bool
who_parse(struct sim_line *line, const char *text, size_t len, struct sim_who *ret)
{
    static const struct {
        const char *name;
        enum sim_who_kind kind;
    } words[] = {
        {"leader", SIM_WHO_LEADER}, {"follower", SIM_WHO_FOLLOWER},
        {"nodes", SIM_WHO_NODES},   {"clients", SIM_WHO_CLIENTS},
        {"all", SIM_WHO_ALL},       {"*", SIM_WHO_ALL},
    };
    unsigned number = node_number(text, len);

    if (number != 0 &&
        number <= line->script->nodes.nodes + line->script->nodes.joiners) {
        *ret = (struct sim_who){.kind = SIM_WHO_NODE, .number = number};
        return true;
    }
    if (client_find(line->script, text, len, &ret->number)) {
        ret->kind = SIM_WHO_CLIENT;
        return true;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (same(text, len, words[i].name)) {
            *ret = (struct sim_who){.kind = words[i].kind};
            return true;
        }
    }
    char name[32];
    snprintf(name, sizeof(name), "%.*s", (int)(len < 31 ? len : 31), text);
    return sim_line_missing(line, "node or client", name);
}

bool sim_line_who(struct sim_line *line, struct sim_who *ret)
{
    const char *word = sim_line_next(line);

    if (word == NULL) {
        return sim_line_wrong(
            line, "who? nX, a client, leader, follower, nodes, clients or all");
    }
    return who_parse(line, word, strlen(word), ret);
}

bool sim_line_link(struct sim_line *line, struct sim_command *command)
{
    static const struct sim_who nodes = {.kind = SIM_WHO_NODES};
    const char *word = sim_line_next(line);

    if (word == NULL) {
        return sim_line_wrong(
            line, "which link? n1>n2, n1=n2 (both ways), n1=*, peers, clients, all");
    }
    size_t len = strcspn(word, ">=");
    if (word[len] != '\0') {
        command->both = word[len] == '=';
        return who_parse(line, word, len, &command->who) &&
               who_parse(line, word + len + 1, strlen(word + len + 1), &command->to);
    }
    command->both = true;
    command->who = command->to = nodes;
    if (strcmp(word, "peers") == 0) {
        return true;
    }
    if (strcmp(word, "clients") == 0) {
        command->to.kind = SIM_WHO_CLIENTS;
        return true;
    }
    if (strcmp(word, "all") == 0) {
        command->who.kind = command->to.kind = SIM_WHO_ALL;
        return true;
    }
    return sim_line_wrong(
        line, "\"%s\" is no link: n1>n2, n1=n2, n1=*, peers, clients, all", word);
}

/* ---- reading ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Cut [@at, @end) into words in place; @end is overwritten. Returns their number. */
static unsigned split(char *at, char *end, char *words[static WORDS_MAX])
{
    unsigned count = 0;

    *end = '\0';
    for (;;) {
        while (is_blank(*at)) {
            *at++ = '\0';
        }
        if (*at == '\0' || *at == '#') {
            *at = '\0';
            return count;
        }
        if (count == WORDS_MAX) {
            return WORDS_MAX + 1;
        }
        words[count++] = at;
        while (*at != '\0' && !is_blank(*at)) {
            at++;
        }
    }
}

static struct sim_command *command_add(struct sim_script *script, unsigned line)
{
    if (script->commands_count == script->commands_capacity) {
        size_t capacity =
            script->commands_capacity == 0 ? 64 : script->commands_capacity * 2;
        script->commands =
            sim_realloc(script->commands, capacity * sizeof(script->commands[0]));
        script->commands_capacity = capacity;
    }
    struct sim_command *command = &script->commands[script->commands_count++];
    *command = (struct sim_command){.at_us = SIM_NEVER, .line = line};
    return command;
}

/* The first word: a client, perhaps with a connection ("c.2"), or a word of the language. */
static bool parse_command(struct sim_line *line, struct sim_command *command)
{
    char *first = sim_line_next(line);
    size_t len = strcspn(first, ".");
    unsigned client;
    uint64_t conn = 0;

    if (client_find(line->script, first, len, &client)) {
        if (first[len] == '.' && !sim_value_number(first + len + 1, 7, &conn)) {
            return sim_line_wrong(line, "\"%s\": connections are 0 to 7", first);
        }
        command->word = &sim_word_ask;
        return sim_word_parse_ask(line, client, (unsigned)conn, command);
    }
    command->word = sim_word_find(first);
    if (command->word == NULL) {
        return sim_line_missing(line, "word or client", first);
    }
    return command->word->parse(line, command);
}

static bool parse_line(struct sim_line *line, struct sim_command *command)
{
    if (sim_line_is_next(line, "at") && !sim_line_duration(line, &command->at_us)) {
        return false;
    }
    if (line->next == line->count) {
        return sim_line_wrong(line, "what happens at that time?");
    }
    if (!parse_command(line, command)) {
        return false;
    }
    if (line->next < line->count) {
        return sim_line_wrong(line, "\"%s\" is too much: %s", line->words[line->next],
                              command->word->usage);
    }
    if (command->at_us != SIM_NEVER && command->word->kind != SIM_WORD_ACT) {
        return sim_line_wrong(line, "\"%s\" cannot be scheduled", command->word->name);
    }
    if (command->word->kind != SIM_WORD_CLUSTER) {
        line->script->begun = true;
    } else if (line->script->begun && !line->script->lenient) {
        return sim_line_wrong(
            line, "\"%s\" describes the cluster: it must come before all that happens",
            command->word->name);
    }
    return true;
}

/* A transcript: the lines from @at to an empty one. Returns where it ends. */
static size_t read_block(struct sim_script *script, size_t at, unsigned *line)
{
    struct sim_command *command = command_add(script, *line);
    const char *text = script->text;

    command->word = &sim_word_compare;
    command->block.start = at;
    while (text[at] != '\0' && text[at] != '\n') {
        const char *end = strchr(text + at, '\n');
        at = end != NULL ? (size_t)(end - text) + 1 : at + strlen(text + at);
        *line += 1;
    }
    command->block.end = at;
    script->has_blocks = script->begun = true;
    return at;
}

static void read_line(struct sim_line *line)
{
    struct sim_command *command = command_add(line->script, line->number);

    if (!parse_line(line, command) || command->word->act == NULL) {
        line->script->commands_count--;
    }
}

/* @word with each `%` replaced by @number. */
static char *numbered(struct sim_script *script, char *word, uint64_t number)
{
    char digits[24];
    size_t len = strlen(word),
           digits_len = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, number);
    char *copy = sim_script_keep(script, len * digits_len + 1), *to = copy;

    for (; *word != '\0'; word++) {
        if (*word == '%') {
            memcpy(to, digits, digits_len);
            to += digits_len;
        } else {
            *to++ = *word;
        }
    }
    *to = '\0';
    return copy;
}

/* "repeat N LINE": the line N times, with 1 to N for `%`. */
static void read_repeated(struct sim_line *line)
{
    char *words[WORDS_MAX + 1];
    uint64_t times;

    line->next = 1;
    if (!sim_line_number(line, REPEAT_MAX, &times)) {
        return;
    }
    if (line->count == 2) {
        sim_line_wrong(line, "repeat N LINE");
        return;
    }
    for (uint64_t i = 1; i <= times && !line->script->ret->syntax_error; i++) {
        struct sim_line again = *line;
        again.words = words;
        again.count = line->count - 2;
        again.next = 0;
        for (unsigned j = 0; j < again.count; j++) {
            words[j] = numbered(line->script, line->words[j + 2], i);
        }
        read_line(&again);
    }
}

void sim_script_read(struct sim_script *script)
{
    char *words[WORDS_MAX + 1];
    size_t at = 0, len = strlen(script->text);

    script->words = sim_alloc(len + 1);
    memcpy(script->words, script->text, len);
    for (unsigned number = 1; at < len && !script->ret->syntax_error; number++) {
        char *begin = script->words + at;
        char *end = memchr(begin, '\n', len - at);
        end = end != NULL ? end : script->words + len;
        at = (size_t)(end - script->words) + 1;
        unsigned count = split(begin, end, words);
        struct sim_line line = {script, number, words, count, 0, false};
        if (count == 0) {
            continue;
        }
        if (count > WORDS_MAX) {
            sim_line_wrong(&line, "more than %d words", WORDS_MAX);
        } else if (count == 1 && strcmp(words[0], "----") == 0) {
            at = read_block(script, at < len ? at : len, &number);
        } else if (strcmp(words[0], "repeat") == 0) {
            read_repeated(&line);
        } else {
            read_line(&line);
        }
    }
}

size_t sim_script_body(const char *text)
{
    const char *at = text;

    while (*at != '\0') {
        const char *word = at + strspn(at, " \t\r");
        char name[32];
        size_t len = strcspn(word, " \t\r\n#");
        snprintf(name, sizeof(name), "%.*s", (int)(len < 31 ? len : 31), word);
        const struct sim_word *known = sim_word_find(name);
        if (len != 0 && (known == NULL || known->kind != SIM_WORD_CLUSTER)) {
            break;
        }
        const char *end = strchr(at, '\n');
        at = end != NULL ? end + 1 : at + strlen(at);
    }
    return (size_t)(at - text);
}
