#include "core/formats/chat_template.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "core/formats/fail.h"

namespace headlight::formats {
namespace {

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

[[noreturn]] void refuse(std::string_view what, std::string_view found) {
  fail(Errc::unsupported, {"chat template", {}, "Give the prompt as raw text, with its control tokens written out."},
       "{} '{}'", what, found);
}

/// What Python's str.strip removes.
constexpr std::array<std::string_view, 29> kSpaces = {" ",
                                                      "\t",
                                                      "\n",
                                                      "\v",
                                                      "\f",
                                                      "\r",
                                                      "\x1c",
                                                      "\x1d",
                                                      "\x1e",
                                                      "\x1f",
                                                      "\xc2\x85",
                                                      "\xc2\xa0",
                                                      "\xe1\x9a\x80",
                                                      "\xe2\x80\x80",
                                                      "\xe2\x80\x81",
                                                      "\xe2\x80\x82",
                                                      "\xe2\x80\x83",
                                                      "\xe2\x80\x84",
                                                      "\xe2\x80\x85",
                                                      "\xe2\x80\x86",
                                                      "\xe2\x80\x87",
                                                      "\xe2\x80\x88",
                                                      "\xe2\x80\x89",
                                                      "\xe2\x80\x8a",
                                                      "\xe2\x80\xa8",
                                                      "\xe2\x80\xa9",
                                                      "\xe2\x80\xaf",
                                                      "\xe2\x81\x9f",
                                                      "\xe3\x80\x80"};

std::string_view trim_end(std::string_view text) {
  for (;;) {
    const auto space = std::ranges::find_if(kSpaces, [&](auto s) { return text.ends_with(s); });
    if (space == kSpaces.end()) return text;
    text.remove_suffix(space->size());
  }
}

std::string_view trim(std::string_view text) {
  for (;;) {
    const auto space = std::ranges::find_if(kSpaces, [&](auto s) { return text.starts_with(s); });
    if (space == kSpaces.end()) return trim_end(text);
    text.remove_prefix(space->size());
  }
}

/// Text in the making; neighbouring pieces of one origin share a span.
class Output {
 public:
  void add(std::string_view text, int message = -1) {
    if (text.empty()) return;
    const std::size_t begin = chat_.text.size();
    chat_.text += text;
    if (!chat_.spans.empty() && chat_.spans.back().message == message)
      chat_.spans.back().end = chat_.text.size();
    else
      chat_.spans.push_back({begin, chat_.text.size(), message});
  }
  RenderedChat take() { return std::move(chat_); }

 private:
  RenderedChat chat_;
};

struct Job {
  std::string_view jinja;
  const std::vector<ChatMessage>& messages;
  bool prompt;  ///< ends with the header of the answer
  std::string_view bos;
  Output& out;

  int count() const { return static_cast<int>(messages.size()); }
  const ChatMessage& at(int i) const { return messages[static_cast<std::size_t>(i)]; }
  bool starts_with_system() const { return messages.front().role == "system"; }
  void content(int i) const { out.add(at(i).content, i); }
  void trimmed(int i) const { out.add(trim(at(i).content), i); }
  /// End-of-sequence text. The families that write it use one of two vocabularies, which the BOS tells apart.
  std::string_view eos() const { return bos == "<|endoftext|>" ? bos : "</s>"; }
  void bos_if_used() const {
    if (has(jinja, "bos_token")) out.add(bos);
  }
};

/// For families whose templates raise an exception unless an optional system message is followed by user, assistant,
/// user, ... Returns the index of the first user message.
int check_alternation(const Job& job) {
  const int first = job.starts_with_system() ? 1 : 0;
  if (first == job.count()) bad_format({"messages"}, "expected a user message after the system message, found none");
  for (int i = first; i < job.count(); ++i) {
    const std::string_view expected = (i - first) % 2 == 0 ? "user" : "assistant";
    if (job.at(i).role != expected)
      bad_format({fmt::format("messages[{}].role", i)},
                 "expected '{}' (this model's chat alternates user and assistant), found '{}'", expected,
                 job.at(i).role);
  }
  return first;
}

std::string unescaped(std::string_view literal) {
  std::string text;
  for (std::size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] == '\\' && i + 1 < literal.size()) {
      const char c = literal[++i];
      text += c == 'n' ? '\n' : c == 't' ? '\t' : c;
    } else {
      text += literal[i];
    }
  }
  return text;
}

