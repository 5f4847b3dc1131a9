"""How fast is a verification, beside dcap-qvl and beside the ECDSA checks nobody can avoid?

Run it with `make bench` on an idle machine. Every row is measured in rounds, ours and the peer's in
turn, and the medians are printed with their ratio; absolute times are this machine's alone.

Quotes and collateral are simulated (`tests/departures`), so that there are as many distinct platforms
as wanted; with real vectors at hand, rows for them are added. dcap-qvl verifies the same bytes under
the same root.

    cold       all collateral and the whole quote checked each time (`appraise`, collateral as bytes)
    cold x2    the same, independent signatures on two threads (`side_by_side`)
    new        collateral checked once; a platform never seen: PCK leaf, QE report, quote
    (b) known  collateral checked once; the PCK chain is known, QE report and quote are not
    (c) same   collateral checked once; same platform, same QE report, another quote
"""

import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import dcap_qvl

from dcap import Policy, appraise
from dcap.side_by_side import side_by_side
from dcap.verification import Evidence, TrustAnchor, check_endorsements, signature, verify
from dcap.verification.verifier import claims
from departures import World
from worlds import AT, Vector, anchor_of, collateral_of, vector_names

PLATFORMS = 150
ROUNDS = 7
SHAPES = {
    "SGX v3": {"version": 3, "tee": "sgx"},
    "TDX v4": {"version": 4, "tee": "tdx"},
    "TDX v5": {"version": 5, "tee": "tdx", "body_type": 3},
}
REAL = {
    "SGX v3": "dcap-qvl-sgx-quote-f8b810",
    "TDX v4": "dcap-qvl-tdx-quote-f1c850",
    "TDX v5": "go-tdx-guest-quote-v5-sample-cf77a6",
}
ANY = Policy(identity="any")


class Scene:
    """One kind of quote from many platforms, under one set of collateral."""

    def __init__(self, name: str) -> None:
        world = World(at=AT)
        shape = SHAPES[name]
        ca = "processor" if shape["tee"] == "sgx" else "platform"
        pcks = [world.pck(ca, ppid=i.to_bytes(16, "big")) for i in range(PLATFORMS)]
        self.name = name
        self.anchor = anchor_of(world)
        self.quotes = [world.quote(pck=pck, **shape) for pck in pcks]
        self.others = [
            world.quote(pck=pcks[0], report_data=bytes([i]) * 64, **shape) for i in range(PLATFORMS)
        ]
        self.collateral = collateral_of(world.collateral(tee=str(shape["tee"])))
        self.root = world.root.der

    def endorsements(self):  # noqa: ANN201 - a script
        """Fresh endorsements: nothing is remembered."""
        return check_endorsements(self.collateral, at=AT, anchor=self.anchor).require()

    def peer(self) -> Callable[[bytes], object]:
        """dcap-qvl over the same bytes."""
        collateral = dcap_qvl.QuoteCollateralV3.from_json(self.collateral.to_json().decode())
        now = int(AT.timestamp())
        return lambda quote: dcap_qvl.verify_with_root_ca(quote, collateral, self.root, now)


def timed(action: Callable[[bytes], object], quotes: list[bytes]) -> float:
    """Microseconds per quote."""
    begin = time.perf_counter()
    for quote in quotes:
        action(quote)
    return (time.perf_counter() - begin) / len(quotes) * 1e6


def raw(quotes: list[bytes], checks: slice, anchor: TrustAnchor) -> float:
    """Microseconds for the bare ECDSA checks of each quote, keys loaded and signatures encoded."""
    found = [claims(Evidence.recognise(q), anchor)[checks] for q in quotes]
    prepared = [[(signature.load_key(k), s, m) for k, s, m in claim] for claim in found]
    algorithm = signature._ALGORITHM  # noqa: SLF001 - the very same arithmetic
    begin = time.perf_counter()
    for checks_of_one in prepared:
        for key, sig, message in checks_of_one:
            key.verify(sig, message, algorithm)
    return (time.perf_counter() - begin) / len(quotes) * 1e6


def row(label: str, ours: list[float], peer: list[float], bare: list[float] | None = None) -> None:
    """One line: medians, our speed relative to the peer's, and to the raw checks."""
    mine, theirs = statistics.median(ours), statistics.median(peer)
    line = f"  {label:<11}{mine:9.0f} us {1e6 / mine:8.0f}/s   {theirs / mine:5.2f} x dcap-qvl"
    if bare is not None:
        floor = statistics.median(bare)
        line += f"   raw ECDSA {floor:4.0f} us = {floor / mine:4.0%}"
    print(line)


