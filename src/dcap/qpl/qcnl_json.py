"""JSON with comments as Intel's network library reads it, and as the author of a broken file meant it.

    document = parse(text)
    document.faults            # empty: rapidjson (with kParseCommentsFlag) takes the text too
    document.root              # what was read, the faults passed over

Every value knows its offset, so that a remark can name line and column. A fault is what makes
rapidjson give up; here it is noted, and reading goes on behind it: a comma too many does not change
what somebody meant. Not here: what the keys mean (`qcnl_keys`, `qcnl_config`), nor JSON that Intel
signs (`formats.signed_json`), of which nothing may be guessed.

Source: `quote-provider.md` §1.2; rapidjson 1.1.0, `Reader` with comments, without other extensions.
"""

import re
from typing import Final

from dcap.qpl.qcnl_tree import Document, Fault, Kind, Member, Value

#: Deeper than any configuration; rapidjson itself ends with its stack.
MAX_DEPTH: Final = 64
#: After so many faults, more of them help nobody.
MAX_FAULTS: Final = 20

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]*')
_PLAIN_SINGLE: Final = re.compile(r"[^'\\\x00-\x1f]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_TOKEN: Final = re.compile(r"[+\-.0-9A-Za-z_]+")
_NAME: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$.-]*")
_HEX: Final = re.compile(r"[0-9A-Fa-f]{4}")
_RESYNC: Final = re.compile(r"[,}\]\n]")
_ESCAPES: Final = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}
_WORDS: Final[dict[str, tuple[Kind, bool | None]]] = {
    "true": ("boolean", True),
    "false": ("boolean", False),
    "null": ("null", None),
}
#: What rapidjson keeps as an integer; beyond it becomes a double.
_INTEGERS: Final = range(-(2**63), 2**64)
_LARGEST_EXPONENT: Final = 308
_MOST_DIGITS: Final = len(str(2**64))


def looks_like_json(text: str) -> bool:
    """Whether the first thing after byte order mark, space and comments begins JSON."""
    reader = _Reader(text)
    reader.skip()
    return reader.peek() in {"{", "[", '"'}


def is_blank(text: str) -> bool:
    """Whether there is nothing but space and comments."""
    reader = _Reader(text)
    reader.skip()
    return reader.peek() == ""


def parse(text: str) -> Document:
    """Read `text`. A NUL ends it, as it ends rapidjson's stream."""
    reader = _Reader(text.partition("\0")[0])
    reader.skip()
    if reader.peek() == "":
        return Document(None, (*reader.faults, Fault("qcnl-syntax", 0, "there is nothing in it")))
    if reader.peek() == '"' and not _is_one_string(text):
        reader.fault("qcnl-braces", reader.at)
        root: Value | None = Value("object", reader.members("", 0), reader.at)
    else:
        root = reader.value(0)
    reader.skip()
    if reader.peek() != "":
        reader.fault("qcnl-after-end", reader.at)
    return Document(root, tuple(reader.faults))


def _is_one_string(text: str) -> bool:
    reader = _Reader(text.partition("\0")[0])
    reader.skip()
    reader.value(0)
    reader.skip()
    return reader.peek() == "" and not reader.faults


