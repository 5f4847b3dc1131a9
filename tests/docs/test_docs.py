"""What the pages show is what happens: examples are run, links followed, generated pages made again.

How a page marks its blocks:

    ```python     executed, in a folder where `.demo/` is as `make demo` leaves it
    ```console    each `$ dcap …` line is run; the lines below it are what it prints
    ```toml       a policy
    ```sh         only shown, unless a file name stands above it

`<!-- file: NAME -->` above a block names the file it is; `<!-- in: internet -->` above one says that it
runs in a simulated internet (`test_internet`). All other examples run against the real quote of
`make demo` where it lies (the vectors, or `.demo/` in the checkout), and always against a
simulated one of the same TD at the same instant, where only the last line of an output can be the same.

`python tests/docs/rewrite.py` writes what is printed now into the pages; read the difference.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote as url_encoded

import pytest

from dcap import Policy
from dcap.cli import glossary
from dcap.formats import certificate, collateral, containers, crl, pem, quote, signed_json
from departures import FMSPC, World
from worlds import AT, ROOT, collateral_of, vectors_path

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(
    r"(?:<!-- (?:file|in): (\S+) -->\n)?```(\w+)\n(.*?)\n?```$", re.MULTILINE | re.DOTALL
)
#: What stands where a file's name does, above blocks that need a network.
INTERNET = "internet"
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """One fenced block of a page."""

    page: Path
    line: int
    file: str | None
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


class Shop(NamedTuple):
    """A folder in which the examples can be run, and how."""

    folder: Path
    environment: dict[str, str]
    real: bool


def blocks(*languages: str) -> list[Block]:
    """Every block in one of these languages."""
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, *found.groups())
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for found in BLOCK.finditer(text)
        if found[2] in languages
    ]


def named(file: str) -> Block:
    """The block that is this file."""
    return next(block for block in blocks("toml", "sh") if block.file == file)


def tool(name: str) -> Any:
    """A module of the folder `tools`."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DEMO = tool("demo")
DEMO_AT = datetime.fromisoformat(DEMO.AT)
MRTD = tomllib.loads(named(".demo/policy.toml").text)["release"][0]["mrtd"]


def open_shop(folder: Path, *, real: bool) -> Shop:
    """A folder with `dcap` and `python3` on the path."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    (bin_folder / "python3").symlink_to(sys.executable)
    dcap = bin_folder / "dcap"
    dcap.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "from dcap.cli.main import main; main()" "$@"\n'
    )
    dcap.chmod(0o755)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("DCAP_")
    }
    environment["PATH"] = f"{bin_folder}{os.pathsep}{environment['PATH']}"
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    if not real:
        environment["DCAP_INSECURE_TEST_ROOT"] = str(folder / "root.pem")
    return Shop(folder, environment, real)


def stock(folder: Path, *, real: bool) -> Shop:
    """A shop with `.demo/` as `make demo` leaves it: of the real quote, or of a simulated one."""
    demo = folder / ".demo"
    demo.mkdir()
    (demo / "policy.toml").write_text(DEMO.POLICY.format(mrtd=MRTD))
    if real:
        places = (vectors_path() / DEMO.VECTOR, ROOT / ".demo")
        source = next((place for place in places if (place / "quote.bin").exists()), None)
        if source is None:
            pytest.skip("no real quote: set DCAP_VECTORS, or run `make demo` first")
        for name in DEMO.MEMBERS.values():
            (demo / name).write_bytes((source / name).read_bytes())
        pad(demo / "quote.bin")
    else:
        world = World(at=DEMO_AT)
        (folder / "root.pem").write_bytes(world.root.pem)
        (demo / "quote.bin").write_bytes(
            world.quote(tee="tdx", body={"mr_td": bytes.fromhex(MRTD)})
        )
        (demo / "collateral.json").write_bytes(collateral_of(world.collateral("tdx")).to_json())
    return open_shop(folder, real=real)


@pytest.fixture(scope="module", params=[True, False], ids=["real", "simulated"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A folder in which the examples can be run, of each kind."""
    return stock(tmp_path_factory.mktemp("docs"), real=request.param)


def pad(file: Path) -> None:
    """The archive's quote is followed by zeros, of which the vector was freed: put one back."""
    data = file.read_bytes()
    if not containers.recognise(data).wrappings:
        file.write_bytes(data + b"\0")


