"""The verb capture: levels, what is kept, corpora, limits, outputs that exist, and merge."""

import json
import os
import pathlib
import shutil

from cli_case import CliCase, main, read_npy
from json_schema import load, problems

COMPARE = load("compare-1")

LINES = ["The cat sat on the mat.", "Numbers: 1, 2, 3.", "A third line", "and the fourth, which is longer than the rest."]


class Levels(CliCase):
    def info(self, name):
        return self.result("info", name)

    def test_replay_is_the_default(self):
        document = self.document("capture", self.tiny, "-p", "Hello world", "-o", "a.h5")
        result = document["result"]
        tokens = self.result("tokenize", self.tiny, "-p", "Hello world")["num_tokens"]
        self.assertEqual((result["output"], result["level"], result["num_records"], result["num_failed"],
                          result["num_rows"]), ("a.h5", "replay", 1, 0, tokens))
        self.assertEqual(result["bytes"], (self.dir / "a.h5").stat().st_size)
        info = self.info("a.h5")
        self.assertEqual(info["kind"], "capture")
        self.assertEqual((info["state"], info["level"], info["recorded_layers"]), ("sealed", "replay", "0-2"))
        self.assertEqual((info["rows"], info["prompt_tokens"], info["generated_tokens"]), (tokens, tokens, 0))
        self.assertEqual(info["replay"], f"f32 q, k, v, rows 0:{tokens}")
        self.assertTrue(info["overview"])
        self.assertFalse(info["dense_maps"] or info["hidden_states"])
        self.assertIn("capture", info["run"]["command"])
        self.assertEqual(info["model"]["query_heads"], 4)
        self.run_cli("verify", "a.h5", "--model", self.tiny)

    def test_text(self):
        run = self.run_cli("capture", self.tiny, "-p", "Hello", "-o", "a.h5")
        self.assertRegex(run.text, r"\Aa\.h5: 1 record, \d+ rows, 3 layers x 4 heads, level replay, .* tokens/s\)\n\Z")
        self.assertEqual(list(self.files()), ["a.h5"])

    def test_every_plan_verifies(self):
        for number, words in enumerate((
                ["--level", "maps"], ["--level", "maps", "--heads", "1.*", "--layers", "1-2"], ["-n", "9"],
                ["-n", "1"], ["--layers", "0,2"], ["--heads", "L1H2|2.*"], ["--rows", "-4:"], ["--rows=2:5"],
                ["--no-values"], ["--no-overview"], ["--hidden"], ["--logits", "all", "-n", "4"], ["--logits", "none"],
                ["--replay-dtype", "bf16"], ["--replay-dtype", "f16"], ["--fast-identity"], ["--kv-dtype", "bf16"],
                ["--sliding-window", "3"], ["-n", "12", "--temperature", "1", "--seed", "5"], ["--max-tokens", "1"],
                ["--level", "maps", "-n", "6", "--rows", ":7"])):
            with self.subTest(words):
                name = f"{number}.h5"
                self.capture(name, *words)
                checks = self.result("verify", name, "--model", self.tiny)["checks"]
                self.assertIn("row entropy", [check["name"] for check in checks])
                self.assertGreater(min(check["values"] for check in checks), 0)

    def test_what_is_kept(self):
        self.capture("a.h5", "--layers", "0,2", "--heads", "2.*", "--no-values", "--rows", "-4:", "--hidden",
                     "--no-overview", "--replay-dtype", "bf16", "--level", "maps")
        info = self.info("a.h5")
        rows = info["rows"]
        self.assertEqual((info["level"], info["recorded_layers"]), ("maps", "0,2"))
        self.assertEqual(info["replay"], f"bf16 q, k, rows {rows - 4}:{rows}")
        self.assertTrue(info["dense_maps"] and info["hidden_states"])
        self.assertFalse(info["overview"])

    def test_summary(self):
        self.capture("a.h5", "--level", "summary")
        info = self.info("a.h5")
        self.assertEqual(info["level"], "summary")
        self.assertNotIn("replay", info)
        document = self.document("verify", "a.h5")
        self.assertTrue(document["result"]["passed"])
        self.assertIn("summary", document["warnings"][0])
        self.refuse(2, "verify", "a.h5", "--model", self.tiny, mentions=["summary"])
        self.refuse(2, "map", "a.h5", "--head", "0.0", "-o", "m.npy")

    def test_rows_of_generated_tokens(self):
        tokens = self.result("tokenize", self.tiny, "-p", "Hello world")["num_tokens"]
        self.capture("a.h5", "-n", "6", prompt="Hello world")
        info = self.info("a.h5")
        self.assertEqual((info["prompt_tokens"], info["generated_tokens"], info["rows"]), (tokens, 6, tokens + 5))
        # Generating and evaluating the same tokens at once give the same attention.
        ids = [t["id"] for t in self.result("tokenize", self.tiny, "-p", "Hello world")["tokens"]]
        ids += [t["id"] for t in self.result("generate", self.tiny, "-p", "Hello world", "-n", "6")["tokens"]]
        self.capture("b.h5", "--token-ids", ",".join(map(str, ids[:-1])), prompt=None)
        heads = self.result("compare", "a.h5", "b.h5")["heads"]
        self.assertEqual(len(heads), 12)
        self.assertLess(max(head["max_abs"] for head in heads), 1e-5)

    def test_where_two_runs_part(self):
        self.capture("a.h5", prompt="Hello world")
        self.capture("b.h5", "--kv-dtype", "bf16", prompt="Hello world")
        document = self.document("compare", "a.h5", "b.h5", "--depart", "0")
        self.assertEqual(problems(document, COMPARE), [])
        first = document["result"]["depart"]["first"]
        self.assertEqual(first["layer"], 0)  # rounded keys change the very first layer
        self.assertGreater(first["tv"], 0)
        self.assertEqual(problems(first, COMPARE["$defs"]["head"], COMPARE), [])
        self.assertIsNone(self.result("compare", "a.h5", "a.h5")["depart"]["first"])
        self.assertIn("no head departs", self.run_cli("compare", "a.h5", "a.h5").text)

    def test_chat_and_stdin(self):
        self.write("chat.json", json.dumps([{"role": "user", "content": "Hello"}]))
        self.capture("a.h5", "--chat-file", "chat.json", prompt=None)
        self.run_cli("capture", self.tiny, "-f", "-", "-o", "b.h5", stdin=b"Hello world")
        self.capture("c.h5", prompt="Hello world")
        self.assertEqual(self.result("compare", "b.h5", "c.h5", "--tolerance", "0")["heads"][0]["tv"], 0)

    def test_time_of_the_environment(self):
        self.capture("a.h5", env={"SOURCE_DATE_EPOCH": "86400"})
        self.assertEqual(self.info("a.h5")["run"]["started"], "1970-01-02T00:00:00Z")


