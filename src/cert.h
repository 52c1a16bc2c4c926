/* cert.h - make keys and certificates: what `netlock tls` does, and what tests need.
 *
 * Keys are ECDSA P-256, signatures SHA-256. Nothing here is for the server or the library: they read
 * certificates, whoever made them. */
#ifndef NETLOCK_CERT_H
#define NETLOCK_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CERT_ERROR_BYTES = 512 };

struct cert; /* a certificate with its key */

struct cert_spec {
    const char *common_name;  /* at most 64 bytes */
    const char *uri;          /* who it is to netlock; NULL: nobody */
    const char *const *hosts; /* DNS names and IP addresses */
    size_t hosts_count;
    bool is_ca;
    bool for_servers, for_clients;     /* extended key usage; neither: none at all */
    int64_t valid_from_s, valid_for_s; /* from now; from valid_from_s */
};

/* Signed by @issuer, or by itself if that is NULL. Returns 0; or -EINVAL (a host that is neither a name
 * nor an address), -ENOMEM, with one line in @ret_error. */
int cert_new(struct cert **ret,
             const struct cert_spec *spec,
             const struct cert *issuer,
             char ret_error[static CERT_ERROR_BYTES]);
void cert_free(struct cert *cert);

/* Its first URI, NUL-terminated into @out. Returns 0, -ENOENT without one, -ENOBUFS. */
int cert_uri(const struct cert *cert, char *out, size_t size);

/* Read what cert_save() wrote. */
int cert_load(struct cert **ret,
              const char *cert_path,
              const char *key_path,
              char ret_error[static CERT_ERROR_BYTES]);

/* Two new files, the key's with mode 0600. Neither may be there already: -EEXIST, and nothing is
 * changed. Else a negative errno, with one line in @ret_error. */
int cert_save(const struct cert *cert,
              const char *cert_path,
              const char *key_path,
              char ret_error[static CERT_ERROR_BYTES]);

#endif
