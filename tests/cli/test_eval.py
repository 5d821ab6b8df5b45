"""Evaluation and calibration from the command line: a planted model whose copying head is known, and a tiny model that
reads text."""

import json
import os
import signal

from cli_case import PlantedCase, main
from json_schema import load, problems


def stack(method, heads=None, **params):
    entry = {"id": "change", "method": method, "params": params}
    if heads:
        entry["scope"] = {"heads": heads}
    return json.dumps({"schema": "headlight.intervention/1", "kind": "intervention", "interventions": [entry]})


class Evaluation(PlantedCase):
    def saved(self, name):
        return json.loads((self.dir / name).read_text())

    def without_time(self, name):
        document = self.saved(name)
        document.pop("seconds")
        return document

    def test_the_copying_head_is_needed_and_others_are_not(self):
        self.write("knock.json", stack("head-scale", ["L1H0"], scale=0))
        words = ("eval", self.planted, "--task", "copy", "--n", "60", "--draws", "4", "--intervention", "knock.json")
        text = self.run_cli(*words, "-o", "a.json", "--items", "items.jsonl").text
        self.assertIn("better than 0 % of 4 sets", text)
        task = self.saved("a.json")["tasks"][0]
        self.assertGreater(task["arms"]["base"]["accuracy"], 0.9)
        self.assertLess(task["effect"]["high"], -0.3)
        self.assertEqual(task["controls"]["identity"]["items_that_differ"], 0)
        self.assertGreater(self.saved("a.json")["harm"]["new"]["induction_loss"],
                           self.saved("a.json")["harm"]["base"]["induction_loss"] + 1)
        items = [json.loads(line) for line in (self.dir / "items.jsonl").read_text().splitlines()]
        self.assertEqual(len(items), 60)
        self.assertEqual(items[0]["schema"], "headlight.task/1")
        self.assertEqual(len(items[59]["scores"]["new"]["ll"]), 4)
        self.assertEqual(sorted(os.listdir(self.dir)), ["a.json", "items.jsonl", "knock.json"])
        self.run_cli(*words, "-o", "b.json", "--threads", "1")
        self.assertEqual(self.without_time("a.json"), self.without_time("b.json"))

    def test_text_tasks_on_a_model_with_a_tokenizer(self):
        self.write("zero.json", stack("zero-tuning", ["L1H0", "L2H3"], gamma=3))
        document = self.result("eval", self.tiny, "--task", "T1,T4:5,ioi", "--n", "12", "--draws", "2",
                               "--intervention", "zero.json", "-o", "eval.json")
        self.assertEqual([task["id"] for task in document["tasks"]], ["sentiment", "key-value", "ioi"])
        for task in document["tasks"]:
            self.assertEqual(set(task["arms"]), {"base", "new", "random-token", "temperature"})
            self.assertEqual(task["controls"]["identity"]["items_that_differ"], 0)
            self.assertIn("other-first-token", task["controls"])
            self.assertEqual(sum(frame["n"] for frame in task["templates"]), 12)
        self.assertGreater(document["harm"]["base"]["perplexity"], 1)
        self.assertEqual(problems(document, load("eval")), [])

    def test_an_interrupted_evaluation_goes_on(self):
        words = ("eval", self.planted, "--task", "copy", "--n", "2000", "--no-harm")
        self.run_cli(*words, "-o", "whole.json")
        process = self.spawn(*words, "-o", "part.json", "--threads", "1", "--progress", "json")
        for line in process.stderr:
            if line.startswith(b"{") and json.loads(line)["done"] >= 3:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertFalse((self.dir / "part.json").exists())
        run = self.run_cli(*words, "-o", "part.json")
        self.assertIn("going on after", run.err)
        self.assertEqual(self.without_time("whole.json"), self.without_time("part.json"))

    def test_calibration_finds_the_copying_head(self):
        # A model that looks at its first token instead of copying gains when that token is made small.
        text = self.run_cli("calibrate", "zerotuning", self.planted, "--task", "copy", "--n", "40", "--objective",
                            "margin", "-o", "zero.json").text
        self.assertIn("calibration", text)
        found = self.saved("zero.json")
        self.assertEqual(found["schema"], "headlight.intervention/1")
        reaction = {entry["candidate"]: abs(entry["gain"]) for entry in found["evidence"]["stages"]["heads"]}
        self.assertEqual(len(reaction), 16)
        self.assertIn(max(reaction, key=reaction.get), ("L1H0", "L0H0"))
        self.assertEqual(reaction["L1H5"], 0)
        self.run_cli("eval", self.planted, "--task", "copy", "--n", "20", "--no-controls", "--no-harm",
                     "--intervention", "zero.json", "-o", "eval.json")

    def test_every_method_writes_an_intervention(self):
        for method, extra in (("act", ()), ("temperature", ()), ("zerotuning", ("--unsupervised",))):
            name = f"{method}.json"
            document = self.result("calibrate", method, self.planted, "--task", "copy", "--n", "10", "-o", name, *extra)
            self.assertEqual(document, self.saved(name))
            self.assertEqual(len(document["interventions"]), 1)
            self.assertIn("selection", document["evidence"])
        document = self.result("calibrate", "pasta", self.tiny, "--task", "override", "--n", "6", "--objective", "margin",
                               "-o", "pasta.json")
        self.assertEqual(document["interventions"][0]["inputs"]["spans"], [{"text": "{evidence}"}])
        self.run_cli("eval", self.tiny, "--task", "override", "--n", "6", "--draws", "1", "--intervention", "pasta.json",
                     "-o", "eval.json")

    def test_refusals(self):
        self.refuse(2, "eval", self.planted, "--task", "copy", mentions=["--out"])
        self.refuse(2, "eval", self.planted, "-o", "e.json", mentions=["task"])
        self.refuse(2, "eval", self.planted, "--task", "topics", "-o", "e.json", mentions=["topic"])
        self.refuse(2, "eval", self.planted, "--task", "copy,T5", "-o", "e.json", mentions=["twice"])
        self.refuse(2, "eval", self.tiny, "--task", "key-value:7", "-o", "e.json", mentions=["variant"])
        self.refuse(5, "eval", self.planted, "--task", "topic", "-o", "e.json", mentions=["tokenizer"])
        self.refuse(2, "calibrate", "pasta", self.tiny, "--task", "topic", "-o", "i.json",
                    mentions=["evidence"])
        self.refuse(2, "calibrate", "act", self.planted, "--task", "copy", "--unsupervised", "-o", "i.json")


if __name__ == "__main__":
    main()