/// The system prompt that a ChatML template supplies when the chat has none: a literal between the markers. Pieces that
/// leave the string literal in between hold expressions and are not that prompt.
std::optional<std::string> chatml_default_system(std::string_view jinja) {
  constexpr std::string_view kOpen = "<|im_start|>system", kClose = "<|im_end|>";
  for (std::size_t at = jinja.find(kOpen); at != jinja.npos; at = jinja.find(kOpen, at + 1)) {
    std::string_view rest = jinja.substr(at + kOpen.size());
    if (rest.starts_with("\\n"))
      rest.remove_prefix(2);
    else if (rest.starts_with('\n'))
      rest.remove_prefix(1);
    else
      continue;
    const std::size_t close = rest.find(kClose);
    if (close == rest.npos || close == 0) continue;
    const std::string_view literal = rest.substr(0, close);
    // The quote that opened the literal is the nearest one before the marker.
    const std::size_t quote = jinja.find_last_of("'\"", at);
    if (quote == jinja.npos) continue;
    bool inside = true;
    for (std::size_t i = 0; i < literal.size() && inside; ++i) {
      if (literal[i] == '\\')
        ++i;
      else
        inside = literal[i] != jinja[quote];
    }
    if (inside) return unescaped(literal);
  }
  return std::nullopt;
}

/// Templates of reasoning models rewrite answers: thoughts are cut from earlier ones and added to the last one.
void refuse_rewritten_thoughts(const Job& job) {
  if (!has(job.jinja, "</think>")) return;
  int last_user = -1;
  for (int i = 0; i < job.count(); ++i)
    if (job.at(i).role == "user") last_user = i;
  for (int i = 0; i < job.count(); ++i)
    if (job.at(i).role == "assistant" && (i > last_user || has(job.at(i).content, "</think>")))
      refuse("the model's template rewrites the thoughts of the assistant's message", std::to_string(i));
}

void render_chatml(const Job& job) {
  refuse_rewritten_thoughts(job);
  const bool trims = has(job.jinja, "content'] | trim") || has(job.jinja, "content']|trim") ||
                     has(job.jinja, "content | trim") || has(job.jinja, "content|trim");
  job.bos_if_used();
  if (!job.starts_with_system())
    if (const auto system = chatml_default_system(job.jinja))
      job.out.add("<|im_start|>system\n" + *system + "<|im_end|>\n");
  for (int i = 0; i < job.count(); ++i) {
    job.out.add("<|im_start|>" + job.at(i).role + "\n");
    trims ? job.trimmed(i) : job.content(i);
    job.out.add("<|im_end|>\n");
  }
  if (!job.prompt) return;
  job.out.add("<|im_start|>assistant\n");
  if (has(job.jinja, "<|im_start|>assistant\\n<think>")) job.out.add("<think>\n");
}

void render_llama3(const Job& job) {
  constexpr std::string_view kSystem = "<|start_header_id|>system<|end_header_id|>\n\n";
  job.out.add(job.bos);
  int first = 0;
  if (has(job.jinja, "Cutting Knowledge Date: December 2023")) {
    // Llama 3.1 and later always open with a system turn. The date is the one the templates fall back to: today's
    // would make the same command give another prompt tomorrow.
    job.out.add(kSystem);
    job.out.add("Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n");
    if (job.starts_with_system()) job.trimmed(first++);
    job.out.add("<|eot_id|>");
  }
  for (int i = first; i < job.count(); ++i) {
    job.out.add("<|start_header_id|>" + job.at(i).role + "<|end_header_id|>\n\n");
    job.trimmed(i);
    job.out.add("<|eot_id|>");
  }
  if (job.prompt) job.out.add("<|start_header_id|>assistant<|end_header_id|>\n\n");
}

