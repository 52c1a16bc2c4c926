/* client_tls.h - TLS under a client_conn: what its bytes go through on their way to and from the
 * socket. The connection's own functions call these instead of send() and recv(). */
#ifndef NETLOCK_CLIENT_TLS_H
#define NETLOCK_CLIENT_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "netlock.h"
#include "tls.h"

struct client_tls;

/* The token of @credentials or the environment; NULL: none. */
const char *client_token(const struct netlock_credentials *credentials);

/* The context that @credentials and, for what is not there, NETLOCK_TLS_CA, NETLOCK_TLS_CERT and
 * NETLOCK_TLS_KEY ask for. *@ret is NULL if nothing does. 0; -EINVAL or why a file cannot be used, with
 * words in @ret_error; -ENOMEM. */
int client_tls_context(struct tls_context **ret,
                       const struct netlock_credentials *credentials,
                       char ret_error[static TLS_ERROR_BYTES]);

/* @host: as in the list of servers; the certificate of the server must have it. 0 or -ENOMEM. */
int client_tls_open(struct client_tls **ret,
                    struct tls_context *context,
                    const char *host);
void client_tls_free(struct client_tls *tls);

/* Encrypt all of @text, which is then empty, and send. Before the handshake is done @text stays. 0; -EAGAIN:
 * the socket is full; else the connection is broken. */
int client_tls_flush(struct client_tls *tls, int fd, struct wire_buf *text);
/* Something is encrypted and not sent yet. */
bool client_tls_unsent(const struct client_tls *tls);

/* As recv() with -errno. @size is at least CLIENT_TLS_TEXT_BYTES: then all that came from the socket fits,
 * and nothing waits here that the socket would not report. */
enum { CLIENT_TLS_IN_BYTES = 32768, CLIENT_TLS_TEXT_BYTES = 65536 };
ssize_t client_tls_receive(struct client_tls *tls, int fd, uint8_t *out, size_t size);

/* Say that this is the end, if the socket takes it at once. */
void client_tls_close(struct client_tls *tls, int fd);

/* Why it is broken, or "". */
const char *client_tls_error(const struct client_tls *tls);

#endif
