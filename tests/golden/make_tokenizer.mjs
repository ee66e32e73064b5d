// Writes tokenizer.json: 300 lines of text and the ids that llama.cpp cuts them into with SmolLM2's vocabulary, special
// tokens parsed and left as text.
//
// In a scratch folder:
//   npm i --ignore-scripts --omit=optional node-llama-cpp@3.22.1 @node-llama-cpp/linux-x64@3.22.1
//   node make_tokenizer.mjs SmolLM2-135M-Instruct.Q4_1.gguf path/of/tests/golden/tokenizer.json
// The lines depend on nothing but this file: same seed, same lines.

import {writeFileSync} from "node:fs";
import {createRequire} from "node:module";
import path from "node:path";
import {pathToFileURL} from "node:url";

const require = createRequire(path.join(process.cwd(), "package.json"));
const {getLlama} = await import(pathToFileURL(require.resolve("node-llama-cpp")));

let state = 20261123;
const random = (n) => {
    // Numerical Recipes' linear congruential generator.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
};
const pick = (list) => list[random(list.length)];

const WORDS = `the a of and in hearth light fire model token attention I'm you're they've she'll it's don't we'd THE Attention
GPU self-hosted e-mail naïve café Zürich Ångström œuvre straße piñata coöperate 3rd 1st 42 3.14159 1,000,000 2026-11-23 10:42
http://example.org/a?b=c#d user@example.com C++ C# .NET $9.99 50% #tag @name __init__ snake_case camelCase SHOUTING`.split(/\s+/);
const CHINESE = "天下大势分久必合合久必分话说周末七国分争并入于秦及秦灭之后楚汉分争又并入于汉模型注意力训练数据你好世界火灶炉，。！？：；「」《》、…—".split("");
const OTHER = ["Привет, мир", "こんにちは世界", "안녕하세요", "مرحبا بالعالم", "שלום עולם", "नमस्ते दुनिया", "สวัสดีชาวโลก", "Γειά σου Κόσμε",
    "Xin chào thế giới", "ⅷ ½ ² ௧௨௩ ١٢٣ १२३ 一二三", "ﬁ ﬂ Ⅳ ㎏ ™ ®", "ſ's K's ı İ"];
const EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🇨🇳", "🔥", "❤️", "🏳️‍🌈", "🧑🏿‍🚀", "✅", "©️", "🫠", "𝔘𝔫𝔦", "𐍈", "🀄"];
const SPACES = [" ", "  ", "   ", "        ", "\t", "\t\t", " \t ", "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", " \n", "\n ", "  \n  ",
    "\u00a0", "\u3000", "\u2003", "\u200b", "\u2028", "\u0085", "\v", "\f"];
const SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<file_sep>", "<jupyter_code>", "<empty_output>"];
const LIKE_SPECIAL = ["<|im_start", "im_end|>", "<|IM_END|>", "<| im_end |>", "<|im_<|im_end|>", "<<|im_end|>>", "<s>", "[INST]"];
const CODE = ["def f(x: int) -> int:\n    return x ** 2  # square", "fn main() {\n\tprintln!(\"{:?}\", vec![1, 2, 3]);\n}",
    "SELECT a.*, COUNT(1) FROM t AS a WHERE b >= 10 GROUP BY 1;", "for (let i = 0; i < n; i++) { s += `${a[i]}`; }",
    "<div class=\"x\">&nbsp;</div>", "if __name__ == '__main__':\n\n\n        pass", "\\frac{a}{b} \\in \\mathbb{R}^{n\\times m}",
    "{\"a\": [1, 2.5e-3, null], \"b\": {\"c\": \"d\"}}", "0xDEADBEEF 0b1010 1_000 1e-9", "a=b==c!=d<=e>=f&&g||!h", "#!/bin/sh\nset -eu\n"];

const sentence = () => Array.from({length: 3 + random(12)}, () => pick(WORDS)).join(pick([" ", " ", " ", ", ", "  "])) + pick([".", "!", "?", "...", ""]);
const chinese = () => Array.from({length: 4 + random(24)}, () => pick(CHINESE)).join("");
const mix = (lists) => Array.from({length: 3 + random(8)}, () => pick(pick(lists))).join(pick(["", "", " ", "\n"]));

const lines = ["", " ", "The quick brown fox jumps over 123 lazy dogs."];
lines.push(...WORDS, ...OTHER, ...EMOJI, ...SPACES, ...SPECIAL, ...LIKE_SPECIAL, ...CODE);
while (lines.length < 180) lines.push(pick([sentence, chinese])());
while (lines.length < 220) lines.push(mix([WORDS, SPACES]));
while (lines.length < 250) lines.push(mix([WORDS, SPECIAL, LIKE_SPECIAL, SPACES, CHINESE]));
while (lines.length < 280) lines.push(mix([EMOJI, CHINESE, OTHER, SPACES, WORDS]));
while (lines.length < 300) lines.push(mix([CODE, SPACES, SPECIAL]));
lines.length = 300;

const llama = await getLlama({build: "never", gpu: false});
const model = await llama.loadModel({modelPath: path.resolve(process.argv[2]), vocabOnly: true});
const cut = (text, special) => Array.from(model.tokenize(text, special, "trimLeadingSpace"), Number);
const rows = lines.map((text) => ({text, parsed: cut(text, true), plain: cut(text, false)}));
writeFileSync(process.argv[3], "[\n" + rows.map((row) => JSON.stringify(row)).join(",\n") + "\n]\n");
console.log(rows.length, "lines");
process.exit(0);
