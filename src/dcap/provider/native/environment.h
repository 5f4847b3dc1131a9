/* The caller's environment: which variables the process is told, and which it is started with. */
#ifndef DCAP_ENVIRONMENT_H
#define DCAP_ENVIRONMENT_H

#include "message.h"

/* Appends the variables that say where collateral comes from. Nothing in a setuid program. */
void environment_tell(struct request *request);
/* A new environment for a process to be started: NULL-ended, one allocation each, NULL: no memory. */
char **environment_for_start(void);
void environment_free(char **environment);

#endif
