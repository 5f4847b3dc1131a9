"""A quote provider library as a source: what it gives is readable, kept once proven, and named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from upstream import machine_need, need, without_pck

from dcap.errors import CollateralError, ConfigError, NotFound, Unavailable
from dcap.qpl.plugin import Plugin
from dcap.simulator import World
from dcap.sources import environment
from dcap.sources.cache import CachedSource
from dcap.sources.environment import from_environment
from dcap.sources.intel_codes import intel_number
from dcap.sources.kept import prove_certificate, prove_collateral
from dcap.sources.need import Tee
from dcap.sources.plugin import PluginSource
from dcap.sources.specs import AZURE_CHASSIS, CHASSIS, Maker, bundled
from dcap.verification.anchors import TrustAnchor
from qpl.calling_plugins import Files, built
from qpl.libraries import MULTI_ARCH, VERSIONED, System, plugin
from worlds import AT

NOWHERE = Path("/nonexistent/qcnl.conf")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """What the plugins serve."""
    world = World(at=AT)
    return Files(tmp_path_factory.mktemp("plugin"), world, world.platform())


@pytest.fixture(scope="module")
def source(files: Files) -> Iterator[PluginSource]:
    """One like Intel's."""
    with Plugin(built(), environ=files.environ) as plugin:
        yield PluginSource(plugin, environ=files.environ)


@pytest.fixture(autouse=True)
def _well(files: Files) -> None:
    files.misbehave()


def _anchor(files: Files) -> TrustAnchor:
    return TrustAnchor.insecure_test_root(files.world.intel.root.certificate)


@pytest.mark.parametrize("form", ["pem", "hex", "der"])
@pytest.mark.parametrize("tee", ["SGX", "TDX"])
def test_a_set_that_proves(files: Files, source: PluginSource, tee: Tee, form: str) -> None:
    """Lists in any of three forms leave in DER; the set is Intel's to the byte, and proves."""
    files.lists_in(form)
    asked = need(files.machine, tee)
    fetched = source.collateral(asked)
    assert fetched.collateral == without_pck(files.world.collateral(files.machine, tee))
    proof = prove_collateral(fetched, asked, at=AT, anchor=_anchor(files))
    assert not isinstance(proof, str)
    assert {origin.source for origin in fetched.origins} == {f"plugin {built()}"}
    files.lists_in("der")


def test_a_certificate_that_proves(files: Files, source: PluginSource) -> None:
    """A leaf without its last newline is joined to its issuers as Intel's does, and still is read."""
    chain = files.machine.pck_chain()
    (files.folder / "pck").write_bytes(chain.replace(b"-----\n-----BEGIN", b"----------BEGIN"))
    asked = machine_need(files.machine)
    found = source.pck_certificate(asked)
    assert found.chain == chain
    assert not isinstance(prove_certificate(found, asked, at=AT, anchor=_anchor(files)), str)
    (files.folder / "pck").write_bytes(chain)


def test_what_cannot_be_said_in_a_call(files: Files, source: PluginSource) -> None:
    """An early generation is refused; a number is looked at in what came."""
    with pytest.raises(NotFound) as early:
        source.collateral(need(files.machine, update="early"))
    assert early.value.code == "plugin-generation"
    standard = files.world.intel.standard
    assert source.collateral(need(files.machine, number=standard))
    with pytest.raises(CollateralError) as other:
        source.collateral(need(files.machine, number=standard + 1))
    assert other.value.code == "source-evaluation-number"


@pytest.mark.parametrize("piece", ["tcb_info", "root_ca_crl", "qe_identity_issuer_chain"])
def test_what_is_not_readable(files: Files, source: PluginSource, piece: str) -> None:
    """A page in place of a piece is an answer that cannot be read, with the plugin's path."""
    path = files.folder / "SGX" / piece
    content = path.read_bytes()
    path.write_bytes(b"<html>sign in</html>")
    with pytest.raises(CollateralError) as caught:
        source.collateral(need(files.machine))
    path.write_bytes(content)
    assert caught.value.code == "source-answer"
    assert caught.value.where.startswith(str(built()))


def test_its_codes_are_intels(files: Files, source: PluginSource) -> None:
    """An error carries the number that a program would have received, whatever piece is asked."""
    files.misbehave("sgx_ql_get_quote_verification_collateral", "0xE062")
    with pytest.raises(NotFound) as caught:
        source.collateral(need(files.machine))
    assert intel_number(caught.value, "pck_crl") == 0xE062


