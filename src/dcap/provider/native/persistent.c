/* Persistent data: where a quoting library keeps its sealed attestation key between two runs.
 *
 * Neither Intel's nor Azure's client has these two; Intel's quoting logic looks for them and keeps
 * the key in memory alone where they fail (`quote-provider.md` §3.1). The blob is sealed, and it is
 * wiped from this library's buffers all the same.
 */
#include <string.h>

#include "call.h"

#define LABEL_LIMIT 255u
#define BLOB_LIMIT (128u * 1024u)

static const enum response_tag NOTHING[] = {0};
static const enum response_tag NEEDED[] = {TOLD_BLOB, 0};

static bool is_label(const char *label) {
    size_t size = label == NULL ? 0 : strnlen(label, LABEL_LIMIT + 1);
    return size >= 1 && size <= LABEL_LIMIT;
}

quote3_error_t sgx_ql_write_persistent_data(const uint8_t *bytes, uint32_t size,
                                            const char *label) {
    if (bytes == NULL || size == 0 || size > BLOB_LIMIT) {
        return refuse(__func__, "the data must be 1 to 131072 bytes");
    }
    if (!is_label(label)) {
        return refuse(__func__, "the label must be 1 to 255 bytes");
    }
    struct request request;
    struct answer answer;
    request_begin(&request, CALL_WRITE_PERSISTENT);
    request_text(&request, ASK_LABEL, label);
    request_field(&request, ASK_BLOB, bytes, size);
    quote3_error_t code = call_process(&request, &answer, NOTHING, NULL);
    answer_forget(&answer);
    return code;
}

/* `*size`: on entry the room in `bytes`, then what is there. Too little room: 0xE002, and `*size` says
 * how much is wanted; otherwise neither is touched by a failure. */
quote3_error_t sgx_ql_read_persistent_data(uint8_t *bytes, uint32_t *size, const char *label) {
    if (bytes == NULL || size == NULL) {
        return refuse(__func__, "no place for the output");
    }
    if (!is_label(label)) {
        return refuse(__func__, "the label must be 1 to 255 bytes");
    }
    struct request request;
    struct answer answer;
    request_begin(&request, CALL_READ_PERSISTENT);
    request_text(&request, ASK_LABEL, label);
    quote3_error_t code = call_process(&request, &answer, NEEDED, NULL);
    if (code == QL_SUCCESS) {
        struct field blob = response_output(&answer.response, TOLD_BLOB);
        if (blob.size <= *size) {
            memcpy(bytes, blob.bytes, blob.size);
        } else {
            code = refuse(__func__, "the buffer is too small");
        }
        *size = blob.size;
    }
    answer_forget(&answer);
    return code;
}
