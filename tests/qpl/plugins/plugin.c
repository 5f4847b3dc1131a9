/* A quote provider library for tests: it serves files, and misbehaves as a file beside them says.
 *
 * $PLUGIN_FILES holds SGX/ and TDX/ with one file a piece, and pck, qve_identity, qve_chain, policy.
 * Its file `misbehave` says "FUNCTION MODE"; it is read at each call. -DAZURE makes it like Azure's
 * (logging function, no TDX parameters, collateral version 1, older functions), else it is like Intel's.
 * -DWITHOUT_TDX leaves the functions for TDX out. Outputs that are not freed are counted in `unfreed`,
 * which global cleanup (Intel-like) writes.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void (*logger_t)(int, const char *);
struct config { uint32_t version; uint8_t svn[16]; uint16_t pce_svn; uint32_t size; uint8_t *data; }
    __attribute__((packed));
struct id { const uint8_t *qe_id; uint32_t qe_id_size; const uint8_t *svn; const uint8_t *pce_svn;
    const uint8_t *ppid; uint32_t ppid_size; uint8_t suite; uint16_t pce_id; } __attribute__((packed));
struct piece { char *data; uint32_t size; };
struct collateral { uint32_t version, tee; struct piece pieces[7]; };

static const char *NAMES[7] = {"pck_crl_issuer_chain", "root_ca_crl", "pck_crl",
    "tcb_info_issuer_chain", "tcb_info", "qe_identity_issuer_chain", "qe_identity"};
static logger_t logger;
static int level, unfreed;

static char *load(const char *folder, const char *name, uint32_t *size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%s", getenv("PLUGIN_FILES"), folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    char *data = calloc(1, (size_t)length + 1);
    if (fread(data, 1, (size_t)length, file) != (size_t)length) abort();
    fclose(file);
    *size = (uint32_t)length + 1;
    unfreed++;
    return data;
}

static void give_back(void *data) { if (data) { unfreed--; free(data); } }

static void say(int at, const char *text) { if (logger && at <= level) logger(at, text); }

/* How this function is to misbehave; the violent ways happen here. */
static const char *mode_of(const char *function)
{
    static char named[128], mode[64];
    char path[4096];
    snprintf(path, sizeof path, "%s/misbehave", getenv("PLUGIN_FILES"));
    FILE *file = fopen(path, "r");
    mode[0] = 0;
    if (file) {
        if (fscanf(file, "%127s %63s", named, mode) != 2 || strcmp(named, function)) mode[0] = 0;
        fclose(file);
    }
    if (!strcmp(mode, "abort")) abort();
    if (!strcmp(mode, "segv")) *(volatile int *)8 = 1;
    if (!strcmp(mode, "exit")) exit(0);
    if (!strcmp(mode, "hang")) for (;;) pause();
    if (!strcmp(mode, "forks")) {
        pid_t child = fork();
        if (!child) for (;;) pause();
        snprintf(path, sizeof path, "%s/forked", getenv("PLUGIN_FILES"));
        file = fopen(path, "w");
        fprintf(file, "%d", (int)child);
        fclose(file);
        for (;;) pause();
    }
    if (!strcmp(mode, "chatty")) { printf("to stdout\n"); fprintf(stderr, "to stderr\n"); }
    if (!strcmp(mode, "flood")) for (int i = 0; i < 40000; i++) printf("line %d of noise\n", i);
    if (!strcmp(mode, "garbage")) for (int fd = 3; fd < 64; fd++)
        if (write(fd, "\x04\0\0\0junk", 8) < 0) continue;
    if (!strcmp(mode, "closes")) for (int fd = 3; fd < 64; fd++) close(fd);
    if (!strcmp(mode, "log"))
        say(0, "[QPL] GET https://h/pckcert?qeid=00112233445566778899AABBCCDDEEFF failed: 500 \n");
    return mode;
}

static uint32_t code_of(const char *mode)
{
    return strncmp(mode, "0x", 2) ? 0 : (uint32_t)strtoul(mode, NULL, 16);
}

