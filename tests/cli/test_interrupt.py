"""Ctrl-C, SIGTERM, SIGKILL and closed pipes: what is sealed, what is left, and what recover makes of it."""

import json
import os
import signal
import time

from cli_case import CliCase, Run, main, one_document, read_npy

TEXT = "The cat sat on the mat, and the dog ran. " * 500  # some ten thousand tokens: a second of work or more


class Interrupt(CliCase):
    def start(self, *words, out="a.h5", wait_for, prompt=TEXT, **options):
        """A capture that has shown progress of the phase `wait_for`; with one thread, so that there is time."""
        self.write("long.txt", prompt)
        process = self.spawn("capture", self.tiny, "-f", "long.txt", "-o", out, "--progress", "json", "--threads", "1",
                             *words, **options)
        seen = []
        for line in process.stderr:
            seen.append(line.decode())
            if line.startswith(b"{") and json.loads(line)["phase"] == wait_for and json.loads(line)["done"] > 0:
                return process
        process.wait()
        self.fail(f"ended before any progress of {wait_for}: exit {process.returncode}, {seen[-3:]}")

    def finish(self, process, code):
        out, err = process.communicate(timeout=60)
        run = Run(process.args, process.returncode, out, err.decode(errors="replace"))
        self.assertEqual(run.code, code, str(run))
        return run

    def wait_for_handler(self, process):
        """Until a thread of the process waits for SIGINT: the others block it."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with open(f"/proc/{process.pid}/status") as status:
                blocked = next(int(line.split()[1], 16) for line in status if line.startswith("SigBlk:"))
            if blocked & 1 << (signal.SIGINT - 1):
                return
            time.sleep(0.005)
        self.fail("the process never blocked SIGINT")

    def parts(self):
        return [name for name in self.files() if name.endswith(".part")]

    def part_when_written(self, process):
        """The name of the .part file, once the run has flushed something into it."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            if any(self.files()[name][0] > 100000 for name in self.parts()):
                return self.parts()[0]
            time.sleep(0.01)
        self.fail(f"no .part file was written, found {self.files()}")

    def check_partial(self, path, complete_layers=False):
        """A partial capture: refused without --allow-incomplete, else readable and true."""
        self.refuse(4, "verify", path, mentions=["--allow-incomplete"])
        self.refuse(4, "stats", path, "-m", "entropy", mentions=["--allow-incomplete"])
        info = self.result("info", path)
        self.assertEqual(info["state"], "partial")
        self.run_cli("verify", path, "--allow-incomplete", "--layers", "0", "--rows", "-5:")
        self.run_cli("map", path, "--allow-incomplete", "--head", "0.1", "--rows", "-2:", "-o", "m.npy", "--force")
        shape, values = read_npy(self.dir / "m.npy")
        self.assertEqual(shape, (2, info["rows"]))
        self.assertAlmostEqual(sum(values), 2, places=4)
        return info


