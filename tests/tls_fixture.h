/* tls_fixture.h - certificates made on the fly in a temporary directory, and two sessions that talk to
 * each other in memory. */
#ifndef NETLOCK_TLS_FIXTURE_H
#define NETLOCK_TLS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cert.h"
#include "tls.h"

enum { FIXTURE_PATH_BYTES = 160 };

struct end_files {
    char ca[FIXTURE_PATH_BYTES], cert[FIXTURE_PATH_BYTES], key[FIXTURE_PATH_BYTES];
    struct tls_files files; /* of the three above */
};

struct tls_fixture {
    char dir[64];
    struct cert *ca, *other_ca;
    struct end_files node, client; /* good ones */
};

/* cmocka set-up and tear-down; *state is the fixture. */
int tls_fixture_set_up(void **state);
int tls_fixture_tear_down(void **state);

/* What the certificates of a node and of a client are like; to be changed before end_files_make(). */
struct cert_spec node_spec(void);
struct cert_spec client_spec(void);

/* Files NAME.pem, NAME.key with a certificate of @issuer, and the CA that its owner trusts. */
void end_files_make(struct tls_fixture *fixture,
                    struct end_files *ret,
                    const char *name,
                    const struct cert_spec *spec,
                    const struct cert *issuer);

/* The context must come about. */
struct tls_context *context_of(enum tls_role role, const struct end_files *files);

struct tls_pair {
    struct tls *client, *server;
};

/* From these files, with the name that the client expects (NULL: none). */
struct tls_pair pair_new(const struct end_files *client,
                         const struct end_files *server,
                         const char *host);
void pair_free(struct tls_pair *pair);

/* Carry bytes to and fro until nothing moves. Plain text that comes is dropped. */
void pair_run(struct tls_pair *pair);

/* Carry what @from has to say to @to. */
void carry(struct tls *from, struct tls *to);

/* Read one piece of plain text. */
void expect_text(struct tls *tls, const char *text);

#endif
