/* One call of an exported function: what every request carries, and what every answer must have.
 *
 * Not the arguments and structs of each function (collateral.c and the files beside it). Fail closed:
 * an answer without all of its outputs is 0xE01A, whatever its status says.
 */
#include "call.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "environment.h"
#include "log.h"

#define DEADLINE_MS 30000
#define LONGEST_DEADLINE_MS 3600000L

const char *dcap_quoteprov_version(void) {
    return "dcap " DCAP_VERSION " (messages 1)";
}

quote3_error_t refuse(const char *function, const char *what) {
    log_line(LEVEL_ERROR, "[dcap] %s: %s.", function, what);
    return QL_ERROR_INVALID_PARAMETER;
}

/* How long a call may take: $DCAP_PROVIDER_TIMEOUT_MS, if that is a number. */
static int64_t patience_ms(void) {
    const char *text = secure_getenv("DCAP_PROVIDER_TIMEOUT_MS");
    if (text == NULL || text[0] < '0' || text[0] > '9') {
        return DEADLINE_MS;
    }
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    return errno == 0 && *end == 0 && value >= 1 && value <= LONGEST_DEADLINE_MS ? value
                                                                                 : DEADLINE_MS;
}

static void tell_caller(struct request *request) {
    char name[16];
    size_t size = 0;
    const char *program = program_invocation_short_name;
    for (; program != NULL && program[size] != 0 && size < sizeof name - 1; size++) {
        name[size] = program[size];
        if (name[size] < 0x20 || name[size] > 0x7E) {
            name[size] = '?';
        }
    }
    if (size != 0) {
        request_field(request, ASK_CALLER, name, size);
    }
}

static quote3_error_t ask(struct request *request, struct answer *answer, int64_t deadline) {
    int level = log_level();
    if (level >= 0) {
        uint8_t byte = (uint8_t)level;
        request_field(request, ASK_LOG_LEVEL, &byte, 1);
    }
    request_u32(request, ASK_DEADLINE, 0);
    tell_caller(request);
    environment_tell(request);
    if (request->out_of_memory) {
        return QL_ERROR_OUT_OF_MEMORY;
    }
    if (request->too_large) {
        return QL_ERROR_INVALID_PARAMETER;
    }
    return exchange(request, answer, deadline);
}

static const char *meaning_of(quote3_error_t code) {
    switch (code) {
    case QL_SERVICE_TIMEOUT:
        return "the provider process did not answer in time ($DCAP_PROVIDER_TIMEOUT_MS; "
               "30000 without it)";
    case QL_ERROR_MESSAGE_PARSING:
        return "what the provider process said is no answer; is it of another version?";
    case QL_ERROR_OUT_OF_MEMORY:
        return "out of memory";
    case QL_ERROR_INVALID_PARAMETER:
        return "the arguments and the environment are larger than a request may be";
    default:
        return NULL; /* said where it was found */
    }
}

static void pass_on_logs(const struct response *response) {
    for (uint32_t i = 0; i < response->log_count; i++) {
        struct field line = response->logs[i];
        log_text((enum level)line.bytes[0], (const char *)line.bytes + 1, line.size - 1);
    }
}

quote3_error_t call_process(struct request *request, struct answer *answer,
                            const enum response_tag *needed, bool *local) {
    int64_t deadline = now_ms() + patience_ms();
    int cancellation;
    memset(answer, 0, sizeof *answer);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancellation);
    quote3_error_t code = ask(request, answer, deadline);
    request_forget(request);
    pthread_setcancelstate(cancellation, NULL);
    if (local != NULL) {
        *local = code != QL_SUCCESS;
    }
    if (code != QL_SUCCESS) {
        const char *meaning = meaning_of(code);
        if (meaning != NULL) {
            log_line(LEVEL_ERROR, "[dcap] 0x%04X: %s.", (unsigned)code, meaning);
        }
        return code;
    }
    pass_on_logs(&answer->response);
    if (answer->response.status != 0) {
        return answer->response.status;
    }
    if (!response_has(&answer->response, needed)) {
        log_line(LEVEL_ERROR, "[dcap] 0xE01A: the answer of the provider process lacks outputs.");
        return QL_MESSAGE_ERROR;
    }
    return QL_SUCCESS;
}

uint8_t *copy_output(struct field output, uint32_t *size) {
    uint8_t *copy = malloc((size_t)output.size + 1);
    if (copy != NULL) {
        memcpy(copy, output.bytes, output.size);
        copy[output.size] = 0;
        *size = output.size + 1;
    }
    return copy;
}
