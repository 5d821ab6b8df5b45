"""The same run gives the same bytes; the number of threads changes nothing."""

import hashlib
import json

from cli_case import CliCase, main

PROMPT = "The cat sat on the mat, and the dog ran after 17 balls. " * 6


class Determinism(CliCase):
    def digest(self, name):
        return hashlib.sha256((self.dir / name).read_bytes()).hexdigest()

    def digests(self, *words):
        """Of a reproducible capture made twice by the same command."""
        found = set()
        for _ in range(2):
            self.run_cli("capture", self.tiny, *words, "-o", "a.h5", "--force", "--reproducible",
                         env={"SOURCE_DATE_EPOCH": "0"})
            found.add(tuple((name, self.digest(name)) for name in sorted(self.files()) if name.endswith(".h5")))
        return found

    def test_reproducible_captures(self):
        self.write("c.jsonl", "".join(json.dumps({"text": PROMPT[:n]}) + "\n" for n in (30, 80, 20)))
        for words in (["-p", PROMPT], ["-p", PROMPT, "--level", "maps"], ["-p", PROMPT[:60], "-n", "40"],
                      ["-p", PROMPT[:60], "-n", "20", "--temperature", "1", "--seed", "3", "--logits", "all"],
                      ["--corpus", "c.jsonl"], ["--corpus", "c.jsonl", "--level", "replay"]):
            with self.subTest(words[-2:]):
                self.assertEqual(len(self.digests(*words)), 1, "expected the same bytes twice")

    def test_captures_differ_otherwise(self):
        """The check above can fail: without --reproducible every capture has its own uuid."""
        for name in ("a.h5", "b.h5"):
            self.capture(name, prompt=PROMPT)
        self.assertNotEqual(self.digest("a.h5"), self.digest("b.h5"))
        self.assertNotEqual(*(self.result("info", name)["uuid"] for name in ("a.h5", "b.h5")))

    def test_threads(self):
        """Statistics, maps, logits and text are the same bytes with any number of threads."""
        outputs = {}
        for threads in ("1", "2", "3"):
            self.capture("a.h5", "-n", "12", "--threads", threads, "--force", prompt=PROMPT)
            names = []
            for metric in ("received0", "distance"):
                self.run_cli("stats", "a.h5", "-m", metric, "-o", f"{metric}.npy", "--force")
                names.append(f"{metric}.npy")
            for metric, per in (("entropy", "row"), ("lse", "row"), ("dist2", "row"), ("sink", "row"), ("pmax", "row"),
                                ("received", "col"), ("received_tail", "col")):
                self.run_cli("stats", "a.h5", "-m", metric, "--per", per, "-o", f"{metric}-{per}.npy", "--force")
                names.append(f"{metric}-{per}.npy")
            self.run_cli("map", "a.h5", "--head", "2.3", "--threads", threads, "-o", "map.npy", "--force")
            self.run_cli("logits", self.tiny, "-p", PROMPT, "--threads", threads, "-o", "logits.npy", "--force")
            text = self.run_cli("generate", self.tiny, "-p", PROMPT, "--temperature", "1", "--threads", threads).out
            outputs[threads] = [(name, self.digest(name)) for name in [*names, "map.npy", "logits.npy"]] + [text]
        self.assertEqual(outputs["1"], outputs["2"])
        self.assertEqual(outputs["1"], outputs["3"])

    def test_record_order(self):
        """What a record of a corpus says does not depend on the others."""
        lines = [json.dumps({"text": PROMPT[:n], "id": str(n)}) + "\n" for n in (30, 80, 20)]
        values = {}
        for name, order in (("a", (0, 1, 2)), ("b", (2, 0, 1)), ("c", (1, 0))):
            self.write(f"{name}.jsonl", "".join(lines[k] for k in order))
            self.run_cli("capture", self.tiny, "--corpus", f"{name}.jsonl", "-o", f"{name}.h5")
            for record, line in enumerate(order):
                heads = self.result("stats", f"{name}.h5", "-m", "received0", "--record", str(record))["heads"]
                self.assertEqual(values.setdefault(line, heads), heads)

    def test_cpu_tiers(self):
        """Instruction sets agree within the promised 1e-5."""
        self.run_cli("stats", self.capture("best.h5", prompt=PROMPT), "-m", "entropy", "--json")
        for tier in self.result("doctor")["cpu_tiers"].split():
            self.capture(f"{tier}.h5", prompt=PROMPT, env={"HEADLIGHT_CPU_TIER": tier})
            self.run_cli("verify", f"{tier}.h5")
            self.run_cli("compare", "best.h5", f"{tier}.h5", "-m", "max", "--tolerance", "1e-5")


if __name__ == "__main__":
    main()
