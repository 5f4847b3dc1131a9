/* QvE identity and root CA CRL: what a verifier asks for beside the collateral.
 *
 * Obeys `quote-provider.md` §2.1, 3.1-3.3. All sizes count the NUL.
 */
#include <stdlib.h>

#include "call.h"
#include "log.h"

static const enum response_tag QVE_NEEDED[] = {TOLD_QVE_IDENTITY, TOLD_QVE_IDENTITY_ISSUER_CHAIN,
                                               0};
static const enum response_tag CRL_NEEDED[] = {TOLD_ROOT_CA_CRL, 0};

quote3_error_t sgx_ql_get_qve_identity(char **identity, uint32_t *identity_size, char **chain,
                                       uint32_t *chain_size) {
    if (identity != NULL) {
        *identity = NULL;
    }
    if (chain != NULL) {
        *chain = NULL;
    }
    if (identity_size != NULL) {
        *identity_size = 0;
    }
    if (chain_size != NULL) {
        *chain_size = 0;
    }
    if (identity == NULL || identity_size == NULL || chain == NULL || chain_size == NULL) {
        return refuse(__func__, "no place for an output");
    }
    struct request request;
    struct answer answer;
    request_begin(&request, CALL_QVE_IDENTITY);
    quote3_error_t code = call_process(&request, &answer, QVE_NEEDED, NULL);
    if (code == QL_SUCCESS) {
        uint32_t sizes[2] = {0, 0};
        uint8_t *first =
            copy_output(response_output(&answer.response, TOLD_QVE_IDENTITY), &sizes[0]);
        uint8_t *second = copy_output(
            response_output(&answer.response, TOLD_QVE_IDENTITY_ISSUER_CHAIN), &sizes[1]);
        if (first != NULL && second != NULL) {
            *identity = (char *)first;
            *identity_size = sizes[0];
            *chain = (char *)second;
            *chain_size = sizes[1];
        } else {
            free(first);
            free(second);
            code = QL_ERROR_OUT_OF_MEMORY;
        }
    }
    answer_forget(&answer);
    return code;
}

quote3_error_t sgx_ql_free_qve_identity(char *identity, char *chain) {
    free(identity);
    free(chain);
    return QL_SUCCESS;
}

quote3_error_t sgx_ql_get_root_ca_crl(uint8_t **crl, uint16_t *crl_size) {
    if (crl != NULL) {
        *crl = NULL;
    }
    if (crl_size != NULL) {
        *crl_size = 0;
    }
    if (crl == NULL || crl_size == NULL) {
        return refuse(__func__, "no place for an output");
    }
    struct request request;
    struct answer answer;
    request_begin(&request, CALL_ROOT_CA_CRL);
    quote3_error_t code = call_process(&request, &answer, CRL_NEEDED, NULL);
    if (code == QL_SUCCESS) {
        struct field output = response_output(&answer.response, TOLD_ROOT_CA_CRL);
        uint32_t size = 0;
        if (output.size >= UINT16_MAX) {
            /* The size travels in 16 bits: a CRL cut short would be a CRL with fewer entries. */
            log_line(LEVEL_ERROR, "[dcap] A root CA CRL of %u bytes does not fit %s.",
                     (unsigned)output.size, __func__);
            code = QL_MESSAGE_ERROR;
        } else if ((*crl = copy_output(output, &size)) == NULL) {
            code = QL_ERROR_OUT_OF_MEMORY;
        } else {
            *crl_size = (uint16_t)size;
        }
    }
    answer_forget(&answer);
    return code;
}

quote3_error_t sgx_ql_free_root_ca_crl(uint8_t *crl) {
    free(crl);
    return QL_SUCCESS;
}
