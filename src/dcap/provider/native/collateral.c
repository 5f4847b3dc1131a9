/* Collateral for SGX and TDX quotes, with and without a custom parameter.
 *
 * One allocation holds the struct and everything it points at, so there is no half of it.
 * Obeys `quote-provider.md` §2.2, 3.1-3.3; the arguments are checked as Intel's client checks them.
 */
#include <stdlib.h>
#include <string.h>

#include "call.h"

/* Which field of the struct takes which output. */
struct slot {
    enum response_tag tag;
    size_t text;
    size_t size;
};
#define SLOT(tag, member)                                                                         \
    {tag, offsetof(sgx_ql_qve_collateral_t, member),                                              \
     offsetof(sgx_ql_qve_collateral_t, member##_size)}
static const struct slot SLOTS[] = {
    SLOT(TOLD_PCK_CRL_ISSUER_CHAIN, pck_crl_issuer_chain),
    SLOT(TOLD_ROOT_CA_CRL, root_ca_crl),
    SLOT(TOLD_PCK_CRL, pck_crl),
    SLOT(TOLD_TCB_INFO_ISSUER_CHAIN, tcb_info_issuer_chain),
    SLOT(TOLD_TCB_INFO, tcb_info),
    SLOT(TOLD_QE_IDENTITY_ISSUER_CHAIN, qe_identity_issuer_chain),
    SLOT(TOLD_QE_IDENTITY, qe_identity),
};
#define SLOT_COUNT (sizeof SLOTS / sizeof *SLOTS)

static const enum response_tag NEEDED[] = {
    TOLD_VERSION,
    TOLD_TEE,
    TOLD_PCK_CRL_ISSUER_CHAIN,
    TOLD_ROOT_CA_CRL,
    TOLD_PCK_CRL,
    TOLD_TCB_INFO_ISSUER_CHAIN,
    TOLD_TCB_INFO,
    TOLD_QE_IDENTITY_ISSUER_CHAIN,
    TOLD_QE_IDENTITY,
    0,
};

static quote3_error_t build(const struct response *response, uint32_t tee,
                            sgx_ql_qve_collateral_t **out) {
    uint32_t version = field_u32(response_output(response, TOLD_VERSION));
    if (version == 0 || field_u32(response_output(response, TOLD_TEE)) != tee) {
        return QL_MESSAGE_ERROR;
    }
    size_t total = sizeof(sgx_ql_qve_collateral_t);
    for (size_t i = 0; i < SLOT_COUNT; i++) {
        total += response_output(response, SLOTS[i].tag).size + (size_t)1;
    }
    sgx_ql_qve_collateral_t *collateral = calloc(1, total);
    if (collateral == NULL) {
        return QL_ERROR_OUT_OF_MEMORY;
    }
    collateral->version = version;
    collateral->tee_type = tee;
    char *at = (char *)(collateral + 1);
    for (size_t i = 0; i < SLOT_COUNT; i++) {
        struct field output = response_output(response, SLOTS[i].tag);
        uint32_t size = output.size + 1;
        memcpy(at, output.bytes, output.size);
        memcpy((char *)collateral + SLOTS[i].text, &at, sizeof at);
        memcpy((char *)collateral + SLOTS[i].size, &size, sizeof size);
        at += size;
    }
    *out = collateral;
    return QL_SUCCESS;
}

static quote3_error_t get(const char *function, uint32_t tee, const uint8_t *fmspc,
                          uint16_t fmspc_size, const char *ca, const void *custom,
                          uint16_t custom_size, sgx_ql_qve_collateral_t **out) {
    if (out == NULL) {
        return refuse(function, "no place for the output");
    }
    *out = NULL;
    if (fmspc == NULL || fmspc_size != FMSPC_SIZE) {
        return refuse(function, "the FMSPC must be 6 bytes");
    }
    if (ca == NULL || (strcmp(ca, "processor") != 0 && strcmp(ca, "platform") != 0)) {
        return refuse(function, "the CA must be \"processor\" or \"platform\"");
    }
    if ((custom == NULL) != (custom_size == 0)) {
        return refuse(function, "the custom parameter must have both bytes and a size, or neither");
    }
    struct request request;
    struct answer answer;
    request_begin(&request, CALL_COLLATERAL);
    request_u32(&request, ASK_TEE, tee);
    request_field(&request, ASK_FMSPC, fmspc, fmspc_size);
    request_text(&request, ASK_CA, ca);
    if (custom != NULL) {
        request_field(&request, ASK_CUSTOM_PARAMETER, custom, custom_size);
    }
    quote3_error_t code = call_process(&request, &answer, NEEDED, NULL);
    if (code == QL_SUCCESS) {
        code = build(&answer.response, tee, out);
    }
    answer_forget(&answer);
    return code;
}

quote3_error_t sgx_ql_get_quote_verification_collateral(const uint8_t *fmspc, uint16_t fmspc_size,
                                                        const char *ca,
                                                        sgx_ql_qve_collateral_t **out) {
    return get(__func__, TEE_SGX, fmspc, fmspc_size, ca, NULL, 0, out);
}

quote3_error_t sgx_ql_get_quote_verification_collateral_with_params(
    const uint8_t *fmspc, uint16_t fmspc_size, const char *ca, const void *custom,
    uint16_t custom_size, sgx_ql_qve_collateral_t **out) {
    return get(__func__, TEE_SGX, fmspc, fmspc_size, ca, custom, custom_size, out);
}

quote3_error_t tdx_ql_get_quote_verification_collateral(const uint8_t *fmspc, uint16_t fmspc_size,
                                                        const char *ca,
                                                        sgx_ql_qve_collateral_t **out) {
    return get(__func__, TEE_TDX, fmspc, fmspc_size, ca, NULL, 0, out);
}

quote3_error_t tdx_ql_get_quote_verification_collateral_with_params(
    const uint8_t *fmspc, uint16_t fmspc_size, const char *ca, const void *custom,
    uint16_t custom_size, sgx_ql_qve_collateral_t **out) {
    return get(__func__, TEE_TDX, fmspc, fmspc_size, ca, custom, custom_size, out);
}

quote3_error_t sgx_ql_free_quote_verification_collateral(sgx_ql_qve_collateral_t *collateral) {
    free(collateral);
    return QL_SUCCESS;
}

quote3_error_t tdx_ql_free_quote_verification_collateral(sgx_ql_qve_collateral_t *collateral) {
    free(collateral);
    return QL_SUCCESS;
}
