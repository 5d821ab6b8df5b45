#!/usr/bin/env python3
"""Golden values of tiny models, one folder per case, made by Hugging Face transformers (eager, f32, CPU).

Run by hand on a machine with torch and transformers; nothing in the build or the tests calls it.
    make_fixtures.py [--only CASE ...] [--models FOLDER] [--check]
--models also writes the complete models (config.json, model.safetensors) for debugging; do not commit them.
--check writes nothing and fails if a recomputed value differs from the committed one by more than 2e-5.

Weights are a pure function of the tensor's Hugging Face name (the name in the safetensors file, with its
"model." or "transformer." prefix), so none are committed. All integers are unsigned 64 bit and wrap.
    h    = FNV-1a-64 of the UTF-8 bytes of the name: h = 14695981039346656037, then h = (h ^ byte) * 1099511628211
    G    = 0x9E3779B97F4A7C15
    z    = h + i*G + G                             element i counts in C order of the shape below
    z    = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z    = (z ^ (z >> 27)) * 0x94D049BB133111EB
    z    =  z ^ (z >> 31)
    t    = float(z >> 40) * 2^-23 - 1              exact in f32, in [-1, 1)
    w    = t * a                                   one f32 rounding; a = 0.35f if the rank is >= 2, else 0.3f
    w    = w + 1                                   one more f32 rounding (no fused multiply-add); "norm_plus_one" only
Kinds in tensors.json:
    matrix         rank >= 2: linear weights, embeddings, expert stacks and their [expert, width] biases. a = 0.35f
    vector         rank 1 and neither of the next two: biases (also those of LayerNorm), sinks.           a = 0.3f
    norm_plus_one  norm weights; 1 is added to what is stored in the file.                                a = 0.3f
    norm           norm weights of gemma, gemma2, gemma3: nothing is added to what is stored in the file
                   (the model computes with 1 + stored).                                                  a = 0.3f
A norm weight is a tensor of rank 1 whose name ends in "norm.weight", "ln_1.weight", "ln_2.weight" or
"ln_f.weight". Tied output matrices have no tensor of their own and are not listed.
Token ids: id[i] = floor((z >> 40) * V * 2^-24) with z as above for the name "token_ids".

Files per case: config.json (as save_pretrained writes it), config_old.json (same meaning in the spelling before
transformers 5, where it differs), tensors.json {name: {shape, kind}}, golden.safetensors:
    token_ids [N] i32; logits [N,V]; attn [L,H,N,N] (after the softmax; invisible = 0); embd [N,d] (what enters layer 0);
    resid [L+1,N,d] (index l = residual entering layer l, index L = residual before the final norm);
    q_rot.0 [H,N,D], k_rot.0 [Hkv,N,D] (layer 0, after QK-norm and RoPE; gpt2: after the projection);
    sink_mass [L,H,N] (gpt_oss: 1 - row sum).
controls.json: per case and switched-off special, by how much the largest attention entry and the largest logit move.
"""
import argparse
import copy
import importlib
import json
import os
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

V, D_MODEL, H, HKV, HEAD, D_FF, L, N, CONTEXT, ORIGINAL = 96, 64, 4, 2, 16, 112, 4, 24, 64, 16
HERE = os.path.dirname(os.path.abspath(__file__))
GEMMA = {"gemma", "gemma2", "gemma3_text"}
NORM_ENDS = ("norm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight")

BASE = dict(vocab_size=V, hidden_size=D_MODEL, intermediate_size=D_FF, num_hidden_layers=L, num_attention_heads=H,
            num_key_value_heads=HKV, head_dim=HEAD, max_position_embeddings=CONTEXT, bos_token_id=1, eos_token_id=2,
            pad_token_id=0, tie_word_embeddings=False)


def rope(kind="default", theta=10000.0, **more):
    return dict(rope_type=kind, rope_theta=theta, **more)


YARN = dict(factor=4.0, original_max_position_embeddings=ORIGINAL, beta_fast=1.0, beta_slow=0.05)
LONG = dict(original_max_position_embeddings=ORIGINAL,
            short_factor=[1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35],
            long_factor=[1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0])
PHI = dict(BASE, head_dim=None, rms_norm_eps=1e-5)
PHI.pop("head_dim")

