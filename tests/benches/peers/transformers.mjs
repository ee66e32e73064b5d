// The other side of `bench browser`: a page with transformers.js on it, and the model in ONNX beside it. Prints its address.
//   node transformers.mjs MODEL        in the folder where @huggingface/transformers is installed; MODEL as onnx_export.py writes it

import path from "node:path";
import {fileURLToPath} from "node:url";

import {serve, type} from "./serve.mjs";

const model = path.resolve(process.argv[2]);
const runtime = "ort-wasm-simd-threaded";
const dist = path.resolve("node_modules/onnxruntime-web/dist");

const page = `<!doctype html><meta charset="utf-8"><title>transformers.js</title><script type="module">
const worker = new Worker("/worker.mjs" + location.search, {type: "module"});
const answer = () => new Promise((resolve) => {
    worker.onmessage = ({data}) => resolve(data);
    worker.onerror = (event) => resolve(event.message ?? "the worker did not load");
});
const ready = await answer();
window.decode = (prompt, tokens) => {
    if (ready !== "ready") return Promise.resolve(ready);
    const decoded = answer();
    worker.postMessage({prompt, tokens});
    return decoded;
};
</script>`;

serve(page, {
    "/worker.mjs": [fileURLToPath(new URL("transformers_worker.mjs", import.meta.url)), type.js],
    "/transformers.js": [path.resolve("node_modules/@huggingface/transformers/dist/transformers.min.js"), type.js],
    [`/${runtime}.mjs`]: [path.join(dist, `${runtime}.mjs`), type.js],
    [`/${runtime}.wasm`]: [path.join(dist, `${runtime}.wasm`), type.wasm],
    "/models/smollm2/config.json": [path.join(model, "config.json"), type.json],
    "/models/smollm2/generation_config.json": [path.join(model, "generation_config.json"), type.json],
    "/models/smollm2/onnx/model.onnx": [path.join(model, "model.onnx"), type.bytes],
    "/models/smollm2/onnx/model.onnx_data": [path.join(model, "model.onnx_data"), type.bytes],
});
