/* Calls every export of a quote provider library and prints what came of it: a line of JSON each.
 *
 *     calls LIBRARY local|global MODE [ARGUMENT …]
 *
 * layout            sizes and offsets of the structs
 * every             each call once, with good arguments
 * ask CALL COUNT …  the call so many times; whether it left its outputs empty where it failed
 * bad               each call with each bad argument
 * log WHICH         one call, with the callback, the function, both or none registered
 */
#include <fcntl.h>

#include "each_call.h"

static int do_collateral_with(get_collateral_with get, const char *name, const void *custom,
                              uint16_t size) {
    collateral *out = POISON;
    int code = get(fmspc, 6, "processor", custom, size, &out);
    return show_collateral(name, code, out);
}

static void every(void) {
    static const char *const CALLS[] = {
        "init",   "quote_config",    "collateral",  "tdx_collateral", "qve_identity", "root_ca_crl",
        "policy", "revocation_info", "qe_identity", "write",          "read",         "clear_cache",
        "cleanup"};
    printf("{\"call\": \"version\", \"text\": \"%s\"}\n", l.version());
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
        ask(CALLS[i]);
    }
    do_collateral_with(l.sgx_with, "collateral_with", "\0a=b&", 5);
    do_collateral_with(l.tdx_with, "tdx_collateral_with", "\0a=b&", 5);
    do_collateral_with(l.sgx_with, "collateral_with_none", NULL, 0);
    pck_cert_id *id = platform();
    id->p_encrypted_ppid = NULL;
    id->encrypted_ppid_size = 0;
    do_config(id);
    do_revocation(fmspc, 0);
    do_revocation(NULL, 1);
    l.free_config(NULL);
    l.free_sgx(NULL);
    l.free_tdx(NULL);
    l.free_qve(NULL, NULL);
    l.free_crl(NULL);
    l.free_policy(NULL);
    l.free_revocation(NULL);
    l.free_qe(NULL);
}

#define BAD(name, call, clean)                                                                     \
    do {                                                                                           \
        int code_ = (call);                                                                        \
        begin(name, code_);                                                                        \
        end(clean);                                                                                \
    } while (0)

static void bad_config(const char *name, size_t offset, const void *value, size_t size) {
    pck_cert_id *id = platform();
    quote_config *out = POISON;
    memcpy((uint8_t *)id + offset, value, size);
    BAD(name, l.get_config(id, &out), out == NULL);
}

static void bad(void) {
    static char long_label[300];
    void *nothing = NULL;
    uint32_t fifteen = 15, wrong_ppid = 383;
    uint8_t suite = 0;
    quote_config *config = POISON;
    BAD("config: no output", l.get_config(platform(), NULL), 1);
    BAD("config: no id", l.get_config(NULL, &config), config == NULL);
    bad_config("config: no QE id", 0, &nothing, 8);
    bad_config("config: QE id of 15", 8, &fifteen, 4);
    bad_config("config: no CPUSVN", 12, &nothing, 8);
    bad_config("config: no PCE SVN", 20, &nothing, 8);
    bad_config("config: PPID of 383", 36, &wrong_ppid, 4);
    bad_config("config: suite 0", 40, &suite, 1);
    for (int tdx = 0; tdx < 2; tdx++) {
        get_collateral get = tdx ? l.tdx : l.sgx;
        get_collateral_with with = tdx ? l.tdx_with : l.sgx_with;
        collateral *out = POISON;
        BAD("collateral: no output", get(fmspc, 6, "platform", NULL), 1);
        BAD("collateral: no FMSPC", get(NULL, 6, "platform", &out), out == NULL);
        out = POISON;
        BAD("collateral: FMSPC of 5", get(fmspc, 5, "platform", &out), out == NULL);
        out = POISON;
        BAD("collateral: no CA", get(fmspc, 6, NULL, &out), out == NULL);
        out = POISON;
        BAD("collateral: CA Platform", get(fmspc, 6, "Platform", &out), out == NULL);
        out = POISON;
        BAD("collateral: custom without size", with(fmspc, 6, "platform", "x", 0, &out),
            out == NULL);
        out = POISON;
        BAD("collateral: size without custom", with(fmspc, 6, "platform", NULL, 1, &out),
            out == NULL);
    }
    char *identity = POISON, *chain = POISON;
    uint32_t a = POISONED, b = POISONED;
    BAD("qve: no size", l.get_qve(&identity, NULL, &chain, &b),
        identity == NULL && chain == NULL && b == 0);
    identity = POISON;
    BAD("qve: no chain", l.get_qve(&identity, &a, NULL, &b), identity == NULL && a == 0);
    uint8_t *bytes = POISON;
    uint16_t size = 1;
    BAD("crl: no output", l.get_crl(NULL, &size), size == 0);
    BAD("crl: no size", l.get_crl(&bytes, NULL), bytes == NULL);
    bytes = POISON;
    BAD("policy: no FMSPC", l.get_policy(NULL, 6, &bytes, &a), bytes == NULL && a == 0);
    BAD("policy: FMSPC of 7", l.get_policy(fmspc, 7, &bytes, &a), bytes == NULL && a == 0);
    BAD("policy: no output", l.get_policy(fmspc, 6, NULL, &a), 1);
    BAD("policy: no size", l.get_policy(fmspc, 6, &bytes, NULL), bytes == NULL);
    BAD("clear: kind 8", l.clear(8), 1);
    memset(long_label, 'x', sizeof long_label - 1);
    BAD("write: nothing", l.write_blob(NULL, 1, "x"), 1);
    BAD("write: no size", l.write_blob(fmspc, 0, "x"), 1);
    BAD("write: too large", l.write_blob(fmspc, 131073, "x"), 1);
    BAD("write: no label", l.write_blob(fmspc, 6, NULL), 1);
    BAD("write: empty label", l.write_blob(fmspc, 6, ""), 1);
    BAD("write: long label", l.write_blob(fmspc, 6, long_label), 1);
    uint8_t room[4];
    a = 4;
    BAD("read: no buffer", l.read_blob(NULL, &a, "x"), a == 4);
    BAD("read: no size", l.read_blob(room, NULL, "x"), 1);
    BAD("read: no label", l.read_blob(room, &a, NULL), a == 4);
    const char *const urls[2] = {"https://example/a\nb", NULL};
    revocation_info *info = POISON;
    revocation_parameters asked = {0, 6, fmspc, 0, NULL};
    BAD("revocation: version 0", l.get_revocation(&asked, &info), info == NULL);
    BAD("revocation: no parameters", l.get_revocation(NULL, &info), 1);
    BAD("revocation: no output", l.get_revocation(&asked, NULL), 1);
    asked = (revocation_parameters){1, 0, fmspc, 0, NULL};
    BAD("revocation: FMSPC of 0", l.get_revocation(&asked, &info), 1);
    asked = (revocation_parameters){1, 5, fmspc, 0, NULL};
    BAD("revocation: FMSPC of 5", l.get_revocation(&asked, &info), 1);
    asked = (revocation_parameters){1, 0, NULL, 0, NULL};
    BAD("revocation: nothing asked", l.get_revocation(&asked, &info), 1);
    asked = (revocation_parameters){1, 6, fmspc, 1, urls};
    BAD("revocation: URL of two lines", l.get_revocation(&asked, &info), 1);
    asked.crl_urls = urls + 1;
    BAD("revocation: no URL", l.get_revocation(&asked, &info), 1);
    asked.crl_urls = NULL;
    BAD("revocation: count without URLs", l.get_revocation(&asked, &info), 1);
    BAD("qe: no output", l.get_qe(NULL), 1);
}