# name: (model_type, config keys). What a case is there to catch stands in its name or beside it.
CASES = {
    "llama": ("llama", dict(BASE, rms_norm_eps=1e-5, rope_parameters=rope())),
    "llama_bias": ("llama", dict(BASE, rms_norm_eps=1e-5, rope_parameters=rope(), attention_bias=True, mlp_bias=True)),
    "llama_linear": ("llama", dict(BASE, rms_norm_eps=1e-5, rope_parameters=rope("linear", factor=4.0))),
    # wavelengths 6.3, 19.9, 62.8, 199 ..: kept, interpolated twice, divided
    "llama_llama3": ("llama", dict(BASE, rms_norm_eps=1e-5, rope_parameters=rope(
        "llama3", factor=8.0, low_freq_factor=0.25, high_freq_factor=2.0, original_max_position_embeddings=ORIGINAL))),
    "llama_yarn": ("llama", dict(BASE, rms_norm_eps=1e-5, rope_parameters=rope("yarn", **YARN))),
    "mistral": ("mistral", dict(BASE, rms_norm_eps=1e-5, sliding_window=6, rope_parameters=rope())),
    "qwen2": ("qwen2", dict(BASE, rms_norm_eps=1e-6, tie_word_embeddings=True, rope_parameters=rope(theta=1e6))),
    "qwen2_window": ("qwen2", dict(BASE, rms_norm_eps=1e-6, rope_parameters=rope(theta=1e6),
                                   use_sliding_window=True, sliding_window=7, max_window_layers=2)),
    "qwen3": ("qwen3", dict(BASE, head_dim=24, rms_norm_eps=1e-6, rope_parameters=rope(theta=1e6))),
    "gemma": ("gemma", dict(BASE, rms_norm_eps=1e-6, tie_word_embeddings=True, rope_parameters=rope())),
    "gemma2": ("gemma2", dict(BASE, rms_norm_eps=1e-6, tie_word_embeddings=True, rope_parameters=rope(), sliding_window=5,
                              query_pre_attn_scalar=11, attn_logit_softcapping=50.0, final_logit_softcapping=30.0)),
    "gemma3": ("gemma3_text", dict(
        BASE, rms_norm_eps=1e-6, tie_word_embeddings=True, sliding_window=5, query_pre_attn_scalar=11,
        layer_types=["full_attention" if (l + 1) % 3 == 0 else "sliding_attention" for l in range(L)],
        rope_parameters=dict(full_attention=rope("linear", 1e6, factor=4.0), sliding_attention=rope(theta=1e4)))),
    "phi3": ("phi3", dict(PHI, rope_parameters=rope("longrope", **LONG), original_max_position_embeddings=ORIGINAL)),
    # N <= original context: the short factors. Three quarters of each head rotate. Sliding window.
    "phi3_short": ("phi3", dict(PHI, original_max_position_embeddings=32, sliding_window=7, tie_word_embeddings=True,
                                partial_rotary_factor=0.75, rope_parameters=rope(
                                    "longrope", original_max_position_embeddings=32, partial_rotary_factor=0.75,
                                    short_factor=LONG["short_factor"][:6], long_factor=LONG["long_factor"][:6]))),
    "gpt2": ("gpt2", dict(vocab_size=V, n_positions=32, n_embd=D_MODEL, n_layer=L, n_head=H, n_inner=D_FF,
                          layer_norm_epsilon=1e-5, bos_token_id=1, eos_token_id=2, attn_pdrop=0.0, embd_pdrop=0.0,
                          resid_pdrop=0.0)),
    "olmo2": ("olmo2", dict({k: v for k, v in BASE.items() if k != "head_dim"}, rms_norm_eps=1e-6,
                            rope_parameters=rope(theta=5e5))),
    "gpt_oss": ("gpt_oss", dict(BASE, rms_norm_eps=1e-5, num_local_experts=4, num_experts_per_tok=2, sliding_window=6,
                                attention_bias=True, rope_parameters=rope("yarn", 150000.0, truncate=False, **YARN))),
}


