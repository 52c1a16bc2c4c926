/* principal.h - how those are called who may do something: by their certificate, beside their token, in a
 * rule of the ACL. Nodes and the command line ask the same question. */
#ifndef NETLOCK_PRINCIPAL_H
#define NETLOCK_PRINCIPAL_H

#include <stdbool.h>
#include <stddef.h>

enum { PRINCIPAL_BYTES_MAX = 64 };
#define PRINCIPAL_ANONYMOUS "anonymous" /* who shows neither certificate nor token */

#define PRINCIPAL_RULE                                                                   \
    "a name has 1 to 64 printable characters and none of * \\ , : #, and is not "        \
    "\"" PRINCIPAL_ANONYMOUS "\""

bool principal_valid(const char *name, size_t len);

/* In a rule: the same, but a star stands for any bytes, and the anonymous have a name. */
bool principal_pattern_valid(const char *pattern, size_t len);

#endif
