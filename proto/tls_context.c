#include "tls_internal.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

/* AES-128 first: it is the fastest where the CPU knows AES, and as hard to break as the curves. */
static const char ciphers[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char groups[] = "X25519:P-256";

__attribute__((format(printf, 3, 4))) static int
fail(char *ret_error, int rv, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(ret_error, TLS_ERROR_BYTES, format, args);
    va_end(args);
    ERR_clear_error();
    return rv;
}

/* ---- files ---- */

/* A key that others can read is no secret. As elsewhere, root may let a group of its own read it. */
static int check_mode(int fd, const char *path, char *ret_error)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return fail(ret_error, -errno, "%.300s: %s", path, strerror(errno));
    }
    mode_t forbidden = st.st_uid == 0 ? 0037 : 0077;
    if ((st.st_mode & forbidden) != 0) {
        return fail(ret_error, -EACCES,
                    "%.300s: others can read or write this key (mode %04o): chmod 600 it",
                    path, (unsigned)(st.st_mode & 07777));
    }
    if (st.st_uid != 0 && st.st_uid != geteuid()) {
        return fail(ret_error, -EACCES,
                    "%.300s: this key belongs to another user (uid %u)", path,
                    (unsigned)st.st_uid);
    }
    return 0;
}

/* Returns 0 and a stream, or a negative errno. */
static int open_file(const char *path, FILE **ret, char *ret_error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;

    if (fd < 0) {
        return fail(ret_error, -errno, "%.300s: %s", path, strerror(errno));
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return fail(ret_error, -EINVAL, "%.300s: not a file", path);
    }
    *ret = fdopen(fd, "r");
    if (*ret == NULL) {
        close(fd);
        return fail(ret_error, -ENOMEM, "%.300s: no memory", path);
    }
    return 0;
}

/* The last certificate was followed by the end of the file, not by something broken. */
static bool at_end_of_pem(void)
{
    return ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
}

/* All certificates of a file, at least one. */
static int read_certificates(const char *path, STACK_OF(X509) * *ret, char *ret_error)
{
    FILE *file;
    X509 *certificate;

    int rv = open_file(path, &file, ret_error);
    if (rv != 0) {
        return rv;
    }
    STACK_OF(X509) *all = sk_X509_new_null();
    ERR_clear_error();
    while (all != NULL && (certificate = PEM_read_X509(file, NULL, NULL, NULL)) != NULL) {
        sk_X509_push(all, certificate);
    }
    fclose(file);
    if (all == NULL) {
        return fail(ret_error, -ENOMEM, "%.300s: no memory", path);
    }
    if (!at_end_of_pem()) {
        rv = fail(ret_error, -EINVAL, "%.300s: a certificate in it is damaged", path);
    } else if (sk_X509_num(all) == 0) {
        rv = fail(ret_error, -EINVAL, "%.300s: no certificate in PEM form in it", path);
    }
    ERR_clear_error();
    if (rv != 0) {
        sk_X509_pop_free(all, X509_free);
        return rv;
    }
    *ret = all;
    return 0;
}

/* Nobody is there to be asked. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    *(bool *)arg = true;
    return -1;
}

static int read_key(const char *path, EVP_PKEY **ret, char *ret_error)
{
    FILE *file;
    bool encrypted = false;

    int rv = open_file(path, &file, ret_error);
    if (rv != 0) {
        return rv;
    }
    rv = check_mode(fileno(file), path, ret_error);
    EVP_PKEY *key =
        rv == 0 ? PEM_read_PrivateKey(file, NULL, no_passphrase, &encrypted) : NULL;
    fclose(file);
    if (rv != 0) {
        return rv;
    }
    if (key == NULL) {
        return fail(ret_error, -EINVAL,
                    encrypted
                        ? "%.300s: the key has a passphrase, and nobody to ask it of"
                        : "%.300s: no private key in PEM form in it",
                    path);
    }
    *ret = key;
    return 0;
}

/* ---- what must fit ---- */

/* What the other side will say to our certificate: better now than in the middle of the night. */
static int check_own(const struct tls_context *context,
                     const struct tls_files *files,
                     X509 *own,
                     STACK_OF(X509) * chain,
                     char *ret_error)
{
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    int purpose =
        context->role == TLS_SERVER ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT;
    int rv = 0;

    if (check == NULL || X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(context->ssl),
                                             own, chain) != 1) {
        rv = fail(ret_error, -ENOMEM, "%.300s: no memory", files->cert);
    } else if (!tls_certificate_is_for(own, context->role)) {
        rv = fail(ret_error, -EINVAL, "%.300s: not made for %s (extended key usage %s)",
                  files->cert, context->role == TLS_SERVER ? "servers" : "clients",
                  context->role == TLS_SERVER ? "serverAuth" : "clientAuth");
    } else {
        X509_STORE_CTX_set_purpose(check, purpose);
        if (X509_verify_cert(check) != 1) {
            rv = fail(ret_error, -EINVAL, "%.200s: %s (seen from the CA in %.200s)",
                      files->cert,
                      X509_verify_cert_error_string(X509_STORE_CTX_get_error(check)),
                      files->ca);
        }
    }
    X509_STORE_CTX_free(check);
    return rv;
}