def scene(name: str, pool: ThreadPoolExecutor) -> None:
    """All rows for one kind of quote."""
    stage = Scene(name)
    peer = stage.peer()
    run = side_by_side(pool)
    rows: dict[str, list[float]] = {}
    for _ in range(ROUNDS):

        def note(label: str, value: float) -> None:
            rows.setdefault(label, []).append(value)

        note("peer", timed(peer, stage.quotes))
        cold = {"at": AT, "anchor": stage.anchor}
        note("cold", timed(lambda q: appraise(q, stage.collateral, ANY, **cold), stage.quotes))
        note(
            "cold x2",
            timed(lambda q: appraise(q, stage.collateral, ANY, run=run, **cold), stage.quotes),
        )
        fresh = stage.endorsements()
        note("new", timed(lambda q: check(q, fresh), stage.quotes))
        note("raw new", raw(stage.quotes, slice(0, 3), stage.anchor))
        fresh.authentic.qe_reports.clear()
        note("known", timed(lambda q: check(q, fresh), stage.quotes))
        note("raw known", raw(stage.quotes, slice(0, 2), stage.anchor))
        note("same", timed(lambda q: check(q, fresh), stage.others))
        note("raw same", raw(stage.others, slice(0, 1), stage.anchor))
        note("appraised", timed(lambda q: appraise(q, fresh, ANY), stage.others))
    theirs = rows["peer"]
    print(f"{name}: dcap-qvl {statistics.median(theirs):.0f} us")
    row("(a) cold", rows["cold"], theirs)
    row("(a) cold x2", rows["cold x2"], theirs)
    row("    new", rows["new"], theirs, rows["raw new"])
    row("(b) known", rows["known"], theirs, rows["raw known"])
    row("(c) same", rows["same"], theirs, rows["raw same"])
    row("    + policy", rows["appraised"], theirs, rows["raw same"])


def check(quote: bytes, endorsements: object) -> None:
    """Recognise, parse, verify; it must be genuine."""
    if verify(Evidence.recognise(quote), endorsements).verified is None:  # type: ignore[arg-type]
        sys.exit("a genuine quote was refused: the benchmark is wrong")


def real(pool: ThreadPoolExecutor) -> None:
    """Cold and same, on real Intel-signed quotes."""
    for name, vector_name in REAL.items():
        if vector_name not in vector_names():
            continue
        vector = Vector(vector_name)
        quotes = [vector.quote] * 60
        peer_collateral = dcap_qvl.QuoteCollateralV3.from_json(vector.collateral.to_json().decode())
        now = int(vector.at.timestamp())
        collateral, at, run = vector.collateral, vector.at, side_by_side(pool)
        warm = check_endorsements(collateral, at=at).require()
        mine, double, same, theirs = [], [], [], []
        for _ in range(ROUNDS):
            theirs.append(timed(lambda q: qvl(q, peer_collateral, now), quotes))
            mine.append(timed(lambda q: appraise(q, collateral, ANY, at=at), quotes))
            double.append(timed(lambda q: appraise(q, collateral, ANY, at=at, run=run), quotes))
            same.append(timed(lambda q: check(q, warm), quotes))
        print(f"{name}, real ({vector_name}): dcap-qvl {statistics.median(theirs):.0f} us")
        row("(a) cold", mine, theirs)
        row("(a) cold x2", double, theirs)
        row("(c) same", same, theirs)


def qvl(quote: bytes, collateral: object, now: int) -> None:
    """dcap-qvl's verify; a refusal by its default policy costs the same."""
    try:
        dcap_qvl.verify(quote, collateral, now)
    except ValueError:
        return


def threads() -> None:
    """(d) two threads against one, ours and raw ECDSA's, in turn."""
    stage = Scene("TDX v4")
    endorsements = stage.endorsements()
    for quote in stage.quotes:
        check(quote, endorsements)
    evidence = [Evidence.recognise(q) for q in stage.others]
    keyed = [
        (signature.load_key(k), s, m) for e in evidence for k, s, m in claims(e, stage.anchor)[:1]
    ]

    def verify_all() -> None:
        for quote in stage.others:
            check(quote, endorsements)

    def ecdsa_all() -> None:
        for key, sig, message in keyed:
            key.verify(sig, message, signature._ALGORITHM)  # noqa: SLF001

    gains: dict[str, list[float]] = {"verify": [], "raw": []}
    for _ in range(ROUNDS):
        for label, work in (("verify", verify_all), ("raw", ecdsa_all)):
            gains[label].append(on_threads(work, 1) * 2 / on_threads(work, 2))
    ours, bare = statistics.median(gains["verify"]), statistics.median(gains["raw"])
    print(f"(d) two threads: ours {ours:.2f} x one, raw ECDSA {bare:.2f} x one: {ours / bare:.0%}")


def on_threads(work: Callable[[], None], count: int) -> float:
    """Seconds until `count` threads have each done the work four times."""
    crew = [threading.Thread(target=lambda: [work() for _ in range(4)]) for _ in range(count)]
    begin = time.perf_counter()
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return time.perf_counter() - begin


def main() -> None:
    """Print every row."""
    print(
        "ECDSA checks of a cold verification: PCK CA, PCK, TCB signing, root CRL, PCK CRL, TCB info,"
    )
    print("QE identity, QE report, quote = 9; the root is known bit by bit. None is done twice.")
    assert isinstance(Scene("SGX v3").anchor, TrustAnchor)
    with ThreadPoolExecutor(1) as pool:
        for name in SHAPES:
            scene(name, pool)
        real(pool)
    threads()


if __name__ == "__main__":
    main()
