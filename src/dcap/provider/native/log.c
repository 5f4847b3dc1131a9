/* Logging: Intel's callback, Azure's function, and Azure's variable.
 *
 * Silent unless asked: with none of the three set, nothing is said anywhere (Azure's client prints
 * a line about its unset variable). What is said names files and codes, never platforms or keys.
 * Obeys `quote-provider.md` §3.1, 3.2, 4.1.
 *
 * Intel's levels are error 0 and info 1, Azure's error 0, warning 1, info 2. Open Enclave once
 * called Intel's function with one argument only, so that the level is what lay in the register:
 * a level that does not exist is taken for "error".
 */
#include "log.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quote_provider.h"

static _Atomic(logging_t) intel_callback;
static _Atomic int intel_level;
static _Atomic(logging_t) azure_function;

quote3_error_t sgx_ql_set_logging_callback(logging_t logger, int level) {
    atomic_store(&intel_level, level >= 1 && level <= 3 ? LEVEL_INFO : LEVEL_ERROR);
    atomic_store(&intel_callback, logger);
    return QL_SUCCESS;
}

sgx_plat_error_t sgx_ql_set_logging_function(logging_t logger) {
    atomic_store(&azure_function, logger);
    return PLAT_OK;
}

/* What `AZDCAP_DEBUG_LOG_LEVEL` asks for: exactly these words; any other means silence. */
static int printed_level(void) {
    const char *asked = secure_getenv("AZDCAP_DEBUG_LOG_LEVEL");
    if (asked == NULL) {
        return -1;
    }
    if (strncmp(asked, "SGX_QL_LOG_", 11) == 0) {
        asked += 11;
    }
    if (strcmp(asked, "ERROR") == 0) {
        return LEVEL_ERROR;
    }
    if (strcmp(asked, "WARNING") == 0) {
        return LEVEL_WARNING;
    }
    return strcmp(asked, "INFO") == 0 ? LEVEL_INFO : -1;
}

int log_level(void) {
    int level = -1;
    if (atomic_load(&azure_function) != NULL) {
        return LEVEL_INFO;
    }
    if (atomic_load(&intel_callback) != NULL) {
        level = atomic_load(&intel_level);
    }
    int printed = printed_level();
    return printed > level ? printed : level;
}

static void print(enum level level, const char *line) {
    static const char *const NAMES[] = {"ERROR", "WARNING", "INFO"};
    fprintf(stdout, "Azure Quote Provider: libdcap_quoteprov.so [%s]: %s\n", NAMES[level], line);
    fflush(stdout);
}

void log_text(enum level level, const char *text, size_t size) {
    char line[1024];
    size_t length = size < sizeof line - 1 ? size : sizeof line - 1;
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        line[i] = (char)(byte < 0x20 || byte == 0x7F ? ' ' : byte);
    }
    while (length > 0 && line[length - 1] == ' ') {
        length--;
    }
    line[length] = 0;
    if (length == 0) {
        return;
    }
    logging_t callback = atomic_load(&intel_callback);
    if (callback != NULL && (int)level <= atomic_load(&intel_level)) {
        callback(level == LEVEL_ERROR ? 0 : 1, line);
    }
    logging_t function = atomic_load(&azure_function);
    if (function != NULL) {
        function((int)level, line);
    } else if ((int)level <= printed_level()) {
        print(level, line);
    }
}

void log_line(enum level level, const char *format, ...) {
    if (log_level() < (int)level) {
        return;
    }
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length > 0) {
        log_text(level, line, (size_t)length < sizeof line ? (size_t)length : sizeof line - 1);
    }
}
