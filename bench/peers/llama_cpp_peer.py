#!/usr/bin/env python3
"""llama.cpp through its C API (llama-cpp-python).

plain       flash attention, micro-batches of 512 tokens: its fastest prompt path
statistics  flash attention off, an evaluation callback takes the softmax of every layer; entropy, received attention
            and first-token share in NumPy, the map dropped
decode      tokens after the prompt
"""

import ctypes
import os
from importlib.metadata import version

import llama_cpp
import numpy as np

from common import arguments, measure, report

args = arguments(__doc__, ("plain", "statistics", "decode"))
ggml = ctypes.CDLL(os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.so"))
ggml.ggml_get_name.restype, ggml.ggml_get_name.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
ggml.ggml_nbytes.restype, ggml.ggml_nbytes.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
ggml.ggml_backend_tensor_get.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]

SILENT = llama_cpp.llama_log_callback(lambda *_: None)
llama_cpp.llama_log_set(SILENT, ctypes.c_void_p())
llama_cpp.llama_backend_init()
model = llama_cpp.llama_model_load_from_file(args.model.encode(), llama_cpp.llama_model_default_params())
with open(args.text, "rb") as file:
    text = file.read()
ids = (llama_cpp.llama_token * (len(text) + 8))()
count = llama_cpp.llama_tokenize(llama_cpp.llama_model_get_vocab(model), text, len(text), ids, len(ids), False, True)
assert count >= args.tokens, "the text is too short"
num_heads = llama_cpp.llama_model_n_head(model)
kept = []


def reduce_map(tensor, asks, _data):
    is_map = ggml.ggml_get_name(tensor).startswith(b"kq_soft_max")
    if asks or not is_map:
        return is_map
    size = ggml.ggml_nbytes(tensor) // 4
    values = np.empty(size, np.float32)
    ggml.ggml_backend_tensor_get(tensor, values.ctypes.data, 0, size * 4)
    attn_hij = values.reshape(num_heads, args.tokens, -1)[:, :, : args.tokens]
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy_hi = -np.where(attn_hij > 0, attn_hij * np.log(attn_hij), 0).sum(-1)
    kept.append((entropy_hi, attn_hij.sum(1), attn_hij[:, :, 0].copy()))
    return True


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_bool, ctypes.c_void_p)(reduce_map)
params = llama_cpp.llama_context_default_params()
params.n_ctx = args.tokens + args.decode
params.n_batch = args.tokens
params.n_ubatch = args.tokens if args.mode == "statistics" else 512
params.n_threads = params.n_threads_batch = args.threads
params.flash_attn_type = 0 if args.mode == "statistics" else 1
if args.mode == "statistics":
    params.cb_eval = ctypes.cast(CALLBACK, type(params.cb_eval))
context = llama_cpp.llama_init_from_model(model, params)
memory = llama_cpp.llama_get_memory(context)


def evaluate(tokens, how_many):
    assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, how_many)) == 0
    llama_cpp.llama_synchronize(context)


def prefill():
    kept.clear()
    llama_cpp.llama_memory_clear(memory, True)
    evaluate(ids, args.tokens)


def decode():
    llama_cpp.llama_memory_seq_rm(memory, 0, args.tokens, -1)
    token = (llama_cpp.llama_token * 1)(ids[0])
    for _ in range(args.decode):
        evaluate(token, 1)
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (llama_cpp.llama_vocab_n_tokens(
            llama_cpp.llama_model_get_vocab(model)),))
        token[0] = int(logits.argmax())


if args.mode == "decode":
    prefill()
seconds, peak = measure(decode if args.mode == "decode" else prefill, args.repeats)
tokens = args.decode if args.mode == "decode" else args.tokens
report(peer="llama.cpp (llama-cpp-python " + version("llama-cpp-python") + ")", mode=args.mode, tokens=args.tokens,
       seconds=seconds, tokens_per_second=tokens / seconds, peak_mib=peak,
       mean_entropy=float(np.stack([k[0] for k in kept]).mean()) if kept else None)
