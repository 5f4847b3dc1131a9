"""The members of a JSON configuration: what Intel's library takes of each, and what was meant.

A value of another type is ignored by the library, key by key and without a word; of keys that are
there twice, the first wins; keys are case sensitive. Not here: the text (`qcnl_json`), and whether
the values make sense (`qcnl_checks`).

Source: `quote-provider.md` §1.2, §1.3; `QcnlConfig::load_config_json` of 2026.
"""

from typing import Any, Final

import msgspec

from dcap.qpl.qcnl_keys import KEYS, nearest, spelled_otherwise
from dcap.qpl.qcnl_remarks import MOST_UNKNOWN, remark
from dcap.qpl.qcnl_tree import Kind, Member, Places, Value
from dcap.qpl.qcnl_values import Remark

_INT32: Final = range(-(2**31), 2**31)
_UPDATES: Final = {"standard", "early"}
_OPTIONS: Final = "custom_request_options"
_KINDS: Final[dict[Kind, str]] = {
    "string": "text",
    "integer": "a number",
    "real": "a fraction",
    "boolean": "true or false",
    "null": "null",
    "object": "an object",
    "array": "an array",
}
#: Kind of key -> what the library takes, in words, and an example.
_WANTED: Final = {
    "url": ("text in quotes", ""),
    "text": ("text in quotes", ': "3.1"'),
    "update": ("text in quotes", ': "standard"'),
    "boolean": ("true or false without quotes", ""),
    "integer": ("a whole number without quotes", ": 6"),
    "hours": ("a number without quotes", ": 24"),
    "options": ("an object", ': {"get_cert": {"headers": {…}}}'),
}


class Taken(msgspec.Struct, frozen=True):
    """Values of `QcnlConfig` by name: what the library takes, and what was meant."""

    taken: dict[str, Any]
    meant: dict[str, Any]
    places: dict[str, tuple[int, int]]
    remarks: tuple[Remark, ...]
    bad_update: bool


def read_members(members: tuple[Member, ...], places: Places) -> Taken:
    """Take the settings of an object."""
    reader = _Members(places)
    for member in members:
        reader.take(member)
    reader.take_misspelled()
    return Taken(
        reader.taken, reader.meant, reader.places, tuple(reader.remarks), reader.bad_update
    )


