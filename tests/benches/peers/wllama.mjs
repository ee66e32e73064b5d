// The other side of `bench browser`: a page with wllama on it, and the model beside it. Prints its address.
//   node wllama.mjs MODEL.gguf        in the folder where @wllama/wllama is installed

import path from "node:path";

import {serve, type} from "./serve.mjs";

const esm = path.resolve("node_modules/@wllama/wllama/esm");

const page = `<!doctype html><meta charset="utf-8"><title>wllama</title><script type="module">
import {Wllama} from "/wllama.js";
const wllama = new Wllama({default: "/wllama.wasm"});
const blob = await (await fetch("/model.gguf")).blob();
await wllama.loadModel([blob], {n_ctx: 1024, n_threads: 2, n_gpu_layers: 0});
window.decode = async (prompt, tokens) => {
    const pieces = [], times = [];
    const stream = await wllama.createCompletion({prompt, max_tokens: tokens, temperature: 0, top_k: 1, stream: true});
    for await (const chunk of stream) {
        const text = chunk.choices[0]?.text ?? "";
        if (text === "") continue;
        pieces.push(text);
        times.push(performance.now());
    }
    const ms = times.slice(1).map((time, i) => time - times[i]);
    return {text: pieces.join(""), ms, threads: wllama.getNumThreads()};
};
</script>`;

serve(page, {
    "/wllama.js": [path.join(esm, "index.js"), type.js],
    "/wllama.wasm": [path.join(esm, "wasm/wllama.wasm"), type.wasm],
    "/model.gguf": [path.resolve(process.argv[2]), type.bytes],
});
