"""Files that are damaged, cut, foreign or no files at all: one sentence, the right exit code, nothing left behind."""

import os
import random
import resource
import socket

from cli_case import CliCase, main, one_document

READERS = (["info"], ["stats", "-m", "entropy"], ["map", "--head", "0.0", "-o", "out.npy"], ["verify"],
           ["verify", "--probe"], ["merge", "-o", "out.h5"], ["recover", "-o", "out.h5"])


class Hostile(CliCase):
    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get("HEADLIGHT_TEST_SEED", "1"))
        self.random = random.Random(self.seed)

    def read_capture(self, path, codes, readers=READERS):
        """Every reading verb ends with one of the codes, says one sentence, and writes nothing."""
        for verb, *options in readers:
            with self.subTest(verb=verb, path=str(path)[:80]):
                before = self.files()
                run = self.run_cli(verb, path, *options, "--json", code=None)
                self.assertIn(run.code, codes, f"seed {self.seed}{run}")
                document = one_document(run.text)
                if run.code not in (0, 7):
                    self.assertEqual(document["schema"], "headlight.error/1", str(run))
                    self.assertEqual(self.files(), before, f"expected the files to be as before:{run}")
                for output in ("out.npy", "out.h5"):
                    (self.dir / output).unlink(missing_ok=True)


class NoFiles(Hostile):
    def test_nothing_to_read(self):
        os.mkfifo(self.dir / "pipe.h5")
        (self.dir / "folder.h5").mkdir()
        (self.dir / "dangling.h5").symlink_to("nowhere.h5")
        (self.dir / "loop.h5").symlink_to("loop.h5")
        with socket.socket(socket.AF_UNIX) as server:
            directory = os.getcwd()
            os.chdir(self.dir)  # paths of sockets are short
            server.bind("socket.h5")
            os.chdir(directory)
            for path in ("absent.h5", "pipe.h5", "folder.h5", "dangling.h5", "loop.h5", "socket.h5", "/dev/zero",
                         "x" * 5000, "no/such/folder/a.h5", b"\xff\xfe", "a\nb"):
                self.read_capture(path, (3,))
                self.run_cli("generate", path, "-p", "x", code=3)
        self.refuse(3, "compare", "absent.h5", "absent.h5", mentions=["absent.h5"])


