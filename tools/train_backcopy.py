#!/usr/bin/env python3
"""Trains a small transformer on the Bigram-Backcopy task and measures it in float64. Needs NumPy.

    tools/train_backcopy.py data/backcopy

The task is that of "Active-Dormant Attention Heads: Mechanistically Demystifying Extreme-Token Phenomena in LLMs": characters
follow a Markov chain with the bigram frequencies of a text, except after one of the three most frequent characters (the triggers),
after which the character before the trigger comes again. Only rows of triggers need attention. The head learns to look at the
token before on these rows and to rest on the first token, whose value it empties, on all others.

One layer of GPT-2 with one head, written and differentiated by hand. Writes early/ and late/ (config.json, model.safetensors: a
snapshot of the first steps, and the end) and oracle.json: sequences and what a float64 forward pass of the stored weights
measures on them, and the course of training.
"""
import argparse
import json
import pathlib
import struct

import numpy as np

WIDTH, HIDDEN, LENGTH, BATCH, EPS, GELU, INITIAL = 64, 64, 64, 32, 1e-5, np.float32((2 / np.pi) ** 0.5), 0.1
STEPS, EARLY, RATE, DECAY, TRIGGERS = 3000, 50, 5e-3, 1e-5, 3
TEXT = pathlib.Path(__file__).parent.parent / "data/text/genesis.txt"