def test_its_answers_are_kept_once_they_are_proven(files: Files, tmp_path: Path) -> None:
    """By name it is a source that is cached: a false set is not kept, a true one asked for once."""
    environ = {**files.environ, "DCAP_CACHE": str(tmp_path / "cache")}
    configured = from_environment(
        [f"plugin:{built()}"], environ=environ, anchor=_anchor(files), clock=lambda: AT
    )
    assert isinstance(configured.source, CachedSource)
    path = files.folder / "SGX" / "tcb_info"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"pceId":"0000"', b'"pceId":"0001"'))
    assert path.read_bytes() != content
    assert configured.collateral(need(files.machine)).collateral.tcb_info != content
    path.write_bytes(content)
    assert configured.collateral(need(files.machine)).collateral.tcb_info == content
    files.misbehave("sgx_ql_get_quote_verification_collateral", "abort")
    assert configured.collateral(need(files.machine)).collateral.tcb_info == content


def test_offline_it_is_not_asked(files: Files) -> None:
    """Nothing keeps a plugin off the network but leaving it alone."""
    made = Maker(files.environ, offline=True, system=NOWHERE).make(f"plugin:{built()}")
    with pytest.raises(Unavailable) as caught:
        made.source.collateral(need(files.machine))
    assert (caught.value.code, made.remote) == ("offline", True)


# ── names ───────────────────────────────────────────────────────────────────────────────────────


def _made(root: Path, name: str, **environ: str) -> str:
    return Maker(environ, system=NOWHERE, machine=root).make(name).source.name


def test_the_plugin_of_this_machine(tmp_path: Path) -> None:
    """`plugin` is what Conclave would load; with none, or with our own, it is the bundled client."""
    system = System(tmp_path)
    assert _made(tmp_path, "plugin") == "Intel PCS"
    path = system.put(f"{MULTI_ARCH}/{VERSIONED}", plugin("intel"))
    assert _made(tmp_path, "plugin") == f"plugin {path}"
    path.write_bytes(plugin("dcap"))
    assert _made(tmp_path, "plugin") == "Intel PCS"
    assert _made(tmp_path, f"plugin:{path}") == "Intel PCS"


def test_a_plugin_that_is_named_must_be_there(tmp_path: Path) -> None:
    """A path that leads nowhere is refused before anything is asked."""
    with pytest.raises(ConfigError) as caught:
        _made(tmp_path, f"plugin:{tmp_path / 'absent.so'}")
    assert caught.value.code == "file-unreadable"


@pytest.mark.parametrize(
    ("tag", "source"),
    [
        (f"{AZURE_CHASSIS}\n", "azure"),
        (AZURE_CHASSIS, "azure"),
        ("Not Specified\n", "pcs"),
        (f"{AZURE_CHASSIS}0\n", "pcs"),
        (None, "pcs"),
    ],
)
def test_whom_the_bundled_client_asks(tmp_path: Path, tag: str | None, source: str) -> None:
    """A machine of Azure's is told by its firmware; a configuration goes before."""
    if tag is not None:
        System(tmp_path).put(CHASSIS, tag)
    assert bundled({}, system=NOWHERE, machine=tmp_path) == source
    assert bundled({"QCNL_CONF_PATH": "x"}, system=NOWHERE, machine=tmp_path) == "qcnl"
    assert bundled({}, system=Path(__file__), machine=tmp_path) == "qcnl"


def test_without_a_name_a_machine_of_azures_asks_azure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is configured, and the firmware says Azure: so it is, by name and without."""
    System(tmp_path).put(CHASSIS, AZURE_CHASSIS)
    monkeypatch.setattr(environment, "SYSTEM_QCNL", NOWHERE)
    monkeypatch.setattr(environment, "MACHINE", tmp_path)
    found = from_environment(environ={}, cache=False)
    assert (found.source.name, found.by) == ("Azure", "default")
    assert from_environment(["bundled"], environ={}, cache=False).source.name == "Azure"
    elsewhere = from_environment(environ={"DCAP_SOURCE": "pcs"}, cache=False)
    assert elsewhere.source.name == "Intel PCS"
