/* Where the process may be, in which order, and whom the library believes there.
 *
 * Not connecting (connection.c), not starting (start.c). What arrives over the socket is checked by
 * the process and again by the consumer; but a stranger's process could still answer "no such
 * platform" or keep what it is told, so it is not spoken to.
 *
 * 1. $DCAP_PROVIDER_SOCKET: that, or nothing. 2. The user's: $XDG_RUNTIME_DIR/dcap/provider.sock, or
 * without that variable /tmp/dcap-<euid>/provider.sock. 3. The system's: /run/dcap/provider.sock.
 * Believed: root, the caller himself, and in /run/dcap the owner of that folder, if nobody but he
 * and root can write it.
 */
#include "place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SYSTEM_FOLDER
#define SYSTEM_FOLDER "/run/dcap"
#endif
#define SOCKET_NAME "provider.sock"

static bool write_path(struct place *place, enum place_kind kind, const char *path) {
    place->kind = kind;
    int length = snprintf(place->path, sizeof place->path, "%s", path);
    return length > 0 && (size_t)length < sizeof place->path && place->path[0] == '/';
}

struct places places_of_caller(void) {
    struct places places = {0};
    const char *named = secure_getenv("DCAP_PROVIDER_SOCKET");
    if (named != NULL) {
        places.count = write_path(&places.each[0], PLACE_NAMED, named) ? 1 : 0;
        return places;
    }
    char path[512];
    const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
    if (runtime != NULL && runtime[0] == '/') {
        snprintf(path, sizeof path, "%s/dcap/" SOCKET_NAME, runtime);
    } else {
        snprintf(path, sizeof path, "/tmp/dcap-%u/" SOCKET_NAME, (unsigned)geteuid());
    }
    places.count += write_path(&places.each[places.count], PLACE_USER, path);
    places.count +=
        write_path(&places.each[places.count], PLACE_SYSTEM, SYSTEM_FOLDER "/" SOCKET_NAME);
    return places;
}

/* What the folder of the socket is; a link is a link. */
static bool read_folder(const struct place *place, struct stat *folder) {
    char path[sizeof place->path];
    const char *slash = strrchr(place->path, '/');
    size_t length = (size_t)(slash - place->path);
    memcpy(path, place->path, length);
    path[length] = 0;
    return lstat(path, folder) == 0;
}

bool place_is_safe(const struct place *place, const char **why) {
    struct stat folder;
    if (place->kind != PLACE_USER) {
        return true; /* the peer is looked at */
    }
    if (!read_folder(place, &folder)) {
        *why = "no such folder";
        return false;
    }
    if (!S_ISDIR(folder.st_mode) || folder.st_uid != geteuid() || (folder.st_mode & 077) != 0) {
        *why = "the folder is not yours alone (it must be a directory of yours, mode 0700)";
        return false;
    }
    return true;
}

bool peer_is_trusted(const struct place *place, int socket, uid_t *uid) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || size != sizeof peer) {
        return false;
    }
    *uid = peer.uid;
    if (peer.uid == 0 || peer.uid == geteuid()) {
        return true;
    }
    struct stat folder;
    return place->kind == PLACE_SYSTEM && read_folder(place, &folder) && S_ISDIR(folder.st_mode) &&
           folder.st_uid == peer.uid && (folder.st_mode & 022) == 0;
}
