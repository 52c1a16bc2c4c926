/* Certificates that `netlock tls` would never make, for tests of real processes:
 *
 *     make_cert DIR NAME [ca=CA] [uri=URI] [host=HOST] [usage=server|client|both|none] [from=S] [for=S]
 *
 * DIR/NAME.pem and .key, signed by DIR/CA.pem, or a CA of its own without ca=; valid from now + from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cert.h"

enum { PATH_BYTES = 1024, HOUR_S = 3600 };

struct order {
    struct cert_spec spec;
    const char *host, *ca;
};

static const char *after(const char *argument, const char *key)
{
    size_t len = strlen(key);

    return strncmp(argument, key, len) == 0 ? argument + len : NULL;
}

static void take(struct order *order, const char *argument)
{
    const char *value;

    if ((value = after(argument, "ca=")) != NULL) {
        order->ca = value;
    } else if ((value = after(argument, "uri=")) != NULL) {
        order->spec.uri = value;
    } else if ((value = after(argument, "host=")) != NULL) {
        order->host = value;
        order->spec.hosts_count = 1;
    } else if ((value = after(argument, "usage=")) != NULL) {
        order->spec.for_servers =
            strcmp(value, "server") == 0 || strcmp(value, "both") == 0;
        order->spec.for_clients =
            strcmp(value, "client") == 0 || strcmp(value, "both") == 0;
    } else if ((value = after(argument, "from=")) != NULL) {
        order->spec.valid_from_s = atol(value);
    } else if ((value = after(argument, "for=")) != NULL) {
        order->spec.valid_for_s = atol(value);
    } else {
        fprintf(stderr, "make_cert: %s?\n", argument);
        exit(64);
    }
}

static void paths(char cert[static PATH_BYTES],
                  char key[static PATH_BYTES],
                  const char *dir,
                  const char *name)
{
    snprintf(cert, PATH_BYTES, "%s/%s.pem", dir, name);
    snprintf(key, PATH_BYTES, "%s/%s.key", dir, name);
}

int main(int argc, char **argv)
{
    char cert_path[PATH_BYTES], key_path[PATH_BYTES], error[CERT_ERROR_BYTES];
    struct cert *ca = NULL, *cert = NULL;

    if (argc < 3) {
        fputs("usage: make_cert DIR NAME [KEY=VALUE]...\n", stderr);
        return 64;
    }
    struct order order = {.spec = {.common_name = argv[2],
                                   .valid_from_s = -HOUR_S,
                                   .valid_for_s = 100 * HOUR_S}};
    for (int i = 3; i < argc; i++) {
        take(&order, argv[i]);
    }
    order.spec.hosts = &order.host;
    order.spec.is_ca = order.ca == NULL;
    int rv = 0;
    if (order.ca != NULL) {
        paths(cert_path, key_path, argv[1], order.ca);
        rv = cert_load(&ca, cert_path, key_path, error);
    }
    if (rv == 0) {
        rv = cert_new(&cert, &order.spec, ca, error);
    }
    if (rv == 0) {
        paths(cert_path, key_path, argv[1], argv[2]);
        rv = cert_save(cert, cert_path, key_path, error);
    }
    cert_free(cert);
    cert_free(ca);
    if (rv != 0) {
        fprintf(stderr, "make_cert: %s\n", error);
    }
    return rv == 0 ? 0 : 1;
}
