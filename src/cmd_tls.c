/* netlock tls: a small certificate authority, enough to run a cluster with mutual TLS. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cert.h"
#include "cli.h"
#include "cli_text.h"

const char cmd_tls_help[] =
    "Usage: netlock tls init [--dir DIR] [--days N] CLUSTER\n"
    "       netlock tls node [--dir DIR] [--days N] ID HOST...\n"
    "       netlock tls client [--dir DIR] [--days N] NAME\n"
    "\n"
    "Certificates for a cluster whose nodes and clients prove to each other who they\n"
    "are.\n"
    "\n"
    "'init' makes a certificate authority for the cluster CLUSTER: ca.pem, which every\n"
    "node and client gets, and ca.key, which signs for all of them and should be kept\n"
    "off line.\n"
    "\n"
    "'node' makes nodeID.pem and nodeID.key for node ID, which clients reach by the\n"
    "names or addresses HOST. The node's configuration:\n"
    "\n"
    "    tls-ca = ca.pem\n"
    "    tls-cert = nodeID.pem\n"
    "    tls-key = nodeID.key\n"
    "\n"
    "'client' makes client-NAME.pem and client-NAME.key, for --tls-cert and --tls-key.\n"
    "\n"
    "Nothing is overwritten. Keys are readable by their owner only; netlock refuses\n"
    "others.\n"
    "\n"
    "Options:\n"
    "  --dir DIR    where the files are (the current directory)\n"
    "  --days N     how long the certificate is valid (init: 3650, else 365)\n"
    "\n"
    "Exit status: 0 done, 64 the command line is wrong, 71 a file could not be read or\n"
    "written.\n";

enum {
    OPTION_DIR = CLI_OPTION_OWN,
    OPTION_DAYS,
    DAYS_CA = 3650,
    DAYS_OTHERS = 365,
    DAYS_MAX = 36500,
    DAY_S = 86400,
    BACKDATED_S = 3600, /* clocks differ */
    NAME_BYTES = 64,    /* what a common name may have */
    PATH_BYTES = 1024,
    URI_BYTES = 256,
};

static const char scheme[] = "netlock://", ca_suffix[] = "/ca";

struct request {
    struct cli *cli;
    const char *dir;
    int64_t days;
};

/* ---- names ---- */

/* Part of a URI, and of a file name. */
static const char *name_of(const struct cli *cli, const char *what, const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._@";
    size_t len = strlen(text);

    if (len == 0 || len >= NAME_BYTES || strspn(text, allowed) != len || text[0] == '.') {
        cli_usage(cli,
                  "%s has 1 to %d letters, digits and .-_@, and does not begin with .",
                  what, NAME_BYTES - 1);
    }
    return text;
}

static void path_of(const struct request *request,
                    char out[static PATH_BYTES],
                    const char *name,
                    const char *suffix)
{
    int len = snprintf(out, PATH_BYTES, "%s/%s%s", request->dir, name, suffix);

    if (len >= PATH_BYTES) {
        cli_usage(request->cli, "--dir: too long");
    }
}

/* ---- making ---- */

static int fail(const char *error)
{
    char *shown = text_escape(error);

    cli_say("%s", shown);
    free(shown);
    return CLI_SYSTEM;
}

static int say_made(const struct cli *cli, const char *cert_path, const char *key_path)
{
    if (cli->json) {
        struct json json = {.out = stdout};

        json_open_object(&json, NULL);
        json_string(&json, "certificate", cert_path);
        json_string(&json, "key", key_path);
        json_close(&json);
    } else {
        printf("%s\n%s\n", cert_path, key_path);
    }
    return CLI_OK;
}

/* Sign, and write NAME.pem and NAME.key. */
static int make(const struct request *request,
                const char *name,
                struct cert_spec *spec,
                const struct cert *ca)
{
    char cert_path[PATH_BYTES], key_path[PATH_BYTES];
    char error[CERT_ERROR_BYTES] = "";
    struct cert *cert;

    path_of(request, cert_path, name, ".pem");
    path_of(request, key_path, name, ".key");
    spec->valid_from_s = -BACKDATED_S;
    spec->valid_for_s = request->days * DAY_S + BACKDATED_S;
    int rv = cert_new(&cert, spec, ca, error);
    if (rv == -EINVAL) {
        cli_usage(request->cli, "%s", error);
    }
    if (rv == 0) {
        rv = cert_save(cert, cert_path, key_path, error);
        cert_free(cert);
    }
    return rv == 0 ? say_made(request->cli, cert_path, key_path) : fail(error);
}

