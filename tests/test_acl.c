/* Who may do what: the rules of an ACL file, and the tokens that say who it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl.h"
#include "tokens.h"

static struct fsm_str str(const char *text)
{
    return (struct fsm_str){.data = text, .len = strlen(text)};
}

static struct acl *acl_of(const char *text)
{
    struct text_problem problem = {0};
    struct acl *acl = NULL;

    if (acl_parse(text, strlen(text), &acl, &problem) != 0) {
        fail_msg("line %d: %s", problem.line, problem.text);
    }
    return acl;
}

static bool
allows(const char *text, const char *who, enum acl_action what, const char *lock)
{
    struct acl *acl = acl_of(text);
    bool allowed = acl_allows(acl, str(who), what, str(lock));

    acl_free(acl);
    return allowed;
}

static bool allows_prefix(const char *text, const char *prefix)
{
    struct acl *acl = acl_of(text);
    bool allowed = acl_allows_prefix(acl, str("a"), ACL_STATUS, str(prefix));

    acl_free(acl);
    return allowed;
}

static void assert_acl_refused(const char *text, size_t len, int line, const char *part)
{
    struct text_problem problem = {0};
    struct acl *acl = NULL;

    assert_int_equal(acl_parse(text, len, &acl, &problem), -EINVAL);
    assert_null(acl);
    assert_int_equal(problem.line, line);
    if (strstr(problem.text, part) == NULL) {
        fail_msg("\"%s\" says nothing of \"%s\"", problem.text, part);
    }
}

/* ---- rules ---- */

static void without_a_file_everything_is_allowed(void **state)
{
    (void)state;
    assert_true(acl_allows(NULL, str(""), ACL_FORCE, str("x")));
    assert_true(acl_allows_prefix(NULL, str(""), ACL_STATUS, str("")));
    assert_true(acl_knows(NULL, str("")));
}

static void an_empty_file_denies_everything(void **state)
{
    (void)state;
    assert_false(allows("# nothing\n\n", "a", ACL_READ, "x"));
    assert_false(allows("", "a", ACL_READ, "x"));
}

static void the_first_rule_that_speaks_of_it_decides(void **state)
{
    static const char text[] = "deny  a write secret/*\n"
                               "allow a *     *\n"
                               "deny  a *     *\n";
    (void)state;
    assert_false(allows(text, "a", ACL_WRITE, "secret/1"));
    assert_true(allows(text, "a", ACL_READ, "secret/1"));
    assert_true(allows(text, "a", ACL_WRITE, "secret"));
    assert_false(allows(text, "b", ACL_WRITE, "x"));
}

static void actions_are_told_apart(void **state)
{
    static const enum acl_action actions[] = {ACL_READ, ACL_WRITE, ACL_STATUS, ACL_ADMIN,
                                              ACL_FORCE};
    static const char *const names[] = {"read", "write", "status", "admin", "force"};
    char text[64];

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        snprintf(text, sizeof(text), "allow a %s *", names[i]);
        for (size_t j = 0; j < 5; j++) {
            assert_int_equal(allows(text, "a", actions[j], "x"), i == j);
        }
    }
    assert_true(allows("allow a status,force *", "a", ACL_FORCE, "x"));
    assert_false(allows("allow a status,force *", "a", ACL_READ, "x"));
}

static void patterns_match_bytes(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool matches;
    } cases[] = {
        {"*", "x", true},
        {"x", "x", true},
        {"x", "xx", false},
        {"x*", "x", true},
        {"*x", "yx", true},
        {"*x", "yxy", false},
        {"a*b*c", "aXbYc", true},
        {"a*b*c", "abc", true},
        {"a*b*c", "acb", false},
        {"a*bc", "abcbc", true},
        {"a**c", "abc", true},
        {"two words", "two words", true},
        {"\\*", "*", true},
        {"\\*", "x", false},
        {"a\\**", "a*b", true},
        {"\\\\", "\\", true},
        {"#x", "#x", true},
        {"caf\xc3\xa9", "caf\xc3\xa9", true},
        {"*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false},
    };
    char text[64];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), "allow a read %s", cases[i].pattern);
        if (allows(text, "a", ACL_READ, cases[i].name) != cases[i].matches) {
            fail_msg("\"%s\" and \"%s\"", cases[i].pattern, cases[i].name);
        }
    }
}

static void a_pattern_of_principals_never_means_the_anonymous(void **state)
{
    (void)state;
    assert_true(allows("allow * read *", "a", ACL_READ, "x"));
    assert_false(allows("allow * read *", "", ACL_READ, "x"));
    assert_true(allows("allow anonymous read *", "", ACL_READ, "x"));
    assert_true(allows("allow cron-* read *", "cron-7", ACL_READ, "x"));
    assert_false(allows("allow cron-* read *", "cro", ACL_READ, "x"));
}

