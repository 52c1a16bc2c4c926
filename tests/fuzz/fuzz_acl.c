/* An ACL file of any bytes, asked for the principal in its first line and the lock name
 * in its second: what is allowed for a prefix is allowed for its names. The same bytes
 * are read as a file of tokens. */
#include <assert.h>
#include <string.h>

#include "acl.h"
#include "as_file.h"
#include "tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_rules(const char *text, size_t size)
{
    const char *at = text;
    struct text_line who, lock;
    struct text_problem problem;
    struct acl *acl;

    if (!text_line_next(&at, text + size, &who) ||
        !text_line_next(&at, text + size, &lock) ||
        acl_parse(at, (size_t)(text + size - at), &acl, &problem) != 0) {
        return;
    }
    struct fsm_str principal = {who.data, who.len}, name = {lock.data, lock.len};
    for (unsigned action = ACL_READ; action <= ACL_FORCE; action *= 2) {
        bool allowed = acl_allows(acl, principal, (enum acl_action)action, name);
        assert(!allowed || acl_knows(acl, principal));
        assert(acl_allows(NULL, principal, (enum acl_action)action, name));
        assert(acl_allows_prefix(NULL, principal, (enum acl_action)action, name));
        for (size_t len = 0; len <= name.len; len++) {
            struct fsm_str prefix = {name.data, len};
            assert(allowed ||
                   !acl_allows_prefix(acl, principal, (enum acl_action)action, prefix));
        }
    }
    acl_free(acl);
}

/* Whoever is found has the token; what is no token belongs to nobody. */
static void check_tokens(const struct tokens *tokens, struct fsm_str text)
{
    static const struct fsm_str test = {"test", 4};
    unsigned char hash[TOKEN_HASH_BYTES];
    struct fsm_str name = tokens_find(tokens, test, hash);

    assert(name.len == 0 ||
           (principal_valid(name.data, name.len) && tokens_have(tokens, name, hash)));
    assert(!tokens_have(tokens, (struct fsm_str){0}, hash));
    assert(tokens_find(tokens, text, hash).len == 0);
}

static void check_files(const uint8_t *data, size_t size)
{
    const char *path = as_file(data, size);
    struct text_problem problem;
    struct acl *acl = NULL;
    struct tokens *tokens = NULL;

    assert((acl_load(path, &acl, &problem) == 0) == (acl != NULL));
    assert((tokens_load(path, &tokens, &problem) == 0) == (tokens != NULL));
    acl_free(acl);
    tokens_free(tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct text_problem problem;
    struct tokens *tokens;

    if (size > 4096) {
        return 0;
    }
    if (goes_by_file(data, size)) {
        check_files(data, size);
    }
    check_rules(text, size);
    if (tokens_parse(text, size, &tokens, &problem) == 0) {
        check_tokens(tokens, (struct fsm_str){text, size});
        tokens_free(tokens);
    }
    return 0;
}
