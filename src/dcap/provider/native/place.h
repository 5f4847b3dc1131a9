/* Where the process may be, and whom the library believes there. */
#ifndef DCAP_PLACE_H
#define DCAP_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/un.h>

enum place_kind {
    PLACE_NAMED,  /* $DCAP_PROVIDER_SOCKET */
    PLACE_USER,   /* the user's own */
    PLACE_SYSTEM, /* /run/dcap */
};

struct place {
    enum place_kind kind;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

struct places {
    size_t count;
    struct place each[2]; /* in the order in which they are asked */
};

/* None at all: the path that was named is too long, or not absolute. */
struct places places_of_caller(void);
/* Whether what is at `place` may be asked at all; else `why`. */
bool place_is_safe(const struct place *place, const char **why);
/* Whether the answers of the process at the other end of `socket` may be believed; its user. */
bool peer_is_trusted(const struct place *place, int socket, uid_t *uid);

#endif