static void layout(void) {
#define SIZE(type) printf("{\"call\": \"size\", \"%s\": %zu}\n", #type, sizeof(type))
    SIZE(pck_cert_id);
    SIZE(quote_config);
    SIZE(collateral);
    SIZE(revocation_parameters);
    SIZE(crl_data);
    SIZE(revocation_info);
    SIZE(qe_identity_info);
#define OFFSET(type, member)                                                                       \
    printf("{\"call\": \"offset\", \"%s.%s\": %zu}\n", #type, #member, offsetof(type, member))
    OFFSET(pck_cert_id, pce_id);
    OFFSET(quote_config, p_cert_data);
    OFFSET(collateral, each[6].size);
    OFFSET(revocation_info, crls);
    OFFSET(qe_identity_info, issuer_chain);
}

static void hear_callback(int level, const char *text) {
    printf("{\"call\": \"callback\", \"level\": %d, \"text\": \"%s\"}\n", level, text);
}

static void hear_function(int level, const char *text) {
    printf("{\"call\": \"function\", \"level\": %d, \"text\": \"%s\"}\n", level, text);
}

static void log_one(const char *which) {
    if (strcmp(which, "callback_error") == 0) {
        l.set_callback(hear_callback, 0);
    } else if (strcmp(which, "callback_info") == 0) {
        l.set_callback(hear_callback, 1);
    } else if (strcmp(which, "callback_odd") == 0) {
        l.set_callback(hear_callback, 0x7FFF1234);
    } else if (strcmp(which, "function") == 0) {
        l.set_function(hear_function);
    } else if (strcmp(which, "taken_back") == 0) {
        l.set_callback(hear_callback, 1);
        l.set_function(hear_function);
        l.set_callback(NULL, 1);
        l.set_function(NULL);
    }
    ask("root_ca_crl");
}

/* The files that are open; those that an exec would hand on are `*inherited`. */
static int open_files(int *inherited) {
    int found = 0;
    *inherited = 0;
    for (int fd = 0; fd < 256; fd++) {
        int flags = fcntl(fd, F_GETFD);
        found += flags >= 0;
        *inherited += flags >= 0 && (flags & FD_CLOEXEC) == 0;
    }
    return found;
}

int main(int count, char **words) {
    if (count < 4) {
        return 2;
    }
    int inherited, handed_on, files = open_files(&inherited);
    l = open_library(words[1], strcmp(words[2], "global") == 0 ? RTLD_NOW | RTLD_GLOBAL
                                                               : RTLD_LAZY | RTLD_LOCAL);
    const char *mode = words[3];
    if (strcmp(mode, "layout") == 0) {
        layout();
    } else if (strcmp(mode, "every") == 0) {
        every();
    } else if (strcmp(mode, "bad") == 0) {
        bad();
    } else if (strcmp(mode, "ask") == 0) {
        for (int i = 4; i + 1 < count; i += 2) {
            for (long n = strtol(words[i + 1], NULL, 10); n > 0; n--) {
                ask(words[i]);
            }
        }
    } else if (strcmp(mode, "log") == 0 && count > 4) {
        log_one(words[4]);
    } else {
        return 2;
    }
    open_files(&handed_on);
    dlclose(l.handle);
    if (handed_on != inherited || open_files(&handed_on) != files) {
        fprintf(stderr, "files are left open, or handed on\n");
        return 4;
    }
    return 0;
}
