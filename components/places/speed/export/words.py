"""What can be downloaded, and how it is used elsewhere."""

from components.words.html import hint

# What a button says, by what it writes.
BUTTONS = {
    "packed": "Packed file",
    "packed-folder": "Packed folder",
    "hf": "Hugging Face",
    "gguf": "GGUF F16",
    "gguf-q8_0": "GGUF Q8_0",
    "masks": "Masks",
}
USES = hint(
    "The packed folder opens with <code>import eggs_core</code> and "
    '<code>AutoModelForCausalLM.from_pretrained("folder")</code>, the file with <code>eggs_core.load_packed</code>. '
    "GGUF is for Ollama, LM Studio and llama.cpp; it is no smaller than the dense model's, as zeros are stored."
)
