// The llama.cpp side of `bench spine`: orders as JSON lines on standard input, answers as JSON lines on standard output.
//   node llama.mjs MODEL.gguf        in the folder where node-llama-cpp is installed

import {createRequire} from "node:module";
import path from "node:path";
import readline from "node:readline";
import {pathToFileURL} from "node:url";

const require = createRequire(path.join(process.cwd(), "package.json"));
const {getLlama} = await import(pathToFileURL(require.resolve("node-llama-cpp")));

const THREADS = 2;
const llama = await getLlama({build: "never", gpu: false, maxThreads: THREADS, logLevel: "error"});
const model = await llama.loadModel({modelPath: path.resolve(process.argv[2])});
const context = await model.createContext({contextSize: 1024, batchSize: 512, threads: {ideal: THREADS, min: THREADS}});
const sequence = context.getSequence();

// `controlledEvaluate` reads tokens and gives, behind those that ask for it, the most likely next token and its probability.
const ask = {generateNext: {token: true, confidence: true}};
const read = async (tokens) => (await sequence.controlledEvaluate(tokens)).at(-1)?.next;
const asked = (ids) => ids.map((id, i) => i + 1 === ids.length ? [id, ask] : id);

const orders = {
    async prefill({ids}) {
        await sequence.clearHistory();
        const started = performance.now();
        const next = await read(asked(ids));
        return {seconds: (performance.now() - started) / 1000, best: next.token, probability: next.confidence};
    },
    async decode({prompt, forced}) {
        await sequence.clearHistory();
        await read(prompt);
        const best = [];
        let next;
        const greedy = {generateNext: {token: true}};
        const started = performance.now();
        for (const id of forced) {
            next = (await sequence.controlledEvaluate([[id, greedy]])).at(-1).next;
            best.push(next.token);
        }
        return {seconds: (performance.now() - started) / 1000, best};
    },
};

for await (const line of readline.createInterface({input: process.stdin})) {
    const order = JSON.parse(line);
    console.log(JSON.stringify(await orders[order.do](order)));
}
process.exit(0);
