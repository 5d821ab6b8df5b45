"""Head roles from the command line, on a model whose roles are known."""

import json
import os
import signal
import subprocess

from cli_case import PlantedCase, main
from json_schema import load, problems

HEAD_STUDY = os.environ.get("HEADLIGHT_HEAD_STUDY", "")


class Roles(PlantedCase):
    def plan(self, name="plan.json"):
        return json.loads((self.dir / name).read_text())

    def test_planted_roles_are_found(self):
        result = self.result("roles", self.planted, "--suite", "repeats,needles", "-o", "plan.json")
        self.assertEqual(result["strongest"]["retrieval"][0]["head"], "L1H0")
        self.assertIn(result["strongest"]["previous-token"][0]["head"], ("L0H0", "L1H3"))  # both, but for a rounding
        plan = self.plan()
        self.assertEqual(plan["schema"], "headlight.headplan/1")
        self.assertEqual(plan["roles"]["primary"][0][:4], ["previous", "current", "sink", "duplicate"])
        self.assertEqual(plan["policy"][1], ["full", "stream", "stream", "stream"])
        self.assertEqual(plan["experiments"]["needles"]["counted"], 40)
        self.assertEqual([n for n in os.listdir(self.dir) if n != "plan.json"], [])
        text = self.run_cli("roles", self.planted, "--suite", "repeats", "-o", "text.json", "--top", "1").text
        self.assertIn("L1H0", text)
        self.assertIn("induction", text)

    def test_drift_between_two_plans(self):
        self.run_cli("roles", self.planted, "--suite", "repeats", "-o", "a.json")
        self.run_cli("roles", self.planted, "--suite", "repeats", "-o", "b.json", "--seed", "5")
        document = self.document("compare", "a.json", "b.json")
        self.assertEqual(problems(document, load("compare-1")), [])
        self.assertEqual(document["result"]["agreement"], 1.0)
        plan = self.plan("b.json")
        plan["roles"]["primary"][0][0] = "induction"
        self.write("c.json", json.dumps(plan))
        self.assertEqual(self.result("compare", "a.json", "c.json")["changes"][0]["head"], "L0H0")
        self.assertIn("rank corr", self.run_cli("compare", "a.json", "c.json").text)
        self.refuse(2, "compare", "a.json", "capture.h5", mentions=["two head plans"])

    def test_the_file_is_as_the_schema_says(self):
        document = self.document("roles", self.planted, "--suite", "repeats", "-o", "plan.json")
        self.assertEqual(problems(self.plan(), load("headplan")), [])
        self.assertEqual(problems(document, load("roles-1")), [])
        broken = self.plan()
        broken["scores"]["induction"]["value"][0][0] = "much"
        broken["roles"]["primary"][0][0] = 3
        self.assertEqual(len(problems(broken, load("headplan"))), 2)

    def test_a_study_is_as_the_schema_says(self):
        self.run_cli("roles", self.planted, "--suite", "repeats", "-o", "plan.json")
        for task in ("repeats", "influence"):
            subprocess.run([HEAD_STUDY, str(self.planted), "--headplan", "plan.json", "--score", "induction", "--task", task,
                            "--shares", "0.06", "--draws", "2", "-o", f"{task}.json"], check=True, cwd=self.dir, stderr=subprocess.DEVNULL)
            self.assertEqual(problems(self.plan(f"{task}.json"), load("head-study-1")), [])
        study = self.plan("repeats.json")
        self.assertEqual(study["points"][0]["heads"], ["L1H0"])
        self.assertEqual(study["whole"]["performance"], 1.0)
        self.assertLess(study["points"][0]["with_top"]["performance"], 0.2)

    def test_roles_under_an_intervention(self):
        entry = {"method": "head-scale", "params": {"scale": 0}, "scope": {"heads": ["L0H0", "L1H3"]}}
        self.write("off.json", json.dumps({"schema": "headlight.intervention/1", "interventions": [entry]}))
        self.run_cli("roles", self.planted, "--suite", "repeats", "-o", "plain.json")
        self.run_cli("roles", self.planted, "--suite", "repeats", "-o", "plan.json", "--intervention", "off.json")
        self.assertEqual(self.plan()["interventions"][0]["params"]["scale"], 0)
        self.assertNotIn("interventions", self.plan("plain.json"))
        self.assertNotEqual(self.plan()["scores"], self.plan("plain.json")["scores"])

    def test_an_interrupted_run_goes_on(self):
        self.run_cli("roles", self.planted, "--suite", "repeats,needles", "-o", "whole.json")
        process = self.spawn("roles", self.planted, "--suite", "repeats,needles", "-o", "plan.json", "--threads", "1",
                             "--progress", "json")
        for line in process.stderr:
            if line.startswith(b"{") and json.loads(line)["phase"] == "needles" and json.loads(line)["done"] >= 3:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertFalse((self.dir / "plan.json").exists())
        self.assertTrue((self.dir / ".plan.json.journal").exists())
        with open(self.dir / ".plan.json.journal", "ab") as journal:
            journal.write(b'{"key": "needles/torn')
        run = self.run_cli("roles", self.planted, "--suite", "repeats,needles", "-o", "plan.json")
        self.assertIn("going on after", run.err)
        self.assertFalse((self.dir / ".plan.json.journal").exists())
        whole, resumed = self.plan("whole.json"), self.plan()
        self.assertEqual(resumed["scores"], whole["scores"])
        self.assertEqual(resumed["roles"], whole["roles"])

    def test_refusals(self):
        self.refuse(2, "roles", self.planted, mentions=["--out"])
        self.refuse(2, "roles", self.planted, "--suite", "repeat", "-o", "p.json", mentions=["repeat", "repeats"])
        self.write("there.json", "{}")
        self.refuse(2, "roles", self.planted, "-o", "there.json", error="output_exists")
        self.refuse(3, "roles", "no-such-model", "-o", "p.json")


if __name__ == "__main__":
    main()
