/* Requests, value to bytes: the client library's side. */
#include "wire_internal.h"

#include <assert.h>
#include <errno.h>

static int put_attach(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__ClientAttachRequest m = GONETLOCK__CLIENT_ATTACH_REQUEST__INIT;
    WIRE_SET_STR(m, client_id, request->client);
    if (request->attach.has_epoch) {
        WIRE_SET(m, epoch, request->attach.epoch);
    }
    WIRE_SET_NONZERO(m, supersede, request->attach.supersede);
    WIRE_SET_STR(m, secret, request->attach.secret);
    return wire_put_message(buf, request->key, &m.base);
}

static int put_detach(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__ClientDetachRequest m = GONETLOCK__CLIENT_DETACH_REQUEST__INIT;
    WIRE_SET_STR(m, client_id, request->client);
    return wire_put_message(buf, request->key, &m.base);
}

static int put_create(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__ClientCreateRequest m = GONETLOCK__CLIENT_CREATE_REQUEST__INIT;
    return wire_put_message(buf, request->key, &m.base);
}

static int put_get_default_id(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__ClientGetDefaultIdRequest m =
        GONETLOCK__CLIENT_GET_DEFAULT_ID_REQUEST__INIT;
    return wire_put_message(buf, request->key, &m.base);
}

static int put_get_attached_ids(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__ClientGetAttachedIdsRequest m =
        GONETLOCK__CLIENT_GET_ATTACHED_IDS_REQUEST__INIT;
    return wire_put_message(buf, request->key, &m.base);
}

static int put_lock(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__LockRequest m = GONETLOCK__LOCK_REQUEST__INIT;
    WIRE_SET_STR(m, client_id, request->client);
    WIRE_SET_STR(m, lock_name, request->lock);
    WIRE_SET_NONZERO(m, type, (Gonetlock__LockType)request->lock_.type);
    WIRE_SET_NONZERO(m, mode, (Gonetlock__LockMode)request->lock_.mode);
    WIRE_SET_NONZERO(m, wait_timeout, request->lock_.wait_timeout_ms);
    WIRE_SET_NONZERO(m, lock_timeout, request->lock_.lock_timeout_ms);
    WIRE_SET_NONZERO(m, connection_drop,
                     (Gonetlock__LockConnectionDrop)request->lock_.drop);
    if (request->lock_.limit > 1) {
        WIRE_SET(m, limit, request->lock_.limit);
    }
    WIRE_SET_NONZERO(m, downgrade, request->lock_.downgrade);
    WIRE_SET_STR(m, owner_info, request->lock_.owner_info);
    if (request->lock_.has_client_time) {
        WIRE_SET(m, client_time, request->lock_.client_time);
    }
    return wire_put_message(buf, request->key, &m.base);
}

static int put_refresh(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__LockRefreshRequest m = GONETLOCK__LOCK_REFRESH_REQUEST__INIT;
    WIRE_SET_STR(m, client_id, request->client);
    WIRE_SET_STR(m, lock_name, request->lock);
    WIRE_SET_NONZERO(m, wait_timeout, request->refresh.wait_timeout_ms);
    WIRE_SET_NONZERO(m, lock_timeout, request->refresh.lock_timeout_ms);
    WIRE_SET_NONZERO(m, token, request->refresh.token);
    if (request->refresh.set_drop) {
        WIRE_SET(m, set_connection_drop,
                 (Gonetlock__LockConnectionDrop)request->refresh.drop);
    }
    if (request->refresh.has_client_time) {
        WIRE_SET(m, client_time, request->refresh.client_time);
    }
    return wire_put_message(buf, request->key, &m.base);
}

static int put_release(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__LockReleaseRequest m = GONETLOCK__LOCK_RELEASE_REQUEST__INIT;
    WIRE_SET_STR(m, client_id, request->client);
    WIRE_SET_STR(m, lock_name, request->lock);
    WIRE_SET_NONZERO(m, token, request->release.token);
    return wire_put_message(buf, request->key, &m.base);
}

static int put_status(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__LockStatusRequest m = GONETLOCK__LOCK_STATUS_REQUEST__INIT;
    WIRE_SET_STR(m, client_id, request->client);
    WIRE_SET_STR(m, lock_name, request->lock);
    return wire_put_message(buf, request->key, &m.base);
}

static int put_hello(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__HelloRequest m = GONETLOCK__HELLO_REQUEST__INIT;
    WIRE_SET_NONZERO(m, version_min, request->hello.version_min);
    WIRE_SET_NONZERO(m, version_max, request->hello.version_max);
    WIRE_SET_STR(m, library, request->hello.library);
    WIRE_SET_STR(m, token, request->hello.token);
    WIRE_SET_NONZERO(m, session_grace, request->hello.session_grace_ms);
    return wire_put_message(buf, request->key, &m.base);
}

static int put_ping(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__PingRequest m = GONETLOCK__PING_REQUEST__INIT;
    WIRE_SET_STR(m, payload, request->ping.payload);
    return wire_put_message(buf, request->key, &m.base);
}

