"""Which sources a machine has: names, variables and files, each leads to the source it means."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from upstream import machine_need

import dcap
import dcap.sources
from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.cli.collateral_source import files_of
from dcap.errors import CollateralError, ConfigError, NotFound, Unavailable
from dcap.qpl.qcnl_config import SYSTEM_PATH
from dcap.serving import serving
from dcap.simulator import wire_faults
from dcap.simulator.events import RecoveryAnnounced
from dcap.simulator.internet import Internet, internet
from dcap.simulator.services import services
from dcap.simulator.world import World
from dcap.sources import environment
from dcap.sources.cache_entry import read_dcap_cache
from dcap.sources.environment import Configured, from_environment
from dcap.sources.need import CollateralNeed, MachineNeed
from dcap.verification.anchors import TrustAnchor


class Place(NamedTuple):
    """A world, the internet in which its services are, and a machine's environment there."""

    world: World
    box: Internet
    environ: dict[str, str]
    need: CollateralNeed

    def configure(
        self,
        *specs: str,
        offline: bool | None = None,
        cache: bool = True,
        at: datetime | None = None,
        **more: str,
    ) -> Configured:
        """What this machine makes of names and variables."""
        return from_environment(
            specs,
            environ={**self.environ, **more},
            offline=offline,
            anchor=self.anchor,
            cache=cache,
            clock=lambda: self.world.at,
            at=at,
        )

    @property
    def machine(self) -> MachineNeed:
        """What names the machine."""
        return machine_need(self.world.platform())

    @property
    def anchor(self) -> TrustAnchor:
        """The world's root."""
        return TrustAnchor.insecure_test_root(self.world.intel.root.certificate)

    @property
    def hosts(self) -> list[str]:
        """The hosts that were asked, each once, sorted."""
        return sorted({asked.host for asked in self.box.log})


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A machine whose Intel, Azure and Alibaba are simulated."""
    world = World(at=datetime.now(UTC).replace(microsecond=0))
    machine = world.platform()
    need = CollateralNeed(tee="SGX", fmspc=machine.fmspc, ca="platform")
    with internet(services(world), world, tmp_path) as box:
        environ = {**box.environment, "DCAP_CACHE": str(tmp_path / "cache")}
        yield Place(world, box, environ, need)


INTEL = ["api.trustedservices.intel.com", "certificates.trustedservices.intel.com"]
ALIBABA = ["sgx-dcap-server.cn-hangzhou.aliyuncs.com"]
ALIBABA_URL = f"https://{ALIBABA[0]}/sgx/certification/v4/"


@pytest.mark.parametrize(
    ("spec", "name", "hosts"),
    [
        ("pcs", "Intel PCS", INTEL),
        ("https://api.trustedservices.intel.com/sgx/certification/v4/", "Intel PCS", INTEL),
        ("pcs:https://api.trustedservices.intel.com/sgx/certification/v4/", "Intel PCS", INTEL),
        ("PCS:HTTPS://api.trustedservices.intel.com/sgx/certification/v4/", "Intel PCS", INTEL),
        (ALIBABA_URL.replace("https", "HTTPS"), f"PCCS https://{ALIBABA[0]}", ALIBABA),
        ("azure", "Azure", ["global.acccache.azure.net"]),
        ("alibaba:cn-hangzhou", "Alibaba cn-hangzhou", ALIBABA),
        (ALIBABA_URL, f"PCCS https://{ALIBABA[0]}", ALIBABA),
    ],
)
def test_a_name_leads_to_its_service(place: Place, spec: str, name: str, hosts: list[str]) -> None:
    """Each name is the source people mean, asks its own hosts, and gives a set that proves."""
    source = place.configure(spec).source
    fetched = source.collateral(place.need)
    assert source.name == name
    assert place.hosts == hosts
    assert {origin.source for origin in fetched.origins} == {name}


def test_a_path_is_a_folder(place: Place, tmp_path: Path) -> None:
    """A folder is read each time, and never the network."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in files_of(place.world.collateral(place.world.platform())).items():
        (folder / name).write_bytes(content)
    source = place.configure(str(folder)).source
    assert source.collateral(place.need).collateral.tcb_info
    (folder / "tcb_info_response.json").unlink()
    with pytest.raises(CollateralError):
        source.collateral(place.need)
    assert place.hosts == []


