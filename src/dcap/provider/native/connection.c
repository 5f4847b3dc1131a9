/* One request to the process, one response from it: finding, connecting, speaking, deadlines.
 *
 * Not the meaning of either. No lock is held while waiting; a connection that failed is closed, never
 * used again. One that lay idle may have been closed by a process that was restarted meanwhile: then
 * the request (each can be repeated) is sent once more over a new one. A process that has too many
 * clients of this user hangs up at once: it is asked a few times more.
 *
 * 0xE040: there is no process, or none that may be believed, or it hung up without an answer.
 * 0xE042: the deadline passed. 0xE046: what came is no response to this request.
 */
#include "connection.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "pool.h"
#include "start.h"

#define FIRST_CAPACITY (32u * 1024u)
#define REASONS_SIZE 700u
#define ATTEMPTS 4u /* after the first: 20, 40, 80 and 160 ms later */

/* Hung up before the first byte of an answer: nothing of the library's concern, but see above. */
#define HUNG_UP 1u

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void answer_forget(struct answer *answer) {
    if (answer->bytes != NULL) {
        explicit_bzero(answer->bytes, answer->size);
        free(answer->bytes);
        answer->bytes = NULL;
    }
}

/* Waits until the socket is ready for `events`; false: the deadline passed. */
static bool wait_for(int socket, short events, int64_t deadline) {
    for (;;) {
        int64_t left = deadline - now_ms();
        if (left <= 0) {
            return false;
        }
        struct pollfd each = {.fd = socket, .events = events};
        int ready = poll(&each, 1, left > INT32_MAX ? INT32_MAX : (int)left);
        if (ready > 0) {
            return true;
        }
        if (ready < 0 && errno != EINTR) {
            return true; /* the call that follows tells what is wrong */
        }
    }
}

static quote3_error_t send_all(int socket, const uint8_t *bytes, size_t size, int64_t deadline) {
    size_t sent = 0;
    while (sent < size) {
        ssize_t more = send(socket, bytes + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (more > 0) {
            sent += (size_t)more;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (!wait_for(socket, POLLOUT, deadline)) {
                return QL_SERVICE_TIMEOUT;
            }
        } else if (errno != EINTR) {
            return HUNG_UP;
        }
    }
    return QL_SUCCESS;
}

/* Makes room for `size` bytes in all. What was there is wiped where it moves away. */
static bool answer_holds(struct answer *answer, size_t size) {
    if (size <= answer->capacity) {
        return true;
    }
    uint8_t *bytes = malloc(size);
    if (bytes == NULL) {
        return false;
    }
    if (answer->bytes != NULL) {
        memcpy(bytes, answer->bytes, answer->size);
        explicit_bzero(answer->bytes, answer->size);
        free(answer->bytes);
    }
    answer->bytes = bytes;
    answer->capacity = size;
    return true;
}

static quote3_error_t receive(int socket, struct answer *answer, enum call call, uint32_t id,
                              int64_t deadline) {
    size_t wanted = 0; /* 0: the header is not there yet */
    if (!answer_holds(answer, FIRST_CAPACITY)) {
        return QL_ERROR_OUT_OF_MEMORY;
    }
    while (wanted == 0 || answer->size < wanted) {
        ssize_t more = recv(socket, answer->bytes + answer->size,
                            answer->capacity - answer->size, MSG_DONTWAIT);
        if (more == 0) {
            return answer->size == 0 ? HUNG_UP : QL_ERROR_MESSAGE_PARSING;
        }
        if (more < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK) {
                if (!wait_for(socket, POLLIN, deadline)) {
                    return QL_SERVICE_TIMEOUT;
                }
            } else if (errno != EINTR) {
                return answer->size == 0 ? HUNG_UP : QL_ERROR_MESSAGE_PARSING;
            }
            continue;
        }
        answer->size += (size_t)more;
        if (wanted == 0 && answer->size >= HEADER_SIZE) {
            wanted = response_size(answer->bytes, call, id);
            if (wanted == 0) {
                return QL_ERROR_MESSAGE_PARSING;
            }
            if (!answer_holds(answer, wanted)) {
                return QL_ERROR_OUT_OF_MEMORY;
            }
        }
        if (wanted != 0 && answer->size < wanted && now_ms() >= deadline) {
            return QL_SERVICE_TIMEOUT; /* a trickle is not an answer either */
        }
    }
    return response_decode(answer->bytes, answer->size, call, id, &answer->response)
               ? QL_SUCCESS
               : QL_ERROR_MESSAGE_PARSING;
}

static quote3_error_t speak(const struct connection *connection, struct request *request,
                            struct answer *answer, int64_t deadline) {
    static _Atomic uint32_t last_id;
    uint32_t id = atomic_fetch_add(&last_id, 1) + 1;
    int64_t left = deadline - now_ms();
    if (left <= 0) {
        return QL_SERVICE_TIMEOUT;
    }
    /* A process of another user would not heed the environment, so it is not told. Behind systemd's
     * socket the peer seems to be root, whoever answers. */
    bool bare = connection->place.kind == PLACE_SYSTEM || connection->peer != connection->euid;
    size_t size = request_seal(request, id, (uint32_t)left, bare);
    answer->size = 0;
    quote3_error_t code = send_all(connection->socket, request->bytes, size, deadline);
    if (code == QL_SUCCESS) {
        code = receive(connection->socket, answer, request->call, id, deadline);
    }
    return code;
}

