"""A tiny model with a chat template and room for a long conversation."""

import json
from pathlib import Path

from bos_model import make_bos_model

SAID = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
BODY = SAID + "{% if add_generation_prompt %}[assistant]{% endif %}"
TEMPLATE = "{{ bos_token }}" + BODY
POSITIONS = 4096


def make_chat_model(folder: Path, template: str = TEMPLATE) -> Path:
    """A copy of tiny-llama whose tokenizer puts BOS before a text, with a chat template; it reads POSITIONS tokens."""
    make_bos_model(folder)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": POSITIONS}))
    return folder