void render_llama2(const Job& job) {
  const int first = check_alternation(job);
  for (int i = first; i < job.count(); ++i) {
    if (job.at(i).role == "assistant") {
      job.out.add(" ");
      job.trimmed(i);
      job.out.add(" </s>");
      continue;
    }
    job.out.add(job.bos);
    job.out.add("[INST] ");
    if (i == 1 && first == 1) {
      job.out.add("<<SYS>>\n");
      job.content(0);
      job.out.add("\n<</SYS>>\n\n");
      // The template strips the turn as a whole, which begins with the system message.
      job.out.add(trim_end(job.at(i).content), i);
    } else {
      job.trimmed(i);
    }
    job.out.add(" [/INST]");
  }
}

bool has_literal(std::string_view jinja, const std::string& text) {
  return has(jinja, "'" + text + "'") || has(jinja, "\"" + text + "\"");
}

/// The spaces around Mistral's marks differ between its releases; the template's own literals tell which ones it has.
void render_mistral(const Job& job) {
  const std::string_view open = has_literal(job.jinja, " [INST] ")  ? " [INST] "
                                : has_literal(job.jinja, "[INST] ") ? "[INST] "
                                                                    : "[INST]";
  const std::string_view close = has_literal(job.jinja, " [/INST]") ? " [/INST]" : "[/INST]";
  const bool spaced = has(job.jinja, "' ' + message[") || has(job.jinja, "\" \" + message[");
  const bool trims = has(job.jinja, "content\"]|trim + eos_token") || has(job.jinja, "content\"] | trim + eos_token");
  const bool space_after = has(job.jinja, "eos_token + ' '") || has(job.jinja, "eos_token+' '");
  if (job.starts_with_system() && !has(job.jinja, "system_message"))
    refuse("the model's template knows no role", "system");
  const int first = check_alternation(job);
  int last_user = first;
  for (int i = first; i < job.count(); i += 2) last_user = i;
  // Where the template looks at loop.last, a chat that ends with an answer would lose its system message: keep it.
  const int system_at = has(job.jinja, "loop.first and system_message") ? first : last_user;
  job.out.add(job.bos);
  for (int i = first; i < job.count(); ++i) {
    if (job.at(i).role == "user") {
      job.out.add(open);
      if (first == 1 && i == system_at) {
        job.content(0);
        job.out.add("\n\n");
      }
      job.content(i);
      job.out.add(close);
    } else {
      if (spaced) job.out.add(" ");
      trims ? job.trimmed(i) : job.content(i);
      job.out.add(space_after ? "</s> " : "</s>");
    }
  }
}

void render_gemma(const Job& job) {
  const int first = check_alternation(job);
  job.out.add(job.bos);
  for (int i = first; i < job.count(); ++i) {
    job.out.add(job.at(i).role == "assistant" ? "<start_of_turn>model\n" : "<start_of_turn>user\n");
    if (i == 1 && first == 1) {
      job.content(0);
      job.out.add("\n\n");
    }
    job.trimmed(i);
    job.out.add("<end_of_turn>\n");
  }
  if (job.prompt) job.out.add("<start_of_turn>model\n");
}

void render_phi3(const Job& job) {
  const bool header_after_user = !has(job.jinja, "add_generation_prompt");  // the first release of the template
  job.bos_if_used();
  for (int i = 0; i < job.count(); ++i) {
    const std::string& role = job.at(i).role;
    if (role == "system" && !has(job.jinja, "<|system|>")) refuse("the model's template knows no role", role);
    if (!(header_after_user && role == "assistant" && i > 0)) job.out.add("<|" + role + "|>\n");
    job.content(i);
    job.out.add("<|end|>\n");
    if (header_after_user && role == "user") job.out.add("<|assistant|>\n");
  }
  if (header_after_user) return;
  if (job.prompt)
    job.out.add("<|assistant|>\n");
  else if (has(job.jinja, "{{ eos_token }}") || has(job.jinja, "{{- eos_token }}"))
    job.out.add("<|endoftext|>");
}

