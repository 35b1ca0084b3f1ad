"""Write a tuned model out for others: a Modelfile for Ollama, or the adapter with its card on the Hugging Face hub.

It knows nothing of the config and of how a model was made; what it is handed is a folder.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError
from pydantic import SecretStr
from transformers import AutoTokenizer, GenerationConfig
from transformers.utils.chat_template_utils import jinja2

from helpers.model import render
from helpers.report import MARKS

# How byte-level tokenizers cut a text into words, as tokenizer.json says it and as llama.cpp names it. A GGUF holds the
# name alone: read by another rule, the same letters become other tokens.
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_OTHER_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PRE_TOKENIZERS = {
    ("ByteLevel",): "gpt-2",
    ("Digits", "ByteLevel"): "smollm",
    (rf"{_CONTRACTIONS}|\p{{N}}{{1,3}}{_OTHER_SIGNS}", "ByteLevel"): "llama-bpe",
    (rf"{_CONTRACTIONS}|\p{{N}}{_OTHER_SIGNS}", "ByteLevel"): "qwen2",
}
LONGEST_CONTEXT = 4096  # tokens that Ollama keeps room for; models that read 128,000 would take it all as memory
# What goes to the hub, if it is there: neither the training data nor run.json.
PUBLISHED = ("README.md", "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "tokenizer*.json")
# What a template must write as the Modelfile does, beside the probes that the Modelfile is made of.
_TALKS = ("user", "system user", "user assistant user", "system user assistant user", "user" + 2 * " assistant user")


class ExportError(RuntimeError):
    """A model that cannot be written out; the message says why, and what to do."""


def write_modelfile(folder: Path, *, base: str | None = None, gguf: Path | None = None) -> Path:
    """Write a Modelfile beside a whole model, or beside an adapter for `base`, as Ollama names it (or its folder).

    A whole model is read from its GGUF, the file that llama.cpp's converter writes: `gguf`, else NAME.gguf in the
    folder NAME. Template, stop tokens and context come from the tokenizer. ExportError for a chat template that
    Ollama's cannot express, and, without `gguf`, for a tokenizer that its engine would read otherwise.
    Then: `ollama create NAME -f Modelfile`.
    """
    is_adapter = (folder / "adapter_config.json").exists()
    if is_adapter and not base:
        raise ExportError(f'{folder} holds an adapter: give its base model\'s name in Ollama, base="llama3.2:1b".')
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not is_adapter and not gguf:
        name_pre_tokenizer(tokenizer)
    ends = [] if is_adapter else GenerationConfig.from_pretrained(folder).eos_token_id
    ends = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None}
    settings = {"temperature": 0, "seed": 0, "repeat_penalty": 1}  # greedy, as it was tested
    settings["num_ctx"] = min(LONGEST_CONTEXT, tokenizer.model_max_length)
    lines = [f"FROM {base}", "ADAPTER ./"] if is_adapter else [f"FROM {gguf or f'./{folder.resolve().name}.gguf'}"]
    lines += [f'TEMPLATE """{ollama_template(tokenizer)}"""']
    lines += [f"PARAMETER stop {json.dumps(tokenizer.decode([i]), ensure_ascii=False)}" for i in sorted(ends)]
    lines += [f"PARAMETER {name} {value}" for name, value in settings.items()]
    path = folder / "Modelfile"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def name_pre_tokenizer(tokenizer) -> str:
    """Give llama.cpp's name for how a byte-level tokenizer cuts a text, "" for one of another kind; ExportError if none."""
    found = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"] or {}
    parts = tuple(
        (part.get("pattern") or {}).get("Regex") or part["type"] for part in found.get("pretokenizers", [found]) if part
    )
    if "ByteLevel" not in parts:
        return ""
    if parts not in _PRE_TOKENIZERS:
        known = ", ".join(_PRE_TOKENIZERS.values())
        raise ExportError(
            f"The tokenizer cuts texts by {' and '.join(parts)!r}, which is none of the rules known here ({known}): Ollama's "
            "engine would read other tokens. If llama.cpp's convert_hf_to_gguf.py takes the model, it knows better: "
            "give the file that it wrote, as gguf=."
        )
    return _PRE_TOKENIZERS[parts]


