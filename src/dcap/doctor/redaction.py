"""Texts without secrets and without what identifies a machine: for what leaves it.

    clean = Redactor()
    clean.learn(text)            # each text first, so that a secret of one is masked in all
    clean(text)

Masked are values by their names (…KEY, …TOKEN, …PASSWORD, PPID, QE id, manifest …) wherever they occur;
the headers and parameters that qcnl.conf has sent; hex of 32 digits and more, with and without
separators, and UUIDs, whatever they are; other long words that look random; user names and passwords in
URLs and proxies, with and without a scheme; private keys. It rather masks too much. Each pattern takes
time in proportion to the text, whatever that is. Not here: what is handed out (`report`).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

MASK: Final = "(masked)"
_SHORTEST: Final = 6
#: A whole word, looked through from its beginning alone: else a long one would be from each letter.
_NAMES: Final = (
    r"(?<![\w.-])(?=[\w.-]*?(?:key|token|passw|pwd|passphrase|secret|credential|authori[sz]ation|cookie"
    r"|session|manifest|ppid|qe[-_]?id|cpu[-_]?svn|salt|hash))[\w.-]++"
)
_QUOTED: Final = r'"(?:[^"\\\n]|\\.)*+"|\'[^\'\n]*+\''
_LIST: Final = r"\[[^\[\]]*+\]"
#: NAME=value, "name": "value", "name": ["value"], Name: value to the end of the line, of the quotes or
#: of the braces, --name value.
_ASSIGNED: Final = re.compile(
    rf"(?P<head>(?P<q>[\"']?){_NAMES}(?P=q)\s*+(?:=\s*+|:\s*+(?={_QUOTED}|{_LIST})))"
    rf"(?P<value>{_QUOTED}|{_LIST}|(?:basic|bearer|digest)[ \t]++[^\s\"']++|[\"'][^\n]++"
    rf"|[^\s,;&\"'\])}}]++)"
    rf"|(?P<head2>^[ \t]*+[<>]?[ \t]*+{_NAMES}[ \t]*+:[ \t]*+)(?P<value2>[^\n]++)"
    rf"|(?P<head3>(?:[\"'{{(,]|(?<!\S)-)[ \t]*+{_NAMES}[ \t]*+:[ \t]++)(?P<value3>[^\n\"'}}]++)"
    rf"|(?P<head4>(?<![^\s\"'])(?=-){_NAMES}[ \t]++)(?P<value4>(?!-)(?:{_QUOTED}|[^\s\"']++))",
    re.IGNORECASE | re.MULTILINE,
)
#: What `custom_request_options` of qcnl.conf has sent, under whatever names.
_SENT: Final = re.compile(r'(?P<head>"(?:headers|params)"\s*+:\s*+\{)(?P<members>[^{}]*+)')
_MEMBER: Final = re.compile(rf"(?<=:)\s*+(?P<value>{_QUOTED})")
_HEADS: Final = ("head", "head2", "head3", "head4")
_VALUES: Final = ("value", "value2", "value3", "value4")
_HEX: Final = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{32,}(?![0-9A-Fa-f])")
_PAIRS: Final = re.compile(
    r"\b(?:(?:0x)?[0-9A-Fa-f]{2}(?:, ?|[:\- ])){15,}(?:0x)?[0-9A-Fa-f]{2}\b", re.IGNORECASE
)
_UUID: Final = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE)
_RANDOM: Final = re.compile(r"[A-Za-z0-9+/_=-]{24,}")
_PRIVATE: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
#: A password may hold what no URL should (`/`, `@`); a proxy needs no scheme.
_USER: Final = re.compile(
    r"(?<=://)[^\s\"'<>]{1,512}@|(?<![^\s\"'=])[^\s\"'=/@:]{1,256}:[^\s\"'/]{1,256}@(?=[\w\[])"
)


class Redactor:
    """What is to be masked, by rule and by what was learnt."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def know(self, *secrets: str) -> None:
        """These are masked wherever they stand, in either case."""
        self._known.update(one for one in secrets if len(one) >= _SHORTEST)

    def learn(self, text: str) -> None:
        """Each value that is a secret by its name."""
        for found in _ASSIGNED.finditer(text):
            whole = "".join(found[group] or "" for group in _VALUES).strip()
            listed = re.findall(_QUOTED, whole) if whole.startswith("[") else [whole]
            self._learn_values(listed)
        for sent in _SENT.finditer(text):
            self._learn_values(one["value"] for one in _MEMBER.finditer(sent["members"]))

    def _learn_values(self, values: Iterable[str]) -> None:
        for each in values:
            value = each
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            if value not in {"", MASK}:
                # "Bearer abc": the words by themselves too.
                self.know(value, *value.split())

    def learn_all(self, environ: Mapping[str, str]) -> None:
        """The same of variables."""
        for name, value in environ.items():
            if re.fullmatch(_NAMES, name, re.IGNORECASE):
                self.know(value, *value.split())

    def __call__(self, text: str) -> str:
        """The text, masked."""
        text = _PRIVATE.sub(MASK, text)
        text = _USER.sub(f"{MASK}@", text)
        if self._known:
            longest_first = sorted(self._known, key=len, reverse=True)
            known = "|".join(map(re.escape, longest_first))
            text = re.sub(known, MASK, text, flags=re.IGNORECASE)
        text = _SENT.sub(_masked_members, text)
        text = _ASSIGNED.sub(_masked, text)
        text = _HEX.sub(lambda found: f"({len(found[0])} hex digits masked)", text)
        text = _PAIRS.sub("(hex masked)", text)
        text = _UUID.sub("(UUID masked)", text)
        return _RANDOM.sub(_unless_word, text)

    def value(self, value: Any) -> Any:  # noqa: ANN401 - a document
        """A document, each of its texts masked; what stands under a secret's name, wholly."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {
                self(str(name)): MASK
                if isinstance(part, str) and re.fullmatch(_NAMES, str(name), re.IGNORECASE)
                else self.value(part)
                for name, part in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.value(part) for part in value]
        return value


def _masked(found: re.Match[str]) -> str:
    value = "".join(found[group] or "" for group in _VALUES)
    quote = value[0] if value[:1] in {'"', "'"} else ""
    masked = f'["{MASK}"]' if value.startswith("[") else f"{quote}{MASK}{quote}"
    return "".join(found[group] or "" for group in _HEADS) + masked


def _masked_members(found: re.Match[str]) -> str:
    return found["head"] + _MEMBER.sub(f' "{MASK}"', found["members"])


def _unless_word(found: re.Match[str]) -> str:
    """Letters of both cases and digits, without a pause: no path and no word is like that."""
    text = found[0]
    looks_random = (
        any(map(str.isdigit, text)) and any(map(str.islower, text)) and any(map(str.isupper, text))
    )
    return f"({len(text)} characters masked)" if looks_random else text
