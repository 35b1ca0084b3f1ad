"""A served model answers as the loaded one, is listed once, and its Modelfile says the same."""

import json
import re
import shutil
import socket
from functools import partial
from pathlib import Path

import pytest
import trl
from json_server import JsonServer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from helpers import chat, compare, model, serve
from helpers.config import REPOSITORY
from stand_ins.practice_server import PracticeServer

OTHER_KEY = "sk-" + "another-connection-s-key"
OTHERS = {
    "OPENAI_API_BASE_URLS": ["https://llm.example.org/v1"],
    "OPENAI_API_KEYS": [OTHER_KEY],
    "OPENAI_API_CONFIGS": {"0": {"enable": True, "model_ids": ["big"]}},
}
TINY_CHAT = REPOSITORY / "stand_ins/tiny-chat"

# ---------------------------------------------------------------------------------------- list


@pytest.fixture
def url():
    """A model server that lists no model, as `transformers serve` does with a local folder."""
    with JsonServer(lambda request: (200, {"data": []})) as server:
        yield f"{server.url}/v1"


@pytest.fixture
def server():
    with PracticeServer() as running:
        running.connections |= json.loads(json.dumps(OTHERS))
        yield running


@pytest.fixture
def admin(server):
    return chat.Chat(server.url, server.token)


def test_a_model_is_added_to_the_others_and_once(server, admin, url):
    said = serve.register(admin, url + "/", "acronyms", everyone=False, key="sk-of-ours")
    assert said.startswith(f"{server.url} lists acronyms, served at {url}: administrators alone")
    wanted = {
        "ENABLE_OPENAI_API": True,
        "OPENAI_API_BASE_URLS": ["https://llm.example.org/v1", url],
        "OPENAI_API_KEYS": [OTHER_KEY, "sk-of-ours"],
        "OPENAI_API_CONFIGS": OTHERS["OPENAI_API_CONFIGS"]
        | {"1": {"enable": True, "model_ids": ["acronyms"]}},
    }
    assert server.connections == wanted
    again = serve.register(admin, url, "acronyms", everyone=True, key="sk-of-ours")
    assert "stays as it was" in again and server.connections == wanted
    serve.register(admin, url, "more", everyone=True, key="sk-of-ours")
    assert server.connections["OPENAI_API_CONFIGS"]["1"]["model_ids"] == ["acronyms", "more"]
    seen = chat.Chat(server.url, server.learner_token).models()
    assert "more" in seen and "acronyms" not in seen, "what is not everyone's is not shown"


def test_a_learner_s_key_is_told_what_to_ask_for(server, url):
    learner = chat.Chat(server.url, server.learner_token)
    with pytest.raises(serve.ServeError, match="Nothing was changed.*administrator") as refused:
        serve.register(learner, url, "acronyms", everyone=True)
    assert url in str(refused.value) and not server.entries
    assert server.connections["OPENAI_API_BASE_URLS"] == OTHERS["OPENAI_API_BASE_URLS"]


@pytest.mark.parametrize("name", ["big", "practice-judge"])
def test_another_server_s_model_is_never_taken(server, admin, url, name):
    serve.register(admin, url, "acronyms", everyone=True)  # which is no leave to take the name
    before = json.dumps(server.connections)
    with pytest.raises(serve.ServeError, match=f"another model '{name}'"):
        serve.register(admin, url, name, everyone=True)
    assert json.dumps(server.connections) == before and name not in server.entries


def test_an_address_where_nobody_answers_is_not_listed(server, admin, monkeypatch):
    monkeypatch.setattr(chat, "LONGEST_PAUSE", 0)
    with pytest.raises(serve.ServeError, match="Nothing was changed: no model server answers"):
        serve.register(admin, "http://127.0.0.1:9/v1", "acronyms", everyone=True)
    assert not server.entries


