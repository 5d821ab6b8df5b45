#!/usr/bin/env python3
"""Golden token ids of small vocabularies, made by the Python packages tokenizers and sentencepiece.

Run by hand; nothing in the build or the tests calls it.
    make_tokenizer_goldens.py [--train] [--smollm2 MODEL.gguf] [--gemma3 MODEL.gguf]
--train makes the vocabularies anew (from the GPL-3 text of the system and the lines below); without it the committed
vocabularies are read and only the expected values are written. --smollm2 and --gemma3 rebuild the tokenizers of these
models from the vocabulary in their GGUF file (package gguf) and write smollm2.expected.json and gemma3.expected.json.

Files
    strings.json           array of strings; expected files follow its order
    <name>.json            tokenizer.json of a small vocabulary
    spm_llama.model        the SentencePiece file that spm_llama.json and spm_llama_metaspace.json were converted from;
    spm_gemma.model        the one of spm_gemma.json
    <name>.expected.json   {"prefix": ids put before, "suffix": ids put after when special tokens are added,
                            "frame_always": true if even an empty text gets them,
                            "items": one per string, keys as follows}
        ids       without prefix and suffix; special and added tokens in the text are recognised
        offsets   [begin, end) of each token in characters (code points); left out above 1200 tokens
        plain     ids when special tokens in the text are read as ordinary text; left out where equal to ids
        decoded   decode(ids), special tokens kept; left out where equal to the string
        skipped   decode(ids), special tokens skipped; left out where equal to the former
        spm       (SentencePiece vocabularies) ids of the sentencepiece package where they differ from plain
"""
import argparse
import json
import os
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def letters(count, seed):
    out, x = [], seed
    for _ in range(count):
        x = (x * 1103515245 + 12345) % 2**31
        out.append("etaoinshrdlucmfwypvbgkjqxz"[(x >> 16) % 26])
    return "".join(out)


