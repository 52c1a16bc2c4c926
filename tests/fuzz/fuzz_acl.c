/* An ACL file of any bytes, asked for the principal in its first line and the lock name
 * in its second: what is allowed for a prefix is allowed for its names. The same bytes
 * are read as a file of tokens. */
#include <assert.h>
#include <string.h>

#include "acl.h"
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
        for (size_t len = 0; len <= name.len; len++) {
            struct fsm_str prefix = {name.data, len};
            assert(allowed ||
                   !acl_allows_prefix(acl, principal, (enum acl_action)action, prefix));
        }
    }
    acl_free(acl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct text_problem problem;
    struct tokens *tokens;
    unsigned char hash[TOKEN_HASH_BYTES];

    if (size > 4096) {
        return 0;
    }
    check_rules(text, size);
    if (tokens_parse(text, size, &tokens, &problem) == 0) {
        assert(tokens_find(tokens, (struct fsm_str){text, size}, hash).len == 0);
        assert(!tokens_have(tokens, (struct fsm_str){text, size}, hash));
        tokens_free(tokens);
    }
    return 0;
}
