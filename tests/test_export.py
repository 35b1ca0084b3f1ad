"""What a model is written out as: Ollama's template says what the chat template says; the hub gets what was agreed."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trl
from json_handler import JsonHandler
from transformers import AutoTokenizer

from helpers import export
from helpers.config import REPOSITORY
from helpers.model import render
from helpers.report import add_scores

TINY_CHAT = REPOSITORY / "stand_ins/tiny-chat"
FAMILIES = Path(trl.__file__).parent / "chat_templates"
TALK = [("system", "Be brief."), ("user", "What is CNU?"), ("assistant", "A council."), ("user", "And « ZMW » ?\n1")]


def go(template: str, turns: list[tuple[str, str]]) -> str:
    """Carry out the few actions of Go's text/template that `ollama_template` writes."""
    system = next((text for role, text in turns if role == "system"), "")
    form = re.fullmatch(
        r"\{\{ if \.System \}\}(.*)\{\{ else \}\}(.*)\{\{ end \}\}\{\{ range \.Messages \}\}"
        r'\{\{ if eq \.Role "user" \}\}(.*)\{\{ else if eq \.Role "assistant" \}\}(.*)\{\{ end \}\}\{\{ end \}\}(.*)',
        template,
        re.DOTALL,
    )
    with_system, without, user, assistant, end = form.groups()
    printed = with_system.replace("{{ .System }}", system) if system else without
    for role, text in turns:
        printed += {"user": user, "assistant": assistant, "system": ""}[role].replace("{{ .Content }}", text)
    return printed + end


@pytest.fixture
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY_CHAT)


@pytest.mark.parametrize("turns", [TALK, TALK[1:], TALK[:2], TALK[1:2]])
@pytest.mark.parametrize("family", [None, "qwen2_5", "qwen3", "gemma3", "phi3", "llama3_1", "cohere", "smollm2"])
def test_ollama_s_template_prints_what_the_chat_template_prints(tokenizer, family, turns) -> None:
    if family:
        path = FAMILIES / f"{family}.jinja"
        path = path if path.exists() else REPOSITORY / f"tests/chat_templates/{family}.jinja"
        tokenizer.chat_template = path.read_text(encoding="utf-8")
    wanted = render(tokenizer, [{"role": role, "content": text} for role, text in turns])
    assert go(export.ollama_template(tokenizer), turns) == wanted


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("smollm3", "day's date"),
        ("mistral_7b_v0.3", "system, user, assistant, user in no regular way"),
        ("{{ raise_exception('no system here') }}", "taken apart: no system here"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "other than once"),
        ("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "other than once"),
        ("{% for m in messages %}{{ '{{' + m.content }}{% endfor %}", "end a text in a Modelfile"),
        ("{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}", "no regular way"),
    ],
)
def test_a_template_that_ollama_cannot_express_is_refused(tokenizer, template, reason) -> None:
    path = REPOSITORY / f"tests/chat_templates/{template}.jinja"
    tokenizer.chat_template = path.read_text(encoding="utf-8") if path.exists() else template
    with pytest.raises(export.ExportError, match=re.escape(reason)):
        export.ollama_template(tokenizer)


