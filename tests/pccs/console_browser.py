"""A headless Chromium, driven by the W3C WebDriver protocol over HTTP; it needs no package of its own.

    with chromium() as browser:
        browser.open(url); browser.one("#token").type("…"); browser.one("button").click()

Debian: `apt-get install chromium chromium-driver`. Not a home for assertions.

Source: WebDriver 2; the Chrome DevTools Protocol, for what a person would set in the browser.
"""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import urllib3

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
_START_SECONDS = 60.0


class Element:
    """An element of the page that is open."""

    def __init__(self, browser: "Browser", name: str) -> None:
        self._browser = browser
        self._place = f"element/{name}"

    def click(self) -> None:
        """Click it."""
        self._browser.command("POST", f"{self._place}/click", {})

    def type(self, text: str) -> None:
        """Type into it."""
        self._browser.command("POST", f"{self._place}/value", {"text": text})

    @property
    def text(self) -> str:
        """What a person sees of it."""
        return str(self._browser.command("GET", f"{self._place}/text"))

    def property(self, name: str) -> Any:
        """A property of the DOM."""
        return self._browser.command("GET", f"{self._place}/property/{name}")


class Browser:
    """A session of WebDriver."""

    def __init__(self, http: urllib3.PoolManager, url: str) -> None:
        self._http = http
        self._url = url

    def command(self, method: str, place: str, body: object = None) -> Any:
        """What a command gives."""
        response = self._http.request(
            method,
            f"{self._url}/{place}".rstrip("/"),
            body=None if body is None else json.dumps(body),
            headers={"Content-Type": "application/json"},
        )
        value = json.loads(response.data)["value"]
        assert response.status == 200, value
        return value

    def open(self, url: str) -> None:
        """Go to an address, and wait for the page."""
        self.command("POST", "url", {"url": url})

    @property
    def address(self) -> str:
        """Where it is."""
        return str(self.command("GET", "url"))

    def all(self, selector: str) -> list[Element]:
        """The elements of a CSS selector."""
        found = self.command("POST", "elements", {"using": "css selector", "value": selector})
        return [Element(self, one[_ELEMENT]) for one in found]

    def one(self, selector: str) -> Element:
        """The one element of a CSS selector."""
        found = self.all(selector)
        assert len(found) == 1, f"{selector}: {len(found)}"
        return found[0]

    def run(self, script: str) -> Any:
        """What a function's body gives: for looking, as a developer's console does."""
        return self.command("POST", "execute/sync", {"script": script, "args": []})

    def protocol(self, name: str, **values: object) -> Any:
        """A command of the DevTools protocol."""
        return self.command("POST", "goog/cdp/execute", {"cmd": name, "params": values})

    def prefer(self, **features: str) -> None:
        """Preferences of the person: `prefers_color_scheme="dark"`; `media="print"`."""
        media = features.pop("media", "")
        wanted = [
            {"name": name.replace("_", "-"), "value": value} for name, value in features.items()
        ]
        self.protocol("Emulation.setEmulatedMedia", media=media, features=wanted)

    def size(self, width: int, height: int) -> None:
        """The size of the window's inside."""
        self.protocol(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def until(self, selector: str, seconds: float = 20.0) -> Element:
        """The element of a selector, once it is there: a form's answer may take its time."""
        end = time.monotonic() + seconds
        while not self.all(selector):
            assert time.monotonic() < end, f"{selector} did not come: {self.address}"
            time.sleep(0.05)
        return self.one(selector)

    def picture(self) -> bytes:
        """What is seen: PNG."""
        return base64.b64decode(self.command("GET", "screenshot"))

    def printed(self) -> bytes:
        """The page as it would be printed: PDF."""
        return base64.b64decode(self.command("POST", "print", {}))

    def cookies(self) -> list[dict[str, Any]]:
        """The cookies of the page's host."""
        found: list[dict[str, Any]] = self.command("GET", "cookie")
        return found

    def complaints(self) -> list[str]:
        """What the page's console says, of policies that were violated among others."""
        found = self.command("POST", "se/log", {"type": "browser"})
        return [str(one["message"]) for one in found]


def missing() -> str:
    """What is not installed, for the reason of a skip; empty where all is there."""
    names = [
        name
        for name, found in (
            ("chromium", next(filter(None, map(shutil.which, _CHROMIUMS)), None)),
            ("chromedriver (Debian: chromium-driver)", shutil.which("chromedriver")),
        )
        if found is None
    ]
    return " and ".join(names)


@contextmanager
def chromium(*, scripts: bool = True) -> Iterator[Browser]:
    """A browser that believes any TLS certificate. Skips, and says why, where there is none."""
    lacks = missing()
    if lacks:
        pytest.skip(
            f"no browser: {lacks} is not installed; apt-get install chromium chromium-driver"
        )
    port = _free_port()
    driver = subprocess.Popen(
        [str(shutil.which("chromedriver")), f"--port={port}", "--log-level=OFF"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with urllib3.PoolManager(timeout=120, retries=False) as http:
        try:
            base = f"http://127.0.0.1:{port}"
            _wait_for(http, f"{base}/status")
            browser = _session(http, base, scripts=scripts)
            try:
                yield browser
            finally:
                browser.command("DELETE", "")
        finally:
            # Its group: a browser whose session could not be ended goes with it.
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait(timeout=30)


def _session(http: urllib3.PoolManager, base: str, *, scripts: bool) -> Browser:
    program = next(filter(None, map(shutil.which, _CHROMIUMS)))
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    options = {
        "binary": program,
        "args": [*arguments, "--window-size=1280,900", "--hide-scrollbars"],
        "prefs": {} if scripts else {"profile.managed_default_content_settings.javascript": 2},
    }
    wanted = {
        "acceptInsecureCerts": True,
        "goog:chromeOptions": options,
        "goog:loggingPrefs": {"browser": "ALL"},
    }
    body = json.dumps({"capabilities": {"alwaysMatch": wanted}})
    response = http.request(
        "POST", f"{base}/session", body=body, headers={"Content-Type": "application/json"}
    )
    value = json.loads(response.data)["value"]
    assert response.status == 200, value
    return Browser(http, f"{base}/session/{value['sessionId']}")


def _wait_for(http: urllib3.PoolManager, url: str) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            if json.loads(http.request("GET", url).data)["value"]["ready"]:
                return
        except urllib3.exceptions.HTTPError:
            if time.monotonic() > end:
                raise
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