def test_a_far_server_is_not_given_an_address_of_this_machine(server, url, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    far = chat.Chat(f"http://0.0.0.0:{server.port}/api", server.token)
    with pytest.raises(serve.ServeError, match="an address of this machine"):
        serve.register(far, url, "acronyms", everyone=True)
    there = "http://host.docker.internal:8000/v1"
    said = serve.register(far, url, "acronyms", everyone=True, url_there=there)
    assert there in said and there in server.connections["OPENAI_API_BASE_URLS"]


@pytest.mark.parametrize("configs", [{}, None])
def test_no_key_is_in_a_message(configs, url):
    """An Open WebUI that repeats what it is sent, keys too, in an error; or is of another kind."""

    def reply(request):
        if request["body"]:
            return 422, {"detail": [{"input": request["body"]["OPENAI_API_KEYS"]}]}
        config = {"OPENAI_API_BASE_URLS": ["https://a.example.org"], "OPENAI_API_KEYS": [OTHER_KEY]}
        config["OPENAI_API_CONFIGS"] = configs
        return 200, {"data": []} if request["path"].endswith("/models") else config

    with JsonServer(reply) as hostile:
        talk = chat.Chat(hostile.url, "sk-" + "administrator-s-key")
        with pytest.raises((chat.ChatError, serve.ServeError)) as caught:
            serve.register(talk, url, "acronyms", everyone=True, key="sk-" + "our-own-server-s-key")
    assert not re.search("another-connection|our-own|administrator-s-key", str(caught.value))


# --------------------------------------------------------------------------------------- serve


@pytest.fixture(scope="module")
def served(small_model_dir):
    with serve.ModelServer(small_model_dir, device="cpu") as running:
        yield running


@pytest.mark.long
def test_the_served_model_answers_as_the_loaded_one(served, server, admin, small_model_dir):
    whole, tokenizer = model.load_model(str(small_model_dir), device=model.pick_device("cpu"))
    questions = ["What does CGT stand for?", "Que veut dire BNF ?", "Hello"]
    wanted = model.answer(whole, tokenizer, questions, max_new_tokens=12)
    options = {"max_tokens": 12, "accept_cut": True, "accept_empty": True}
    direct = chat.Chat(served.url, None, served.name)
    ask_many = compare.in_threads(partial(direct.ask, **options), 6)
    assert ask_many(questions * 2) == wanted * 2
    serve.register(admin, served.url, served.name, everyone=True)
    admin.model = served.name
    assert [admin.ask(question, **options) for question in questions] == wanted


@pytest.mark.long
def test_what_cannot_be_served_says_why(tmp_path):
    with pytest.raises(serve.ServeError, match="holds no whole model. Make one"):
        serve.ModelServer(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "no such type"}', encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(serve.ServeError, match="Port .*in use"):
            serve.ModelServer(tmp_path, port=taken.getsockname()[1])
    with pytest.raises(serve.ServeError, match="transformers serve says:\n(?s:.)*Error"):
        serve.ModelServer(tmp_path, device="cpu")


# ----------------------------------------------------------------------------------- write out

FAMILIES = Path(trl.__file__).parent / "chat_templates"
TALK = [
    ("system", "Be brief."),
    ("user", "What is CNU?"),
    ("assistant", "A council."),
    ("user", "And « ZMW » ?\n1"),
]


FORM = re.compile(
    r"\{\{ if \.System \}\}(.*)\{\{ else \}\}(.*)\{\{ end \}\}\{\{ range \.Messages \}\}"
    r'\{\{ if eq \.Role "user" \}\}(.*)\{\{ else if eq \.Role "assistant" \}\}(.*)'
    r"\{\{ end \}\}\{\{ end \}\}(.*)",
    re.DOTALL,
)


def go(template: str, turns: list[tuple[str, str]]) -> str:
    """Carry out the few actions of Go's text/template that `ollama_template` writes."""
    with_system, without, user, assistant, end = FORM.fullmatch(template).groups()
    system = dict(turns).get("system")
    printed = with_system.replace("{{ .System }}", system) if system else without
    for role, text in turns:
        action = {"user": user, "assistant": assistant, "system": ""}[role]
        printed += action.replace("{{ .Content }}", text)
    return printed + end


def read_template(name: str) -> str:
    own = REPOSITORY / f"tests/chat_templates/{name}.jinja"
    path = own if own.exists() else FAMILIES / f"{name}.jinja"
    return path.read_text(encoding="utf-8") if path.exists() else name


@pytest.fixture
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY_CHAT)


