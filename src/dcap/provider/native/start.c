/* Starting the process on demand: from a host with threads, leaving it no child, signal or file.
 *
 * The command stands in `libdcap_quoteprov.command` beside the library's real file: one line, words
 * separated by single spaces, the first an absolute path, no shell. The file must belong to root or to
 * the caller and be writable by nobody else. Never in a setuid program.
 *
 * No `fork`: that would run the host's fork handlers and copy the page tables of a large host. As
 * `posix_spawn` does, a child shares the memory and this thread waits for it; it starts the process
 * and ends at once, so that init inherits the process. Neither sends SIGCHLD, and no `wait` of the
 * host sees the child. Of two hosts that start at once the later process finds the lock taken and
 * ends. After a start in vain none is tried for 5 s.
 */
#include "start.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "connection.h"
#include "environment.h"
#include "log.h"
#include "quote_provider.h"

#define COMMAND_NAME "libdcap_quoteprov.command"
#define COMMAND_LIMIT 4096
#define WORDS_LIMIT 64
#define STACK_SIZE (128u * 1024u)
/* A test has less patience. */
#ifndef PAUSE_MS
#define PAUSE_MS 5000 /* between a start in vain and the next */
#endif
#ifndef GRACE_MS
#define GRACE_MS 2000 /* a process that ended: another host's may be on its way */
#endif

static _Atomic int64_t not_before;
static _Atomic pid_t starter; /* whose start is under way: the process, as a child may be forked */

struct command {
    char text[COMMAND_LIMIT];
    char *words[WORDS_LIMIT + 5];
};

/* Reads the command; NULL, or why there is none. */
static const char *read_command(struct command *command, const char *socket_path) {
    Dl_info library;
    char path[PATH_MAX];
    struct stat file;
    if (dladdr((const void *)(uintptr_t)dcap_quoteprov_version, &library) == 0 ||
        realpath(library.dli_fname, path) == NULL) {
        return "the library's own file is not found";
    }
    char *name = strrchr(path, '/') + 1;
    if (sizeof COMMAND_NAME > sizeof path - (size_t)(name - path)) {
        return "the library's path is too long";
    }
    memcpy(name, COMMAND_NAME, sizeof COMMAND_NAME);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return "there is no " COMMAND_NAME " beside the library";
    }
    ssize_t size = -1;
    if (fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && (file.st_mode & 022) == 0 &&
        (file.st_uid == 0 || file.st_uid == geteuid())) {
        size = read(fd, command->text, sizeof command->text - 1);
    }
    close(fd);
    if (size < 0) {
        return COMMAND_NAME " is not root's or yours, or others can write it";
    }
    command->text[size] = 0;
    command->text[strcspn(command->text, "\r\n")] = 0;
    size_t count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(command->text, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        if (count == WORDS_LIMIT) {
            return COMMAND_NAME " has too many words";
        }
        command->words[count++] = word;
    }
    if (count == 0 || command->words[0][0] != '/') {
        return COMMAND_NAME " does not begin with an absolute path";
    }
    command->words[count++] = (char *)(uintptr_t)"serve";
    command->words[count++] = (char *)(uintptr_t)"--on-demand";
    command->words[count++] = (char *)(uintptr_t)"--socket";
    command->words[count++] = (char *)(uintptr_t)socket_path;
    command->words[count] = NULL;
    return NULL;
}

struct birth {
    char **words;
    char **environment;
    uint8_t *inner_stack_end;
    volatile pid_t process;
    volatile int failed; /* errno of what did not work */
};

static void close_files(void) {
#ifdef SYS_close_range
    if (syscall(SYS_close_range, 3u, ~0u, 0u) == 0) {
        return;
    }
#endif
    struct rlimit files;
    int end = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 65536 ? (int)files.rlim_cur
                                                                              : 65536;
    for (int fd = 3; fd < end; fd++) {
        close(fd);
    }
}

/* The process before it is one. The memory is the host's: system calls alone, and no return. */
__attribute__((no_sanitize_address)) static int become_process(void *argument) {
    struct birth *birth = argument;
    struct sigaction by_default = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int number = 1; number < NSIG; number++) {
        sigaction(number, &by_default, NULL);
    }
    setsid();
    umask(077);
    int null = open("/dev/null", O_RDWR);
    if (chdir("/") == 0 && null >= 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1 &&
        dup2(null, 2) == 2) {
        close_files();
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        execve(birth->words[0], birth->words, birth->environment);
    }
    birth->failed = errno;
    _exit(127);
}

