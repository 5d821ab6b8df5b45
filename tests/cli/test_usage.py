"""Help, completion, misspelt words, values outside their ranges, what is reserved, and where output cannot go."""

import os
import shutil
import subprocess
import unittest

from cli_case import PROGRAM, VERBS, CliCase, environment, main, one_document

RESERVED_VERBS = "importance prune export import render run".split()


class Help(CliCase):
    def check_page(self, run):
        self.assertEqual(run.err, "", str(run))
        for line in run.text.splitlines():
            self.assertLessEqual(len(line), 80, f"wider than 80 columns: {line!r}{run}")
            self.assertEqual(line, line.rstrip(), f"blanks at the end: {line!r}")

    def test_every_verb(self):
        for verb in VERBS:
            with self.subTest(verb):
                run = self.run_cli(verb, "--help")
                self.check_page(run)
                self.assertIn(f"Usage: headlight {verb}", run.text)
                self.assertIn("Examples:\n", run.text)
                self.assertIn(f"  headlight {verb}", run.text)
                self.assertIn("--json", run.text)
                self.assertEqual(self.run_cli(verb, "-h").out, run.out)
                self.assertEqual(self.run_cli("help", verb).out, run.out)

    def test_program(self):
        page = self.run_cli("--help")
        self.check_page(page)
        for verb in VERBS:
            self.assertIn(f"\n  {verb} ", page.text)
        for words in ([], ["help"], ["-h"]):
            self.assertEqual(self.run_cli(*words).out, page.out, words)

    def test_type_names_are_whole(self):
        text = self.run_cli("map", "--help").text
        self.assertNotRegex(text, r"--rows a\s")
        self.assertNotRegex(text, r"--range lo\s")

    def test_help_of_an_unknown_verb(self):
        self.refuse(2, "help", "captur", mentions=["captur", "did you mean capture?"])


class Version(CliCase):
    def test_version(self):
        text = self.run_cli("version").text
        self.assertRegex(text, r"\Aheadlight \d+\.\d+\.\d+\n\Z")
        self.assertEqual(self.run_cli("--version").text, text)
        document = self.document("version")
        self.assertEqual(f"headlight {document['result']['version']}\n", text)
        self.assertEqual(document["tool"]["version"], document["result"]["version"])


class Completion(CliCase):
    def test_scripts(self):
        for shell in ("bash", "zsh", "fish"):
            with self.subTest(shell):
                script = self.run_cli("completion", shell)
                self.assertIn("headlight", script.text)
                self.assertEqual(self.result("completion", shell), {"shell": shell, "script": script.text})
                if shutil.which(shell):
                    check = subprocess.run([shell, "-n"], input=script.out, capture_output=True)
                    self.assertEqual((check.returncode, check.stderr), (0, b""))
        self.refuse(2, "completion", "tcsh", mentions=["tcsh"])

    def test_candidates(self):
        complete = lambda *words: self.run_cli("__complete", *words).text.split()
        self.assertEqual(sorted(complete("")), sorted(VERBS))
        self.assertEqual(complete("capt"), ["capture"])
        self.assertEqual(complete("capture", "--lev"), ["--level"])
        self.assertEqual(complete("stats", "--js"), ["--json"])
        self.assertEqual(complete("nothing", "--"), [])

    @unittest.skipUnless(shutil.which("bash"), "no bash")
    def test_bash_completes(self):
        script = self.run_cli("completion", "bash").text
        script += '\nCOMP_WORDS=(headlight capture --replay); COMP_CWORD=2; _headlight; echo "${COMPREPLY[@]}"\n'
        env = environment()
        env["PATH"] = os.path.dirname(PROGRAM) + ":" + env["PATH"]
        run = subprocess.run(["bash", "--norc"], input=script.encode(), env=env, cwd=self.dir, capture_output=True)
        self.assertEqual((run.stdout, run.stderr), (b"--replay-dtype\n", b""))