def run(shop: Shop, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the shop."""
    return subprocess.run(
        command,
        cwd=shop.folder,
        env=shop.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def sessions(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with what the page says it prints."""
    parts = re.split(r"^\$ (.*)$", block.text, flags=re.MULTILINE)
    assert not parts[0], f"{block}: output before the first command"
    return [(command, shown.strip("\n")) for command, shown in zip(parts[1::2], parts[2::2])]  # noqa: B905


@pytest.mark.parametrize(
    "block", [block for block in blocks("console") if block.file != INTERNET], ids=str
)
def test_commands_print_what_the_page_shows(shop: Shop, block: Block) -> None:
    """Each command of a console block, run, prints the lines below it."""
    for command, shown in sessions(block):
        assert command.startswith("dcap "), f"{block}: only dcap is run"
        printed = run(shop, "sh", "-c", command).stdout.strip("\n")
        if not shop.real:
            printed, shown = printed.rpartition("\n")[2], shown.rpartition("\n")[2]  # noqa: PLW2901
        assert printed == shown


@pytest.mark.parametrize(
    "block", [block for block in blocks("python") if block.file != INTERNET], ids=str
)
def test_python_runs_as_it_stands(shop: Shop, block: Block) -> None:
    """The Python example accepts the quote and prints its report data."""
    code = block.text
    if not shop.real:  # the one thing a simulated quote needs besides: its root
        assert code.count("at=at)") == 1
        code = FORGED_ANCHOR + code.replace("at=at)", "at=at, anchor=anchor)")
    outcome = run(shop, sys.executable, "-W", "error", "-c", code)
    assert outcome.returncode == 0, outcome.stderr
    claimed = run(shop, "dcap", "inspect", ".demo/quote.bin", "--field", "report_data")
    assert outcome.stdout == claimed.stdout


FORGED_ANCHOR = """
from pathlib import Path
import dcap
from dcap.formats.certificate import Certificate
root = Certificate.parse_chain(Path("root.pem").read_bytes())[0]
anchor = dcap.TrustAnchor.insecure_test_root(root)
"""


def test_the_first_verify_is_ten_lines() -> None:
    """The README's examples in Python have no more than ten lines of code each."""
    found = [block for block in blocks("python") if block.page == ROOT / "README.md"]
    assert [block.file for block in found] == [INTERNET, None]
    for block in found:
        assert len([line for line in block.text.splitlines() if line.strip()]) <= 10


def test_the_readme_shows_the_command_of_make_demo(shop: Shop) -> None:
    """`make demo` runs the command whose output the README shows, under the policy it shows."""
    command = (
        "dcap verify .demo/quote.bin --collateral .demo/collateral.json "
        f"--policy .demo/policy.toml --at {DEMO.AT}"
    )
    readme = [
        block
        for block in blocks("console")
        if block.page == ROOT / "README.md" and block.file is None
    ]
    assert sessions(readme[0])[0][0] == command
    assert named(".demo/policy.toml").text == DEMO.POLICY.format(mrtd=MRTD).strip()
    claimed = run(shop, "dcap", "inspect", ".demo/quote.bin", "--field", "mrtd")
    assert claimed.stdout.strip() == MRTD


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_policies_can_be_read(block: Block) -> None:
    """Every policy that a page shows is one."""
    assert Policy.from_toml(block.text).releases


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there."""
    links = _LINK.findall(
        re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    )
    for link in links:
        if not link.startswith(("https://", "mailto:")):
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_no_page_names_a_place_of_one_machine() -> None:
    """No page has an absolute path of the machine it was written on."""
    for page in PAGES:
        assert str(ROOT.parent) + os.sep not in page.read_text(encoding="utf-8"), page


def test_files_that_the_architecture_names_are_there() -> None:
    """Every file and folder in the architecture page exists."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "dcap"
    for name in set(re.findall(r"`([\w/]+(?:\.py|/))`", text)):
        at_hand = (ROOT / name).exists() or (package / name).exists()
        assert at_hand or any(package.rglob(name)), name


def test_generated_pages_are_current() -> None:
    """`make docs` would change nothing."""
    program = [sys.executable, str(ROOT / "tools" / "reference.py"), "--check"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    outcome = subprocess.run(
        program, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_the_readme_lists_exit_statuses_that_exist() -> None:
    """Every exit status of the README's table is one of the program's, from 0 to 6 without a gap."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert listed == {0, 1, 2, 3, 4, 5, 6, 70}
    assert listed <= glossary.EXIT_STATUSES.keys()


KIB, MIB = 1024, 1024 * 1024


@pytest.mark.parametrize(
    "words",
    [
        f"quote {quote.MAX_SIZE // KIB} KiB",
        f"evidence with its containers {containers.MAX_SIZE // MIB} MiB",
        f"certificate {certificate.MAX_SIZE // KIB} KiB",
        f"{pem.MAX_BLOCKS} blocks of PEM",
        f"signed document {signed_json.MAX_SIZE // MIB} MiB",
        f"CRL {crl.MAX_SIZE // MIB} MiB",
        f"collateral file {collateral.MAX_SIZE // MIB} MiB",
    ],
)
def test_the_budgets_are_those_of_the_readers(words: str) -> None:
    """SECURITY.md states each reader's budget as the source has it."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert words in " ".join(text.split())


def test_every_file_name_of_collateral_is_on_its_page() -> None:
    """The page on collateral has every file name that the reader knows."""
    text = (ROOT / "docs" / "collateral.md").read_text(encoding="utf-8")
    for names in collateral.FILE_NAMES.values():
        for name in names:
            assert f"`{name}`" in text


class Answer(NamedTuple):
    """What the stand-in for Intel's service answers."""

    body: bytes
    header: str = ""
    chain: bytes = b""


def intel(world: World, tee: str, ca: str) -> dict[str, Answer]:
    """The answers for a simulated platform, by path, as Intel's service gives them."""
    made = collateral_of(world.collateral(tee, ca))
    fmspc = FMSPC.hex()
    assert made.pck_crl_issuer_chain is not None
    return {
        f"/{tee}/certification/v4/tcb?fmspc={fmspc}": Answer(
            made.tcb_info, "TCB-Info-Issuer-Chain", made.tcb_info_issuer_chain
        ),
        f"/{tee}/certification/v4/qe/identity": Answer(
            made.qe_identity, "SGX-Enclave-Identity-Issuer-Chain", made.qe_identity_issuer_chain
        ),
        f"/sgx/certification/v4/pckcrl?ca={ca}&encoding=der": Answer(
            made.pck_crl, "SGX-PCK-CRL-Issuer-Chain", made.pck_crl_issuer_chain
        ),
        "/IntelSGXRootCA.der": Answer(made.root_ca_crl),
    }


class Pcs(BaseHTTPRequestHandler):
    """Answers from a table, chains URL-encoded in a header."""

    answers: dict[str, Answer]

    def do_GET(self) -> None:
        """Answer one request."""
        answer = self.answers.get(self.path)
        if answer is None:
            self.send_error(404)
            return
        self.send_response(200)
        if answer.header:
            self.send_header(answer.header, url_encoded(answer.chain))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(params=[("sgx", "processor"), ("tdx", "platform")], ids=lambda given: given[0])
def service(request: pytest.FixtureRequest, world: World) -> Iterator[tuple[str, bytes]]:
    """A server with the collateral of a simulated platform; its address, and a quote of the platform."""
    tee, ca = request.param
    handler = type("Handler", (Pcs,), {"answers": intel(world, tee, ca)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", world.quote(tee=tee, ca=ca)
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_script_fetches_what_a_verdict_needs(
    tmp_path: Path, world: World, service: tuple[str, bytes]
) -> None:
    """The page's script fetches a folder of collateral under which the quote is accepted."""
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    address, evidence = service
    script = named("fetch-collateral.sh").text
    for host in ("api", "certificates"):
        script = script.replace(f"https://{host}.trustedservices.intel.com", address)
    (tmp_path / "fetch-collateral.sh").write_text(script)
    (tmp_path / "quote.bin").write_bytes(evidence)
    (tmp_path / "root.pem").write_bytes(world.root.pem)
    shop = open_shop(tmp_path, real=False)
    fetched = run(shop, "sh", "fetch-collateral.sh", "quote.bin", "collateral")
    assert fetched.returncode == 0, fetched.stderr
    at = f"{AT.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    arguments = ("quote.bin", "--collateral", "collateral", "--any-identity", "--at", at)
    verdict = run(shop, "dcap", "verify", *arguments)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
