/* One connection in the making, in either direction:
 *
 *     out: LOOKUP -> CONNECT -> SECURE -> WAIT_REPLY -> done
 *     in:                       SECURE -> WAIT_HELLO -> ANSWER -> done
 *
 * A stage ends by starting the next one, by link_deliver() or by link_fail(); nothing
 * else ends a link. The link owns its timer and ends in the timer's close callback. The
 * socket and the lookup are allocations of their own, because they may outlive the link:
 * a tap takes the socket, and a lookup cannot be stopped once a thread runs it. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feature_level.h"
#include "memory.h"
#include "peer_address.h"
#include "transport_internal.h"
#include "transport_lookup.h"

enum link_stage {
    LINK_LOOKUP,
    LINK_CONNECT,
    LINK_SECURE, /* the handshake of TLS, if there is one */
    LINK_WAIT_REPLY,
    LINK_WAIT_HELLO,
    LINK_ANSWER,
    LINK_ENDED,
};

struct transport_link {
    struct transport *transport;
    struct transport_link *prev, *next;
    enum link_stage stage;
    uv_timer_t timer; /* bounds the stage */
    struct peer_socket *socket;

    /* Outbound. */
    struct raft_uv_connect *request; /* NULL: inbound */
    uint64_t node_id;
    char address[PEER_ADDRESS_BYTES_MAX + 1];
    struct transport_lookup *lookup;
    struct transport_targets targets;
    size_t target_next;

    /* Handshake. */
    uint8_t in[HANDSHAKE_BYTES_MAX];
    size_t in_len;
    size_t in_wanted;
    uint8_t out[HANDSHAKE_BYTES_MAX];
    bool written;
    struct handshake_hello hello;
    struct handshake_reply reply;
};

static void connect_next(struct transport_link *link);
static void on_deadline(uv_timer_t *timer);

/* ---- life of a link ------------------------------------------------------------------------- */

static struct transport_link *link_new(struct transport *transport, enum link_stage stage)
{
    struct transport_link *link = memory_new(sizeof *link);
    link->transport = transport;
    link->stage = stage;
    link->next = transport->links;
    if (link->next != NULL) {
        link->next->prev = link;
    }
    transport->links = link;
    transport->open++;
    int error = uv_timer_init(transport->loop, &link->timer);
    assert(error == 0);
    (void)error;
    link->timer.data = link;
    return link;
}

static void link_set_deadline(struct transport_link *link, uint32_t timeout_ms)
{
    int error = uv_timer_start(&link->timer, on_deadline, timeout_ms, 0);

    assert(error == 0);
    (void)error;
}

static void on_socket_closed(void *arg)
{
    transport_closed_one(arg);
}

static void link_drop_socket(struct transport_link *link)
{
    if (link->socket != NULL) {
        peer_socket_close(link->socket, on_socket_closed, link->transport);
        link->socket = NULL;
    }
}

static void link_on_timer_closed(uv_handle_t *handle)
{
    struct transport_link *link = handle->data;
    struct transport *transport = link->transport;
    struct raft_uv_connect *request = link->request;

    if (link->prev != NULL) {
        link->prev->next = link->next;
    } else {
        transport->links = link->next;
    }
    if (link->next != NULL) {
        link->next->prev = link->prev;
    }
    transport_targets_release(&link->targets);
    free(link);
    /* Never from inside connect(): libraft does not expect that. */
    if (request != NULL) {
        request->cb(request, NULL,
                    transport->closing ? RAFT_CANCELED : RAFT_NOCONNECTION);
    }
    transport_closed_one(transport);
}

static void link_end(struct transport_link *link)
{
    assert(link->stage != LINK_ENDED);
    if (link->request == NULL && link->stage != LINK_LOOKUP) {
        assert(link->transport->handshakes_count > 0);
        link->transport->handshakes_count--;
    }
    link->stage = LINK_ENDED;
    if (link->lookup != NULL) {
        transport_lookup_forget(link->lookup);
    }
    link_drop_socket(link);
    uv_close((uv_handle_t *)&link->timer, link_on_timer_closed);
}

static void link_fail(struct transport_link *link, const char *reason)
{
    if (link->request != NULL) {
        transport_connect_failed(link->transport, link->node_id, link->address, reason);
    }
    link_end(link);
}

