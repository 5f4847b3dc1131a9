"""What changed between two of Intel's documents of one kind, level by level.

    for difference in differences(old, new):
        print(difference.text)        # SGX component 2 (BIOS) now needs 4, before 3

Two TCB infos of one FMSPC differ by date, by evaluation data number, or both. What a platform must
reach to be up to date comes first, then every level that came, went or changed; a level is known by
the SVNs it asks for. Nothing is verified here, and nothing judged: whether a platform reaches a level
is asked in `verification.tcb_level`.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TypeAlias

import msgspec

from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.tcb_info import (
    ComponentName,
    IsvSvnLevel,
    TcbInfo,
    TcbLevel,
    TdxModuleIdentity,
)

_UP_TO_DATE = "UpToDate"
#: Words for what may differ, by kind: "{what} …".
_WORDS = {
    "requirement": "{what} now needs {new}, before {old}",
    "added": "{what}: new, {new}",
    "removed": "{what}: gone, was {old}",
    "status": "{what}: now {new}, before {old}",
    "advisories": "{what}: advisories {change}",
    "date": "{what}: TCB date now {new}, before {old}",
    "identity": "{what}: now {new}, before {old}",
    "number": "{what}: now {new}, before {old}",
    "issued": "{what}: issued {new}, before {old}",
    "revoked": "{what}: {new} revoked, before {old}",
}
KINDS = tuple(_WORDS)
#: Kinds that a renewal alone brings about.
RENEWAL = ("issued",)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that differs. `kind` is a word of `KINDS`, `of` the document ("TCB info of …").

    `old` and `new` are as people write them; `None` where there was, or is, none.
    """

    kind: str
    of: str
    what: str
    old: str | None = None
    new: str | None = None

    @property
    def text(self) -> str:
        """The difference as a sentence."""
        return _WORDS[self.kind].format(
            what=self.what,
            old=self.old or "none",
            new=self.new or "none",
            change=_change(self.old, self.new),
        )


def _change(old: str | None, new: str | None) -> str:
    """Two lists by what came and what went: "+ INTEL-SA-00615, - INTEL-SA-00289"."""
    before, now = (text.split(", ") if text else [] for text in (old, new))
    came = [f"+ {one}" for one in now if one not in before]
    return ", ".join([*came, *(f"- {one}" for one in before if one not in now)])


_Found: TypeAlias = Iterator[Difference]


def differences(old: TcbInfo, new: TcbInfo) -> tuple[Difference, ...]:
    """What changed from one TCB info to another; none where they mean the same."""
    return tuple(_tcb_info(old, new, f"TCB info of {new.id} FMSPC {new.fmspc.hex().upper()}"))


def identity_differences(old: EnclaveIdentity, new: EnclaveIdentity) -> tuple[Difference, ...]:
    """The same for the identity of an enclave (QE, TD_QE)."""
    return tuple(_identity(old, new, f"identity of {new.id}"))


def crl_differences(old: Crl, new: Crl, name: str) -> tuple[Difference, ...]:
    """The same for a revocation list, which people call `name`."""
    return tuple(_crl(old, new, name))


def _tcb_info(old: TcbInfo, new: TcbInfo, of: str) -> _Found:
    for what, before, now in (
        ("TEE", old.id, new.id),
        ("FMSPC", old.fmspc.hex().upper(), new.fmspc.hex().upper()),
        ("PCE id", old.pce_id.hex(), new.pce_id.hex()),
        ("version of the document", str(old.version), str(new.version)),
    ):
        yield from _changed("identity", of, what, before, now)
    yield from _document(old, new, of)
    yield from _requirements(old, new, of)
    yield from _platform_levels(old, new, of)
    yield from _modules(old, new, of)


def _document(old: TcbInfo | EnclaveIdentity, new: TcbInfo | EnclaveIdentity, of: str) -> _Found:
    yield from _changed(
        "number",
        of,
        "evaluation data number",
        str(old.evaluation_data_number),
        str(new.evaluation_data_number),
    )
    yield from _changed("issued", of, "the document", _day(old.issue_date), _day(new.issue_date))


