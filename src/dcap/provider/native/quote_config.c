/* The PCK certificate chain and its TCB: what a quoting enclave needs to certify its key.
 *
 * The platform's identifiers go to the process and nowhere else: no message names them.
 * Obeys `quote-provider.md` §3.1-3.3.
 */
#include <stdlib.h>
#include <string.h>

#include "call.h"

static const enum response_tag NEEDED[] = {TOLD_CERT_CPU_SVN, TOLD_CERT_PCE_SVN, TOLD_CERT_DATA, 0};

static const char *fault_of(const sgx_ql_pck_cert_id_t *id) {
    if (id == NULL) {
        return "no platform is given";
    }
    if (id->p_qe3_id == NULL || id->qe3_id_size != QE_ID_SIZE) {
        return "the QE id must be 16 bytes";
    }
    if (id->p_platform_cpu_svn == NULL || id->p_platform_pce_isv_svn == NULL) {
        return "CPUSVN or PCE SVN is missing";
    }
    if (id->p_encrypted_ppid != NULL && id->encrypted_ppid_size != ENCRYPTED_PPID_SIZE) {
        return "an encrypted PPID must be 384 bytes";
    }
    if (id->crypto_suite != CRYPTO_SUITE_RSA_OAEP_3072) {
        return "the crypto suite must be 1 (RSA-OAEP-3072)";
    }
    return NULL;
}

static quote3_error_t build(const struct response *response, sgx_ql_config_t **config) {
    struct field svn = response_output(response, TOLD_CERT_CPU_SVN);
    struct field chain = response_output(response, TOLD_CERT_DATA);
    sgx_ql_config_t *built = calloc(1, sizeof *built + chain.size + 1);
    if (built == NULL) {
        return QL_ERROR_OUT_OF_MEMORY;
    }
    built->version = 1;
    memcpy(built->cert_cpu_svn, svn.bytes, CPU_SVN_SIZE);
    built->cert_pce_isv_svn = field_u16(response_output(response, TOLD_CERT_PCE_SVN));
    built->cert_data_size = chain.size + 1;
    built->p_cert_data = (uint8_t *)(built + 1);
    memcpy(built->p_cert_data, chain.bytes, chain.size);
    *config = built;
    return QL_SUCCESS;
}

quote3_error_t sgx_ql_get_quote_config(const sgx_ql_pck_cert_id_t *id, sgx_ql_config_t **config) {
    if (config == NULL) {
        return refuse(__func__, "no place for the output");
    }
    *config = NULL;
    const char *fault = fault_of(id);
    if (fault != NULL) {
        return refuse(__func__, fault);
    }
    uint16_t pce_svn;
    memcpy(&pce_svn, id->p_platform_pce_isv_svn, sizeof pce_svn);
    struct request request;
    struct answer answer;
    request_begin(&request, CALL_QUOTE_CONFIG);
    request_field(&request, ASK_QE_ID, id->p_qe3_id, QE_ID_SIZE);
    request_field(&request, ASK_CPU_SVN, id->p_platform_cpu_svn, CPU_SVN_SIZE);
    request_u16(&request, ASK_PCE_SVN, pce_svn);
    request_u16(&request, ASK_PCE_ID, id->pce_id);
    if (id->p_encrypted_ppid != NULL) {
        request_field(&request, ASK_ENCRYPTED_PPID, id->p_encrypted_ppid, ENCRYPTED_PPID_SIZE);
    }
    quote3_error_t code = call_process(&request, &answer, NEEDED, NULL);
    if (code == QL_SUCCESS) {
        code = build(&answer.response, config);
    }
    answer_forget(&answer);
    return code;
}

quote3_error_t sgx_ql_free_quote_config(sgx_ql_config_t *config) {
    free(config);
    return QL_SUCCESS;
}