static void a_prefix_is_allowed_if_all_its_names_are(void **state)
{
    (void)state;
    assert_true(allows_prefix("allow a status *", ""));
    assert_true(allows_prefix("allow a status x/*", "x/"));
    assert_true(allows_prefix("allow a status x/**", "x/y"));
    assert_false(allows_prefix("allow a status x/*", "x"));
    assert_false(allows_prefix("allow a status x/*", ""));
    assert_false(allows_prefix("allow a status x*y", "x"));
    assert_false(allows_prefix("allow a status x", "x"));
    assert_false(allows_prefix("deny a status x/secret\nallow a status *", "x/"));
    assert_false(allows_prefix("deny a status *secret\nallow a status *", "x/"));
    assert_true(allows_prefix("deny a status x/secret\nallow a status *", "y"));
    assert_true(allows_prefix("deny a status x\nallow a status *", "x/"));
    assert_true(allows_prefix("deny a read x/*\nallow a status *", "x/"));
    assert_false(allows_prefix("deny a status x/*\nallow a status *", "x/y"));
}

static void who_may_do_nothing_is_not_known(void **state)
{
    struct acl *acl = acl_of("deny b * *\nallow a read x");

    (void)state;
    assert_true(acl_knows(acl, str("a")));
    assert_false(acl_knows(acl, str("b")));
    assert_false(acl_knows(acl, str("")));
    acl_free(acl);
}

static void what_is_no_rule_is_refused_with_its_line(void **state)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"permit a read x", "allow|deny"},  {"allow", "principal"},
        {"allow a:b read x", "principal"},  {"allow a", "actions"},
        {"allow a reed x", "reed"},         {"allow a read, x", "actions"},
        {"allow a ,read x", "actions"},     {"allow a read", "pattern"},
        {"allow a read x\\y", "backslash"}, {"allow a read x\\", "backslash"},
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), "allow a read x\r\n# y\n%s\nallow b", cases[i].text);
        assert_acl_refused(text, strlen(text), 3, cases[i].part);
    }
    assert_acl_refused("allow a read x\nallow a\0read x", 29, 2, "0x00");
}

/* ---- tokens ---- */

static const char token[] = "0123456789abcdef0123456789abcdef";

static void hash_line(const char *name, const char *shown, char out[static 160])
{
    unsigned char hash[32];

    assert_int_equal(EVP_Digest(shown, strlen(shown), hash, NULL, EVP_sha256(), NULL), 1);
    int len = snprintf(out, 80, "%s:", name);
    for (size_t i = 0; i < sizeof(hash); i++) {
        len += snprintf(out + len, 3, "%02x", hash[i]);
    }
    snprintf(out + len, 2, "\n");
}

static void a_token_says_who_it_is(void **state)
{
    char text[400], line[160];
    struct text_problem problem;
    struct tokens *tokens = NULL;
    unsigned char hash[TOKEN_HASH_BYTES];

    (void)state;
    hash_line("other", "another-token-of-32-characters..", line);
    snprintf(text, sizeof(text), "# tokens\n%s", line);
    hash_line("cron-a", token, line);
    strcat(text, line);
    assert_int_equal(tokens_parse(text, strlen(text), &tokens, &problem), 0);
    struct fsm_str name = tokens_find(tokens, str(token), hash);
    assert_int_equal(name.len, 6);
    assert_memory_equal(name.data, "cron-a", 6);
    assert_true(tokens_have(tokens, name, hash));
    assert_false(tokens_have(tokens, str("other"), hash));
    assert_int_equal(
        tokens_find(tokens, str("0123456789abcdef0123456789abcdeF"), hash).len, 0);
    assert_int_equal(tokens_find(tokens, str(""), hash).len, 0);
    assert_int_equal(tokens_find(NULL, str(token), hash).len, 0);
    tokens_free(tokens);
}

static void what_is_no_token_line_is_refused(void **state)
{
    static const char *const bad[] = {
        "cron-a",
        "cron-a:12",
        "cron-a:zz86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ":9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "a*:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "anonymous:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct text_problem problem = {0};
        struct tokens *tokens = NULL;
        snprintf(text, sizeof(text), "\n%s\n", bad[i]);
        assert_int_equal(tokens_parse(text, strlen(text), &tokens, &problem), -EINVAL);
        assert_int_equal(problem.line, 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_file_everything_is_allowed),
        cmocka_unit_test(an_empty_file_denies_everything),
        cmocka_unit_test(the_first_rule_that_speaks_of_it_decides),
        cmocka_unit_test(actions_are_told_apart),
        cmocka_unit_test(patterns_match_bytes),
        cmocka_unit_test(a_pattern_of_principals_never_means_the_anonymous),
        cmocka_unit_test(a_prefix_is_allowed_if_all_its_names_are),
        cmocka_unit_test(who_may_do_nothing_is_not_known),
        cmocka_unit_test(what_is_no_rule_is_refused_with_its_line),
        cmocka_unit_test(a_token_says_who_it_is),
        cmocka_unit_test(what_is_no_token_line_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
