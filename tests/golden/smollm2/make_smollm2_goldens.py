#!/usr/bin/env python3
"""Golden values of SmolLM2-135M-Instruct Q4_1 with dequantised weights, by transformers (eager, f32, CPU).

Run by hand; nothing in the build or the tests calls it.
    make_smollm2_goldens.py MODEL.gguf
Tokens come from the model's own vocabulary (tokenizers/make_tokenizer_goldens.py); no BOS is added anywhere.

greedy.json: per prompt the text, its ids, 64 greedy ids, the log-probability (natural) of each, the gap of the two
    largest logits at each step and the runner-up's id. One divergence is tolerable where the gap is < 0.01.
text512.json and text512.safetensors: the first 512 tokens of the GPL-3 text (/usr/share/common-licenses/GPL-3).
    json: nll = mean over 511 predictions, last = ten largest logits of the last position,
        entropy, first, pmax [L][H]: means over all 512 rows of the entropy (nats), of A[i,0] and of max_j A[i,j].
    safetensors: token_ids [512] i32; logits_last [4096] (ids 0..4095); hidden_norm [L+1,512] (index L = before the final norm);
        attn [3,9,2,512] = layers 0, 14, 29, all heads, query rows 255 and 511; rows_layers, rows_queries i32 as named.
"""
import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "tokenizers"))
import numpy as np
import torch
import transformers
from make_tokenizer_goldens import smollm2
from safetensors.numpy import save_file

CHAT = ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nExplain in two sentences why the sky is blue.<|im_end|>\n<|im_start|>assistant\n")
STEPS = 64


def greedy(model, tok, text, count=None):
    ids = tok.encode(text).ids[:count]
    text = tok.decode(ids, skip_special_tokens=False)
    out, logp, gap, second, cache, feed = [], [], [], [], None, torch.tensor([ids])
    for _ in range(STEPS):
        step = model(feed, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache, z = step.past_key_values, step.logits[0, -1].double()
        top = z.topk(2)
        out.append(int(top.indices[0]))
        second.append(int(top.indices[1]))
        gap.append(round(float(top.values[0] - top.values[1]), 6))
        logp.append(round(float(z.log_softmax(-1)[out[-1]]), 6))
        feed = torch.tensor([[out[-1]]])
    full = model(torch.tensor([ids + out[:-1]]), use_cache=False).logits[0, len(ids) - 1:].double()
    again = full.log_softmax(-1)[torch.arange(STEPS), torch.tensor(out)]
    print(len(ids), "prompt ids, whole pass against decode:", float((again - torch.tensor(logp).double()).abs().max()),
          "argmax equal:", full.argmax(-1).tolist() == out, "smallest gap", min(gap))
    print(repr(tok.decode(out)))
    return dict(prompt=text, prompt_ids=ids, ids=out, logprob=logp, gap=gap, second=second,
                text=tok.decode(out, skip_special_tokens=False))


def main():
    folder, file = os.path.split(os.path.abspath(sys.argv[1]))
    tok = smollm2(sys.argv[1])
    torch.set_grad_enabled(False)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32, attn_implementation="eager").eval()
    gpl = open("/usr/share/common-licenses/GPL-3", encoding="utf-8").read()
    runs = [greedy(model, tok, "The capital of France is"), greedy(model, tok, CHAT), greedy(model, tok, gpl, 200)]
    with open(os.path.join(HERE, "greedy.json"), "w") as f:
        json.dump(dict(model="SmolLM2-135M-Instruct Q4_1, dequantised, f32", made_by=f"transformers {transformers.__version__}", runs=runs), f, indent=1)
        f.write("\n")

    ids, norms = tok.encode(gpl).ids[:512], []
    handles = [layer.register_forward_pre_hook(lambda m, a, k: norms.append((a[0] if a else k["hidden_states"])[0].double().norm(dim=-1)), with_kwargs=True)
               for layer in list(model.model.layers) + [model.model.norm]]
    out = model(torch.tensor([ids]), output_attentions=True, use_cache=False)
    for handle in handles:
        handle.remove()
    z = out.logits[0]
    nll = float(torch.nn.functional.cross_entropy(z[:-1].double(), torch.tensor(ids[1:])))
    a = torch.stack([x[0] for x in out.attentions])
    entropy = torch.stack([-(x.double() * x.double().clamp_min(1e-300).log()).sum(-1).mean(-1) for x in a])
    top = z[-1].topk(10)
    layers, queries = [0, 14, 29], [255, 511]
    table = lambda x: [[round(float(v), 6) for v in row] for row in x]
    with open(os.path.join(HERE, "text512.json"), "w") as f:
        json.dump(dict(first_ids=ids[:8], nll=nll, perplexity=float(np.exp(nll)),
                       last=[[int(i), round(float(v), 5)] for v, i in zip(*top)], entropy=table(entropy),
                       first=table(a[..., 0].double().mean(-1)), pmax=table(a.max(-1).values.double().mean(-1))), f)
        f.write("\n")
    save_file(dict(token_ids=np.array(ids, np.int32), logits_last=z[-1, :4096].numpy().copy(),
                   hidden_norm=torch.stack(norms).float().numpy(), attn=np.ascontiguousarray(a[layers][:, :, queries].numpy()),
                   rows_layers=np.array(layers, np.int32), rows_queries=np.array(queries, np.int32)),
              os.path.join(HERE, "text512.safetensors"))
    print("ids", ids[:8], "nll", nll, "last", [(int(i), round(float(v), 4)) for v, i in zip(*top)][:2])
    print("layer 0", table(entropy)[0], "\nlayer 1", table(entropy)[1])
    theirs = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)(gpl, add_special_tokens=False).input_ids[:512]
    print("the tokenizer transformers rebuilds gives the same ids:", theirs == ids)


if __name__ == "__main__":
    main()
