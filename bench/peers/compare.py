#!/usr/bin/env python3
"""Headlight beside llama.cpp and transformers, in turns on one machine; prints a Markdown table.

    python3 -m venv peers && peers/bin/pip install -r bench/peers/requirements.txt
    bench/peers/compare.py --headlight build/release/bin/headlight --python peers/bin/python \\
        --gguf models/SmolLM2-135M-Instruct.Q4_1.gguf --folder smollm2-hf --text data/text/genesis.txt

The folder holds the same weights for transformers: --make-folder writes it from the GGUF file. Each cell is a process of its
own. Prefill ends with the logits of the last token. Peak memory of the peers leaves loading out; Headlight's is that of the
whole process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headlight", required=True)
    parser.add_argument("--python", required=True, help="interpreter that has the peers")
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--make-folder", action="store_true")
    parser.add_argument("--lengths", default="512,2048")
    parser.add_argument("--skip", default="", help="cells left out, such as transformers:statistics:8192")
    parser.add_argument("--repeats", default="3")
    parser.add_argument("--threads", default="2")
    return parser.parse_args()


def last_json(command: list[str]) -> dict:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"failed: {' '.join(command)}\n{done.stderr[-2000:]}", file=sys.stderr)
        return {}
    return json.loads(done.stdout[done.stdout.index("{") :])


def peer(args: argparse.Namespace, name: str, mode: str, tokens: str) -> dict:
    program, model = ("transformers_peer.py", args.folder) if name == "transformers" else ("llama_cpp_peer.py", args.gguf)
    return last_json([args.python, os.path.join(HERE, program), "--model", model, "--mode", mode, "--tokens", tokens,
                      "--text", args.text, "--repeats", args.repeats, "--threads", args.threads])


def headlight_speed(args: argparse.Namespace, tokens: str) -> dict:
    report = last_json([args.headlight, "bench", "end-to-end", args.gguf, "--lengths", tokens, "--repeats", args.repeats,
                        "--threads", args.threads, "--json", "-q"])
    return report["result"]["lengths"][0]


def headlight_peak(args: argparse.Namespace, tokens: str) -> float:
    """MiB of a capture of level summary, everything in."""
    with tempfile.TemporaryDirectory() as folder:
        command = [args.headlight, "capture", args.gguf, "-f", args.text, "--max-tokens", tokens, "--level", "summary",
                   "-q", "--threads", args.threads, "-o", os.path.join(folder, "c.h5")]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        assert status == 0, command
        return usage.ru_maxrss / 1024


def cell(values: dict, with_peak: bool = True) -> str:
    if not values:
        return "-"
    text = f"{values['seconds']:.2f} s, {values['tokens_per_second']:.0f}/s"
    return f"{text}, {values['peak_mib']:.0f} MiB" if with_peak else f"{values['tokens_per_second']:.0f}/s"


def main() -> None:
    args = parse()
    if args.make_folder:
        subprocess.run([args.python, os.path.join(HERE, "gguf_to_folder.py"), args.gguf, args.folder], check=True)
    print("| N | | Headlight | llama.cpp | transformers |\n|---:|---|---|---|---|")
    for tokens in args.lengths.split(","):
        ours = headlight_speed(args, tokens)
        cells = {(name, mode): {} if f"{name}:{mode}:{tokens}" in args.skip.split(",") else peer(args, name, mode, tokens)
                 for name in ("llama.cpp", "transformers") for mode in ("plain", "statistics", "decode")}
        again = headlight_speed(args, tokens)  # before and after the peers: the better of two, as for every repetition
        rate = {key: max(ours[key], again[key]) for key in ours if key.endswith("_per_s")}
        peak = headlight_peak(args, tokens)
        for label, mode, key in (("plain", "plain", "prefill"), ("statistics", "statistics", "summary")):
            own = rate[f"{key}_tokens_per_s"]
            memory = f", {peak:.0f} MiB" if mode == "statistics" else ""
            print(f"| {tokens} | {label} | {int(tokens) / own:.2f} s, {own:.0f}/s{memory} | {cell(cells['llama.cpp', mode])} "
                  f"| {cell(cells['transformers', mode])} |", flush=True)
        replay = rate["replay_tokens_per_s"]
        print(f"| {tokens} | statistics and q, k, v | {int(tokens) / replay:.2f} s, {replay:.0f}/s | - | - |")
        print(f"| {tokens} | decode | {rate['decode_tokens_per_s']:.0f}/s | {cell(cells['llama.cpp', 'decode'], False)} "
              f"| {cell(cells['transformers', 'decode'], False)} |", flush=True)


main()
