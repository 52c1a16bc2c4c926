#include "tls_internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <limits.h>
#include <stdio.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

struct tls {
    struct tls_context *context;
    SSL *ssl;
    const uint8_t *in; /* fed and not used yet; the caller's */
    size_t in_len;
    struct wire_buf out;
    bool heard; /* anything at all */
    bool in_ended, established, closed, failed;
    struct tls_identity peer;
    char error[256];
};

/* ---- OpenSSL's way to our bytes ---- */

static int bio_read(BIO *bio, char *out, size_t size, size_t *ret_len)
{
    struct tls *tls = BIO_get_data(bio);
    size_t len = size < tls->in_len ? size : tls->in_len;

    BIO_clear_retry_flags(bio);
    if (len == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    memcpy(out, tls->in, len);
    tls->in += len;
    tls->in_len -= len;
    *ret_len = len;
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *ret_len)
{
    struct tls *tls = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (wire_buf_append(&tls->out, data, len) != 0) {
        return 0;
    }
    *ret_len = len;
    return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "netlock");

    if (method != NULL && (BIO_meth_set_read_ex(method, bio_read) != 1 ||
                           BIO_meth_set_write_ex(method, bio_write) != 1 ||
                           BIO_meth_set_ctrl(method, bio_control) != 1)) {
        BIO_meth_free(method);
        return NULL;
    }
    return method;
}

/* ---- life ---- */

static bool expect_host(SSL *ssl, const char *host)
{
    struct in6_addr address;

    if (inet_pton(AF_INET, host, &address) == 1 ||
        inet_pton(AF_INET6, host, &address) == 1) {
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    }
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1;
}

struct tls *tls_new(struct tls_context *context, const char *host)
{
    struct tls *tls = calloc(1, sizeof(*tls));

    if (tls == NULL) {
        return NULL;
    }
    tls->context = context;
    context->users++;
    tls->ssl = SSL_new(context->ssl);
    BIO *bio = BIO_new(context->bio);
    if (tls->ssl == NULL || bio == NULL ||
        (host != NULL && !expect_host(tls->ssl, host))) {
        BIO_free(bio);
        tls_free(tls);
        ERR_clear_error();
        return NULL;
    }
    SSL_set_app_data(tls->ssl, tls);
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    if (context->role == TLS_SERVER) {
        SSL_set_accept_state(tls->ssl);
    } else {
        SSL_set_connect_state(tls->ssl);
    }
    return tls;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL) {
        return;
    }
    SSL_free(tls->ssl);
    tls_context_put(tls->context);
    wire_buf_release(&tls->out);
    free(tls);
}

/* ---- the end ---- */

/* What a peer that speaks no TLS gets, so that its log has something to go by: OpenSSL sends nothing. */
static void send_plain_alert(struct tls *tls)
{
    static const uint8_t unexpected_message[] = {21, 3, 3, 0, 2, 2, 10};

    (void)wire_buf_append(&tls->out, unexpected_message, sizeof(unexpected_message));
}

static void explain(struct tls *tls)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    long verified = SSL_get_verify_result(tls->ssl);
    const char *words = ERR_reason_error_string(code);

    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        snprintf(tls->error, sizeof(tls->error), "its certificate is refused: %s",
                 X509_verify_cert_error_string(verified));
    } else if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET &&
               reason <= SSL_AD_REASON_OFFSET + UCHAR_MAX) {
        snprintf(tls->error, sizeof(tls->error), "the other side refuses: %s",
                 SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
    } else if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST) {
        snprintf(tls->error, sizeof(tls->error), "the other side does not speak TLS");
        if (tls->out.len == 0) {
            send_plain_alert(tls);
        }
    } else {
        snprintf(tls->error, sizeof(tls->error), "TLS: %s",
                 words != NULL ? words : "no memory");
    }
}

static int fail(struct tls *tls)
{
    if (!tls->failed) {
        tls->failed = true;
        if (tls->error[0] == '\0') {
            explain(tls);
        }
    }
    tls->in_len = 0;
    ERR_clear_error();
    return -EPROTO;
}

static int fail_with(struct tls *tls, const char *words)
{
    if (!tls->failed) {
        tls->failed = true;
        snprintf(tls->error, sizeof(tls->error), "%s", words);
    }
    tls->in_len = 0;
    return -EPROTO;
}