/* The socket goes to a tap, and the stream behind it to libraft. */
static void link_deliver(struct transport_link *link)
{
    struct transport *transport = link->transport;
    struct raft_uv_connect *request = link->request;
    struct handshake_hello hello = link->hello;
    uint64_t node_id = request == NULL ? hello.from_node : link->node_id;
    uv_stream_t *stream = NULL;

    int error = transport_tap(transport, node_id, request == NULL ? PEER_IN : PEER_OUT,
                              link->socket, &stream);
    if (error != 0) {
        link_fail(link, uv_strerror(error));
        return;
    }
    link->socket = NULL;
    link_end(link);
    if (request == NULL) {
        transport_accepted(transport, &hello, stream);
        return;
    }
    link->request = NULL; /* answered here, not at the end of the link */
    transport_connect_done(transport, node_id, &link->targets.items[link->target_next - 1],
                           handshake_reply_level(&link->reply));
    request->cb(request, stream, 0);
}

static void on_deadline(uv_timer_t *timer)
{
    struct transport_link *link = timer->data;

    switch (link->stage) {
    case LINK_LOOKUP:
        link_fail(link, "looking up the name takes too long");
        break;
    case LINK_CONNECT:
        link_drop_socket(link);
        if (link->target_next < link->targets.count) {
            connect_next(link);
        } else {
            link_fail(link, "no answer to the connect");
        }
        break;
    case LINK_SECURE:
    case LINK_WAIT_REPLY:
    case LINK_WAIT_HELLO:
    case LINK_ANSWER:
        if (link->request == NULL) {
            transport_log_gated(link->transport, &link->transport->garbage,
                                "a connection to the peer port sent no complete "
                                "handshake in time: closed");
        }
        link_fail(link, "connected, but no answer to the handshake");
        break;
    case LINK_ENDED:
        break;
    }
}

void transport_links_cancel(struct transport *transport)
{
    for (struct transport_link *link = transport->links; link != NULL;
         link = link->next) {
        if (link->stage != LINK_ENDED) {
            link_end(link);
        }
    }
}

/* ---- handshake, both directions ------------------------------------------------------------- */

static void *on_room(void *arg, size_t *ret_len)
{
    struct transport_link *link = arg;

    /* Exactly what the handshake still needs: the bytes behind it are libraft's. */
    *ret_len = link->in_wanted - link->in_len;
    return link->in + link->in_len;
}

static void answer_hello(struct transport_link *link);
static void say_hello(struct transport_link *link);
static void take_reply(struct transport_link *link);

static void
on_handshake_error(struct transport_link *link, const char *what, const char *why)
{
    /* Who says nothing at all only wanted to know whether somebody listens: peer_probe.h. */
    if (link->request == NULL && peer_socket_heard(link->socket)) {
        transport_log_gated(link->transport, &link->transport->garbage,
                            "a connection to the peer port %s: %s", what, why);
    }
    link_fail(link, why);
}

/* What a peer says first when it wants TLS. */
static bool is_tls(const struct transport_link *link)
{
    enum { TLS_HANDSHAKE = 22 };

    return link->in_len > 0 && link->in[0] == TLS_HANDSHAKE;
}

static void on_read(void *arg, size_t len)
{
    struct transport_link *link = arg;

    link->in_len += len;
    int whole = link->stage == LINK_WAIT_HELLO
                    ? handshake_hello_parse(link->in, link->in_len, &link->hello)
                    : handshake_reply_parse(link->in, link->in_len, &link->reply);
    if (whole == -EAGAIN) {
        return;
    }
    if (whole < 0) {
        on_handshake_error(link, "does not speak the peer protocol",
                           is_tls(link) ? "it speaks TLS, and this node does not"
                                        : "closed");
        return;
    }
    link->in_wanted = (size_t)whole;
    if (link->in_len < link->in_wanted) {
        return;
    }
    peer_socket_pause(link->socket);
    if (link->stage == LINK_WAIT_HELLO) {
        answer_hello(link);
    } else {
        take_reply(link);
    }
}

static void on_end(void *arg, int error)
{
    struct transport_link *link = arg;
    const char *why = peer_socket_why(link->socket, error);

    if (link->stage == LINK_CONNECT && link->target_next < link->targets.count) {
        link_drop_socket(link);
        connect_next(link);
    } else if (link->stage == LINK_CONNECT) {
        link_fail(link, why);
    } else {
        on_handshake_error(link, "ended before the end of the handshake", why);
    }
}

