#include "client_tls.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static_assert(CLIENT_TLS_IN_BYTES + TLS_RECORD_BYTES_MAX < CLIENT_TLS_TEXT_BYTES,
              "a part of a record that waits for its rest, and a whole read");

enum { OUT_KEPT_BYTES_MAX = 65536 };

struct client_tls {
    struct tls *session;
    size_t out_sent; /* of tls_output() */
    uint8_t in[CLIENT_TLS_IN_BYTES];
};

/* ---- the context ---- */

static const char *or_environment(const char *value, const char *name)
{
    const char *found = value != NULL ? value : getenv(name);
    return found != NULL && found[0] != 0 ? found : NULL;
}

const char *client_token(const struct netlock_credentials *credentials)
{
    return or_environment(credentials->access_token, "NETLOCK_ACCESS_TOKEN");
}

/* What is missing from @files, or NULL. Who shows a token needs no certificate. */
static const char *missing(const struct tls_files *files, bool token)
{
    if (files->ca == NULL)
        return "CA";
    if (files->cert == NULL && (files->key != NULL || !token))
        return "certificate";
    return files->key == NULL && files->cert != NULL ? "key" : NULL;
}

int client_tls_context(struct tls_context **ret,
                       const struct netlock_credentials *credentials,
                       char ret_error[static TLS_ERROR_BYTES])
{
    const struct tls_files files = {
        .ca = or_environment(credentials->ca, "NETLOCK_TLS_CA"),
        .cert = or_environment(credentials->cert, "NETLOCK_TLS_CERT"),
        .key = or_environment(credentials->key, "NETLOCK_TLS_KEY"),
    };
    if (files.ca == NULL && files.cert == NULL && files.key == NULL) {
        *ret = NULL;
        return 0;
    }
    const char *what = missing(&files, client_token(credentials) != NULL);
    if (what != NULL) {
        snprintf(ret_error, TLS_ERROR_BYTES,
                 "TLS needs a CA, a certificate and its key: there is no %s", what);
        return -EINVAL;
    }
    return tls_context_new(ret, TLS_CLIENT, &files, ret_error);
}

/* ---- life ---- */

int client_tls_open(struct client_tls **ret,
                    struct tls_context *context,
                    const char *host)
{
    struct client_tls *tls = malloc(sizeof(*tls));
    if (tls == NULL)
        return -ENOMEM;
    tls->out_sent = 0;
    tls->session = tls_new(context, host);
    if (tls->session == NULL) {
        free(tls);
        return -ENOMEM;
    }
    *ret = tls;
    return 0;
}

void client_tls_free(struct client_tls *tls)
{
    if (tls == NULL)
        return;
    tls_free(tls->session);
    free(tls);
}

const char *client_tls_error(const struct client_tls *tls)
{
    return tls_error(tls->session);
}

/* ---- out ---- */

bool client_tls_unsent(const struct client_tls *tls)
{
    return tls->out_sent < tls_output(tls->session)->len;
}

static int send_output(struct client_tls *tls, int fd)
{
    struct wire_buf *out = tls_output(tls->session);
    while (client_tls_unsent(tls)) {
        ssize_t n =
            send(fd, out->data + tls->out_sent, out->len - tls->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        tls->out_sent += (size_t)n;
    }
    tls->out_sent = 0;
    wire_buf_clear(out, OUT_KEPT_BYTES_MAX);
    return 0;
}

/* The server has closed, and before that perhaps said why. */
static void hear_last_words(struct client_tls *tls, int fd)
{
    uint8_t text[256];
    ssize_t n;
    do {
        n = recv(fd, tls->in, sizeof(tls->in), 0);
        if (n > 0) {
            tls_feed(tls->session, tls->in, (size_t)n);
            while (tls_read(tls->session, text, sizeof(text)) > 0) {
            }
        }
    } while (n > 0);
}

int client_tls_flush(struct client_tls *tls, int fd, struct wire_buf *text)
{
    int rv = text->len > 0 ? tls_write(tls->session, text->data, text->len)
                           : tls_handshake(tls->session);
    if (rv == 0)
        wire_buf_clear(text, OUT_KEPT_BYTES_MAX);
    int sent = send_output(tls, fd);
    if (sent != 0 && sent != -EAGAIN)
        hear_last_words(tls, fd);
    return rv == 0 || rv == -EAGAIN ? sent : rv;
}

void client_tls_close(struct client_tls *tls, int fd)
{
    tls_close(tls->session);
    (void)send_output(tls, fd);
}

/* ---- in ---- */

/* All the text of what was fed. 0 if there is none yet. */
static ssize_t read_text(struct client_tls *tls, uint8_t *out, size_t size, bool *ret_end)
{
    size_t len = 0;
    ssize_t n;
    while (len < size && (n = tls_read(tls->session, out + len, size - len)) != -EAGAIN) {
        if (n < 0)
            return len > 0 ? (ssize_t)len : n; /* once more, and it says so again */
        if (n == 0) {
            *ret_end = true;
            break;
        }
        len += (size_t)n;
    }
    return (ssize_t)len;
}

ssize_t client_tls_receive(struct client_tls *tls, int fd, uint8_t *out, size_t size)
{
    assert(size >= CLIENT_TLS_TEXT_BYTES);
    for (;;) {
        bool end = false;
        ssize_t n = recv(fd, tls->in, sizeof(tls->in), 0);
        if (n < 0)
            return -errno;
        if (n == 0)
            tls_feed_end(tls->session);
        else
            tls_feed(tls->session, tls->in, (size_t)n);
        ssize_t len = read_text(tls, out, size, &end);
        if (len != 0 || end)
            return len;
    }
}
