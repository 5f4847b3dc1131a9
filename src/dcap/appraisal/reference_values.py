"""Reference values: which enclaves and TDs are the ones you built, as a set of named releases.

A release names what must be equal (or at least as high). Every value it gives must match; a value it
does not give is not compared, and the result says so. A quote is identified by the first release that
it matches in full.

Source: RFC 9334 (Reference Values); claim names as in `claims`.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, get_type_hints

import msgspec

from dcap.errors import ConfigError

Claims = Mapping[str, Any]

#: Claim -> size in bytes. A release gives one value or several (any of them will do), in hex.
MEASUREMENTS = {
    "mrenclave": 32,
    "mrsigner": 32,
    "config_id": 64,
    "isv_family_id": 16,
    "isv_ext_prod_id": 16,
    "mrtd": 48,
    "rtmr0": 48,
    "rtmr1": 48,
    "rtmr2": 48,
    "rtmr3": 48,
    "mrconfigid": 48,
    "mrowner": 48,
    "mrownerconfig": 48,
    "mrseam": 48,
    "mrservicetd": 48,
}
#: What makes a release an identity: without one of these it pins nothing.
PINS = ("mrenclave", "mrsigner", "mrtd")
#: Claim -> size of value and mask in bytes: compared only where the mask has ones.
MASKED = {"attributes": 16, "misc_select": 4, "td_attributes": 8, "xfam": 8}
MASKED_OF_TEE = {"SGX": ("attributes", "misc_select"), "TDX": ("td_attributes", "xfam")}
RTMRS = ("rtmr0", "rtmr1", "rtmr2", "rtmr3")
TEES = {"mrenclave": "SGX", "mrsigner": "SGX", "mrtd": "TDX"}

Hexes = str | tuple[str, ...]


class Release(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One release. Measurements are hex, one or a list; numbers are as in the claims.

    `product_id` must be equal, `minimum_svn` and `minimum_config_svn` reached. Masked values
    (`attributes`, `misc_select`, `td_attributes`, `xfam`) are hex in the quote's byte order.
    """

    name: str
    mrenclave: Hexes | None = None
    mrsigner: Hexes | None = None
    product_id: int | None = None
    minimum_svn: int | None = None
    config_id: Hexes | None = None
    minimum_config_svn: int | None = None
    isv_family_id: Hexes | None = None
    isv_ext_prod_id: Hexes | None = None
    mrtd: Hexes | None = None
    rtmr0: Hexes | None = None
    rtmr1: Hexes | None = None
    rtmr2: Hexes | None = None
    rtmr3: Hexes | None = None
    mrconfigid: Hexes | None = None
    mrowner: Hexes | None = None
    mrownerconfig: Hexes | None = None
    mrseam: Hexes | None = None
    mrservicetd: Hexes | None = None
    attributes: str | None = None
    attributes_mask: str | None = None
    misc_select: str | None = None
    misc_select_mask: str | None = None
    td_attributes: str | None = None
    td_attributes_mask: str | None = None
    xfam: str | None = None
    xfam_mask: str | None = None

    def __post_init__(self) -> None:
        check_types(self, f'release "{self.name}"')
        for claim, size in MEASUREMENTS.items():
            given = getattr(self, claim)
            if given is None:
                continue
            values = (given,) if isinstance(given, str) else tuple(given)
            if not values:
                raise ConfigError(
                    "release-empty-list",
                    f"{claim} is an empty list: it would accept every value",
                    where=f'release "{self.name}"',
                    mend=f"give its values, or leave {claim} out",
                )
            checked = tuple(normal_hex(v, size, f'release "{self.name}", {claim}') for v in values)
            msgspec.structs.force_setattr(self, claim, checked)
        check_masks(self, f'release "{self.name}"')
        if not any(getattr(self, pin) for pin in PINS):
            raise ConfigError(
                "release-pins-nothing",
                f'release "{self.name}" names no identity',
                mend=f"give it one of {', '.join(PINS)}",
            )
        for number in ("product_id", "minimum_svn", "minimum_config_svn"):
            value = getattr(self, number)
            if value is not None and not 0 <= value <= 0xFFFF:
                raise ConfigError(
                    "policy-range",
                    f"{number} is {value}, not 0 to 65535",
                    where=f'release "{self.name}"',
                    mend="give the number that is in the claims",
                )
        of_sgx = (self.mrenclave, self.mrsigner, self.product_id, self.minimum_svn)
        if self.mrtd and any(value not in ((), None) for value in of_sgx):
            raise ConfigError(
                "release-of-two-tees",
                f'release "{self.name}" has values of both an SGX enclave and a TD',
                mend="make two releases of it",
            )

    def mismatches(self, claims: Claims) -> tuple[str, ...]:
        """Every value that does not match, in words; empty where the quote is of this release."""
        tee = next(TEES[pin] for pin in PINS if getattr(self, pin))
        if (tee == "SGX") != ("mrenclave" in claims):
            return (f"it is an identity for {tee}",)
        found = [
            f"{claim} is {claims[claim]}" if claim in claims else f"the quote has no {claim}"
            for claim in MEASUREMENTS
            if (wanted := getattr(self, claim)) and claims.get(claim) not in wanted
        ]
        if self.product_id is not None and claims.get("product_id") != self.product_id:
            found.append(f"product_id is {claims.get('product_id')}, not {self.product_id}")
        for claim, least in (("svn", self.minimum_svn), ("config_svn", self.minimum_config_svn)):
            if least is not None and claims.get(claim, -1) < least:
                found.append(f"{claim} is {claims.get(claim)}, below {least}")
        return (*found, *masked_mismatches(self, claims))

    @property
    def unpinned(self) -> tuple[str, ...]:
        """What people usually want pinned and this release leaves open."""
        if self.mrtd:
            return tuple(claim for claim in RTMRS if not getattr(self, claim))
        if not self.mrsigner or self.mrenclave:
            return ()
        open_values = (("product_id", self.product_id), ("svn", self.minimum_svn))
        return tuple(claim for claim, value in open_values if value is None)


