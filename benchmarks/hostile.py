"""A client that takes all it can get from a public server: prunes by the hundred, and requests that it never reads.

load.py lets it loose beside its visitors, tests/attack/test_public_server.py looks at each of its tricks by itself.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import httpx

SHIPPED = {"model": "tiny-llama", "pattern": "2:4", "method": "magnitude"}  # a run that every server knows
PRUNES, DEAF = 100, 170
ROUND_SECONDS = 30.0  # from one attack to the next
STAY_SECONDS = 15.0  # that it listens to its prunes


def endpoints(url: str) -> dict[str, dict[str, Any]]:
    """The named endpoints of a page: their numbers, and the defaults of their arguments."""
    config = httpx.get(f"{url}config", timeout=60).json()
    info = httpx.get(f"{url}gradio_api/info", timeout=60).json()["named_endpoints"]
    numbers = {one["api_name"]: one["id"] for one in config["dependencies"]}
    return {
        name: {"fn_index": number, "parameters": info[f"/{name}"]["parameters"]}
        for name, number in numbers.items()
        if f"/{name}" in info
    }


def request(endpoint: dict[str, Any], session: str, **values: object) -> dict[str, Any]:
    """An event of a named endpoint as a program sends it."""
    data = [values.get(p["parameter_name"], p.get("parameter_default")) for p in endpoint["parameters"]]
    return {"data": data, "fn_index": endpoint["fn_index"], "session_hash": session}


def messages(client: httpx.Client, session: str) -> Iterator[dict[str, Any]]:
    """What a session's stream says until the server closes it."""
    with client.stream("GET", "queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                yield json.loads(line[5:])


class Greedy:
    """One session that has many different prunes done, and listens to them until it leaves."""

    def __init__(self, client: httpx.Client, session: str, first_seed: int) -> None:
        self._client, self.session, self._seed = client, session, first_seed
        self.heard: list[dict[str, Any]] = []  # how its prunes ended
        self._over = threading.Event()

    def ask(self, endpoint: dict[str, Any], prunes: int, **choices: object) -> None:
        """Ask for so many prunes, each with a seed of its own, as fast as the server takes them."""
        asked = 0
        while asked < prunes:
            values = {**SHIPPED, "method": "ria", "seed": self._seed + asked, **choices}
            sent = self._client.post("queue/join", json=request(endpoint, self.session, **values))
            if sent.status_code == 503:  # its share of requests is used up until they are begun
                time.sleep(0.05)
            asked += sent.status_code == 200
            if asked == 1:
                threading.Thread(target=self._listen, daemon=True).start()

    def leave(self) -> None:
        """Close the stream as a closed tab does."""
        self._over.set()

    def _listen(self) -> None:
        with suppress(httpx.HTTPError):
            for message in messages(self._client, self.session):
                if message["msg"] == "process_completed":
                    self.heard.append(message)
                if self._over.is_set():
                    return


def deaf(client: httpx.Client, endpoint: dict[str, Any], name: str, requests: int = DEAF) -> None:
    """Send requests from as many sessions, none of which ever listens."""
    for number in range(requests):
        client.post("queue/join", json=request(endpoint, f"{name}-{number}", **SHIPPED))


def besiege(url: str) -> None:
    """Attack again and again until this process is ended."""
    prune = endpoints(url)["prune"]
    with httpx.Client(base_url=f"{url}gradio_api/", timeout=120) as client:
        for turn in count():
            began = time.monotonic()
            greedy = Greedy(client, f"hostile-{turn}", 100_000 + PRUNES * turn)
            with suppress(httpx.HTTPError):
                greedy.ask(prune, PRUNES, calibration_windows=4, calibration_length=64)
                deaf(client, prune, f"deaf-{turn}")
            time.sleep(max(0.0, began + STAY_SECONDS - time.monotonic()))
            greedy.leave()
            time.sleep(max(0.0, began + ROUND_SECONDS - time.monotonic()))