class Task:
    """Ids 0..V-2 are the characters of the text in byte order, V-1 is the first token of every sequence."""

    def __init__(self, text):
        self.alphabet = "".join(sorted(set(text)))
        self.bos = len(self.alphabet)
        ids = np.array([self.alphabet.index(c) for c in text])
        counts = np.zeros((self.bos, self.bos))
        np.add.at(counts, (ids[:-1], ids[1:]), 1)
        self.marginal = np.bincount(ids, minlength=self.bos) / len(ids)
        empty = counts.sum(1) == 0
        counts[empty] = self.marginal
        self.next = counts / counts.sum(1, keepdims=True)
        self.triggers = np.argsort(-self.marginal, kind="stable")[:TRIGGERS]
        self.is_trigger = np.isin(np.arange(self.bos + 1), self.triggers)

    def sample(self, random, batch, length, quiet=False):
        """[batch, length] sequences; quiet = a chain that meets no trigger."""
        start, chain = self.marginal.copy(), self.next.copy()
        start[self.triggers] = 0
        if quiet:
            chain[:, self.triggers] = 0
            chain[chain.sum(1) == 0] = start
        draw = lambda p: (random.random(len(p))[:, None] > np.cumsum(p / p.sum(1, keepdims=True), 1)).sum(1).clip(max=self.bos - 1)
        ids = np.full((batch, length), self.bos)
        ids[:, 1] = draw(np.tile(start, (batch, 1)))
        for t in range(1, length - 1):
            ids[:, t + 1] = np.where(self.is_trigger[ids[:, t]], ids[:, t - 1], draw(chain[ids[:, t] % self.bos]))
        return ids

    def busy(self, length):
        """x t x t ...: every second token is a trigger, the most that the task allows."""
        x = next(c for c in np.argsort(-self.marginal, kind="stable") if not self.is_trigger[c] and np.all(self.next[c, self.triggers] > 0))
        return np.array([self.bos] + [x if t % 2 == 0 else self.triggers[t // 2 % TRIGGERS] for t in range(length - 1)])

    def risk(self, log_p, ids):
        """Mean cross entropy to what the task makes next, on rows of triggers and on the other rows behind the first."""
        rows = self.is_trigger[ids]
        rows[:, 0] = False
        before = np.roll(ids, 1, 1)
        copied = -np.take_along_axis(log_p, before[..., None], 2)[..., 0]
        chained = -(self.next[ids % self.bos] * log_p[..., :-1]).sum(2)
        others = ~rows
        others[:, 0] = False
        return float(copied[rows].mean()), float(chained[others].mean())


# --- the model ------------------------------------------------------------------------------------------------------

def normalized(x):
    centred = x - x.mean(-1, keepdims=True)
    scale = 1 / np.sqrt((centred * centred).mean(-1, keepdims=True) + EPS)
    return centred * scale, scale


def normalized_gradient(grad, unit, scale):
    return scale * (grad - grad.mean(-1, keepdims=True) - unit * (grad * unit).mean(-1, keepdims=True))


def forward(w, ids):
    """Everything a gradient or a measurement needs, by name."""
    c = {"ids": ids}
    width = w["embed"].dtype.type(WIDTH)
    c["x0"] = w["embed"][ids] + w["position"][:ids.shape[1]]
    c["u0"], c["r0"] = normalized(c["x0"])
    c["n0"] = c["u0"] * w["gain0"] + w["shift0"]
    c["q"], c["k"], c["v"] = (c["n0"] @ w[name] + w[name + "_bias"] for name in "qkv")
    c["score"] = c["q"] @ c["k"].swapaxes(1, 2) / np.sqrt(width)
    visible = np.tril(np.ones(c["score"].shape[1:], bool))
    weight = np.where(visible, np.exp(c["score"] - np.where(visible, c["score"], -np.inf).max(-1, keepdims=True)), 0)
    c["attn"] = weight / weight.sum(-1, keepdims=True)
    c["out"] = c["attn"] @ c["v"]
    c["x1"] = c["x0"] + c["out"] @ w["o"] + w["o_bias"]
    c["u1"], c["r1"] = normalized(c["x1"])
    c["n1"] = c["u1"] * w["gain1"] + w["shift1"]
    c["pre"] = c["n1"] @ w["up"] + w["up_bias"]
    c["tanh"] = np.tanh(GELU * (c["pre"] + 0.044715 * c["pre"] ** 3))
    c["hidden"] = 0.5 * c["pre"] * (1 + c["tanh"])
    c["x2"] = c["x1"] + c["hidden"] @ w["down"] + w["down_bias"]
    c["u2"], c["r2"] = normalized(c["x2"])
    c["n2"] = c["u2"] * w["gain2"] + w["shift2"]
    logits = c["n2"] @ w["embed"].T
    shifted = logits - logits.max(-1, keepdims=True)
    c["log_p"] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return c


def gradients(w, c, targets):
    """Of the mean cross entropy over all rows."""
    flat = lambda x: x.reshape(-1, x.shape[-1])
    g = {}

    def through_linear(name, x, grad):
        g[name], g[name + "_bias"] = flat(x).T @ flat(grad), flat(grad).sum(0)
        return grad @ w[name].T

    def through_norm(k, grad):
        g[f"gain{k}"], g[f"shift{k}"] = flat(grad * c[f"u{k}"]).sum(0), flat(grad).sum(0)
        return normalized_gradient(grad * w[f"gain{k}"], c[f"u{k}"], c[f"r{k}"])

    d_logits = np.exp(c["log_p"])
    np.put_along_axis(d_logits, targets[..., None], np.take_along_axis(d_logits, targets[..., None], 2) - 1, 2)
    d_logits /= targets.size
    g["embed"] = flat(d_logits).T @ flat(c["n2"])
    d_x = through_norm(2, d_logits @ w["embed"])
    d_hidden = through_linear("down", c["hidden"], d_x)
    slope = GELU * (1 + 3 * 0.044715 * c["pre"] ** 2)
    d_pre = d_hidden * 0.5 * (1 + c["tanh"] + c["pre"] * (1 - c["tanh"] ** 2) * slope)
    d_x = d_x + through_norm(1, through_linear("up", c["n1"], d_pre))
    d_out = through_linear("o", c["out"], d_x)
    d_attn, d_v = d_out @ c["v"].swapaxes(1, 2), c["attn"].swapaxes(1, 2) @ d_out
    d_score = c["attn"] * (d_attn - (d_attn * c["attn"]).sum(-1, keepdims=True)) / np.sqrt(d_x.dtype.type(WIDTH))
    d_n = through_linear("q", c["n0"], d_score @ c["k"]) + through_linear("k", c["n0"], d_score.swapaxes(1, 2) @ c["q"])
    d_x = d_x + through_norm(0, d_n + through_linear("v", c["n0"], d_v))
    np.add.at(g["embed"], c["ids"].ravel(), flat(d_x))
    g["position"] = np.zeros_like(w["position"])
    g["position"][:d_x.shape[1]] = d_x.sum(0)
    return g


def initial_weights(vocab, random):
    shapes = {"embed": (vocab, WIDTH), "position": (LENGTH, WIDTH), "q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH),
              "o": (WIDTH, WIDTH), "up": (WIDTH, HIDDEN), "down": (HIDDEN, WIDTH)}
    w = {name: (random.standard_normal(shape) * INITIAL).astype(np.float32) for name, shape in shapes.items()}
    w |= {name + "_bias": np.zeros(w[name].shape[1], np.float32) for name in ("q", "k", "v", "o", "up", "down")}
    w |= {f"gain{k}": np.ones(WIDTH, np.float32) for k in range(3)}
    return w | {f"shift{k}": np.zeros(WIDTH, np.float32) for k in range(3)}


def check_gradients(vocab):
    """Against central differences in float64."""
    random = np.random.default_rng(7)
    w = {name: value.astype(np.float64) for name, value in initial_weights(vocab, random).items()}
    ids = random.integers(0, vocab, (2, 9))
    loss = lambda: -np.take_along_axis(forward(w, ids[:, :-1])["log_p"], ids[:, 1:, None], 2).mean()
    g = gradients(w, forward(w, ids[:, :-1]), ids[:, 1:])
    for name, value in w.items():
        at = np.unravel_index(np.argmax(np.abs(g[name])), value.shape)
        kept, step = value[at], 1e-5
        value[at] = kept + step
        above = loss()
        value[at] = kept - step
        below = loss()
        value[at] = kept
        found = (above - below) / (2 * step)
        assert abs(found - g[name][at]) < 1e-6 * max(1, abs(found)), f"{name}: {found} against {g[name][at]}"


def train(task, seed, report):
    """Adam; warm-up over 100 steps, then constant: a falling rate lets the sink fade again."""
    random = np.random.default_rng(seed)
    w = initial_weights(task.bos + 1, random)
    first, second = ({name: np.zeros_like(value) for name, value in w.items()} for _ in range(2))
    for step in range(1, STEPS + 1):
        ids = task.sample(random, BATCH, LENGTH + 1)
        g = gradients(w, forward(w, ids[:, :-1]), ids[:, 1:])
        for name in w:
            grad = g[name] + DECAY * w[name]
            first[name] = 0.9 * first[name] + 0.1 * grad
            second[name] = 0.99 * second[name] + 0.01 * grad * grad
            move = first[name] / (1 - 0.9 ** step) / (np.sqrt(second[name] / (1 - 0.99 ** step)) + 1e-8)
            w[name] = (w[name] - RATE * min(1, step / 100) * move).astype(np.float32)
        report(step, w)
    return w


# --- measurements ---------------------------------------------------------------------------------------------------

def measure(w, ids, task):
    """What a capture of this sequence must say, in float64; formulas as in docs/methods/sinks.md, p = 0."""
    w = {name: value.astype(np.float64) for name, value in w.items()}
    c = {name: value[0] for name, value in forward(w, ids[None]).items()}
    n, rows = len(ids), np.arange(1, len(ids))
    attn, score, trigger = c["attn"], c["score"], task.is_trigger[ids]
    written = np.linalg.norm(c["v"] @ w["o"], axis=1)
    gap = [score[i, 0] - score[i, 1:i].mean() for i in range(2, n)]
    norms = [np.linalg.norm(c[x], axis=1) for x in ("x0", "x2")]
    mean = lambda values: float(np.mean(values)) if len(values) else None
    return {
        "ids": ids.tolist(),
        "trigger_share": float(trigger[rows].mean()),
        "first": attn[:, 0].tolist(),
        "mean_first": float(attn[rows, 0].mean()),
        "dormant_rows": float((attn[rows, 0] > 0.5).mean()),
        "first_on_triggers": mean(attn[rows[trigger[rows]], 0]),
        "first_on_others": mean(attn[rows[~trigger[rows]], 0]),
        "previous_on_triggers": mean(attn[rows[trigger[rows]], rows[trigger[rows]] - 1]),
        "alpha0": float(attn[:, 0].mean()),
        "drain": float(written[0] / np.median(written[1:])),
        "gap": float(np.mean(gap)),
        "residual_peak": [float(norm[0] / norm[1:].max()) for norm in norms],
        "log_p_next": c["log_p"][np.arange(n - 1), ids[1:]].tolist(),
    }


def course(step, w, task, ids):
    """One line about the state of training, over many sequences."""
    w = {name: value.astype(np.float64) for name, value in w.items()}
    c = forward(w, ids)
    trigger = task.is_trigger[ids][:, 1:]
    first = c["attn"][:, 1:, 0]
    gap = np.stack([c["score"][:, i, 0] - c["score"][:, i, 1:i].mean(-1) for i in range(2, ids.shape[1])], 1)
    written = np.linalg.norm(c["v"] @ w["o"], axis=2)
    on_triggers, on_others = task.risk(c["log_p"], ids)
    return {"step": step, "first_on_triggers": float(first[trigger].mean()), "first_on_others": float(first[~trigger].mean()),
            "gap_on_others": float(gap[~trigger[:, 1:]].mean()), "drain": float(written[:, 0].mean() / np.median(written[:, 1:])),
            "risk_on_triggers": on_triggers, "risk_on_others": on_others}


# --- files ----------------------------------------------------------------------------------------------------------

def write_model(folder, w):
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": len(w["embed"]), "n_embd": WIDTH,
              "n_inner": HIDDEN, "n_layer": 1, "n_head": 1, "n_positions": LENGTH, "layer_norm_epsilon": EPS,
              "activation_function": "gelu_new", "torch_dtype": "float32", "bos_token_id": len(w["embed"]) - 1}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    joined = lambda suffix: np.concatenate([w[name + suffix] for name in "qkv"], -1)
    tensors = {"wte.weight": w["embed"], "wpe.weight": w["position"], "h.0.attn.c_attn.weight": joined(""),
               "h.0.attn.c_attn.bias": joined("_bias")}
    for name, stored in (("o", "attn.c_proj"), ("up", "mlp.c_fc"), ("down", "mlp.c_proj")):
        tensors |= {f"h.0.{stored}.weight": w[name], f"h.0.{stored}.bias": w[name + "_bias"]}
    for k, stored in enumerate(("h.0.ln_1", "h.0.ln_2", "ln_f")):
        tensors |= {f"{stored}.weight": w[f"gain{k}"], f"{stored}.bias": w[f"shift{k}"]}
    header, at = {}, 0
    for name, value in tensors.items():
        header["transformer." + name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(
        struct.pack("<Q", len(text)) + text + b"".join(value.astype("<f4").tobytes() for value in tensors.values()))


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return {key: rounded(v) for key, v in value.items()} if isinstance(value, dict) else value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    task = Task(TEXT.read_text())
    check_gradients(task.bos + 1)
    random = np.random.default_rng(options.seed + 1)
    test_ids = task.sample(random, 64, LENGTH)
    sequences = {"mixed": task.sample(random, 1, LENGTH)[0], "quiet": task.sample(random, 1, LENGTH, quiet=True)[0], "busy": task.busy(LENGTH)}
    seen, snapshots = [], {}

    def report(step, w):
        if step == EARLY:
            snapshots["early"] = dict(w)
        if step in (1, 2, 5, 10, 20, 50, 100, 200, 500) or step % 1000 == 0:
            seen.append(course(step, w, task, test_ids))
            print(json.dumps(rounded(seen[-1])), flush=True)

    snapshots["late"] = train(task, options.seed, report)
    models = {}
    for name, w in snapshots.items():
        write_model(options.folder / name, w)
        models[name] = {kind: measure(w, ids, task) for kind, ids in sequences.items()}
    best = np.log(np.maximum(np.pad(task.next[test_ids % task.bos], ((0, 0), (0, 0), (0, 1))), 1e-300))
    oracle = {"source": "Active-Dormant Attention Heads: Mechanistically Demystifying Extreme-Token Phenomena in LLMs",
              "made_by": f"tools/train_backcopy.py --seed {options.seed}, NumPy {np.__version__}", "alphabet": task.alphabet,
              "bos": task.bos, "triggers": task.triggers.tolist(), "lowest_risk_on_others": task.risk(best, test_ids)[1],
              "training": {"steps": STEPS, "early": EARLY, "course": seen}, "models": models}
    (options.folder / "oracle.json").write_text(json.dumps(rounded(oracle), separators=(",", ":")).replace('"models"', '\n"models"') + "\n")


if __name__ == "__main__":
    main()
