/* One call of an exported function, from its request to the outputs of its answer. */
#ifndef DCAP_CALL_H
#define DCAP_CALL_H

#include "connection.h"
#include "message.h"
#include "quote_provider.h"

/* Sends the request (which is then gone) and waits for the answer. 0: the process says that the call
 * succeeded, and every output of `needed` (ended by 0) is there and not empty. The answer is to be
 * forgotten in any case. `*local`, if given: whether the code is the library's own. */
quote3_error_t call_process(struct request *request, struct answer *answer,
                            const enum response_tag *needed, bool *local);
/* A copy with a NUL behind it; NULL: no memory. `*size` counts the NUL. */
uint8_t *copy_output(struct field output, uint32_t *size);
/* Says that an argument is not what it must be; the code for that. */
quote3_error_t refuse(const char *function, const char *what);

#endif
