"""Verbs that read or run a model: info, tokenize, generate, logits, models; every way to give a prompt."""

import json
import math
import shutil

from cli_case import CliCase, main, read_npy

CHAT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Say <|im_end|> now"}]


class Info(CliCase):
    def test_model_in_every_form(self):
        expected = {"kind": "model", "architecture": "llama", "layers": 3, "query_heads": 4, "kv_heads": 2,
                    "head_dim": 8, "hidden_size": 32, "vocab_size": 520, "context_length": 65536, "parameters": 61152}
        for path, form in ((self.tiny, "gguf"), (self.models / "tiny-hf", "safetensors"),
                           (self.models / "bare" / "model.safetensors", "safetensors")):
            with self.subTest(str(path)):
                document = self.document("info", path)
                self.assertEqual(document["inputs"], [str(path)])
                self.assertEqual({key: document["result"][key] for key in expected}, expected)
                self.assertEqual(document["result"]["format"], form)
                text = self.run_cli("info", path).text
                for line in ("layers:                3\n", "query_heads:           4\n"):
                    self.assertIn(line, text)

    def test_a_json_document(self):
        self.write("plan.json", '{"schema": "headlight.headplan/1", "model": {"name": "x"}, "window": 7}')
        result = self.result("info", "plan.json")
        self.assertEqual(result, {"kind": "headplan", "schema": "headlight.headplan/1", "window": 7})
        self.write("other.json", '{"a": 1}')
        self.refuse(4, "info", "other.json", mentions=["schema"])


class Registry(CliCase):
    def setUp(self):
        super().setUp()
        (self.dir / "data").mkdir()
        (self.dir / "store").mkdir()
        entry = {"name": "tiny", "title": "A tiny model", "architecture": "llama", "file": "tiny.gguf",
                 "bytes": 258528, "licence": "none"}
        absent = dict(entry, name="absent", file="absent.gguf")
        self.write("data/registry.json", json.dumps({"schema": "headlight.registry/1", "models": [entry, absent]}))
        shutil.copy(self.tiny, self.dir / "store")
        self.env = {"HEADLIGHT_DATA": self.dir / "data", "HEADLIGHT_MODELS": self.dir / "store"}

    def test_names(self):
        self.assertEqual(self.result("info", "tiny", env=self.env)["layers"], 3)
        self.refuse(3, "info", "absent", env=self.env, mentions=["absent", "fetch-model"])
        self.refuse(3, "info", "tony", env=self.env, mentions=["tony", "did you mean tiny?"])
        self.refuse(3, "generate", "nothing-like-it", "-p", "x", env=self.env, mentions=["nothing-like-it"])

    def test_models(self):
        result = self.result("models", env=self.env)
        self.assertEqual(result["store"], str(self.dir / "store"))
        self.assertEqual([(m["name"], m["present"]) for m in result["models"]], [("tiny", True), ("absent", False)])
        text = self.run_cli("models", env=self.env).text
        self.assertRegex(text, r"(?m)^tiny +259 kB present +A tiny model$")
        self.assertRegex(text, r"(?m)^absent +259 kB - ")

    def test_store_of_the_data_folder(self):
        (self.dir / "headlight").mkdir()
        (self.dir / "store").rename(self.dir / "headlight" / "models")
        env = {"HEADLIGHT_DATA": self.dir / "data", "HEADLIGHT_MODELS": None, "XDG_DATA_HOME": self.dir}
        self.assertEqual(self.result("info", "tiny", env=env)["layers"], 3)

    def test_damaged_registry(self):
        self.write("data/registry.json", "{")
        self.refuse(4, "models", env=self.env, mentions=["registry.json"])
        self.refuse(3, "models", env={"HEADLIGHT_DATA": self.dir / "none"}, mentions=["registry.json"])


