/* Who hears what the library and the process have to say. */
#ifndef DCAP_LOG_H
#define DCAP_LOG_H

#include <stdarg.h>
#include <stddef.h>

enum level { LEVEL_ERROR = 0, LEVEL_WARNING = 1, LEVEL_INFO = 2 };

/* The most talkative level that anybody listens to; -1: nobody listens. */
int log_level(void);
/* One line to whoever listens. The text need not end with a NUL. */
void log_text(enum level level, const char *text, size_t size);
void log_line(enum level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
