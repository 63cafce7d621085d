"""A deployment's app in a server of its own, with its files."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jupyter_modelreg.serving import bind_port
from jupyter_modelreg.serving.app import App
from jupyter_modelreg.serving.calls import ServedModel
from jupyter_modelreg.serving.http import Limits

from .live import Answer, Live

KEY = "the-first-key-0123456789"


class Service:
    """Answers until the ``with`` block ends."""

    def __init__(self, folder: Path, models: list[ServedModel], *, limits: Limits | None = None, **about: Any) -> None:
        (folder / "keys.json").write_text(json.dumps({"primary": KEY, "secondary": "other"}))
        self._thread, listener = ThreadPoolExecutor(1), bind_port(None)
        self.port: int = listener.getsockname()[1]
        self.app = App("blue", models=models, port=self.port, keys_path=str(folder / "keys.json"), model_thread=self._thread, **about)
        self.live = Live(self.app.handle, self.app.refuse, limits, listener)

    def __enter__(self) -> Service:
        self.live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.__exit__()
        self._thread.shutdown()

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Send one request on a connection of its own, with the key where no other header says who asks."""
        values = {
            "Host": f"127.0.0.1:{self.port}",
            "Authorization": f"Bearer {KEY}",
            "Connection": "close",
            "Content-Length": str(len(body)),
        }
        values |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in values.items() if value)]
        return Answer(self.live.exchange("\r\n".join([*lines, "", ""]).encode("latin-1") + body))