uint32_t sgx_ql_get_quote_config(const struct id *id, struct config **out)
{
    const char *mode = mode_of("sgx_ql_get_quote_config");
    *out = NULL;
    if (code_of(mode)) return code_of(mode);
    if (id->qe_id_size != 16 || id->suite != 1 || (id->ppid ? 384 : 0) != id->ppid_size) return 0xE002;
    uint32_t size;
    char *data = load("", "pck", &size);
    if (!data || !id->qe_id[0]) { give_back(data); say(0, "[QPL] No certificate data for this platform. \n"); return 0xE011; }
    if (!strcmp(mode, "null")) { give_back(data); return 0; }
    struct config *config = calloc(1, sizeof *config);
    unfreed++;
    config->version = strcmp(mode, "version") ? 1 : 2;
    memcpy(config->svn, id->svn, 16);
    config->pce_svn = (uint16_t)(id->pce_svn[0] | id->pce_svn[1] << 8);
    config->size = strcmp(mode, "absurd") ? size : 0xFFFFFFF0u;
    config->data = (uint8_t *)data;
    *out = config;
    return 0;
}

uint32_t sgx_ql_free_quote_config(struct config *config)
{
    give_back(config->data);
    give_back(config);
    return 0;
}

static uint32_t collateral(const char *tee, const char *mode, const uint8_t *fmspc, uint16_t fmspc_size,
                           const char *ca, struct collateral **out)
{
    *out = NULL;
    if (code_of(mode)) return code_of(mode);
    if (!fmspc || fmspc_size != 6 || (strcmp(ca, "processor") && strcmp(ca, "platform"))) return 0xE002;
    struct collateral *found = calloc(1, sizeof *found);
    unfreed++;
#ifdef AZURE
    found->version = strcmp(tee, "TDX") ? 1 : 4;
#else
    found->version = strcmp(mode, "version") ? 0x00010003 : 9;
#endif
    found->tee = strcmp(tee, "TDX") ? 0 : 0x81;
    if (!strcmp(mode, "tee")) found->tee = 7;
    uint32_t rc = 0;
    for (int i = 0; i < 7; i++) {
        found->pieces[i].data = load(tee, NAMES[i], &found->pieces[i].size);
        if (!found->pieces[i].data) rc = 0xE01B;
    }
    if (!strcmp(mode, "null")) { give_back(found->pieces[1].data); found->pieces[1].data = NULL; }
    if (!strcmp(mode, "absurd")) found->pieces[4].size = 0xFFFFFFF0u;
    if (!strcmp(mode, "empty")) { found->pieces[5].data[0] = 0; found->pieces[5].size = 1; }
    if (!strcmp(mode, "no-output")) rc = 0xFFFF0000;
    if (rc) {
        for (int i = 0; i < 7; i++) give_back(found->pieces[i].data);
        give_back(found);
        return rc == 0xFFFF0000 ? 0 : rc;
    }
    *out = found;
    return 0;
}

