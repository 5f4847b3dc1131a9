/* Mutated responses through the native library's decoder, a bounded number, always the same.
 *
 *     mutations COUNT SEED-FILE …
 *
 * Prints how many were tried and how many of them the decoder took. Built with AddressSanitizer and
 * UBSan; the judging is `LLVMFuzzerTestOneInput`'s (tests/fuzz/provider_response.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"

#define LARGEST 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t state = 0x9E3779B97F4A7C15u;

static uint32_t draw(uint32_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return below == 0 ? 0 : (uint32_t)(state >> 32) % below;
}

static size_t mutate(uint8_t *bytes, size_t size) {
    static const uint8_t ODD[] = {0, 1, 0x7F, 0x80, 0xFF, 8, 63, 64, 65};
    for (uint32_t times = draw(4) + 1; times > 0; times--) {
        uint32_t at = draw((uint32_t)size);
        /* Half of all changes hit the header or the first fields' headers. */
        if (draw(2) == 0) {
            at = draw(size < 64 ? (uint32_t)size : 64);
        }
        switch (draw(6)) {
        case 0:
            bytes[at] ^= (uint8_t)(1u << draw(8));
            break;
        case 1:
            bytes[at] = ODD[draw(sizeof ODD)];
            break;
        case 2:
            size = at + 1;
            break;
        case 3:
            if (size + 8 < LARGEST) {
                memmove(bytes + at + 8, bytes + at, size - at);
                size += 8;
            }
            break;
        case 4: { /* the length that the header says, made right again */
            uint32_t length = (uint32_t)(size - (size < HEADER_SIZE ? size : HEADER_SIZE));
            if (size >= HEADER_SIZE) {
                for (int i = 0; i < 4; i++) {
                    bytes[20 + i] = (uint8_t)(length >> 8 * i);
                }
            }
            break;
        }
        default: {
            uint32_t from = draw((uint32_t)size), count = draw(24);
            if (from + count <= size && at + count <= size) {
                memmove(bytes + at, bytes + from, count);
            }
        }
        }
    }
    return size;
}

int main(int count, char **words) {
    static uint8_t seeds[16][LARGEST], bytes[LARGEST];
    size_t sizes[16];
    int seed_count = 0;
    long taken = 0, wanted = count > 1 ? strtol(words[1], NULL, 10) : 0;
    for (int i = 2; i < count && seed_count < 16; i++) {
        FILE *file = fopen(words[i], "rb");
        if (file == NULL) {
            return 2;
        }
        sizes[seed_count] = fread(seeds[seed_count], 1, LARGEST, file);
        fclose(file);
        if (sizes[seed_count] > 0) {
            seed_count++;
        }
    }
    for (long i = 0; i < wanted && seed_count > 0; i++) {
        int which = (int)draw((uint32_t)seed_count);
        struct response response;
        memcpy(bytes, seeds[which], sizes[which]);
        size_t size = i < seed_count ? sizes[which] : mutate(bytes, sizes[which]);
        LLVMFuzzerTestOneInput(bytes, size);
        taken += response_decode(bytes, size, (enum call)(bytes[6] & 15), 1, &response);
    }
    printf("{\"tried\": %ld, \"taken\": %ld}\n", wanted, taken);
    return 0;
}
