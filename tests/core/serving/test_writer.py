"""A model that answers: as greedy decoding writes, the same for a seed, BOS once, and conversations that go on."""

import itertools

import pytest
from bos_model import WORD
from chat_model import BODY, TEMPLATE, make_chat_model

from eggs_core.errors import EggsError
from eggs_core.models.loading import load
from eggs_core.serving.conversation import Conversation
from eggs_core.serving.settings import Settings
from eggs_core.serving.writer import PromptTooLong, Writer
from eggs_core.speed.generation import greedy, sample

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPT = "My fellow citizens, the state of the"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def writer(bundled):
    """Make a writer of a bundled model."""

    def make(name: str = "tiny-llama") -> Writer:
        return Writer(name, "dense", bundled(name).model, bundled(name).tokenizer)

    return make


@pytest.fixture(scope="module")
def chatting(tmp_path_factory):
    """A loaded model with a chat template."""
    return load(str(make_chat_model(tmp_path_factory.mktemp("chat") / "model")))


@pytest.fixture
def chatter(chatting):
    return Writer("chatter", "dense", chatting.model, chatting.tokenizer)


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-opt"])
def test_an_answer_is_what_greedy_and_sample_write(writer, name):
    one = writer(name)
    prompt = one.continued(PROMPT)
    for settings, tokens in (
        (Settings(30, 0), (token for token, _ in greedy(one.model, prompt))),
        (Settings(30, 0.8, seed=5), sample(one.model, prompt, 0.8, 5)),
    ):
        answer = one.answer(prompt, settings)
        text = "".join(answer)
        expected = list(itertools.islice(tokens, 30))
        if 0 in expected:  # the end of a text
            expected = expected[: expected.index(0) + 1]
        assert text == one.tokenizer.decode(expected, skip_special_tokens=True)
        assert answer.tokens == len(expected) and answer.finish == ("stop" if expected[-1] == 0 else "length")
        assert answer.rate > 0 and answer.first_seconds > 0
    assert one.path == ("native step" if name == "tiny-llama" else "transformers (OPTForCausalLM is not covered)")


def test_seeds(writer):
    one = writer()
    prompt = one.continued(PROMPT)
    texts = ["".join(one.answer(prompt, Settings(20, 1.0, 0.9, seed), anew=True)) for seed in (1, 1, 2, None, None)]
    assert texts[0] == texts[1] and len(set(texts)) == 4


def test_the_model_ends_its_answer_itself(writer, monkeypatch):
    one = writer()
    prompt = one.continued(PROMPT)
    first = [token for token, _ in itertools.islice(greedy(one.model, prompt), 3)]
    one.ends = frozenset({first[2]})
    answer = one.answer(prompt, Settings(30, 0))
    assert "".join(answer) == one.tokenizer.decode(first[:2])
    assert (answer.finish, answer.tokens) == ("stop", 3)


def test_a_stop_sequence_ends_an_answer(writer):
    one = writer()
    whole = "".join(one.answer(one.continued(PROMPT), Settings(30, 0)))
    answer = one.answer(one.continued(PROMPT), Settings(30, 0, stop=(whole[20:26],)))
    assert "".join(answer) == whole[: whole.index(whole[20:26])] and answer.finish == "stop"


def test_prompts_are_bounded(writer):
    one = writer()
    with pytest.raises(EggsError, match="is empty"):
        one.continued("")
    with pytest.raises(EggsError, match=r"no token 4096; its tokens are 0 to 4,095"):
        one.tokens([1, 4096])
    prompt = one.tokens([1] * 250)
    assert one.room(prompt) == 6
    answer = one.answer(prompt, Settings(temperature=0))
    list(answer)
    assert answer.tokens <= 6
    with pytest.raises(PromptTooLong, match="at most 256 tokens, and 257 were asked for: 250 of the prompt and 7"):
        one.answer(prompt, Settings(7))
    with pytest.raises(PromptTooLong):
        one.answer(one.tokens([1] * 256), Settings())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"temperature": -0.1}, "temperature must lie"),
        ({"temperature": float("nan")}, "temperature must lie"),
        ({"top_p": 0.0}, "top_p must lie"),
        ({"top_p": float("nan")}, "top_p must lie"),
        ({"seed": 2**63}, "seed must be"),
        ({"stop": ("",)}, "stop sequence has"),
    ],
)
def test_settings_out_of_range_are_one_sentence(settings, said):
    with pytest.raises(EggsError, match=said):
        Settings(**settings)


