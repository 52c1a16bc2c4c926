/* session_request.h - what a session does with one request; part of session.[ch]. */
#ifndef NETLOCK_SESSION_REQUEST_H
#define NETLOCK_SESSION_REQUEST_H

#include "session.h"

/* Decode the frame and handle it. Returns SESSION_NEEDS_NOTHING when it is dealt with, or
 * what it has to wait for: then nothing was done, and the same frame comes again. */
enum session_need
session_handle_frame(struct session *session, const uint8_t *payload, size_t len);

#endif
