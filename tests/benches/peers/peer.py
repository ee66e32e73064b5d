"""The PyTorch side of benches: orders as JSON lines on standard input, answers as JSON lines on standard output.

Each answer has the seconds that the work itself took. What both sides must agree on (logits, losses) goes into the answer too,
outside the measured time."""

import json
import resource
import sys
import time

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, DynamicCache

THREADS = 2


class Peer:
    def __init__(self):
        torch.set_num_threads(THREADS)
        self.model = None
        self.optimizer = None
        self.device = "cpu"

    def load(self, path):
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        return {}

    @torch.inference_mode()
    def prefill(self, ids):
        tokens = torch.tensor([ids])
        started = time.perf_counter()
        out = self.model(tokens, past_key_values=DynamicCache(config=self.model.config), use_cache=True, logits_to_keep=1)
        logits = out.logits[0, -1]
        best = int(logits.argmax())
        return {"seconds": time.perf_counter() - started, "best": best, "logits": logits.tolist()}

    @torch.inference_mode()
    def decode(self, prompt, forced):
        """Given tokens one at a time behind a prompt; the most likely token is taken each time, as greedy decoding does."""
        cache = DynamicCache(config=self.model.config)
        self.model(torch.tensor([prompt]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        best = []
        started = time.perf_counter()
        for token in forced:
            out = self.model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
            best.append(int(out.logits[0, -1].argmax()))
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "best": best, "logits": out.logits[0, -1].tolist()}

    def train(self, base, learning_rate, weight_decay, max_grad_norm, adapter=None, device="cpu", bf16=False):
        """Every weight, or those of an adapter. Norms and biases don't decay. `bf16` casts products and compiles."""
        self.model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="sdpa").train()
        name = f"PyTorch {torch.__version__}"
        if adapter:
            import peft

            self.model = peft.PeftModel.from_pretrained(self.model, adapter, is_trainable=True).train()
            name = f"PEFT {peft.__version__} on {name}"
        self.device = device
        self.model.to(device)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        groups = [
            dict(params=[p for p in self.trained if p.dim() > 1], weight_decay=weight_decay),
            dict(params=[p for p in self.trained if p.dim() <= 1], weight_decay=0.0),
        ]
        groups = [group for group in groups if group["params"]]
        self.optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)
        self.max_grad_norm = max_grad_norm
        self.bf16 = bf16
        self.loss = torch.compile(self.plain_loss) if bf16 else self.plain_loss
        return {"name": name, "parameters": sum(p.numel() for p in self.trained)}

    def plain_loss(self, tokens):
        logits = self.model(input_ids=tokens[:, :-1], use_cache=False).logits
        return cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    def step(self, rows):
        tokens = torch.tensor(rows)
        started = time.perf_counter()
        value = self.one(tokens.to(self.device))
        return {"seconds": time.perf_counter() - started, "loss": value}

    def one(self, tokens):
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            loss = self.loss(tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        if self.device != "cpu":
            torch.cuda.synchronize()
        return value

    def stretch(self, rows, seconds):
        """Steps on the same rows for a while, so that the card can be watched."""
        tokens = torch.tensor(rows).to(self.device)
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            self.one(tokens)
            steps += 1
        return {"steps": steps, "seconds": time.perf_counter() - started}

    def product(self, size):
        """Operations a second of a large product in bf16."""
        x, y = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        best = float("inf")
        for _ in range(20):
            torch.cuda.synchronize()
            started = time.perf_counter()
            x @ y
            torch.cuda.synchronize()
            best = min(best, time.perf_counter() - started)
        return {"flops": 2 * size**3 / best}

    def memory(self):
        if self.device != "cpu":
            return {"peak": torch.cuda.max_memory_reserved()}
        return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def main():
    answers = sys.stdout
    # Whatever a library prints must not get between the answers.
    sys.stdout = sys.stderr
    peer = Peer()
    for line in sys.stdin:
        order = json.loads(line)
        answer = getattr(peer, order.pop("do"))(**order)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
