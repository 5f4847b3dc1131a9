/* What the library exports: the interface of a quote provider library, as its consumers call it.
 *
 * Not an implementation, and not a copy of anybody's header: the types are written down from their
 * layout, which `_Static_assert` holds on every build. Obeys `quote-provider.md` §3.1-3.3 (Intel's
 * sgx_default_quote_provider, Azure's DCAP client 1.13.1).
 *
 * Ownership: what a `get` function gives belongs to the caller until he hands it to the `free`
 * function of the same name. Each of these takes NULL. A `get` function that does not return 0
 * leaves NULL (and size 0) in every output.
 */
#ifndef DCAP_QUOTE_PROVIDER_H
#define DCAP_QUOTE_PROVIDER_H

#include <stddef.h>
#include <stdint.h>

#define DCAP_VERSION "0.1.0"
#define DCAP_EXPORT __attribute__((visibility("default")))

/* In the headers of Intel and of Azure both are enumerations: 32 bits. */
typedef uint32_t quote3_error_t;
typedef uint32_t sgx_plat_error_t;

enum {
    QL_SUCCESS = 0,
    QL_ERROR_UNEXPECTED = 0xE001,
    QL_ERROR_INVALID_PARAMETER = 0xE002,
    QL_ERROR_OUT_OF_MEMORY = 0xE003,
    QL_NO_PLATFORM_CERT_DATA = 0xE011,
    QL_MESSAGE_ERROR = 0xE01A,
    QL_NO_QUOTE_COLLATERAL_DATA = 0xE01B,
    QL_NO_QVE_IDENTITY_DATA = 0xE037,
    QL_SERVICE_UNAVAILABLE = 0xE040,
    QL_SERVICE_TIMEOUT = 0xE042,
    QL_ERROR_MESSAGE_PARSING = 0xE046,
    QL_PLATFORM_UNKNOWN = 0xE047,
    QL_CERTS_UNAVAILABLE = 0xE049,
    QL_QEIDENTITY_NOT_FOUND = 0xE061,
    QL_TCBINFO_NOT_FOUND = 0xE062,
    QL_ERROR_MAX = 0xE0FF,
};

enum {
    PLAT_OK = 0,
    PLAT_OUT_OF_MEMORY = 1,
    PLAT_INVALID_PARAMETER = 2,
    PLAT_UNEXPECTED_SERVER_RESPONSE = 3,
    PLAT_NO_DATA_FOUND = 4,
    PLAT_OVERFLOW = 5,
};

#define QE_ID_SIZE 16u
#define CPU_SVN_SIZE 16u
#define FMSPC_SIZE 6u
#define ENCRYPTED_PPID_SIZE 384u
#define CRYPTO_SUITE_RSA_OAEP_3072 1u
#define TEE_SGX 0u
#define TEE_TDX 0x81u

/* These two are packed: their pointers may lie anywhere, and what they point at too. */
typedef struct __attribute__((packed)) {
    const uint8_t *p_qe3_id;
    uint32_t qe3_id_size;
    const uint8_t *p_platform_cpu_svn;     /* 16 bytes */
    const uint8_t *p_platform_pce_isv_svn; /* a uint16_t */
    const uint8_t *p_encrypted_ppid;       /* NULL: not known */
    uint32_t encrypted_ppid_size;
    uint8_t crypto_suite;
    uint16_t pce_id;
} sgx_ql_pck_cert_id_t;

typedef struct __attribute__((packed)) {
    uint32_t version; /* 1 */
    uint8_t cert_cpu_svn[CPU_SVN_SIZE];
    uint16_t cert_pce_isv_svn;
    uint32_t cert_data_size; /* with the NUL */
    uint8_t *p_cert_data;    /* PEM, leaf first */
} sgx_ql_config_t;

typedef struct {
    union {
        uint32_t version;
        struct {
            uint16_t major_version;
            uint16_t minor_version;
        };
    };
    uint32_t tee_type;
    /* Each size counts the NUL behind the bytes, that of a DER CRL too. */
    char *pck_crl_issuer_chain;
    uint32_t pck_crl_issuer_chain_size;
    char *root_ca_crl;
    uint32_t root_ca_crl_size;
    char *pck_crl;
    uint32_t pck_crl_size;
    char *tcb_info_issuer_chain;
    uint32_t tcb_info_issuer_chain_size;
    char *tcb_info;
    uint32_t tcb_info_size;
    char *qe_identity_issuer_chain;
    uint32_t qe_identity_issuer_chain_size;
    char *qe_identity;
    uint32_t qe_identity_size;
} sgx_ql_qve_collateral_t;