@pytest.mark.parametrize("turns", [TALK, TALK[1:2]])
@pytest.mark.parametrize("family", [None, "qwen3", "gemma3", "phi3", "llama3_1", "smollm2"])
def test_ollama_s_template_prints_what_the_chat_template_prints(tokenizer, family, turns):
    if family:
        tokenizer.chat_template = read_template(family)
    wanted = model.render(tokenizer, [{"role": role, "content": text} for role, text in turns])
    assert go(serve.ollama_template(tokenizer), turns) == wanted


@pytest.mark.parametrize(
    "template",
    [
        "smollm3",  # prints the day's date
        "mistral_7b_v0.3",
        "{{ raise_exception('no system here') }}",
        "{% for m in messages %}{{ m.content }}{% endfor %}{{ messages | length }}",
    ],
)
def test_a_template_that_ollama_cannot_express_is_refused(tokenizer, template):
    tokenizer.chat_template = read_template(template)
    with pytest.raises(serve.ServeError, match="chat template"):
        serve.ollama_template(tokenizer)


def test_the_modelfile_names_weights_template_stops_and_context(tmp_path):
    folder = shutil.copytree(TINY_CHAT, tmp_path / "merged")
    text = serve.write_modelfile(folder).read_text(encoding="utf-8")
    assert text.startswith('FROM ./merged.gguf\nTEMPLATE """{{ if .System }}<|system|>')
    for parameter in ('stop "<|end|>"', "temperature 0", "repeat_penalty 1", "num_ctx 1024"):
        assert f"PARAMETER {parameter}\n" in text


def test_the_token_that_ollama_puts_first_is_not_printed_twice(tokenizer):
    first = tokenizer.bos_token = "<|pad|>"
    special = [(first, tokenizer.bos_token_id)]
    processor = TemplateProcessing(single=f"{first} $A", special_tokens=special)
    tokenizer.backend_tokenizer.post_processor = processor
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    turns = [{"role": role, "content": text} for role, text in TALK]
    assert first + go(serve.ollama_template(tokenizer), TALK) == model.render(tokenizer, turns)


PARTS = {
    "ByteLevel": {"add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "Split": {"behavior": "Isolated", "invert": False, "pattern": {"Regex": r"\p{Lu}|\p{N}"}},
    "Digits": {"individual_digits": True},
}


@pytest.mark.parametrize(
    ("parts", "name"),
    [(["ByteLevel"], "gpt-2"), (["Digits", "ByteLevel"], "smollm"), (["Split", "ByteLevel"], None)],
)
def test_a_tokenizer_that_ollama_s_engine_would_read_otherwise_is_refused(tmp_path, parts, name):
    folder = shutil.copytree(TINY_CHAT, tmp_path / "merged")
    written = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    steps = [{"type": part} | PARTS[part] for part in parts]
    written["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    (folder / "tokenizer.json").write_text(json.dumps(written), encoding="utf-8")
    if name is not None:
        assert serve.name_pre_tokenizer(AutoTokenizer.from_pretrained(folder)) == name
        return
    with pytest.raises(serve.ServeError, match="other tokens.*gguf="):
        serve.write_modelfile(folder)
    text = serve.write_modelfile(folder, gguf=Path("./mine.gguf")).read_text(encoding="utf-8")
    assert text.startswith("FROM mine.gguf\n")
