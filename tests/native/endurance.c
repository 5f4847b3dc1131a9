/* A host of a quote provider library over a longer life; prints one line of JSON.
 *
 *     endurance LIBRARY MODE [ARGUMENT …]
 *
 * threads THREADS CALLS   so many calls of collateral in all: all alike? memory, files before and after
 * fork                    calls before, in the child, and in the parent again
 * reopen TIMES            dlopen, a call, dlclose
 * signals                 the dispositions of all signals before and after calls
 * verify                  the calls of Intel's verification library, in its order, load to unload
 * time CALLS              first call, warm calls (median, 90th of 100), memory of loading and calling
 * wait                    one call; then nothing: children, zombies, signals of the host
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "caller.h"

static struct library l;

static long resident_kb(void) {
    long pages = 0, ignored;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%ld %ld", &ignored, &pages) != 2) {
        pages = 0;
    }
    if (file != NULL) {
        fclose(file);
    }
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static int open_files(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder != NULL && readdir(folder) != NULL) {
        count++;
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return count;
}

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* A sum over everything that was given, so that one byte of difference shows. */
static uint64_t one_call(int *code) {
    collateral *out = POISON;
    uint64_t sum = 1469598103934665603u;
    *code = l.sgx(fmspc, 6, "platform", &out);
    if (*code != 0) {
        return out == NULL ? 0 : 1;
    }
    for (int i = 0; i < 7; i++) {
        for (uint32_t k = 0; k < out->each[i].size; k++) {
            sum = (sum ^ (uint8_t)out->each[i].bytes[k]) * 1099511628211u;
        }
    }
    l.free_sgx(out);
    return sum;
}

struct work {
    long calls, failed, different;
    uint64_t expected;
};

static void *do_work(void *argument) {
    struct work *work = argument;
    for (long i = 0; i < work->calls; i++) {
        int code;
        uint64_t sum = one_call(&code);
        work->failed += code != 0;
        work->different += sum != work->expected;
    }
    return NULL;
}

static void run_threads(int count, long calls) {
    pthread_t threads[64];
    struct work works[64];
    int code, files = open_files();
    uint64_t expected = one_call(&code);
    struct work sum = {0};
    long before = 0;
    count = count > 64 ? 64 : count;
    for (int round = 0; round < 2; round++) { /* the first warms up stacks, arenas and the pool */
        sum = (struct work){0};
        for (int i = 0; i < count; i++) {
            works[i] = (struct work){round == 0 ? 20 : calls / count, 0, 0, expected};
            pthread_create(&threads[i], NULL, do_work, &works[i]);
        }
        for (int i = 0; i < count; i++) {
            pthread_join(threads[i], NULL);
            sum.calls += works[i].calls;
            sum.failed += works[i].failed;
            sum.different += works[i].different;
        }
        if (round == 0) {
            before = resident_kb();
        }
    }
    printf("{\"calls\": %ld, \"failed\": %ld, \"different\": %ld, \"grown_kb\": %ld, "
           "\"files_before\": %d, \"files_after\": %d}\n",
           sum.calls, sum.failed, sum.different, resident_kb() - before, files, open_files());
}