/* Azure's older functions. Here no size counts the NUL (there is one all the same). */
typedef struct {
    uint32_t version; /* 1 */
    uint32_t fmspc_size;
    const uint8_t *fmspc;
    uint32_t crl_url_count;
    const char *const *crl_urls;
} sgx_ql_get_revocation_info_params_t;

typedef struct {
    uint32_t crl_data_size;
    char *crl_data;
    uint32_t crl_issuer_chain_size;
    char *crl_issuer_chain;
} sgx_ql_crl_data_t;

typedef struct {
    uint32_t version; /* 1 */
    uint32_t tcb_info_size;
    char *tcb_info;
    uint32_t tcb_issuer_chain_size;
    char *tcb_issuer_chain;
    uint32_t crl_count;
    sgx_ql_crl_data_t *crls;
} sgx_ql_revocation_info_t;

typedef struct {
    uint32_t qe_id_info_size;
    char *qe_id_info;
    uint32_t issuer_chain_size;
    char *issuer_chain;
} sgx_qe_identity_info_t;

#if UINTPTR_MAX != UINT64_MAX
#error "A quote provider library is a 64-bit library: the layouts below are those of LP64."
#endif
#define HELD(type, member, offset) _Static_assert(offsetof(type, member) == (offset), #member)
_Static_assert(sizeof(sgx_ql_pck_cert_id_t) == 43, "sgx_ql_pck_cert_id_t");
HELD(sgx_ql_pck_cert_id_t, qe3_id_size, 8);
HELD(sgx_ql_pck_cert_id_t, p_platform_cpu_svn, 12);
HELD(sgx_ql_pck_cert_id_t, p_platform_pce_isv_svn, 20);
HELD(sgx_ql_pck_cert_id_t, p_encrypted_ppid, 28);
HELD(sgx_ql_pck_cert_id_t, encrypted_ppid_size, 36);
HELD(sgx_ql_pck_cert_id_t, crypto_suite, 40);
HELD(sgx_ql_pck_cert_id_t, pce_id, 41);
_Static_assert(sizeof(sgx_ql_config_t) == 34, "sgx_ql_config_t");
HELD(sgx_ql_config_t, cert_cpu_svn, 4);
HELD(sgx_ql_config_t, cert_pce_isv_svn, 20);
HELD(sgx_ql_config_t, cert_data_size, 22);
HELD(sgx_ql_config_t, p_cert_data, 26);
_Static_assert(sizeof(sgx_ql_qve_collateral_t) == 120, "sgx_ql_qve_collateral_t");
HELD(sgx_ql_qve_collateral_t, tee_type, 4);
HELD(sgx_ql_qve_collateral_t, pck_crl_issuer_chain, 8);
HELD(sgx_ql_qve_collateral_t, root_ca_crl, 24);
HELD(sgx_ql_qve_collateral_t, pck_crl, 40);
HELD(sgx_ql_qve_collateral_t, tcb_info_issuer_chain, 56);
HELD(sgx_ql_qve_collateral_t, tcb_info, 72);
HELD(sgx_ql_qve_collateral_t, qe_identity_issuer_chain, 88);
HELD(sgx_ql_qve_collateral_t, qe_identity, 104);
HELD(sgx_ql_qve_collateral_t, qe_identity_size, 112);
_Static_assert(sizeof(sgx_ql_get_revocation_info_params_t) == 32, "revocation parameters");
HELD(sgx_ql_get_revocation_info_params_t, fmspc, 8);
HELD(sgx_ql_get_revocation_info_params_t, crl_urls, 24);
_Static_assert(sizeof(sgx_ql_crl_data_t) == 32, "sgx_ql_crl_data_t");
_Static_assert(sizeof(sgx_ql_revocation_info_t) == 48, "sgx_ql_revocation_info_t");
HELD(sgx_ql_revocation_info_t, tcb_info, 8);
HELD(sgx_ql_revocation_info_t, tcb_issuer_chain, 24);
HELD(sgx_ql_revocation_info_t, crls, 40);
_Static_assert(sizeof(sgx_qe_identity_info_t) == 32, "sgx_qe_identity_info_t");
#undef HELD

