#!/usr/bin/env python3
"""Plain attention of PyTorch on the first CUDA device (cuDNN, FlashAttention-2), and what Headlight's two passes measure by
materialising the map: the peers of headlight_cuda_attention_bench, in the same output format and measured the same way.

Usage: cuda_attention.py [H G D N]...
"""
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

SAMPLES, SETS = 20, 3


def seconds(call, calls):
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for c in range(calls):
        call(c % SETS)
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def median_ms(call):
    seconds(call, SETS)
    calls = max(1, min(100, int(5e-3 / seconds(call, 1))))
    times = sorted(seconds(call, calls) / calls * 1e3 for _ in range(SAMPLES))
    return statistics.median(times), (times[15] - times[5]) / statistics.median(times)


def materialise(q, k, v, edge, tail=32, local=256, sink=4):
    """Output, row statistics, column sums and block map of one layer, head by head as memory allows."""
    heads, n, dim = q.shape[1:]
    mask = torch.ones(n, n, dtype=torch.bool, device=q.device).tril()
    distance = torch.arange(n, device=q.device)
    distance = (distance[:, None] - distance[None, :]).clamp(min=0).float()
    for h in range(heads):
        s = (q[0, h] @ k[0, h * k.shape[1] // heads].T).float() * dim ** -0.5
        s.masked_fill_(~mask, float("-inf"))
        lse = s.logsumexp(-1)
        a = (s - lse[:, None]).exp_()
        out = a.to(q.dtype) @ v[0, h * v.shape[1] // heads]
        entropy = lse - (a * s.masked_fill(~mask, 0)).sum(-1)
        largest = a.max(-1)
        results = (out, entropy, largest, a[:, :sink].sum(-1), (a * (distance < local)).sum(-1), (a * distance).sum(-1),
                   (a * distance * distance).sum(-1), a.sum(0), a[-tail:].sum(0))
        blocks = F.pad(a, (0, -n % edge, 0, -n % edge)).unflatten(0, (-1, edge)).unflatten(2, (-1, edge))
        results += (blocks.sum((1, 3)), blocks.amax((1, 3)))
        del s, a, results, blocks
    return out


def measure(heads, kv_heads, dim, n):
    operand = lambda h: [torch.randn(1, h, n, dim, device="cuda", dtype=torch.bfloat16) for _ in range(SETS)]
    q, k, v = operand(heads), operand(kv_heads), operand(kv_heads)
    pairs = n * (n + 1) / 2 * heads * dim
    edge = 1 << max(0, (-(-n // 256) - 1).bit_length())

    def report(name, call):
        try:
            ms, spread = median_ms(call)
        except (RuntimeError, torch.OutOfMemoryError) as error:
            print(json.dumps({"kernel": name, "H": heads, "Hkv": kv_heads, "D": dim, "N": n, "error": str(error)[:90]}))
            return
        print(json.dumps({"kernel": name, "device": torch.cuda.get_device_name(), "H": heads, "Hkv": kv_heads, "D": dim,
                          "N": n, "ms": round(ms, 4), "tflop_per_s": round(4 * pairs / ms * 1e-9, 1),
                          "spread": round(spread, 3)}), flush=True)

    for name, backend in (("cudnn", SDPBackend.CUDNN_ATTENTION), ("flash2", SDPBackend.FLASH_ATTENTION)):
        with sdpa_kernel(backend):
            report(name, lambda c: F.scaled_dot_product_attention(q[c], k[c], v[c], is_causal=True,
                                                                  enable_gqa=heads != kv_heads))
    if n <= 8192:
        report("materialise", lambda c: materialise(q[c], k[c], v[c], edge))


def main():
    numbers = [int(word) for word in sys.argv[1:]]
    shapes = [numbers[i:i + 4] for i in range(0, len(numbers), 4)] or [
        [h, g, d, n] for n in (4096, 8192, 16384, 32768) for h, g, d in ((32, 32, 128), (32, 8, 128), (32, 32, 64))]
    with torch.no_grad():
        for shape in shapes:
            measure(*shape)


if __name__ == "__main__":
    main()
