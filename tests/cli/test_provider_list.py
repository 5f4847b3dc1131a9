"""`dcap provider list`, as a person runs it, on scratch roots."""

import json
import os
from pathlib import Path

import pytest

from qpl.libraries import BARE, MULTI_ARCH, VERSIONED, System, foreign
from transcripts.desk import Outcome, run

NONE = """\
root ROOT
plugins  none
advice: no quote provider is installed, and left without are Open Enclave \
(OE_QUOTE_PROVIDER_LOAD_ERROR), Intel's SGX quoting (quotes hold the encrypted PPID \
instead of a PCK certificate; verifiers say 0xE01C) \
and Intel's QVL (verifying fails: 0xE00E (SGX_QL_PLATFORM_LIB_UNAVAILABLE)) [plugins-none]
fix: `dcap provider install`, or the package of Intel's or Azure's (dcap itself needs none)
"""
ONE = """\
root ROOT
plugins
  1  Intel's  /usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1  package libsgx-dcap-default-qpl
              /usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so
loaded by
  Conclave                                   1  Intel's
  Open Enclave, EGo                          1  Intel's
  Intel's SGX quoting: in-process, aesmd     1  Intel's
  Intel's TDX quoting: qgsd                  1  Intel's
  Intel's verifying (QVL), Gramine's RA-TLS  1  Intel's
  Intel's samples                            1  Intel's
"""
SEVERAL = """\
root ROOT
plugins
  1  Intel's          /usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1  \
package libsgx-dcap-default-qpl
  2  other machine's  /usr/lib/libdcap_quoteprov.so.1                   of no package
  3  Azure's          /usr/lib/libdcap_quoteprov.so                     package az-dcap-client
loaded by
  Conclave                                   1  Intel's
  Open Enclave, EGo                          3  Azure's
  Intel's SGX quoting: in-process, aesmd     1  Intel's
  Intel's TDX quoting: qgsd                  1  Intel's
  Intel's verifying (QVL), Gramine's RA-TLS  1  Intel's
  Intel's samples                            1  Intel's
error: programs of one host load different plugins: Intel's (1) by Conclave, Intel's SGX quoting \
and Intel's QVL; Azure's (3) by Open Enclave [plugins-differ]
fix: to avoid conflicts, uninstall the plugins that you don't need:
     without Intel's (1): `sudo apt remove libsgx-dcap-default-qpl`
     without Azure's (3): `sudo apt remove az-dcap-client`
advice: /usr/lib/libdcap_quoteprov.so.1 is for another machine (aarch64, 64 bits), not for x86-64; \
it hinders nobody [plugins-architecture]
fix: install the package for amd64 in its place
     or `sudo rm /usr/lib/libdcap_quoteprov.so.1`
"""


@pytest.fixture
def system(tmp_path: Path) -> System:
    """An empty root."""
    return System(tmp_path)


def listed(system: System, *arguments: str, **environ: str) -> Outcome:
    """`dcap provider list --root`."""
    environ.setdefault("AZDCAP_DEBUG_LOG_LEVEL", "FATAL")
    return run(system.top, "provider", "list", "--root", str(system.top), *arguments, **environ)


def text(outcome: Outcome, system: System) -> str:
    """What was printed, whatever the root's name."""
    return outcome.out.replace(str(system.top), "ROOT")


def test_a_machine_without_a_plugin(system: System) -> None:
    """The whole output: what fails, what to do; nothing is wrong, for dcap needs none."""
    outcome = listed(system)
    assert text(outcome, system) == NONE
    assert outcome.status == 0


def test_a_machine_with_one_plugin(system: System) -> None:
    """The whole output: nothing to say, exit status 0."""
    system.intel(bare=True)
    outcome = listed(system)
    assert text(outcome, system) == ONE
    assert outcome.status == 0


def test_a_machine_with_several(system: System) -> None:
    """The whole output: who loads which, the conflict and its commands first, exit status 7."""
    system.intel()
    system.azure()
    system.put(f"/usr/lib/{VERSIONED}", foreign())
    outcome = listed(system)
    assert text(outcome, system) == SEVERAL
    assert outcome.status == 7


