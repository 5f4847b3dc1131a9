/* Connections that nobody uses just now: a few, lock-free, of this process alone.
 *
 * A slot is emptied and filled by one atomic exchange, so a connection has one holder at any time, no
 * thread ever waits for another, and a fork in between leaves nothing locked. In a forked child the
 * connections are the parent's: the child closes its copies when it comes across them. When the
 * library is unloaded (`dlclose`, or the end of the program) the idle ones are closed.
 */
#include "pool.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOTS 8u

static _Atomic(struct connection *) idle[SLOTS];

static void discard(struct connection *connection) {
    if (connection != NULL) {
        close(connection->socket);
        free(connection);
    }
}

/* Whether the other end is silent and still there: between two calls it has nothing to say. */
static bool is_quiet(int socket) {
    char byte;
    return recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
}

static bool is_fit(const struct connection *connection, const struct places *places) {
    if (connection->owner != getpid() || connection->euid != geteuid()) {
        return false;
    }
    for (size_t i = 0; i < places->count; i++) {
        if (strcmp(places->each[i].path, connection->place.path) == 0) {
            return is_quiet(connection->socket);
        }
    }
    return false;
}

bool pool_take(const struct places *places, struct connection *connection) {
    for (size_t i = 0; i < SLOTS; i++) {
        if (atomic_load_explicit(&idle[i], memory_order_relaxed) == NULL) {
            continue;
        }
        struct connection *held = atomic_exchange(&idle[i], NULL);
        if (held != NULL && is_fit(held, places)) {
            *connection = *held;
            free(held);
            return true;
        }
        discard(held);
    }
    return false;
}

void pool_give(const struct connection *connection) {
    struct connection *held = malloc(sizeof *held);
    for (size_t i = 0; i < SLOTS && held != NULL; i++) {
        struct connection *empty = NULL;
        *held = *connection;
        if (atomic_compare_exchange_strong(&idle[i], &empty, held)) {
            return;
        }
    }
    close(connection->socket);
    free(held);
}

__attribute__((destructor)) void pool_drain(void) {
    for (size_t i = 0; i < SLOTS; i++) {
        discard(atomic_exchange(&idle[i], NULL));
    }
}
