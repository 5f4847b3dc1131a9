"""What a call of the quote provider costs: start, first call, warm call, as its client sees them.

    python benchmarks/provider.py [--calls 5000] [--library libdcap_quoteprov.so.1]
                                  [--many 1000000] [--threads 8]

A process `python -m dcap.provider serve` before a simulated Intel on loopback. Without a library a
Python client speaks to it; with one, and a C compiler, a C program calls the library's own functions.
Figures are of this machine at this moment: run it twice. Targets: 0.5 s from start to first answer,
200 µs warm.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from dcap.formats.provider_message import (
    HEAD_SIZE,
    Request,
    read_head,
    read_response,
    write_request,
)
from dcap.formats.provider_message_fields import Call, Given
from dcap.serving import serving
from dcap.simulator.services import services
from dcap.simulator.tls import tls_files
from dcap.simulator.world import World

PROGRAM = r"""
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
typedef int get_t(const uint8_t *, uint16_t, const char *, void **);
typedef int free_t(void *);
static get_t *get;
static free_t *give_back;
static uint8_t fmspc[6];
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}
static long resident(void) {
    long pages = 0, ignored;
    FILE *file = fopen("/proc/self/statm", "r");
    if (fscanf(file, "%ld %ld", &ignored, &pages) != 2) { exit(1); }
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}
static void call(void) {
    void *found = NULL;
    int code = get(fmspc, 6, "platform", &found);
    if (code) { printf("0x%04X\n", code); exit(1); }
    give_back(found);
}
static void *call_often(void *times) {
    for (long i = 0; i < *(long *)times; i++) { call(); }
    return NULL;
}
static void in_threads(int threads, long times) {
    pthread_t each[64];
    for (int i = 0; i < threads; i++) { pthread_create(&each[i], NULL, call_often, &times); }
    for (int i = 0; i < threads; i++) { pthread_join(each[i], NULL); }
}
static int compare(const void *a, const void *b) {
    return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b);
}
int main(int argc, char **argv) {
    if (argc < 6) { return 1; }
    long calls = atol(argv[3]), many = atol(argv[4]), before = resident();
    int threads = atoi(argv[5]) > 64 ? 64 : atoi(argv[5]);
    double *took = calloc(calls, sizeof *took), start = now();
    for (long i = 0; i < calls; i++) { took[i] = 0; }
    before = resident();
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) { fprintf(stderr, "%s\n", dlerror()); return 1; }
    printf("library: dlopen                    %9.0f us\n", now() - start);
    get = (get_t *)dlsym(library, "sgx_ql_get_quote_verification_collateral");
    give_back = (free_t *)dlsym(library, "sgx_ql_free_quote_verification_collateral");
    for (int i = 0; i < 6; i++) { unsigned b; sscanf(argv[2] + 2 * i, "%2x", &b); fmspc[i] = b; }
    start = now();
    call();
    printf("library: first call                %9.0f us\n", now() - start);
    for (long i = 0; i < calls; i++) { start = now(); call(); took[i] = now() - start; }
    printf("memory of the host: grown by       %9ld kB\n", resident() - before);
    qsort(took, calls, sizeof *took, compare);
    printf("library: warm call, p50            %9.1f us\n", took[calls / 2]);
    printf("library: warm call, p99            %9.1f us\n", took[calls * 99 / 100]);
    if (many == 0) { return 0; }
    in_threads(threads, 20); /* stacks and arenas */
    before = resident();
    start = now();
    in_threads(threads, many / threads);
    printf("library: on %2d threads             %9.1f us each, %ld calls\n", threads,
           (now() - start) / (many / threads * threads), many / threads * threads);
    printf("memory of the host: grown by       %9ld kB then\n", resident() - before);
    return 0;
}
"""


class Bench:
    """A simulated Intel, a folder, and the process before it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World("bench", at=datetime.now(UTC).replace(microsecond=0))
        self.machine = self.world.platform("node")
        self.path = folder / "provider.sock"
        (folder / "root.pem").write_bytes(self.world.root_pem)

    @contextmanager
    def process(self, base: str, ca: Path) -> Iterator[tuple[int, float]]:
        """The process, by its number, and the seconds until it had answered a ping."""
        command = [sys.executable, "-m", "dcap.provider", "serve", "--socket", str(self.path)]
        command += ["--source", base, "--ca", str(ca)]
        command += ["--insecure-test-root", str(self.folder / "root.pem")]
        began = time.perf_counter()
        started = subprocess.Popen(command, env={**os.environ, "HOME": str(self.folder)})
        try:
            with connected(self.path) as client:
                ask(client, write_request(Request(call=Call.PING)))
            yield started.pid, time.perf_counter() - began
        finally:
            started.terminate()
            started.wait(timeout=20)

    def question(self) -> bytes:
        """A request for a set."""
        given = {Given.TEE: 0, Given.FMSPC: self.machine.fmspc, Given.CA: "platform"}
        return write_request(Request(call=Call.COLLATERAL, given={**given, Given.DEADLINE: 30000}))


