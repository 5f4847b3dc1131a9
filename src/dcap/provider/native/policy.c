/* The default platform policy of an FMSPC (`tee_get_default_platform_policy`).
 *
 * Obeys `quote-provider.md` §2.1, 3.1-3.3.
 */
#include <stdlib.h>

#include "call.h"

static const enum response_tag NEEDED[] = {TOLD_POLICY, 0};

quote3_error_t tee_get_default_platform_policy(const uint8_t *fmspc, uint16_t fmspc_size,
                                               uint8_t **policy, uint32_t *policy_size) {
    if (policy != NULL) {
        *policy = NULL;
    }
    if (policy_size != NULL) {
        *policy_size = 0;
    }
    if (policy == NULL || policy_size == NULL) {
        return refuse(__func__, "no place for an output");
    }
    if (fmspc == NULL || fmspc_size != FMSPC_SIZE) {
        return refuse(__func__, "the FMSPC must be 6 bytes");
    }
    struct request request;
    struct answer answer;
    request_begin(&request, CALL_PLATFORM_POLICY);
    request_field(&request, ASK_FMSPC, fmspc, fmspc_size);
    quote3_error_t code = call_process(&request, &answer, NEEDED, NULL);
    if (code == QL_SUCCESS) {
        *policy = copy_output(response_output(&answer.response, TOLD_POLICY), policy_size);
        code = *policy == NULL ? QL_ERROR_OUT_OF_MEMORY : QL_SUCCESS;
    }
    answer_forget(&answer);
    return code;
}

quote3_error_t tee_free_platform_policy(uint8_t *policy) {
    free(policy);
    return QL_SUCCESS;
}
