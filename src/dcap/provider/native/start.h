/* Starting the process when there is none. */
#ifndef DCAP_START_H
#define DCAP_START_H

#include <stdbool.h>
#include <stdint.h>

#include "place.h"

struct start {
    bool ours;      /* this thread started it; else another thread did */
    bool hopeless;  /* nothing was started, nothing is to be waited for */
    int process;    /* a pidfd of it; -1: not known */
    int64_t ends;   /* when waiting makes no sense any more; 0: not known */
};

/* Starts `<command> serve --on-demand --socket <place>`, at most once at a time. */
struct start start_process(const struct place *place);
bool start_goes_on(struct start *start);
void start_ended(struct start *start, bool connected);

#endif
