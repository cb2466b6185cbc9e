"""The browser that benchmarks and tests drive: Debian's Chromium, by preference its build without a desktop's parts."""

import os
import shutil

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
NAMES = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
)  # the first opens a page with two thirds of the work


def chromium_path() -> str | None:
    """The program to start: that of the variable CHROMIUM, else the first of NAMES that is installed; None without."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