class _Members:
    def __init__(self, places: Places) -> None:
        self.place = places
        self.taken: dict[str, Any] = {}
        self.meant: dict[str, Any] = {}
        self.places: dict[str, tuple[int, int]] = {}
        self.remarks: list[Remark] = []
        self.bad_update = False
        self._unknown_keys = 0
        self._misspelled: list[tuple[str, Value]] = []

    def take(self, member: Member) -> None:
        """One member of the root."""
        key, place = member.key, self.place(member.at)
        if key not in KEYS:
            self._unknown(key, member.value, place)
            return
        if key in self.places:
            self._remark("qcnl-key-repeated", place, key, first=self.places[key][0])
            return
        self.places[key] = place
        if key == _OPTIONS:
            self._options(member.value, place)
        else:
            self._scalar(key, member.value, place)

    def take_misspelled(self) -> None:
        """What was meant by keys in other letters, where the right one is not there.

        `use_secure_cert` is left out: what turns a check off must be written right.
        """
        for key, value in self._misspelled:
            if key in self.places or key in {"use_secure_cert", _OPTIONS}:
                continue
            meant = _meant(key, value)
            if meant is not None:
                self.meant[key] = meant
                self.places[key] = self.place(value.at)

    def _unknown(self, name: str, value: Value, place: tuple[int, int]) -> None:
        plain = spelled_otherwise(name)
        if plain is not None:
            self._misspelled.append((plain, value))
            self._remark("qcnl-key-case", place, name, name=name, meant=plain)
            return
        self._unknown_keys += 1
        if self._unknown_keys > MOST_UNKNOWN:
            return
        key = nearest(name)
        hint = f'perhaps "{key}" was meant' if key else "take it out"
        self._remark("qcnl-key-unknown", place, name, name=name, hint=hint)

    def _scalar(self, key: str, value: Value, place: tuple[int, int]) -> None:
        kind = KEYS[key].kind
        if kind == "update" and value.kind == "string":
            self._update(value, place)
            return
        if _fits(kind, value):
            self.taken[key] = self.meant[key] = _content(kind, value)
            return
        if kind in {"integer", "hours"} and value.kind == "integer":
            self._remark("qcnl-range", place, key)
            return
        wanted, example = _WANTED[kind]
        self._remark(
            "qcnl-type", place, key, is_=_KINDS[value.kind], wanted=wanted, example=example
        )
        meant = _meant(key, value)
        if meant is not None and key != "use_secure_cert":
            self.meant[key] = meant

    def _update(self, value: Value, place: tuple[int, int]) -> None:
        word = _c_string(value.content)
        if _lower(word) in _UPDATES:
            self.taken["tcb_update_type"] = self.meant["tcb_update_type"] = _lower(word)
            return
        self.bad_update = True
        self._remark("qcnl-update-type", place, "tcb_update_type", value=word)

    # ── custom_request_options.get_cert.{headers,params} ───────────────────────────────────────

    def _options(self, value: Value, place: tuple[int, int]) -> None:
        if value.kind != "object":
            wanted, example = _WANTED["options"]
            self._remark(
                "qcnl-type", place, _OPTIONS, is_=_KINDS[value.kind], wanted=wanted, example=example
            )
            return
        for get_cert in self._only(value, {"get_cert"}, _OPTIONS):
            for part in self._only(get_cert.value, {"headers", "params"}, f"{_OPTIONS}.get_cert"):
                self._pairs(part)

    def _only(self, value: Value, names: set[str], path: str) -> list[Member]:
        """The first member of each name that is an object; the others are remarked on."""
        found: dict[str, Member] = {}
        for member in value.members():
            place = self.place(member.at)
            name = f"{path}.{member.key}"
            if member.key not in names:
                self._remark("qcnl-option-unknown", place, name, name=name)
            elif member.key in found:
                first = self.place(found[member.key].at)[0]
                self._remark("qcnl-key-repeated", place, name, first=first)
            else:
                found[member.key] = member
                if member.value.kind != "object":
                    self._option_type(name, member, "an object", "")
        return [member for member in found.values() if member.value.kind == "object"]

    def _pairs(self, part: Member) -> None:
        """Names and values that are sent: texts alone; of headers the first of each name."""
        field = "request_headers" if part.key == "headers" else "request_params"
        taken: list[tuple[str, str]] = []
        meant: list[tuple[str, str]] = []
        sent: set[str] = set()
        for member in part.value.members():
            name = _c_string(member.key)
            if field == "request_headers" and name in sent:
                first = self.place(part.at)[0]
                self._remark("qcnl-key-repeated", self.place(member.at), name, first=first)
                continue
            if member.value.kind == "string":
                pair = name, _c_string(member.value.content)
                sent.add(name)
                taken.append(pair)
                meant.append(pair)
                continue
            self._option_type(name, member, "text in quotes", ': "…"')
            text = _text(member.value)
            if text is not None:
                meant.append((name, text))
        self.taken[field], self.meant[field] = tuple(taken), tuple(meant)

    def _option_type(self, name: str, member: Member, wanted: str, example: str) -> None:
        self._remark(
            "qcnl-option-type",
            self.place(member.at),
            name,
            name=name,
            is_=_KINDS[member.value.kind],
            wanted=wanted,
            example=example,
        )

    def _remark(self, code: str, place: tuple[int, int], key: str, **fields: object) -> None:
        self.remarks.append(remark(code, place, key=key, **fields))


def _fits(kind: str, value: Value) -> bool:
    """Whether the library takes the value: `IsString`, `IsBool`, `IsInt`, `IsDouble() || IsInt()`."""
    match kind:
        case "url" | "text" | "update":
            return value.kind == "string"
        case "boolean":
            return value.kind == "boolean"
        case "hours" if value.kind == "real":
            return True
        case _:
            return value.kind == "integer" and value.content in _INT32


def _content(kind: str, value: Value) -> Any:  # noqa: ANN401 - of four kinds
    if kind == "hours":
        return float(value.content)
    return _c_string(value.content) if value.kind == "string" else value.content


def _meant(key: str, value: Value) -> Any:  # noqa: ANN401 - of four kinds, or None
    """What somebody meant by a value of another type; `None` where that cannot be said."""
    kind = KEYS[key].kind
    if kind == "update" and value.kind == "string":
        word = _lower(value.content)
        return word if word in _UPDATES else None
    if _fits(kind, value):
        return _content(kind, value)
    text = _text(value)
    if text is None:
        return None
    match kind:
        case "text":
            return text
        case "boolean":
            return {"true": True, "false": False}.get(text.strip().lower())
        case "integer" | "hours":
            return _number_meant(kind, text)
        case _:
            return None


def _number_meant(kind: str, text: str) -> float | int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    if not abs(number) < 2**31:
        return None
    if kind == "hours":
        return number
    return int(number) if number == int(number) else None


def _text(value: Value) -> str | None:
    """A scalar as text: a version, a header."""
    if value.kind == "string":
        return _c_string(value.content)
    if value.kind == "boolean":
        return "true" if value.content else "false"
    return str(value.content) if value.kind in {"integer", "real"} else None


def _c_string(text: str) -> str:
    """What C++ gets of a text: it ends at a NUL."""
    return text.partition("\0")[0]


def _lower(text: str) -> str:
    """ASCII letters alone, as C's `tolower`."""
    return "".join(c.lower() if c.isascii() else c for c in text)