@pytest.mark.parametrize(
    "spec",
    [
        *("intel", "pccs", "alibaba:", "alibaba:..", "azure:x", ""),
        *("ftp://host/sgx/certification/v4/", "pcs:ftp://host/x", "pcs:host", "file:///etc"),
    ],
)
def test_what_is_no_name_is_refused(place: Place, spec: str) -> None:
    """A mistyped source is not looked for on the disk, or asked."""
    with pytest.raises(ConfigError) as refused:
        place.configure(spec)
    assert refused.value.code == "source-spec"


def test_a_qcnl_file_that_is_named_must_be_there(place: Place, tmp_path: Path) -> None:
    """Intel's library falls back to its defaults; who names a file means that file."""
    with pytest.raises(ConfigError) as refused:
        place.configure(f"qcnl:{tmp_path / 'absent.conf'}")
    assert refused.value.code == "file-unreadable"


@pytest.mark.parametrize("way", ["named", "environment", "variable"])
def test_a_qcnl_configuration_is_obeyed(place: Place, tmp_path: Path, way: str) -> None:
    """Named, or found through $QCNL_CONF_PATH: its URL is asked, its update type is the default."""
    conf = tmp_path / "qcnl.conf"
    conf.write_text(f'{{"pccs_url": "{ALIBABA_URL}", "tcb_update_type": "early",}} // mine')
    here = {
        "named": lambda: place.configure(f"qcnl:{conf}"),
        "environment": lambda: place.configure(QCNL_CONF_PATH=str(conf)),
        "variable": lambda: place.configure("qcnl", QCNL_CONF_PATH=str(conf)),
    }[way]()
    assert here.update == "early"
    here.source.collateral(place.need)
    assert place.hosts[-1:] == ALIBABA


def test_without_anything_it_is_intels_pcs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name, no variable, no file: Intel itself, and the standard generation."""
    monkeypatch.setattr(environment, "SYSTEM_QCNL", Path("/nonexistent/qcnl.conf"))
    monkeypatch.setattr(environment, "MACHINE", Path("/nonexistent"))
    here = place.configure()
    assert (here.source.name, here.update, here.by) == ("Intel PCS", "standard", "default")


def test_the_systems_qcnl_configuration_is_found(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system's file is there, it is this machine's configuration."""
    conf = tmp_path / "system.conf"
    conf.write_text(f'{{"pccs_url": "{ALIBABA_URL}"}}')
    monkeypatch.setattr(environment, "SYSTEM_QCNL", conf)
    assert place.configure().by == str(conf)


def test_the_systems_file_is_the_one_that_intels_library_reads() -> None:
    """One name for the file, here and where it is read."""
    assert environment.SYSTEM_QCNL == SYSTEM_PATH


@pytest.mark.parametrize("given", ["alibaba:cn-hangzhou", " alibaba:cn-hangzhou , pcs "])
def test_the_variable_names_sources_in_order(place: Place, given: str) -> None:
    """$DCAP_SOURCE, with commas between the names: the first that can do it answers."""
    here = place.configure(DCAP_SOURCE=given, QCNL_CONF_PATH="/absent")
    here.source.collateral(place.need)
    assert here.by == "DCAP_SOURCE"
    assert place.hosts == ALIBABA


def test_the_next_is_asked_where_one_fails(place: Place) -> None:
    """A PCCS that is not there: Intel answers, and a remark says who was passed over."""
    fetched = place.configure(
        "https://absent.invalid/sgx/certification/v4/", "pcs"
    ).source.collateral(place.need)
    assert {origin.source for origin in fetched.origins} == {"Intel PCS"}
    assert any("absent.invalid" in remark for remark in fetched.remarks)


@pytest.mark.parametrize("setting", ["flag", "variable"])
def test_offline_asks_nothing(place: Place, setting: str) -> None:
    """With --offline or $DCAP_OFFLINE nothing reaches the network; what to do is said."""
    flags = {"flag": {"offline": True}, "variable": {"DCAP_OFFLINE": "1"}}[setting]
    source = place.configure("pcs", **flags).source  # type: ignore[arg-type]
    with pytest.raises(Unavailable) as refused:
        source.collateral(place.need)
    assert refused.value.code == "offline"
    assert place.box.log == []


@pytest.mark.parametrize("setting", ["0", "", "false", "no"])
def test_a_variable_that_says_no_means_no(place: Place, setting: str) -> None:
    """DCAP_OFFLINE=0 is not offline."""
    assert place.configure("pcs", DCAP_OFFLINE=setting).source.collateral(place.need)


