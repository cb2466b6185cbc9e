"""The way to Ray: this machine alone, or a cluster by its address; every problem is one sentence."""

import logging
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from eggs_core.assets import INSTALLED, ROOT, install_command
from eggs_core.errors import EggsError

PACKAGE = Path(__file__).resolve().parents[1]
PORT_SECONDS = 5.0  # to wait until a port answers
ANSWER_SECONDS = 20.0  # to wait until what answers proves to be a cluster
AUTO = "auto"
NOT_NEEDED = (
    ".git",
    ".venv",
    "build",
    "tests",
    "docs",
    "benchmarks",
    "components",
    "tools",
    "/assets/runs",
    "/assets/sweeps",
    "/assets/curves",
    "/assets/tasks",
    "/assets/*.png",
    "__pycache__",
)
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1",  # a node's workers read one copy of the dense weights
    "TOKENIZERS_PARALLELISM": "false",
}
FORWARDED = ("HF_HUB_OFFLINE", "HF_ENDPOINT")


def import_ray() -> ModuleType:
    """Ray, if it is installed; raises EggsError."""
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name.startswith("RAY_")})
    try:
        import ray
    except ImportError as error:
        raise EggsError(f"Sweeps need Ray: {install_command('sweep')}") from error
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # they are shared
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # a notice at every start
    return ray


@contextmanager
def connected(address: str | None = None, cpus: int | None = None) -> Iterator[ModuleType]:
    """Ray, started on this machine with at most `cpus` CPUs, or connected to a cluster; it is left again at the end.

    address: None for this machine, "auto" for the cluster that this machine belongs to, or its head's HOST:PORT.
    Raises EggsError if Ray is not installed or no cluster answers within seconds.
    """
    ray = import_ray()
    if ray.is_initialized():
        raise EggsError("This process is connected to Ray already; run one sweep at a time.")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    variables = ENVIRONMENT | {name: os.environ[name] for name in FORWARDED if name in os.environ}
    if address is None:
        options |= {"address": "local", "num_cpus": cpus or os.cpu_count() or 1, "include_dashboard": False}
        options["runtime_env"] = {"env_vars": variables | {"PYTHONPATH": str(PACKAGE.parent)}}
    else:
        options["address"] = check_address(address)
        code = {"py_modules": [str(PACKAGE)]} if INSTALLED else {"working_dir": str(ROOT)}
        options["runtime_env"] = {"env_vars": variables, "excludes": list(NOT_NEEDED), **code}
    try:
        ray.init(**options)
    except Exception as error:  # Ray raises many kinds
        raise _explain(address, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def check_address(address: str) -> str:
    """The address that Ray should connect to, once something answers there; raises EggsError."""
    address = os.environ.get("RAY_ADDRESS", AUTO) if address == AUTO else address
    if address == AUTO:
        return address
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise EggsError(
            f"The address of a cluster is auto or its head's HOST:PORT, such as 10.0.0.5:6379; got {address!r}."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PORT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise EggsError(
            f"No Ray cluster answers at {address} ({reason}); start one with `ray start --head --port={port}` there, "
            "or leave --address out to use this machine."
        ) from error
    _check_cluster(address)
    return address


def _check_cluster(address: str) -> None:
    """Ask for the cluster's status in a process of its own, as Ray itself would try for minutes; raises EggsError."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
        if answer.returncode == 0:
            return
        output = answer.stdout + answer.stderr
    except subprocess.TimeoutExpired as error:
        output = (error.stderr or b"").decode(errors="replace")
    if "AuthToken" in output or "uthentication" in output:
        raise EggsError(
            f"The Ray cluster at {address} does not accept this machine's token; copy ~/.ray/auth_token from its head, "
            "or set RAY_AUTH_TOKEN."
        )
    raise EggsError(
        f"What answers at {address} is no Ray cluster, or one of another version; check the port and `ray --version`."
    )


def _explain(address: str | None, error: Exception) -> EggsError:
    """The sentence that a person needs when Ray cannot start or connect."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(" .")
    if address is None:
        return EggsError(f"Ray could not start on this machine: {first}.")
    if address == AUTO and isinstance(error, ConnectionError):
        return EggsError(
            "This machine belongs to no running Ray cluster; start one with `ray start --head`, or leave --address out."
        )
    if "ersion mismatch" in str(error):
        return EggsError(f"The cluster at {address} runs other versions of Ray or Python than this machine: {first}.")
    return EggsError(
        f"The Ray cluster at {address} cannot be joined: {first}; run the command on one of its machines, with the "
        "same Ray and Python, and the same ~/.ray/auth_token where it uses one."
    )
