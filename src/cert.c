#include "cert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

struct cert {
    X509 *x509;
    EVP_PKEY *key;
};

enum { SERIAL_BYTES = 16, HOST_BYTES_MAX = 253 };

__attribute__((format(printf, 3, 4))) static int
fail(char *ret_error, int rv, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(ret_error, CERT_ERROR_BYTES, format, args);
    va_end(args);
    ERR_clear_error();
    return rv;
}

/* ---- the alternative names ---- */

static bool push_name(GENERAL_NAMES *names, int type, void *value)
{
    GENERAL_NAME *name = GENERAL_NAME_new();

    if (name == NULL) {
        return false;
    }
    GENERAL_NAME_set0_value(name, type, value);
    if (sk_GENERAL_NAME_push(names, name) == 0) {
        GENERAL_NAME_free(name);
        return false;
    }
    return true;
}

static bool push_text(GENERAL_NAMES *names, int type, const char *text)
{
    ASN1_IA5STRING *value = ASN1_IA5STRING_new();

    if (value == NULL || ASN1_STRING_set(value, text, -1) != 1) {
        ASN1_IA5STRING_free(value);
        return false;
    }
    return push_name(names, type, value);
}

static bool is_dns_name(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    size_t len = strlen(text);

    return len > 0 && len <= HOST_BYTES_MAX && strspn(text, allowed) == len &&
           text[0] != '.' && text[0] != '-';
}

static int push_host(GENERAL_NAMES *names, const char *host, char *ret_error)
{
    ASN1_OCTET_STRING *address = a2i_IPADDRESS(host);
    bool pushed;

    if (address != NULL) {
        pushed = push_name(names, GEN_IPADD, address);
    } else if (is_dns_name(host)) {
        pushed = push_text(names, GEN_DNS, host);
    } else {
        return fail(ret_error, -EINVAL,
                    "'%.100s' is neither a host name nor an IP address", host);
    }
    return pushed ? 0 : fail(ret_error, -ENOMEM, "no memory");
}

static int add_names(X509 *x509, const struct cert_spec *spec, char *ret_error)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    int rv = names == NULL ? fail(ret_error, -ENOMEM, "no memory") : 0;

    if (rv == 0 && spec->uri != NULL && !push_text(names, GEN_URI, spec->uri)) {
        rv = fail(ret_error, -ENOMEM, "no memory");
    }
    for (size_t i = 0; i < spec->hosts_count && rv == 0; i++) {
        rv = push_host(names, spec->hosts[i], ret_error);
    }
    if (rv == 0 && sk_GENERAL_NAME_num(names) > 0 &&
        X509_add1_ext_i2d(x509, NID_subject_alt_name, names, 0, 0) != 1) {
        rv = fail(ret_error, -ENOMEM, "no memory");
    }
    GENERAL_NAMES_free(names);
    return rv;
}

/* ---- the rest of a certificate ---- */

static bool add_extension(X509 *x509, const X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;

    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, (X509 *)(uintptr_t)issuer, x509, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool added = extension != NULL && X509_add_ext(x509, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

static bool add_extensions(X509 *x509, const X509 *issuer, const struct cert_spec *spec)
{
    const char *usage = NULL;

    if (spec->for_servers) {
        usage = spec->for_clients ? "serverAuth,clientAuth" : "serverAuth";
    } else if (spec->for_clients) {
        usage = "clientAuth";
    }
    return add_extension(x509, issuer, NID_basic_constraints,
                         spec->is_ca ? "critical,CA:TRUE,pathlen:0"
                                     : "critical,CA:FALSE") &&
           add_extension(x509, issuer, NID_key_usage,
                         spec->is_ca ? "critical,keyCertSign,cRLSign"
                                     : "critical,digitalSignature") &&
           (usage == NULL || add_extension(x509, issuer, NID_ext_key_usage, usage)) &&
           add_extension(x509, issuer, NID_subject_key_identifier, "hash") &&
           add_extension(x509, issuer, NID_authority_key_identifier, "keyid");
}

/* Random, so that two CAs of one name do not clash; positive, as X.509 wants it. */
static bool set_serial(X509 *x509)
{
    unsigned char bytes[SERIAL_BYTES];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return false;
    }
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    BIGNUM *number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool set =
        number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x509)) != NULL;
    BN_free(number);
    return set;
}

static bool fill(struct cert *cert, const struct cert_spec *spec, const X509 *issuer)
{
    X509_NAME *subject = X509_get_subject_name(cert->x509);
    time_t from = time(NULL) + spec->valid_from_s;
    time_t to = from + spec->valid_for_s;

    return X509_set_version(cert->x509, X509_VERSION_3) == 1 && set_serial(cert->x509) &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                      (const unsigned char *)spec->common_name, -1, -1,
                                      0) == 1 &&
           X509_set_issuer_name(cert->x509, X509_get_subject_name(issuer)) == 1 &&
           ASN1_TIME_set(X509_getm_notBefore(cert->x509), from) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(cert->x509), to) != NULL &&
           X509_set_pubkey(cert->x509, cert->key) == 1 &&
           add_extensions(cert->x509, issuer, spec);
}