def strings():
    out = ["", " ", "  ", "   ", "a", " a", "a ", " a ", "Hello world", "Hello, World!", "hello WORLD Hello",
           " 12345 don't DON'T", "naïve café 🦙.cpp", "  two  spaces\n\n\tx",
           "  two  spaces naïve 🦙 日本語 1234", "Hello, World! naïve 日本 unaffable", "The quick brown fox jumps over the lazy dog."]
    # contractions
    out += ["I'm you're he's we've they'll I'd can't", "I'M YOU'RE HE'S WE'VE THEY'LL I'D CAN'T", "I'm'm 'tis 's 'S 'Ll 'lL x'Re",
            "don’t it’s ‘quoted’ “double”", "''s ''''t rock'n'roll o'clock", "Iʼm ſ 'ſ K's 'K"]
    # digits
    out += ["0", "1", "12", "123", "1234", "1234567890", "3.14159 1,000,000 -42 1e-10 0xFF", " 7 77 777 7777", "２０２４ ٣٤٥ ४५६ ๑๒๓",
            "½ ² ³ Ⅷ ⅷ ① ㊿ 十二 〇", "1st 2nd 3rd v1.2.3-rc4", "a1b22c333d4444"]
    # white space
    out += ["\t", "\n", "\r", "\r\n", "\n\n", "\n\n\n\n", "\r\n\r\n", "\n\r\n\r", "a\nb", "a\r\nb\rc\n\nd", "\n a", " \n a", "a \n", "a  \n  b",
            "\t\tint x;\n\t\treturn x;\n", "\ta  b   c    d     e", "    indented\n        more\n", "a\tb\t\tc \t d\t \te", "end   ", "   \n   \n   ",
            "x\u0085y", "x\u00a0y \u00a0 z", "x\u2003y\u2009z\u200a", "x\u2028y\u2029z", "x\u3000y\u3000\u3000z", "x\u1680y\u202fz\u205f",
            "x\u200by\u200cz\u2060\ufeffw", "\ufeffstart", "a\x0bb\x0cc", "a\x1cb\x1dc\x1ed\x1fe", " \x1c \x85 \u2028 a", "a" + " " * 17 + "b",
            " " * 512, "\n" * 100, "\t" * 33 + "x", "▁", "a▁b", "▁▁a ▁b ▁ ▁", " ▁ "]
    # U+0000..U+00FF, sixteen at a time, and in between letters
    out += ["".join(chr(c) for c in range(row, row + 16)) for row in range(0, 256, 16)]
    out += ["a\x00b", "a\x04b", "\x00", "\x7f", "a\x80b\x9fc", "".join(f"x{chr(c)}" for c in range(0, 33)), "".join(f" {chr(c)}" for c in range(127, 174)),
            "\xad soft\xadhyphen", "ÀÉÎÕÜ àéîõü ßẞ Ÿÿ", "µ ª º × ÷"]
    # replacement characters, non-characters, private use, planes above the first
    out += ["\ufffd", "a\ufffdb \ufffd\ufffd c", "\ufffe\uffff", "\ue000\uf8ff", "\U0010ffff\U000f0000", "𝓗𝓮𝓵𝓵𝓸 𝟙𝟚𝟛", "𐍈𐌰 𒀀𒁀", "\U00020000\U0002a6d6"]
    # combining marks and normalisation
    out += ["e\u0301 é", "A\u030a Å \u212b", "n\u0303o man\u0303ana", "a\u0308\u0323 a\u0323\u0308", "\u0301a", " \u0301 \u0301", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢", "ﬁ ﬂ ﬀ ™ ℃ ㎏ Ａｂｃ",
            "한국어 한국어", "각 ᄀ", "q\u0307\u0323 ṩ s\u0323\u0307", "İstanbul ıi Iİ", "ΑΣ ας ΣΊΣΥΦΟΣ", "ǅ ǆ Ǆ ŉ ǰ", "Ω Ω Å K", "क्षत्रिय नमस्ते", "Tiếng Việt Tiếng Việt"]
    # scripts
    out += ["日本語", "日本語のテキスト、です。", "中文字符 和 English 混合", "汉字漢字", "안녕하세요 세계", "Привет, мир! Ёлка", "Γειά σου Κόσμε", "שלום עולם", "שָׁלוֹם",
            "مرحبا بالعالم", "السَّلَامُ عَلَيْكُمْ", "‏עברית‎ mixed ‫عربي‬ text", "สวัสดีชาวโลก", "ສະບາຍດີ", "မင်္ဂလာပါ", "ಕನ್ನಡ தமிழ் తెలుగు", "ქართული Հայերեն", "አማርኛ ᏣᎳᎩ", "ᠮᠣᠩᠭᠣᠯ",
            "ﷺ ﷽", "〜～－―…‥・「」『』", "㐀䶵𠮷野家"]
    # emoji
    out += ["🦙", "🙂🙃", "👩‍👩‍👧‍👦", "👍🏽 👩🏿‍🚀", "🇩🇪🇫🇷🇯🇵", "❤️ ❤ ☺️", "1️⃣#️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "a🦙b 🦙🦙 c", "🧑‍💻 writes code 🚀!!", "\u200d\ufe0f"]
    # punctuation, code, markup
    out += ["...", "!!!???", "a.b.c", "a-b_c+d=e", "(a)[b]{c}<d>", "http://example.org/a/b?c=d&e=f#g", "user@example.org", "C:\\path\\file.txt", "#!/bin/sh\nset -e\n",
            "for (int i = 0; i < n; ++i) { s += a[i]; }\n", "def f(x):\n    return x ** 2\n", "<p class=\"x\">text</p>", "{\"key\": [1, 2.5, null, true]}", "$E = mc^2$ \\frac{1}{2}",
            "| a | b |\n|---|---|\n| 1 | 2 |\n", "—–-‐‑", "£€¥₹₿¢", "«guillemets» „deutsch“", "/ // /// a/b\n//\n", "...\n\n---\n", "a,b;c:d", "`tick` ~~s~~ **b** _i_"]
    # special and added tokens, whole and damaged
    out += ["<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>", "<|endoftext", "<<|endoftext|>>", "<|begin_of_text|>x<|eot_id|>y",
            "<s>a</s> b", "<unk> <pad> <bos> <eos>", "<start_of_turn>user\nhi<end_of_turn>\n", "[CLS] a [SEP] b [MASK] [UNK] [PAD] [mask]", "<|user|>\nhi<|end|>\n<|assistant|>\n",
            "a <mask> b<mask>c  <mask>  d", "foobar xfoobar foobarx foobar's (foobar) foobar", "\n\n<table>\n\n\n</table>  x", "x<repo_name>y<file_sep>", "<0x41><0x0A>", "Ġ Ċ âĢĻ"]
    # words
    out += ["unaffable unbelievable internationalisation", "antidisestablishmentarianism", "THE LICENSE AND COPYRIGHT", "camelCaseWord PascalCaseWord snake_case_word SCREAMING_CASE HTMLParser iPhone",
            "the the the the", "program programs programmer programming", "tokenizer attention heads", " tokenizer attention heads", "x" * 101, "a" * 1000, "ab" * 300, letters(10000, 7)]
    assert len(out) == len(set(out)), [s for s in out if out.count(s) > 1]
    return out


MORE = """The quick brown fox jumps over the lazy dog. Don't panic; it's only a test, isn't it? We'll see what they've done.
Grüße aus München: naïve café, déjà vu, señor, mañana, smørrebrød. Привет, мир! Как дела? Γειά σου Κόσμε.
日本語のテキストです。日本語。中文字符和汉字。안녕하세요 세계. שלום עולם. مرحبا بالعالم. สวัสดีชาวโลก
int main(int argc, char** argv) {\n    for (int i = 0; i < n; ++i) {\n        sum += a[i];\n    }\n    return 0;\n}
def f(x):\n    return x ** 2\n\n\nclass Head:\n    def __init__(self):\n        self.count = 1234567890
🦙 🙂 👍🏽 ❤️ 🚀 1, 22, 333, 4444, 55555; 3.14159; 2024-11-23; <p class="x">text</p>   three   spaces    four
"""


def corpus():
    with open("/usr/share/common-licenses/GPL-3") as f:
        text = f.read()
    lines = [line + "\n" for line in text.split("\n")]
    return lines + (MORE * 12).splitlines(keepends=True)


ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
MISSING = {0x04, 0x06, 0x13, 0x14, 0x16, 0x1D, 0xC0, 0xC1, 0xF1, 0xF2, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF}


def byte_symbol(b):
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    return chr(b) if b in keep else chr(256 + [x for x in range(256) if x not in keep].index(b))


def level(normalizer, split, special, size=512, alphabet=ALPHABET, extra=(), words=(), ignore_merges=False, frame=None):
    """A byte-level BPE tokenizer; words = whole pieces in the vocabulary that no merge makes."""
    tok = Tokenizer(models.BPE())
    if normalizer:
        tok.normalizer = normalizer
    tok.pre_tokenizer = split
    trainer = trainers.BpeTrainer(vocab_size=size - len(words), special_tokens=list(special), initial_alphabet=list(alphabet), show_progress=False)
    tok.train_from_iterator(corpus(), trainer)
    state = json.loads(tok.to_str())
    for word in words:
        assert word not in state["model"]["vocab"], word
        state["model"]["vocab"][word] = len(state["model"]["vocab"])
    state["model"]["ignore_merges"] = ignore_merges
    tok = Tokenizer.from_str(json.dumps(state))
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in special])
    for token in extra:
        (tok.add_special_tokens if token.special else tok.add_tokens)([token])
    tok.decoder = decoders.ByteLevel()
    byte_level = processors.ByteLevel(trim_offsets=False)
    if frame:
        bos = (frame, tok.token_to_id(frame))
        tok.post_processor = processors.Sequence([byte_level, processors.TemplateProcessing(
            single=f"{frame} $A", pair=f"{frame} $A {frame}:1 $B:1", special_tokens=[bos])])
    else:
        tok.post_processor = byte_level
    return tok


