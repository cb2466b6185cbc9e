"""Is the Hugging Face Hub within reach? Asked in a moment, as its client tries for half a minute before it says no.

And how long a server of ours keeps a connection on which nothing is asked.
"""

import socket
import threading
import time
import urllib.request
from urllib.parse import urlsplit

CONNECT_SECONDS = 1.5  # that a connection may take, finding the address included
KNOWN_SECONDS = 15  # that an answer holds
# Of an idle connection. Clients in Python let go after five seconds, as uvicorn does by itself: a request may go into
# a connection that is being closed, and is lost.
KEEP_ALIVE_SECONDS = 30
_known: dict[tuple[str, int], tuple[float, bool]] = {}  # whom a connection was tried to, when, and whether it opened


def reachable() -> bool:
    """Can a connection to the Hub, or to the proxy on the way to it, be opened? False where HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    url = urlsplit(constants.ENDPOINT)
    if (proxy := urllib.request.getproxies().get(url.scheme)) and not urllib.request.proxy_bypass(url.netloc):
        url = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    whom = (url.hostname or "", url.port or (80 if url.scheme == "http" else 443))
    asked, answer = _known.get(whom, (-KNOWN_SECONDS, False))
    if time.monotonic() >= asked + KNOWN_SECONDS:
        answer = _connects(*whom)
        _known[whom] = time.monotonic(), answer
    return answer


def _connects(host: str, port: int) -> bool:
    """Does a connection open in time? In a thread of its own, as nothing else bounds how long a name is looked for."""
    opened = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
            opened.set()
        except OSError:
            pass

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return opened.is_set()
