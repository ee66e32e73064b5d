"""A model in ONNX as transformers.js reads it: `onnx_export.py IN OUT`, from a Hugging Face directory.

ONNX Runtime's own builder writes it, with one fused operator for attention, its keys and values and RoPE. Weights stay in f32."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx

# The name that transformers.js asks for.
DATA = "model.onnx_data"


def main(source, out):
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        built = Path(scratch) / "built"
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", source, "-o", built, "-p", "fp32", "-e", "cpu"]
        subprocess.run([*command, "-c", Path(scratch) / "cache"], check=True)
        model = onnx.load(built / "model.onnx", load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = DATA
        # transformers.js begins with empty keys and values, and takes a width that has a name for 0.
        head_dim = json.loads((source / "config.json").read_text())["head_dim"]
        for value in [*model.graph.input, *model.graph.output]:
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param == "kv_cache_dim":
                    dim.dim_value = head_dim
        onnx.save(model, out / "model.onnx")
        (built / "model.onnx.data").rename(out / DATA)
    for name in ("config.json", "generation_config.json"):
        shutil.copy(source / name, out / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
