#!/usr/bin/env python3
"""Prefill of a Llama shape with random bf16 weights in transformers on the first CUDA device: the peer of
`headlight bench end-to-end llama3-8b --device cuda`. One JSON line per length: plain (SDPA, logits of the last token), and
`statistics` (eager attention whose maps are reduced, layer by layer, to row entropy, first-token mass and column sums).

Usage: cuda_model.py [LENGTH]...
"""
import json
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

LLAMA3_8B = dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
                 num_key_value_heads=8, vocab_size=128256, max_position_embeddings=131072 + 256, rope_theta=500000.0)


def model_with(attention):
    config = LlamaConfig(**LLAMA3_8B, attn_implementation=attention)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        return LlamaForCausalLM(config).eval()


def seconds(call, repeats=5):
    times = []
    for _ in range(repeats + 1):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def hook_statistics(model):
    """Maps are reduced where they are made, and dropped."""
    def reduce(_module, _inputs, output):
        attn = output[1].float()
        (-(attn * attn.clamp_min(1e-30).log()).sum(-1), attn[..., 0].contiguous(), attn.sum(-2))
        return (output[0], None)
    for layer in model.model.layers:
        layer.self_attn.register_forward_hook(reduce)


def measure(what, model, lengths):
    for length in lengths:
        ids = torch.randint(0, LLAMA3_8B["vocab_size"], (1, length), device="cuda")
        torch.cuda.reset_peak_memory_stats()
        try:
            with torch.no_grad():
                best = seconds(lambda: model(ids, use_cache=False, logits_to_keep=1))
        except torch.cuda.OutOfMemoryError:
            print(json.dumps({"what": what, "N": length, "ms": None, "note": "out of memory"}), flush=True)
            torch.cuda.empty_cache()
            continue
        print(json.dumps({"what": what, "N": length, "ms": best * 1e3,
                          "peak_GiB": torch.cuda.max_memory_allocated() / 2**30}), flush=True)


def main():
    lengths = [int(x) for x in sys.argv[1:]] or [4096, 16384]
    print(json.dumps({"device": torch.cuda.get_device_name(0), "torch": torch.__version__}), flush=True)
    model = model_with("sdpa")
    measure("plain", model, lengths)
    model.set_attn_implementation("eager")
    hook_statistics(model)
    measure("statistics", model, [n for n in lengths if n <= 8192])


if __name__ == "__main__":
    main()
