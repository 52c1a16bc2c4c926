#include "acl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "xalloc.h"

/* Patterns point into `text`. */
struct rule {
    bool allow;
    unsigned actions;
    struct fsm_str principal;
    struct fsm_str lock;
};

struct acl {
    char *text;
    struct rule *rules;
    size_t rules_count;
};

static struct fsm_str str_of(const char *text)
{
    return (struct fsm_str){.data = text, .len = strlen(text)};
}

static bool same(struct fsm_str a, struct fsm_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* ---- patterns ---- */

/* The element of the pattern at @at: its length in bytes, whether it is the star, and
 * which byte it stands for otherwise. */
static size_t element(struct fsm_str pattern, size_t at, bool *ret_star, char *ret_byte)
{
    char c = pattern.data[at];
    bool escaped = c == '\\' && at + 1 < pattern.len;

    *ret_star = c == '*';
    *ret_byte = escaped ? pattern.data[at + 1] : c;
    return escaped ? 2 : 1;
}

/* The usual walk: after a mismatch the last star takes one byte more. */
static bool matches(struct fsm_str pattern, struct fsm_str name)
{
    size_t at = 0, taken = 0;
    size_t star_at = SIZE_MAX, star_taken = 0;

    while (taken < name.len) {
        bool star = false;
        char byte = '\0';
        size_t bytes = at < pattern.len ? element(pattern, at, &star, &byte) : 0;

        if (bytes != 0 && star) {
            star_at = at += bytes;
            star_taken = taken;
        } else if (bytes != 0 && byte == name.data[taken]) {
            at += bytes;
            taken++;
        } else if (star_at != SIZE_MAX) {
            at = star_at;
            taken = ++star_taken;
        } else {
            return false;
        }
    }
    while (at < pattern.len && pattern.data[at] == '*') {
        at++;
    }
    return at == pattern.len;
}

/* How the names that the pattern matches lie to those that begin with @prefix. */
enum overlap { OVERLAP_NONE, OVERLAP_SOME, OVERLAP_ALL };

static enum overlap overlap(struct fsm_str pattern, struct fsm_str prefix)
{
    size_t at = 0, taken = 0;
    bool star = false;
    char byte;

    while (at < pattern.len) {
        size_t bytes = element(pattern, at, &star, &byte);
        if (star) {
            break;
        }
        if (taken < prefix.len && byte != prefix.data[taken]) {
            return OVERLAP_NONE;
        }
        taken++;
        at += bytes;
    }
    if (!star) {
        return taken < prefix.len ? OVERLAP_NONE : OVERLAP_SOME;
    }
    /* What comes before the star is longer than the prefix, or something comes after. */
    bool last = true;
    for (size_t i = at; i < pattern.len; i++) {
        last = last && pattern.data[i] == '*';
    }
    return last && taken <= prefix.len ? OVERLAP_ALL : OVERLAP_SOME;
}

/* ---- the file ---- */

struct cursor {
    const char *at, *end;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct fsm_str next_word(struct cursor *line)
{
    while (line->at < line->end && is_blank(*line->at)) {
        line->at++;
    }
    const char *start = line->at;
    while (line->at < line->end && !is_blank(*line->at)) {
        line->at++;
    }
    return (struct fsm_str){.data = start, .len = (size_t)(line->at - start)};
}

static struct fsm_str the_rest(struct cursor *line)
{
    while (line->at < line->end && is_blank(*line->at)) {
        line->at++;
    }
    return (struct fsm_str){.data = line->at, .len = (size_t)(line->end - line->at)};
}

static unsigned action_of(struct fsm_str word)
{
    static const struct {
        const char *name;
        unsigned actions;
    } names[] = {
        {"read", ACL_READ},   {"write", ACL_WRITE}, {"status", ACL_STATUS},
        {"admin", ACL_ADMIN}, {"force", ACL_FORCE}, {"*", ACL_ALL},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (same(word, str_of(names[i].name))) {
            return names[i].actions;
        }
    }
    return 0;
}

/* 0 if one of the words is no action. */
static unsigned parse_actions(struct fsm_str list)
{
    unsigned actions = 0;
    size_t start = 0;

    for (size_t i = 0; i <= list.len; i++) {
        if (i == list.len || list.data[i] == ',') {
            unsigned one =
                action_of((struct fsm_str){.data = list.data + start, .len = i - start});
            if (one == 0) {
                return 0;
            }
            actions |= one;
            start = i + 1;
        }
    }
    return actions;
}

/* A backslash stands before a star or another one. */
static bool pattern_valid(struct fsm_str pattern)
{
    for (size_t i = 0; i < pattern.len; i++) {
        if (pattern.data[i] == '\\') {
            i++;
            if (i == pattern.len || (pattern.data[i] != '*' && pattern.data[i] != '\\')) {
                return false;
            }
        }
    }
    return true;
}

static int parse_rule(struct text_line line,
                      int number,
                      struct rule *ret,
                      struct text_problem *ret_problem)
{
    struct cursor cursor = {.at = line.data, .end = line.data + line.len};
    struct fsm_str verb = next_word(&cursor);

    ret->allow = same(verb, str_of("allow"));
    if (!ret->allow && !same(verb, str_of("deny"))) {
        return text_problem_set(ret_problem, number,
                                "a rule is \"allow|deny PRINCIPAL ACTIONS PATTERN\"");
    }
    ret->principal = next_word(&cursor);
    if (!principal_pattern_valid(ret->principal.data, ret->principal.len)) {
        return text_problem_set(ret_problem, number,
                                "a principal has 1 to %d printable characters and none "
                                "of \\ , : #",
                                PRINCIPAL_BYTES_MAX);
    }
    struct fsm_str actions = next_word(&cursor);
    ret->actions = parse_actions(actions);
    if (ret->actions == 0) {
        return text_problem_set(
            ret_problem, number,
            "actions are a list of read,write,status,admin,force, or *: \"%.*s\"",
            (int)(actions.len < 100 ? actions.len : 100), actions.data);
    }
    ret->lock = the_rest(&cursor);
    if (ret->lock.len == 0) {
        return text_problem_set(ret_problem, number,
                                "no pattern for the locks; * is for all");
    }
    if (!pattern_valid(ret->lock)) {
        return text_problem_set(ret_problem, number,
                                "a backslash stands before * or another backslash only");
    }
    return 0;
}

static int parse_rules(struct acl *acl, size_t len, struct text_problem *ret_problem)
{
    const char *at = acl->text;
    struct text_line line;
    size_t room = 0;

    for (int number = 1; text_line_next(&at, acl->text + len, &line); number++) {
        if (line.len == 0 || line.data[0] == '#') {
            continue;
        }
        if (acl->rules_count == room) {
            room = room == 0 ? 16 : 2 * room;
            acl->rules = xrealloc(acl->rules, room * sizeof(acl->rules[0]));
        }
        int rv = parse_rule(line, number, &acl->rules[acl->rules_count], ret_problem);
        if (rv != 0) {
            return rv;
        }
        acl->rules_count++;
    }
    return 0;
}

int acl_parse(const char *text,
              size_t len,
              struct acl **ret,
              struct text_problem *ret_problem)
{
    int rv = text_check(text, len, ret_problem);
    if (rv != 0) {
        return rv;
    }
    struct acl *acl = xcalloc(sizeof(*acl));
    acl->text = xcalloc(len + 1);
    memcpy(acl->text, text, len);
    rv = parse_rules(acl, len, ret_problem);
    if (rv != 0) {
        acl_free(acl);
        return rv;
    }
    *ret = acl;
    return 0;
}

int acl_load(const char *path, struct acl **ret, struct text_problem *ret_problem)
{
    char *text;
    size_t len;

    int rv = text_file_read(path, &text, &len, ret_problem);
    if (rv != 0) {
        return rv;
    }
    rv = acl_parse(text, len, ret, ret_problem);
    free(text);
    return rv;
}

void acl_free(struct acl *acl)
{
    if (acl != NULL) {
        free(acl->rules);
        free(acl->text);
        free(acl);
    }
}

/* ---- questions ---- */

static bool is_for(const struct rule *rule, struct fsm_str principal)
{
    if (principal.len == 0) {
        return same(rule->principal, str_of(PRINCIPAL_ANONYMOUS));
    }
    return matches(rule->principal, principal);
}

bool acl_allows(const struct acl *acl,
                struct fsm_str principal,
                enum acl_action action,
                struct fsm_str lock)
{
    if (acl == NULL) {
        return true;
    }
    for (size_t i = 0; i < acl->rules_count; i++) {
        const struct rule *rule = &acl->rules[i];
        if ((rule->actions & action) != 0 && is_for(rule, principal) &&
            matches(rule->lock, lock)) {
            return rule->allow;
        }
    }
    return false;
}

bool acl_allows_prefix(const struct acl *acl,
                       struct fsm_str principal,
                       enum acl_action action,
                       struct fsm_str prefix)
{
    if (acl == NULL) {
        return true;
    }
    for (size_t i = 0; i < acl->rules_count; i++) {
        const struct rule *rule = &acl->rules[i];
        if ((rule->actions & action) == 0 || !is_for(rule, principal)) {
            continue;
        }
        enum overlap how = overlap(rule->lock, prefix);
        if (how == OVERLAP_ALL) {
            return rule->allow;
        }
        if (how == OVERLAP_SOME && !rule->allow) {
            return false;
        }
    }
    return false;
}

bool acl_knows(const struct acl *acl, struct fsm_str principal)
{
    if (acl == NULL) {
        return true;
    }
    for (size_t i = 0; i < acl->rules_count; i++) {
        if (acl->rules[i].allow && is_for(&acl->rules[i], principal)) {
            return true;
        }
    }
    return false;
}
