"""`headlight analyze`: what it runs, what it says, what it writes."""

import json
import unittest

from cli_case import CliCase, main
from json_schema import load, problems

SCHEMA = load("analyze-1")
TEXT = "the cat sat on the mat and the dog sat on the cat " * 3


class Analyze(CliCase):
    def check_document(self, document):
        self.assertEqual(problems(document, SCHEMA), [])
        for report in document["result"]["analyses"]:
            for series in report["series"]:
                size = 1
                for n in series["shape"]:
                    size *= n
                if series["values"] is not None:
                    self.assertEqual(len(series["values"]), size, f"{report['id']}.{series['id']}")

    def test_default_set(self):
        name = self.capture("a.h5", prompt=TEXT)
        document = self.document("analyze", name)
        self.check_document(document)
        ids = [report["id"] for report in document["result"]["analyses"]]
        for wanted in ("epsilon-sink", "entropy", "span", "frequency-usage", "positional-heads", "matrix-entropy"):
            self.assertIn(wanted, ids)
        missing = {entry["id"]: entry for entry in document["result"]["not_available"]}
        self.assertEqual(missing["rank-collapse"]["reason"], "not available: needs states")
        self.assertNotIn("over-mixing", ids + list(missing), "runs on demand only")
        self.assertIn("epsilon-sink: Attention sinks", self.run_cli("analyze", name).text)

    def test_summary_level_says_what_is_missing(self):
        name = self.capture("s.h5", "--level", "summary", prompt=TEXT)
        result = self.result("analyze", name)
        missing = {entry["id"]: entry["needs"] for entry in result["not_available"]}
        self.assertEqual(missing["span"], ["qkv"])
        self.assertIn("entropy", [report["id"] for report in result["analyses"]])

    def test_hidden_states_and_all(self):
        name = self.capture("h.h5", "--hidden", prompt=TEXT)
        document = self.document("analyze", name, "--all")
        self.check_document(document)
        ids = [report["id"] for report in document["result"]["analyses"]]
        for wanted in ("rank-collapse", "visual-sinks", "over-mixing", "column-entropy", "rope-what-if", "causal-pattern"):
            self.assertIn(wanted, ids)

    def test_only_and_parameters(self):
        name = self.capture("a.h5", prompt=TEXT)
        series = lambda *words: {s["id"]: s["values"] for s in self.result("analyze", name, "--only", "epsilon-sink", *words)["analyses"][0]["series"]}
        self.assertEqual(series("--param", "epsilon-sink.epsilon=1")["sink_rate0"], [0.0])
        self.assertEqual(series("--param", "epsilon-sink.epsilon=0")["sink_rate0"], [100.0])
        report = self.result("analyze", name, "--only", "hidden-sinks", "--param", "hidden-sinks.compat=repo")["analyses"][0]
        self.assertEqual(report["params"]["compat"], "repo")

    def test_agrees_with_stats(self):
        name = self.capture("a.h5", prompt=TEXT)
        report = self.result("analyze", name, "--only", "dormant-heads")["analyses"][0]
        first = next(s for s in report["series"] if s["id"] == "first")["values"]
        stats = [head["value"] for head in self.result("stats", name, "-m", "first")["heads"]]
        self.assertEqual(len(first), len(stats))
        for a, b in zip(first, stats):
            self.assertAlmostEqual(a, b, places=6)

    def test_outputs(self):
        name = self.capture("a.h5", prompt=TEXT)
        self.run_cli("analyze", name, "--only", "entropy,span", "-o", "all.json")
        document = json.loads((self.dir / "all.json").read_text(encoding="utf-8"))
        self.check_document(document)
        self.assertTrue(all(s["values"] is not None for r in document["result"]["analyses"] for s in r["series"]))
        self.run_cli("analyze", name, "--only", "entropy,hidden-sinks", "-o", "folder")
        names = {path.name for path in (self.dir / "folder").iterdir()}
        self.assertLessEqual({"analyze.json", "entropy.by_token.npy", "hidden-sinks.tokens.csv"}, names)
        self.assertTrue((self.dir / "folder/hidden-sinks.tokens.csv").read_text().startswith("position,token,heads\n"))
        self.refuse(2, "analyze", name, "--only", "entropy", "-o", "all.json", mentions=["all.json"])
        self.run_cli("analyze", name, "--only", "entropy", "-o", "all.json", "--force")
        self.refuse(2, "analyze", name, "-o", name, "--force", mentions=["is an input of this run"])

    def test_corpus(self):
        (self.dir / "c.txt").write_text("one two three four\nfive six seven eight nine\nten\n", encoding="utf-8")
        self.run_cli("capture", self.tiny, "--corpus", "c.txt", "--level", "replay", "-o", "c.h5")
        mean = self.result("analyze", "c.h5", "--record", "mean", "--only", "dormant-heads")
        self.assertEqual(mean["record"], "mean")
        values = lambda result: next(s for s in result["analyses"][0]["series"] if s["id"] == "first")["values"]
        single = [values(self.result("analyze", "c.h5", "--record", str(r), "--only", "dormant-heads")) for r in range(3)]
        for at, value in enumerate(values(mean)):
            known = [record[at] for record in single if record[at] is not None]
            self.assertAlmostEqual(value, sum(known) / len(known), places=6)
        self.assertIn("mean over 3 records", mean["analyses"][0]["notes"])
        self.refuse(2, "analyze", "c.h5", "--record", "3", mentions=["--record", "0-2"])
        contrast = self.result("analyze", "c.h5", "--only", "active-dormant")["analyses"][0]
        self.assertIn("each record is a domain", " ".join(contrast["notes"]))

    def test_refusals(self):
        name = self.capture("a.h5", "--level", "summary", prompt=TEXT)
        refuse = lambda *words, **options: self.refuse(2, "analyze", *words, **options)
        refuse(name, "--only", "epsilon-sin", mentions=["did you mean epsilon-sink?"])
        refuse(name, "--only", "span", mentions=["span", "not available: needs qkv"])
        refuse(name, "--param", "epsilon-sink.epsilon=2", mentions=["epsilon-sink.epsilon", "0 to 1", "2"])
        refuse(name, "--param", "epsilon-sink.epsilo=1", mentions=["did you mean epsilon?"])
        refuse(name, "--param", "epsilon=1", mentions=["ID.NAME=VALUE"])
        refuse(name, "--record", "two", mentions=["--record"])
        refuse(mentions=["CAPTURE"])

    def test_list(self):
        document = self.document("analyze", "--list")
        self.assertEqual(problems(document, load("analyze-1")), [])
        listed = document["result"]["analyses"]
        by_id = {entry["id"]: entry for entry in listed}
        self.assertEqual(by_id["span"]["needs"], ["row", "qkv"])
        self.assertFalse(by_id["over-mixing"]["default"])
        self.assertTrue(all(entry["source"] for entry in listed))
        text = self.run_cli("analyze", "--list").text
        for entry in listed:
            self.assertIn(entry["id"], text)

    def test_head_expressions(self):
        name = self.capture("a.h5", prompt=TEXT)
        heads = lambda expression: [(h["layer"], h["head"]) for h in self.result("stats", name, "-m", "entropy", "--heads", expression)["heads"]]
        every = {(h["layer"], h["head"]): h["value"] for h in self.result("stats", name, "-m", "entropy")["heads"]}
        largest = sorted(every, key=lambda head: (-every[head], head))
        self.assertEqual(heads("top(entropy, 3)"), sorted(largest[:3]))
        self.assertEqual(heads("bottom(entropy, 1)"), largest[-1:])
        self.assertEqual(heads("layer>=1 & head=2 | L0H0"), [(0, 0), (1, 2), (2, 2)])
        middle = every[largest[5]]
        self.assertEqual(heads(f"entropy>{middle}"), sorted(h for h in every if every[h] > middle))
        self.run_cli("map", name, "--head", "top(entropy,1)", "-o", "m.npy")
        plan = {"schema": "headlight.headplan/1", "model": {"L": 3, "H": 4, "G": 2},
                "scores": {"mine": {"granularity": "kv", "value": [[0, 1], [None, 0.5], [0, 0]]}},
                "roles": {"primary": [["sink", None, None, None]] + 2 * [4 * [None]]}}
        (self.dir / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        with_plan = lambda expression: [(h["layer"], h["head"]) for h in self.result(
            "stats", name, "-m", "entropy", "--heads", expression, "--headplan", "plan.json")["heads"]]
        self.assertEqual(with_plan("mine>0.2"), [(0, 2), (0, 3), (1, 2), (1, 3)])
        self.assertEqual(with_plan("primary=sink"), [(0, 0)])
        self.refuse(2, "stats", name, "-m", "entropy", "--heads", "entropy<", mentions=["--heads at byte 8"])
        self.refuse(2, "stats", name, "-m", "entropy", "--heads", "entropi<1", mentions=["did you mean entropy?"])


if __name__ == "__main__":
    main()