/* Nothing more is in what was fed. */
static int need_more(struct tls *tls)
{
    if (!tls->in_ended) {
        return -EAGAIN;
    }
    if (tls->established) {
        return fail_with(tls, "the connection was cut off: no close came before its end");
    }
    return fail_with(
        tls, tls->heard ? "the connection ended during the TLS handshake"
                        : "the connection ended before TLS began: the other side may "
                          "not want TLS");
}

/* ---- the handshake ---- */

/* OpenSSL lets a certificate that says nothing of its use pass for every use, and does not know our
 * names. Refused here, the other side is told by an alert. */
static bool accept_certificate(struct tls *tls, X509 *certificate, int *ret_error)
{
    bool server = tls->context->role == TLS_SERVER;
    char why[TLS_ERROR_BYTES];

    if (!tls_certificate_is_for(certificate, server ? TLS_CLIENT : TLS_SERVER)) {
        *ret_error = X509_V_ERR_INVALID_PURPOSE;
        return false;
    }
    if (tls_identity_of(certificate, &tls->peer, why) != 0) {
        snprintf(tls->error, sizeof(tls->error), "its certificate is refused: %.180s",
                 why);
    } else if (server && tls->peer.kind == TLS_NOBODY) {
        snprintf(tls->error, sizeof(tls->error),
                 "its certificate is refused: it names nobody");
    } else {
        return true;
    }
    *ret_error = X509_V_ERR_APPLICATION_VERIFICATION;
    return false;
}

int tls_on_verify(int ok, X509_STORE_CTX *store)
{
    const SSL *ssl =
        X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    int error;

    if (ok && X509_STORE_CTX_get_error_depth(store) == 0 &&
        !accept_certificate(SSL_get_app_data(ssl), X509_STORE_CTX_get_current_cert(store),
                            &error)) {
        X509_STORE_CTX_set_error(store, error);
        return 0;
    }
    return ok;
}

int tls_handshake(struct tls *tls)
{
    if (tls->failed) {
        return -EPROTO;
    }
    if (tls->established) {
        return 0;
    }
    ERR_clear_error();
    int rv = SSL_do_handshake(tls->ssl);
    if (rv == 1) {
        tls->established = true;
        return 0;
    }
    return SSL_get_error(tls->ssl, rv) == SSL_ERROR_WANT_READ ? need_more(tls)
                                                              : fail(tls);
}

bool tls_is_established(const struct tls *tls)
{
    return tls->established && !tls->failed;
}

/* ---- bytes ---- */

void tls_feed(struct tls *tls, const uint8_t *data, size_t len)
{
    assert(tls->in_len == 0);

    if (tls->failed) {
        return;
    }
    tls->in = data;
    tls->in_len = len;
    tls->heard = tls->heard || len != 0;
}

void tls_feed_end(struct tls *tls)
{
    tls->in_ended = true;
}

ssize_t tls_read(struct tls *tls, uint8_t *out, size_t size)
{
    size_t len;

    int rv = tls_handshake(tls);
    if (rv != 0) {
        return rv;
    }
    ERR_clear_error();
    if (SSL_read_ex(tls->ssl, out, size, &len) == 1) {
        return (ssize_t)len;
    }
    switch (SSL_get_error(tls->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
        return need_more(tls);
    case SSL_ERROR_ZERO_RETURN:
        tls->in_len = 0; /* nothing may follow a close */
        return 0;
    default:
        return fail(tls);
    }
}

int tls_write(struct tls *tls, const uint8_t *data, size_t len)
{
    size_t written;

    int rv = tls_handshake(tls);
    if (rv != 0 || len == 0) {
        return rv;
    }
    ERR_clear_error();
    if (SSL_write_ex(tls->ssl, data, len, &written) != 1) {
        return fail(tls);
    }
    assert(written == len);
    return 0;
}

void tls_close(struct tls *tls)
{
    if (tls->established && !tls->failed && !tls->closed) {
        tls->closed = true;
        ERR_clear_error();
        (void)SSL_shutdown(tls->ssl);
        ERR_clear_error();
    }
}

struct wire_buf *tls_output(struct tls *tls)
{
    return &tls->out;
}

const struct tls_identity *tls_peer(const struct tls *tls)
{
    assert(tls->established);
    return &tls->peer;
}

const char *tls_error(const struct tls *tls)
{
    return tls->error;
}