/* Connects to `place`; else `why` not. */
static bool connect_to(const struct place *place, int64_t deadline, struct connection *connection,
                       const char **why) {
    if (!place_is_safe(place, why)) {
        return false;
    }
    int64_t left = deadline - now_ms();
    left = left < 1 ? 1 : left;
    struct timeval patience = {left / 1000, left % 1000 * 1000};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, place->path, sizeof address.sun_path);
    connection->place = *place;
    connection->owner = getpid();
    connection->euid = geteuid();
    connection->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->socket < 0) {
        *why = "no socket can be made (too many open files?)";
        return false;
    }
    int result;
    setsockopt(connection->socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    do {
        result = connect(connection->socket, (const struct sockaddr *)&address, sizeof address);
    } while (result != 0 && errno == EINTR && now_ms() < deadline);
    if (result == 0 && peer_is_trusted(place, connection->socket, &connection->peer)) {
        return true;
    }
    *why = result == 0               ? "a process of another user answers there"
           : errno == ENOENT         ? "nothing there"
           : errno == ECONNREFUSED   ? "nobody listens"
           : errno == EACCES         ? "no permission"
           : errno == EAGAIN         ? "too busy to accept a connection"
                                     : "cannot connect";
    close(connection->socket);
    return false;
}

struct reasons {
    char text[REASONS_SIZE];
    size_t size;
};

static bool connect_first(const struct places *places, int64_t deadline,
                          struct connection *connection, struct reasons *reasons) {
    reasons->size = 0;
    for (size_t i = 0; i < places->count; i++) {
        const char *why = "";
        if (connect_to(&places->each[i], deadline, connection, &why)) {
            return true;
        }
        int more = snprintf(reasons->text + reasons->size, sizeof reasons->text - reasons->size,
                            "%s%s: %s", i == 0 ? "" : "; ", places->each[i].path, why);
        if (more > 0 && reasons->size + (size_t)more < sizeof reasons->text) {
            reasons->size += (size_t)more;
        }
    }
    return false;
}

/* Starts a process, or waits for the one that another thread starts; false: it did not come. */
static bool connect_started(const struct places *places, int64_t deadline,
                            struct connection *connection, struct reasons *reasons) {
    struct start start = start_process(&places->each[0]);
    struct timespec pause = {0, 2000000};
    while (start_goes_on(&start) && now_ms() < deadline) {
        nanosleep(&pause, NULL);
        pause.tv_nsec = pause.tv_nsec < 32000000 ? pause.tv_nsec * 2 : 50000000;
        if (connect_first(places, deadline, connection, reasons)) {
            start_ended(&start, true);
            return true;
        }
    }
    start_ended(&start, false);
    /* Another thread's start may have ended well just now. */
    return !start.hopeless && connect_first(places, deadline, connection, reasons);
}

static bool connect_process(const struct places *places, int64_t deadline,
                            struct connection *connection) {
    struct reasons reasons = {.text = "$DCAP_PROVIDER_SOCKET is no absolute path of a socket"};
    if (connect_first(places, deadline, connection, &reasons)) {
        return true;
    }
    if (places->count != 0 && places->each[0].kind == PLACE_USER &&
        connect_started(places, deadline, connection, &reasons)) {
        return true;
    }
    log_line(LEVEL_ERROR, "[dcap] No provider process (%s). `dcap provider serve` starts one.",
             reasons.text);
    return false;
}

/* Sleeps before the next attempt; false: there is none. */
static bool pause_before(unsigned attempt, int64_t deadline) {
    int64_t pause = (int64_t)20 << attempt;
    if (attempt >= ATTEMPTS || now_ms() + pause >= deadline) {
        return false;
    }
    struct timespec time = {pause / 1000, pause % 1000 * 1000000};
    nanosleep(&time, NULL);
    return true;
}

quote3_error_t exchange(struct request *request, struct answer *answer, int64_t deadline) {
    struct places places = places_of_caller();
    struct connection connection;
    bool idle = pool_take(&places, &connection);
    bool connected = idle;
    for (unsigned attempt = 0;;) {
        if (!connected && !connect_process(&places, deadline, &connection)) {
            return now_ms() >= deadline ? QL_SERVICE_TIMEOUT : QL_SERVICE_UNAVAILABLE;
        }
        quote3_error_t code = speak(&connection, request, answer, deadline);
        if (code == QL_SUCCESS) {
            pool_give(&connection);
            return code;
        }
        close(connection.socket);
        if (code != HUNG_UP) {
            return code;
        }
        if (!idle && !pause_before(attempt++, deadline)) {
            log_line(LEVEL_ERROR, "[dcap] The provider process hung up without an answer.");
            return QL_SERVICE_UNAVAILABLE;
        }
        connected = false;
        idle = false;
    }
}
