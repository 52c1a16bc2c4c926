/* tls_internal.h - what the files of the TLS module share; only they see OpenSSL.
 *
 *     tls_context.c    files to a context
 *     tls_identity.c   who a certificate names
 *     tls.c            sessions */
#ifndef NETLOCK_TLS_INTERNAL_H
#define NETLOCK_TLS_INTERNAL_H

#include "tls.h"

#include <openssl/bio.h>
#include <openssl/ssl.h>

struct tls_context {
    enum tls_role role;
    SSL_CTX *ssl;
    BIO_METHOD *bio; /* of the sessions: their bytes, without a copy in between */
    struct tls_identity identity;
    unsigned users; /* the owner and the sessions */
};

void tls_context_put(struct tls_context *context);

/* tls.c: how sessions are read and written (NULL without memory), and what is asked of the certificates
 * of the other side beyond what OpenSSL checks. */
BIO_METHOD *tls_bio_method(void);
int tls_on_verify(int ok, X509_STORE_CTX *store);

/* Returns 0, or -EINVAL with why in @ret_error (TLS_ERROR_BYTES). */
int tls_identity_of(X509 *certificate, struct tls_identity *ret, char *ret_error);

/* The certificate says that it is for this role, rather than for nothing in particular. */
bool tls_certificate_is_for(X509 *certificate, enum tls_role role);

#endif
