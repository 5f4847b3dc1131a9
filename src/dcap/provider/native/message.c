/* The messages between the library and the process: values to bytes, bytes to values, bounded.
 *
 * Not a connection: nothing is sent or received here, nothing is trusted. Layout: message.h.
 */
#include "message.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t MAGIC[4] = {'D', 'C', 'Q', 'P'};

static uint16_t read_u16(const uint8_t *at) {
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t read_u32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void write_u16(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static void write_u32(uint8_t *at, uint32_t value) {
    write_u16(at, (uint16_t)value);
    write_u16(at + 2, (uint16_t)(value >> 16));
}

/* Requests */

void request_begin(struct request *request, enum call call) {
    memset(request, 0, sizeof *request);
    request->call = call;
    request->capacity = 4096;
    request->bytes = malloc(request->capacity);
    request->out_of_memory = request->bytes == NULL;
    request->size = HEADER_SIZE;
    request->bare_size = HEADER_SIZE;
}

static bool make_room(struct request *request, size_t more) {
    if (request->out_of_memory || request->too_large) {
        return false;
    }
    if (more > REQUEST_LIMIT - request->size || request->count == FIELD_LIMIT) {
        request->too_large = true;
        return false;
    }
    if (more > request->capacity - request->size) {
        size_t capacity = request->capacity;
        while (capacity - request->size < more) {
            capacity *= 2;
        }
        uint8_t *bytes = realloc(request->bytes, capacity);
        if (bytes == NULL) {
            request->out_of_memory = true;
            return false;
        }
        request->bytes = bytes;
        request->capacity = capacity;
    }
    return true;
}

void request_field(struct request *request, enum request_tag tag, const void *bytes, size_t size) {
    if (size > REQUEST_LIMIT) {
        request->too_large = true;
    }
    if (!make_room(request, FIELD_HEADER_SIZE + size)) {
        return;
    }
    uint8_t *at = request->bytes + request->size;
    write_u16(at, (uint16_t)tag);
    write_u16(at + 2, 0);
    write_u32(at + 4, (uint32_t)size);
    if (size != 0) {
        memcpy(at + FIELD_HEADER_SIZE, bytes, size);
    }
    if (tag == ASK_DEADLINE) {
        request->deadline_at = request->size + FIELD_HEADER_SIZE;
    }
    request->size += FIELD_HEADER_SIZE + size;
    request->count++;
    if (tag != ASK_ENVIRONMENT) {
        request->bare_size = request->size;
        request->bare_count = request->count;
    }
}

void request_text(struct request *request, enum request_tag tag, const char *text) {
    request_field(request, tag, text, strlen(text));
}

void request_u16(struct request *request, enum request_tag tag, uint16_t value) {
    uint8_t bytes[2];
    write_u16(bytes, value);
    request_field(request, tag, bytes, sizeof bytes);
}

void request_u32(struct request *request, enum request_tag tag, uint32_t value) {
    uint8_t bytes[4];
    write_u32(bytes, value);
    request_field(request, tag, bytes, sizeof bytes);
}

size_t request_seal(struct request *request, uint32_t id, uint32_t deadline_ms, bool bare) {
    size_t size = bare ? request->bare_size : request->size;
    uint8_t *at = request->bytes;
    memcpy(at, MAGIC, sizeof MAGIC);
    write_u16(at + 4, MESSAGE_VERSION);
    write_u16(at + 6, (uint16_t)request->call);
    write_u32(at + 8, id);
    write_u32(at + 12, 0);
    write_u32(at + 16, bare ? request->bare_count : request->count);
    write_u32(at + 20, (uint32_t)(size - HEADER_SIZE));
    if (request->deadline_at != 0) {
        write_u32(at + request->deadline_at, deadline_ms);
    }
    return size;
}

void request_forget(struct request *request) {
    if (request->bytes != NULL) {
        explicit_bzero(request->bytes, request->size);
        free(request->bytes);
        request->bytes = NULL;
    }
}

/* Responses */

size_t response_size(const uint8_t header[HEADER_SIZE], enum call call, uint32_t id) {
    uint32_t status = read_u32(header + 12);
    uint32_t count = read_u32(header + 16);
    uint32_t length = read_u32(header + 20);
    bool ours = memcmp(header, MAGIC, sizeof MAGIC) == 0 &&
                read_u16(header + 4) == MESSAGE_VERSION &&
                read_u16(header + 6) == ((unsigned)call | IS_RESPONSE) &&
                read_u32(header + 8) == id && (status == 0 || (status >> 8) == 0xE0) &&
                status != 0xE000 && count <= FIELD_LIMIT &&
                length <= RESPONSE_LIMIT && length >= count * FIELD_HEADER_SIZE;
    return ours ? HEADER_SIZE + (size_t)length : 0;
}

/* Which size a field must have, where the format says so; text and CRLs have any. */
static bool fits(enum response_tag tag, const uint8_t *bytes, uint32_t size) {
    switch (tag) {
    case TOLD_LOG:
        return size >= 1 && bytes[0] <= 2;
    case TOLD_VERSION:
    case TOLD_TEE:
        return size == 4;
    case TOLD_CERT_CPU_SVN:
        return size == 16;
    case TOLD_CERT_PCE_SVN:
        return size == 2;
    case TOLD_ROOT_CA_CRL:
    case TOLD_PCK_CRL:
    case TOLD_BLOB:
        return true;
    default: /* text: a NUL in it would hide what follows from every C program */
        return memchr(bytes, 0, size) == NULL;
    }
}

bool response_decode(const uint8_t *bytes, size_t size, enum call call, uint32_t id,
                     struct response *response) {
    memset(response, 0, sizeof *response);
    if (size < HEADER_SIZE || response_size(bytes, call, id) != size) {
        return false;
    }
    response->status = read_u32(bytes + 12);
    uint32_t count = read_u32(bytes + 16);
    size_t at = HEADER_SIZE;
    for (uint32_t i = 0; i < count; i++) {
        if (size - at < FIELD_HEADER_SIZE) {
            return false;
        }
        unsigned tag = read_u16(bytes + at);
        unsigned zero = read_u16(bytes + at + 2);
        uint32_t length = read_u32(bytes + at + 4);
        at += FIELD_HEADER_SIZE;
        if (zero != 0 || length > size - at) {
            return false;
        }
        struct field field = {bytes + at, length};
        at += length;
        if (tag != TOLD_LOG && (tag < TOLD_VERSION || tag > TOLD_SERVER)) {
            return false;
        }
        if (!fits((enum response_tag)tag, field.bytes, length)) {
            return false;
        }
        if (tag == TOLD_LOG) {
            response->logs[response->log_count++] = field;
            continue;
        }
        struct field *output = &response->outputs[tag - TOLD_VERSION];
        if (output->bytes != NULL) {
            return false;
        }
        *output = field;
    }
    return at == size;
}

struct field response_output(const struct response *response, enum response_tag tag) {
    return response->outputs[tag - TOLD_VERSION];
}

bool response_has(const struct response *response, const enum response_tag *tags) {
    for (; *tags != 0; tags++) {
        struct field output = response_output(response, *tags);
        if (output.bytes == NULL || output.size == 0) {
            return false;
        }
    }
    return true;
}

uint16_t field_u16(struct field field) {
    return read_u16(field.bytes);
}

uint32_t field_u32(struct field field) {
    return read_u32(field.bytes);
}
