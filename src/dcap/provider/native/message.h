/* The messages between the library and the process: constants, and the values they become.
 *
 * Not a connection (connection.h). Version 1, all numbers little-endian:
 *
 *   header, 24 bytes   "DCQP" · u16 version · u16 kind · u32 id · u32 status · u32 fields · u32 length
 *   each field         u16 tag · u16 zero · u32 size · bytes          (they fill `length` exactly)
 *
 * A request's kind is its call, a response's the call | 0x8000. Each tag stands once, but LOG and
 * ENVIRONMENT. Text carries no NUL.
 */
#ifndef DCAP_MESSAGE_H
#define DCAP_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_VERSION 1u
#define HEADER_SIZE 24u
#define FIELD_HEADER_SIZE 8u
#define REQUEST_LIMIT (256u * 1024u)
#define RESPONSE_LIMIT (1024u * 1024u) /* of what follows the header */
#define FIELD_LIMIT 64u
#define IS_RESPONSE 0x8000u

enum call {
    CALL_INIT = 1,
    CALL_QUOTE_CONFIG = 2,
    CALL_COLLATERAL = 3,
    CALL_QVE_IDENTITY = 4,
    CALL_ROOT_CA_CRL = 5,
    CALL_PLATFORM_POLICY = 6,
    CALL_CLEAR_CACHE = 7,
    CALL_REVOCATION_INFO = 8,
    CALL_QE_IDENTITY = 9,
    CALL_WRITE_PERSISTENT = 10,
    CALL_READ_PERSISTENT = 11,
    CALL_PING = 12,
};

enum request_tag {
    ASK_ENVIRONMENT = 1,
    ASK_DEADLINE = 2,
    ASK_LOG_LEVEL = 3,
    ASK_CALLER = 4,
    ASK_QE_ID = 16,
    ASK_CPU_SVN = 17,
    ASK_PCE_SVN = 18,
    ASK_PCE_ID = 19,
    ASK_ENCRYPTED_PPID = 20,
    ASK_TEE = 21,
    ASK_FMSPC = 22,
    ASK_CA = 23,
    ASK_CUSTOM_PARAMETER = 24,
    ASK_MASK = 25,
    ASK_LABEL = 26,
    ASK_BLOB = 27,
    ASK_CRL_URLS = 28,
};

enum response_tag {
    TOLD_LOG = 1,
    TOLD_VERSION = 48, /* the first of the outputs */
    TOLD_TEE = 49,
    TOLD_PCK_CRL_ISSUER_CHAIN = 50,
    TOLD_ROOT_CA_CRL = 51,
    TOLD_PCK_CRL = 52,
    TOLD_TCB_INFO_ISSUER_CHAIN = 53,
    TOLD_TCB_INFO = 54,
    TOLD_QE_IDENTITY_ISSUER_CHAIN = 55,
    TOLD_QE_IDENTITY = 56,
    TOLD_QVE_IDENTITY = 57,
    TOLD_QVE_IDENTITY_ISSUER_CHAIN = 58,
    TOLD_CERT_CPU_SVN = 59,
    TOLD_CERT_PCE_SVN = 60,
    TOLD_CERT_DATA = 61,
    TOLD_POLICY = 62,
    TOLD_BLOB = 63,
    TOLD_SERVER = 64, /* the last of them */
};

/* A request being written. The environment comes last, so that it can be left away. */
struct request {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    uint32_t count;
    enum call call;
    bool out_of_memory;
    bool too_large;
    size_t deadline_at; /* where the deadline's value stands; 0: nowhere yet */
    size_t bare_size;   /* the request without the environment */
    uint32_t bare_count;
};

void request_begin(struct request *request, enum call call);
void request_field(struct request *request, enum request_tag tag, const void *bytes, size_t size);
void request_text(struct request *request, enum request_tag tag, const char *text);
void request_u16(struct request *request, enum request_tag tag, uint16_t value);
void request_u32(struct request *request, enum request_tag tag, uint32_t value);
/* Fills in header and deadline; how many of `bytes` are to be sent, `bare` without the environment. */
size_t request_seal(struct request *request, uint32_t id, uint32_t deadline_ms, bool bare);
void request_forget(struct request *request);

/* A part of a response's bytes; `bytes` is NULL where the field is missing. */
struct field {
    const uint8_t *bytes;
    uint32_t size;
};

struct response {
    uint32_t status;
    uint32_t log_count;
    struct field logs[FIELD_LIMIT]; /* level, then text */
    struct field outputs[TOLD_SERVER - TOLD_VERSION + 1];
};

/* How long the response is that begins so, with its header; 0: it is none to this request. */
size_t response_size(const uint8_t header[HEADER_SIZE], enum call call, uint32_t id);
/* Whether `bytes` are exactly one response to this request; `response` points into them. */
bool response_decode(const uint8_t *bytes, size_t size, enum call call, uint32_t id,
                     struct response *response);
struct field response_output(const struct response *response, enum response_tag tag);
/* Whether all of `tags` (ended by 0) are there and not empty. */
bool response_has(const struct response *response, const enum response_tag *tags);
uint16_t field_u16(struct field field);
uint32_t field_u32(struct field field);

#endif
