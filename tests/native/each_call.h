/* Each call of a quote provider library once, by its name, and a line of JSON about what came of it.
 *
 * For `calls.c` and `starving.c`: every output is poisoned before the call, and freed after it by the
 * library's own function. */
#ifndef EACH_CALL_H
#define EACH_CALL_H

#include "caller.h"

static struct library l;
static uint8_t qe_id[16], cpu_svn[16], ppid[384];
static uint16_t pce_svn = 0x0D0C;

static void print_hex(const char *name, const void *bytes, size_t size) {
    printf(", \"%s\": \"", name);
    for (size_t i = 0; i < size; i++) {
        printf("%02x", ((const uint8_t *)bytes)[i]);
    }
    printf("\"");
}

static void begin(const char *call, int code) {
    printf("{\"call\": \"%s\", \"code\": %d", call, code);
}

static void end(int clean) {
    printf(", \"clean\": %s}\n", clean ? "true" : "false");
}

/* Room for the identifiers, unaligned as the packed struct makes them. */
static uint8_t id_room[1 + sizeof(pck_cert_id)];

static pck_cert_id *platform(void) {
    pck_cert_id *id = (pck_cert_id *)(id_room + 1);
    for (int i = 0; i < 16; i++) {
        qe_id[i] = (uint8_t)(0x10 + i);
        cpu_svn[i] = (uint8_t)(0x20 + i);
    }
    memset(ppid, 0x5A, sizeof ppid);
    uint8_t given[16 + 16 + 2 + 2 + 384], pce_id[2] = {0x01, 0x02};
    if (read_hex("TEST_PLATFORM", given, sizeof given)) {
        memcpy(qe_id, given, 16);
        memcpy(cpu_svn, given + 16, 16);
        memcpy(&pce_svn, given + 32, 2);
        memcpy(pce_id, given + 34, 2);
        memcpy(ppid, given + 36, 384);
    }
    *id = (pck_cert_id){qe_id, 16, cpu_svn, &pce_svn, ppid, 384, 1,
                        (uint16_t)(pce_id[0] | pce_id[1] << 8)};
    return id;
}

/* Each `do_` makes one call, prints its line unless `quiet`, and gives the code. */
static int quiet;
/* Calls that succeeded without an output, or failed and left one. */
static int half;

static void weigh(int code, int full, int empty) {
    half += code == 0 ? !full : !empty;
}

static int do_config(const pck_cert_id *id) {
    quote_config *out = POISON;
    int code = l.get_config(id, &out);
    weigh(code, out != NULL, out == NULL);
    if (!quiet) {
        begin("quote_config", code);
        if (code == 0) {
            printf(", \"version\": %u, \"pce_svn\": %u", out->version, out->cert_pce_isv_svn);
            print_hex("cpu_svn", out->cert_cpu_svn, 16);
            print_hex("cert_data", out->p_cert_data, out->cert_data_size);
        }
        end(out == NULL);
    }
    l.free_config(code == 0 ? out : NULL);
    return code;
}

static int show_collateral(const char *call, int code, collateral *out) {
    weigh(code, out != NULL, out == NULL);
    if (!quiet) {
        begin(call, code);
        if (code == 0) {
            printf(", \"version\": %u, \"tee\": %u", out->version, out->tee_type);
            for (int i = 0; i < 7; i++) {
                print_hex(PIECES[i], out->each[i].bytes, out->each[i].size);
            }
        }
        end(out == NULL);
    }
    l.free_sgx(code == 0 ? out : NULL);
    return code;
}

static int do_collateral(get_collateral get, const char *name) {
    collateral *out = POISON;
    int code = get(fmspc, 6, "platform", &out);
    return show_collateral(name, code, out);
}

static int do_qve(void) {
    char *identity = POISON, *chain = POISON;
    uint32_t identity_size = POISONED, chain_size = POISONED;
    int code = l.get_qve(&identity, &identity_size, &chain, &chain_size);
    weigh(code, identity != NULL && chain != NULL && identity_size != 0 && chain_size != 0,
          identity == NULL && chain == NULL && identity_size == 0 && chain_size == 0);
    if (!quiet) {
        begin("qve_identity", code);
        if (code == 0) {
            print_hex("identity", identity, identity_size);
            print_hex("chain", chain, chain_size);
        }
        end(identity == NULL && chain == NULL && identity_size == 0 && chain_size == 0);
    }
    l.free_qve(code == 0 ? identity : NULL, code == 0 ? chain : NULL);
    return code;
}

static int do_crl(void) {
    uint8_t *crl = POISON;
    uint16_t size = 0xA5A5;
    int code = l.get_crl(&crl, &size);
    weigh(code, crl != NULL && size != 0, crl == NULL && size == 0);
    if (!quiet) {
        begin("root_ca_crl", code);
        if (code == 0) {
            print_hex("crl", crl, size);
        }
        end(crl == NULL && size == 0);
    }
    l.free_crl(code == 0 ? crl : NULL);
    return code;
}