/* Intel's levels: error 0, info 1, debug 2, trace 3. Azure's: error 0, warning 1, info 2, none 3. */
typedef void (*logging_t)(int level, const char *message);

DCAP_EXPORT const char *dcap_quoteprov_version(void);

DCAP_EXPORT quote3_error_t sgx_qpl_global_init(void);
DCAP_EXPORT quote3_error_t sgx_qpl_global_cleanup(void);
DCAP_EXPORT quote3_error_t sgx_qpl_clear_cache(uint32_t kinds);
DCAP_EXPORT quote3_error_t sgx_ql_set_logging_callback(logging_t logger, int level);
DCAP_EXPORT sgx_plat_error_t sgx_ql_set_logging_function(logging_t logger);

DCAP_EXPORT quote3_error_t sgx_ql_get_quote_config(const sgx_ql_pck_cert_id_t *id,
                                                   sgx_ql_config_t **config);
DCAP_EXPORT quote3_error_t sgx_ql_free_quote_config(sgx_ql_config_t *config);

DCAP_EXPORT quote3_error_t sgx_ql_get_quote_verification_collateral(
    const uint8_t *fmspc, uint16_t fmspc_size, const char *ca, sgx_ql_qve_collateral_t **out);
DCAP_EXPORT quote3_error_t sgx_ql_get_quote_verification_collateral_with_params(
    const uint8_t *fmspc, uint16_t fmspc_size, const char *ca, const void *custom,
    uint16_t custom_size, sgx_ql_qve_collateral_t **out);
DCAP_EXPORT quote3_error_t
sgx_ql_free_quote_verification_collateral(sgx_ql_qve_collateral_t *collateral);
DCAP_EXPORT quote3_error_t tdx_ql_get_quote_verification_collateral(
    const uint8_t *fmspc, uint16_t fmspc_size, const char *ca, sgx_ql_qve_collateral_t **out);
DCAP_EXPORT quote3_error_t tdx_ql_get_quote_verification_collateral_with_params(
    const uint8_t *fmspc, uint16_t fmspc_size, const char *ca, const void *custom,
    uint16_t custom_size, sgx_ql_qve_collateral_t **out);
DCAP_EXPORT quote3_error_t
tdx_ql_free_quote_verification_collateral(sgx_ql_qve_collateral_t *collateral);

DCAP_EXPORT quote3_error_t sgx_ql_get_qve_identity(char **identity, uint32_t *identity_size,
                                                   char **chain, uint32_t *chain_size);
DCAP_EXPORT quote3_error_t sgx_ql_free_qve_identity(char *identity, char *chain);
DCAP_EXPORT quote3_error_t sgx_ql_get_root_ca_crl(uint8_t **crl, uint16_t *crl_size);
DCAP_EXPORT quote3_error_t sgx_ql_free_root_ca_crl(uint8_t *crl);

DCAP_EXPORT quote3_error_t tee_get_default_platform_policy(const uint8_t *fmspc,
                                                           uint16_t fmspc_size, uint8_t **policy,
                                                           uint32_t *policy_size);
DCAP_EXPORT quote3_error_t tee_free_platform_policy(uint8_t *policy);

DCAP_EXPORT quote3_error_t sgx_ql_write_persistent_data(const uint8_t *bytes, uint32_t size,
                                                        const char *label);
DCAP_EXPORT quote3_error_t sgx_ql_read_persistent_data(uint8_t *bytes, uint32_t *size,
                                                       const char *label);

DCAP_EXPORT sgx_plat_error_t
sgx_ql_get_revocation_info(const sgx_ql_get_revocation_info_params_t *parameters,
                           sgx_ql_revocation_info_t **out);
DCAP_EXPORT void sgx_ql_free_revocation_info(sgx_ql_revocation_info_t *info);
DCAP_EXPORT sgx_plat_error_t sgx_get_qe_identity_info(sgx_qe_identity_info_t **out);
DCAP_EXPORT void sgx_free_qe_identity_info(sgx_qe_identity_info_t *info);

#endif
