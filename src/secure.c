/* The certificates of the client port. */
#include "server_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* A certificate of another node would let this one be taken for it. */
static int check_name(const struct server *server,
                      const struct tls_context *context,
                      char *ret_error)
{
    const struct config *config = server->config;
    const struct tls_identity *own = tls_context_identity(context);

    if (own->kind == TLS_NODE && strcmp(own->cluster, config->cluster) == 0 &&
        own->node_id == config->node_id) {
        return 0;
    }
    snprintf(ret_error, SERVER_ERROR_BYTES,
             "%.200s: the certificate does not name this node: it needs the URI "
             "netlock://%s/node/%" PRIu64,
             config->tls_cert, config->cluster, config->node_id);
    return -EINVAL;
}

int secure_load(const struct server *server, struct tls_context **ret, char *ret_error)
{
    const struct config *config = server->config;
    const struct tls_files files = {
        .ca = config->tls_ca, .cert = config->tls_cert, .key = config->tls_key};
    char error[TLS_ERROR_BYTES] = "";
    struct tls_context *context = NULL;

    if (!config_has_tls(config)) {
        *ret = NULL;
        return 0;
    }
    int rv = tls_context_new(&context, TLS_SERVER, &files, error);
    if (rv != 0) {
        snprintf(ret_error, SERVER_ERROR_BYTES, "%s", error);
        return rv;
    }
    rv = check_name(server, context, ret_error);
    if (rv != 0) {
        tls_context_free(context);
        return rv;
    }
    if (config->tokens_file[0] != '\0') {
        tls_context_accept_anonymous(context);
    }
    *ret = context;
    return 0;
}