static int take_ca(struct tls_context *context, const char *path, char *ret_error)
{
    STACK_OF(X509) * all;

    int rv = read_certificates(path, &all, ret_error);
    if (rv != 0) {
        return rv;
    }
    for (int i = 0; i < sk_X509_num(all) && rv == 0; i++) {
        X509 *certificate = sk_X509_value(all, i);
        if (X509_check_ca(certificate) == 0) {
            rv = fail(ret_error, -EINVAL, "%.300s: has a certificate that is no CA's",
                      path);
        } else if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context->ssl),
                                       certificate) != 1) {
            rv = fail(ret_error, -ENOMEM, "%.300s: no memory", path);
        }
    }
    sk_X509_pop_free(all, X509_free);
    return rv;
}

/* Ours first in the file, then those that lead to its CA. */
static int take_certificate(struct tls_context *context,
                            const struct tls_files *files,
                            char *ret_error)
{
    STACK_OF(X509) * chain;
    char why[TLS_ERROR_BYTES];

    int rv = read_certificates(files->cert, &chain, ret_error);
    if (rv != 0) {
        return rv;
    }
    X509 *own = sk_X509_shift(chain);
    rv = tls_identity_of(own, &context->identity, why);
    if (rv != 0) {
        fail(ret_error, rv, "%.200s: %.250s", files->cert, why);
    } else {
        rv = check_own(context, files, own, chain, ret_error);
    }
    if (rv == 0 && (SSL_CTX_use_certificate(context->ssl, own) != 1 ||
                    SSL_CTX_set1_chain(context->ssl, chain) != 1)) {
        rv = fail(ret_error, -EINVAL, "%.300s: %s", files->cert,
                  ERR_reason_error_string(ERR_peek_last_error()));
    }
    X509_free(own);
    sk_X509_pop_free(chain, X509_free);
    return rv;
}

static int
take_key(struct tls_context *context, const struct tls_files *files, char *ret_error)
{
    EVP_PKEY *key = NULL;

    int rv = read_key(files->key, &key, ret_error);
    if (rv != 0) {
        return rv;
    }
    if (SSL_CTX_use_PrivateKey(context->ssl, key) != 1 ||
        SSL_CTX_check_private_key(context->ssl) != 1) {
        rv = fail(ret_error, -EINVAL, "%.200s: not the key of the certificate in %.200s",
                  files->key, files->cert);
    }
    EVP_PKEY_free(key);
    return rv;
}

/* ---- life ---- */

static bool set_rules(SSL_CTX *ssl)
{
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    /* Two buffers of 17 KiB for each connection that says nothing would be its whole memory. */
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                       tls_on_verify);
    return SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_ciphersuites(ssl, ciphers) == 1 &&
           SSL_CTX_set1_groups_list(ssl, groups) == 1 &&
           SSL_CTX_set_num_tickets(ssl, 0) == 1;
}

int tls_context_new(struct tls_context **ret,
                    enum tls_role role,
                    const struct tls_files *files,
                    char ret_error[static TLS_ERROR_BYTES])
{
    struct tls_context *context = calloc(1, sizeof(*context));

    if (context == NULL) {
        return fail(ret_error, -ENOMEM, "no memory for TLS");
    }
    context->role = role;
    context->users = 1;
    context->ssl =
        SSL_CTX_new(role == TLS_SERVER ? TLS_server_method() : TLS_client_method());
    context->bio = tls_bio_method();
    int rv = 0;
    if (context->ssl == NULL || context->bio == NULL || !set_rules(context->ssl)) {
        rv = fail(ret_error, -ENOMEM,
                  "OpenSSL does not start: no memory, or its "
                  "configuration forbids TLS 1.3");
    }
    if (rv == 0) {
        rv = take_ca(context, files->ca, ret_error);
    }
    bool shows_one = role == TLS_SERVER || files->cert != NULL;
    if (rv == 0 && shows_one) {
        rv = take_certificate(context, files, ret_error);
    }
    if (rv == 0 && shows_one) {
        rv = take_key(context, files, ret_error);
    }
    if (rv != 0) {
        tls_context_put(context);
        return rv;
    }
    *ret = context;
    return 0;
}

void tls_context_accept_anonymous(struct tls_context *context)
{
    SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER, tls_on_verify);
}

void tls_context_put(struct tls_context *context)
{
    if (--context->users != 0) {
        return;
    }
    SSL_CTX_free(context->ssl);
    BIO_meth_free(context->bio);
    free(context);
}

void tls_context_free(struct tls_context *context)
{
    if (context != NULL) {
        tls_context_put(context);
    }
}

const struct tls_identity *tls_context_identity(const struct tls_context *context)
{
    return &context->identity;
}