static void on_written(void *arg)
{
    struct transport_link *link = arg;

    link->written = true;
    if (link->stage != LINK_ANSWER) {
        return;
    }
    if (link->reply.verdict == HANDSHAKE_WELCOME) {
        link_deliver(link);
    } else {
        link_end(link);
    }
}

/* Say the first @len bytes of link->out. */
static void link_say(struct transport_link *link, size_t len)
{
    int status = peer_socket_write(link->socket, link->out, len);

    if (status == 0) {
        on_written(link);
    } else if (status < 0) {
        link_fail(link, uv_strerror(status));
    }
}

/* Start the handshake on a connected socket: wait for the other side. */
static void handshake_start(struct transport_link *link, enum link_stage stage)
{
    link->stage = stage;
    link->in_wanted = stage == LINK_WAIT_HELLO ? HANDSHAKE_HELLO_HEAD_BYTES
                                               : HANDSHAKE_REPLY_HEAD_BYTES;
    link_set_deadline(link, link->transport->config.handshake_timeout_ms);
    int error = peer_socket_read(link->socket);
    if (error != 0) {
        link_fail(link, uv_strerror(error));
    } else if (stage == LINK_WAIT_REPLY) {
        say_hello(link);
    }
}

/* Who is a peer is through in a moment. Those that wait the longest are none: were the newest to go,
 * a few that say nothing would keep all peers out. */
static void close_oldest_inbound(struct transport_link *newest)
{
    struct transport *transport = newest->transport;
    struct transport_link *oldest = newest;

    for (struct transport_link *link = newest; link != NULL; link = link->next) {
        if (link->request == NULL && link->stage != LINK_ENDED) {
            oldest = link;
        }
    }
    transport_log_gated(
        transport, &transport->crowded,
        "more than %d connections to the peer port are in handshake: closed the oldest",
        TRANSPORT_HANDSHAKES_MAX);
    link_fail(oldest, "");
}

static void on_connected(void *arg)
{
    struct transport_link *link = arg;
    struct transport *transport = link->transport;

    link->stage = LINK_SECURE;
    link_set_deadline(link, transport->config.handshake_timeout_ms);
    if (link->request == NULL && transport->handshakes_count > TRANSPORT_HANDSHAKES_MAX) {
        close_oldest_inbound(link);
    }
}

static void on_open(void *arg)
{
    struct transport_link *link = arg;
    char reason[HANDSHAKE_TEXT_BYTES_MAX + 1];

    if (link->request == NULL) {
        handshake_start(link, LINK_WAIT_HELLO);
    } else if (transport_is_certified(link->transport, peer_socket_identity(link->socket),
                                      link->node_id, reason)) {
        handshake_start(link, LINK_WAIT_REPLY);
    } else {
        link_fail(link, reason);
    }
}

static void link_new_socket(struct transport_link *link)
{
    struct transport *transport = link->transport;
    struct peer_socket_options options = {
        .user_timeout_ms = transport->config.user_timeout_ms,
        .tls = link->request == NULL ? transport->tls.in : transport->tls.out,
    };
    struct peer_socket_user user = {
        .arg = link,
        .on_connected = on_connected,
        .on_open = on_open,
        .on_room = on_room,
        .on_read = on_read,
        .on_written = on_written,
        .on_end = on_end,
    };

    link->socket = peer_socket_new(transport->loop, &options, &user);
    transport->open++;
}

/* ---- inbound -------------------------------------------------------------------------------- */

static void answer_hello(struct transport_link *link)
{
    struct transport *transport = link->transport;
    struct handshake_reply *reply = &link->reply;

    *reply = (struct handshake_reply){.version = HANDSHAKE_VERSION,
                                      .from_node = transport->config.node_id};
    enum handshake_verdict verdict = transport_judge(
        transport, &link->hello, peer_socket_identity(link->socket), reply->reason);
    reply->verdict = verdict;
    if (verdict == HANDSHAKE_WELCOME) {
        snprintf(reply->reason, sizeof reply->reason, "level %" PRIu32, feature_level_max);
    }
    if (verdict != HANDSHAKE_WELCOME) {
        transport_log_gated(transport, &transport->refused_them[verdict],
                            "refused a connection from node %" PRIu64 " (%s): %s",
                            link->hello.from_node, link->hello.address, reply->reason);
    }
    link->stage = LINK_ANSWER;
    link_say(link, handshake_reply_format(reply, link->out));
}