void render_zephyr(const Job& job) {
  job.bos_if_used();
  for (int i = 0; i < job.count(); ++i) {
    job.out.add("<|" + job.at(i).role + "|>\n");
    job.content(i);
    job.out.add(job.eos());
    job.out.add("\n");
  }
  if (job.prompt) job.out.add("<|assistant|>\n");
}

/// Plain text. LLaVA's template upper-cases the role and ends every turn with a space; Vicuna's ends answers with EOS.
void render_vicuna(const Job& job) {
  const bool llava = has(job.jinja, ".upper()") || has(job.jinja, "| upper") || has(job.jinja, "|upper");
  job.bos_if_used();
  for (int i = 0; i < job.count(); ++i) {
    const std::string& role = job.at(i).role;
    if (role != "system") job.out.add(role == "user" ? "USER: " : "ASSISTANT: ");
    job.content(i);
    job.out.add(role == "assistant" && !llava ? "</s>" : " ");
  }
  if (job.prompt) job.out.add("ASSISTANT:");
}

struct Family {
  std::string_view name;
  void (*render)(const Job&);
};

constexpr std::array<Family, 8> kFamilies = {{{"chatml", render_chatml},
                                              {"llama3", render_llama3},
                                              {"llama2", render_llama2},
                                              {"mistral", render_mistral},
                                              {"gemma", render_gemma},
                                              {"phi3", render_phi3},
                                              {"zephyr", render_zephyr},
                                              {"vicuna", render_vicuna}}};

}  // namespace

std::string_view recognise_chat_template(std::string_view jinja) {
  // Templates that share a mark with a family and yet write something else: Phi-4, SmolLM3, Mistral's later releases.
  for (const std::string_view other : {"<|im_sep|>", "## Metadata", "[SYSTEM_PROMPT]"})
    if (has(jinja, other)) return {};
  if (has(jinja, "<|im_start|>")) return "chatml";
  if (has(jinja, "<|start_header_id|>")) return "llama3";
  if (has(jinja, "[INST]")) return has(jinja, "<<SYS>>") ? "llama2" : "mistral";
  if (has(jinja, "<start_of_turn>")) return "gemma";
  if (has(jinja, "<|user|>")) {
    if (has(jinja, "<|end|>")) return "phi3";
    const bool lines = has(jinja, "<|user|>\\n") || has(jinja, "<|user|>\n");
    return lines && (has(jinja, "eos_token") || has(jinja, "</s>")) ? "zephyr" : std::string_view{};
  }
  // Vicuna variants that end turns with line breaks disagree on where.
  if (has(jinja, "ASSISTANT:") && !has(jinja, "+ '\\n")) return "vicuna";
  return {};
}

RenderedChat render_chat(std::string_view jinja, const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                         std::string_view bos_text) {
  const std::string_view name = recognise_chat_template(jinja);
  if (name.empty()) {
    if (jinja.empty())
      fail(Errc::unsupported, {"chat template", {}, "Give the prompt as raw text."}, "the model has no chat template");
    refuse("no built-in renderer fits the model's template, which begins", jinja.substr(0, 60));
  }
  if (messages.empty()) bad_format({"messages"}, "expected at least one message, found none");
  for (const ChatMessage& message : messages)
    if (message.role != "system" && message.role != "user" && message.role != "assistant")
      refuse("expected the role 'system', 'user' or 'assistant', found", message.role);
  Output out;
  const auto family = std::ranges::find(kFamilies, name, &Family::name);
  HEADLIGHT_CHECK(family != kFamilies.end());
  family->render({jinja, messages, add_generation_prompt, bos_text, out});
  return out.take();
}

}  // namespace headlight::formats