/* The child in between: its end makes the process init's. */
__attribute__((no_sanitize_address)) static int give_birth(void *argument) {
    struct birth *birth = argument;
    birth->process =
        clone(become_process, birth->inner_stack_end, CLONE_VM | CLONE_VFORK, argument);
    if (birth->process < 0) {
        birth->failed = errno;
    }
    _exit(0);
}

/* 0, or the errno of what failed; `*process` is a pidfd, or -1. */
static int spawn(struct command *command, int *process) {
    struct birth birth = {.words = command->words, .environment = environment_for_start()};
    uint8_t *stacks = mmap(NULL, 2 * STACK_SIZE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    sigset_t all, before;
    *process = -1;
    if (birth.environment == NULL || stacks == MAP_FAILED) {
        environment_free(birth.environment);
        return ENOMEM;
    }
    birth.inner_stack_end = stacks + STACK_SIZE;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t child = clone(give_birth, stacks + 2 * STACK_SIZE, CLONE_VM | CLONE_VFORK, &birth);
    int failed = child < 0 ? errno : 0;
    if (child >= 0) {
        while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR) {
        }
        failed = birth.failed;
    }
#ifdef SYS_pidfd_open
    if (failed == 0 && birth.process > 0) {
        *process = (int)syscall(SYS_pidfd_open, birth.process, 0u); /* close-on-exec by itself */
    }
#endif
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    munmap(stacks, 2 * STACK_SIZE);
    environment_free(birth.environment);
    return failed;
}

static bool is_setuid(void) {
    return getauxval(AT_SECURE) != 0;
}

/* The folder of the user's socket, where nobody has made it yet. */
static void make_folder(const char *socket_path) {
    char folder[256];
    size_t size = (size_t)(strrchr(socket_path, '/') - socket_path);
    if (size < sizeof folder) {
        memcpy(folder, socket_path, size);
        folder[size] = 0;
        mkdir(folder, 0700);
    }
}

struct start start_process(const struct place *place) {
    struct start start = {.hopeless = true, .process = -1};
    pid_t nobody = 0, self = getpid();
    if (is_setuid() || now_ms() < atomic_load(&not_before)) {
        return start;
    }
    while (!atomic_compare_exchange_strong(&starter, &nobody, self)) {
        if (nobody == self) { /* another thread is at it: wait for what comes of that */
            start.hopeless = false;
            return start;
        }
        /* a parent was at it when this process was forked: `nobody` is the value to replace now */
    }
    start.ours = true;
    struct command command;
    const char *why = read_command(&command, place->path);
    if (why == NULL) {
        make_folder(place->path);
        place_is_safe(place, &why); /* another's folder: no process could listen there */
    }
    if (why != NULL) {
        log_line(LEVEL_INFO, "[dcap] No provider process is started: %s.", why);
        atomic_store(&starter, 0);
        start.ours = false;
        return start;
    }
    int failed = spawn(&command, &start.process);
    start.hopeless = failed != 0;
    if (failed != 0) {
        char text[128];
        log_line(LEVEL_ERROR, "[dcap] %s cannot be started: %s.", command.words[0],
                 strerror_r(failed, text, sizeof text));
    }
    return start;
}

bool start_goes_on(struct start *start) {
    if (start->hopeless) {
        return false;
    }
    if (!start->ours) {
        return atomic_load(&starter) == getpid();
    }
    struct pollfd process = {.fd = start->process, .events = POLLIN};
    if (start->ends == 0 && start->process >= 0 && poll(&process, 1, 0) == 1) {
        start->ends = now_ms() + GRACE_MS;
    }
    return start->ends == 0 || now_ms() < start->ends;
}

void start_ended(struct start *start, bool connected) {
    if (start->process >= 0) {
        close(start->process);
    }
    if (start->ours) {
        atomic_store(&not_before, connected ? 0 : now_ms() + PAUSE_MS);
        atomic_store(&starter, 0);
    }
}
