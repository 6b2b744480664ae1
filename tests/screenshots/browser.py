"""Chromium without a window, driven by its DevTools protocol: what a page looks like at a width, light or dark."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp

Scheme = Literal["light", "dark"]

START_S = 30
ANSWER_S = 30
QUALITY = 75


class Browser:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._session: str | None = None

    @classmethod
    @asynccontextmanager
    async def started(cls) -> AsyncIterator[Browser]:
        """Raises SystemExit if there is no Chromium on this machine."""
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            raise SystemExit("there is no Chromium here; on Debian and Ubuntu: apt install chromium")
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            options = ["--headless", "--remote-debugging-port=0", f"--user-data-dir={profile}", "--hide-scrollbars"]
            # its sandbox refuses to run as root, as in a container
            options += ["--no-sandbox"] if os.geteuid() == 0 else []
            process = await asyncio.create_subprocess_exec(
                program, *options, "about:blank", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
            try:
                async with aiohttp.ClientSession() as http:
                    address = await asyncio.wait_for(_address_of(process), START_S)
                    async with http.ws_connect(address, max_msg_size=0) as socket:
                        browser = cls(socket)
                        await browser._open_tab()
                        yield browser
            finally:
                process.kill()
                await process.wait()

    async def show(self, url: str, *, width: int, height: int, scheme: Scheme) -> None:
        """Loads a page in a window of that size, in CSS pixels, with two pixels of the picture for each."""
        await self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self._call("Emulation.setEmulatedMedia", features=features)
        await self._call("Page.navigate", url=url, until="Page.loadEventFired")

    async def value_of(self, script: str) -> Any:
        """What a JavaScript expression is on the page; a promise is awaited."""
        answer = await self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    async def picture(self) -> bytes:
        """The whole page as WebP."""
        size = await self.value_of(
            "({width: document.documentElement.scrollWidth, height: document.documentElement.scrollHeight})"
        )
        clip = {"x": 0, "y": 0, "scale": 1, **size}
        answer = await self._call(
            "Page.captureScreenshot", format="webp", quality=QUALITY, clip=clip, captureBeyondViewport=True
        )
        return b64decode(answer["data"])

    async def _open_tab(self) -> None:
        target = await self._call("Target.createTarget", url="about:blank")
        attached = await self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        await self._call("Page.enable")

    async def _call(self, method: str, *, until: str | None = None, **params: Any) -> dict[str, Any]:
        """The result of a command; with `until`, once that event has come too."""
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        await self._socket.send_json({"id": number, "method": method, "params": params, **session})
        result: dict[str, Any] | None = None
        waits_for = until
        while result is None or waits_for:
            message = await asyncio.wait_for(self._socket.receive_json(), ANSWER_S)
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                result = message["result"]
            elif message.get("method") == waits_for:
                waits_for = None
        return result


async def _address_of(process: asyncio.subprocess.Process) -> str:
    """Chromium says it on its error output, among other things."""
    assert process.stderr is not None
    async for line in process.stderr:
        if b"listening on ws://" in line:
            return line.decode().partition("listening on ")[2].strip()
    raise SystemExit("Chromium ended before it was ready")


def write_picture(picture: bytes, folder: Path, name: str) -> None:
    """As `NAME.webp`."""
    (folder / f"{name}.webp").write_bytes(picture)
    print(folder / f"{name}.webp")
