"""The `KEY=value` format of `sgx_default_qcnl.conf`, line by line as Intel's library reads it.

    settings = read_legacy(text)
    settings.taken     # what Intel's library takes
    settings.meant     # what the author meant

All white space of a line is taken out, `#` begins a comment only at the start of a line, the first
`=` parts key and value, and of two lines the last wins. Intel's library falls back to this reader
whenever JSON fails, so a broken JSON file is read here too, and says nothing.

Source: `quote-provider.md` §1.4; `QcnlConfigLegacy::load_config` of 2026.
"""

import re
from typing import Any, Final

import msgspec

from dcap.qpl.qcnl_keys import LEGACY_KEYS, nearest, spelled_otherwise
from dcap.qpl.qcnl_remarks import MOST_UNKNOWN, remark
from dcap.qpl.qcnl_values import Remark

#: What C's `isspace` takes for space.
_SPACE: Final = re.compile(r"[ \t\n\v\f\r]+")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,400}")
_TRAILING_COMMENT: Final = re.compile(r"\s#.*$")
_JSON_LINE: Final = re.compile(r'"([a-z_]+)":')
_SPELLINGS: Final = {key: legacy for legacy, key in LEGACY_KEYS.items()}
_INT32: Final = range(-(2**31), 2**31)
#: The words that count; any other leaves the default.
_WORDS: Final = {
    "use_secure_cert": ({"FALSE", "false"}, False),
    "local_cache_only": ({"TRUE", "true"}, True),
}
_NUMBERS: Final = {
    "retry_times",
    "retry_delay",
    "pck_cache_expire_hours",
    "verify_collateral_cache_expire_hours",
}


class Settings(msgspec.Struct, frozen=True):
    """Values by today's key, the place of each, remarks; `known` counts lines with a known key."""

    taken: dict[str, Any]
    meant: dict[str, Any]
    places: dict[str, tuple[int, int]]
    remarks: tuple[Remark, ...]
    known: int


def read_legacy(text: str) -> Settings:
    """Read every line."""
    reader = _Lines()
    for number, line in enumerate(text.split("\n"), 1):
        reader.read(line, number)
    return Settings(reader.taken, reader.meant, reader.places, tuple(reader.remarks), reader.known)


class _Lines:
    def __init__(self) -> None:
        self.taken: dict[str, Any] = {}
        self.meant: dict[str, Any] = {}
        self.places: dict[str, tuple[int, int]] = {}
        self.remarks: list[Remark] = []
        self.known = 0
        self._unknown_keys = 0

    def read(self, line: str, number: int) -> None:
        """Take one line as the library does, and remark on what that does to it."""
        packed = _SPACE.sub("", line)
        if not packed or packed.startswith("#"):
            return
        place = number, len(line) - len(line.lstrip()) + 1
        name, equals, value = packed.partition("=")
        if not equals:
            value = packed
        if name not in LEGACY_KEYS:
            self._unknown(name, value, place)
            return
        self.known += 1
        if not equals:
            self._remark("qcnl-legacy-no-value", place, name, name=name)
        self._take(LEGACY_KEYS[name], name, value, _meant(line), place)

    def _unknown(self, name: str, value: str, place: tuple[int, int]) -> None:
        if (json := _JSON_LINE.match(name)) and (spelling := _SPELLINGS.get(json[1])):
            self._remark("qcnl-key-json", place, json[1], meant=spelling)
            return
        plain = spelled_otherwise(name.strip("\ufeff"))
        if plain is None:
            self._unknown_keys += 1
            if self._unknown_keys > MOST_UNKNOWN:
                return
            key = nearest(name)
            hint = f'perhaps "{key.upper()}" was meant' if key else "take it out"
            self._remark("qcnl-key-unknown", place, name, name=name, hint=hint)
            return
        spelling = _SPELLINGS.get(plain)
        if spelling is None:
            self._remark("qcnl-key-not-legacy", place, plain, name=plain)
            return
        self._remark("qcnl-key-case", place, name, name=name, meant=spelling)
        self.known += 1
        if plain not in self.taken and plain not in _WORDS and plain not in _NUMBERS:
            self.meant[plain] = value.strip("\"'")
            self.places[plain] = place

    def _take(self, key: str, name: str, value: str, meant: str, place: tuple[int, int]) -> None:
        first = self.places.get(key, (0, 0))[0]
        if key in self.taken and key not in _WORDS:
            self._remark("qcnl-key-repeated", (first, 1), name, first=first)
        if key in _WORDS:
            self._word(key, name, value, place, first)
        elif key in _NUMBERS:
            self._number(key, name, value, place)
        else:
            if value.strip("\"'") != value:
                self._remark("qcnl-legacy-quotes", place, name)
            if meant.strip("\"'") != value.strip("\"'"):
                self._remark("qcnl-legacy-comment", place, name)
            self.taken[key] = value
            self.meant[key] = meant.strip("\"'")
            self.places[key] = place

    def _word(self, key: str, name: str, value: str, place: tuple[int, int], first: int) -> None:
        words, effect = _WORDS[key]
        if value in words:
            self.taken[key] = self.meant[key] = effect
            self.places[key] = place
        elif key in self.taken:
            self._remark("qcnl-legacy-sticky", place, name, first=first)
        elif value.upper() in {"TRUE", "FALSE"} - {word.upper() for word in words}:
            self.places.setdefault(key, place)
        else:
            wanted = " or ".join(sorted(words))
            self._remark("qcnl-legacy-word", place, name, wanted=wanted, value=value)

    def _number(self, key: str, name: str, value: str, place: tuple[int, int]) -> None:
        match = _NUMBER.match(value)
        if match is None:
            self._remark("qcnl-legacy-number", place, name)
            return
        number = int(match[0])
        if number not in _INT32:
            self._remark("qcnl-legacy-overflow", place, name)
            return
        if match[0] != value:
            self._remark("qcnl-legacy-number-tail", place, name, taken=number)
        self.taken[key] = self.meant[key] = number
        self.places[key] = place

    def _remark(self, code: str, place: tuple[int, int], key: str, **fields: object) -> None:
        self.remarks.append(remark(code, place, key=key, **fields))


def _meant(line: str) -> str:
    """The value as a person reads it: without a comment behind it."""
    value = line.partition("=")[2]
    return _SPACE.sub("", _TRAILING_COMMENT.sub("", value))