class ForeignCaptures(Hostile):
    def test_other_formats(self):
        contents = {"empty": b"", "byte": b"\x89", "text": b"Hello\n" * 100, "zeros": bytes(5000),
                    "random": self.random.randbytes(5000), "signature": b"\x89HDF\r\n\x1a\n",
                    "superblock": b"\x89HDF\r\n\x1a\n" + bytes(500), "png": b"\x89PNG\r\n\x1a\n" + bytes(100)}
        for name, content in contents.items():
            self.write(f"{name}.h5", content)
            self.read_capture(f"{name}.h5", (4,))
        self.read_capture(self.tiny, (4,), READERS[1:])

    def test_cut(self):
        data = self.capture("whole.h5", "-n", "3").read_bytes()
        for share in (1, 8, 12, 40, 60, 90, 99):
            self.write("cut.h5", data[:len(data) * share // 100])
            self.read_capture("cut.h5", (4,), READERS[:-1])
        self.write("cut.h5", data[:-1])
        self.read_capture("cut.h5", (4,), READERS[:-1])
        self.write("long.h5", data + b"more")
        self.read_capture("long.h5", (0, 4), READERS[:-1])

    def test_changed_bytes(self):
        data = self.capture("whole.h5", "-n", "3").read_bytes()
        for _ in range(12):
            changed = bytearray(data)
            for _ in range(20):
                changed[self.random.randrange(len(data))] = self.random.randrange(256)
            changed[self.random.randrange(2000)] ^= 1 << self.random.randrange(8)
            self.write("changed.h5", bytes(changed))
            self.read_capture("changed.h5", (0, 2, 4, 5, 7), READERS[:4])


class Models(Hostile):
    def read_model(self, path, codes):
        for words in (["info"], ["tokenize", "-p", "Hello"], ["generate", "-p", "Hello", "-n", "1"],
                      ["capture", "-p", "Hello", "-o", "out.h5"]):
            with self.subTest(verb=words[0], path=str(path)):
                before = self.files()
                run = self.run_cli(words[0], path, *words[1:], "--json", code=None)
                self.assertIn(run.code, codes, f"seed {self.seed}{run}")
                document = one_document(run.text)
                if run.code != 0:
                    self.assertEqual(document["schema"], "headlight.error/1", str(run))
                    self.assertIn(os.path.basename(str(path)), document["message"])
                    self.assertEqual(self.files(), before)
                (self.dir / "out.h5").unlink(missing_ok=True)

    def test_gguf(self):
        data = (self.models / "tiny.gguf").read_bytes()
        for size in (0, 3, 4, 8, 23, 24, 100, 5000, len(data) // 2, len(data) - 1):
            self.write("cut.gguf", data[:size])
            self.read_model("cut.gguf", (4,))
        for name, content in (("text.gguf", b"Hello\n" * 50), ("old.gguf", data[:4] + b"\x01" + data[5:]), ("new.gguf", data[:4] + b"\x63" + data[5:]),
                              ("counts.gguf", data[:8] + b"\xff" * 16 + data[24:])):
            self.write(name, content)
            self.read_model(name, (4,))

        self.write("swapped.gguf", b"FUGG" + data[4:])  # big-endian: well-formed, but not for us
        self.read_model("swapped.gguf", (5,))

    def test_changed_header(self):
        data = (self.models / "tiny.gguf").read_bytes()
        for _ in range(12):
            changed = bytearray(data)
            changed[self.random.randrange(24, 2000)] ^= 1 << self.random.randrange(8)
            self.write("changed.gguf", bytes(changed))
            self.read_model("changed.gguf", (0, 2, 3, 4, 5))

    def test_safetensors(self):
        source = self.models / "bare"
        config, data = (source / "config.json").read_bytes(), (source / "model.safetensors").read_bytes()
        (self.dir / "model").mkdir()
        for name, content in (("config.json", b""), ("config.json", b"{}"), ("config.json", b"[1"),
                              ("config.json", config.replace(b'"num_hidden_layers": 3', b'"num_hidden_layers": 900')),
                              ("model.safetensors", b""), ("model.safetensors", data[:7]),
                              ("model.safetensors", b"\xff" * 8 + data[8:]), ("model.safetensors", data[:1000]),
                              ("model.safetensors", data[:-1])):
            self.write("model/config.json", config)
            self.write("model/model.safetensors", data)
            self.write(f"model/{name}", content)
            with self.subTest(name=name, size=len(content)):
                self.refuse(4, "generate", "model", "--token-ids", "1", mentions=["model/"])
        (self.dir / "model" / "model.safetensors").unlink()
        self.assertIn(self.run_cli("generate", "model", "--token-ids", "1", code=None).code, (3, 4))

    def test_pickled_weights_are_not_read(self):
        (self.dir / "pickled").mkdir()
        self.write("pickled/config.json", (self.models / "bare" / "config.json").read_bytes())
        self.write("pickled/pytorch_model.bin", b"cos\nsystem\n(S'touch owned'\ntR.")
        run = self.run_cli("generate", "pickled", "--token-ids", "1", code=None)
        self.assertIn(run.code, (3, 4, 5), str(run))
        self.assertNotIn("owned", self.files())


class Limits(Hostile):
    """Less memory, disk and descriptors than a run needs."""

    def limited(self, kind, amount, *words, **options):
        return self.run_cli(*words, code=None, preexec_fn=lambda: resource.setrlimit(kind, (amount, amount)), **options)

    def test_memory(self):
        self.write("long.txt", "The cat sat on the mat. " * 400)
        codes = []
        for megabytes in (60, 90, 120, 150, 200, 400):
            run = self.limited(resource.RLIMIT_AS, megabytes << 20, "capture", self.tiny, "-f", "long.txt", "-o", "a.h5",
                               "--level", "summary", "--force", "--threads", "2", env={"MALLOC_ARENA_MAX": "1"})
            with self.subTest(megabytes=megabytes):
                if run.code == 127:
                    continue  # not even the libraries of the program fit
                self.assertIn(run.code, (0, 6), str(run))
                codes.append(run.code)
                if run.code != 0:
                    self.assertRegex(run.err, r"memory|thread", str(run))
        self.assertIn(6, codes)

    def test_threads_that_cannot_be_started(self):
        run = self.limited(resource.RLIMIT_AS, 700 << 20, "capture", self.tiny, "-p", "Hello", "-o", "a.h5", "--threads",
                           "1024", "--json", env={"MALLOC_ARENA_MAX": "1"})
        self.assertEqual((run.code, one_document(run.text)["code"]), (6, "out_of_memory"), str(run))
        self.assertIn("--threads 1", run.err)
        self.assertEqual(self.files(), {})

    def test_file_size(self):
        prompt = ["-p", "The cat sat on the mat. " * 20]
        for kilobytes in (0, 1, 20, 100, 300, 900):
            with self.subTest(kilobytes=kilobytes):
                run = self.limited(resource.RLIMIT_FSIZE, kilobytes << 10, "capture", self.tiny, *prompt, "-o", "a.h5",
                                   "--json")
                self.assertEqual(run.code, 6, str(run))
                self.assertEqual(one_document(run.text)["code"], "io")
                self.assertNotIn("a.h5", self.files())
                parts = [name for name in self.files() if name.endswith(".part")]
                for part in parts:  # kept, named, and either recovered or refused
                    self.assertIn(part, run.err, str(run))
                    self.assertIn(self.run_cli("recover", part, "-o", "r.h5", "--force", code=None).code, (0, 4))
                    (self.dir / part).unlink()
                (self.dir / "r.h5").unlink(missing_ok=True)
        run = self.limited(resource.RLIMIT_FSIZE, 10 << 10, "logits", self.tiny, *prompt, "-o", "l.npy", "--json")
        self.assertEqual((run.code, one_document(run.text)["code"]), (6, "io"), str(run))
        self.assertEqual(self.files(), {})

    def test_descriptors(self):
        for count in (3, 4, 6, 8, 12):
            with self.subTest(count):
                run = self.limited(resource.RLIMIT_NOFILE, count, "capture", self.tiny, "-p", "Hello", "-o", "a.h5",
                                   "--force")
                self.assertIn(run.code, (0, 1, 3, 6, 127), str(run))

    def test_text_is_not_interpreted(self):
        text = "<img src=\"file:///etc/passwd\"><b>x</b> %s %n {} \u202e\u0000 $(touch owned) `touch owned`"
        self.write("p.txt", text)
        self.run_cli("capture", self.tiny, "-f", "p.txt", "-o", "a.h5")
        if "svg" in self.result("doctor")["pictures"]:
            self.run_cli("map", "a.h5", "--head", "0.0", "-o", "m.svg")
            self.assertNotIn(b"<img", (self.dir / "m.svg").read_bytes())
        self.document("info", "a.h5")
        self.assertNotIn("owned", self.files())

    def test_many_words(self):
        self.refuse(2, "stats", "a.h5", "-m", "sink", *["-v"] * 100, *["x"] * 20000, mentions=["'x'"])



if __name__ == "__main__":
    main()
