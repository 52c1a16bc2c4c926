/* tls.h - mutual TLS 1.3 on bytes in memory: no sockets, no loop, no waiting.
 *
 * A context is one end's certificates in one role; a session is one connection made from it.
 *
 *     tls_feed(tls, data, len)                     what came from the network
 *     while ((n = tls_read(tls, out, size)) > 0)   the plain text of it
 *     tls_write(tls, data, len)                    plain text for the other side
 *     tls_output(tls)                              what has to go to the network: send it, empty it
 *
 * After every call but tls_peer() and tls_error() there may be output, also after a failure: the
 * alert that tells the other side why. A client calls tls_handshake() once, to begin.
 *
 * Both sides must show a certificate that the CA of the other has signed, that is valid now, and that
 * is made for its role (extended key usage serverAuth or clientAuth, which must be there). A client
 * also compares the name or address that it connects to. Who the other one is, is in its certificate
 * as a URI of the subject's alternative names:
 *
 *     netlock://CLUSTER/node/ID        a node
 *     netlock://CLUSTER/client/NAME    a client; one without such a URI is known by its common name
 *
 * Write once per flush, not once per message: each tls_write() is a record of its own (of at most
 * 16 KiB). A session may outlive its context; both belong to one thread. */
#ifndef NETLOCK_TLS_H
#define NETLOCK_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire_buf.h"

enum {
    TLS_ERROR_BYTES = 512,
    TLS_CLUSTER_BYTES = 65,
    TLS_NAME_BYTES = 256,
    TLS_RECORD_BYTES_MAX = 16384, /* of plain text */
};

enum tls_role { TLS_SERVER, TLS_CLIENT };

struct tls_files {
    const char *ca;   /* certificates of who may sign the other side's */
    const char *cert; /* ours, and those between it and its CA; a client's may be NULL */
    const char *key;  /* without a passphrase, and for nobody else to read */
};

enum tls_kind {
    TLS_NOBODY, /* no netlock URI, no common name */
    TLS_NODE,
    TLS_NAMED_CLIENT,
};

struct tls_identity {
    enum tls_kind kind;
    char cluster[TLS_CLUSTER_BYTES]; /* "": a common name belongs to none */
    uint64_t node_id;                /* TLS_NODE */
    char name[TLS_NAME_BYTES];       /* TLS_NAMED_CLIENT */
};

/* ---- contexts ---- */

struct tls_context;

/* Read and check @files: they fit each other, our own certificate would pass the checks of the other
 * side now. Returns 0; or -EINVAL, -EACCES, -ENOENT, -ENOMEM with one line in @ret_error: which file and
 * why. */
int tls_context_new(struct tls_context **ret,
                    enum tls_role role,
                    const struct tls_files *files,
                    char ret_error[static TLS_ERROR_BYTES]);

/* A server's: clients without a certificate may come too, as TLS_NOBODY; they have to say who they are in
 * another way. One that is shown is checked as ever. */
void tls_context_accept_anonymous(struct tls_context *context);

/* Sessions keep what they need. Accepts NULL. */
void tls_context_free(struct tls_context *context);

/* Who we are. */
const struct tls_identity *tls_context_identity(const struct tls_context *context);

/* ---- sessions ---- */

struct tls;

/* @host: the name or address that the server's certificate must have; NULL for servers, and where the
 * identity is compared instead. NULL without memory. */
struct tls *tls_new(struct tls_context *context, const char *host);
void tls_free(struct tls *tls);

/* Begin, or go on. 0: both sides have proved themselves, as far as this side can know: a server may still
 * refuse its client, which then reads that. -EAGAIN: more has to come; -EPROTO: see tls_error(). */
int tls_handshake(struct tls *tls);
bool tls_is_established(const struct tls *tls);

/* Borrowed until tls_read() says something else than a number of bytes: then all of it is used. */
void tls_feed(struct tls *tls, const uint8_t *data, size_t len);
/* The network has ended: what is not followed by a close of the other side is cut off. */
void tls_feed_end(struct tls *tls);

/* Bytes of plain text; 0: the other side has closed in order; -EAGAIN: more has to come; -EPROTO: the
 * session is over, see tls_error(); also when it was cut off. */
ssize_t tls_read(struct tls *tls, uint8_t *out, size_t size);

/* All of it. 0; -EAGAIN before the handshake is done: nothing was taken; -EPROTO. */
int tls_write(struct tls *tls, const uint8_t *data, size_t len);

/* Say that nothing more comes from here. What the other side sends can still be read. */
void tls_close(struct tls *tls);

struct wire_buf *tls_output(struct tls *tls);

/* Valid once the handshake is done. */
const struct tls_identity *tls_peer(const struct tls *tls);

/* Why the session is over, in words for the log; "" while it is not. */
const char *tls_error(const struct tls *tls);

#endif