@pytest.mark.parametrize("in_template", [True, False])
def test_the_token_that_ollama_puts_first_is_not_printed_twice(tokenizer, in_template) -> None:
    from tokenizers.processors import TemplateProcessing

    first = "<|pad|>" if "<|pad|>" in tokenizer.get_vocab() else tokenizer.eos_token
    tokenizer.bos_token = first
    special = [(first, tokenizer.bos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{first} $A", special_tokens=special)
    plain = tokenizer.chat_template
    tokenizer.chat_template = "{{ bos_token }}" * in_template + plain
    if not in_template:
        with pytest.raises(export.ExportError, match="Ollama would"):
            export.ollama_template(tokenizer)
        return
    template = export.ollama_template(tokenizer)
    assert first + go(template, TALK) == render(tokenizer, [{"role": r, "content": t} for r, t in TALK])


def test_the_modelfile_of_a_whole_model(tmp_path: Path) -> None:
    folder = shutil.copytree(TINY_CHAT, tmp_path / "merged")
    text = export.write_modelfile(folder).read_text(encoding="utf-8")
    assert text.startswith('FROM ./merged.gguf\nTEMPLATE """{{ if .System }}<|system|>') and "ADAPTER" not in text
    assert 'PARAMETER stop "<|end|>"\n' in text and "PARAMETER temperature 0\n" in text
    assert "PARAMETER num_ctx 1024\n" in text and "PARAMETER repeat_penalty 1\n" in text


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ([{"type": "ByteLevel"}], "gpt-2"),
        ([{"type": "Metaspace"}], ""),
        ([{"type": "Split", "pattern": {"Regex": r"\p{Lu}(?!\p{Ll})|\p{N}"}}, {"type": "ByteLevel"}], None),
        ([{"type": "Digits"}, {"type": "Punctuation"}, {"type": "ByteLevel"}], None),
    ],
)
def test_a_tokenizer_that_ollama_s_engine_would_read_otherwise_is_refused(tmp_path: Path, parts, name) -> None:
    defaults = {
        "ByteLevel": {"add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "Metaspace": {"replacement": "▁", "prepend_scheme": "always", "split": True},
        "Split": {"behavior": "Isolated", "invert": False},
        "Digits": {"individual_digits": True},
        "Punctuation": {"behavior": "Isolated"},
    }
    folder = shutil.copytree(TINY_CHAT, tmp_path / "merged")
    written = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    written["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [defaults[p["type"]] | p for p in parts]}
    (folder / "tokenizer.json").write_text(json.dumps(written), encoding="utf-8")
    if name is None:
        with pytest.raises(export.ExportError, match="other tokens.*gguf="):
            export.write_modelfile(folder)
        text = export.write_modelfile(folder, gguf=Path("./mine.gguf")).read_text(encoding="utf-8")
        assert text.startswith("FROM mine.gguf\n")
    else:
        assert export.name_pre_tokenizer(AutoTokenizer.from_pretrained(folder)) == name
        assert export.write_modelfile(folder).read_text(encoding="utf-8").startswith("FROM ./merged.gguf\n")


def test_tiny_chat_is_read_as_smollm_is() -> None:
    assert export.name_pre_tokenizer(AutoTokenizer.from_pretrained(TINY_CHAT)) == "smollm"


@pytest.fixture
def adapter_dir(tmp_path: Path) -> Path:
    """A folder with the files that training leaves, of an adapter for a model of the hub."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TINY_CHAT / name, folder / name)
    config = {"base_model_name_or_path": "org/base", "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "run.json").write_text("{}", encoding="utf-8")
    shutil.copytree(TINY_CHAT, folder / "acronyms")  # the merged model
    (folder / "README.md").write_text("---\nlibrary_name: peft\n---\n# Acronyms\n", encoding="utf-8")
    return folder


def test_the_modelfile_of_an_adapter_names_its_base(adapter_dir: Path) -> None:
    text = export.write_modelfile(adapter_dir, base="llama3.2:1b").read_text(encoding="utf-8")
    assert text.startswith('FROM llama3.2:1b\nADAPTER ./\nTEMPLATE """') and 'PARAMETER stop "<|end|>"' in text
    with pytest.raises(export.ExportError, match="base model's name"):
        export.write_modelfile(adapter_dir)


def test_what_a_push_would_show_is_said(adapter_dir: Path) -> None:
    said = export.describe_push(adapter_dir, "me/acronyms", private=False)
    assert "contains the glossary" in said and "everyone" in said and "no scores yet" in said
    assert "adapter_model.safetensors" in said and "run.json" not in said
    row = {"measure": "recall", "correct": 9, "total": 10, "interval": (0.6, 0.98)}
    add_scores(adapter_dir / "README.md", [row], "A note.")
    said = export.describe_push(adapter_dir, "me/acronyms")
    assert "you and whoever you let into it" in said and "no scores yet" not in said
    with pytest.raises(export.ExportError, match="no adapter with a card"):
        export.describe_push(TINY_CHAT, "me/acronyms")


PUSH = """
import json, sys
from helpers import export
for folder, repo_id, options in json.loads(sys.argv[1]):
    try:
        print(export.push(folder, repo_id, token="hf_" + 24 * "x", **options))
    except export.ExportError as error:
        print("ExportError", str(error))
"""


class Hub(JsonHandler):
    """As much of the hub as a push meets; keeps what it is sent."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send(404, {"error": "not here"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.asked.append(self.path)
        if self.path == "/api/repos/create":
            self.server.created.append(json.loads(data))
            status = 403 if self.server.created[-1]["name"] == "refused" else 200
            return self.send(status, {"url": f"http://{self.headers['Host']}/me/acronyms", "error": "no"})
        if "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(data)["files"]
            ]
            return self.send(200, {"files": files})
        if "/commit/" in self.path:
            self.server.sent += [json.loads(line) for line in data.splitlines() if line.strip()]
            url = f"http://{self.headers['Host']}/me/acronyms/commit/abc"
            return self.send(200, {"commitUrl": url, "commitOid": "abc", "success": True})
        return self.send(200, {})


@pytest.fixture
def hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked, server.sent, server.created = [], [], []
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def push(hub, *calls: tuple[Path, str, dict]) -> list[str]:
    """Push in a process of its own, as the hub's address is read when its library is imported."""
    ours = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    ours |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1", "HF_HOME": str(calls[0][0].parent / "hf")}
    command = [sys.executable, "-c", PUSH, json.dumps(calls, default=str)]
    options = {"capture_output": True, "text": True, "cwd": REPOSITORY, "env": os.environ | ours}
    done = subprocess.run(command, **options)
    assert done.returncode == 0 and "hf_xxx" not in done.stdout + done.stderr, done.stderr
    return done.stdout.splitlines()


def test_nothing_is_sent_without_confirmation_licence_and_a_base_that_others_have(hub, adapter_dir: Path) -> None:
    own = shutil.copytree(adapter_dir, adapter_dir.with_name("own"))
    (own / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(TINY_CHAT)}), encoding="utf-8")
    licence, confirm = {"licence": "mit"}, {"confirm": "me/acronyms"}
    wrong = [licence, licence | {"confirm": "yes"}, licence | {"confirm": "me/acronym"}]
    calls = [(adapter_dir, "me/acronyms", options) for options in (*wrong, confirm)]
    *unconfirmed, unlicensed, unloadable = push(hub, *calls, (own, "me/acronyms", licence | confirm))
    assert all(said.startswith("ExportError Nothing was sent. ") for said in unconfirmed) and len(unconfirmed) == 3
    assert all("contains the glossary" in said and "confirm='me/acronyms'" in said for said in unconfirmed)
    assert unlicensed.startswith("ExportError Nothing was sent: no licence of org/base")
    assert "a folder of this machine" in unloadable
    assert not hub.created and not hub.sent


def test_a_confirmed_push_sends_the_adapter_its_card_and_nothing_else(hub, adapter_dir: Path) -> None:
    options = {"licence": "apache-2.0", "confirm": "me/acronyms"}
    refused = (adapter_dir, "me/refused", options | {"confirm": "me/refused"})
    done, said = push(hub, (adapter_dir, "me/acronyms", options), refused)
    assert "me/acronyms" in done and hub.created[0]["visibility"] == "private"
    sent = {line["value"]["path"] for line in hub.sent if line["key"] == "file"}
    tokenizer = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert sent == {"README.md", "adapter_config.json", "adapter_model.safetensors"} | tokenizer
    card = (adapter_dir / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card and "base_model: org/base" in card and "# Acronyms" in card
    assert said.startswith("ExportError The hub did not take me/refused: ") and "may it write there?" in said