def _requirements(old: TcbInfo, new: TcbInfo, of: str) -> _Found:
    """What a platform must reach to be up to date: the highest such level of each."""
    before, now = _goal(old.levels), _goal(new.levels)
    if before is None or now is None:
        return
    for what, had, has in _svns(before, now, new):
        yield from _changed("requirement", of, what, had, has)


def _goal(levels: tuple[TcbLevel, ...]) -> TcbLevel | None:
    return next((x for x in levels if x.status == _UP_TO_DATE), levels[0] if levels else None)


def _svns(old: TcbLevel, new: TcbLevel, names: TcbInfo) -> Iterator[tuple[str, str, str]]:
    yield from _components("SGX", old.components, new.components, names.component_names)
    yield "PCESVN", str(old.pce_svn), str(new.pce_svn)
    if old.tdx_components is not None and new.tdx_components is not None:
        yield from _components(
            "TDX", old.tdx_components, new.tdx_components, names.tdx_component_names
        )


def _components(
    tee: str, old: bytes, new: bytes, names: Sequence[ComponentName]
) -> Iterator[tuple[str, str, str]]:
    for number, (before, now, name) in enumerate(zip(old, new, names, strict=True), 1):
        words = ", ".join(word for word in (name.category, name.type) if word)
        yield f"{tee} component {number}{f' ({words})' if words else ''}", str(before), str(now)


def _platform_levels(old: TcbInfo, new: TcbInfo, of: str) -> _Found:
    before = {_key(level): level for level in old.levels}
    now = {_key(level): level for level in new.levels}
    for key, level in now.items():
        what = f"level {_svns_in_words(level)}"
        if key not in before:
            yield Difference(kind="added", of=of, what=what, new=_standing(level))
        else:
            yield from _level(before[key], level, of, what)
    for key, level in before.items():
        if key not in now:
            what = f"level {_svns_in_words(level)}"
            yield Difference(kind="removed", of=of, what=what, old=_standing(level))


def _key(level: TcbLevel) -> tuple[bytes, int, bytes]:
    return level.components, level.pce_svn, level.tdx_components or b""


def _svns_in_words(level: TcbLevel) -> str:
    """A level by its SVNs; trailing zeros say nothing."""
    words = [f"SGX {_dotted(level.components)}", f"PCE {level.pce_svn}"]
    if level.tdx_components is not None:
        words.append(f"TDX {_dotted(level.tdx_components)}")
    return ", ".join(words)


def _dotted(svns: bytes) -> str:
    return ".".join(str(svn) for svn in svns.rstrip(b"\0") or b"\0")


def _standing(level: TcbLevel | IsvSvnLevel) -> str:
    advisories = f", {', '.join(level.advisory_ids)}" if level.advisory_ids else ""
    return f"{level.status} (TCB date {_day(level.date)}{advisories})"


def _level(old: TcbLevel | IsvSvnLevel, new: TcbLevel | IsvSvnLevel, of: str, what: str) -> _Found:
    yield from _changed("status", of, what, old.status, new.status)
    yield from _changed("date", of, what, _day(old.date), _day(new.date))
    if sorted(old.advisory_ids) != sorted(new.advisory_ids):
        before, now = (", ".join(level.advisory_ids) or None for level in (old, new))
        yield Difference(kind="advisories", of=of, what=what, old=before, new=now)


def _modules(old: TcbInfo, new: TcbInfo, of: str) -> _Found:
    """TDX modules: who signs them, and which of their versions are good."""
    before, now = _by_id(old), _by_id(new)
    for name, module in now.items():
        what = f"TDX module {name}"
        if name not in before:
            yield Difference(
                kind="added", of=of, what=what, new=f"signed by {_signer(module.mr_signer)}"
            )
        else:
            yield from _enclave(before[name], module, of, what)
        found = before[name].levels if name in before else ()
        yield from _isv_svn_levels(found, module.levels, of, what)
    for name, module in before.items():
        if name not in now:
            words = f"signed by {_signer(module.mr_signer)}, {len(module.levels)} levels"
            yield Difference(kind="removed", of=of, what=f"TDX module {name}", old=words)