def mixed(name, count):
    """z of the rule above for elements 0..count-1, uint64."""
    h = 14695981039346656037
    for byte in name.encode():
        h = ((h ^ byte) * 1099511628211) & (2**64 - 1)
    g = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(count, dtype=np.uint64) * g + g
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def kind_of(name, shape, model_type):
    if len(shape) >= 2:
        return "matrix"
    if not name.endswith(NORM_ENDS):
        return "vector"
    return "norm" if model_type in GEMMA else "norm_plus_one"


def weight(name, shape, kind):
    t = (mixed(name, int(np.prod(shape))) >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)
    w = t * np.float32(0.35 if kind == "matrix" else 0.3)
    if kind == "norm_plus_one":
        w = w + np.float32(1)
    return w.reshape(shape)


def token_ids():
    return ((mixed("token_ids", N) >> np.uint64(40)) * np.uint64(V) >> np.uint64(24)).astype(np.int32)


def build(config):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    state, tensors = model.state_dict(), {}
    tied = set(model.all_tied_weights_keys) if hasattr(model, "all_tied_weights_keys") else set(model._tied_weights_keys or [])
    for name, value in state.items():
        if name in tied and config.tie_word_embeddings:
            continue
        shape = list(value.shape)
        kind = kind_of(name, shape, config.model_type)
        value.copy_(torch.from_numpy(weight(name, shape, kind)))
        tensors[name] = dict(shape=shape, kind=kind)
    model.tie_weights()
    return model, tensors


def run(model, ids):
    """Everything a golden file holds, from one forward pass."""
    got = {}
    decoder = model.base_model
    layers = decoder.h if hasattr(decoder, "h") else decoder.layers
    final = decoder.ln_f if hasattr(decoder, "ln_f") else decoder.norm
    resid, handles, rotated = [None] * (len(layers) + 1), [], []

    def keep(index):
        def hook(module, args, kwargs):
            x = args[0] if args else kwargs["hidden_states"]
            resid[index] = x.detach()[0].numpy().copy()
        return hook

    for l, layer in enumerate(layers):
        handles.append(layer.register_forward_pre_hook(keep(l), with_kwargs=True))
    handles.append(final.register_forward_pre_hook(keep(len(layers)), with_kwargs=True))
    source = importlib.import_module(type(model).__module__)
    original = getattr(source, "apply_rotary_pos_emb", None)
    if original is not None:
        def spy(q, k, *args, **kwargs):
            out = original(q, k, *args, **kwargs)
            rotated.append([x.detach()[0].numpy().copy() for x in out])
            return out
        source.apply_rotary_pos_emb = spy
    else:
        def fused(module, args, out):
            heads = out.detach()[0].reshape(out.shape[1], 3, H, -1).permute(1, 2, 0, 3).numpy()
            rotated.append([heads[0].copy(), heads[1].copy()])
        handles.append(layers[0].attn.c_attn.register_forward_hook(fused))
    with torch.no_grad():
        out = model(torch.from_numpy(ids.astype(np.int64))[None], output_attentions=True, use_cache=False)
    for handle in handles:
        handle.remove()
    if original is not None:
        source.apply_rotary_pos_emb = original
    got["token_ids"] = ids.astype(np.int32)
    got["logits"] = out.logits[0].float().numpy()
    got["attn"] = torch.stack([a[0] for a in out.attentions]).float().numpy()
    got["resid"] = np.stack(resid)
    got["embd"] = got["resid"][0].copy()
    got["q_rot.0"], got["k_rot.0"] = rotated[0]
    if model.config.model_type == "gpt_oss":
        got["sink_mass"] = (1 - got["attn"].astype(np.float64).sum(-1)).astype(np.float32)
    return {name: np.ascontiguousarray(value) for name, value in got.items()}


