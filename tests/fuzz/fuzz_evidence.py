"""Coverage-guided fuzzing of everything that reads bytes from strangers (atheris, libFuzzer).

    python tests/fuzz/fuzz_evidence.py -runs=200000 -max_len=16384 .fuzz/corpus

The first byte of an input picks what reads the rest (`TARGETS`). Only `DcapError` may come out of a
reader; nothing at all out of `appraise`, which moreover accepts no quote but the simulated genuine one.
A hang counts as an escape (`-timeout`, 10 s unless given). Seeds come from the simulator, and from the
real vectors where they lie; they are written into the corpus folder, crashes beside it.

Exit status: 0 nothing found, 2 atheris is not there for this Python, anything else: found something.
Not a test: pytest does not collect it (`make fuzz` runs it). Bounded mutations: `tests/properties`.
"""

import hashlib
import mmap
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2] / "src"), str(HERE.parents[1])]

try:
    import atheris
except ImportError:
    version = ".".join(map(str, sys.version_info[:2]))
    sys.stderr.write(
        f"fuzz: atheris cannot be imported by Python {version}, so nothing was fuzzed; use a Python "
        'for which it has a wheel (pip install "atheris>=3.0")\n'
    )
    sys.exit(2)

import msgspec  # noqa: E402 - it would fail before the words above are said

with atheris.instrument_imports(include=["dcap"]):
    from dcap.appraisal import Policy, appraise
    from dcap.appraisal.claims import claims_of
    from dcap.cli.inspection import inspect_bytes
    from dcap.errors import DcapError
    from dcap.formats.certificate import Certificate
    from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO, Collateral
    from dcap.formats.crl import Crl
    from dcap.formats.enclave_identity import EnclaveIdentity
    from dcap.formats.pck_extensions import PckExtensions
    from dcap.formats.quote import Quote
    from dcap.formats.signed_json import SignedJson
    from dcap.formats.tcb_evaluation_numbers import TcbEvaluationNumbers
    from dcap.formats.tcb_info import TcbInfo
    from dcap.verification import Evidence, check_endorsements

from departures import World  # noqa: E402 - after the instrumented imports, which it makes too
from worlds import AT, Vector, anchor_of, collateral_of, vector_names  # noqa: E402

WORLD = World(at=AT)
ANCHOR = anchor_of(WORLD)
ANY = Policy(identity="any")
QUOTES = {
    ("sgx", 3): WORLD.quote(3, "sgx"),
    ("sgx", 4): WORLD.quote(4, "sgx"),
    ("tdx", 4): WORLD.quote(4, "tdx"),
    ("tdx", 5): WORLD.quote(5, "tdx"),
}
COLLATERAL = {tee: collateral_of(WORLD.collateral(tee)) for tee in ("sgx", "tdx")}
PROOFS = [check_endorsements(COLLATERAL[tee], at=AT, anchor=ANCHOR) for tee in COLLATERAL]
PIECES = Collateral.__struct_fields__

NUMBERS = (
    b'{"id":"SGX","version":1,"issueDate":"2025-01-01T00:00:00Z","nextUpdate":'
    b'"2025-02-01T00:00:00Z","tcbEvalNumbers":[{"tcbEvaluationDataNumber":18,'
    b'"tcbRecoveryEventDate":"2025-01-01T00:00:00Z","tcbDate":"2025-01-01T00:00:00Z"}]}'
)
#: How many inputs were tried: shared, as libFuzzer ends its process without asking Python.
TRIED = mmap.mmap(-1, 8)


def evidence(data: bytes) -> None:
    """Evidence in any container; what is read must write back to the same bytes."""
    found = Evidence.recognise(data)
    quote = found.quote
    claims_of(quote, platform_ids=True)
    if Quote.parse(quote.to_bytes()) != quote or len(quote.to_bytes()) != found.size:
        raise AssertionError("a quote does not write back to what was read")


def inspection(data: bytes) -> None:
    """What `dcap inspect` makes of any file."""
    inspect_bytes(data)


def certificates(data: bytes) -> None:
    """A PEM chain, or one certificate in DER, with its SGX extension."""
    pem = data.startswith(b"-----")
    for certificate in Certificate.parse_chain(data) if pem else (Certificate.parse(data),):
        _ = certificate.common_name, certificate.issuer_common_name
        PckExtensions.parse(certificate.sgx_extension or data)


def revocation_list(data: bytes) -> None:
    """A CRL in any of its encodings."""
    _ = Crl.parse(data).issuer_common_name


def tcb_info(data: bytes) -> None:
    """The body of a TCB info."""
    TcbInfo.parse(data)


def identity(data: bytes) -> None:
    """The body of an enclave identity, or of a list of evaluation numbers."""
    try:
        EnclaveIdentity.parse(data)
    except DcapError:
        TcbEvaluationNumbers.parse(data)


