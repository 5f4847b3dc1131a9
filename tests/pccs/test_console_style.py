"""The console's colours: text can be read on its ground, in each theme and in print."""

import re
from itertools import product

import pytest

from dcap.pccs.console.pages import static_files

STYLE = static_files()["console.css"].body.decode()
#: Text, and the grounds that it stands on.
PAIRS = (
    *product(("text", "quiet", "link"), ("ground", "card", "chip")),
    *product(("good", "fair", "bad"), ("card",)),
    *((tone, f"{tone}-ground") for tone in ("good", "fair", "bad")),
    ("text", "fair-ground"),
    ("on-accent", "accent"),
    ("bad", "ground"),
)
#: Bars and marks, and what lies behind them: 3 is enough (WCAG 1.4.11).
SHAPES = tuple(product(("bar-fresh", "bar-soon", "bar-expired", "accent"), ("card",)))
_TABLE = re.compile(r":root \{([^}]*)\}")
_COLOUR = re.compile(r"--([a-z-]+): (#[0-9a-f]{6});")


def themes() -> dict[str, dict[str, str]]:
    """The tables of colours: what a later one leaves out stands in the first."""
    tables = [dict(_COLOUR.findall(one)) for one in _TABLE.findall(STYLE)]
    light, dark, paper = (table for table in tables if table)
    return {"light": light, "dark": {**light, **dark}, "print": {**light, **paper}}


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The ratio of two colours, from 1 to 21."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_can_be_read(theme: str, text: str, ground: str) -> None:
    """A contrast of 4.5 at least."""
    colours = themes()[theme]
    assert contrast(colours[text], colours[ground]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("shape", "ground"), SHAPES)
def test_shapes_can_be_seen(theme: str, shape: str, ground: str) -> None:
    """A contrast of 3 at least, for what has no words of its own."""
    colours = themes()[theme]
    assert contrast(colours[shape], colours[ground]) >= 3


def test_contrast_is_measured_as_the_standard_does() -> None:
    """Black on white is 21, and a known grey 4.54."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def test_the_style_needs_nothing_from_elsewhere() -> None:
    """No imports, no fonts, no pictures: the policy would refuse them."""
    assert "@import" not in STYLE
    assert "@font-face" not in STYLE
    assert re.findall(r"url\(([^)]*)\)", STYLE) == ['"#hatch"']