class Misspelt(CliCase):
    def test_verbs(self):
        for word, meant in (("captur", "capture"), ("stat", "stats"), ("infos", "info"), ("verfy", "verify")):
            with self.subTest(word):
                self.refuse(2, word, mentions=[f"unknown verb '{word}'", f"did you mean {meant}?"])
        sentence = self.refuse(2, "xyzzyxyzzy", mentions=["unknown verb 'xyzzyxyzzy'"])
        self.assertNotIn("did you mean", sentence)
        self.refuse(2, "", mentions=["unknown verb"])

    def test_options(self):
        for words, found, meant in (
                (["capture", self.tiny, "--levle", "maps"], "--levle", "--level"),
                (["capture", self.tiny, "--prompt-fil=x"], "--prompt-fil", "--prompt-file"),
                (["stats", "a.h5", "--metrik", "sink"], "--metrik", "--metric"),
                (["map", "a.h5", "--haed", "0.0"], "--haed", "--head"),
                (["version", "--jsno"], "--jsno", "--json")):
            with self.subTest(found):
                self.refuse(2, *words, mentions=[f"unknown option {found}", f"did you mean {meant}?"])

    def test_words_too_many_or_missing(self):
        self.refuse(2, "info", mentions=["FILE"])
        self.refuse(2, "info", self.tiny, "another", mentions=["another"])
        self.refuse(2, "tokenize", self.tiny, "-Z", mentions=["-Z"])
        self.refuse(2, "map", "a.h5", "--head", "0.0", mentions=["--out"])
        self.refuse(2, "stats", "a.h5", mentions=["--metric"])
        self.assertIn("--metric", self.run_cli("stats", "a.h5", "-m", code=2).err)
        self.refuse(2, "stats", "a.h5", "-m", "sink", "-m", "lse", mentions=["--metric"])
        self.refuse(2, "recover", "a.part", mentions=["--out"])
        self.refuse(2, "compare", "a.h5", mentions=["B"])
        self.refuse(2, "capture", self.tiny, "-p", "x", mentions=["--out"])
        self.refuse(2, "bench", mentions=["WHAT"])
        self.refuse(2, "bench", "end-to-end", mentions=["MODEL"])

    def test_options_before_the_verb(self):
        self.refuse(2, "--jsno", mentions=["--jsno"])
        self.refuse(2, "--quiet", mentions=["--quiet"])


class Reserved(CliCase):
    def test_verbs(self):
        for verb in RESERVED_VERBS:
            with self.subTest(verb):
                self.refuse(5, verb, mentions=[verb, "not in this version"])
                self.refuse(5, verb, "x", "--what", "ever", mentions=["not in this version"])

    def test_options(self):
        prompt = ["-p", "Hello"]
        for words in (["generate", self.tiny, *prompt, "--image", "f.png"],
                      ["generate", self.tiny, *prompt, "--pixel-values", "f.npy"],
                      ["capture", self.tiny, "--image", "f.png", "-o", "a.h5"]):
            with self.subTest(words[-2:]):
                self.refuse(5, *words, mentions=["not in this version"])
        for words in (["--device", "cuda"], ["--device", "cuda:1"], ["--dtype", "bf16"], ["--dtype", "f16"]):
            with self.subTest(words):
                self.refuse(5, "generate", self.tiny, *prompt, *words, mentions=[words[0]])
        self.refuse(2, "generate", self.tiny, *prompt, "--device", "tpu", mentions=["tpu"])


class Ranges(CliCase):
    """Every numeric option just outside its range, and with what is no number."""

    INTEGERS = {
        "generate": {"--threads": (0, 1024), "--sliding-window": (0, 2**30), "--max-tokens": (1, 2**22),
                     "--top-k": (0, 2**20), "--generate": (1, 2**22), "--seed": (0, 2**64 - 1)},
        "capture": {"--threads": (0, 1024), "--sliding-window": (0, 2**30), "--max-tokens": (1, 2**22),
                    "--top-k": (0, 2**20), "--generate": (0, 2**22), "--seed": (0, 2**64 - 1)},
        "logits": {"--threads": (0, 1024), "--top": (1, 1000), "--max-tokens": (1, 2**22)},
        "map": {"--record": (0, 2**24), "--layer": (0, 1023), "--threads": (0, 1024), "--size": (200, 8000)},
        "stats": {"--record": (0, 2**24), "--top": (0, 2**20)},
        "verify": {"--record": (0, 2**24), "--threads": (0, 1024)},
        "compare": {"--record": (0, 2**24), "--threads": (0, 1024), "--max-rows": (16, 2**22), "--top": (1, 1000)},
        "bench": {"--repeats": (1, 100), "--decode": (1, 4096)},
    }
    NUMBERS = {
        "generate": {"--temperature": (0, 100), "--top-p": (0, 1)},
        "capture": {"--temperature": (0, 100), "--top-p": (0, 1)},
        "map": {"--zoom": (0.5, 8)},
        "verify": {"--tolerance": (1e-12, 1)},
        "compare": {"--tolerance": (0, 1e9)},
    }

    def words_of(self, verb):
        return {"generate": [self.tiny, "-p", "Hello"], "capture": [self.tiny, "-p", "Hello", "-o", "a.h5"],
                "logits": [self.tiny, "-p", "Hello"], "map": ["a.h5", "--head", "0", "-o", "a.png"],
                "stats": ["a.h5", "-m", "sink"], "verify": ["a.h5"], "compare": ["a.h5", "b.h5"],
                "bench": ["kernels"]}[verb]

    def check(self, verb, option, values):
        for number, value in enumerate(values):
            words = [option, value] if number % 2 else [f"{option}={value}"]  # both spellings
            with self.subTest(verb=verb, words=words):
                run = self.run_cli(verb, *self.words_of(verb), *words, code=2)
                self.assertEqual(run.out, b"")
                self.assertIn(option, run.err, str(run))

    def test_integers(self):
        for verb, options in self.INTEGERS.items():
            for option, (low, high) in options.items():
                self.check(verb, option, [str(low - 1), str(high + 1), "1.5"])
        for option in self.INTEGERS["generate"]:
            self.check("generate", option, ["abc", "9" * 30])

    def test_numbers(self):
        for verb, options in self.NUMBERS.items():
            for option, (low, high) in options.items():
                self.check(verb, option, [repr(low - 0.25), repr(high * 1.5 + 1), "nan", "inf", "-inf", "abc", "1e999"])

    def test_choices(self):
        for verb, option in (("capture", "--level"), ("capture", "--logits"), ("capture", "--replay-dtype"),
                             ("generate", "--kv-dtype"), ("generate", "--act-quant"), ("generate", "--dtype"),
                             ("generate", "--gemma-embed-scale"), ("map", "--colormap"), ("map", "--scale"),
                             ("map", "--theme"), ("stats", "--per"), ("compare", "--metric"), ("stats", "--progress")):
            self.check(verb, option, ["nothing", ""])

    def test_json_of_a_bad_value(self):
        self.refuse(2, "generate", self.tiny, "-p", "x", "--temperature", "-1", mentions=["--temperature"],
                    error="invalid_argument")

    def test_lengths_of_bench(self):
        for lengths in ("0", "-5", "abc", "200000", ""):
            with self.subTest(lengths):
                self.refuse(2, "bench", "kernels", f"--lengths={lengths}", mentions=["--lengths"])


