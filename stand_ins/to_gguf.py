"""Convert a model made from tiny-chat into GGUF, the file that llama.cpp, Ollama's engine, reads.

    python stand_ins/to_gguf.py LLAMA_CPP MODEL_DIR --outfile MODEL.gguf --outtype f32

LLAMA_CPP is a folder with llama.cpp's source. Its own convert_hf_to_gguf.py, which does the work
here, recognises a tokenizer by its vocabulary, and so only the well-known ones; of tiny-chat's it
has to be told which pre-tokenizer it has. For a model of the hub use convert_hf_to_gguf.py itself.
It needs sentencepiece.
"""

import sys
from importlib import import_module
from pathlib import Path

from transformers import AutoTokenizer

from helpers.serve import name_pre_tokenizer


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    llama_cpp, model_dir, *options = sys.argv[1:]
    if not (Path(llama_cpp) / "convert_hf_to_gguf.py").exists():
        sys.exit(
            f"{llama_cpp} holds no convert_hf_to_gguf.py. Give the folder of llama.cpp's source."
        )
    name = name_pre_tokenizer(AutoTokenizer.from_pretrained(model_dir))
    sys.path.insert(0, llama_cpp)
    converter, base = map(import_module, ("convert_hf_to_gguf", "conversion.base"))
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: name
    sys.argv = ["convert_hf_to_gguf.py", model_dir, *options]
    converter.main()


if __name__ == "__main__":
    main()
