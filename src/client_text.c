/* client_text.c - words for return values. */
#include "netlock.h"

#include <string.h>

static const char *own_words(int code)
{
    switch (code) {
    case NETLOCK_EHELD:
        return "held by another client";
    case NETLOCK_ETIMEOUT:
        return "wait timeout passed";
    case NETLOCK_ECANCELLED:
        return "wait was cancelled";
    case NETLOCK_ENOTHELD:
        return "not held";
    case NETLOCK_EEXPIRED:
        return "hold had timed out";
    case NETLOCK_EOTHER:
        return "held by another client, not by this one";
    case NETLOCK_ECONFLICT:
        return "another reader already waits to upgrade";
    case NETLOCK_ELIMIT:
        return "lock exists with another limit";
    case NETLOCK_ESTALE:
        return "another process took over this client id";
    case NETLOCK_EDENIED:
        return "not allowed";
    case NETLOCK_EINVALID:
        return "request refused by the cluster";
    case NETLOCK_EFULL:
        return "a limit of the cluster is reached";
    case NETLOCK_EUNREACHABLE:
        return "no leader could be reached";
    case NETLOCK_ECLOSED:
        return "client was closed";
    case NETLOCK_EPROTOCOL:
        return "server does not speak the netlock protocol";
    default:
        return NULL;
    }
}

const char *netlock_strerror(int rv)
{
    if (rv >= 0)
        return "success";
    const char *words = own_words(-rv);
    if (words == NULL)
        words = strerrordesc_np(-rv);
    return words != NULL ? words : "unknown error";
}