void transport_link_accept(struct transport *transport, uv_stream_t *listener)
{
    struct transport_link *link = link_new(transport, LINK_SECURE);

    transport->handshakes_count++;
    link_new_socket(link);
    int error = peer_socket_accept(link->socket, listener);
    if (error != 0) {
        link_fail(link, uv_strerror(error));
    }
}

/* ---- outbound ------------------------------------------------------------------------------- */

static void take_reply(struct transport_link *link)
{
    struct transport *transport = link->transport;
    const struct handshake_reply *reply = &link->reply;
    uint32_t known = reply->verdict < HANDSHAKE_VERDICTS_COUNT ? reply->verdict : 0;

    if (reply->verdict != HANDSHAKE_WELCOME) {
        transport_log_gated(transport, &transport->refused_us[known],
                            "node %" PRIu64 " at %s refused our connection: %s",
                            link->node_id, link->address, reply->reason);
        if (reply->verdict == HANDSHAKE_STRANGER &&
            transport->config.called_stranger != NULL) {
            transport->config.called_stranger(transport->config.arg, link->node_id);
        }
        link_fail(link, reply->reason);
        return;
    }
    if (reply->from_node != link->node_id) {
        link_fail(link, "another node answers there");
        return;
    }
    /* The socket must not be handed on while a write is under way. */
    if (!link->written) {
        link_fail(link, "an answer came before the question was sent");
        return;
    }
    link_deliver(link);
}

static void say_hello(struct transport_link *link)
{
    struct transport *transport = link->transport;
    struct handshake_hello hello = {
        .version = HANDSHAKE_VERSION,
        .from_node = transport->config.node_id,
        .to_node = link->node_id,
    };

    snprintf(hello.cluster_id, sizeof hello.cluster_id, "%s",
             transport->config.cluster_id);
    snprintf(hello.address, sizeof hello.address, "%s", transport->address);
    link_say(link, handshake_hello_format(&hello, link->out));
}

static void connect_next(struct transport_link *link)
{
    const struct sockaddr *target =
        (const struct sockaddr *)&link->targets.items[link->target_next++];

    link->stage = LINK_CONNECT;
    link_new_socket(link);
    link_set_deadline(link, link->transport->config.connect_timeout_ms);
    int error = peer_socket_connect(link->socket, target);
    if (error != 0) {
        link_fail(link, uv_strerror(error));
    }
}

static void on_found(void *arg, const struct transport_targets *found, int error)
{
    struct transport_link *link = arg;

    link->lookup = NULL;
    if (error != 0) {
        link_fail(link, uv_strerror(error));
        return;
    }
    link->targets.items = memory_resize(NULL, found->count, sizeof *found->items);
    memcpy(link->targets.items, found->items, found->count * sizeof *found->items);
    link->targets.count = found->count;
    connect_next(link);
}

int transport_link_connect(struct raft_uv_transport *face,
                           struct raft_uv_connect *request,
                           raft_id id,
                           const char *address,
                           raft_uv_connect_cb on_connect)
{
    struct transport *transport = face->impl;
    const char *member_address = NULL;
    struct peer_address parsed;

    if (transport->closing) {
        return RAFT_CANCELED;
    }
    /* libraft goes on trying to reach who was removed. */
    if (transport->config.membership(transport->config.arg, id, &member_address) ==
        TRANSPORT_STRANGER) {
        return RAFT_NOCONNECTION;
    }
    if (peer_address_parse(address, &parsed) != 0) {
        transport_connect_failed(transport, id, address, "not a valid address");
        return RAFT_INVALID;
    }
    struct transport_link *link = link_new(transport, LINK_LOOKUP);
    link->request = request;
    request->cb = on_connect;
    link->node_id = id;
    snprintf(link->address, sizeof link->address, "%s", address);
    if (transport_targets_add_numeric(&link->targets, &parsed)) {
        connect_next(link);
        return 0;
    }
    link_set_deadline(link, transport->config.connect_timeout_ms);
    int error = transport_lookup_start(&link->lookup, transport, &parsed, on_found, link);
    if (error != 0) {
        link_fail(link, error == -EBUSY ? "the lookups of earlier attempts have not ended"
                                        : uv_strerror(error));
    }
    return 0;
}
