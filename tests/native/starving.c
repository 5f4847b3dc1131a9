/* Calls of a quote provider library while memory is short: every allocation fails in turn.
 *
 *     starving LIBRARY CALL …
 *
 * For each call: how many allocations it makes; how often it was refused for want of memory, or failed
 * otherwise; how often there was half of a result; how many allocations were left over. */
#include "each_call.h"

/* An allocator that fails once, on request. */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void __libc_free(void *);
static long left_to_fail = -1;
static int has_failed;
static long live; /* allocations that nobody has freed */

static int fails(void) {
    if (left_to_fail < 0 || left_to_fail-- != 0) {
        return 0;
    }
    has_failed = 1;
    return 1;
}

static void *counted_in(void *allocation) {
    live += allocation != NULL;
    return allocation;
}

void *malloc(size_t size) {
    return fails() ? NULL : counted_in(__libc_malloc(size));
}

void *calloc(size_t count, size_t size) {
    return fails() ? NULL : counted_in(__libc_calloc(count, size));
}

void *realloc(void *old, size_t size) {
    if (fails()) {
        return NULL;
    }
    void *grown = __libc_realloc(old, size);
    return old == NULL ? counted_in(grown) : grown;
}

void free(void *allocation) {
    live -= allocation != NULL;
    __libc_free(allocation);
}

static void starve(int count, char **calls) {
    for (int i = 0; i < count; i++) {
        int refused = 0, other = 0, failed;
        long allocation = 0;
        quiet = 1;
        ask(calls[i]); /* leaves one idle connection, as every call that succeeds */
        long before = live;
        half = 0;
        do {
            has_failed = 0;
            left_to_fail = allocation++;
            int code = ask(calls[i]);
            left_to_fail = -1;
            failed = has_failed;
            if (failed && code != 0) {
                refused += code == 0xE003 || code == 1;
                other += code != 0xE003 && code != 1;
            } else if (!failed) {
                other += code != 0;
            }
        } while (failed && allocation < 1000);
        long left = live - before;
        printf("{\"call\": \"%s\", \"allocations\": %ld, \"refused\": %d, \"other\": %d, "
               "\"half\": %d, \"left\": %ld}\n",
               calls[i], allocation - 1, refused, other, half, left);
    }
}

int main(int count, char **words) {
    if (count < 3) {
        return 2;
    }
    l = open_library(words[1], RTLD_NOW);
    starve(count - 2, words + 2);
    dlclose(l.handle);
    return 0;
}