def test_one_program_alone(system: System) -> None:
    """--for by any of its words: no more than its own line and problems."""
    system.intel()
    for word in ("ego", "OE"):
        outcome = listed(system, "--for", word)
        assert outcome.status == 7
        assert "Conclave" not in outcome.out
    assert listed(system, "--for", "conclave").status == 0


def test_explain_shows_each_rule_and_path(system: System) -> None:
    """Which paths were looked at, what came of each, what the program says, what does not work."""
    system.azure()
    system.link(f"{MULTI_ARCH}/{VERSIONED}", "gone")
    lines = [line.strip() for line in listed(system, "--explain").out.splitlines()]
    assert "rule: libdcap_quoteprov.so.1 alone, by the system's loader" in lines
    assert f"{MULTI_ARCH}/{VERSIONED}: a link to nothing: passed by" in lines
    assert f"/usr/lib/{BARE}: taken" in lines
    assert "so: TD quotes fail: 0xE00E (SGX_QL_PLATFORM_LIB_UNAVAILABLE)" in lines
    assert "without tee_get_default_platform_policy: no default policy for appraisal" in lines
    assert f"file /usr/lib/{BARE}, SONAME none" in lines


def test_json_has_plugins_consumers_and_problems(system: System) -> None:
    """One object with a schema; numbers lead from consumers and problems to plugins."""
    system.intel()
    outcome = listed(system, "--json")
    document = json.loads(outcome.out)
    assert (document["schema"], outcome.status) == (1, 7)
    (plugin,) = document["plugins"]
    assert plugin["kind"] == "intel"
    assert plugin["owner"] == {
        "manager": "dpkg",
        "name": "libsgx-dcap-default-qpl",
        "diverted_from": "",
    }
    assert "sgx_qpl_global_init" in plugin["exports"]
    by_id = {one["consumer"]: one for one in document["consumers"]}
    assert (by_id["qvl"]["plugin"], by_id["qvl"]["loads"]) == (plugin["number"], True)
    assert by_id["open-enclave"]["plugin"] is None
    (problem,) = document["problems"]
    assert (problem["code"], problem["consumers"]) == ("plugins-bare-name", ["open-enclave"])


def test_a_root_that_is_not_there_ends_with_1(tmp_path: Path) -> None:
    """A typing error, not a machine without plugins."""
    outcome = run(tmp_path, "provider", "list", "--root", "gone")
    assert outcome.status == 1
    assert "plugins-root" in outcome.err


def test_names_from_the_root_cannot_steer_a_terminal(system: System) -> None:
    """A link's target with an escape sequence is shown escaped."""
    system.link(f"{MULTI_ARCH}/{VERSIONED}", "/x\x1b[2J")
    outcome = listed(system)
    assert "\x1b" not in outcome.out
    assert "\\x1b[2J" in outcome.out


def test_a_name_that_is_no_text_is_shown_none_the_less(system: System) -> None:
    """A link's target may hold any bytes: escaped in both forms."""
    system.link(f"{MULTI_ARCH}/{VERSIONED}", os.fsdecode(b"/x\xff"))
    assert "/x\\udcff" in listed(system).out
    (plugin,) = json.loads(listed(system, "--json").out)["plugins"]
    assert plugin["real"] == "/x\\udcff"


@pytest.mark.parametrize("code", ["plugins-differ", "plugins-bare-name", "plugins-dangling"])
def test_a_problem_is_explained_by_its_code(code: str, tmp_path: Path) -> None:
    """`dcap explain` knows what the list prints in brackets."""
    outcome = run(tmp_path, "explain", code)
    assert outcome.status == 0
    assert "problem of dcap provider list" in outcome.out


def test_this_machine_can_be_listed(tmp_path: Path) -> None:
    """Without --root it is the running system; whatever it has, it is told, not crashed over."""
    outcome = run(tmp_path, "provider", "list", "--json")
    assert outcome.status in (0, 7)
    assert json.loads(outcome.out)["root"] == "/"