static int put_check_token(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__CheckTokenRequest m = GONETLOCK__CHECK_TOKEN_REQUEST__INIT;
    WIRE_SET_STR(m, lock_name, request->lock);
    WIRE_SET_NONZERO(m, token, request->check_token.token);
    return wire_put_message(buf, request->key, &m.base);
}

static int put_list_locks(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__ListLocksRequest m = GONETLOCK__LIST_LOCKS_REQUEST__INIT;
    WIRE_SET_STR(m, prefix, request->list.prefix);
    WIRE_SET_STR(m, after, request->list.after);
    WIRE_SET_NONZERO(m, max, request->list.max);
    return wire_put_message(buf, request->key, &m.base);
}

static int put_list_clients(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__ListClientsRequest m = GONETLOCK__LIST_CLIENTS_REQUEST__INIT;
    WIRE_SET_STR(m, prefix, request->list.prefix);
    WIRE_SET_STR(m, after, request->list.after);
    WIRE_SET_NONZERO(m, max, request->list.max);
    return wire_put_message(buf, request->key, &m.base);
}

static int put_force_release(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__ForceReleaseRequest m = GONETLOCK__FORCE_RELEASE_REQUEST__INIT;
    WIRE_SET_STR(m, lock_name, request->lock);
    WIRE_SET_NONZERO(m, token, request->force_release.token);
    return wire_put_message(buf, request->key, &m.base);
}

static int put_cluster_status(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__ClusterStatusRequest m = GONETLOCK__CLUSTER_STATUS_REQUEST__INIT;
    WIRE_SET_NONZERO(m, checkpoint, request->cluster_status.checkpoint);
    return wire_put_message(buf, request->key, &m.base);
}

static int put_backup(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__BackupRequest m = GONETLOCK__BACKUP_REQUEST__INIT;
    WIRE_SET_NONZERO(m, backup, request->backup.backup);
    WIRE_SET_NONZERO(m, offset, request->backup.offset);
    return wire_put_message(buf, request->key, &m.base);
}

static int put_client_kill(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__ClientKillRequest m = GONETLOCK__CLIENT_KILL_REQUEST__INIT;
    WIRE_SET_STR(m, client_id, request->client);
    return wire_put_message(buf, request->key, &m.base);
}

static int put_cluster_change(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__ClusterChangeRequest m = GONETLOCK__CLUSTER_CHANGE_REQUEST__INIT;
    WIRE_SET_NONZERO(m, change, (Gonetlock__ClusterChange)request->cluster_change.change);
    WIRE_SET_NONZERO(m, node_id, request->cluster_change.node_id);
    WIRE_SET_STR(m, peer_address, request->cluster_change.peer_address);
    WIRE_SET_STR(m, client_address, request->cluster_change.client_address);
    WIRE_SET_NONZERO(m, force, request->cluster_change.force);
    return wire_put_message(buf, request->key, &m.base);
}

static int put_node_control(struct wire_buf *buf, const struct wire_request *request)
{
    Gonetlock__NodeControlRequest m = GONETLOCK__NODE_CONTROL_REQUEST__INIT;
    m.has_draining = request->node_control.has_draining;
    m.draining = request->node_control.draining;
    WIRE_SET_NONZERO(m, log_level, (Gonetlock__LogLevel)request->node_control.log_level);
    return wire_put_message(buf, request->key, &m.base);
}

int wire_encode_request(struct wire_buf *buf, const struct wire_request *request)
{
    switch (request->type) {
    case WIRE_REQ_ATTACH:
        return put_attach(buf, request);
    case WIRE_REQ_DETACH:
        return put_detach(buf, request);
    case WIRE_REQ_CREATE:
        return put_create(buf, request);
    case WIRE_REQ_GET_DEFAULT_ID:
        return put_get_default_id(buf, request);
    case WIRE_REQ_GET_ATTACHED_IDS:
        return put_get_attached_ids(buf, request);
    case WIRE_REQ_LOCK:
        return put_lock(buf, request);
    case WIRE_REQ_REFRESH:
        return put_refresh(buf, request);
    case WIRE_REQ_RELEASE:
        return put_release(buf, request);
    case WIRE_REQ_STATUS:
        return put_status(buf, request);
    case WIRE_REQ_HELLO:
        return put_hello(buf, request);
    case WIRE_REQ_PING:
        return put_ping(buf, request);
    case WIRE_REQ_CHECK_TOKEN:
        return put_check_token(buf, request);
    case WIRE_REQ_LIST_LOCKS:
        return put_list_locks(buf, request);
    case WIRE_REQ_LIST_CLIENTS:
        return put_list_clients(buf, request);
    case WIRE_REQ_FORCE_RELEASE:
        return put_force_release(buf, request);
    case WIRE_REQ_CLUSTER_STATUS:
        return put_cluster_status(buf, request);
    case WIRE_REQ_BACKUP:
        return put_backup(buf, request);
    case WIRE_REQ_CLIENT_KILL:
        return put_client_kill(buf, request);
    case WIRE_REQ_CLUSTER_CHANGE:
        return put_cluster_change(buf, request);
    case WIRE_REQ_NODE_CONTROL:
        return put_node_control(buf, request);
    }
    assert(false && "a request type of this build");
    return -EINVAL;
}
