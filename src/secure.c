/* The certificates of both ports, and what clients may do: read at the start and on
 * SIGHUP, all or nothing. */
#include "server_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <utlist.h>

#include "session.h"

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

static int load(const struct server *server,
                enum tls_role role,
                struct tls_context **ret,
                char *ret_error)
{
    const struct config *config = server->config;
    const struct tls_files files = {
        .ca = config->tls_ca, .cert = config->tls_cert, .key = config->tls_key};
    char error[TLS_ERROR_BYTES] = "";

    int rv = tls_context_new(ret, role, &files, error);
    if (rv != 0) {
        snprintf(ret_error, SERVER_ERROR_BYTES, "%s", error);
        return rv;
    }
    rv = check_name(server, *ret, ret_error);
    if (rv != 0) {
        tls_context_free(*ret);
        *ret = NULL;
    }
    return rv;
}

/* The node may still have to be made: secure_node() gives them to it then. One that stops may have no
 * transport any more. */
static void use(struct server *server, const struct secure_contexts *contexts)
{
    secure_release(&server->secure);
    server->secure = *contexts;
    server->conn_host.tls = server->secure.clients;
    if (server->node != NULL && !server->stopping) {
        secure_node(server);
    }
}

/* Who showed a token that is no longer there has to go. */
static void close_sessions_unnamed(struct server *server)
{
    struct session *session, *next;

    DL_FOREACH_SAFE(server->sessions, session, next)
    {
        if (session->by_token &&
            !tokens_have(server->access.tokens, session_principal(session),
                         session->token_hash)) {
            session_close(session, SESSION_GONE_AFTER_GRACE);
        }
    }
}

static int
load_contexts(const struct server *server, struct secure_contexts *ret, char *ret_error)
{
    if (!config_has_tls(server->config)) {
        return 0;
    }
    int rv = load(server, TLS_SERVER, &ret->clients, ret_error);
    if (rv == 0 && server->config->tokens_file[0] != '\0') {
        tls_context_accept_anonymous(ret->clients);
    }
    if (rv == 0) {
        rv = load(server, TLS_SERVER, &ret->peers_in, ret_error);
    }
    if (rv == 0) {
        rv = load(server, TLS_CLIENT, &ret->peers_out, ret_error);
    }
    return rv;
}

int server_reload(struct server *server, char ret_error[static SERVER_ERROR_BYTES])
{
    struct secure_contexts contexts = {0};

    int rv = load_contexts(server, &contexts, ret_error);
    if (rv == 0) {
        rv = access_load(&server->access, server->config, ret_error);
    }
    if (rv != 0) {
        secure_release(&contexts);
        return rv;
    }
    use(server, &contexts);
    close_sessions_unnamed(server);
    return 0;
}

void secure_node(struct server *server)
{
    struct secure_contexts *contexts = &server->secure;

    if (contexts->peers_in != NULL) {
        raft_node_set_tls(server->node, contexts->peers_in, contexts->peers_out);
        contexts->peers_in = contexts->peers_out = NULL;
    }
}

void secure_release(struct secure_contexts *contexts)
{
    tls_context_free(contexts->clients);
    tls_context_free(contexts->peers_in);
    tls_context_free(contexts->peers_out);
    *contexts = (struct secure_contexts){0};
}
