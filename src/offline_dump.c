/* netlockd dump-log: what a node's disk says happened. */
#include <stdio.h>
#include <string.h>

#include "log_dump.h"
#include "offline.h"

static const char help[] =
    "usage: netlockd dump-log DIR\n"
    "\n"
    "Prints what the data directory DIR of a node that does not run has, one JSON "
    "object\n"
    "per line: the snapshot with its table, then every entry of the log with its index,\n"
    "term and commands. Nothing is changed. cluster/README.md has the fields.\n"
    "\n"
    "Exit status: 0 all of it was printed, 2 it cannot be read.\n";

int offline_dump_log(int argc, char **argv)
{
    char error[LOG_DUMP_ERROR_BYTES];

    if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)) {
        fputs(help, stdout);
        return OFFLINE_OK;
    }
    if (argc != 2) {
        fputs("netlockd dump-log: the data directory of a stopped node, please; see "
              "--help\n",
              stderr);
        return OFFLINE_REFUSED;
    }
    if (log_dump(argv[1], stdout, error) != 0) {
        fprintf(stderr, "netlockd dump-log: %s\n", error);
        return OFFLINE_REFUSED;
    }
    return fflush(stdout) == 0 ? OFFLINE_OK : OFFLINE_REFUSED;
}
