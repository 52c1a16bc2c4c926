#include "tls_internal.h"

#include <stdio.h>

#include <openssl/x509v3.h>

static const char scheme[] = "netlock://";

/* 1 to size-1 printable characters without '/', which separates, and '%', which nobody decodes. */
static bool copy_part(char *out, size_t size, const char *data, size_t len)
{
    if (len == 0 || len >= size) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c <= 0x20 || c >= 0x7f || c == '/' || c == '%') {
            return false;
        }
    }
    memcpy(out, data, len);
    out[len] = '\0';
    return true;
}

static bool parse_node_id(const char *text, uint64_t *ret)
{
    uint64_t value = 0;

    if (*text < '1' || *text > '9') {
        return false;
    }
    for (; *text >= '0' && *text <= '9'; text++) {
        if (value > (INT64_MAX - 9) / 10) {
            return false;
        }
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *ret = value;
    return *text == '\0';
}

/* What follows the scheme: CLUSTER/node/ID or CLUSTER/client/NAME. */
static bool parse_uri(const char *text, size_t len, struct tls_identity *ret)
{
    static const char node[] = "/node/", client[] = "/client/";
    const char *slash = memchr(text, '/', len);
    struct tls_identity identity = {0};

    if (slash == NULL ||
        !copy_part(identity.cluster, TLS_CLUSTER_BYTES, text, (size_t)(slash - text))) {
        return false;
    }
    size_t rest = len - (size_t)(slash - text);
    if (rest > strlen(node) && memcmp(slash, node, strlen(node)) == 0) {
        identity.kind = TLS_NODE;
        slash += strlen(node);
        rest -= strlen(node);
    } else if (rest > strlen(client) && memcmp(slash, client, strlen(client)) == 0) {
        identity.kind = TLS_NAMED_CLIENT;
        slash += strlen(client);
        rest -= strlen(client);
    } else {
        return false;
    }
    if (!copy_part(identity.name, TLS_NAME_BYTES, slash, rest)) {
        return false;
    }
    if (identity.kind == TLS_NODE) {
        if (!parse_node_id(identity.name, &identity.node_id)) {
            return false;
        }
        identity.name[0] = '\0';
    }
    *ret = identity;
    return true;
}

/* @names may be NULL. More than one identity is none: whose rights would count? */
static int
from_uris(const GENERAL_NAMES *names, struct tls_identity *ret, char *ret_error)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI) {
            continue;
        }
        const char *uri =
            (const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
        size_t len = (size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier);
        if (len < strlen(scheme) || memcmp(uri, scheme, strlen(scheme)) != 0) {
            continue;
        }
        if (ret->kind != TLS_NOBODY) {
            snprintf(ret_error, TLS_ERROR_BYTES, "it has two netlock:// names");
            return -EINVAL;
        }
        if (!parse_uri(uri + strlen(scheme), len - strlen(scheme), ret)) {
            snprintf(ret_error, TLS_ERROR_BYTES,
                     "its netlock:// name is neither netlock://CLUSTER/node/ID nor "
                     "netlock://CLUSTER/client/NAME");
            return -EINVAL;
        }
    }
    return 0;
}

static void from_common_name(X509 *certificate, struct tls_identity *ret)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    char name[TLS_NAME_BYTES];

    if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0) {
        return;
    }
    const ASN1_STRING *text = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
    if (copy_part(name, sizeof(name), (const char *)ASN1_STRING_get0_data(text),
                  (size_t)ASN1_STRING_length(text))) {
        ret->kind = TLS_NAMED_CLIENT;
        memcpy(ret->name, name, sizeof(name));
    }
}

int tls_identity_of(X509 *certificate, struct tls_identity *ret, char *ret_error)
{
    GENERAL_NAMES *names =
        X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    struct tls_identity identity = {0};

    int rv = from_uris(names, &identity, ret_error);
    GENERAL_NAMES_free(names);
    if (rv != 0) {
        return rv;
    }
    if (identity.kind == TLS_NOBODY) {
        from_common_name(certificate, &identity);
    }
    *ret = identity;
    return 0;
}

bool tls_certificate_is_for(X509 *certificate, enum tls_role role)
{
    uint32_t usage = X509_get_extended_key_usage(certificate);

    return usage != UINT32_MAX &&
           (usage & (role == TLS_SERVER ? XKU_SSL_SERVER : XKU_SSL_CLIENT)) != 0;
}
