#include "principal.h"

#include <string.h>

bool principal_pattern_valid(const char *pattern, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (pattern[i] <= ' ' || pattern[i] >= 0x7f ||
            strchr("\\,:#", pattern[i]) != NULL) {
            return false;
        }
    }
    return len > 0 && len <= PRINCIPAL_BYTES_MAX;
}

bool principal_valid(const char *name, size_t len)
{
    bool anonymous =
        len == strlen(PRINCIPAL_ANONYMOUS) && memcmp(name, PRINCIPAL_ANONYMOUS, len) == 0;

    return principal_pattern_valid(name, len) && memchr(name, '*', len) == NULL &&
           !anonymous;
}
