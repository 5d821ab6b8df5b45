"""Verbs that run with interventions: generate, logits, and what info says about them."""

import json

from cli_case import CliCase, main, read_npy

PROMPT = ("-p", "the cat sat on the mat and the dog")


class Interventions(CliCase):
    def stack(self, name, *entries):
        document = {"schema": "headlight.intervention/1", "interventions": list(entries)}
        self.write(name, json.dumps(document))
        return name

    def logits(self, *words):
        self.run_cli("logits", self.tiny, *PROMPT, "-o", "z.npy", "--force", *words)
        return read_npy(self.dir / "z.npy")

    def test_identity_and_other_settings(self):
        base = self.logits()
        off = self.stack("off.json", {"method": "zero-tuning", "params": {"gamma": 1}},
                         {"method": "act", "params": {"beta": 1.0}}, {"method": "soft-pag", "enabled": False})
        on = self.stack("on.json", {"id": "tuned", "method": "zero-tuning", "params": {"gamma": 3}})
        self.assertEqual(self.logits("--intervention", off), base)
        self.assertNotEqual(self.logits("--intervention", on), base)
        self.assertNotEqual(self.logits("--intervention", off, "--intervention", "on.json", "--threads", "1"), base)

    def test_spans_are_found_in_the_prompt(self):
        entry = {"method": "pasta", "inputs": {"spans": [{"text": "the cat"}]}}
        changed = self.logits("--intervention", self.stack("a.json", entry))
        self.assertNotEqual(changed, self.logits())
        entry["inputs"]["spans"][0]["text"] = "the cow"
        self.refuse(2, "logits", self.tiny, *PROMPT, "--intervention", self.stack("b.json", entry),
                    mentions=["pasta", "the cow"])

    def test_compare(self):
        off = self.stack("off.json", {"method": "temperature", "params": {"tau": 1}})
        result = self.result("generate", self.tiny, *PROMPT, "-n", "5", "--intervention", off, "--compare")
        self.assertEqual(result["first_token_kl"], 0)
        self.assertEqual(result["base"], result["changed"])
        self.assertEqual(result["num_same_tokens"], len(result["base"]["tokens"]))
        on = self.stack("on.json", {"method": "temperature", "params": {"tau": 4}})
        result = self.result("generate", self.tiny, *PROMPT, "-n", "5", "--intervention", on, "--compare")
        self.assertGreater(result["first_token_kl"], 0)
        alone = self.result("generate", self.tiny, *PROMPT, "-n", "5", "--intervention", on)
        self.assertEqual(alone, result["changed"])
        text = self.run_cli("generate", self.tiny, *PROMPT, "-n", "5", "--intervention", on, "--compare").text
        self.assertIn("changed: ", text)
        self.refuse(2, "generate", self.tiny, *PROMPT, "--compare", mentions=["--intervention"])

    def test_refusals(self):
        twice = self.stack("twice.json", {"id": "a", "method": "soft-pag"}, {"id": "b", "method": "attention-replacement"})
        self.refuse(2, "logits", self.tiny, *PROMPT, "--intervention", twice, mentions=["'a' and 'b'"])
        unknown = self.stack("unknown.json", {"method": "sofd-pag"})
        self.refuse(4, "logits", self.tiny, *PROMPT, "--intervention", unknown, mentions=["unknown.json", "sofd-pag"])
        self.refuse(3, "logits", self.tiny, *PROMPT, "--intervention", "absent.json", mentions=["absent.json"])
        fine = self.stack("fine.json", {"method": "soft-pag"})
        self.refuse(2, "logits", self.tiny, *PROMPT, "--intervention", fine, "--intervention", fine,
                    mentions=["occurs twice"])
        self.refuse(5, "logits", self.tiny, *PROMPT, "--intervention", fine, "--device", "cuda", mentions=["CUDA"])
        self.write("corpus.jsonl", '{"id": "a", "text": "the cat"}\n{"id": "b", "text": "the dog"}\n')
        self.refuse(5, "capture", self.tiny, "--corpus", "corpus.jsonl", "-o", "a.h5", "--intervention", fine,
                    mentions=["level summary"])

    def test_capture(self):
        entries = [{"id": "tuned", "method": "zero-tuning", "params": {"gamma": 4}},
                   {"method": "act", "params": {"theta": 0.1, "min_rows": 2}, "scope": {"layers": [0]}},
                   {"method": "pasta", "inputs": {"spans": [{"text": "sat on"}]}, "scope": {"layers": [1]}}]
        on = self.stack("on.json", *entries)
        self.run_cli("capture", self.tiny, *PROMPT, "-n", "4", "-o", "on.h5", "--intervention", on)
        self.run_cli("capture", self.tiny, *PROMPT, "-o", "off.h5")
        self.run_cli("capture", self.tiny, *PROMPT, "-o", "prompt.h5", "--intervention", on)
        self.run_cli("verify", "on.h5", "--model", self.tiny)
        info = self.result("info", "on.h5")
        self.assertEqual(info["interventions"]["tuned"]["gamma"], 4)
        self.assertIn("sat on", info["interventions"]["pasta"]["inputs"])
        self.assertIn("entropy_base", info["statistics"])
        self.assertNotIn("interventions", self.result("info", "off.h5"))
        # Maps before and after; those before are the ones of a run without interventions, where nothing came before.
        same = self.result("compare", "on.h5", "--base")
        self.assertGreater(same["heads"][0]["tv"], 0.01)
        for words, name in (((), "on.npy"), (("--base",), "base.npy")):
            self.run_cli("map", "on.h5", "--head", "0.0", *words, "-o", name)
        self.run_cli("map", "off.h5", "--head", "0.0", "--rows", "0:5", "-o", "off.npy")
        rows = [read_npy(self.dir / name) for name in ("on.npy", "base.npy")]
        self.assertNotEqual(rows[0], rows[1])
        self.assertGreater(self.result("compare", "off.h5", "prompt.h5")["heads"][0]["tv"], 0.01)
        self.refuse(2, "compare", "off.h5", "--base", mentions=["without interventions"])
        self.refuse(2, "compare", "off.h5", mentions=["--base"])

    def test_capture_of_a_corpus(self):
        self.write("corpus.jsonl", '{"id": "a", "text": "the cat sat"}\n{"id": "b", "text": "a dog and the cat"}\n')
        on = self.stack("on.json", {"method": "pasta", "inputs": {"spans": [{"text": "the cat"}]}})
        self.run_cli("capture", self.tiny, "--corpus", "corpus.jsonl", "--level", "replay", "-o", "c.h5",
                     "--intervention", on)
        for record in ("0", "1"):
            self.run_cli("verify", "c.h5", "--record", record, "--model", self.tiny)

    def test_contrastive_decoding(self):
        document = {"schema": "headlight.intervention/1", "kind": "procedure", "procedure": "contrastive-decoding",
                    "params": {"gamma": 2, "cutoff": 0}, "interventions": [],
                    "branches": [{"id": "blind", "interventions": [{"method": "attention-replacement"}]}]}
        self.write("c.json", json.dumps(document))
        result = self.result("generate", self.tiny, *PROMPT, "-n", "5", "--intervention", "c.json", "--compare")
        self.assertGreater(result["first_token_kl"], 0)
        self.assertEqual(self.result("info", "c.json")["procedure"]["gamma"], 2)
        self.refuse(5, "logits", self.tiny, *PROMPT, "--intervention", "c.json", mentions=["generate"])
        document["branches"] = []
        self.write("empty.json", json.dumps(document))
        self.refuse(4, "info", "empty.json", mentions=["branches"])
        document["procedure"] = "carve"
        self.write("other.json", json.dumps(document))
        self.refuse(5, "info", "other.json", mentions=["carve"])

    def test_info(self):
        path = self.stack("a.json", {"id": "calm", "method": "act", "params": {"beta": 0.25}, "scope": {"layers": [1]}})
        result = self.result("info", path)
        self.assertEqual(result["kind"], "intervention")
        self.assertEqual((result["calm"]["beta"], result["calm"]["theta"]), (0.25, 0.1))
        methods = {entry["id"]: entry for entry in self.result("info", "--methods")}
        self.assertIn("zero-tuning", methods)
        for entry in methods.values():
            self.assertTrue(any("identity" in parameter for parameter in entry["parameters"]), entry["id"])
        self.assertIn("gamma", self.run_cli("info", "--methods").text)
        self.refuse(2, "info", mentions=["--methods"])


if __name__ == "__main__":
    main()
