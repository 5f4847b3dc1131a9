/* Connections that nobody uses just now. */
#ifndef DCAP_POOL_H
#define DCAP_POOL_H

#include <sys/types.h>

#include "place.h"

struct connection {
    int socket;
    pid_t owner;   /* the process that connected: a forked child has its own */
    uid_t euid;    /* as whom it connected */
    uid_t peer;    /* who is at the other end */
    struct place place;
};

/* One that fits; false: there is none. */
bool pool_take(const struct places *places, struct connection *connection);
/* Keeps the connection, or closes it. */
void pool_give(const struct connection *connection);
/* Closes all that are idle. */
void pool_drain(void);

#endif