def sentence_pieces(path, prefix, controls, user_defined):
    import sentencepiece
    source = path + ".txt"
    with open(source, "w") as f:
        f.writelines(corpus())
    ids = dict(unk_id=0, bos_id=1, eos_id=2, pad_id=-1) if prefix else dict(pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", bos_piece="<bos>", eos_piece="<eos>")
    sentencepiece.SentencePieceTrainer.train(
        input=source, model_prefix=path, model_type="bpe", vocab_size=600, byte_fallback=True, character_coverage=0.985,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=prefix, split_digits=True,
        allow_whitespace_only_pieces=True, control_symbols=controls, user_defined_symbols=user_defined, num_threads=1, minloglevel=2, **ids)
    os.remove(source)
    os.remove(path + ".vocab")
    return sentencepiece.SentencePieceProcessor(model_file=path + ".model")


def merges_of(vocab, scores):
    """Merges in rank order: pairs whose concatenation is a piece, by falling score (ties: by position of the parts)."""
    out = []
    for piece, score in scores:
        local = []
        for k in range(1, len(piece)):
            left, right = piece[:k], piece[k:]
            if left in vocab and right in vocab:
                local.append((left, right, score))
        out += sorted(local, key=lambda m: (vocab[m[0]], vocab[m[1]]))
    return [(a, b) for a, b, _ in sorted(out, key=lambda m: m[2], reverse=True)]


def from_pieces(sp, style):
    """tokenizer.json form of a SentencePiece BPE model. style: llama (Prepend), metaspace, gemma."""
    n = sp.get_piece_size()
    vocab = {sp.id_to_piece(i): i for i in range(n)}
    normal = [(sp.id_to_piece(i), sp.get_score(i)) for i in range(n)
              if not (sp.is_control(i) or sp.is_unknown(i) or sp.is_byte(i) or sp.is_unused(i))]
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges_of(vocab, normal), unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    fallback = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if style == "llama":
        tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tok.decoder = decoders.Sequence(fallback + [decoders.Strip(" ", 1, 0)])
    elif style == "metaspace":
        tok.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
        tok.decoder = decoders.Sequence(fallback + [decoders.Strip(" ", 1, 0)])
    else:
        tok.normalizer = normalizers.Replace(" ", "▁")
        tok.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        tok.decoder = decoders.Sequence(fallback)
    control = [sp.id_to_piece(i) for i in range(n) if sp.is_control(i) or sp.is_unknown(i)]
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False, rstrip=s.startswith("<|")) for s in control])
    bos = "<s>" if style != "gemma" else "<bos>"
    tok.post_processor = processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, vocab[bos])])
    return tok