def older(config):
    """The same configuration in the keys used before transformers 5; None where they are the same."""
    old = copy.deepcopy(config)
    old["torch_dtype"] = old.pop("dtype", "float32")
    old["transformers_version"] = "4.45.0"
    old.pop("layer_types", None)
    old.pop("_sliding_window_pattern", None)
    parameters = old.pop("rope_parameters", None)
    if parameters is None:
        return None
    if config["model_type"] == "gemma3_text":
        full = dict(parameters["full_attention"])
        old["rope_theta"] = full.pop("rope_theta")
        old["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
        old["sliding_window_pattern"] = 3
        old["rope_scaling"] = full
        return old
    scaling = dict(parameters)
    old["rope_theta"] = scaling.pop("rope_theta")
    scaling.pop("partial_rotary_factor", None)
    kind = scaling.pop("rope_type")
    if config["model_type"] == "phi3":
        scaling.pop("original_max_position_embeddings", None)
    if config["model_type"] == "gpt_oss":
        old["initial_context_length"] = scaling["original_max_position_embeddings"]
    if kind == "default":
        old["rope_scaling"] = None
    else:
        old["rope_scaling"] = {("type" if kind in ("linear", "longrope") else "rope_type"): kind, **scaling}
    return old


def controls(name, config, model, ids, base):
    """Switch one special off at a time; how far do attention and logits move?"""
    def changed(**keys):
        other = copy.deepcopy(config)
        for key, value in keys.items():
            setattr(other, key, value)
        return build(other)[0]

    runs, kind = {}, config.model_type
    rp = getattr(config, "rope_parameters", None)
    if kind == "gemma3_text":
        flat = copy.deepcopy(rp)
        flat["full_attention"] = rope(theta=1e6)
        runs["no rope scaling"] = changed(rope_parameters=flat)
        same = copy.deepcopy(rp)
        same["sliding_attention"]["rope_theta"] = 1e6
        runs["one theta"] = changed(rope_parameters=same)
    elif rp and rp["rope_type"] != "default":
        plain = {k: v for k, v in rp.items() if k in ("rope_theta", "partial_rotary_factor")}
        runs["no rope scaling"] = changed(rope_parameters=dict(plain, rope_type="default"))
        if rp["rope_type"] == "yarn":
            flip = dict(rp, truncate=not rp.get("truncate", True))
            runs["yarn truncate flipped"] = changed(rope_parameters=flip)
            runs["yarn without attention factor"] = changed(rope_parameters=dict(rp, attention_factor=1.0))
    if rp is not None and kind != "gemma3_text" and rp.get("partial_rotary_factor", 1.0) == 1.0:
        source = importlib.import_module(type(model).__module__)

        def pairs(x):
            return torch.stack((-x[..., 1::2], x[..., 0::2]), -1).flatten(-2)
        original = source.apply_rotary_pos_emb

        def interleaved(q, k, cos, sin, *args, **kwargs):
            if cos.shape[-1] * 2 == q.shape[-1]:
                cos, sin = torch.cat((cos, cos), -1), torch.cat((sin, sin), -1)
            n = cos.shape[-1] // 2
            cos, sin = (x[..., :n].repeat_interleave(2, -1)[:, None] for x in (cos, sin))
            return q * cos + pairs(q) * sin, k * cos + pairs(k) * sin
        source.apply_rotary_pos_emb = interleaved
        try:
            runs["interleaved rope"] = run(model, ids)
        finally:
            source.apply_rotary_pos_emb = original
    window = getattr(config, "sliding_window", None)
    if window and (kind != "qwen2" or config.use_sliding_window):
        runs["window + 1"] = changed(sliding_window=window + 1)
        runs["window - 1"] = changed(sliding_window=window - 1)
        if getattr(config, "layer_types", None) and len(set(config.layer_types)) > 1:
            runs["layer kinds swapped"] = changed(layer_types=[
                "full_attention" if t == "sliding_attention" else "sliding_attention" for t in config.layer_types])
    if kind in ("gemma2", "gemma3_text"):
        runs["scale of head_dim"] = changed(query_pre_attn_scalar=config.head_dim)
    if kind == "gemma2":
        runs["no attention cap"] = changed(attn_logit_softcapping=None)
        runs["no logit cap"] = changed(final_logit_softcapping=None)
    if kind in GEMMA:
        other = build(config)[0]
        with torch.no_grad():
            for key, value in other.state_dict().items():
                if value.dim() == 1 and key.endswith(NORM_ENDS):
                    value.sub_(1)
        runs["norm without + 1"] = other
    if any("q_norm" in key for key, _ in model.named_modules()):
        other = build(config)[0]
        for layer in other.base_model.layers:
            layer.self_attn.q_norm = layer.self_attn.k_norm = torch.nn.Identity()
        runs["no QK-norm"] = other
    if kind == "gpt_oss":
        other = build(config)[0]
        with torch.no_grad():
            for layer in other.base_model.layers:
                layer.self_attn.sinks.fill_(-1e30)
        runs["sinks ignored"] = other
        runs["top 1 expert"] = changed(num_experts_per_tok=1)
    if kind in ("qwen2", "gpt_oss") or getattr(config, "attention_bias", False):
        other = build(config)[0]
        with torch.no_grad():
            for key, value in other.state_dict().items():
                if key.endswith(("q_proj.bias", "k_proj.bias", "v_proj.bias")):
                    value.zero_()
        runs["no q, k, v bias"] = other
    out = {}
    for what, other in runs.items():
        got = other if isinstance(other, dict) else run(other, ids)
        out[what] = dict(attn=float(np.abs(got["attn"] - base["attn"]).max()),
                         logits=float(np.abs(got["logits"] - base["logits"]).max()))
    return out


def save_json(path, value):
    with open(path, "w") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--models")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    ids, margins, bad = token_ids(), {}, 0
    if os.path.exists(os.path.join(HERE, "controls.json")):
        margins = json.load(open(os.path.join(HERE, "controls.json")))
    print(f"{'case':14} {'row max':>8} {'rows < .9':>9} {'max|z|':>8} {'max|x|':>8} {'KB':>5}  weakest control (attn)")
    for name, (model_type, keys) in CASES.items():
        if options.only and name not in options.only:
            continue
        config = transformers.AutoConfig.for_model(model_type, **keys)
        model, tensors = build(config)
        got = run(model, ids)
        folder = os.path.join(HERE, name)
        if options.check:
            old = load_file(os.path.join(folder, "golden.safetensors"))
            worst = max(float(np.abs(got[k].astype(np.float64) - old[k]).max() / max(1, np.abs(old[k]).max())) for k in got)
            print(f"{name:14} worst difference {worst:.2e}")
            bad += worst > 2e-5 or set(old) != set(got)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            place = os.path.join(options.models, name) if options.models else scratch
            model.save_pretrained(place)
            with open(os.path.join(place, "config.json")) as f:
                written = json.load(f)
            with safe_open(os.path.join(place, "model.safetensors"), "np") as f:
                stored = {k: list(f.get_slice(k).get_shape()) for k in f.keys()}
        assert stored == {k: v["shape"] for k, v in tensors.items()}, (name, set(stored) ^ set(tensors))
        os.makedirs(folder, exist_ok=True)
        save_json(os.path.join(folder, "config.json"), written)
        old = older(written)
        if old is not None:
            save_json(os.path.join(folder, "config_old.json"), old)
            with tempfile.TemporaryDirectory() as scratch:
                save_json(os.path.join(scratch, "config.json"), old)
                again = run(build(transformers.AutoConfig.from_pretrained(scratch))[0], ids)
            differs = max(float(np.abs(again[k] - got[k]).max()) for k in got)
            assert differs == 0, (name, "config_old.json means something else", differs)
        with open(os.path.join(folder, "tensors.json"), "w") as f:
            lines = (f"{json.dumps(k)}: {json.dumps(v)}" for k, v in tensors.items())
            f.write("{\n" + ",\n".join(lines) + "\n}\n")
        path = os.path.join(folder, "golden.safetensors")
        save_file(got, path, metadata={"made_by": f"transformers {transformers.__version__}, eager, f32"})
        row_max = got["attn"].max(-1)
        margins[name] = controls(name, config, model, ids, got)
        weak = min(margins[name].items(), key=lambda item: item[1]["attn"], default=None)
        print(f"{name:14} {row_max.mean():8.3f} {(row_max < 0.9).mean():9.3f} {np.abs(got['logits']).max():8.2f} "
              f"{np.abs(got['resid']).max():8.2f} {os.path.getsize(path) // 1024:5}  "
              f"{weak and (weak[0], round(weak[1]['attn'], 5), round(weak[1]['logits'], 4))}")
        assert row_max.mean() > 0.3 and (row_max < 0.9).any(), name
        assert os.path.getsize(path) < 300_000, name
        assert all(np.isfinite(x).all() for x in got.values()), name
    if not options.check:
        save_json(os.path.join(HERE, "controls.json"), margins)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