class Streams(CliCase):
    """Results that cannot be delivered."""

    def quick_verbs(self):
        return (["version"], ["info", self.tiny], ["tokenize", self.tiny, "-p", "Hello"], ["models"], ["doctor"],
                ["logits", self.tiny, "-p", "Hello"], ["generate", self.tiny, "-p", "Hello", "-n", "3"],
                ["completion", "bash"], ["--help"], ["capture", "--help"], ["--version"], ["help"])

    def test_full_disk(self):
        for words in self.quick_verbs():
            with self.subTest(words):
                with open("/dev/full", "wb") as full:
                    run = self.run_cli(*words, code=6, stdout=full)
                self.assertIn("standard output cannot be written", run.err, str(run))

    def test_closed_pipe(self):
        for words in self.quick_verbs():
            with self.subTest(words):
                read, write = os.pipe()
                os.close(read)
                with os.fdopen(write, "wb") as pipe:
                    run = self.run_cli(*words, code=None, stdout=pipe)
                self.assertIn(run.code, (141, -13), str(run))  # by the handler, or by the signal itself
                self.assertEqual(run.err, "", str(run))

    def test_closed_streams_are_not_taken_for_files(self):
        script = f"exec '{PROGRAM}' capture '{self.tiny}' -p 'Hello world' -o a.h5 >&- 2>&- <&-"
        run = subprocess.run(["bash", "-c", script], cwd=self.dir, env=environment())
        self.assertEqual(run.returncode, 6)
        self.run_cli("verify", "a.h5")

    def test_quiet_and_verbose(self):
        self.assertEqual(self.run_cli("capture", self.tiny, "-p", "Hello", "-o", "a.h5", "--quiet").err, "")
        self.assertIn("device", self.run_cli("generate", self.tiny, "-p", "Hello", "-n", "1", "--verbose").err)

    def test_progress_as_json(self):
        run = self.run_cli("capture", self.tiny, "-p", "Hello", "-n", "3", "-o", "a.h5", "--progress", "json")
        lines = [one_document(line + "\n") for line in run.err.splitlines()]
        self.assertIn("prefill", [line["phase"] for line in lines])
        for line in lines:
            self.assertEqual(list(line), ["phase", "done", "total", "tokens"])
            self.assertLessEqual(line["done"], line["total"])


class Machine(CliCase):
    def test_doctor(self):
        text = self.run_cli("doctor").text
        result = self.result("doctor")
        for key in ("version", "compiler", "cpu_tier_in_use", "threads", "hdf5", "model_store"):
            self.assertIn(key, result)
            self.assertIn(key, text)
        self.assertTrue(result["self_test"]["passed"])
        self.assertLess(result["self_test"]["attention_error"], 1e-5)

    def test_tier_of_the_environment(self):
        for tier in self.result("doctor")["cpu_tiers"].split():
            result = self.result("doctor", env={"HEADLIGHT_CPU_TIER": tier})
            self.assertEqual(result["cpu_tier_in_use"], tier)
            self.assertTrue(result["self_test"]["passed"])
        self.refuse(2, "doctor", env={"HEADLIGHT_CPU_TIER": "sse9"}, mentions=["HEADLIGHT_CPU_TIER", "sse9"])

    def test_bench(self):
        result = self.result("bench", "kernels", "--lengths", "32", "--repeats", "1")
        self.assertEqual({row["tokens"] for row in result["kernels"]}, {32})
        words = ["bench", "end-to-end", "tiny-shape", "--lengths", "16", "--repeats", "1", "--decode", "2"]
        self.assertIn("16", self.run_cli(*words).text)
        self.result(*words)


if __name__ == "__main__":
    main()