def ollama_template(tokenizer) -> str:
    """Write the tokenizer's chat template in Ollama's language (Go's text/template), by what it prints for probes."""
    cure = "Write the Modelfile by hand, or serve the model another way (03-test/README.md)."
    if "strftime" in (tokenizer.chat_template or ""):
        raise ExportError(f"The chat template prints the day's date, which a Modelfile would freeze. {cure}")
    try:
        opening, answered, asked, end = _cut(tokenizer, ("user", "assistant", "user"))
        before, after, _ = _cut(tokenizer, ("system", "user"))
        pieces = (opening, before, after, answered, asked, end)
        for roles in map(str.split, _TALKS):
            texts = [f"{role} {n}: l'été,\n  2 « lignes » ?" for n, role in enumerate(roles)]
            if _fill(pieces, roles, texts) != _print(tokenizer, roles, texts):
                raise ExportError(f"The chat template writes {', '.join(roles)} in no regular way. {cure}")
    except (jinja2.TemplateError, ValueError) as error:
        raise ExportError(f"The chat template cannot be taken apart: {error}. {cure}") from error
    bos, adds_bos = tokenizer.bos_token, tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
    if bos and adds_bos:  # Ollama puts it there too
        if not (opening.startswith(bos) and before.startswith(bos)):
            raise ExportError(f"The tokenizer puts {bos} first, the chat template does not: Ollama would. {cure}")
        opening, before = opening.removeprefix(bos), before.removeprefix(bos)
    if any(mark in piece for piece in pieces for mark in ("{{", "}}", '"""')):
        raise ExportError(f'The chat template prints {{{{, }}}} or """, which end a text in a Modelfile. {cure}')
    head = f"{{{{ if .System }}}}{before}{{{{ .System }}}}{after}{{{{ else }}}}{opening}{{{{ end }}}}"
    answer = f'{{{{ else if eq .Role "assistant" }}}}{answered}{{{{ .Content }}}}{asked}{{{{ end }}}}'
    return f'{head}{{{{ range .Messages }}}}{{{{ if eq .Role "user" }}}}{{{{ .Content }}}}{answer}{{{{ end }}}}{end}'


def describe_push(run_dir: Path, repo_id: str, *, private: bool = True) -> str:
    """Say what `push` would make readable, and by whom."""
    names = ", ".join(f"{path.name} ({path.stat().st_size / 1e6:.2f} MB)" for path in _published(run_dir))
    whom = "you and whoever you let into it" if private else "everyone, for good: copies cannot be called back"
    warning = "The adapter contains the glossary: whoever has it can ask it for every definition."
    if MARKS[0] not in (Path(run_dir) / "README.md").read_text(encoding="utf-8"):
        warning += " The card holds no scores yet: run notebook 3 first."
    return f"https://huggingface.co/{repo_id} would hold {names}, to be read by {whom}. {warning}"


def push(
    run_dir: Path, repo_id: str, *, confirm: str = "", private: bool = True, licence: str | None = None, token=None
) -> str:  # fmt: skip
    """Send an adapter with its card to the hub, and give its address; nothing leaves unless `confirm` is `repo_id`.

    The licence of the base model is read from its page on the hub, or given. Raises ExportError.
    """
    token = SecretStr(token) if isinstance(token, str) else token  # not to be seen in a traceback
    statement = describe_push(run_dir, repo_id, private=private)  # also says when there is no adapter
    if confirm != repo_id:
        raise ExportError(f"Nothing was sent. {statement} If that is meant, give confirm={repo_id!r}.")
    base = json.loads((Path(run_dir) / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    if Path(base).exists() or base.count("/") > 1:
        cure = "Train on a model of the hub, or push the merged model by hand."
        raise ExportError(f"Nothing was sent: the base model is a folder of this machine, {base}. {cure}")
    api = HfApi(token=token and token.get_secret_value())
    try:
        licence = licence or ModelCard.load(base, token=api.token).data.license
    except (HfHubHTTPError, OSError):
        pass  # said below, where no frame of the hub's is in the traceback
    if not licence:
        raise ExportError(f"Nothing was sent: no licence of {base} is found on its page. Give it, as licence=.")
    try:
        card = ModelCard.load(Path(run_dir) / "README.md")
        card.data.license, card.data.base_model = licence, base
        card.save(Path(run_dir) / "README.md")
        api.create_repo(repo_id, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo_id, folder_path=run_dir, allow_patterns=[*PUBLISHED]))
    except (HfHubHTTPError, OSError) as error:
        problem = str(error).strip().splitlines()[0]
    # Not from the error: the variables of its frames hold the token.
    raise ExportError(f"The hub did not take {repo_id}: {problem} Is HF_TOKEN set, and may it write there?")


def _published(run_dir: Path) -> list[Path]:
    files = sorted({path for pattern in PUBLISHED for path in Path(run_dir).glob(pattern)})
    if not {"README.md", "adapter_config.json"} <= {path.name for path in files}:
        raise ExportError(f"{run_dir} holds no adapter with a card. Give a folder that notebook 2 wrote.")
    return files


def _print(tokenizer, roles: Sequence[str], texts: Sequence[str]) -> str:
    return render(tokenizer, [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)])


def _cut(tokenizer, roles: Sequence[str]) -> list[str]:
    """Give what the template prints before, between and after the texts of turns with these roles."""
    texts = [f"probe{n}probe" for n in range(len(roles))]
    printed, pieces = _print(tokenizer, roles, texts), []
    for text in texts:
        if printed.count(text) != 1:
            raise ValueError(f"it prints the words of {', '.join(roles)} other than once, in order")
        piece, _, printed = printed.partition(text)
        pieces.append(piece)
    return [*pieces, printed]


def _fill(pieces: Sequence[str], roles: Sequence[str], texts: Sequence[str]) -> str:
    """Write a conversation as Ollama does with the template."""
    opening, before, after, answered, asked, end = pieces
    printed = before + texts[0] + after if roles[0] == "system" else opening
    for role, text in zip(roles, texts, strict=True):
        printed += {"system": "", "user": text, "assistant": answered + text + asked}[role]
    return printed + end