#define COLLATERAL(prefix, tee) \
    uint32_t prefix##_ql_get_quote_verification_collateral(const uint8_t *fmspc, uint16_t size, \
        const char *ca, struct collateral **out) \
    { return collateral(tee, mode_of(#prefix "_ql_get_quote_verification_collateral"), fmspc, size, ca, out); } \
    uint32_t prefix##_ql_free_quote_verification_collateral(struct collateral *found) \
    { for (int i = 0; i < 7; i++) give_back(found->pieces[i].data); give_back(found); return 0; }
#define WITH_PARAMETERS(prefix, tee) \
    uint32_t prefix##_ql_get_quote_verification_collateral_with_params(const uint8_t *fmspc, \
        uint16_t size, const char *ca, const void *custom, uint16_t length, struct collateral **out) \
    { if (!custom != !length) return 0xE002; \
      return collateral(tee, mode_of(#prefix "_ql_with_params"), fmspc, size, ca, out); }
COLLATERAL(sgx, "SGX")
WITH_PARAMETERS(sgx, "SGX")
#ifndef WITHOUT_TDX
COLLATERAL(tdx, "TDX")
#ifndef AZURE
WITH_PARAMETERS(tdx, "TDX")
#endif
#endif

uint32_t sgx_ql_get_qve_identity(char **identity, uint32_t *size, char **chain, uint32_t *chain_size)
{
    const char *mode = mode_of("sgx_ql_get_qve_identity");
    if (code_of(mode)) return code_of(mode);
    *identity = load("", "qve_identity", size);
    *chain = load("", "qve_chain", chain_size);
    if (!strcmp(mode, "empty")) (*identity)[0] = (*chain)[0] = 0, *size = *chain_size = 1;
    return *identity && *chain ? 0 : 0xE037;
}

uint32_t sgx_ql_free_qve_identity(char *identity, char *chain)
{
    give_back(identity);
    give_back(chain);
    return 0;
}

uint32_t sgx_ql_get_root_ca_crl(uint8_t **crl, uint16_t *size)
{
    const char *mode = mode_of("sgx_ql_get_root_ca_crl");
    if (code_of(mode)) return code_of(mode);
    uint32_t length = 0;
    *crl = (uint8_t *)load("SGX", "root_ca_crl", &length);
    if (!strcmp(mode, "null")) { give_back(*crl); *crl = NULL; }
    *size = (uint16_t)length;
    return 0;
}

uint32_t sgx_ql_free_root_ca_crl(uint8_t *crl) { give_back(crl); return 0; }

#ifdef AZURE
struct list { uint32_t size; char *data; uint32_t chain_size; char *chain; };
struct revocation { uint32_t version, size; char *data; uint32_t chain_size; char *chain;
    uint32_t count; struct list *lists; };
struct asked { uint32_t version, fmspc_size; const uint8_t *fmspc; uint32_t count; const char **urls; };
struct identity { uint32_t size; char *data; uint32_t chain_size; char *chain; };

static char *load_uncounted(const char *name, uint32_t *size)
{
    char *data = load("SGX", name, size);
    --*size;
    return data;
}

uint32_t sgx_ql_set_logging_function(logger_t given) { logger = given; level = 2; return 0; }

uint32_t sgx_ql_get_revocation_info(const struct asked *asked, struct revocation **out)
{
    if (asked->version != 1 || asked->fmspc_size != 6) return 2;
    struct revocation *found = calloc(1, sizeof *found);
    found->version = 1;
    found->data = load_uncounted("tcb_info", &found->size);
    found->chain = load_uncounted("tcb_info_issuer_chain", &found->chain_size);
    found->count = asked->count;
    found->lists = calloc(asked->count, sizeof *found->lists);
    for (uint32_t i = 0; i < asked->count; i++) {
        if (strncmp(asked->urls[i], "https://", 8)) return 4;
        found->lists[i].data = load_uncounted("pck_crl", &found->lists[i].size);
        found->lists[i].chain = load_uncounted("pck_crl_issuer_chain", &found->lists[i].chain_size);
    }
    *out = found;
    return 0;
}

void sgx_ql_free_revocation_info(struct revocation *info) { free(info->lists); free(info); }

uint32_t sgx_get_qe_identity_info(struct identity **out)
{
    *out = calloc(1, sizeof **out);
    (*out)->data = load_uncounted("qe_identity", &(*out)->size);
    (*out)->chain = load_uncounted("qe_identity_issuer_chain", &(*out)->chain_size);
    return 0;
}

void sgx_free_qe_identity_info(struct identity *info) { free(info->data); free(info->chain); free(info); }

__attribute__((constructor)) static void complain(void)
{
    if (!getenv("AZDCAP_DEBUG_LOG_LEVEL"))
        printf("Azure Quote Provider: libdcap_quoteprov.so [ERROR]: Could not retrieve environment "
               "variable for 'AZDCAP_DEBUG_LOG_LEVEL'\n");
}
#else
uint32_t sgx_ql_set_logging_callback(logger_t given, int up_to) { logger = given; level = up_to; return 0; }
uint32_t sgx_qpl_clear_cache(uint32_t mask)
{
    const char *mode = mode_of("sgx_qpl_clear_cache");
    say(1, "[QPL] cleared \n");
    return code_of(mode) ? code_of(mode) : mask & ~7u ? 0xE002 : 0;
}
uint32_t sgx_qpl_global_init(void) { return code_of(mode_of("sgx_qpl_global_init")); }
uint32_t sgx_qpl_global_cleanup(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/unfreed", getenv("PLUGIN_FILES"));
    FILE *file = fopen(path, "w");
    if (file) { fprintf(file, "%d", unfreed); fclose(file); }
    return 0;
}
uint32_t tee_get_default_platform_policy(const uint8_t *fmspc, uint16_t size, uint8_t **policy, uint32_t *length)
{
    mode_of("tee_get_default_platform_policy");
    if (!fmspc || size != 6) return 0xE002;
    *policy = (uint8_t *)load("", "policy", length);
    return *policy ? 0 : 0xE044;
}
uint32_t tee_free_platform_policy(uint8_t *policy) { give_back(policy); return 0; }
#endif
