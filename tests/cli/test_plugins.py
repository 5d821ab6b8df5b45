"""Plugins, built outside the tree: an intervention and an analysis, and what is refused."""

import json
import os
import subprocess

from cli_case import CliCase, main, read_npy

SOURCE = os.environ["HEADLIGHT_SOURCE_DIR"]
PROMPT = ("-p", "the cat sat on the mat and the dog")


class Plugins(CliCase):
    def build(self, name, *flags, source=None):
        path = self.dir / f"{name}{len(flags)}.so"
        subprocess.run([os.environ["HEADLIGHT_CC"], "-shared", "-fPIC", "-Wall", "-Werror", "-I", f"{SOURCE}/plugins/sdk", *flags,
                        source or f"{SOURCE}/plugins/examples/{name}.c", "-o", str(path), "-lm"], check=True)
        return str(path)

    def test_intervention(self):
        plugin = self.build("first_tokens")
        self.assertIn("example-first-tokens", self.run_cli("plugins", "--plugin", plugin).text)
        methods = {entry["id"]: entry for entry in self.result("info", "--methods", "--plugin", plugin)}
        self.assertEqual(methods["example-first-tokens"]["parameters"][0]["identity"], 1)

        def logits(name, **entry):
            self.write(name, json.dumps({"schema": "headlight.intervention/1", "interventions": [entry]}))
            self.run_cli("logits", self.tiny, *PROMPT, "-o", "z.npy", "--force", "--intervention", name, "--plugin", plugin)
            return read_npy(self.dir / "z.npy")

        # One token of weight 3 is ZeroTuning with gamma 3, bit for bit; weight 1 is nothing.
        mine = logits("mine.json", method="example-first-tokens", params={"weight": 3, "count": 1})
        self.assertEqual(mine, logits("built_in.json", method="zero-tuning", params={"gamma": 3}))
        self.run_cli("logits", self.tiny, *PROMPT, "-o", "base.npy")
        self.assertEqual(logits("off.json", method="example-first-tokens", params={"weight": 1}),
                         read_npy(self.dir / "base.npy"))
        # Captures under it are verified by it.
        self.run_cli("capture", self.tiny, *PROMPT, "-o", "c.h5", "--intervention", "mine.json", "--plugin", plugin)
        self.run_cli("verify", "c.h5", "--model", self.tiny, "--plugin", plugin)
        self.run_cli("verify", "c.h5")
        self.refuse(4, "logits", self.tiny, *PROMPT, "--intervention", "mine.json", mentions=["example-first-tokens"])
        self.refuse(2, "logits", self.tiny, *PROMPT, "--plugin", plugin, "--intervention", self.out_of_range(),
                    mentions=["0.01 to 100"])

    def out_of_range(self):
        entry = {"method": "example-first-tokens", "params": {"weight": 1000}}
        self.write("far.json", json.dumps({"schema": "headlight.intervention/1", "interventions": [entry]}))
        return "far.json"

    def test_analysis(self):
        plugin = self.build("stillness")
        self.run_cli("capture", self.tiny, *PROMPT, "-o", "c.h5")
        result = self.result("analyze", "c.h5", "--only", "example-stillness", "--plugin", plugin)
        text = json.dumps(result)
        self.assertIn("stillness", text)
        self.refuse(2, "analyze", "c.h5", "--only", "example-stillness", mentions=["example-stillness"])

    def test_refusals(self):
        old = self.build("first_tokens", "-DHEADLIGHT_PLUGIN_ABI=99")
        self.refuse(4, "plugins", "--plugin", old, mentions=["version 99", "version 1", "build it again"])
        self.refuse(3, "plugins", "--plugin", "absent.so", mentions=["absent.so"])
        self.write("text.so", "no library")
        self.refuse(4, "plugins", "--plugin", "text.so", mentions=["cannot be loaded"])
        self.write("empty.c", "int nothing(void) { return 0; }\n")
        empty = self.build("empty", source=str(self.dir / "empty.c"))
        self.refuse(4, "plugins", "--plugin", empty, mentions=["headlight_plugin_entry"])
        plugin = self.build("first_tokens")
        self.refuse(4, "plugins", "--plugin", plugin, "--plugin", plugin, mentions=["there is a method"])


if __name__ == "__main__":
    main()
