"""What the tests of the command line share: tiny models, spawning the program, and the checks that hold for every run.

Every file of tests runs by itself:
    HEADLIGHT_PROGRAM=.../headlight HEADLIGHT_MAKE_MODEL=.../make_model python3 tests/cli/test_usage.py
"""

import array
import atexit
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.environ.get("HEADLIGHT_PROGRAM", "")
MAKE_MODEL = os.environ.get("HEADLIGHT_MAKE_MODEL", "")
MAKE_PLANTED = os.environ.get("HEADLIGHT_MAKE_PLANTED", "")

VERBS = ("info tokenize generate logits capture map stats verify recover merge compare analyze report roles eval calibrate models "
         "plugins doctor bench completion version").split()

# The names of errors that belong to each exit code.
ERROR_CODES = {
    1: {"failed", "internal", "busy"},
    2: {"invalid_argument", "output_exists", "prompt_too_long"},
    3: {"not_found", "unreadable", "changed"},
    4: {"bad_format", "bad_version", "damaged"},
    5: {"unsupported"},
    6: {"out_of_memory", "io"},
    7: {"check_failed"},
    8: {"partial"},
    130: {"cancelled"},
    143: {"cancelled"},
}

_shared = None


def shared_folder():
    """A folder that lives as long as this process; holds the models and what a class of tests makes once."""
    global _shared
    if _shared is None:
        for name, path in (("HEADLIGHT_PROGRAM", PROGRAM), ("HEADLIGHT_MAKE_MODEL", MAKE_MODEL)):
            if not os.path.isfile(path):
                sys.exit(f"set {name} to the program (found '{path}')")
        _shared = pathlib.Path(tempfile.mkdtemp(prefix="headlight-cli-"))
        atexit.register(shutil.rmtree, _shared, ignore_errors=True)
        subprocess.run([MAKE_MODEL, str(_shared)], check=True)
        (_shared / "cache").mkdir()
        (_shared / "store").mkdir()
    return _shared


def environment(**changes):
    """The environment of a run: nothing of the user's; None removes a variable."""
    env = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(shared_folder() / "home"),
        "QT_QPA_PLATFORM": "offscreen",
        "XDG_CACHE_HOME": str(shared_folder() / "cache"),
        "HEADLIGHT_MODELS": str(shared_folder() / "store"),
    }
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LD_LIBRARY_PATH"):
        if name in os.environ:
            env[name] = os.environ[name]
    for name, value in changes.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = str(value)
    return env


class Run:
    """What a finished process left."""

    def __init__(self, words, code, out, err):
        self.words, self.code, self.out, self.err = words, code, out, err

    @property
    def text(self):
        return self.out.decode(errors="replace")

    def __str__(self):
        return f"\n$ {' '.join(map(str, self.words))}\nexit {self.code}\nstdout: {self.text[-2000:]}\nstderr: {self.err[-2000:]}"


def unique_keys(pairs):
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError(f"duplicate keys in {keys}")
    return dict(pairs)


def no_constant(name):
    raise ValueError(f"{name} is not JSON")


def one_document(text):
    """The document, when `text` is exactly one JSON document with a newline at its end."""
    if not text.endswith("\n"):
        raise ValueError("no newline at the end")
    return json.loads(text, object_pairs_hook=unique_keys, parse_constant=no_constant)


