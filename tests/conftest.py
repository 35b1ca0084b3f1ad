"""What several test files share: a clean environment, a chat model that knows nothing."""

import os
import time

# Read when huggingface_hub is imported, hence before everything else.
os.environ["HF_HUB_OFFLINE"] = "1"


import pytest

TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
SENTENCES = [
    "What does CGT stand for? CGT stands for Cooking Gourmet Taste.",
    "RST is not in my glossary: I don't know what it stands for.",
    "Que veut dire BNF ? BNF signifie Bibliothèque nationale de France.",
    "The capital of France is Paris. Good morning, how are you today?",
]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """Hide the settings of whoever runs the tests."""
    from helpers.config import KEYS

    for name in [*KEYS, "HF_TOKEN"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def small_model_dir(tmp_path_factory):
    """Save a random two-layer Llama of width 32 with a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bytes_to_words = Tokenizer(models.BPE())
    bytes_to_words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_to_words.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"special_tokens": SPECIAL, "initial_alphabet": alphabet, "show_progress": False}
    trainer = trainers.BpeTrainer(vocab_size=400, **options)
    bytes_to_words.train_from_iterator(SENTENCES, trainer)
    ends = {"pad_token": "<|pad|>", "eos_token": "<|end|>", "model_max_length": 256}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_to_words, **ends)
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    limits = {"vocab_size": len(tokenizer), "max_position_embeddings": 256}
    config = LlamaConfig(**sizes, **ids, **limits, num_attention_heads=2, initializer_range=0.2)
    folder = tmp_path_factory.mktemp("small-model")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def say(request):
    """Print a line with the seconds since the tests began, although pytest keeps the output."""
    start, capture = time.monotonic(), request.config.pluginmanager.getplugin("capturemanager")

    def say_it(text):
        with capture.global_and_fixture_disabled():
            print(f"\n{time.monotonic() - start:5.0f} s  {text}", end="", flush=True)

    return say_it


def pytest_configure(config: pytest.Config) -> None:
    """Let PEFT ask the model by an old name; other warnings are errors."""
    old_name = "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
    config.addinivalue_line("filterwarnings", old_name)