def test_what_was_fetched_is_kept_for_offline(place: Place) -> None:
    """A later process, off the network, goes on with what an earlier one has proven."""
    place.configure("pcs").source.collateral(place.need)
    asked = len(place.box.log)
    fetched = place.configure("pcs", offline=True).source.collateral(place.need)
    assert all(origin.cached for origin in fetched.origins)
    assert len(place.box.log) == asked


def test_a_cache_that_is_off_keeps_nothing(place: Place) -> None:
    """DCAP_CACHE=off: the next process asks again."""
    for _ in range(2):
        place.configure("pcs", DCAP_CACHE="off").source.collateral(place.need)
    assert sum(asked.target.startswith("/IntelSGXRootCA") for asked in place.box.log) == 2


def test_what_does_not_prove_is_passed_over(place: Place) -> None:
    """The first source's answers are of another root: the second, which proves, is taken."""
    other = World("another", at=place.world.at)
    other.platform()
    place.box._handler = _forging(other, place)
    fetched = place.configure("alibaba:cn-hangzhou", "pcs").source.collateral(place.need)
    assert {origin.source for origin in fetched.origins} == {"Intel PCS"}
    assert any("does not prove" in remark for remark in fetched.remarks)


def _forging(other: World, place: Place) -> Callable[..., object]:
    """Alibaba's answers are another world's, Intel's are the true ones."""
    true, false = services(place.world), services(other)

    def answer(request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return (false if request.target.startswith("/alibaba") else true)(request)

    return answer


def test_the_default_is_exported() -> None:
    """`dcap.sources.from_environment` is the function, and other names are none."""
    assert dcap.sources.from_environment is from_environment
    with pytest.raises(AttributeError):
        _ = dcap.sources.from_nowhere  # type: ignore[attr-defined]


def test_the_clock_of_the_cache_is_the_callers(place: Place) -> None:
    """A set kept in the world's past is asked for anew once its day is over, and spent after a week."""
    place.configure("pcs").source.collateral(place.need)
    place.world.advance(timedelta(days=8))
    with pytest.raises(Unavailable):
        place.configure("pcs", offline=True).source.collateral(place.need)


def test_none_where_every_source_has_none(place: Place) -> None:
    """All answered that they have none: that is what the error says."""
    need = CollateralNeed(tee="SGX", fmspc=bytes(6), ca="platform")
    with pytest.raises(NotFound) as refused:
        place.configure("pcs", "alibaba:cn-hangzhou").source.collateral(need)
    assert refused.value.exit_status == 6


# ── what a configuration says ───────────────────────────────────────────────────────────────────


def test_the_source_of_this_machine_asks_for_its_generation(place: Place, tmp_path: Path) -> None:
    """tcb_update_type "early" counts for who hands the source on, until a verdict says otherwise."""
    RecoveryAnnounced().apply(place.world)
    conf = tmp_path / "qcnl.conf"
    conf.write_text(json.dumps({"pccs_url": ALIBABA_URL, "tcb_update_type": "early"}))
    environ = {**place.environ, "QCNL_CONF_PATH": str(conf)}
    source = from_environment(environ=environ, anchor=place.anchor, clock=lambda: place.world.at)
    quote = place.world.platform().quote()
    numbers = {}
    for asked in (None, "standard", "early"):
        result = dcap.verify(
            quote, source=source, at=place.world.at, anchor=place.anchor, update=asked
        )  # type: ignore[arg-type]
        numbers[asked] = result.to_dict()["collateral"]["evaluation_number"]
    assert numbers == {None: 18, "standard": 17, "early": 18}


def test_a_configuration_that_is_not_there_is_told(place: Place, tmp_path: Path) -> None:
    """$QCNL_CONF_PATH names no file: defaults are asked, as Intel's library does, and errors say so."""
    absent = str(tmp_path / "absent.conf")
    source = place.configure(QCNL_CONF_PATH=absent).source
    with pytest.raises(CollateralError) as refused:
        source.collateral(place.need)
    assert absent in refused.value.what
    assert "Intel's default https://localhost:8081" in refused.value.what


def test_attempts_are_those_of_the_configuration(place: Place, tmp_path: Path) -> None:
    """retry_times 3 is four attempts, one more than usual."""
    asked: list[str] = []

    def unavailable(request: HttpRequest) -> HttpResponse:
        asked.append(request.target)
        return HttpResponse(status=503)

    with serving(unavailable) as server:
        conf = tmp_path / "qcnl.conf"
        url = f"{server.url}/sgx/certification/v4/"
        conf.write_text(json.dumps({"pccs_url": url, "retry_times": 3}))
        source = place.configure(f"qcnl:{conf}", cache=False, no_proxy="127.0.0.1").source
        with pytest.raises(CollateralError, match="in the last of 4 attempts"):
            source.service.pck_crl("platform")  # type: ignore[attr-defined]
    assert len(asked) == 4


# ── Azure's host agent ──────────────────────────────────────────────────────────────────────────


@contextmanager
def agent(handler: Handler) -> Iterator[dict[str, str]]:
    """A host agent on loopback, and the variable that names it."""
    with serving(handler) as server:
        yield {"AZDCAP_PRIMARY_BASE_CERT_URL": f"{server.url}/metadata/THIM/sgx/certification"}


def test_the_host_agent_is_asked_without_a_proxy(place: Place) -> None:
    """What names the machine goes to its own host alone, whatever the proxy variables say."""
    with agent(services(place.world)) as variable:
        assert place.environ["http_proxy"]
        found = place.configure("azure", **variable).source.pck_certificate(place.machine)
    assert found.chain == place.world.platform().pck_chain()
    assert "127.0.0.1" in found.origin.address
    assert place.box.log == []


def test_a_silent_host_agent_is_not_waited_for(place: Place) -> None:
    """Seconds after it was asked in vain, Azure's cache has given the certificate, and it is told."""
    with agent(wire_faults.hanging(services(place.world))) as variable:
        begun = time.monotonic()
        found = place.configure("azure", **variable).source.pck_certificate(place.machine)
        assert time.monotonic() - begun < 8
    assert place.hosts == ["global.acccache.azure.net"]
    assert any("host agent was passed over" in remark for remark in found.remarks)


def test_a_silent_agent_of_a_qcnl_configuration_is_told(place: Place, tmp_path: Path) -> None:
    """local_pck_url at a link-local address where nobody is: `pccs_url` answers; no proxy is asked."""
    conf = tmp_path / "qcnl.conf"
    local = "http://169.254.169.254/metadata/THIM/sgx/certification/v4/"
    conf.write_text(json.dumps({"pccs_url": ALIBABA_URL, "local_pck_url": local}))
    found = place.configure(f"qcnl:{conf}").source.pck_certificate(place.machine)
    assert place.hosts == ALIBABA
    (told,) = [remark for remark in found.remarks if "passed over" in remark]
    assert told.startswith("local_pck_url was passed over")
    assert "proxy" not in told


def test_offline_does_not_ask_the_host_agent(place: Place) -> None:
    """The host is another machine: off the network means off that too."""
    asked: list[str] = []

    def told(request: HttpRequest) -> HttpResponse:
        asked.append(request.target)
        return services(place.world)(request)

    with agent(told) as variable:
        source = place.configure("azure", offline=True, **variable).source
        with pytest.raises(Unavailable):
            source.pck_certificate(place.machine)
    assert (asked, place.box.log) == ([], [])


# ── time ────────────────────────────────────────────────────────────────────────────────────────


def test_the_instant_that_is_judged_is_not_the_age_of_what_is_kept(
    place: Place, tmp_path: Path
) -> None:
    """Judged in the far future or past, the cache is neither emptied nor made younger or older."""
    place.configure("pcs").source.collateral(place.need)
    (before,) = read_dcap_cache(tmp_path / "cache")
    for at in (place.world.at + timedelta(days=40 * 365), datetime(2016, 1, 1, tzinfo=UTC)):
        place.configure("pcs", at=at).source.collateral(place.need)
        (after,) = read_dcap_cache(tmp_path / "cache")
        assert after.stored == before.stored
    fetched = place.configure("pcs", offline=True).source.collateral(place.need)
    assert all(origin.cached for origin in fetched.origins)


def test_a_set_of_the_future_is_not_kept_as_fresh(place: Place, tmp_path: Path) -> None:
    """What was fetched for a verdict ahead of time is as old as it is: days later it is asked anew."""
    ahead = place.world.at + timedelta(days=20)
    place.configure("pcs", at=ahead).source.collateral(place.need)
    asked = len(place.box.log)
    place.world.advance(timedelta(days=20))
    place.configure("pcs").source.collateral(place.need)
    assert len(place.box.log) > asked


def test_services_in_the_clear_are_told(place: Place) -> None:
    """Plain http is obeyed, and said, for a PCS as for a PCCS."""
    with serving(services(place.world)) as server:
        spec = f"pcs:{server.url}/sgx/certification/v4/"
        fetched = place.configure(spec, no_proxy="127.0.0.1").source.collateral(place.need)
    assert f"{server.url} was asked without TLS" in fetched.remarks[0]