static void run_fork(void) {
    int code[4] = {-1, -1, -1, -1};
    uint64_t sums[3];
    sums[0] = one_call(&code[0]);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int inner, files = open_files();
        uint64_t sum = one_call(&inner);
        /* The parent's connection was closed here, and one of its own taken: no more files. */
        _exit(inner == 0 && sum == sums[0] && open_files() == files ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    sums[1] = one_call(&code[1]);
    printf("{\"parent\": [%d, %d], \"same\": %s, \"child\": %d}\n", code[0], code[1],
           sums[0] == sums[1] ? "true" : "false", status);
}

static void run_reopen(const char *path, long times) {
    int files = 0, failed = 0;
    long memory = 0;
    for (long i = 0; i < times; i++) {
        int code;
        l = open_library(path, i % 2 ? RTLD_LAZY | RTLD_LOCAL : RTLD_NOW | RTLD_GLOBAL);
        one_call(&code);
        failed += code != 0;
        dlclose(l.handle);
        if (i == 2) {
            files = open_files();
            memory = resident_kb();
        }
    }
    printf("{\"failed\": %d, \"files_before\": %d, \"files_after\": %d, \"grown_kb\": %ld}\n", failed,
           files, open_files(), resident_kb() - memory);
}

static int alarmed;

static void on_alarm(int number) {
    alarmed += number == SIGALRM;
}

static void read_signals(struct sigaction *actions, sigset_t *mask) {
    for (int i = 1; i < NSIG; i++) {
        memset(&actions[i], 0, sizeof actions[i]);
        sigaction(i, NULL, &actions[i]);
    }
    sigprocmask(SIG_SETMASK, NULL, mask);
}

/* With an alarm every millisecond, as hosts have it: every wait is interrupted over and over. */
static void run_signals(const char *path) {
    static struct sigaction before[NSIG], after[NSIG];
    sigset_t mask_before, mask_after;
    struct sigaction alarm_action = {.sa_handler = on_alarm};
    int failed = 0, changed = 0;
    sigaction(SIGALRM, &alarm_action, NULL);
    read_signals(before, &mask_before);
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    struct itimerspec often = {{0, 1000000}, {0, 1000000}};
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    timer_settime(timer, 0, &often, NULL);
    l = open_library(path, RTLD_NOW);
    l.init();
    for (int i = 0; i < 100; i++) {
        int code;
        one_call(&code);
        failed += code != 0;
    }
    dlclose(l.handle);
    timer_delete(timer);
    read_signals(after, &mask_after);
    for (int i = 1; i < NSIG; i++) {
        changed += before[i].sa_handler != after[i].sa_handler ||
                   before[i].sa_flags != after[i].sa_flags;
        changed += sigismember(&mask_before, i) != sigismember(&mask_after, i);
    }
    printf("{\"failed\": %d, \"changed\": %d, \"alarmed\": %s}\n", failed, changed,
           alarmed > 0 ? "true" : "false");
}

static void run_verify(const char *path) {
    int codes[6] = {-1, -1, -1, -1, -1, -1};
    collateral *set = NULL;
    char *identity = NULL, *chain = NULL;
    uint32_t identity_size = 0, chain_size = 0;
    uint8_t *crl = NULL;
    uint16_t crl_size = 0;
    l = open_library(path, RTLD_LAZY);
    codes[0] = l.init();
    codes[1] = l.sgx(fmspc, 6, "processor", &set);
    codes[2] = l.get_qve(&identity, &identity_size, &chain, &chain_size);
    codes[3] = l.get_crl(&crl, &crl_size);
    printf("{\"codes\": [%d, %d, %d, %d], \"ends\": [%d, %d, %d, %d], ", codes[0], codes[1],
           codes[2], codes[3], set->each[1].bytes[set->each[1].size - 1],
           identity[identity_size - 1], chain[chain_size - 1], crl[crl_size - 1]);
    printf("\"same_crl\": %s, ",
           crl_size == set->each[1].size && memcmp(crl, set->each[1].bytes, crl_size) == 0
               ? "true"
               : "false");
    codes[4] = l.free_qve(identity, chain);
    codes[5] = l.free_crl(crl);
    printf("\"freed\": [%d, %d, %d, %d]}\n", codes[4], codes[5], l.free_sgx(set), l.cleanup());
    dlclose(l.handle);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void run_time(const char *path, long calls) {
    int code;
    long failed = 0;
    double *times = calloc((size_t)calls, sizeof *times);
    memset(times, 1, (size_t)calls * sizeof *times);
    long memory = resident_kb();
    double start = now_us();
    l = open_library(path, RTLD_NOW);
    double opened = now_us();
    one_call(&code);
    double first = now_us();
    failed += code != 0;
    for (long i = 0; i < calls; i++) {
        double each = now_us();
        one_call(&code);
        failed += code != 0;
        times[i] = now_us() - each;
    }
    long grown = resident_kb() - memory;
    qsort(times, (size_t)calls, sizeof *times, compare);
    printf("{\"failed\": %ld, \"open_us\": %.0f, \"first_us\": %.0f, \"warm_us\": %.1f, "
           "\"warm_90_us\": %.1f, \"grown_kb\": %ld}\n",
           failed, opened - start, first - opened, times[calls / 2], times[calls * 9 / 10], grown);
}

static int children_ended;

static void on_child(int number) {
    children_ended += number == SIGCHLD;
}

static void run_wait(const char *path) {
    struct sigaction action = {.sa_handler = on_child};
    int code, files = open_files();
    sigaction(SIGCHLD, &action, NULL);
    l = open_library(path, RTLD_NOW);
    double before = now_us();
    one_call(&code);
    double after = now_us();
    errno = 0;
    pid_t child = waitpid(-1, NULL, WNOHANG | __WALL);
    printf("{\"code\": %d, \"ms\": %.1f, \"children\": %s, \"signals\": %d, \"files\": %d}\n", code,
           (after - before) / 1e3, child < 0 && errno == ECHILD ? "false" : "true", children_ended,
           open_files() - files);
    dlclose(l.handle);
}

int main(int count, char **words) {
    if (count < 3) {
        return 2;
    }
    const char *path = words[1], *mode = words[2];
    long number = count > 3 ? strtol(words[3], NULL, 10) : 0;
    if (strcmp(mode, "threads") == 0 && count > 4) {
        l = open_library(path, RTLD_NOW);
        run_threads((int)number, strtol(words[4], NULL, 10));
    } else if (strcmp(mode, "fork") == 0) {
        l = open_library(path, RTLD_NOW);
        run_fork();
    } else if (strcmp(mode, "reopen") == 0) {
        run_reopen(path, number);
    } else if (strcmp(mode, "signals") == 0) {
        run_signals(path);
    } else if (strcmp(mode, "verify") == 0) {
        run_verify(path);
    } else if (strcmp(mode, "time") == 0) {
        run_time(path, number);
    } else if (strcmp(mode, "wait") == 0) {
        run_wait(path);
    } else {
        return 2;
    }
    return 0;
}