def connected(path: Path) -> socket.socket:
    """A connection, once somebody answers."""
    until = time.monotonic() + 30
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(path))
        except OSError:
            client.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.005)
        else:
            return client


def ask(client: socket.socket, message: bytes) -> bytes:
    """One call."""
    client.sendall(message)
    data = client.recv(1 << 20)
    while len(data) < HEAD_SIZE or len(data) < HEAD_SIZE + read_head(data, response=True).length:
        data += client.recv(1 << 20)
    return data


def memory(pid: int) -> str:
    """The resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if "VmRSS" in line)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="What a call of the quote provider costs.")
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--library", type=Path)
    parser.add_argument("--many", type=int, default=0)
    parser.add_argument("--threads", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        certificate, key, ca = tls_files(bench.world, bench.folder)
        with serving(services(bench.world), tls=(certificate, key)) as server:
            base = f"{server.url}/alibaba/sgx/certification/v4/"
            with bench.process(base, ca) as (pid, seconds):
                print(f"start to first answer              {seconds * 1e6:9.0f} us")
                measure(bench, given.calls)
                print(f"memory of the process              {memory(pid):>12}")
                if given.library is not None:
                    load = (given.calls, given.many, given.threads)
                    through_library(bench, given.library.absolute(), load)
                    print(f"memory of the process, then        {memory(pid):>12}")


def measure(bench: Bench, calls: int) -> None:
    """The calls as a client in Python sees them."""
    with connected(bench.path) as client:
        began = time.perf_counter()
        found = read_response(ask(client, bench.question()))
        assert found.status == 0, found
        print(f"first set, from the network        {(time.perf_counter() - began) * 1e6:9.0f} us")
        message = bench.question()
        began = time.perf_counter()
        for _ in range(calls):
            ask(client, message)
        took = (time.perf_counter() - began) / calls * 1e6
        print(f"warm call, client in Python        {took:9.1f} us")


def through_library(bench: Bench, library: Path, load: tuple[int, int, int]) -> None:
    """The same through the library, from C: calls in a row, many more, and on so many threads."""
    compiler = shutil.which("cc")
    if compiler is None:
        print("library: no C compiler (cc) here")
        return
    source, program = bench.folder / "bench.c", bench.folder / "bench"
    source.write_text(PROGRAM)
    subprocess.run(
        [compiler, "-O2", "-o", str(program), str(source), "-ldl", "-lpthread"], check=True
    )
    environ = {**os.environ, "DCAP_PROVIDER_SOCKET": str(bench.path), "HOME": str(bench.folder)}
    command = [str(program), str(library), bench.machine.fmspc.hex(), *map(str, load)]
    subprocess.run(command, env=environ, check=True)


if __name__ == "__main__":
    main()