def check_types(holder: msgspec.Struct, where: str) -> None:
    """Hold values given in Python to the types that a file is held to: no truthy strings."""
    for field, kind in _hints(type(holder)).items():
        value = getattr(holder, field)
        if field == "minimum_tcb_date" and isinstance(value, datetime):
            continue  # an instant is a date to Python, not to msgspec
        try:
            value = msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise ConfigError(
                "policy-key",
                f"{field}: {error}",
                where=where,
                mend="help(dcap.Policy) has each key",
            ) from None
        msgspec.structs.force_setattr(holder, field, value)


@cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(kind)


def check_masks(holder: msgspec.Struct, where: str) -> None:
    """Normalise masked values: a value needs its mask or is compared in full; a mask needs a value."""
    for claim, size in MASKED.items():
        value, mask = getattr(holder, claim), getattr(holder, f"{claim}_mask")
        if value is None and mask is None:
            continue
        if value is None:
            raise ConfigError(
                "mask-without-value",
                f"{claim}_mask has no {claim} to compare with",
                where=where,
                mend=f"give {claim} too",
            )
        value = normal_hex(value, size, f"{where}, {claim}")
        mask = normal_hex("ff" * size if mask is None else mask, size, f"{where}, {claim}_mask")
        if not int(mask, 16):
            raise ConfigError(
                "mask-compares-nothing",
                f"{claim}_mask is zero: nothing would be compared",
                where=where,
                mend=f"set every bit that is to be compared, or leave {claim} out",
            )
        msgspec.structs.force_setattr(holder, claim, value)
        msgspec.structs.force_setattr(holder, f"{claim}_mask", mask)


def masked_mismatches(
    holder: msgspec.Struct, claims: Claims, among: Iterable[str] = tuple(MASKED)
) -> tuple[str, ...]:
    """Every masked value (of `among`) that does not match, in words."""
    found = []
    for claim in among:
        value = getattr(holder, claim)
        if value is None:
            continue
        mask = int(getattr(holder, f"{claim}_mask"), 16)
        have = claims.get(claim)
        if have is None:
            found.append(f"the quote has no {claim}")
        elif int(have, 16) & mask != int(value, 16) & mask:
            found.append(f"{claim} is {have}, not {value} under mask {mask:0{len(value)}x}")
    return tuple(found)


def normal_hex(text: str, size: int, where: str) -> str:
    """`size` bytes of hex, lower case, without 0x and blanks. Raises `ConfigError`."""
    cleaned = "".join(str(text).split()).lower().removeprefix("0x")
    try:
        valid = len(bytes.fromhex(cleaned)) == size
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError(
            "policy-hex",
            f"not {size} bytes of hex ({2 * size} digits): {str(text)[:40]!r}",
            where=where,
            mend="copy it from `dcap inspect FILE`",
        )
    return cleaned
