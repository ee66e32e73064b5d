// SmolLM2-135M in transformers.js, in a worker as its documentation has it: greedy tokens behind a prompt, and when each came.
//   new Worker("/worker.mjs?threads=N", {type: "module"}), behind transformers.mjs. Says "ready", or why not.

import {AutoModelForCausalLM, BaseStreamer, Tensor, env} from "/transformers.js";

const threads = Number(new URL(self.location.href).searchParams.get("threads"));
env.allowRemoteModels = false;
env.allowLocalModels = true;
env.localModelPath = "/models/";
// The model is read from the server each time, not kept in Chromium's cache.
env.useBrowserCache = false;
env.useWasmCache = false;
const wasm = env.backends.onnx.wasm;
// The build without WebGPU: the default one can suspend (asyncify), and took three times the CPU time a token under Node.
const runtime = `${self.location.origin}/ort-wasm-simd-threaded`;
wasm.wasmPaths = {mjs: `${runtime}.mjs`, wasm: `${runtime}.wasm`};
wasm.numThreads = threads;

// Token and time of each step. What is put first is the prompt.
class Clock extends BaseStreamer {
    steps = [];

    put(ids) {
        this.steps.push({id: Number(ids[0].at(-1)), time: performance.now()});
    }

    end() {}
}

const int64 = (values) => new Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);

const decode = async (model, {prompt, tokens}) => {
    const clock = new Clock();
    await model.generate({
        inputs: int64(prompt),
        attention_mask: int64(prompt.map(() => 1)),
        max_new_tokens: tokens,
        do_sample: false,
        streamer: clock,
    });
    const steps = clock.steps.slice(1);
    const ms = steps.slice(1).map((step, i) => step.time - steps[i].time);
    // The runtime falls back to one thread where memory can't be shared.
    return {ids: steps.map((step) => step.id), ms, threads: wasm.numThreads};
};

try {
    const options = {dtype: "fp32", device: "wasm", use_external_data_format: true};
    const model = await AutoModelForCausalLM.from_pretrained("smollm2", options);
    self.onmessage = ({data}) => decode(model, data).then(self.postMessage.bind(self), (error) => self.postMessage(`${error}`));
    self.postMessage("ready");
} catch (error) {
    self.postMessage(`${error}`);
}
