#include "tokens.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "principal.h"
#include "xalloc.h"

struct entry {
    unsigned char hash[TOKEN_HASH_BYTES];
    char name[PRINCIPAL_BYTES_MAX];
    size_t name_len;
};

struct tokens {
    struct entry *entries;
    size_t entries_count;
};

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool
parse_hash(const char *hex, size_t len, unsigned char ret[static TOKEN_HASH_BYTES])
{
    if (len != (size_t)2 * TOKEN_HASH_BYTES) {
        return false;
    }
    for (size_t i = 0; i < TOKEN_HASH_BYTES; i++) {
        int high = digit_of(hex[2 * i]);
        int low = digit_of(hex[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        ret[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

static int parse_entry(struct text_line line,
                       int number,
                       struct entry *ret,
                       struct text_problem *ret_problem)
{
    const char *colon = memchr(line.data, ':', line.len);
    size_t name_len = colon != NULL ? (size_t)(colon - line.data) : 0;

    if (colon == NULL || !parse_hash(colon + 1, line.len - name_len - 1, ret->hash)) {
        return text_problem_set(ret_problem, number,
                                "not \"NAME:SHA256\" with 64 hexadecimal digits");
    }
    if (!principal_valid(line.data, name_len)) {
        return text_problem_set(ret_problem, number, PRINCIPAL_RULE);
    }
    memcpy(ret->name, line.data, name_len);
    ret->name_len = name_len;
    return 0;
}

int tokens_parse(const char *text,
                 size_t len,
                 struct tokens **ret,
                 struct text_problem *ret_problem)
{
    struct tokens *tokens = xcalloc(sizeof(*tokens));
    const char *at = text;
    struct text_line line;
    size_t room = 0;

    int rv = text_check(text, len, ret_problem);
    for (int number = 1; rv == 0 && text_line_next(&at, text + len, &line); number++) {
        if (line.len == 0 || line.data[0] == '#') {
            continue;
        }
        if (tokens->entries_count == room) {
            room = room == 0 ? 16 : 2 * room;
            tokens->entries =
                xrealloc(tokens->entries, room * sizeof(tokens->entries[0]));
        }
        rv = parse_entry(line, number, &tokens->entries[tokens->entries_count],
                         ret_problem);
        tokens->entries_count++;
    }
    if (rv != 0) {
        tokens_free(tokens);
        return rv;
    }
    *ret = tokens;
    return 0;
}

int tokens_load(const char *path, struct tokens **ret, struct text_problem *ret_problem)
{
    char *text;
    size_t len;

    int rv = text_file_read(path, &text, &len, ret_problem);
    if (rv != 0) {
        return rv;
    }
    rv = tokens_parse(text, len, ret, ret_problem);
    free(text);
    return rv;
}

void tokens_free(struct tokens *tokens)
{
    if (tokens != NULL) {
        free(tokens->entries);
        free(tokens);
    }
}

struct fsm_str tokens_find(const struct tokens *tokens,
                           struct fsm_str token,
                           unsigned char ret_hash[static TOKEN_HASH_BYTES])
{
    struct fsm_str found = {0};

    if (EVP_Digest(token.data, token.len, ret_hash, NULL, EVP_sha256(), NULL) != 1) {
        abort();
    }
    for (size_t i = 0; tokens != NULL && i < tokens->entries_count; i++) {
        const struct entry *entry = &tokens->entries[i];
        if (CRYPTO_memcmp(entry->hash, ret_hash, TOKEN_HASH_BYTES) == 0) {
            found = (struct fsm_str){.data = entry->name, .len = entry->name_len};
        }
    }
    return found;
}

bool tokens_have(const struct tokens *tokens,
                 struct fsm_str name,
                 const unsigned char hash[static TOKEN_HASH_BYTES])
{
    for (size_t i = 0; tokens != NULL && i < tokens->entries_count; i++) {
        const struct entry *entry = &tokens->entries[i];
        if (entry->name_len == name.len &&
            memcmp(entry->name, name.data, name.len) == 0 &&
            CRYPTO_memcmp(entry->hash, hash, TOKEN_HASH_BYTES) == 0) {
            return true;
        }
    }
    return false;
}