class Tokenize(CliCase):
    def tokens(self, *words, **options):
        return self.result("tokenize", self.tiny, *words, **options)["tokens"]

    def test_spans_cover_the_text(self):
        text = "Hello wörld, 123!\n"
        tokens = self.tokens("-p", text)
        data = text.encode()
        self.assertEqual(b"".join(data[slice(*t["bytes"])] for t in tokens), data)
        for token in tokens:  # a token inside a character names the whole character
            covered = text[slice(*token["chars"])]
            self.assertIn(data[slice(*token["bytes"])], covered.encode())
        table = self.run_cli("tokenize", self.tiny, "-p", text).text.splitlines()
        self.assertEqual(table[0].split(), ["index", "id", "bytes", "chars", "piece"])
        self.assertEqual([int(line.split()[1]) for line in table[1:]], [t["id"] for t in tokens])

    def test_special_tokens(self):
        ids = [t["id"] for t in self.tokens("-p", "<|im_start|>a")]
        self.assertEqual(ids[0], 1)
        plain = [t["id"] for t in self.tokens("-p", "<|im_start|>a", "--no-special")]
        self.assertNotIn(1, plain)
        self.assertEqual(plain[-1], ids[-1])

    def test_files_keep_their_bytes(self):
        content = "a\r\nb\n\n  c \n"
        self.write("p.txt", content)
        expected = self.tokens("-p", content)
        self.assertEqual(self.tokens("-f", "p.txt"), expected)
        self.assertEqual(self.tokens("--prompt-file=p.txt"), expected)
        self.assertEqual(self.tokens("-f", "-", stdin=content.encode()), expected)

    def test_max_tokens(self):
        tokens = self.tokens("-p", "The cat sat on the mat")
        self.assertEqual(self.tokens("-p", "The cat sat on the mat", "--max-tokens", "3"), tokens[:3])

    def test_ill_formed_utf8_warns(self):
        self.write("bad.txt", b"ok \xff\xfe fine \xc3")
        run = self.run_cli("tokenize", self.tiny, "-f", "bad.txt")
        self.assertIn("ill-formed UTF-8", run.err)
        document = self.document("tokenize", self.tiny, "-f", "bad.txt")
        self.assertEqual(len(document["warnings"]), 1)
        self.assertIn("ill-formed UTF-8", document["warnings"][0])
        self.assertEqual(self.run_cli("tokenize", self.tiny, "-f", "bad.txt", "--quiet").err, "")
        self.assertIn("ill-formed", self.run_cli("tokenize", self.tiny, "-p", b"\xff").err)
        self.assertIn("ill-formed", self.run_cli("generate", self.tiny, "-p", b"a\xff", "-n", "1").err)

    def test_control_characters(self):
        self.write("nul.txt", b"a\x00b\x1b[31m")
        text = self.run_cli("tokenize", self.tiny, "-f", "nul.txt").text
        self.assertNotIn("\x1b", text)
        self.assertNotIn("\x00", text)

    def test_chat(self):
        self.write("chat.json", json.dumps(CHAT))
        tokens = self.tokens("--chat-file", "chat.json")
        rendered = ("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nSay ", "<|im_end|>", " now<|im_end|>\n"
                    "<|im_start|>assistant\n")
        expected = [t["id"] for t in self.tokens("-p", "".join(rendered))]
        ids = [t["id"] for t in tokens]
        self.assertEqual(ids.count(1), 3)
        self.assertEqual(ids.count(2), expected.count(2) - 1)  # the one a user wrote is text
        self.write("open.json", json.dumps({"messages": CHAT, "add_generation_prompt": False}))
        shorter = [t["id"] for t in self.tokens("--chat-file", "open.json")]
        self.assertEqual(ids[:len(shorter)], shorter)
        self.assertLess(len(shorter), len(ids))

    def test_token_ids(self):
        self.assertEqual([t["id"] for t in self.tokens("--token-ids", "5, 6,519")], [5, 6, 519])
        self.write("ids.json", "[5, 6]")
        self.assertEqual([t["id"] for t in self.tokens("--token-ids", "ids.json")], [5, 6])
        bare = self.result("tokenize", self.models / "bare", "--token-ids", "1,2")
        self.assertEqual([t["piece"] for t in bare["tokens"]], ["", ""])

    def test_refusals(self):
        refuse = lambda code, *words, **options: self.refuse(code, "tokenize", self.tiny, *words, **options)
        refuse(2, mentions=["--prompt"])
        refuse(2, "-p", "", mentions=["--prompt"])
        refuse(2, "--prompt=", mentions=["--prompt"])
        refuse(2, "-p", "a", "--token-ids", "1", mentions=["several prompts"])
        refuse(3, "-f", "absent.txt", mentions=["absent.txt"])
        refuse(3, "-f", ".", mentions=["regular file"])
        refuse(3, "-f", "/dev/zero", mentions=["/dev/zero"])
        refuse(2, "-f", self.write("empty.txt", ""), mentions=["no tokens"])
        refuse(2, "--token-ids", "1,x", mentions=["--token-ids", "1,x"])
        refuse(2, "--token-ids", "1,,2", mentions=["--token-ids"])
        refuse(2, "--token-ids", "520", mentions=["0-519", "520"])
        refuse(2, "--token-ids=-1", mentions=["-1"])
        refuse(3, "--token-ids", "absent.json", mentions=["absent.json"])
        refuse(4, "--token-ids", self.write("text.json", '["a"]'), mentions=["integer"])
        refuse(4, "--token-ids", self.write("object.json", '{"a": 1}'), mentions=["list"])
        refuse(4, "--chat-file", self.write("cut.json", "[{"), mentions=["cut.json", "JSON"])
        refuse(4, "--chat-file", self.write("role.json", '[{"role": "user"}]'), mentions=["role.json", "content"])
        refuse(4, "--chat-file", self.write("none.json", "[]"), mentions=["none.json"])
        refuse(2, "--corpus", "x.txt", mentions=["--corpus"])
        self.refuse(5, "tokenize", self.models / "bare", "-p", "x", mentions=["tokenizer", "--token-ids"])
        self.refuse(5, "tokenize", self.models / "tiny-hf", "--chat-file",
                    self.write("chat.json", json.dumps(CHAT)), mentions=["chat template"])
        self.refuse(5, "tokenize", self.tiny, "-p", "x", "--pre", "klingon", mentions=["klingon"])

    def test_long_prompt(self):
        self.write("long.txt", "x" * 200000)
        self.assertGreater(self.result("tokenize", self.tiny, "-f", "long.txt")["num_tokens"], 1000)


