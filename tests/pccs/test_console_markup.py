"""How the console's pages are built: for assistive tools, without scripts or anything from elsewhere."""

from html.parser import HTMLParser

import pytest

from pccs.console_rig import Console, fill
from pccs.test_console_pages import PAGES, waiting


class Shape(HTMLParser):
    """What matters of a page's elements."""

    VOID = frozenset({"meta", "link", "input", "br", "rect", "line", "polygon"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opened."""
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opened and closed."""
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Closed: the one that was opened last."""
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element of a name."""
        return [attributes for name, attributes in self.seen if name == tag]


@pytest.fixture(scope="module")
def consoles(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Console]:
    """A filled console for who has signed in, and one for who has not: they are only looked at."""
    made = {}
    for signed_in in (False, True):
        made[signed_in] = console = Console.at(tmp_path_factory.mktemp("console"))
        fill(console)
        waiting(console)
        if signed_in:
            console.sign_in()
    return made


@pytest.mark.parametrize("target", PAGES)
@pytest.mark.parametrize("signed_in", [False, True])
def test_every_page_is_well_built(
    consoles: dict[bool, Console], target: str, signed_in: bool
) -> None:
    """Elements are closed in order, ids are single, and what assistive tools need is there."""
    shape = Shape()
    shape.feed(consoles[signed_in].page(target))
    shape.close()
    assert shape.open == []
    ids = [attributes["id"] for _, attributes in shape.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = " ".join(
        attributes.get("aria-labelledby") or "" for _, attributes in shape.seen
    ).split()
    assert set(named) <= set(ids)
    assert shape.of("html") == [{"lang": "en"}]
    assert [len(shape.of(tag)) for tag in ("h1", "main", "title")][:2] == [1, 1]
    assert len(shape.of("table")) == len(shape.of("caption"))
    assert all(cell.get("scope") in ("col", "row") for cell in shape.of("th"))
    visible = [
        one for one in shape.of("input") if one.get("type") != "hidden" and "hidden" not in one
    ]
    labels = {label["for"] for label in shape.of("label")}
    assert {one["id"] for one in visible} <= labels


@pytest.mark.parametrize("target", PAGES)
def test_pages_have_no_scripts_and_need_nothing_from_elsewhere(
    consoles: dict[bool, Console], target: str
) -> None:
    """No script, no inline style, no handler, and no address but paths of our own."""
    shape = Shape()
    shape.feed(consoles[False].page(target))
    assert not shape.of("script")
    assert not shape.of("style")
    for _, attributes in shape.seen:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}
        for name in ("href", "src", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("/", "#"))