def word_pieces():
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer(lowercase=True)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tok.train_from_iterator(corpus(), trainers.WordPieceTrainer(vocab_size=500, special_tokens=special, show_progress=False, limit_alphabet=150))
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False, lstrip=s == "[MASK]") for s in special])
    cls, sep = (("[CLS]", tok.token_to_id("[CLS]")), ("[SEP]", tok.token_to_id("[SEP]")))
    tok.post_processor = processors.TemplateProcessing(single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[cls, sep])
    tok.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return tok


def train():
    split = pre_tokenizers.Split
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    mask = [AddedToken("<mask>", special=True, lstrip=True, rstrip=True, normalized=False), AddedToken("foobar", single_word=True, normalized=False)]
    less = [s for s in ALPHABET if s not in {byte_symbol(b) for b in MISSING}]
    chat = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    made = {
        "bpe_gpt2": level(None, gpt2, ["<|endoftext|>"], extra=mask),
        "bpe_smollm": level(None, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2]),
                            chat + ["<repo_name>", "<file_sep>"], alphabet=less),
        "bpe_llama3": level(None, pre_tokenizers.Sequence([split(Regex(LLAMA3), "isolated"), plain]),
                            ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], words=["Ġtokenizer", "tokenizer", "Ġattention", "123", "日本語のテキスト", "ĠHTMLParser"],
                            ignore_merges=True, frame="<|begin_of_text|>"),
        "bpe_qwen2": level(normalizers.NFC(), pre_tokenizers.Sequence([split(Regex(QWEN2), "isolated"), plain]), chat),
        "bpe_o200k": level(None, pre_tokenizers.Sequence([split(Regex(O200K), "isolated"), plain]), ["<|startoftext|>", "<|endoftext|>", "<|end|>"]),
        "wordpiece": word_pieces(),
    }
    sp = sentence_pieces(os.path.join(HERE, "spm_llama"), True, ["<|user|>", "<|end|>", "<|assistant|>"], [])
    made["spm_llama"] = from_pieces(sp, "llama")
    made["spm_llama_metaspace"] = from_pieces(sp, "metaspace")
    lines = ["\n" * k for k in range(1, 5)] + ["\t", "\t\t", "<table>", "</table>"]
    sp = sentence_pieces(os.path.join(HERE, "spm_gemma"), False, ["<start_of_turn>", "<end_of_turn>"], lines + ["▁▁", "▁▁▁", "▁▁▁▁"])
    made["spm_gemma"] = from_pieces(sp, "gemma")
    made["spm_gemma"].add_tokens([AddedToken(s, normalized=False) for s in lines + ["▁▁", "▁▁▁", "▁▁▁▁"]])
    for name, tok in made.items():
        tok.save(os.path.join(HERE, name + ".json"))