class Generate(CliCase):
    def result_of(self, *words, **options):
        return self.result("generate", self.tiny, "-p", "Hello world", *words, **options)

    def test_tokens_and_text(self):
        result = self.result_of("-n", "7")
        self.assertEqual(len(result["tokens"]), 7)
        self.assertEqual(result["num_prompt_tokens"],
                         self.result("tokenize", self.tiny, "-p", "Hello world")["num_tokens"])
        for token in result["tokens"]:
            self.assertEqual(list(token), ["id", "piece", "logprob", "entropy"])
            self.assertLessEqual(token["logprob"], 0)
            self.assertTrue(0 <= token["entropy"] <= math.log(520) + 1e-6)
        run = self.run_cli("generate", self.tiny, "-p", "Hello world", "-n", "7")
        self.assertEqual(run.text, result["text"] + "\n")
        self.assertEqual(run.err, "")

    def test_default_length(self):
        self.assertEqual(len(self.result("generate", self.models / "bare", "--token-ids", "9")["tokens"]), 128)

    def test_greedy_is_the_likeliest(self):
        ids = [t["id"] for t in self.result("tokenize", self.tiny, "-p", "Hello world")["tokens"]]
        for token in self.result_of("-n", "3")["tokens"]:
            top = self.result("logits", self.tiny, "--token-ids", ",".join(map(str, ids)), "--top", "1")["last_top"][0]
            self.assertEqual(token["id"], top["id"])
            self.assertAlmostEqual(token["logprob"], top["logprob"], places=4)
            ids.append(token["id"])

    def test_seed(self):
        words = ["-n", "30", "--temperature", "1.5", "--top-k", "100", "--top-p", "0.95"]
        first = self.result_of(*words, "--seed", "7")
        self.assertEqual(self.result_of(*words, "--seed", "7"), first)
        self.assertEqual(self.result_of(*words, "--seed", "7", "--threads", "1"), first)
        self.assertNotEqual(self.result_of(*words, "--seed", "8"), first)
        self.result_of("-n", "1", "--temperature", "1", "--seed", str(2**64 - 1))

    def test_ids_that_the_tokenizer_does_not_know(self):
        """A vocabulary is often padded: such an id has no text, and is no error."""
        words = ["-n", "400", "--temperature", "100", "--seed", "3"]
        ids = [t["id"] for t in self.result_of(*words)["tokens"]]
        self.assertTrue(any(i >= 512 for i in ids), f"expected an id beyond 511, found {ids}")
        self.run_cli("generate", self.tiny, "-p", "Hello world", *words)
        self.capture("padded.h5", *words, prompt="Hello world")
        self.run_cli("verify", "padded.h5")

    def test_no_tokenizer(self):
        run = self.run_cli("generate", self.models / "bare", "--token-ids", "5,6", "-n", "3")
        self.assertRegex(run.text, r"\A(\d+ ){3}\n\Z")
        ids = [t["id"] for t in self.result("generate", self.models / "bare", "--token-ids", "5,6", "-n", "3")["tokens"]]
        self.assertEqual(list(map(int, run.text.split())), ids)

    def test_model_options(self):
        plain = self.result_of("-n", "5")
        for words in (["--no-mmap"], ["--device", "cpu"], ["--dtype", "f32"], ["--kv-dtype", "f32"],
                      ["--act-quant", "none"], ["--sliding-window", "0"], ["--pre", "smollm"]):
            with self.subTest(words):
                self.assertEqual(self.result_of("-n", "5", *words), plain)
        for words in (["--kv-dtype", "bf16"], ["--sliding-window", "2"]):
            with self.subTest(words):
                self.assertNotEqual(self.result_of("-n", "5", *words), plain)
        self.result("generate", self.models / "tiny-q8.gguf", "-p", "Hello", "-n", "3", "--act-quant", "q8")

    def test_longer_than_the_context(self):
        self.write("ids.json", json.dumps([5] * 65537))
        for verb in ("generate", "logits"):
            self.refuse(2, verb, self.tiny, "--token-ids", "ids.json", mentions=["65536"], error="prompt_too_long")
        self.refuse(2, "capture", self.tiny, "--token-ids", "ids.json", "-o", "a.h5", mentions=["65536"],
                    error="prompt_too_long")
        self.refuse(2, "capture", self.tiny, "-p", "Hello", "-n", "65536", "-o", "a.h5", mentions=["65536"],
                    error="prompt_too_long")