@pytest.mark.parametrize("template", [TEMPLATE, BODY])
def test_bos_stands_once_whether_the_template_writes_it_or_not(tmp_path, template):
    loaded = load(str(make_chat_model(tmp_path / "model", template)))
    prompt = Writer("x", "dense", loaded.model, loaded.tokenizer).asked(HELLO)
    assert loaded.tokenizer.decode(prompt[0]) == f"{WORD}[user] Hello\n[assistant]"
    assert prompt[0].tolist().count(0) == 1


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('no system role') }}", r"cannot write this conversation \(no system role\)"),
        ("{{ messages.__class__.__mro__[1].__subclasses__() }}", "is unsafe"),
        ("{% for i in range(10000000) %}x{% endfor %}", "Range too big"),
        ("{{ messages[99].content }}", "cannot write this conversation"),
        ("{% if %}", "cannot write this conversation"),
    ],
)
def test_a_template_that_fails_is_one_sentence(chatting, template, said, monkeypatch):
    monkeypatch.setattr(chatting.tokenizer, "chat_template", template)
    with pytest.raises(EggsError, match=said):
        Writer("x", "dense", chatting.model, chatting.tokenizer).asked(HELLO)


def test_a_model_without_a_template_says_so(writer):
    assert not writer().chats
    with pytest.raises(EggsError, match="no chat template"):
        writer().asked(HELLO)
    with pytest.raises(EggsError, match="takes no system prompt"):
        Conversation(writer(), "Be kind.")


def test_a_conversation_reads_only_what_is_new(chatter):
    talk, alone = Conversation(chatter, "Be kind."), Writer("x", "dense", chatter.model, chatter.tokenizer)
    settings, said = Settings(12, 0), [{"role": "system", "content": "Be kind."}]
    for number, line in enumerate(["Who are you?", "And what do you do?", "Why?"]):
        answer = talk.ask(line, settings)
        text = "".join(answer)
        talk.add(line, text)
        said += [{"role": "user", "content": line}]
        assert text == "".join(alone.answer(alone.asked(said), settings, anew=True))
        assert (answer.known > 20) == (number > 0), "the second turn goes on from the first"
        said += [{"role": "assistant", "content": text}]
    talk.forget()
    answer = talk.ask("Who are you?", settings)
    "".join(answer)
    assert answer.prompt_tokens < 30


def test_the_oldest_turns_go_when_the_model_reads_no_more(writer):
    talk, settings, seen = Conversation(writer()), Settings(100, 0.9, seed=3), []
    for number in range(4):
        answer = talk.ask(f"And now, number {number}:", settings)
        text = "".join(answer)
        talk.add("And now:", text)
        seen.append(talk.left_out)
        assert answer.prompt_tokens + answer.tokens <= 256
    assert not seen[0] and any(seen)
    with pytest.raises(PromptTooLong, match="at most 256"):
        talk.ask("word " * 300, settings)


def test_turns_draw_with_different_seeds_and_the_same_after_a_reset(writer):
    talk, settings = Conversation(writer()), Settings(8, 1.0, seed=3)
    texts = []
    for _ in range(2):
        for _ in range(2):
            texts.append("".join(talk.ask(PROMPT, settings)))
            talk.add(PROMPT, texts[-1])
        talk.forget()
    assert texts[:2] == texts[2:]
