// The GGUF files that Hearth wrote load in llama.cpp, cut text into Hearth's tokens there, and find it as likely:
// `check_gguf.mjs IN`, with the folder that the test `parity_export_gguf` filled.

import {readFileSync} from "node:fs";
import {createRequire} from "node:module";
import path from "node:path";
import {pathToFileURL} from "node:url";

const require = createRequire(path.join(process.cwd(), "package.json"));
const {getLlama} = await import(pathToFileURL(require.resolve("node-llama-cpp")));

const THREADS = 2;
const folder = path.join(process.argv[2], "gguf");
const {text, files} = JSON.parse(readFileSync(path.join(folder, "expected.json")));
const llama = await getLlama({build: "never", gpu: false, maxThreads: THREADS, logLevel: "error"});

// Mean negative log-likelihood of tokens given those before them, in nats.
async function nll(model, ids) {
    const context = await model.createContext({
        contextSize: ids.length + 8, batchSize: 256, threads: {ideal: THREADS, min: THREADS},
    });
    // Not `includeMax`, which in this version only comes where the most likely token is asked for anyway.
    const ask = (next) => ({generateNext: {logits: {filter: {tokens: [next], includeTop: 1}}, totalLogitWeight: true}});
    const input = ids.map((id, i) => i + 1 === ids.length ? id : [id, ask(ids[i + 1])]);
    const output = await context.getSequence().controlledEvaluate(input);
    const logprobs = ids.slice(1).map((id, i) => {
        const {logits, totalLogitWeight} = output[i].next;
        return logits.get(id) - Math.max(...logits.values()) - Math.log(totalLogitWeight);
    });
    await context.dispose();
    return -logprobs.reduce((sum, p) => sum + p, 0) / logprobs.length;
}

let failed = false;
for (const {file, tokens, nll: ours, bound} of files) {
    const model = await llama.loadModel({modelPath: path.join(folder, file)});
    const cut = model.tokenize(text, false).slice(0, tokens.length);
    const same = cut.length === tokens.length && cut.every((id, i) => id === tokens[i]);
    const theirs = await nll(model, tokens);
    // Not `>`, which no number would pass.
    const near = Math.abs(theirs - ours) <= bound;
    failed ||= !same || !near;
    console.log(`${file}: llama.cpp ${theirs.toFixed(4)}, Hearth ${ours.toFixed(4)}, ${near ? "within" : "NOT within"} ${bound}` +
        (same ? "" : "; OTHER TOKENS"));
    await model.dispose();
}
process.exit(failed ? 1 : 0);