class Refusals(CliCase):
    def refuse_capture(self, code, *words, **options):
        return self.refuse(code, "capture", self.tiny, *words, "-o", "a.h5", **options)

    def test_values(self):
        prompt = ["-p", "The cat sat on the mat"]
        for words in (["--layers", "3"], ["--layers", "5-3"], ["--layers=-1"], ["--layers", "0x1"], ["--layers", "0,,2"],
                      ["--layers", "1.5"], ["--layers", "0-99999999999999999999"],
                      ["--heads", "4"], ["--heads", "0.4"], ["--heads", "3.0"], ["--heads", "L0"], ["--heads", "0.0,"],
                      ["--heads", ","],
                      ["--heads", "a.b"], ["--heads", "0.*", "--layers", "1"],
                      ["--rows", "5"], ["--rows", "3:2"], ["--rows", "2:2"], ["--rows", "0:9999"], ["--rows", "-9999:"],
                      ["--rows", "a:b"], ["--rows", "1:2:3"],
                      ["--max-bytes", "0"], ["--max-bytes=-1"], ["--max-bytes", "5X"], ["--max-bytes", "nan"],
                      ["--max-bytes", "1e30"], ["--max-bytes", "many"]):
            with self.subTest(words):
                self.refuse_capture(2, *prompt, *words, mentions=[words[0].split("=")[0]])
        for words in (["--heads", "entropy<1.2"], ["--heads", "role=retrieval"], ["--heads", "top(sink, 3)"]):
            with self.subTest(words):
                self.refuse_capture(2, *prompt, *words, mentions=["--heads at byte", "there is no"])

    def test_max_bytes(self):
        self.refuse_capture(2, "-p", "Hello", "--max-bytes", "1k", mentions=["--max-bytes", "1.00 kB"])
        self.capture("a.h5", "--max-bytes", "2M")

    def test_existing_output(self):
        old = self.write("a.h5", "precious")
        self.refuse_capture(2, "-p", "Hello", mentions=["a.h5", "--force"], error="output_exists")
        # A run that fails keeps what was there.
        self.refuse_capture(2, "--token-ids", "9999", "--force")
        self.assertEqual(old.read_bytes(), b"precious")
        self.capture("a.h5", "--force")
        self.run_cli("verify", "a.h5")
        self.assertEqual(list(self.files()), ["a.h5"])

    def test_places(self):
        for place, code in (("no/folder/a.h5", 6), (".", 2), ("/proc/a.h5", 6), ("x" * 300 + ".h5", 6)):
            with self.subTest(place[:20]):
                self.refuse(code, "capture", self.tiny, "-p", "Hello", "-o", place, mentions=[place])

    def test_only_files_are_replaced(self):
        """A pipe stands for every device: a test that fails must not replace one of the machine's."""
        os.mkfifo(self.dir / "pipe.h5")
        (self.dir / "link.h5").symlink_to("pipe.h5")
        for output in ("pipe.h5", "link.h5"):
            for words in ([], ["--force"]):
                with self.subTest(output=output, words=words):
                    self.refuse(2, "capture", self.tiny, "-p", "Hello", "-o", output, *words, mentions=[output])
                    self.assertTrue((self.dir / "pipe.h5").is_fifo())
                    self.assertTrue((self.dir / "link.h5").is_symlink())

    def test_output_is_the_model(self):
        shutil.copy(self.tiny, self.dir / "model.gguf")
        (self.dir / "link.h5").symlink_to("model.gguf")
        for output in ("model.gguf", "./model.gguf", "link.h5"):
            with self.subTest(output):
                self.refuse(2, "capture", "model.gguf", "-p", "Hello", "-o", output, "--force", mentions=["model.gguf"])
        shutil.copytree(self.models / "bare", self.dir / "folder")
        self.refuse(2, "capture", "folder", "--token-ids", "1", "-o", "folder/model.safetensors", "--force",
                    mentions=["model.safetensors"])

    def test_names(self):
        for name in ("with space.h5", "quo'te\".h5", "new\nline.h5", "\u732b\U0001f408.h5", "-dash.h5", b"\xff\xfe.h5"):
            with self.subTest(name):
                path = b"./" + (name if isinstance(name, bytes) else name.encode())
                self.run_cli("capture", self.tiny, "-p", "Hello", "-o", path)
                self.run_cli("verify", path)
                self.document("info", path)
                self.document("capture", self.tiny, "-p", "Hello", "-o", path, "--force")
        self.assertEqual(len(self.files()), 6)


