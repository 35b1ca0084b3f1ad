#!/usr/bin/env bash
# Builds llama.cpp, the engine inside Ollama, in .venv-llama_cpp (once: about five minutes on two cores, 0.5 GB), and
# runs the test that needs it. It serves on loopback alone, and ends with the test.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
version=0.3.36
home=.venv-llama_cpp

if ! grep -qsx "$version" "$home/installed.txt"; then
    echo "Building llama-cpp-python $version in $home: once, about five minutes."
    python3 -m venv --clear "$home"
    pip=("$home/bin/python" -m pip --disable-pip-version-check)
    # The source package holds llama.cpp itself, with the converter, which no wheel has.
    "${pip[@]}" download --quiet --no-deps --no-binary llama-cpp-python --dest "$home" "llama-cpp-python==$version"
    tar -xzf "$home/llama_cpp_python-$version.tar.gz" -C "$home"
    CMAKE_BUILD_PARALLEL_LEVEL=2 "${pip[@]}" install --quiet "$home/llama_cpp_python-$version.tar.gz[server]"
    # The converter runs in the tutorial's environment, which lacks only this.
    "${pip[@]}" install --quiet --no-deps --target "$home/converter" sentencepiece
    echo "$version" >"$home/installed.txt"
fi
LLAMA_CPP=$PWD/$home/llama_cpp_python-$version/vendor/llama.cpp
export LLAMA_CPP
exec bash 00-set_up/run_tests.sh -m llamacpp tests/test_llama_cpp.py "$@"