class Logits(CliCase):
    def test_array(self):
        words = [self.tiny, "-p", "Hello world"]
        tokens = self.result("tokenize", *words)["num_tokens"]
        result = self.result("logits", *words, "-o", "all.npy", "--top", "3")
        self.assertEqual((result["shape"], result["output"]), ([tokens, 520], "all.npy"))
        shape, values = read_npy(self.dir / "all.npy")
        self.assertEqual(shape, (tokens, 520))
        self.run_cli("logits", *words, "-o", "last.npy", "--last")
        shape, last = read_npy(self.dir / "last.npy")
        self.assertEqual(shape, (1, 520))
        self.assertEqual(last, values[-520:])
        total = math.log(sum(math.exp(z) for z in last))
        for k, top in enumerate(result["last_top"]):
            self.assertEqual(top["logit"], last[top["id"]])
            self.assertAlmostEqual(top["logprob"], last[top["id"]] - total, places=4)
            self.assertEqual(sorted(last, reverse=True)[k], top["logit"])
        self.assertEqual(len(result["last_top"]), 3)

    def test_equal_in_every_form(self):
        for k, path in enumerate((self.tiny, self.models / "tiny-hf", self.models / "bare")):
            self.run_cli("logits", path, "--token-ids", "3,1,4,1,5", "-o", f"{k}.npy")
        self.assertEqual((self.dir / "0.npy").read_bytes(), (self.dir / "1.npy").read_bytes())
        self.assertEqual((self.dir / "0.npy").read_bytes(), (self.dir / "2.npy").read_bytes())

    def test_text(self):
        run = self.run_cli("logits", self.tiny, "-p", "Hello", "--top", "4")
        self.assertEqual(len(run.text.splitlines()), 6)

    def test_existing_output(self):
        self.write("out.npy", "precious")
        words = ["logits", self.tiny, "-p", "Hello", "-o", "out.npy"]
        self.refuse(2, *words, mentions=["out.npy", "--force"], error="output_exists")
        self.run_cli(*words, "--force")
        self.assertEqual(read_npy(self.dir / "out.npy")[0][1], 520)
        self.refuse(6, *words[:-1], "no/such/folder/out.npy", mentions=["no/such/folder/out.npy"], error="io")
        self.refuse(2, *words[:-1], ".", mentions=["folder"])


class Surroundings(CliCase):
    """What a user's machine may lack."""

    def test_without_home_and_cache(self):
        self.capture("a.h5", env={"HOME": None, "XDG_CACHE_HOME": None})
        self.capture("b.h5", env={"XDG_CACHE_HOME": "/proc/none"})
        self.write("file", "")
        self.capture("c.h5", env={"XDG_CACHE_HOME": self.dir / "file"})
        self.refuse(3, "info", "smollm2-135m", env={"HOME": None, "HEADLIGHT_MODELS": None})

    def test_damaged_cache(self):
        (self.dir / "headlight").mkdir()
        self.write("headlight/file-hashes.json", "{]")
        self.capture("a.h5", env={"XDG_CACHE_HOME": self.dir})
        self.run_cli("verify", "a.h5", "--model", self.tiny)

    def test_locale(self):
        expected = self.run_cli("logits", self.tiny, "-p", "Hello", "--top", "3").out
        for locale in ("C", "C.UTF-8", "de_DE.UTF-8", "tr_TR.UTF-8"):
            self.assertEqual(self.run_cli("logits", self.tiny, "-p", "Hello", "--top", "3", env={"LC_ALL": locale}).out,
                             expected)


if __name__ == "__main__":
    main()