class Estimate(CliCase):
    def test_is_near_and_writes_nothing(self):
        for words in (["--level", "summary"], [], ["--level", "maps"], ["-n", "50"]):
            with self.subTest(words):
                prompt = ["-p", "The cat sat on the mat. " * 30]
                estimate = self.result("capture", self.tiny, *prompt, *words, "--estimate")
                self.assertEqual(self.files(), {})
                self.assertGreater(estimate["memory_bytes"], 258528)
                text = self.run_cli("capture", self.tiny, *prompt, *words, "--estimate").text
                self.assertRegex(text, r"\Amemory: .*\ndisk: .*\n\Z")
                size = self.result("capture", self.tiny, *prompt, *words, "-o", "a.h5")["bytes"]
                self.assertTrue(0.5 * size <= estimate["disk_bytes"] + 300000 and estimate["disk_bytes"] <= 1.25 * size,
                                f"expected about {size}, found {estimate['disk_bytes']}")
                (self.dir / "a.h5").unlink()

    def test_ignores_the_output(self):
        self.write("a.h5", "precious")
        self.run_cli("capture", self.tiny, "-p", "Hello", "-o", "a.h5", "--estimate")
        self.assertEqual((self.dir / "a.h5").read_bytes(), b"precious")


class Corpus(CliCase):
    def corpus(self, name="c.jsonl", records=None):
        records = records or [{"text": line, "id": f"r{k}", "label": k % 2} for k, line in enumerate(LINES)]
        return self.write(name, "".join(json.dumps(record) + "\n" for record in records))

    def test_summary_is_the_default(self):
        self.corpus()
        result = self.result("capture", self.tiny, "--corpus", "c.jsonl", "-o", "a.h5")
        self.assertEqual((result["num_records"], result["num_failed"], result["level"]), (4, 0, "summary"))
        self.assertEqual(sorted(self.files()), ["a.h5", "c.jsonl"])
        self.assertEqual(self.result("info", "a.h5")["records"], 4)
        self.run_cli("verify", "a.h5")
        self.check_statistics("a.h5")
        self.refuse(2, "stats", "a.h5", "-m", "entropy", "--record", "4", mentions=["--record", "0-3"])

    def check_statistics(self, name):
        """A record of a corpus has the same statistics as the same prompt alone."""
        for record, line in enumerate(LINES):
            self.capture("single.h5", "--level", "summary", "--force", prompt=line)
            for metric in ("entropy", "received0", "sink"):
                single = self.result("stats", "single.h5", "-m", metric)["heads"]
                heads = self.result("stats", name, "-m", metric, "--record", str(record))["heads"]
                if metric == "received0":  # derived from stored values on one way, stored itself on the other
                    for a, b in zip(heads, single, strict=True):
                        self.assertAlmostEqual(a["value"], b["value"], places=6)
                else:
                    self.assertEqual(heads, single, f"{metric} of record {record}")

    def test_replay_writes_a_folder(self):
        self.corpus()
        self.run_cli("capture", self.tiny, "--corpus", "c.jsonl", "--level", "replay", "-o", "a.h5")
        self.assertEqual(sorted(self.files()), ["a.d/0.h5", "a.d/1.h5", "a.d/2.h5", "a.d/3.h5", "a.h5", "c.jsonl"])
        for record in range(4):
            self.run_cli("verify", "a.h5", "--record", str(record), "--model", self.tiny)
        self.check_statistics("a.h5")
        self.run_cli("map", "a.h5", "--record", "2", "--head", "1.1", "-o", "m.npy")
        self.refuse(2, "verify", "a.h5", "--record", "4")
        self.refuse(2, "capture", self.tiny, "--corpus", "c.jsonl", "--level", "replay", "-o", "a.h5",
                    error="output_exists")
        # Damage in a file of the folder is seen from the master.
        data = bytearray((self.dir / "a.d/2.h5").read_bytes())
        (self.dir / "a.d/2.h5").write_bytes(data[:len(data) // 2])
        self.assertIn(self.run_cli("verify", "a.h5", "--record", "2", code=None).code, (4, 7))
        (self.dir / "a.d/2.h5").unlink()
        self.assertIn(self.run_cli("verify", "a.h5", "--record", "2", code=None).code, (3, 4))

    def test_checksums_of_every_record(self):
        self.corpus()
        self.run_cli("capture", self.tiny, "--corpus", "c.jsonl", "--level", "replay", "-o", "a.h5")
        path = self.dir / "a.d/1.h5"
        data = bytearray(path.read_bytes())
        changed = 0
        for at in range(len(data) // 8, len(data), len(data) // 8):  # whatever part of the record it is
            damaged = bytearray(data)
            damaged[at:at + 64] = bytes(b ^ 0x55 for b in damaged[at:at + 64])
            path.write_bytes(damaged)
            code = self.run_cli("verify", "a.h5", "--record", "1", code=None).code
            self.assertIn(code, (0, 4, 7))
            changed += code != 0
        self.assertGreater(changed, 0)

    def test_text_lines(self):
        self.write("c.txt", LINES[0] + "\r\n\n   \n" + LINES[1] + "\n" + LINES[2])  # no newline at the end
        self.assertEqual(self.result("capture", self.tiny, "--corpus", "c.txt", "-o", "a.h5")["num_records"], 3)

    def test_every_source(self):
        self.corpus(records=[{"text": "Hello"}, {"token_ids": [4, 5, 6]},
                             {"messages": [{"role": "user", "content": "Hello"}]}])
        self.assertEqual(self.result("capture", self.tiny, "--corpus", "c.jsonl", "-o", "a.h5", "-n", "2")["num_records"],
                         3)

    def test_one_record(self):
        self.corpus(records=[{"text": "Hello"}])
        self.run_cli("capture", self.tiny, "--corpus", "c.jsonl", "-o", "a.h5")
        self.assertEqual(self.result("info", "a.h5")["records"], 1)

    def test_rows_of_unequal_records(self):
        self.corpus()
        words = ["capture", self.tiny, "--corpus", "c.jsonl", "--level", "replay", "-o", "a.h5"]
        self.refuse(5, *words, "--rows", "-3:", mentions=["--rows", "differ in length"])
        self.run_cli(*words, "--rows", "1:4")
        for record in range(4):
            self.run_cli("map", "a.h5", "--record", str(record), "--head", "0.0", "--rows", "1:4", "-o", "m.npy",
                         "--force")
            self.assertEqual(read_npy(self.dir / "m.npy")[0][0], 3)
        self.corpus(records=[{"token_ids": [4, 5, 6, 7]}, {"token_ids": [7, 6, 5, 4]}])
        self.run_cli(*words, "--rows", "-3:", "--force")
        self.run_cli("map", "a.h5", "--record", "1", "--head", "0.0", "--rows", "-3:", "-o", "m.npy", "--force")

    def test_some_records_fail(self):
        self.corpus(records=[{"text": "Hello"}, {"token_ids": [5] * 65537, "id": "long"}, {"text": "world"}])
        run = self.run_cli("capture", self.tiny, "--corpus", "c.jsonl", "-o", "a.h5", code=8)
        self.assertIn("'long'", run.err)
        self.assertIn("1 of 3 records failed", run.err)
        result = self.result("capture", self.tiny, "--corpus", "c.jsonl", "-o", "b.h5", code=8)
        self.assertEqual((result["num_records"], result["num_failed"]), (3, 1))
        for name in ("a.h5", "b.h5"):
            self.run_cli("verify", name)
            self.run_cli("stats", name, "-m", "entropy", "--record", "0")

    def test_malformed(self):
        good = '{"text": "Hello"}\n'
        for text, words in ((good + "{]\n", ["line 2", "JSON"]), (good + '{"text": 5}\n', ["line 2", "text"]),
                            ('{"id": "a"}\n', ["line 1", "found 0"]),
                            ('{"text": "a", "token_ids": [1]}\n', ["line 1", "found 2"]),
                            (good + '{"text": "a", "label": 1.5}\n', ["line 2", "label"]),
                            (good + '{"text": "a", "text": "b"}\n', ["line 2", "duplicate"]),
                            (good + '{"token_ids": [1.5]}\n', ["line 2", "integer"]),
                            (good + "[1]\n", ["line 2"]), ("", ["no prompt"]), ("\n \n", ["no prompt"])):
            with self.subTest(text):
                self.write("c.jsonl", text)
                self.refuse(4, "capture", self.tiny, "--corpus", "c.jsonl", "-o", "a.h5", mentions=["c.jsonl", *words])
        self.write("c.jsonl", good + '{"token_ids": [520]}\n')
        self.refuse(2, "capture", self.tiny, "--corpus", "c.jsonl", "-o", "a.h5", mentions=["line 2", "520"])
        self.write("c.jsonl", good + '{"text": ""}\n')
        self.refuse(2, "capture", self.tiny, "--corpus", "c.jsonl", "-o", "a.h5", mentions=["c.jsonl", "no tokens"])
        self.refuse(3, "capture", self.tiny, "--corpus", "absent.jsonl", "-o", "a.h5", mentions=["absent.jsonl"])


class Merge(CliCase):
    def split(self, level):
        """Parts keep the line numbers of the whole: their other lines are empty."""
        lines = [json.dumps({"text": line, "id": f"r{k}"}) for k, line in enumerate(LINES)]
        for name, part in (("all", range(4)), ("one", (0, 2)), ("two", (1, 3))):
            self.write(f"{name}.jsonl", "".join((line if k in part else "") + "\n" for k, line in enumerate(lines)))
            self.run_cli("capture", self.tiny, "--corpus", f"{name}.jsonl", "--level", level, "-o", f"{name}.h5")

    def test_equals_the_whole(self):
        for level in ("summary", "replay"):
            with self.subTest(level):
                self.split(level)
                result = self.result("merge", "one.h5", "two.h5", "-o", f"merged-{level}.h5")
                self.assertEqual(result, {"output": f"merged-{level}.h5", "num_inputs": 2})
                self.run_cli("verify", f"merged-{level}.h5")
                self.assertEqual(self.result("info", f"merged-{level}.h5")["records"], 4)
                values = [[self.result("stats", name, "-m", "entropy", "--record", str(r))["heads"] for r in range(4)]
                          for name in ("all.h5", f"merged-{level}.h5")]
                self.assertEqual(values[0], values[1])
                for name in ("one", "two", "all"):
                    (self.dir / f"{name}.h5").unlink()
                    shutil.rmtree(self.dir / f"{name}.d", ignore_errors=True)

    def test_refusals(self):
        self.split("summary")
        self.refuse(2, "merge", "one.h5", "two.h5", "-o", "all.h5", error="output_exists")
        self.refuse(2, "merge", "one.h5", "two.h5", "-o", "one.h5", "--force", mentions=["one.h5"])
        self.refuse(2, "merge", "one.h5", "one.h5", "-o", "m.h5", mentions=["one.h5"])
        self.refuse(3, "merge", "one.h5", "absent.h5", "-o", "m.h5", mentions=["absent.h5"])
        self.refuse(4, "merge", "one.h5", self.tiny, "-o", "m.h5", mentions=["tiny.gguf"])
        self.run_cli("capture", self.tiny, "--corpus", "two.jsonl", "--layers", "0", "-o", "other.h5")
        self.refuse(2, "merge", "one.h5", "other.h5", "-o", "m.h5", mentions=["other.h5"])
        self.run_cli("capture", self.models / "tiny-q8.gguf", "--corpus", "two.jsonl", "-o", "model.h5")
        self.refuse(2, "merge", "one.h5", "model.h5", "-o", "m.h5", mentions=["model.h5"])
        self.run_cli("merge", "one.h5", "two.h5", "-o", "all.h5", "--force")


if __name__ == "__main__":
    main()