def read_npy(path):
    """(shape, flat array of float32) of a .npy file in format 1.0."""
    data = pathlib.Path(path).read_bytes()
    if data[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError(f"{path}: not .npy 1.0")
    length = int.from_bytes(data[8:10], "little")
    if (10 + length) % 64 != 0:
        raise ValueError(f"{path}: header is not aligned")
    header = eval(data[10:10 + length].decode("ascii"), {"__builtins__": {}}, {"False": False, "True": True})
    if header["descr"] != "<f4" or header["fortran_order"]:
        raise ValueError(f"{path}: {header}")
    values = array.array("f", data[10 + length:])
    count = 1
    for n in header["shape"]:
        count *= n
    if count != len(values):
        raise ValueError(f"{path}: shape {header['shape']} but {len(values)} values")
    return tuple(header["shape"]), values


class CliCase(unittest.TestCase):
    """A test with its own empty folder, in which the program runs."""

    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.models = shared_folder()
        cls.tiny = str(cls.models / "tiny.gguf")

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="case-", dir=self.models))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def spawn(self, *words, env=None, **options):
        """A running process; words may be bytes, str or paths."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        options.setdefault("cwd", self.dir)
        process = subprocess.Popen([PROGRAM, *words], env=environment(**(env or {})), **options)
        self.addCleanup(self.reap, process)
        return process

    @staticmethod
    def reap(process):
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def run_cli(self, *words, code=0, stdin=None, env=None, **options):
        """Runs to the end and checks the exit code."""
        process = self.spawn(*words, env=env, **options, **({"stdin": subprocess.PIPE} if stdin is not None else {}))
        try:
            out, err = process.communicate(stdin, timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            self.fail(f"still running after 60 s:{Run(words, 'none', out or b'', (err or b'').decode())}")
        run = Run(words, process.returncode, out or b"", (err or b"").decode(errors="replace"))
        if code is not None:
            self.assertEqual(run.code, code, f"expected exit {code}:{run}")
        return run

    def document(self, verb, *words, code=0, **options):
        """The whole JSON document of a run that printed a result."""
        run = self.run_cli(verb, *words, "--json", code=code, **options)
        try:
            document = one_document(run.text)
        except ValueError as error:
            self.fail(f"expected exactly one JSON document ({error}):{run}")
        self.assertEqual(list(document), ["schema", "tool", "inputs", "result", "warnings"], str(run))
        self.assertEqual(document["schema"], f"headlight.{verb}/1", str(run))
        self.assertEqual(document["tool"]["name"], "headlight")
        return document

    def result(self, verb, *words, **options):
        return self.document(verb, *words, **options)["result"]

    def files(self):
        """Everything in the folder of the test with size and time, to see what a run left behind."""
        return {str(p.relative_to(self.dir)): (p.lstat().st_size, p.lstat().st_mtime_ns)
                for p in self.dir.rglob("*") if not p.is_dir()}

    def refuse(self, code, *words, mentions=(), error=None, leaves_files=False, **options):
        """The run fails with this exit code, says one sentence on stderr, prints nothing on stdout or, with --json,
        exactly one error document, and leaves the folder as it was. Returns the sentence."""
        before = self.files()
        text = self.run_cli(*words, code=code, **options)
        self.assertEqual(text.out, b"", f"expected nothing on stdout:{text}")
        sentences = [line for line in text.err.splitlines() if line.startswith("headlight: ")]
        self.assertEqual(len(sentences), 1, f"expected one sentence on stderr:{text}")
        json_run = self.run_cli(*words, "--json", code=code, **options)
        try:
            document = one_document(json_run.text)
        except ValueError as problem:
            self.fail(f"expected exactly one JSON document ({problem}):{json_run}")
        self.assertEqual(list(document), ["schema", "code", "message", "hint"], str(json_run))
        self.assertEqual(document["schema"], "headlight.error/1", str(json_run))
        self.assertIn(document["code"], ERROR_CODES[code], str(json_run))
        if error is not None:
            self.assertEqual(document["code"], error, str(json_run))
        self.assertNotEqual(document["message"], "")
        for word in mentions:
            self.assertIn(word, sentences[0], str(text))
        if not leaves_files:
            self.assertEqual(self.files(), before, f"expected the files to be as before:{text}")
        return sentences[0]

    def capture(self, name="a.h5", *words, prompt="Hello world, the cat sat on the mat.", model=None, **options):
        """A capture in the folder of the test; its path."""
        source = [] if prompt is None else ["-p", prompt]
        self.run_cli("capture", model or self.tiny, *source, "-o", name, *words, **options)
        return self.dir / name

    def write(self, name, content):
        path = self.dir / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


class PlantedCase(CliCase):
    """On a model whose roles are known."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not os.path.isfile(MAKE_PLANTED):
            raise unittest.SkipTest("HEADLIGHT_MAKE_PLANTED is not set")
        cls.planted = shared_folder() / "planted"
        if not cls.planted.exists():
            subprocess.run([MAKE_PLANTED, str(cls.planted)], check=True)


def main():
    unittest.main(verbosity=2)
