"""The tuned model in llama.cpp, the engine inside Ollama, and its server as an LLM like another.

Only on request, as it takes a llama.cpp of its own: `bash tests/llama_cpp.sh` builds one and runs
this.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from real_servers import OPEN_WEBUI, find_port, open_webui, peak_megabytes, running, sign_up, tune

from helpers import chat, compare, dataset, model, serve
from helpers.acronyms import read_acronyms
from helpers.config import EXAMPLE_DATA, REPOSITORY
from helpers.score import exact_match

pytestmark = pytest.mark.llamacpp
HOME = REPOSITORY / ".venv-llama_cpp"
ANSWER_TOKENS = 48
# Unless a request says otherwise this server punishes whatever the question holds; the Modelfile
# turns that off for Ollama, and this here.
SERVER = """
from llama_cpp.server import types
request = types.CreateChatCompletionRequest
request.model_fields["repeat_penalty"].default = 1.0
request.model_rebuild(force=True)
from llama_cpp.server.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def merged_dir(tmp_path_factory):
    acronyms = read_acronyms(EXAMPLE_DATA / "acronym.json")
    records = dataset.read_dataset(EXAMPLE_DATA / "train_dataset.json")
    return tune(acronyms, records, tmp_path_factory.mktemp("run"))


@contextlib.contextmanager
def served(gguf: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """Serve a GGUF by llama.cpp on loopback; give the address and the process."""
    port = find_port()
    command = [HOME / "bin/python", "-c", SERVER, "--model", gguf]
    command += ["--model_alias", "acronyms", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--n_ctx", "1024", *options]
    url = f"http://127.0.0.1:{port}/v1"
    with running(command, f"{url}/models", gguf.with_suffix(".log")) as process:
        yield url, process


def convert(merged_dir: Path, kind: str) -> Path:
    gguf = merged_dir / f"acronyms-{kind}.gguf"
    command = [sys.executable, "stand_ins/to_gguf.py", os.environ["LLAMA_CPP"], merged_dir]
    path = os.pathsep.join([str(REPOSITORY), str(HOME / "converter")])
    options = {"cwd": REPOSITORY, "env": os.environ | {"PYTHONPATH": path}}
    options |= {"capture_output": True, "text": True}
    done = subprocess.run([*command, "--outfile", gguf, "--outtype", kind], **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return gguf


@pytest.fixture(scope="module")
def exam(merged_dir):
    """Every question of the held-out data with its record, and the loaded model's answers."""
    records = dataset.read_dataset(EXAMPLE_DATA / "eval_dataset.json")
    asked = [(talk[0]["content"], record) for record in records for talk in record["conversation"]]
    whole, tokenizer = model.load_model(str(merged_dir), device=model.pick_device("cpu"))
    questions = [question for question, _ in asked]
    return asked, model.answer(whole, tokenizer, questions, max_new_tokens=ANSWER_TOKENS)


def is_right(answer, record):
    return exact_match(answer, record["definitions"], acronym=record["acronym"])


@pytest.mark.parametrize("kind", ["f32", "q8_0"])
def test_the_engine_answers_as_the_loaded_model_does(merged_dir, exam, say, kind):
    asked, loaded = exam
    with served(convert(merged_dir, kind)) as (url, process):
        llm = chat.Chat(url, None, "acronyms")
        llm.check()
        ask = partial(llm.ask, max_tokens=ANSWER_TOKENS, accept_cut=True)
        answers = compare.in_threads(ask, 2)([question for question, _ in asked])
        megabytes = peak_megabytes(process)
        llm.close()
    same = sum(a == b for a, b in zip(answers, loaded, strict=True))
    _, records = zip(*asked, strict=True)
    right, right_loaded = (sum(map(is_right, texts, records)) for texts in (answers, loaded))
    say(
        f"{kind}: {same} of {len(asked)} answers are the same text; right {right}, "
        f"the loaded model {right_loaded}; {megabytes} MB"
    )
    assert right_loaded >= 0.9 * len(asked)
    if kind == "f32":
        assert same >= 0.99 * len(asked) and right == right_loaded
    assert abs(right - right_loaded) <= 2


@pytest.mark.skipif(not OPEN_WEBUI.exists(), reason="bash tests/open_webui.sh installs it")
def test_an_open_webui_passes_its_answers_on(merged_dir, exam, tmp_path, say):
    asked, loaded = exam
    with (
        served(convert(merged_dir, "f32")) as (upstream_url, _),
        open_webui(upstream_url, "none", tmp_path) as (_, url),
    ):
        llm = chat.Chat(url, sign_up(url)[0], "acronyms")
        assert "acronyms is one of them" in llm.check()
        ask = partial(llm.ask, max_tokens=ANSWER_TOKENS, accept_cut=True)
        answers = compare.in_threads(ask, 2)([question for question, _ in asked])
        llm.close()
    same = sum(a == b for a, b in zip(answers, loaded, strict=True))
    say(f"through Open WebUI: {same} of {len(asked)} answers are the same text")
    assert same >= 0.99 * len(asked)


def test_the_modelfile_names_the_file_that_was_converted(merged_dir):
    text = serve.write_modelfile(merged_dir).read_text(encoding="utf-8")
    assert text.startswith("FROM ./acronyms.gguf\n")


def test_its_server_is_an_llm_like_another(merged_dir, say):
    """What stage 1 needs of a server: models, keys, errors that say what to do."""
    gguf, key = convert(merged_dir, "f32"), "a-key-of-these-tests-alone"
    with served(gguf, "--api_key", key) as (url, _):
        llm = chat.Chat(url, key, "acronyms")
        assert "acronyms is one of them" in llm.check()
        with pytest.raises(chat.ChatError, match="OWUI_TOKEN") as refused:
            chat.Chat(url, "another-key-than-that", "acronyms", attempts=1).ask("What is ZMW?")
        assert refused.value.status == 401 and key not in str(refused.value)
        with pytest.raises(chat.ChatError, match="no model 'acronym'. Nearest: acronyms"):
            chat.Chat(url, key, "acronym").check()
        with pytest.raises(chat.ChatError, match="cut after max_tokens = 3"):
            llm.ask("What is ZMW?", max_tokens=3)
        with pytest.raises(chat.ChatError, match="1024") as too_long:
            llm.ask("What is ZMW? " * 500)
        assert not too_long.value.may_pass
        # It refuses a schema, with a 500: asked again without, and not sent again.
        plain = llm.ask("What does ZMW stand for?", max_tokens=ANSWER_TOKENS)
        schema = {"type": "object", "properties": {"verdict": {"enum": ["right", "wrong"]}}}
        assert llm.ask("What does ZMW stand for?", max_tokens=ANSWER_TOKENS, schema=schema) == plain
        llm.close()
    say(f"as an LLM: models, key, cut, too long, schema; {plain!r}\n")
