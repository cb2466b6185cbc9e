"""Build the bundled cloze task: which of four words comes next in a speech that the bundled models were not trained on.

    python tools/build_cloze.py          # writes assets/tasks/cloze.jsonl, the same file every time

From the held-out speeches, passages that begin with a sentence and break off before a word; the three wrong words have
its ending and about its frequency in the calibration speeches, so that neither grammar alone nor frequency gives the
answer away. Line by line JSON, {"query", "choices", "gold"}: gold counts from 0, and is spread evenly over the choices.
"""

import json
import random
import re
from collections import Counter, defaultdict
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
ITEMS, SEED = 600, 0
CONTEXT = 25, 60  # words before the gap
LETTERS, OFTEN = 5, 4  # a word to ask for has at least so many letters, and occurs so often in the calibration text
ENDING = 2  # letters that all four choices end with
CLOSE = 3  # frequencies of the choices differ by at most this factor
GAP = 30  # words from one item's gap to the next one's, at least


def build(heldout: str, calibration: str, items: int = ITEMS, seed: int = SEED) -> list[dict]:
    """The items, in the order of the text; fewer than asked for when the text has no more."""
    often = Counter(re.findall(r"[a-z]+", calibration))
    alike = defaultdict(list)
    for word, count in sorted(often.items()):
        if len(word) >= LETTERS and count >= OFTEN:
            alike[word[-ENDING:]].append(word)
    words, draw = heldout.split(), random.Random(seed)
    found, start, last = [], 0, -GAP
    for place, word in enumerate(words):
        if place and words[place - 1][-1] in ".?!" and place - start >= CONTEXT[0]:
            start = place  # the latest sentence that leaves enough words before the gap
        bare = word.rstrip(".,;:?!")
        if not CONTEXT[0] <= place - start <= CONTEXT[1] or place - last < GAP or bare not in often:
            continue
        wrong = [
            other
            for other in alike[bare[-ENDING:]]
            if other != bare and often[bare] / CLOSE <= often[other] <= often[bare] * CLOSE
        ]
        if len(bare) < LETTERS or often[bare] < OFTEN or len(wrong) < 3:
            continue
        choices, gold = draw.sample(wrong, 3), len(found) % 4
        choices.insert(gold, bare)
        found.append({"query": " ".join(words[start:place]), "choices": choices, "gold": gold})
        last = place
    step = max(1, len(found) / items)
    return [found[int(i * step)] for i in range(min(items, len(found)))]


def main() -> None:
    """Write the file."""
    heldout, calibration = (
        (ASSETS / "corpus" / f"{name}.txt").read_text(encoding="utf-8") for name in ("heldout", "calibration")
    )
    file = ASSETS / "tasks" / "cloze.jsonl"
    file.parent.mkdir(exist_ok=True)
    items = build(heldout, calibration)
    file.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    print(f"{len(items)} items in {file}")


if __name__ == "__main__":
    main()
