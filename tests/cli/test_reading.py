"""Verbs that read captures: map, stats, verify, compare."""

import csv
import math
import struct

from cli_case import CliCase, main, read_npy, shared_folder

PROMPT = "Hello world, the cat sat on the mat."


class Reading(CliCase):
    """Captures that the tests of this file share; nobody writes to them."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shared = shared_folder() / "captures"
        if cls.shared.exists():
            return
        cls.shared.mkdir()
        maker = cls("make")
        maker.dir = cls.shared
        for name, words in (("full.h5", ["-n", "4"]), ("summary.h5", ["--level", "summary"]),
                            ("part.h5", ["--layers", "0,2", "--heads", "0.1,2.*", "--rows", "-4:"]),
                            ("maps.h5", ["--level", "maps"])):
            maker.capture(name, *words, prompt=PROMPT)
        maker.capture("q8.h5", "-n", "4", prompt=PROMPT, model=maker.models / "tiny-q8.gguf")
        maker.capture("other.h5", prompt="Something else")
        maker.doCleanups()

    def make(self):
        """Never run; the name under which setUpClass makes a case."""

    def setUp(self):
        super().setUp()
        self.full, self.summary, self.part, self.maps, self.q8, self.other = (
            str(self.shared / f"{name}.h5") for name in ("full", "summary", "part", "maps", "q8", "other"))
        self.rows = self.result("info", self.full)["rows"]


class Map(Reading):
    def map(self, *words, capture=None, name="m.npy"):
        self.run_cli("map", capture or self.full, *words, "-o", name, "--force")
        return read_npy(self.dir / name)

    def test_rows_are_distributions_over_the_past(self):
        for head in ("0.0", "L1H3", "2.2"):
            shape, values = self.map("--head", head)
            self.assertEqual(shape, (self.rows, self.rows))
            for i in range(self.rows):
                row = values[i * self.rows:(i + 1) * self.rows]
                self.assertAlmostEqual(math.fsum(row), 1, places=5)
                self.assertGreaterEqual(min(row), 0)
                self.assertEqual(list(row[i + 1:]), [0] * (self.rows - i - 1))

    def test_agrees_with_the_statistics(self):
        values = self.map("--head", "1.2")[1]
        at = lambda i, j: values[i * self.rows + j]
        stat = lambda metric, per: self.result("stats", self.full, "-m", metric, "--per", per, "--heads",
                                               "1.2")["heads"][0]["value"]
        for i, (first, largest, own, entropy) in enumerate(zip(stat("first", "row"), stat("pmax", "row"),
                                                               stat("off0", "row"), stat("entropy", "row"))):
            row = [at(i, j) for j in range(i + 1)]
            self.assertAlmostEqual(row[0], first, places=5)
            self.assertAlmostEqual(max(row), largest, places=5)
            self.assertAlmostEqual(row[i], own, places=5)
            self.assertAlmostEqual(-math.fsum(a * math.log(a) for a in row if a > 0), entropy, places=4)
        for j, received in enumerate(stat("received", "col")):
            self.assertAlmostEqual(math.fsum(at(i, j) for i in range(self.rows)), received, places=4)

    def test_parts(self):
        n, whole = self.rows, self.map("--head", "1.2")[1]
        cell = lambda i, j: whole[i * n + j]
        for words, rows, cols in ((["--rows", "-4:"], (n - 4, n), (0, n)), (["--rows=-4:-1"], (n - 4, n - 1), (0, n)),
                                  (["--rows", "2:5", "--cols", ":3"], (2, 5), (0, 3)),
                                  (["--cols", "-2:"], (0, n), (n - 2, n)), (["--rows", ":"], (0, n), (0, n))):
            with self.subTest(words):
                shape, values = self.map("--head", "1.2", *words)
                self.assertEqual(shape, (rows[1] - rows[0], cols[1] - cols[0]))
                self.assertEqual(list(values), [cell(i, j) for i in range(*rows) for j in range(*cols)])
                result = self.result("map", self.full, "--head", "1.2", *words, "-o", "j.npy", "--force")
                self.assertEqual(result, {"output": "j.npy", "layer": 1, "head": 2, "rows": list(rows),
                                          "cols": list(cols)})

    def test_spellings_of_a_head(self):
        expected = self.map("--head", "1.2")
        self.assertEqual(self.map("--head", "L1H2"), expected)
        self.assertEqual(self.map("--layer", "1", "--head", "2"), expected)

    def test_csv(self):
        shape, values = self.map("--head", "0.3", "--rows", "-3:")
        run = self.run_cli("map", self.full, "--head", "0.3", "--rows", "-3:", "-o", "m.csv")
        self.assertEqual(run.text, f"m.csv: L0H3, rows {self.rows - 3}:{self.rows}, keys 0:{self.rows}\n")
        with open(self.dir / "m.csv", newline="") as file:
            lines = list(csv.reader(file))
        self.assertEqual(lines[0], ["layer", "head", "query", "key", "value"])
        self.assertEqual([(int(l), int(h), int(q), int(k)) for l, h, q, k, _ in lines[1:]],
                         [(0, 3, self.rows - 3 + i, j) for i in range(3) for j in range(self.rows)])
        written = struct.pack(f"{len(values)}f", *(float(line[4]) for line in lines[1:]))
        self.assertEqual(written, values.tobytes())  # nothing is lost in the text

    def test_dense_maps_replay_too(self):
        values = self.map("--head", "1.2", "--rows", ":8", "--cols", ":8")[1]
        for a, b in zip(self.map("--head", "1.2", "--rows", ":8", "--cols", ":8", capture=self.maps)[1], values):
            self.assertAlmostEqual(a, b, places=6)

    def test_pictures(self):
        if "png" not in self.result("doctor")["pictures"]:
            self.refuse(5, "map", self.full, "--head", "0.0", "-o", "m.png", mentions=["not in this build"])
            return
        starts = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF-"}
        for suffix, start in starts.items():
            for k, words in enumerate(([], ["--theme", "dark", "--colormap", "magma", "--scale", "log"],
                                       ["--size", "400", "--zoom", "2", "--range", "0:0.5"],
                                       ["--scale", "power", "--range", ":1", "--rows", "-5:"])):
                with self.subTest(suffix=suffix, words=words):
                    name = f"{k}.{suffix}"
                    self.run_cli("map", self.full, "--head", "1.2", *words, "-o", name)
                    self.assertEqual((self.dir / name).read_bytes()[:len(start)], start)
        width = lambda name: struct.unpack(">I", (self.dir / name).read_bytes()[16:20])[0]
        self.assertEqual(width("2.png"), 800)
        self.run_cli("map", self.part, "--head", "0.1", "--rows", "-4:", "-o", "p.png", env={"LC_ALL": "de_DE.UTF-8"})

    def test_refusals(self):
        refuse = lambda code, *words, **options: self.refuse(code, "map", *words, **options)
        refuse(2, self.full, "--head", "0.0", "-o", "m.txt", mentions=["m.txt", ".npy"])
        refuse(2, self.full, "--head", "0.0", "-o", "m", mentions=[".npy"])
        refuse(2, self.full, "--head", "9.0", "-o", "m.npy", mentions=["--head", "0-2"])
        refuse(2, self.full, "--head", "0.*", "-o", "m.npy", mentions=["one head"])
        refuse(2, self.full, "--head", "3", "-o", "m.npy", mentions=["--head"])
        refuse(2, self.full, "--head", "0.0", "--rows", "5:2", "-o", "m.npy", mentions=["--rows"])
        refuse(2, self.full, "--head", "0.0", "--cols", "0:999", "-o", "m.npy", mentions=["--cols"])
        refuse(2, self.full, "--head", "0.0", "--record", "1", "-o", "m.npy", mentions=["--record"])
        refuse(2, self.part, "--head", "1.0", "-o", "m.npy", mentions=["layer 1", "0,2"])
        refuse(2, self.part, "--head", "0.0", "--rows", "-4:", "-o", "m.npy")
        refuse(2, self.part, "--head", "0.1", "-o", "m.npy", mentions=["rows"])
        refuse(2, self.summary, "--head", "0.0", "-o", "m.npy", mentions=["level"])
        for value in ("1:0", "a:b", "0.5", "nan:1", "0:inf"):
            refuse(2, self.full, "--head", "0.0", "--range", value, "-o", "m.png", mentions=["--range"])
        refuse(2, self.full, "--head", "0.0", "--scale", "log", "--range", "0:1", "-o", "m.png", mentions=["--range"])
        self.write("m.npy", "precious")
        refuse(2, self.full, "--head", "0.0", "-o", "m.npy", error="output_exists", mentions=["--force"])
        refuse(6, self.full, "--head", "0.0", "-o", "no/folder/m.npy", mentions=["no/folder"])


class Stats(Reading):
    def heads(self, metric, *words, capture=None):
        return self.result("stats", capture or self.full, "-m", metric, *words)["heads"]

    def test_every_statistic(self):
        ids = self.result("info", self.full)["statistics"].split()
        self.assertIn("received0", ids)
        self.assertGreater(len(ids), 15)
        self.refuse(2, "stats", self.full, "-m", "jmax", mentions=["position"])  # a mean of positions says nothing
        keys = self.heads("jmax", "--per", "row")[0]["value"]
        self.assertTrue(all(0 <= key <= row for row, key in enumerate(keys)), keys)
        for metric in set(ids) - {"jmax"}:
            with self.subTest(metric):
                result = self.result("stats", self.full, "-m", metric)
                self.assertEqual(result["metric"]["id"], metric)
                self.assertEqual([(h["layer"], h["head"]) for h in result["heads"]],
                                 [(l, h) for l in range(3) for h in range(4)])
                text = self.run_cli("stats", self.full, "-m", metric).text
                self.assertTrue(text.startswith(f"{metric} ("), text)
                self.assertEqual(len(text.splitlines()), 14)

    def test_per_position(self):
        for metric, per in (("entropy", "row"), ("received", "col")):
            heads = self.heads(metric, "--per", per)
            self.assertEqual({len(head["value"]) for head in heads}, {self.rows})
            text = self.run_cli("stats", self.full, "-m", metric, "--per", per).text
            self.assertEqual(len(text.splitlines()), 15)
        rows = self.heads("entropy", "--per", "row", "--heads", "2.1")[0]["value"]
        self.assertEqual(rows[0], 0)
        self.assertAlmostEqual(self.heads("entropy", "--heads", "2.1")[0]["value"], sum(rows) / len(rows), places=5)

    def test_top_is_sorted(self):
        heads = {f"L{h['layer']}H{h['head']}": h["value"] for h in self.heads("sink")}
        lines = self.run_cli("stats", self.full, "-m", "sink", "--top", "5").text.splitlines()[2:]
        names = [line.split()[0] for line in lines]
        self.assertEqual([heads[name] for name in names], sorted(heads.values(), reverse=True)[:5])

    def test_arrays(self):
        values = [h["value"] for h in self.heads("entropy")]
        self.run_cli("stats", self.full, "-m", "entropy", "-o", "h.npy")
        shape, array = read_npy(self.dir / "h.npy")
        self.assertEqual((shape, [float(v) for v in array]), ((3, 4), values))
        self.run_cli("stats", self.full, "-m", "entropy", "--per", "row", "-o", "r.npy")
        self.assertEqual(read_npy(self.dir / "r.npy")[0], (3, 4, self.rows))
        self.run_cli("stats", self.full, "-m", "entropy", "--heads", "0.1|L*H3", "--layers", "0-1", "-o", "n.npy")
        shape, array = read_npy(self.dir / "n.npy")
        chosen = [k for k, v in enumerate(array) if not math.isnan(v)]
        self.assertEqual((shape, chosen), ((3, 4), [1, 3, 7]))
        self.run_cli("stats", self.part, "-m", "entropy", "-o", "p.npy")
        self.assertEqual(read_npy(self.dir / "p.npy")[0], (2, 4))

    def test_csv(self):
        self.run_cli("stats", self.full, "-m", "received", "--per", "col", "--heads", "1.*", "-o", "s.csv")
        with open(self.dir / "s.csv", newline="") as file:
            lines = list(csv.DictReader(file))
        self.assertEqual(list(lines[0]), ["layer", "head", "key", "received"])
        values = [v for head in self.heads("received", "--per", "col", "--heads", "1.*") for v in head["value"]]
        for line, value in zip(lines, values, strict=True):
            self.assertAlmostEqual(float(line["received"]), value, places=6)

    def test_refusals(self):
        refuse = lambda *words, **options: self.refuse(2, "stats", self.full, *words, **options)
        refuse("-m", "entrpy", mentions=["unknown statistic 'entrpy'", "did you mean entropy?", "received0"])
        refuse("-m", "entropy", "--per", "col", mentions=["--per"])
        refuse("-m", "received", "--per", "row", mentions=["--per"])
        refuse("-m", "received0", "--per", "row", mentions=["--per"])
        refuse("-m", "entropy", "--layers", "7", mentions=["--layers"])
        refuse("-m", "entropy", "--heads", "0.9", mentions=["--heads"])
        refuse("-m", "entropy", "--layers", "0", "--heads", "1.1", mentions=["--heads"])
        refuse("-m", "entropy", "-o", "s.txt", mentions=["s.txt"])
        self.refuse(2, "stats", self.full, "-m", "entropy", "--heads", "role=sink", mentions=["--heads at byte 0", "headplan"])
        self.refuse(2, "stats", self.part, "-m", "entropy", "--layers", "1", mentions=["layer 1"])
        self.write("s.csv", "precious")
        refuse("-m", "entropy", "-o", "s.csv", error="output_exists")

    def test_too_many_values_for_json(self):
        capture = self.capture("long.h5", "--level", "summary", prompt="The cat sat on the mat. " * 40)
        document = self.document("stats", capture, "-m", "lse", "--per", "row")
        self.assertNotIn("heads", document["result"])
        self.assertIn("too many", document["warnings"][0])
        document = self.document("stats", capture, "-m", "lse", "--per", "row", "-o", "l.npy")
        self.assertEqual(document["warnings"], [])


class Verify(Reading):
    def test_passes(self):
        for capture in (self.full, self.part, self.maps, self.q8):
            run = self.run_cli("verify", capture)
            self.assertNotIn("FAIL", run.text)
            self.assertIn("stored bytes", run.text)
            result = self.result("verify", capture)
            self.assertTrue(result["passed"])
            self.assertEqual({check["passed"] for check in result["checks"]}, {True})
        self.run_cli("verify", self.full, "--model", self.tiny)
        self.run_cli("verify", self.full, "--model", self.tiny, "--layers", "1", "--heads", "1.2", "--rows", "-3:")
        self.run_cli("verify", self.full, "--probe")
        self.assertEqual(self.result("verify", self.full, "--probe"), {"passed": True, "checks": []})

    def test_another_model(self):
        run = self.run_cli("verify", self.full, "--model", self.models / "tiny-q8.gguf", code=7)
        self.assertIn("SHA-256", run.err)
        self.refuse(7, "verify", self.full, "--model", self.models / "tiny-q8.gguf", mentions=["SHA-256"])
        capture = self.capture("fast.h5", "--fast-identity")
        result = self.result("verify", capture, "--model", self.models / "tiny-q8.gguf", code=7)
        self.assertFalse(result["passed"])
        self.assertIn("FAIL", self.run_cli("verify", capture, "--model", self.models / "tiny-q8.gguf", code=7).text)
        self.run_cli("verify", capture, "--model", self.tiny)

    def test_another_shape(self):
        capture = self.capture("fast.h5", "--fast-identity")
        for model in ("tiny-hf", "bare"):
            self.run_cli("verify", capture, "--model", self.models / model)
        self.refuse(3, "verify", capture, "--model", "absent.gguf", mentions=["absent.gguf"])
        self.refuse(4, "verify", capture, "--model", self.write("text.gguf", "text" * 10), mentions=["text.gguf"])

    def test_damaged_bytes(self):
        """A changed byte of stored numbers is a failed check, one of the structure a damaged file."""
        data = (self.shared / "full.h5").read_bytes()
        seen = set()
        for number in range(24):
            at = len(data) * number // 24 + 11
            damaged = bytearray(data)
            damaged[at] ^= 0x10
            self.write("d.h5", bytes(damaged))
            run = self.run_cli("verify", "d.h5", code=None)
            self.assertIn(run.code, (0, 4, 7), str(run))
            seen.add(run.code)
            if run.code == 7:
                self.assertIn("FAIL", run.text)
                self.assertFalse(self.result("verify", "d.h5", code=7)["passed"])
        self.assertIn(7, seen)

    def test_refusals(self):
        self.refuse(2, "verify", self.full, "--layers", "3", mentions=["--layers"])
        self.refuse(2, "verify", self.part, "--layers", "1", mentions=["layer 1"])
        self.refuse(2, "verify", self.part, "--heads", "0.0", mentions=["nothing to verify"])
        self.refuse(2, "verify", self.part, "--rows", ":3", mentions=["nothing to verify"])
        self.refuse(2, "verify", self.full, "--rows", "9:1", mentions=["--rows"])


class Compare(Reading):
    def test_equal(self):
        result = self.result("compare", self.full, self.full, "--tolerance", "0")
        self.assertEqual((result["sorted_by"], result["num_heads"]), ("tv", 12))
        for head in result["heads"]:
            self.assertEqual([head[key] for key in ("tv", "js", "max_abs", "entropy", "received0")], [0] * 5)

    def test_quantised(self):
        result = self.result("compare", self.full, self.q8)
        values = [head["tv"] for head in result["heads"]]
        self.assertEqual(values, sorted(values, reverse=True))
        self.assertTrue(0 < values[0] < 0.5, values)
        for head in result["heads"]:
            self.assertTrue(0 <= head["js"] <= math.log(2))
            self.assertTrue(head["tv"] <= head["max_abs"] * self.rows)
        back = self.result("compare", self.q8, self.full)["heads"]
        self.assertEqual({(h["layer"], h["head"]): (h["tv"], -h["entropy"]) for h in back},
                         {(h["layer"], h["head"]): (h["tv"], h["entropy"]) for h in result["heads"]})
        for metric, key in (("js", "js"), ("max", "max_abs"), ("entropy", "entropy"), ("received0", "received0")):
            heads = self.result("compare", self.full, self.q8, "-m", metric, "--top", "3")["heads"]
            self.assertEqual(len(heads), 3)
            self.assertGreaterEqual(abs(heads[0][key]), abs(heads[1][key]))

    def test_tolerance(self):
        run = self.run_cli("compare", self.full, self.q8, "--tolerance", "1e-9", code=7)
        self.assertIn("above the tolerance", run.err)
        self.assertIn("received0", run.text)
        result = self.result("compare", self.full, self.q8, "--tolerance", "1e-9", code=7)  # one document, the result
        self.assertEqual(result["num_heads"], 12)
        self.run_cli("compare", self.full, self.q8, "--tolerance", "1")

    def test_csv(self):
        self.run_cli("compare", self.full, self.q8, "--top", "1", "-o", "c.csv")
        with open(self.dir / "c.csv", newline="") as file:
            lines = list(csv.DictReader(file))
        self.assertEqual(len(lines), 12)
        self.assertEqual(list(lines[0]), ["layer", "head", "tv", "js", "max_abs", "entropy", "received0"])
        self.refuse(2, "compare", self.full, self.q8, "-o", "c.csv", error="output_exists")

    def test_what_both_keep(self):
        """Heads and rows that one capture does not keep are left out, and sort behind those that can be compared."""
        whole = self.capture("whole.h5", prompt=PROMPT)
        document = self.document("compare", whole, self.part)
        heads = document["result"]["heads"]
        self.assertEqual((document["result"]["sorted_by"], len(heads)), ("tv", 8))
        kept = [(h["layer"], h["head"]) for h in heads if h["tv"] is not None]
        self.assertEqual(sorted(kept), [(0, 1), (2, 0), (2, 1), (2, 2), (2, 3)])
        self.assertEqual([h["tv"] is None for h in heads], [False] * 5 + [True] * 3)
        self.assertEqual(max(h["max_abs"] for h in heads if h["tv"] is not None), 0)
        self.run_cli("compare", whole, self.part, "--tolerance", "0")
        first, last = (self.capture(f"{k}.h5", "--rows", rows, prompt=PROMPT) for k, rows in enumerate((":3", "-3:")))
        document = self.document("compare", first, last)
        self.assertEqual(document["result"]["sorted_by"], "entropy")
        self.assertIn("no query row", document["warnings"][0])

    def test_statistics_alone(self):
        for other, word in ((self.summary, "level summary"), (self.other, "tokens differ")):
            document = self.document("compare", self.capture("w.h5", "--force", prompt=PROMPT), other)
            self.assertEqual(document["result"]["sorted_by"], "entropy")
            self.assertIsNone(document["result"]["heads"][0]["tv"])
            self.assertIn(word, document["warnings"][0])

    def test_refusals(self):
        self.refuse(2, "compare", self.full, self.q8, "--record", "1", mentions=["--record"])
        self.refuse(3, "compare", self.full, "absent.h5", mentions=["absent.h5"])
        self.refuse(4, "compare", self.full, self.tiny, mentions=["tiny.gguf"])
        first, last = (self.capture(f"{k}.h5", "--layers", str(k)) for k in range(2))
        self.refuse(2, "compare", first, last, mentions=["share no recorded layer"])


if __name__ == "__main__":
    main()