def _by_id(info: TcbInfo) -> dict[str, TdxModuleIdentity]:
    modules = (*([info.tdx_module] if info.tdx_module else ()), *(info.tdx_module_identities or ()))
    return {module.id or "of major version 0": module for module in modules}


def _signer(mr_signer: bytes) -> str:
    return mr_signer.hex() if any(mr_signer) else "Intel (zeros)"


def _enclave(
    old: TdxModuleIdentity | EnclaveIdentity,
    new: TdxModuleIdentity | EnclaveIdentity,
    of: str,
    what: str,
) -> _Found:
    for field in ("mr_signer", "attributes", "attributes_mask"):
        before, now = getattr(old, field).hex(), getattr(new, field).hex()
        yield from _changed("identity", of, f"{what}, {field.replace('_', ' ')}", before, now)


def _isv_svn_levels(
    old: tuple[IsvSvnLevel, ...], new: tuple[IsvSvnLevel, ...], of: str, name: str
) -> _Found:
    before = {level.isv_svn: level for level in old}
    now = {level.isv_svn: level for level in new}
    goals = [next((x for x in levels if x.status == _UP_TO_DATE), None) for levels in (old, new)]
    if goals[0] and goals[1]:
        svns = str(goals[0].isv_svn), str(goals[1].isv_svn)
        yield from _changed("requirement", of, f"{name}, ISVSVN", *svns)
    for isv_svn, level in now.items():
        what = f"{name}, level ISVSVN {isv_svn}"
        if isv_svn not in before:
            yield Difference(kind="added", of=of, what=what, new=_standing(level))
        else:
            yield from _level(before[isv_svn], level, of, what)
    for isv_svn, level in before.items():
        if isv_svn not in now:
            what = f"{name}, level ISVSVN {isv_svn}"
            yield Difference(kind="removed", of=of, what=what, old=_standing(level))


def _identity(old: EnclaveIdentity, new: EnclaveIdentity, of: str) -> _Found:
    yield from _changed("identity", of, "enclave", old.id, new.id)
    yield from _changed(
        "identity", of, "version of the document", str(old.version), str(new.version)
    )
    yield from _document(old, new, of)
    yield from _enclave(old, new, of, new.id)
    for field in ("misc_select", "misc_select_mask"):
        before, now = getattr(old, field).hex(), getattr(new, field).hex()
        yield from _changed("identity", of, f"{new.id}, {field.replace('_', ' ')}", before, now)
    products = str(old.isv_prod_id), str(new.isv_prod_id)
    yield from _changed("identity", of, f"{new.id}, ISVPRODID", *products)
    yield from _isv_svn_levels(old.levels, new.levels, of, new.id)


def _crl(old: Crl, new: Crl, name: str) -> _Found:
    yield from _changed("identity", name, "issuer", old.issuer_common_name, new.issuer_common_name)
    yield from _changed(
        "number", name, "CRL number", _number(old.crl_number), _number(new.crl_number)
    )
    yield from _changed("issued", name, "the list", _day(old.this_update), _day(new.this_update))
    came = len(new.revoked_serials - old.revoked_serials)
    went = len(old.revoked_serials - new.revoked_serials)
    if came or went:
        now = f"{len(new.revoked_serials)} certificates ({came} more, {went} no longer)"
        yield Difference(
            kind="revoked", of=name, what="the list", old=str(len(old.revoked_serials)), new=now
        )


def _changed(kind: str, of: str, what: str, old: str | None, new: str | None) -> _Found:
    if old != new:
        yield Difference(kind=kind, of=of, what=what, old=old, new=new)


def _number(number: int | None) -> str | None:
    return None if number is None else str(number)


def _day(moment: datetime) -> str:
    """A date, and the time of day where it is not midnight."""
    whole = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    return whole.removesuffix("T00:00:00Z")
