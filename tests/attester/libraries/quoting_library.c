/* A stand-in for libsgx_dcap_ql.so.1, over the files of a folder that QL_FILES names:
 *
 *   target_info, quote   what the functions give
 *   report               the report that was last given to sgx_qe_get_quote
 *   calls                a line for each call, with its number or text
 *   misbehave            "FUNCTION MODE": code N (returned), abort, segv, exit, hang, print, size N
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FILE *named(const char *name, const char *mode) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("QL_FILES"), name);
    return fopen(path, mode);
}

static size_t content(const char *name, void *into, size_t most) {
    FILE *file = named(name, "rb");
    size_t size = file ? fread(into, 1, most, file) : 0;
    if (file) fclose(file);
    return size;
}

/* Notes the call; how it is to misbehave: the code to return, and the size to claim. */
static uint32_t called(const char *function, long number, const char *text, long *size) {
    FILE *calls = named("calls", "a");
    fprintf(calls, "%s %ld %s\n", function, number, text);
    fclose(calls);
    char whom[100] = "", mode[20] = "";
    long value = 0;
    FILE *file = named("misbehave", "r");
    if (file) {
        if (fscanf(file, "%99s %19s %li", whom, mode, &value) < 2) *whom = 0;
        fclose(file);
    }
    if (strcmp(whom, function)) return 0;
    printf("[QL] %s of 00112233445566778899AABBCCDDEEFF\n", mode);
    fflush(stdout);
    if (!strcmp(mode, "abort")) abort();
    if (!strcmp(mode, "segv")) *(volatile int *)8 = 1;
    if (!strcmp(mode, "exit")) exit(3);
    while (!strcmp(mode, "hang")) sleep(1);
    if (!strcmp(mode, "size") && size) *size = value;
    return strcmp(mode, "code") ? 0 : (uint32_t)value;
}

uint32_t sgx_ql_set_path(int type, const char *path) {
    return called("sgx_ql_set_path", type, path, 0);
}

uint32_t sgx_qe_set_enclave_load_policy(uint32_t policy) {
    return called("sgx_qe_set_enclave_load_policy", policy, "", 0);
}

uint32_t sgx_qe_get_target_info(void *target_info) {
    uint32_t code = called("sgx_qe_get_target_info", 0, "", 0);
    if (!code) content("target_info", target_info, 512);
    return code;
}

#ifndef OLD
uint32_t sgx_qe_get_quote_size(uint32_t *size) {
    static char quote[65536];
    long claimed = content("quote", quote, sizeof quote);
    uint32_t code = called("sgx_qe_get_quote_size", 0, "", &claimed);
    *size = claimed;
    return code;
}
#endif

uint32_t sgx_qe_get_quote(const void *report, uint32_t size, uint8_t *quote) {
    uint32_t code = called("sgx_qe_get_quote", size, "", 0);
    FILE *file = named("report", "wb");
    fwrite(report, 1, 432, file);
    fclose(file);
    if (!code) content("quote", quote, size);
    return code;
}

uint32_t sgx_qe_cleanup_by_policy(void) {
    return called("sgx_qe_cleanup_by_policy", 0, "", 0);
}
