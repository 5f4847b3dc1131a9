/* Azure's older functions: revocation info and QE identity, with Azure's structs and error codes.
 *
 * Sizes do not count the NUL here, as in Azure's client (§3.1; its own header of 1.13.1). One
 * allocation holds each result. An answer holds one CRL, so each URL is a call of its own.
 */
#include <stdlib.h>
#include <string.h>

#include "call.h"

#define URL_LIMIT 2048u
#define URLS_LIMIT 16u

static const enum response_tag TCB_NEEDED[] = {TOLD_TCB_INFO, TOLD_TCB_INFO_ISSUER_CHAIN, 0};
static const enum response_tag CRL_NEEDED[] = {TOLD_PCK_CRL, TOLD_PCK_CRL_ISSUER_CHAIN, 0};
static const enum response_tag BOTH_NEEDED[] = {TOLD_TCB_INFO, TOLD_TCB_INFO_ISSUER_CHAIN,
                                                TOLD_PCK_CRL, TOLD_PCK_CRL_ISSUER_CHAIN, 0};
static const enum response_tag QE_NEEDED[] = {TOLD_QE_IDENTITY, TOLD_QE_IDENTITY_ISSUER_CHAIN, 0};

static sgx_plat_error_t translate(quote3_error_t code) {
    switch (code) {
    case QL_SUCCESS:
        return PLAT_OK;
    case QL_ERROR_OUT_OF_MEMORY:
        return PLAT_OUT_OF_MEMORY;
    case QL_ERROR_INVALID_PARAMETER:
        return PLAT_INVALID_PARAMETER;
    case QL_NO_PLATFORM_CERT_DATA:
    case QL_NO_QUOTE_COLLATERAL_DATA:
    case QL_NO_QVE_IDENTITY_DATA:
    case QL_PLATFORM_UNKNOWN:
    case QL_CERTS_UNAVAILABLE:
    case QL_QEIDENTITY_NOT_FOUND:
    case QL_TCBINFO_NOT_FOUND:
        return PLAT_NO_DATA_FOUND;
    default:
        return PLAT_UNEXPECTED_SERVER_RESPONSE;
    }
}

static const char *fault_of(const sgx_ql_get_revocation_info_params_t *parameters) {
    if (parameters == NULL || parameters->version < 1) {
        return "the parameters must be of version 1";
    }
    if ((parameters->fmspc == NULL) != (parameters->fmspc_size == 0) ||
        (parameters->fmspc != NULL && parameters->fmspc_size != FMSPC_SIZE)) {
        return "the FMSPC must be 6 bytes, or missing";
    }
    if ((parameters->crl_urls == NULL) != (parameters->crl_url_count == 0)) {
        return "the CRL URLs must have both a count and pointers, or neither";
    }
    if (parameters->fmspc == NULL && parameters->crl_urls == NULL) {
        return "nothing is asked for";
    }
    for (uint32_t i = 0; i < parameters->crl_url_count && i < URLS_LIMIT; i++) {
        const char *url = parameters->crl_urls[i];
        size_t size = url == NULL ? 0 : strnlen(url, URL_LIMIT + 1);
        if (size == 0 || size > URL_LIMIT || strpbrk(url, "\r\n") != NULL) {
            return "a CRL URL must be one line of 1 to 2048 bytes";
        }
    }
    return NULL;
}

/* Asks for the TCB info (`fmspc`), a CRL (`url`), or both. What else comes is not used. */
static quote3_error_t ask(const uint8_t *fmspc, const char *url, struct answer *answer) {
    struct request request;
    request_begin(&request, CALL_REVOCATION_INFO);
    if (fmspc != NULL) {
        request_field(&request, ASK_FMSPC, fmspc, FMSPC_SIZE);
    }
    request_text(&request, ASK_CRL_URLS, url == NULL ? "" : url);
    return call_process(&request, answer,
                        url == NULL     ? TCB_NEEDED
                        : fmspc == NULL ? CRL_NEEDED
                                        : BOTH_NEEDED,
                        NULL);
}

/* Copies an output to `*at`, a NUL behind it; NULL where there is no such output. */
static char *place_output(const struct answer *answer, enum response_tag tag, char **at,
                          uint32_t *size) {
    struct field output = response_output(&answer->response, tag);
    if (output.bytes == NULL) {
        *size = 0;
        return NULL;
    }
    char *placed = *at;
    memcpy(placed, output.bytes, output.size);
    placed[output.size] = 0;
    *size = output.size;
    *at += output.size + (size_t)1;
    return placed;
}

