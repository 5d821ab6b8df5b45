#!/usr/bin/env python3
"""Hugging Face transformers on the CPU, float32.

plain       fused (SDPA) attention, logits of the last position
statistics  eager attention; entropy, received attention and first-token share of every head reduced in a hook on each
            layer and the map dropped: the careful way to do it by hand
decode      tokens after the prompt, with the KV cache
"""

import os

from common import arguments, measure, report

args = arguments(__doc__, ("plain", "statistics", "decode"))
os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(args.threads)
torch.set_grad_enabled(False)
model = AutoModelForCausalLM.from_pretrained(
    args.model, dtype=torch.float32, attn_implementation="eager" if args.mode == "statistics" else "sdpa"
).eval()
tokenizer = AutoTokenizer.from_pretrained(args.model)
with open(args.text, encoding="utf-8") as file:
    ids = tokenizer(file.read(), return_tensors="pt", add_special_tokens=False).input_ids[:, : args.tokens]
assert ids.shape[1] == args.tokens, "the text is too short"
kept = []


def reduce_map(_module, _inputs, output):
    attn_hij = output[1][0]
    entropy_hi = -(attn_hij * attn_hij.clamp_min(1e-30).log()).sum(-1)
    kept.append((entropy_hi, attn_hij.sum(-2), attn_hij[..., 0].clone()))
    return output[0], None


if args.mode == "statistics":
    for layer in model.model.layers:
        layer.self_attn.register_forward_hook(reduce_map)


def prefill():
    kept.clear()
    model(ids, use_cache=False, logits_to_keep=1)


def decode():
    token = first_token
    for _ in range(args.decode):
        token = model(token, past_key_values=cache, use_cache=True).logits[:, -1:].argmax(-1)
    cache.crop(-args.decode)  # back to the prompt


if args.mode == "decode":
    prompt = model(ids, use_cache=True, logits_to_keep=1)
    cache, first_token = prompt.past_key_values, prompt.logits[:, -1:].argmax(-1)
seconds, peak = measure(decode if args.mode == "decode" else prefill, args.repeats)
tokens = args.decode if args.mode == "decode" else args.tokens
report(peer=f"transformers {transformers.__version__}, torch {torch.__version__}", mode=args.mode, tokens=args.tokens,
       seconds=seconds, tokens_per_second=tokens / seconds, peak_mib=peak,
       mean_entropy=float(torch.stack([k[0] for k in kept]).mean()) if kept else None)