def responses(data: bytes) -> None:
    """A signed response of either kind."""
    try:
        SignedJson.parse(data, TCB_INFO)
    except DcapError:
        SignedJson.parse(data, ENCLAVE_IDENTITY)


def collateral_json(data: bytes) -> None:
    """dcap-qvl's JSON form."""
    Collateral.from_json(data)


def policy(data: bytes) -> None:
    """A policy file."""
    Policy.from_toml(data.decode("utf-8", "replace"))


def judged_quote(data: bytes) -> None:
    """A quote, judged under genuine collateral: a result, and accepted only if it is a simulated one."""
    for proof in PROOFS:
        result = appraise(data, proof, ANY)
        result.explain()
        if result.accepted and result.evidence is not None:
            quote = result.evidence.quote
            if quote.signed_bytes not in {Quote.parse(q).signed_bytes for q in QUOTES.values()}:
                raise AssertionError("a quote was accepted that no simulated machine signed")


def judged_collateral(data: bytes) -> None:
    """One piece of collateral (picked by the first byte), judged with everything else genuine."""
    piece = PIECES[data[0] % len(PIECES)] if data else PIECES[0]
    changed = msgspec.structs.replace(COLLATERAL["sgx"], **{piece: data[1:]})
    appraise(QUOTES["sgx", 3], changed, ANY, at=AT, anchor=ANCHOR).explain()


READERS: tuple[Callable[[bytes], None], ...] = (
    evidence,
    inspection,
    certificates,
    revocation_list,
    tcb_info,
    identity,
    responses,
    collateral_json,
    policy,
)
JUDGES: tuple[Callable[[bytes], None], ...] = (judged_quote, judged_collateral)
TARGETS = READERS + JUDGES


def try_one(data: bytes) -> None:
    """One input: only our errors may come out, and none of them out of `appraise`."""
    TRIED[:] = (int.from_bytes(TRIED[:], "little") + 1).to_bytes(8, "little")
    if not data:
        return
    target = TARGETS[data[0] % len(TARGETS)]
    try:
        target(data[1:])
    except DcapError:
        if target in JUDGES:
            raise


def seeds() -> list[bytes]:
    """At least one sound input for every target."""
    pck = WORLD.pck(ca="platform")
    sgx = COLLATERAL["sgx"]
    pieces = {
        evidence: list(QUOTES.values()),
        inspection: [pck.der, pck.chain_pem, *QUOTES.values()],
        certificates: [pck.der, pck.chain_pem, WORLD.root.der],
        revocation_list: [WORLD.crl(revoked=[1, 2, 3], encoding=e) for e in ("der", "pem", "hex")],
        tcb_info: [WORLD.tcb_info("SGX"), WORLD.tcb_info("TDX"), WORLD.tcb_info("SGX", version=2)],
        identity: [
            WORLD.qe_identity("QE"),
            NUMBERS,
        ],
        responses: [sgx.tcb_info, sgx.qe_identity],
        collateral_json: [sgx.to_json()],
        policy: [
            b'name = "p"\naccepted_tcb_statuses = ["UpToDate"]\nmaximum_collateral_age = "7d"\n'
            b'minimum_tcb_date = 2024-01-01\nreport_data = "00"\n[[release]]\nname = "v1"\n'
            b'mrsigner = "' + b"83" * 32 + b'"\nproduct_id = 1\nminimum_svn = 3\n'
        ],
        judged_quote: list(QUOTES.values()),
        judged_collateral: [
            bytes((i,)) + getattr(sgx, piece)
            for i, piece in enumerate(PIECES)
            if getattr(sgx, piece)
        ],
    }
    found = [bytes((TARGETS.index(t),)) + data for t, inputs in pieces.items() for data in inputs]
    for name in vector_names("verifiable", "parse-only"):
        quote = Vector(name).quote
        found += [bytes((TARGETS.index(evidence),)) + quote]
    return found


def main(arguments: list[str]) -> int:
    """Write the seeds where libFuzzer looks for them, let it run, and say how it ended."""
    given = [argument for argument in arguments if not argument.startswith("-")]
    corpus = Path(given[0] if given else tempfile.mkdtemp(prefix="dcap-fuzz-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds():
        (corpus / f"seed-{hashlib.sha256(seed).hexdigest()[:16]}").write_bytes(seed)
    options = [argument for argument in arguments if argument.startswith("-")]
    defaults = {"-timeout": "10", "-artifact_prefix": f"{corpus.parent}/"}
    options += [
        f"{name}={value}"
        for name, value in defaults.items()
        if not any(option.startswith(f"{name}=") for option in options)
    ]
    child = os.fork()
    if child == 0:
        atheris.Setup([sys.argv[0], *options, str(corpus), *given[1:]], try_one)
        atheris.Fuzz()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    end = "nothing escaped" if status == 0 else f"stopped by what stands above (status {status})"
    sys.stderr.write(f"fuzz: {int.from_bytes(TRIED[:], 'little')} inputs tried, {end}\n")
    return abs(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
