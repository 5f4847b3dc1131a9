/* One request to the process, one response from it, within a deadline. */
#ifndef DCAP_CONNECTION_H
#define DCAP_CONNECTION_H

#include <stdint.h>

#include "message.h"
#include "quote_provider.h"

struct answer {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    struct response response; /* points into `bytes` */
};

/* Milliseconds of the monotonic clock. */
int64_t now_ms(void);
/* 0: `answer` holds a whole, well-formed response. `deadline` is a time of `now_ms`. */
quote3_error_t exchange(struct request *request, struct answer *answer, int64_t deadline);
void answer_forget(struct answer *answer);

#endif
