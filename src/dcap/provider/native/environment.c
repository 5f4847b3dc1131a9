/* The caller's environment: an allow-list, read anew at every call.
 *
 * Not the whole environment: secrets of the host are nobody's business. The process heeds these only
 * where the caller is the user it runs as. `secure_getenv`: a setuid program has no environment.
 */
#include "environment.h"

#include <stdlib.h>
#include <string.h>

#define VALUE_LIMIT 4096u

/* Where collateral comes from (`quote-provider.md` §1.5, 4.1, and our own two). */
static const char *const TOLD[] = {
    "QCNL_CONF_PATH",
    "AZDCAP_BASE_CERT_URL",
    "AZDCAP_BASE_CERT_URL_TDX",
    "AZDCAP_BYPASS_BASE_URL",
    "AZDCAP_CACHE",
    "AZDCAP_CACHE_EXPIRY_IN_SECONDS",
    "AZDCAP_CLIENT_ID",
    "AZDCAP_COLLATERAL_VERSION",
    "AZDCAP_COLLATERAL_VERSION_TDX",
    "AZDCAP_DEBUG_LOG_LEVEL",
    "AZDCAP_DISABLE_ONDEMAND",
    "AZDCAP_PRIMARY_BASE_CERT_URL",
    "AZDCAP_REGION_URL",
    "AZDCAP_SECONDARY_BASE_CERT_URL",
    "AZDCAP_WRITE_LOGS_TO_FILE",
    "XDG_CACHE_HOME",
    "HOME",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "DCAP_SOURCE",
    "DCAP_OFFLINE",
};
/* What a Python process needs besides. No LD_*, no PYTHON*: those are the host's own. */
static const char *const STARTED_WITH[] = {
    "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "TMPDIR",       "USER", "LOGNAME", "LANG",
    "LC_ALL",          "TZ",              "SSL_CERT_FILE", "SSL_CERT_DIR",
};
static const char PATH_OF_STARTED[] =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#define COUNT(table) (sizeof(table) / sizeof *(table))

/* "NAME=value", or NULL: not set, too long, or (`*failed`) no memory. */
static char *assignment_of(const char *name, size_t *size, int *failed) {
    const char *value = secure_getenv(name);
    size_t name_size = strlen(name);
    size_t value_size = value == NULL ? 0 : strnlen(value, VALUE_LIMIT + 1);
    if (value == NULL || value_size > VALUE_LIMIT) {
        return NULL;
    }
    *size = name_size + 1 + value_size;
    char *assignment = malloc(*size + 1);
    if (assignment == NULL) {
        *failed = 1;
        return NULL;
    }
    memcpy(assignment, name, name_size);
    assignment[name_size] = '=';
    memcpy(assignment + name_size + 1, value, value_size);
    assignment[*size] = 0;
    return assignment;
}

void environment_tell(struct request *request) {
    for (size_t i = 0; i < COUNT(TOLD); i++) {
        size_t size = 0;
        int failed = 0;
        char *assignment = assignment_of(TOLD[i], &size, &failed);
        if (assignment != NULL) {
            request_field(request, ASK_ENVIRONMENT, assignment, size);
            free(assignment);
        } else if (failed) {
            request->out_of_memory = true;
        }
    }
}

char **environment_for_start(void) {
    char **environment = calloc(COUNT(TOLD) + COUNT(STARTED_WITH) + 2, sizeof *environment);
    if (environment == NULL) {
        return NULL;
    }
    size_t at = 0, size = 0;
    int failed = 0;
    for (size_t i = 0; i < COUNT(TOLD) + COUNT(STARTED_WITH); i++) {
        const char *name = i < COUNT(TOLD) ? TOLD[i] : STARTED_WITH[i - COUNT(TOLD)];
        environment[at] = assignment_of(name, &size, &failed);
        at += environment[at] != NULL;
    }
    environment[at] = strdup(PATH_OF_STARTED);
    if (failed || environment[at] == NULL) {
        environment_free(environment);
        return NULL;
    }
    return environment;
}

void environment_free(char **environment) {
    if (environment != NULL) {
        for (char **each = environment; *each != NULL; each++) {
            free(*each);
        }
        free(environment);
    }
}
