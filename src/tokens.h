/* tokens.h - what clients without a certificate show in Hello, one line for each:
 *
 *     # printf %s "$TOKEN" | sha256sum
 *     cron-a:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
 *
 * The file has the tokens' SHA-256 only: who reads it cannot use it. That is enough for
 * tokens that `netlock access-token` draws, 256 random bits; it would not be for passwords. A
 * name may have several lines, while a token is changed for another. */
#ifndef NETLOCK_TOKENS_H
#define NETLOCK_TOKENS_H

#include <stdbool.h>
#include <stddef.h>

#include "fsm.h"
#include "text_file.h"

enum { TOKEN_HASH_BYTES = 32 };

struct tokens;

/* The caller's to free. Returns 0, or -EINVAL with the first problem. */
int tokens_parse(const char *text,
                 size_t len,
                 struct tokens **ret,
                 struct text_problem *ret_problem);
int tokens_load(const char *path, struct tokens **ret, struct text_problem *ret_problem);
void tokens_free(struct tokens *tokens); /* NULL is fine */

/* Whose it is; empty if nobody's. The string is the tokens' own. Takes as long for a
 * wrong one as for a right one. @tokens may be NULL: there are none. */
struct fsm_str tokens_find(const struct tokens *tokens,
                           struct fsm_str token,
                           unsigned char ret_hash[static TOKEN_HASH_BYTES]);

/* Whether @name still has the token of that hash. */
bool tokens_have(const struct tokens *tokens,
                 struct fsm_str name,
                 const unsigned char hash[static TOKEN_HASH_BYTES]);

#endif
