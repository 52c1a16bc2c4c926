/* netlock access-token - draw a token, and the line that the cluster keeps of it. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cli.h"
#include "cli_text.h"
#include "principal.h"

const char cmd_access_token_help[] =
    "Usage: netlock access-token NAME FILE\n"
    "\n"
    "Make an access token for the client NAME: 256 random bits, written to the new file\n"
    "FILE, which only its owner can read. What is printed belongs into the file that "
    "the\n"
    "nodes have as tokens-file, on every node; SIGHUP makes them read it. It is a hash:\n"
    "nobody can use it as a token.\n"
    "\n"
    "Clients show it with --access-token-file FILE, or in $NETLOCK_ACCESS_TOKEN.\n"
    "\n"
    "Exit status: 0 done, 64 the command line is wrong, 71 the file could not be "
    "written.\n"
    "\n"
    "Example:\n"
    "  netlock access-token cron-a cron-a.token | ssh node1 'cat >> "
    "/etc/netlock/tokens'\n";

enum { TOKEN_BYTES = 32, HEX_BYTES = 2 * TOKEN_BYTES + 1 };

static void to_hex(const unsigned char *bytes, char out[static HEX_BYTES])
{
    for (size_t i = 0; i < TOKEN_BYTES; i++) {
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    }
}

static int write_token(const char *path, const char *token)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    int rv = dprintf(fd, "%s\n", token) < 0 || fsync(fd) != 0 ? -errno : 0;
    close(fd);
    return rv;
}

int cmd_access_token(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {CLI_LONG};
    unsigned char random[TOKEN_BYTES], hash[TOKEN_BYTES];
    char token[HEX_BYTES], hash_text[HEX_BYTES];

    while (cli_getopt(cli, argc, argv, CLI_SHORT, longs) != -1) {
    }
    if (argc - optind != 2) {
        cli_usage(cli, "the name of a client and a file, please");
    }
    const char *name = argv[optind], *path = argv[optind + 1];
    if (!principal_valid(name, strlen(name))) {
        cli_usage(cli, PRINCIPAL_RULE);
    }
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        abort();
    }
    to_hex(random, token);
    if (EVP_Digest(token, strlen(token), hash, NULL, EVP_sha256(), NULL) != 1) {
        abort();
    }
    to_hex(hash, hash_text);
    int rv = write_token(path, token);
    if (rv != 0) {
        cli_say("%s: %s", path, strerror(-rv));
        return CLI_SYSTEM;
    }
    printf("%s:%s\n", name, hash_text);
    return fflush(stdout) == 0 ? CLI_OK : CLI_SYSTEM;
}
