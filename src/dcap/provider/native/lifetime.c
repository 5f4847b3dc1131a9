/* Before, after and between the calls: initialising, cleaning up, clearing the cache.
 *
 * A caller that hears an error from `sgx_qpl_global_init` takes it for "no plugin" and, making SGX
 * quotes, silently falls back to an encrypted PPID (`quote-provider.md` §1.2). So only what the
 * process itself says about the configuration is passed on; that no answer came is logged, and the
 * call that follows fails with the right code.
 */
#include "call.h"
#include "log.h"
#include "pool.h"

#define CACHE_KINDS (1u | 2u | 4u)

static const enum response_tag NOTHING[] = {0};

quote3_error_t sgx_qpl_global_init(void) {
    struct request request;
    struct answer answer;
    bool local = false;
    request_begin(&request, CALL_INIT);
    quote3_error_t code = call_process(&request, &answer, NOTHING, &local);
    answer_forget(&answer);
    if (local) {
        log_line(LEVEL_WARNING, "[dcap] %s: no answer (0x%04X); the calls that follow will fail.",
                 __func__, (unsigned)code);
        return QL_SUCCESS;
    }
    return code;
}

quote3_error_t sgx_qpl_global_cleanup(void) {
    pool_drain();
    return QL_SUCCESS;
}

quote3_error_t sgx_qpl_clear_cache(uint32_t kinds) {
    if ((kinds & ~CACHE_KINDS) != 0) {
        return refuse(__func__, "the kinds of cache are 1, 2, 4 and their sums");
    }
    if (kinds == 0) {
        return QL_SUCCESS;
    }
    struct request request;
    struct answer answer;
    request_begin(&request, CALL_CLEAR_CACHE);
    request_u32(&request, ASK_MASK, kinds);
    quote3_error_t code = call_process(&request, &answer, NOTHING, NULL);
    answer_forget(&answer);
    return code;
}