def smollm2(path):
    """The real tokenizer: merges of the GGUF file behind Digits(individual) and ByteLevel; control tokens are special."""
    import gguf
    reader = gguf.GGUFReader(path)
    field = {k: reader.fields[k].contents() for k in reader.fields if k.startswith("tokenizer.")}
    tokens, kinds = field["tokenizer.ggml.tokens"], field["tokenizer.ggml.token_type"]
    merges = [((m[:(k := m.index(" ", 1))]), m[k + 1:]) for m in field["tokenizer.ggml.merges"]]
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, kinds) if k == 3])
    tok.add_tokens([AddedToken(t, normalized=False) for t, k in zip(tokens, kinds) if k == 4])
    for text, ids in {"Hello world": [19556, 905], " 12345 don't DON'T": [216, 33, 34, 35, 36, 37, 1326, 982, 422, 2154, 23, 68],
                      "naïve café 🦙.cpp": [3546, 46494, 37366, 15107, 116, 243, 30, 35392],
                      "  two  spaces\n\n\tx": [216, 827, 216, 5600, 1116, 197, 104], "<|im_start|>user": [1, 4093]}.items():
        assert tok.encode(text).ids == ids, (text, tok.encode(text).ids)
    return tok


def gemma3(path):
    """The real tokenizer from the pieces and scores of the GGUF file, and the same as a SentencePiece model."""
    import gguf
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as pb
    reader = gguf.GGUFReader(path)
    field = {k: reader.fields[k].contents() for k in reader.fields if k.startswith("tokenizer.")}
    tokens, kinds, scores = (field["tokenizer.ggml." + k] for k in ("tokens", "token_type", "scores"))
    proto = pb.ModelProto()
    proto.trainer_spec.model_type = 2
    proto.trainer_spec.byte_fallback = True
    unknown = field["tokenizer.ggml.unknown_token_id"]
    proto.trainer_spec.unk_id, proto.trainer_spec.bos_id = unknown, field["tokenizer.ggml.bos_token_id"]
    proto.trainer_spec.eos_id, proto.trainer_spec.pad_id = field["tokenizer.ggml.eos_token_id"], field["tokenizer.ggml.padding_token_id"]
    proto.trainer_spec.unk_piece = tokens[unknown]
    proto.trainer_spec.bos_piece, proto.trainer_spec.eos_piece, proto.trainer_spec.pad_piece = (
        tokens[field[f"tokenizer.ggml.{k}_token_id"]] for k in ("bos", "eos", "padding"))
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    for i, (t, k, s) in enumerate(zip(tokens, kinds, scores)):
        piece = proto.pieces.add()
        # the file holds user-defined pieces with spaces; a SentencePiece model has U+2581 there
        piece.piece, piece.score, piece.type = t.replace(" ", "▁") if k == 4 else t, s, 2 if i == unknown else k
    sp = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    tok = from_pieces(sp, "gemma")
    tok.add_tokens([AddedToken(t.replace(" ", "▁"), normalized=" " in t) for t, k in zip(tokens, kinds) if k == 4])
    for text, ids in {"Hello world": [2, 9259, 1902], "  two  spaces naïve 🦙 日本語 1234": [
            2, 138, 13498, 138, 35220, 120362, 236743, 478, 397, 404, 391, 33375, 238582, 236743, 236770, 236778, 236800, 236812]}.items():
        assert tok.encode(text).ids == ids, (text, tok.encode(text).ids)
    return tok, sp


