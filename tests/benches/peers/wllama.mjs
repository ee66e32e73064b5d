// The other side of `bench browser`: a page with wllama on it, and the model beside it. Prints its address.
//   node wllama.mjs MODEL.gguf        in the folder where @wllama/wllama is installed

import {createReadStream, statSync} from "node:fs";
import {createServer} from "node:http";
import path from "node:path";

const model = path.resolve(process.argv[2]);
const esm = path.resolve("node_modules/@wllama/wllama/esm");
const files = {
    "/wllama.js": [path.join(esm, "index.js"), "text/javascript"],
    "/wllama.wasm": [path.join(esm, "wasm/wllama.wasm"), "application/wasm"],
    "/model.gguf": [model, "application/octet-stream"],
};

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

const server = createServer((request, response) => {
    // Without these a page has no shared memory, and wllama one thread.
    response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
    response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    const [file, type] = files[request.url] ?? [];
    if (file === undefined) {
        response.setHeader("Content-Type", "text/html");
        response.end(page);
        return;
    }
    response.setHeader("Content-Type", type);
    response.setHeader("Content-Length", statSync(file).size);
    createReadStream(file).pipe(response);
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/`));