class _Reader:
    """A place in a text, and the faults met on the way to it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.faults: list[Fault] = []
        self.comma_lost = False
        if text.startswith("\ufeff"):
            self.fault("qcnl-bom", 0)
            self.at = 1

    def fault(self, code: str, at: int, detail: str = "") -> None:
        """Note a fault; after too many, end the text here."""
        self.faults.append(Fault(code, at, detail))
        if len(self.faults) >= MAX_FAULTS:
            self.at = len(self.text)

    def peek(self) -> str:
        """The character here; "" at the end."""
        return self.text[self.at : self.at + 1]

    def skip(self) -> None:
        """Go over space and comments."""
        while True:
            if space := _SPACE.match(self.text, self.at):
                self.at = space.end()
            here = self.peek()
            if self.text.startswith("//", self.at):
                self._to_end_of_line()
            elif self.text.startswith("/*", self.at):
                self._over_comment()
            elif here == "#":
                self.fault("qcnl-hash-comment", self.at)
                self._to_end_of_line()
            elif here and (here.isspace() or here == "\ufeff"):
                self.fault("qcnl-syntax", self.at, f"the space {here!r} is none in JSON")
                self.at += 1
            else:
                return

    def _to_end_of_line(self) -> None:
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end

    def _over_comment(self) -> None:
        end = self.text.find("*/", self.at + 2)
        if end < 0:
            self.fault("qcnl-unclosed", self.at, "the comment has no */")
            end = len(self.text)
        self.at = end + 2

    def value(self, depth: int) -> Value | None:
        """The value here; `None`, and a fault, where there is none."""
        start, here = self.at, self.peek()
        if depth > MAX_DEPTH:
            self.fault("qcnl-depth", start)
            self.at = len(self.text)
            return None
        if here == "{":
            self.at += 1
            return Value("object", self.members("}", depth), start)
        if here == "[":
            self.at += 1
            return Value("array", self._elements(depth), start)
        if here in {'"', "'"}:
            return Value("string", self._string(here), start)
        if token := _TOKEN.match(self.text, start):
            return self._word_or_number(token[0], start)
        self.fault(
            "qcnl-syntax", start, f"{here!r} begins no value" if here else "a value is missing"
        )
        return None

    def members(self, end: str, depth: int) -> tuple[Member, ...]:
        """The members up to `end`, which is taken too."""
        found: list[Member] = []
        commas = _Commas(self)
        while not commas.closed(end):
            if not commas.before_item():
                continue
            member = self._member(depth)
            if member is not None:
                found.append(member)
            commas.after_item(read=member is not None)
        return tuple(found)

    def _elements(self, depth: int) -> tuple[Value, ...]:
        found: list[Value] = []
        commas = _Commas(self)
        while not commas.closed("]"):
            if not commas.before_item():
                continue
            value = self.value(depth + 1)
            if value is not None:
                found.append(value)
            commas.after_item(read=value is not None)
        return tuple(found)

    def _member(self, depth: int) -> Member | None:
        start, here = self.at, self.peek()
        if here in {'"', "'"}:
            key = self._string(here)
        elif name := _NAME.match(self.text, start):
            self.fault("qcnl-quotes", start, f"the key {name[0][:40]} has no quotes")
            self.at = name.end()
            key = name[0]
        else:
            self.fault("qcnl-syntax", start, f"{here!r} begins no key")
            return None
        self.skip()
        if self.peek() == ":":
            self.at += 1
        elif self.peek() == "=":
            self.fault("qcnl-syntax", self.at, "a colon belongs between key and value")
            self.at += 1
        else:
            self.fault("qcnl-syntax", self.at, f"no colon follows the key {key[:40]!r}")
            return None
        self.skip()
        value = self.value(depth + 1)
        return None if value is None else Member(key, value, start)

    def resync(self, start: int) -> None:
        """Go on where another member may begin."""
        self.at = max(self.at, start)
        if self.at == start:
            self.at += 1
        match = _RESYNC.search(self.text, self.at)
        self.at = match.start() if match else len(self.text)

    # ── scalars ────────────────────────────────────────────────────────────────────────────────

    def _word_or_number(self, word: str, start: int) -> Value | None:
        if word in _WORDS:
            self.at = start + len(word)
            kind, content = _WORDS[word]
            return Value(kind, content, start)
        if word.lower() in _WORDS or word == "None":
            self.fault("qcnl-word", start, word)
            self.at = start + len(word)
            kind, content = _WORDS.get(word.lower(), ("null", None))
            return Value(kind, content, start)
        if not word[0].isalpha() and word[0] != "_":
            self.at = start + len(word)
            return self._number(word, start)
        self.fault("qcnl-quotes", start, f"the value {word[:40]} has no quotes")
        rest = re.compile(r"[^,}\n\r\"]*").match(self.text, start)
        text = rest[0] if rest else word
        self.at = start + len(text)
        return Value("string", text.strip(), start)

    def _number(self, token: str, start: int) -> Value:
        match = _NUMBER.fullmatch(token)
        if match is None:
            self.fault("qcnl-number", start, token[:40])
            return _number_meant(token, start)
        whole = match[1] is None and match[2] is None
        if whole and len(token) <= _MOST_DIGITS and int(token) in _INTEGERS:
            return Value("integer", int(token), start)
        number = float(token)
        if abs(number) == float("inf") or _exponent_is_too_big(match):
            self.fault("qcnl-number", start, token[:40])
        return Value("real", number, start)

    def _string(self, quote: str) -> str:
        start = self.at
        if quote != '"':
            self.fault("qcnl-quotes", start, "text stands between single quotes")
        plain = _PLAIN if quote == '"' else _PLAIN_SINGLE
        self.at += 1
        pieces: list[str] = []
        while True:
            if chunk := plain.match(self.text, self.at):
                pieces.append(chunk[0])
                self.at = chunk.end()
            here = self.peek()
            if here == quote:
                self.at += 1
                return _joined(pieces)
            if here in {"", "\n", "\r"}:
                self.fault("qcnl-string", start, "the text has no closing quote")
                self.comma_lost = True
                return _joined(pieces).rstrip(" \t,}")
            if here == "\\":
                pieces.append(self._escape())
            else:
                self.fault("qcnl-string", self.at, f"the text holds {here!r} as it is")
                pieces.append(here)
                self.at += 1

    def _escape(self) -> str:
        start, escaped = self.at, self.text[self.at + 1 : self.at + 2]
        if escaped in _ESCAPES:
            self.at += 2
            return _ESCAPES[escaped]
        if escaped == "u" and (high := _HEX.match(self.text, start + 2)):
            self.at += 6
            unit = int(high[0], 16)
            if not 0xD800 <= unit < 0xDC00:
                return chr(unit)
            low = _HEX.match(self.text, start + 8)
            if self.text.startswith("\\u", start + 6) and low and low[0][:2].lower() in _LOW:
                self.at += 6
                return chr(0x10000 + ((unit - 0xD800) << 10) + (int(low[0], 16) - 0xDC00))
            self.fault("qcnl-string", start, "half of a pair of \\u escapes")
            return "\ufffd"
        self.fault("qcnl-string", start, f"\\{escaped} is no escape")
        self.at += 1
        return "\\"


_LOW: Final = {"dc", "dd", "de", "df"}


class _Commas:
    """Between the items of an object or array there is one comma, and none elsewhere.

    `_due` is `None` behind something that could not be read: there, a comma may be or not (it may
    have gone into a text without a closing quote: `comma_lost`).
    """

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._due: bool | None = False
        self._comma: int | None = None
        self._end_of_item = reader.at
        self._start = reader.at

    def closed(self, end: str) -> bool:
        """Whether the container ends here; its end is taken."""
        reader = self._reader
        reader.skip()
        here = reader.peek()
        if here == "":
            if end:
                reader.fault("qcnl-unclosed", self._start - 1, f"no {end} closes it")
            elif self._comma is not None:
                reader.fault("qcnl-trailing-comma", self._comma)
            return True
        if here != end:
            return here == "}" and end == ""
        if self._comma is not None:
            reader.fault("qcnl-trailing-comma", self._comma)
        reader.at += 1
        return True

    def before_item(self) -> bool:
        """Whether an item begins here; a comma is taken instead."""
        reader = self._reader
        if reader.peek() == ",":
            if self._due is False:
                reader.fault("qcnl-double-comma", reader.at)
            else:
                self._comma = reader.at
            self._due = False
            reader.at += 1
            return False
        if self._due:
            reader.fault("qcnl-missing-comma", self._end_of_item)
        self._comma = None
        self._start_of_item = reader.at
        return True

    def after_item(self, *, read: bool) -> None:
        """Note that an item was read, or go on behind one that could not be."""
        self._due = True if read and not self._reader.comma_lost else None
        self._reader.comma_lost = False
        if not read:
            self._reader.resync(self._start_of_item)
        self._end_of_item = self._reader.at


def _joined(pieces: list[str]) -> str:
    """The text; half a surrogate, which no UTF-8 can hold, is replaced."""
    text = "".join(pieces)
    return "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in text)


def _exponent_is_too_big(match: re.Match[str]) -> bool:
    """Whether rapidjson refuses the exponent, whatever stands before it."""
    fraction, exponent = match[1] or ".", (match[2] or "e0")[1:].lstrip("+")
    digits = exponent.lstrip("0")
    if digits.startswith("-"):
        return False
    return len(digits) > 4 or int(digits or "0") > _LARGEST_EXPONENT + len(fraction) - 1


def _number_meant(token: str, start: int) -> Value:
    try:
        return Value("integer", int(token), start)
    except ValueError:
        pass
    try:
        number = float(token)
    except ValueError:
        return Value("string", token, start)
    return Value("real", number if abs(number) < 1e300 else 0.0, start)