class FirstSignal(Interrupt):
    def test_prompt(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with self.subTest(number):
                name = f"{code}.h5"
                process = self.start(wait_for="prefill", out=name)
                process.send_signal(number)
                run = self.finish(process, code)
                self.assertIn("headlight: stopped:", run.err)
                self.assertEqual(run.out, b"")
                self.assertEqual(sorted(self.files()), sorted([*(["130.h5"] if code == 143 else []), name, "long.txt"]))
                self.check_partial(name)
                (self.dir / "m.npy").unlink()

    def test_generation(self):
        process = self.start("-n", "50000", wait_for="decode", prompt="Hello world")
        process.send_signal(signal.SIGINT)
        self.finish(process, 130)
        info = self.check_partial("a.h5")
        self.assertEqual(info["rows"], info["prompt_tokens"] + info["generated_tokens"] - 1)
        self.run_cli("verify", "a.h5", "--allow-incomplete", "--model", self.tiny, "--rows", "-5:")
        # The rows are those of a run that ends there by itself.
        self.capture("whole.h5", "-n", str(info["generated_tokens"]), prompt="Hello world")
        self.run_cli("compare", "a.h5", "whole.h5", "--allow-incomplete", "--max-rows", "64", "--tolerance", "1e-6")

    def test_json(self):
        process = self.start("-n", "50000", "--json", wait_for="decode", prompt="Hello world")
        process.send_signal(signal.SIGINT)
        run = self.finish(process, 130)
        document = one_document(run.text)
        self.assertEqual((document["schema"], document["code"]), ("headlight.error/1", "cancelled"))

    def test_corpus(self):
        self.write("c.jsonl", (json.dumps({"text": TEXT[:8000]}) + "\n") * 60)
        process = self.spawn("capture", self.tiny, "--corpus", "c.jsonl", "-o", "a.h5", "--progress", "json")
        for line in process.stderr:
            if json.loads(line)["phase"] == "record" and json.loads(line)["done"] >= 6:
                break
        process.send_signal(signal.SIGINT)
        self.finish(process, 130)
        self.assertEqual(sorted(self.files()), ["a.h5", "c.jsonl"])
        info = self.result("info", "a.h5")
        self.assertEqual(info["state"], "partial")
        self.assertGreaterEqual(info["records"], 6)
        self.run_cli("stats", "a.h5", "-m", "entropy", "--record", "5", "--allow-incomplete")

    def test_generate(self):
        process = self.spawn("generate", self.models / "bare", "--token-ids", "5", "-n", "60000")
        process.stdout.read(200)
        process.send_signal(signal.SIGINT)
        run = self.finish(process, 130)
        self.assertTrue(run.text.endswith("\n"), "expected the text so far to end with a newline")
        self.assertRegex(run.err, r"headlight: stopped: after \d+ new tokens")
        process = self.spawn("generate", self.models / "bare", "--token-ids", "5", "-n", "60000", "--json")
        self.wait_for_handler(process)
        process.send_signal(signal.SIGINT)
        document = one_document(self.finish(process, 130).text)
        self.assertEqual(document["schema"], "headlight.generate/1")
        self.assertLess(len(document["result"]["tokens"]), 60000)

    def test_logits_leave_nothing(self):
        self.write("long.txt", TEXT)
        process = self.spawn("logits", self.tiny, "-f", "long.txt", "-o", "l.npy", "--progress", "json", "--threads", "1")
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        self.finish(process, 130)
        self.assertEqual(list(self.files()), ["long.txt"])

    def test_verify(self):
        self.run_cli("capture", self.tiny, "-f", self.write("p.txt", TEXT[:20000]), "-o", "a.h5")
        process = self.spawn("verify", "a.h5", "--progress", "json", "--threads", "1")
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        run = self.finish(process, 130)
        self.assertIn("headlight: stopped:", run.err)


class SecondSignal(Interrupt):
    def test_ends_at_once_and_leaves_a_part(self):
        process = self.start(wait_for="prefill")
        part = self.part_when_written(process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        self.finish(process, 130)
        if self.parts():  # else the first signal had been enough
            self.assertEqual(self.parts(), [part])
            self.run_cli("recover", part, "-o", "r.h5")
            self.check_partial("r.h5")
        else:
            self.check_partial("a.h5")


class Kill(Interrupt):
    def kill(self, *words, **options):
        process = self.start(*words, **options)
        part = self.part_when_written(process)
        process.kill()
        process.wait()
        self.assertEqual(self.parts(), [part])
        self.assertNotIn("a.h5", self.files())
        return part

    def test_prompt(self):
        part = self.kill(wait_for="prefill")
        self.refuse(4, "stats", part, "-m", "entropy")
        run = self.run_cli("recover", part, "-o", "r.h5")
        self.assertRegex(run.text, r"\Ar\.h5: [1-9]\d* rows in 1 records? recovered, marked partial\n")
        self.check_partial("r.h5")
        result = self.result("recover", part, "-o", "r.h5", "--force")
        self.assertEqual((result["output"], result["num_records"]), ("r.h5", 1))
        self.assertGreater(result["rows_recovered"], 0)
        self.refuse(2, "recover", part, "-o", "r.h5", error="output_exists")
        self.refuse(2, "recover", part, "-o", part, "--force", mentions=[part])
        self.assertEqual(self.parts(), [part])

    def test_generation(self):
        part = self.kill("-n", "50000", wait_for="decode", prompt="Hello world")
        result = self.result("recover", part, "-o", "r.h5")
        info = self.check_partial("r.h5")
        self.assertEqual(result["rows_recovered"], info["rows"])
        self.capture("whole.h5", "-n", str(info["rows"] - info["prompt_tokens"] + 1), prompt="Hello world")
        self.run_cli("compare", "r.h5", "whole.h5", "--allow-incomplete", "--max-rows", "64", "-m", "max",
                     "--tolerance", "1e-6")

    def test_a_sealed_capture_needs_no_recovery(self):
        self.capture("a.h5")
        run = self.run_cli("recover", "a.h5", "-o", "r.h5", code=None)
        self.assertIn(run.code, (0, 2), str(run))


class Busy(Interrupt):
    def test_recover_while_a_writer_runs(self):
        process = self.start("-n", "60000", wait_for="decode", prompt="Hello world")
        part = self.part_when_written(process)
        run = self.run_cli("recover", part, "-o", "r.h5", "--json", code=1)
        self.assertEqual(one_document(run.text)["code"], "busy", str(run))
        self.assertNotIn("r.h5", self.files())
        self.assertIsNone(process.poll(), "expected the writer to run on")
        process.send_signal(signal.SIGINT)
        self.finish(process, 130)
        self.check_partial("a.h5")

    def test_several_writers(self):
        """Of captures that start together exactly one appears; the others say that it exists, and where theirs is."""
        processes = [self.spawn("capture", self.tiny, "-p", "Hello", "-o", "a.h5") for _ in range(6)]
        codes, errors = [], ""
        for process in processes:
            errors += process.communicate(timeout=60)[1].decode()
            codes.append(process.returncode)
        self.assertEqual(sorted(codes), [0, 2, 2, 2, 2, 2])
        self.run_cli("verify", "a.h5")
        for part in self.parts():  # a run that took hours is not thrown away because it was not the first
            self.assertIn(part, errors)
            (self.dir / part).rename(self.dir / "b.h5")
            self.run_cli("verify", "b.h5")

    def test_input_that_changes(self):
        (self.dir / "model.gguf").write_bytes((self.models / "tiny.gguf").read_bytes())
        self.write("long.txt", TEXT)
        process = self.spawn("logits", "model.gguf", "-f", "long.txt", "-o", "l.npy", "--progress", "json", "--threads",
                             "1")
        process.stderr.readline()
        os.utime(self.dir / "model.gguf", (1, 1))
        run = self.finish(process, 3)
        self.assertIn("changed during the run", run.err)
        self.assertNotIn("l.npy", self.files())


class Pipes(Interrupt):
    def test_reader_that_goes_away(self):
        process = self.spawn("generate", self.models / "bare", "--token-ids", "5", "-n", "60000")
        process.stdout.read(100)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=60), 141)
        self.assertEqual(process.stderr.read(), b"")

    def test_reading_verbs(self):
        """Verbs that work in a child process pass its end on."""
        self.capture("a.h5")
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            self.run_cli("stats", "a.h5", "-m", "entropy", code=141, stdout=pipe)

    def test_files_are_complete(self):
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            self.run_cli("capture", self.tiny, "-p", "Hello", "-o", "a.h5", code=141, stdout=pipe)
        self.run_cli("verify", "a.h5")

    def test_stop_and_continue(self):
        process = self.start(wait_for="prefill", prompt=TEXT[:20000])
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        process.send_signal(signal.SIGCONT)
        self.finish(process, 0)
        self.run_cli("verify", "a.h5", "--rows", "-8:")


if __name__ == "__main__":
    main()
