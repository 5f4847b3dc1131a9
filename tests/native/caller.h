/* A consumer of a quote provider library, as the test programs are: it loads the library by dlopen
 * and calls it through pointers. The types are written down anew from `quote-provider.md` §3.1-3.2 (and
 * from Azure's header for the older functions): nothing here comes from the library's own header. */
#ifndef CALLER_H
#define CALLER_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma pack(push, 1)
typedef struct {
    uint8_t *p_qe3_id;
    uint32_t qe3_id_size;
    uint8_t *p_platform_cpu_svn;
    uint16_t *p_platform_pce_isv_svn;
    uint8_t *p_encrypted_ppid;
    uint32_t encrypted_ppid_size;
    uint8_t crypto_suite;
    uint16_t pce_id;
} pck_cert_id;

typedef struct {
    uint32_t version;
    uint8_t cert_cpu_svn[16];
    uint16_t cert_pce_isv_svn;
    uint32_t cert_data_size;
    uint8_t *p_cert_data;
} quote_config;
#pragma pack(pop)

typedef struct {
    char *bytes;
    uint32_t size;
} counted;

typedef struct {
    uint32_t version;
    uint32_t tee_type;
    counted each[7];
} collateral;

typedef struct {
    uint32_t version;
    uint32_t fmspc_size;
    const uint8_t *fmspc;
    uint32_t crl_url_count;
    const char *const *crl_urls;
} revocation_parameters;

typedef struct {
    uint32_t crl_data_size;
    char *crl_data;
    uint32_t crl_issuer_chain_size;
    char *crl_issuer_chain;
} crl_data;

typedef struct {
    uint32_t version;
    uint32_t tcb_info_size;
    char *tcb_info;
    uint32_t tcb_issuer_chain_size;
    char *tcb_issuer_chain;
    uint32_t crl_count;
    crl_data *crls;
} revocation_info;

typedef struct {
    uint32_t qe_id_info_size;
    char *qe_id_info;
    uint32_t issuer_chain_size;
    char *issuer_chain;
} qe_identity_info;

typedef void (*logger)(int, const char *);
typedef int (*get_collateral)(const uint8_t *, uint16_t, const char *, collateral **);
typedef int (*get_collateral_with)(const uint8_t *, uint16_t, const char *, const void *, uint16_t,
                                   collateral **);

struct library {
    void *handle;
    const char *(*version)(void);
    int (*init)(void);
    int (*cleanup)(void);
    int (*clear)(uint32_t);
    int (*set_callback)(logger, int);
    int (*set_function)(logger);
    int (*get_config)(const pck_cert_id *, quote_config **);
    int (*free_config)(quote_config *);
    get_collateral sgx, tdx;
    get_collateral_with sgx_with, tdx_with;
    int (*free_sgx)(collateral *);
    int (*free_tdx)(collateral *);
    int (*get_qve)(char **, uint32_t *, char **, uint32_t *);
    int (*free_qve)(char *, char *);
    int (*get_crl)(uint8_t **, uint16_t *);
    int (*free_crl)(uint8_t *);
    int (*get_policy)(const uint8_t *, uint16_t, uint8_t **, uint32_t *);
    int (*free_policy)(uint8_t *);
    int (*write_blob)(const uint8_t *, uint32_t, const char *);
    int (*read_blob)(uint8_t *, uint32_t *, const char *);
    int (*get_revocation)(const revocation_parameters *, revocation_info **);
    void (*free_revocation)(revocation_info *);
    int (*get_qe)(qe_identity_info **);
    void (*free_qe)(qe_identity_info *);
};

static uint8_t fmspc[6] = {0x00, 0x90, 0x6E, 0xD5, 0x00, 0x00};

/* Bytes that a test gives in hex, in a variable; false: it gives none. */
static int read_hex(const char *name, uint8_t *bytes, size_t size) {
    const char *text = getenv(name);
    for (size_t i = 0; text != NULL && i < size; i++) {
        unsigned byte;
        if (sscanf(text + 2 * i, "%2x", &byte) != 1) {
            return 0;
        }
        bytes[i] = (uint8_t)byte;
    }
    return text != NULL;
}

static void find(struct library *library, void *pointer, const char *name) {
    void *symbol = dlsym(library->handle, name);
    if (symbol == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(3);
    }
    memcpy(pointer, &symbol, sizeof symbol);
}

static struct library open_library(const char *path, int mode) {
    struct library l = {.handle = dlopen(path, mode)};
    if (l.handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(3);
    }
    read_hex("TEST_FMSPC", fmspc, sizeof fmspc);
    find(&l, &l.version, "dcap_quoteprov_version");
    find(&l, &l.init, "sgx_qpl_global_init");
    find(&l, &l.cleanup, "sgx_qpl_global_cleanup");
    find(&l, &l.clear, "sgx_qpl_clear_cache");
    find(&l, &l.set_callback, "sgx_ql_set_logging_callback");
    find(&l, &l.set_function, "sgx_ql_set_logging_function");
    find(&l, &l.get_config, "sgx_ql_get_quote_config");
    find(&l, &l.free_config, "sgx_ql_free_quote_config");
    find(&l, &l.sgx, "sgx_ql_get_quote_verification_collateral");
    find(&l, &l.tdx, "tdx_ql_get_quote_verification_collateral");
    find(&l, &l.sgx_with, "sgx_ql_get_quote_verification_collateral_with_params");
    find(&l, &l.tdx_with, "tdx_ql_get_quote_verification_collateral_with_params");
    find(&l, &l.free_sgx, "sgx_ql_free_quote_verification_collateral");
    find(&l, &l.free_tdx, "tdx_ql_free_quote_verification_collateral");
    find(&l, &l.get_qve, "sgx_ql_get_qve_identity");
    find(&l, &l.free_qve, "sgx_ql_free_qve_identity");
    find(&l, &l.get_crl, "sgx_ql_get_root_ca_crl");
    find(&l, &l.free_crl, "sgx_ql_free_root_ca_crl");
    find(&l, &l.get_policy, "tee_get_default_platform_policy");
    find(&l, &l.free_policy, "tee_free_platform_policy");
    find(&l, &l.write_blob, "sgx_ql_write_persistent_data");
    find(&l, &l.read_blob, "sgx_ql_read_persistent_data");
    find(&l, &l.get_revocation, "sgx_ql_get_revocation_info");
    find(&l, &l.free_revocation, "sgx_ql_free_revocation_info");
    find(&l, &l.get_qe, "sgx_get_qe_identity_info");
    find(&l, &l.free_qe, "sgx_free_qe_identity_info");
    return l;
}

/* What stands in an output before the call: a library that leaves it there is found out. */
#define POISON ((void *)(uintptr_t)0xA5A5A5A5A5A5A5A5u)
#define POISONED 0xA5A5A5A5u

static const char *const PIECES[7] = {
    "pck_crl_issuer_chain", "root_ca_crl", "pck_crl",    "tcb_info_issuer_chain",
    "tcb_info",             "qe_identity_issuer_chain", "qe_identity",
};

#endif
