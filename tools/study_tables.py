#!/usr/bin/env python3
"""Tables of a study folder (headplan.json, retrieval.json, induction.json) as Markdown: see scripts/study-smollm2."""
import json
import pathlib
import statistics
import sys


def load(path):
    return json.loads(path.read_text()) if path.exists() else None


def flat(plan, score):
    """[(value, low, high, layer, head)], undefined ones left out."""
    entry = plan["scores"][score]
    low, high = entry.get("ci_low"), entry.get("ci_high")
    return [(v, low[l][h] if low else None, high[l][h] if high else None, l, h)
            for l, row in enumerate(entry["value"]) for h, v in enumerate(row) if v is not None]


def strongest(plan, score, count):
    print(f"\n{score} ({plan['scores'][score]['n']} samples)\n\n| head | mean | 95 % interval |\n|---|---|---|")
    for value, low, high, layer, head in sorted(flat(plan, score), key=lambda e: (-e[0], e[3], e[4]))[:count]:
        interval = f"{low:.3f} to {high:.3f}" if low is not None else ""
        print(f"| L{layer}H{head} | {value:.3f} | {interval} |")


def share(plan, score, threshold):
    values = [e[0] for e in flat(plan, score)]
    return sum(v >= threshold for v in values), len(values)


def overview(plan):
    print("| what | heads |\n|---|---|")
    for title, score, threshold in (("rest on the first token of text (mean >= 0.3)", "first-token-text", 0.3),
                                    ("the same on random repeats", "first-token", 0.3),
                                    ("another token gets >= 0.3 on text", "vertical-text", 0.3),
                                    ("another token gets >= 0.1 on text", "vertical-text", 0.1),
                                    ("previous token >= 0.4", "previous-token", 0.4),
                                    ("induction >= 0.4", "induction", 0.4),
                                    ("duplicate token >= 0.4", "duplicate-token", 0.4),
                                    ("retrieval >= 0.1", "retrieval", 0.1),
                                    ("retrieval >= 0.5", "retrieval", 0.5)):
        if score in plan["scores"]:
            count, total = share(plan, score, threshold)
            print(f"| {title} | {count} of {total} ({100 * count / total:.1f} %) |")
    roles = [r for row in plan["roles"]["primary"] for r in row]
    print("\nprimary roles: " + ", ".join(f"{r} {roles.count(r)}" for r in sorted(set(roles), key=lambda r: -roles.count(r))))
    print("\n| experiment | samples | counted | by group |\n|---|---|---|---|")
    for name, facts in plan["experiments"].items():
        groups = ", ".join(f"{g}: {v['counted']} of {v['samples']}" for g, v in facts["groups"].items())
        print(f"| {name} | {facts['samples']} | {facts['counted']} | {groups} |")
    print("\n| layer | mean entropy on text, nats | mean mass on the first token |\n|---|---|---|")
    for layer, (entropy, first) in enumerate(zip(plan["scores"]["entropy-text"]["value"],
                                                 plan["scores"]["first-token-text"]["value"])):
        print(f"| {layer} | {statistics.mean(entropy):.2f} | {statistics.mean(first):.2f} |")


def ablation(study, title):
    task = study["task"]
    print(f"\n### {title}\n\n{json.dumps(task)}; resolved: {study['resolved']}\n")
    print(f"whole model: {study['whole']['performance']:.3f}, loss {study['whole']['loss']:.3f}\n")
    print("| heads removed | without the top | others: mean (least to most) | draws | rank p | loss without the top | loss, others: mean (least to most) |")
    print("|---|---|---|---|---|---|---|")
    for point in study["points"]:
        performance = [r["performance"] for r in point["with_random"]]
        loss = [r["loss"] for r in point["with_random"]]
        if not performance:
            continue
        print(f"| {len(point['heads'])} ({100 * point['share']:.0f} %) | {point['with_top']['performance']:.3f} | "
              f"{statistics.mean(performance):.3f} ({min(performance):.3f} to {max(performance):.3f}) | {len(performance)} | "
              f"{point['rank_p']:.3f} | {point['with_top']['loss']:.3f} | "
              f"{statistics.mean(loss):.3f} ({min(loss):.3f} to {max(loss):.3f}) |")


def main():
    folder = pathlib.Path(sys.argv[1])
    plan = load(folder / "headplan.json")
    if plan:
        overview(plan)
        for score in ("retrieval", "induction", "previous-token", "vertical-text"):
            if score in plan["scores"]:
                strongest(plan, score, 8)
    for name, title in (("retrieval", "Removing retrieval heads"), ("induction", "Removing induction heads")):
        study = load(folder / f"{name}.json")
        if study:
            ablation(study, title)


if __name__ == "__main__":
    main()
