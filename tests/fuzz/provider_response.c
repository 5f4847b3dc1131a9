/* Fuzzing of the one place where the native library reads bytes that it did not write: a response.
 *
 *     make -C src/dcap/provider/native OUT=$PWD/.fuzz fuzz
 *     .fuzz/fuzz/decode -max_total_time=60 .fuzz/corpus-native
 *
 * For libFuzzer; `tests/native/mutations.c` calls the same function with a bounded number of mutations.
 * The bytes lie in an allocation of their exact size, and every byte that a decoded response points at
 * is read, so that AddressSanitizer sees the first one too many.
 */
#include <stdlib.h>
#include <string.h>

#include "message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint32_t seen;

static void look_at(struct field field, const uint8_t *bytes, size_t size) {
    if (field.bytes == NULL) {
        return;
    }
    if (field.bytes < bytes || field.bytes > bytes + size ||
        field.size > (size_t)(bytes + size - field.bytes)) {
        abort();
    }
    for (uint32_t i = 0; i < field.size; i++) {
        seen += field.bytes[i];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct response response;
    uint8_t *bytes = malloc(size == 0 ? 1 : size);
    if (bytes == NULL) {
        return 0;
    }
    memcpy(bytes, data, size);
    enum call call = CALL_COLLATERAL;
    uint32_t id = 1;
    if (size >= HEADER_SIZE) {
        call = (enum call)(bytes[6] & 15);
        size_t whole = response_size(bytes, call, id);
        if (whole != 0 && (whole < HEADER_SIZE || whole > HEADER_SIZE + RESPONSE_LIMIT)) {
            abort();
        }
    }
    if (response_decode(bytes, size, call, id, &response)) {
        if (response.log_count > FIELD_LIMIT || (response.status != 0 && response.status >> 8 != 0xE0)) {
            abort();
        }
        for (uint32_t i = 0; i < response.log_count; i++) {
            look_at(response.logs[i], bytes, size);
            if (response.logs[i].size == 0 || response.logs[i].bytes[0] > 2) {
                abort();
            }
        }
        for (int tag = TOLD_VERSION; tag <= TOLD_SERVER; tag++) {
            look_at(response_output(&response, (enum response_tag)tag), bytes, size);
        }
        static const enum response_tag NUMBERS[] = {TOLD_VERSION, TOLD_TEE, 0};
        if (response_has(&response, NUMBERS)) {
            seen += field_u32(response_output(&response, TOLD_VERSION));
        }
        if (response_output(&response, TOLD_CERT_PCE_SVN).bytes != NULL) {
            seen += field_u16(response_output(&response, TOLD_CERT_PCE_SVN));
        }
        free(bytes);
        return 0;
    }
    free(bytes);
    return 0;
}