int cert_new(struct cert **ret,
             const struct cert_spec *spec,
             const struct cert *issuer,
             char ret_error[static CERT_ERROR_BYTES])
{
    struct cert *cert = calloc(1, sizeof(*cert));

    if (cert == NULL) {
        return fail(ret_error, -ENOMEM, "no memory");
    }
    cert->x509 = X509_new();
    cert->key = EVP_EC_gen("P-256");
    const struct cert *signer = issuer != NULL ? issuer : cert;
    int rv = 0;
    if (cert->x509 == NULL || cert->key == NULL || !fill(cert, spec, signer->x509)) {
        const char *why = ERR_reason_error_string(ERR_peek_last_error());
        rv = fail(ret_error, -EINVAL, "'%.64s': %s", spec->common_name,
                  why != NULL ? why : "no memory");
    }
    if (rv == 0) {
        rv = add_names(cert->x509, spec, ret_error);
    }
    if (rv == 0 && X509_sign(cert->x509, signer->key, EVP_sha256()) == 0) {
        rv = fail(ret_error, -ENOMEM, "the certificate cannot be signed");
    }
    if (rv != 0) {
        cert_free(cert);
        return rv;
    }
    *ret = cert;
    return 0;
}

void cert_free(struct cert *cert)
{
    if (cert == NULL) {
        return;
    }
    X509_free(cert->x509);
    EVP_PKEY_free(cert->key);
    free(cert);
}

int cert_uri(const struct cert *cert, char *out, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert->x509, NID_subject_alt_name, NULL, NULL);
    int rv = -ENOENT;

    for (int i = 0; i < sk_GENERAL_NAME_num(names) && rv == -ENOENT; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_URI) {
            const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
            size_t len = (size_t)ASN1_STRING_length(uri);
            rv = len < size ? 0 : -ENOBUFS;
            if (rv == 0) {
                memcpy(out, ASN1_STRING_get0_data(uri), len);
                out[len] = '\0';
            }
        }
    }
    GENERAL_NAMES_free(names);
    return rv;
}

/* ---- files ---- */

int cert_load(struct cert **ret,
              const char *cert_path,
              const char *key_path,
              char ret_error[static CERT_ERROR_BYTES])
{
    struct cert *cert = calloc(1, sizeof(*cert));
    FILE *cert_file = fopen(cert_path, "re");
    FILE *key_file = cert_file == NULL ? NULL : fopen(key_path, "re");
    int rv = 0;

    if (cert == NULL) {
        rv = fail(ret_error, -ENOMEM, "no memory");
    } else if (key_file == NULL) {
        rv = fail(ret_error, -errno, "%.300s: %s",
                  cert_file == NULL ? cert_path : key_path, strerror(errno));
    } else if ((cert->x509 = PEM_read_X509(cert_file, NULL, NULL, NULL)) == NULL) {
        rv = fail(ret_error, -EINVAL, "%.300s: no certificate in PEM form", cert_path);
    } else if ((cert->key = PEM_read_PrivateKey(key_file, NULL, NULL, NULL)) == NULL) {
        rv = fail(ret_error, -EINVAL, "%.300s: no private key in PEM form", key_path);
    } else if (X509_check_private_key(cert->x509, cert->key) != 1) {
        rv = fail(ret_error, -EINVAL, "%.200s: not the key of %.200s", key_path,
                  cert_path);
    }
    if (cert_file != NULL) {
        fclose(cert_file);
    }
    if (key_file != NULL) {
        fclose(key_file);
    }
    if (rv != 0) {
        cert_free(cert);
        return rv;
    }
    *ret = cert;
    return 0;
}

static int create(const char *path, mode_t mode, FILE **ret, char *ret_error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);

    if (fd < 0) {
        return fail(ret_error, -errno, "%.300s: %s", path, strerror(errno));
    }
    *ret = fdopen(fd, "w");
    if (*ret == NULL) {
        close(fd);
        unlink(path);
        return fail(ret_error, -ENOMEM, "no memory");
    }
    return 0;
}

/* Whether everything has reached the disk. */
static bool finish(FILE *file, bool written)
{
    written = written && fflush(file) == 0 && fsync(fileno(file)) == 0;
    return fclose(file) == 0 && written;
}

int cert_save(const struct cert *cert,
              const char *cert_path,
              const char *key_path,
              char ret_error[static CERT_ERROR_BYTES])
{
    FILE *cert_file, *key_file;

    int rv = create(key_path, 0600, &key_file, ret_error);
    if (rv != 0) {
        return rv;
    }
    rv = create(cert_path, 0644, &cert_file, ret_error);
    if (rv != 0) {
        fclose(key_file);
        unlink(key_path);
        return rv;
    }
    bool key_done = finish(
        key_file, PEM_write_PrivateKey(key_file, cert->key, NULL, NULL, 0, NULL, NULL));
    bool cert_done = finish(cert_file, PEM_write_X509(cert_file, cert->x509));
    if (!key_done || !cert_done) {
        rv = fail(ret_error, -EIO, "%.300s: %s", key_done ? cert_path : key_path,
                  strerror(errno));
        unlink(key_path);
        unlink(cert_path);
    }
    return rv;
}