static size_t room_for(const struct answer *answer) {
    static const enum response_tag ALL[] = {TOLD_TCB_INFO, TOLD_TCB_INFO_ISSUER_CHAIN, TOLD_PCK_CRL,
                                            TOLD_PCK_CRL_ISSUER_CHAIN};
    size_t room = 0;
    for (size_t i = 0; i < sizeof ALL / sizeof *ALL; i++) {
        room += response_output(&answer->response, ALL[i]).size + (size_t)1;
    }
    return room;
}

static sgx_ql_revocation_info_t *build(const struct answer *answers, uint32_t answer_count,
                                       bool has_tcb_info, uint32_t crl_count) {
    size_t total = sizeof(sgx_ql_revocation_info_t) + crl_count * sizeof(sgx_ql_crl_data_t);
    for (uint32_t i = 0; i < answer_count; i++) {
        total += room_for(&answers[i]);
    }
    sgx_ql_revocation_info_t *info = calloc(1, total);
    if (info == NULL) {
        return NULL;
    }
    sgx_ql_crl_data_t *crls = (sgx_ql_crl_data_t *)(info + 1);
    char *at = (char *)(crls + crl_count);
    info->version = 1;
    info->crl_count = crl_count;
    info->crls = crl_count == 0 ? NULL : crls;
    if (has_tcb_info) {
        info->tcb_info = place_output(&answers[0], TOLD_TCB_INFO, &at, &info->tcb_info_size);
        info->tcb_issuer_chain = place_output(&answers[0], TOLD_TCB_INFO_ISSUER_CHAIN, &at,
                                              &info->tcb_issuer_chain_size);
    }
    for (uint32_t i = 0; i < crl_count; i++) {
        crls[i].crl_data = place_output(&answers[i], TOLD_PCK_CRL, &at, &crls[i].crl_data_size);
        crls[i].crl_issuer_chain = place_output(&answers[i], TOLD_PCK_CRL_ISSUER_CHAIN, &at,
                                                &crls[i].crl_issuer_chain_size);
    }
    return info;
}

sgx_plat_error_t sgx_ql_get_revocation_info(const sgx_ql_get_revocation_info_params_t *parameters,
                                            sgx_ql_revocation_info_t **out) {
    if (out == NULL) {
        return translate(refuse(__func__, "no place for the output"));
    }
    *out = NULL;
    const char *fault = fault_of(parameters);
    if (fault != NULL) {
        return translate(refuse(__func__, fault));
    }
    if (parameters->crl_url_count > URLS_LIMIT) {
        return PLAT_OVERFLOW;
    }
    uint32_t crl_count = parameters->crl_url_count;
    uint32_t asked = crl_count == 0 ? 1 : crl_count;
    struct answer *answers = calloc(asked, sizeof *answers);
    quote3_error_t code = answers == NULL ? QL_ERROR_OUT_OF_MEMORY : QL_SUCCESS;
    for (uint32_t i = 0; i < asked && code == QL_SUCCESS; i++) {
        code = ask(parameters->fmspc, crl_count == 0 ? NULL : parameters->crl_urls[i], &answers[i]);
    }
    if (code == QL_SUCCESS) {
        *out = build(answers, asked, parameters->fmspc != NULL, crl_count);
        code = *out == NULL ? QL_ERROR_OUT_OF_MEMORY : QL_SUCCESS;
    }
    for (uint32_t i = 0; answers != NULL && i < asked; i++) {
        answer_forget(&answers[i]);
    }
    free(answers);
    return translate(code);
}

void sgx_ql_free_revocation_info(sgx_ql_revocation_info_t *info) {
    free(info);
}

sgx_plat_error_t sgx_get_qe_identity_info(sgx_qe_identity_info_t **out) {
    if (out == NULL) {
        return translate(refuse(__func__, "no place for the output"));
    }
    *out = NULL;
    struct request request;
    struct answer answer;
    request_begin(&request, CALL_QE_IDENTITY);
    quote3_error_t code = call_process(&request, &answer, QE_NEEDED, NULL);
    if (code == QL_SUCCESS) {
        struct field identity = response_output(&answer.response, TOLD_QE_IDENTITY);
        struct field chain = response_output(&answer.response, TOLD_QE_IDENTITY_ISSUER_CHAIN);
        sgx_qe_identity_info_t *info =
            calloc(1, sizeof *info + (size_t)identity.size + chain.size + 2);
        if (info != NULL) {
            char *at = (char *)(info + 1);
            info->qe_id_info =
                place_output(&answer, TOLD_QE_IDENTITY, &at, &info->qe_id_info_size);
            info->issuer_chain =
                place_output(&answer, TOLD_QE_IDENTITY_ISSUER_CHAIN, &at, &info->issuer_chain_size);
            *out = info;
        } else {
            code = QL_ERROR_OUT_OF_MEMORY;
        }
    }
    answer_forget(&answer);
    return translate(code);
}

void sgx_free_qe_identity_info(sgx_qe_identity_info_t *info) {
    free(info);
}