static int do_policy(void) {
    uint8_t *policy = POISON;
    uint32_t size = POISONED;
    int code = l.get_policy(fmspc, 6, &policy, &size);
    weigh(code, policy != NULL && size != 0, policy == NULL && size == 0);
    if (!quiet) {
        begin("policy", code);
        if (code == 0) {
            print_hex("policy", policy, size);
        }
        end(policy == NULL && size == 0);
    }
    l.free_policy(code == 0 ? policy : NULL);
    return code;
}

static int do_revocation(const uint8_t *of, uint32_t urls) {
    static const char *const URLS[2] = {"https://example/crl?ca=processor",
                                        "https://example/crl?ca=platform"};
    revocation_parameters asked = {1, of == NULL ? 0 : 6, of, urls, urls == 0 ? NULL : URLS};
    revocation_info *out = POISON;
    int code = l.get_revocation(&asked, &out);
    weigh(code, out != NULL, out == NULL);
    if (!quiet) {
        begin("revocation_info", code);
        if (code == 0) {
            printf(", \"version\": %u, \"crl_count\": %u", out->version, out->crl_count);
            if (out->tcb_info != NULL) {
                print_hex("tcb_info", out->tcb_info, out->tcb_info_size);
                print_hex("tcb_issuer_chain", out->tcb_issuer_chain, out->tcb_issuer_chain_size);
                printf(", \"ended\": %d", out->tcb_info[out->tcb_info_size]);
            }
            for (uint32_t i = 0; i < out->crl_count; i++) {
                char name[32];
                snprintf(name, sizeof name, "crl_%u", i);
                print_hex(name, out->crls[i].crl_data, out->crls[i].crl_data_size);
                snprintf(name, sizeof name, "crl_%u_chain", i);
                print_hex(name, out->crls[i].crl_issuer_chain, out->crls[i].crl_issuer_chain_size);
            }
        }
        end(out == NULL);
    }
    l.free_revocation(code == 0 ? out : NULL);
    return code;
}

static int do_qe(void) {
    qe_identity_info *out = POISON;
    int code = l.get_qe(&out);
    weigh(code, out != NULL, out == NULL);
    if (!quiet) {
        begin("qe_identity", code);
        if (code == 0) {
            print_hex("identity", out->qe_id_info, out->qe_id_info_size);
            print_hex("chain", out->issuer_chain, out->issuer_chain_size);
        }
        end(out == NULL);
    }
    l.free_qe(code == 0 ? out : NULL);
    return code;
}

static int do_write(void) {
    static const uint8_t BLOB[5] = {1, 0, 2, 0, 3};
    int code = l.write_blob(BLOB, sizeof BLOB, "tdqe_data.blob");
    if (!quiet) {
        begin("write", code);
        end(1);
    }
    return code;
}

static int do_read(uint32_t room) {
    uint8_t blob[64];
    uint32_t size = room;
    memset(blob, 0xA5, sizeof blob);
    int code = l.read_blob(blob, &size, "tdqe_data.blob");
    if (!quiet) {
        begin("read", code);
        printf(", \"size\": %u", size);
        if (code == 0) {
            print_hex("blob", blob, size);
        }
        end(blob[0] == 0xA5 && blob[63] == 0xA5);
    }
    return code;
}

static int do_plain(const char *name, int code) {
    if (!quiet) {
        begin(name, code);
        end(1);
    }
    return code;
}

/* The calls by name. */
static int ask(const char *call) {
    if (strcmp(call, "init") == 0) {
        return do_plain(call, l.init());
    }
    if (strcmp(call, "clear_cache") == 0) {
        return do_plain(call, l.clear(5));
    }
    if (strcmp(call, "cleanup") == 0) {
        return do_plain(call, l.cleanup());
    }
    if (strcmp(call, "quote_config") == 0) {
        return do_config(platform());
    }
    if (strcmp(call, "collateral") == 0) {
        return do_collateral(l.sgx, call);
    }
    if (strcmp(call, "tdx_collateral") == 0) {
        return do_collateral(l.tdx, call);
    }
    if (strcmp(call, "qve_identity") == 0) {
        return do_qve();
    }
    if (strcmp(call, "root_ca_crl") == 0) {
        return do_crl();
    }
    if (strcmp(call, "policy") == 0) {
        return do_policy();
    }
    if (strcmp(call, "revocation_info") == 0) {
        return do_revocation(fmspc, 2);
    }
    if (strcmp(call, "qe_identity") == 0) {
        return do_qe();
    }
    if (strcmp(call, "write") == 0) {
        return do_write();
    }
    if (strcmp(call, "read") == 0) {
        return do_read(64);
    }
    fprintf(stderr, "no call %s\n", call);
    exit(3);
}

#endif