def expected(name, tok, texts, sp=None):
    bare = tok.encode("a", add_special_tokens=False).ids
    framed = tok.encode("a").ids
    at = next(k for k in range(len(framed)) if framed[k:k + len(bare)] == bare)
    out = dict(prefix=framed[:at], suffix=framed[at + len(bare):])
    empty = tok.encode("").ids
    assert empty in (out["prefix"] + out["suffix"], [])
    out["frame_always"] = empty == out["prefix"] + out["suffix"]
    items, different, lossy = [], 0, 0
    for text in texts:
        e = tok.encode(text, add_special_tokens=False)
        assert tok.encode(text).ids == out["prefix"] + e.ids + out["suffix"], text
        item = dict(ids=e.ids)
        if len(e.ids) <= 1200:
            item["offsets"] = [list(o) for o in e.offsets]
        tok.encode_special_tokens = True
        plain = tok.encode(text, add_special_tokens=False).ids
        tok.encode_special_tokens = False
        if plain != e.ids:
            item["plain"] = plain
        decoded, skipped = tok.decode(e.ids, skip_special_tokens=False), tok.decode(e.ids, skip_special_tokens=True)
        if decoded != text:
            item["decoded"] = decoded
            lossy += 1
        if skipped != decoded:
            item["skipped"] = skipped
        if sp:
            ids = sp.encode(text)
            if ids != plain:
                item["spm"] = ids
                different += 1
        items.append(item)
    out["items"] = items
    path = os.path.join(HERE, name + ".expected.json")
    with open(path, "w") as f:
        head = json.dumps({k: v for k, v in out.items() if k != "items"})[:-1]
        f.write(head + ', "items": [\n' + ",\n".join(json.dumps(i, separators=(",", ":")) for i in items) + "\n]}\n")
    size = os.path.getsize(path)
    assert size < 300_000, (name, size)
    print(f"{name:20} vocab {tok.get_vocab_size():6}  {size // 1024:4} KB  prefix {out['prefix']} suffix {out['suffix']}  "
          f"decode differs {lossy}  sentencepiece differs {different if sp else '-'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--smollm2")
    parser.add_argument("--gemma3")
    options = parser.parse_args()
    texts = strings()
    with open(os.path.join(HERE, "strings.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(t) for t in texts) + "\n]\n")
    print(len(texts), "strings")
    if options.train:
        train()
    import sentencepiece
    for file in sorted(os.listdir(HERE)):
        name = file[:-5]
        if not file.endswith(".json") or file.endswith(".expected.json") or file == "strings.json":
            continue
        sp = None
        if name.startswith("spm_"):
            sp = sentencepiece.SentencePieceProcessor(model_file=os.path.join(HERE, name.removesuffix("_metaspace") + ".model"))
        expected(name, Tokenizer.from_file(os.path.join(HERE, file)), texts, sp)
    if options.smollm2:
        expected("smollm2", smollm2(options.smollm2), texts)
    if options.gemma3:
        tok, sp = gemma3(options.gemma3)
        expected("gemma3", tok, texts, sp)
    return 0


if __name__ == "__main__":
    sys.exit(main())