/* The CA of the directory, and the name of its cluster. */
static int open_ca(const struct request *request,
                   struct cert **ret,
                   char ret_cluster[static URI_BYTES])
{
    char cert_path[PATH_BYTES], key_path[PATH_BYTES], uri[URI_BYTES];
    char error[CERT_ERROR_BYTES] = "";

    path_of(request, cert_path, "ca", ".pem");
    path_of(request, key_path, "ca", ".key");
    if (cert_load(ret, cert_path, key_path, error) != 0) {
        return fail(error);
    }
    size_t prefix = strlen(scheme);
    size_t suffix = strlen(ca_suffix);
    size_t len = cert_uri(*ret, uri, sizeof(uri)) == 0 ? strlen(uri) : 0;
    if (len <= prefix + suffix || strncmp(uri, scheme, prefix) != 0 ||
        strcmp(uri + len - suffix, ca_suffix) != 0) {
        cert_free(*ret);
        return fail("ca.pem was not made by 'netlock tls init': it names no cluster");
    }
    memcpy(ret_cluster, uri + prefix, len - prefix - suffix);
    ret_cluster[len - prefix - suffix] = '\0';
    return CLI_OK;
}

/* ---- the subcommands ---- */

/* Options, up to the first argument, which must be there. */
static struct request parse(struct cli *cli, int argc, char **argv, int64_t days)
{
    static const struct option longs[] = {{"dir", required_argument, NULL, OPTION_DIR},
                                          {"days", required_argument, NULL, OPTION_DAYS},
                                          CLI_LONG};
    struct request request = {.cli = cli, .dir = ".", .days = days};
    int option;

    while ((option = cli_getopt(cli, argc, argv, CLI_SHORT, longs)) != -1) {
        if (option == OPTION_DIR) {
            request.dir = optarg;
        } else if (option == OPTION_DAYS) {
            request.days = (int64_t)cli_number(cli, "--days", optarg, 1, DAYS_MAX);
        }
    }
    return request;
}

int cmd_tls_init(struct cli *cli, int argc, char **argv)
{
    struct request request = parse(cli, argc, argv, DAYS_CA);
    char uri[URI_BYTES];

    if (optind != argc - 1) {
        cli_usage(cli, "the name of the cluster, and nothing else");
    }
    const char *cluster = name_of(cli, "the name of a cluster", argv[optind]);
    snprintf(uri, sizeof(uri), "%s%s%s", scheme, cluster, ca_suffix);
    struct cert_spec spec = {.common_name = cluster, .uri = uri, .is_ca = true};
    return make(&request, "ca", &spec, NULL);
}

int cmd_tls_node(struct cli *cli, int argc, char **argv)
{
    struct request request = parse(cli, argc, argv, DAYS_OTHERS);
    char uri[URI_BYTES], cluster[URI_BYTES], name[NAME_BYTES];
    struct cert *ca;

    if (argc - optind < 2) {
        cli_usage(cli, "the number of the node, and at least one host name or address");
    }
    uint64_t id = cli_number(cli, "the number of the node", argv[optind], 1, INT64_MAX);
    int status = open_ca(&request, &ca, cluster);
    if (status != CLI_OK) {
        return status;
    }
    snprintf(uri, sizeof(uri), "%s%.100s/node/%" PRIu64, scheme, cluster, id);
    snprintf(name, sizeof(name), "node%" PRIu64, id);
    struct cert_spec spec = {
        .common_name = name,
        .uri = uri,
        .hosts = (const char *const *)argv + optind + 1,
        .hosts_count = (size_t)(argc - optind - 1),
        .for_servers = true,
        .for_clients = true, /* of the other nodes */
    };
    status = make(&request, name, &spec, ca);
    cert_free(ca);
    return status;
}

int cmd_tls_client(struct cli *cli, int argc, char **argv)
{
    struct request request = parse(cli, argc, argv, DAYS_OTHERS);
    char uri[URI_BYTES], cluster[URI_BYTES], file[NAME_BYTES + 8];
    struct cert *ca;

    if (optind != argc - 1) {
        cli_usage(cli, "the name of the client, and nothing else");
    }
    const char *name = name_of(cli, "the name of a client", argv[optind]);
    int status = open_ca(&request, &ca, cluster);
    if (status != CLI_OK) {
        return status;
    }
    snprintf(uri, sizeof(uri), "%s%.100s/client/%s", scheme, cluster, name);
    snprintf(file, sizeof(file), "client-%s", name);
    struct cert_spec spec = {.common_name = name, .uri = uri, .for_clients = true};
    status = make(&request, file, &spec, ca);
    cert_free(ca);
    return status;
}
