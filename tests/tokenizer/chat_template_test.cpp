#include "core/formats/chat_template.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "base/error.h"

namespace headlight::formats {
namespace {

using Chat = std::vector<ChatMessage>;

const Chat kQuestion = {{"user", " Hi\n"}};
const Chat kTurns = {{"user", " Hi\n"}, {"assistant", " Yes? "}, {"user", "Why [INST]?"}};
const Chat kSystem = {{"system", "Be brief."}, {"user", " Hi\n"}, {"assistant", " Yes? "}, {"user", "Why [INST]?"}};
const Chat kAnswered = {{"user", " Hi\n"}, {"assistant", " Yes? "}};

// Published templates, without the branches for tools.
// clang-format off
constexpr char kSmolLM2[] = R"j({% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %})j";
constexpr char kSmolLM2Escaped[] = R"j({% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})j";
constexpr char kQwen25[] = R"j({%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "<|im_end|>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
)j";
constexpr char kChatML[] = R"j({% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})j";
constexpr char kLlama3[] = R"j({% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %})j";
constexpr char kLlama31[] = R"j({{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + "26 Jul 2024" + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
)j";
constexpr char kLlama2[] = R"j({% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %})j";
constexpr char kMistral01[] = R"j({{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %})j";
constexpr char kMistral02[] = R"j({{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %})j";
constexpr char kMistral02System[] = R"j({%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message['role'] == 'user' %}
        {%- if loop.first and system_message is defined %}
            {{- ' [INST] ' + system_message + '\n\n' + message['content'] + ' [/INST]' }}
        {%- else %}
            {{- ' [INST] ' + message['content'] + ' [/INST]' }}
        {%- endif %}
    {%- elif message['role'] == 'assistant' %}
        {{- ' ' + message['content'] + eos_token}}
    {%- endif %}
{%- endfor %}
)j";
constexpr char kMistral03[] = R"j({%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
)j";
constexpr char kMistralNemo[] = R"j({%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST]" + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST]" + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- message["content"] + eos_token}}
    {%- endif %}
{%- endfor %}
)j";
constexpr char kGemma3[] = R"j({{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {{- message['content'] | trim -}}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\n'}}
{%- endif -%}
)j";
constexpr char kPhi3First[] = R"j({{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') %}{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %})j";
constexpr char kPhi3[] = R"j({% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %})j";
constexpr char kZephyr[] = R"j({% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %})j";
constexpr char kVicuna[] = R"j({{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + ' ' }}{% elif message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ' }}{% else %}{{ 'ASSISTANT: ' + message['content'] + eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %})j";
constexpr char kLlava[] = R"j({% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}{{ message['content'] + ' ' }}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %})j";
// clang-format on

struct Case {
  const char* name;
  const char* jinja;
  const char* family;
  const Chat& chat;
  bool prompt;
  const char* bos;
  const char* expected;  ///< what Jinja2 makes of the template
};

class ChatTemplate : public testing::TestWithParam<Case> {};

TEST_P(ChatTemplate, RendersAsJinja) {
  const Case& c = GetParam();
  EXPECT_EQ(recognise_chat_template(c.jinja), c.family);
  const RenderedChat got = render_chat(c.jinja, c.chat, c.prompt, c.bos);
  EXPECT_EQ(got.text, c.expected);
  std::size_t at = 0;
  std::vector<int> seen;
  for (const ChatSpan& span : got.spans) {
    EXPECT_EQ(span.begin, at);
    EXPECT_LT(span.begin, span.end);
    at = span.end;
    if (span.message < 0) continue;
    seen.push_back(span.message);
    const std::string& content = c.chat[static_cast<std::size_t>(span.message)].content;
    EXPECT_NE(content.find(got.text.substr(span.begin, span.end - span.begin)), content.npos);
  }
  EXPECT_EQ(at, got.text.size());
  std::ranges::sort(seen);
  ASSERT_EQ(seen.size(), c.chat.size());
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<int>(i));
}

// clang-format off
const Case kCases[] = {
    {"SmolLM2_Question", kSmolLM2, "chatml", kQuestion, true, "<s>",
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n"},
    {"SmolLM2_Turns", kSmolLM2, "chatml", kTurns, true, "<s>",
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n Yes? <|im_end|>\n<|im_start|>user\nWhy [INST]?<|im_end|>\n<|im_start|>assistant\n"},
    {"SmolLM2_System", kSmolLM2, "chatml", kSystem, true, "<s>",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n Yes? <|im_end|>\n<|im_start|>user\nWhy [INST]?<|im_end|>\n<|im_start|>assistant\n"},
    {"SmolLM2_Answered", kSmolLM2, "chatml", kAnswered, false, "<s>",
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n Yes? <|im_end|>\n"},
    {"SmolLM2Escaped_Question", kSmolLM2Escaped, "chatml", kQuestion, true, "<s>",
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n"},
    {"SmolLM2Escaped_Turns", kSmolLM2Escaped, "chatml", kTurns, true, "<s>",
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n Yes? <|im_end|>\n<|im_start|>user\nWhy [INST]?<|im_end|>\n<|im_start|>assistant\n"},
    {"SmolLM2Escaped_System", kSmolLM2Escaped, "chatml", kSystem, true, "<s>",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n Yes? <|im_end|>\n<|im_start|>user\nWhy [INST]?<|im_end|>\n<|im_start|>assistant\n"},
    {"SmolLM2Escaped_Answered", kSmolLM2Escaped, "chatml", kAnswered, false, "<s>",
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n Yes? <|im_end|>\n"},
    {"Qwen25_Question", kQwen25, "chatml", kQuestion, true, "<s>",
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n"},
    {"Qwen25_Turns", kQwen25, "chatml", kTurns, true, "<s>",
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n Yes? <|im_end|>\n<|im_start|>user\nWhy [INST]?<|im_end|>\n<|im_start|>assistant\n"},
    {"Qwen25_System", kQwen25, "chatml", kSystem, true, "<s>",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n Yes? <|im_end|>\n<|im_start|>user\nWhy [INST]?<|im_end|>\n<|im_start|>assistant\n"},
    {"Qwen25_Answered", kQwen25, "chatml", kAnswered, false, "<s>",
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n Yes? <|im_end|>\n"},
    {"ChatML_Question", kChatML, "chatml", kQuestion, true, "<s>",
     "<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n"},
    {"ChatML_Turns", kChatML, "chatml", kTurns, true, "<s>",
     "<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n Yes? <|im_end|>\n<|im_start|>user\nWhy [INST]?<|im_end|>\n<|im_start|>assistant\n"},
    {"ChatML_System", kChatML, "chatml", kSystem, true, "<s>",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n Yes? <|im_end|>\n<|im_start|>user\nWhy [INST]?<|im_end|>\n<|im_start|>assistant\n"},
    {"ChatML_Answered", kChatML, "chatml", kAnswered, false, "<s>",
     "<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n Yes? <|im_end|>\n"},
    {"Llama3_Question", kLlama3, "llama3", kQuestion, true, "<|begin_of_text|>",
     "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"Llama3_Turns", kLlama3, "llama3", kTurns, true, "<|begin_of_text|>",
     "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhy [INST]?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"Llama3_System", kLlama3, "llama3", kSystem, true, "<|begin_of_text|>",
     "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhy [INST]?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"Llama3_Answered", kLlama3, "llama3", kAnswered, false, "<|begin_of_text|>",
     "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|>"},
    {"Llama31_Question", kLlama31, "llama3", kQuestion, true, "<|begin_of_text|>",
     "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"Llama31_Turns", kLlama31, "llama3", kTurns, true, "<|begin_of_text|>",
     "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhy [INST]?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"Llama31_System", kLlama31, "llama3", kSystem, true, "<|begin_of_text|>",
     "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhy [INST]?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"Llama31_Answered", kLlama31, "llama3", kAnswered, false, "<|begin_of_text|>",
     "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|>"},
    {"Llama2_Question", kLlama2, "llama2", kQuestion, true, "<s>",
     "<s>[INST] Hi [/INST]"},
    {"Llama2_Turns", kLlama2, "llama2", kTurns, true, "<s>",
     "<s>[INST] Hi [/INST] Yes? </s><s>[INST] Why [INST]? [/INST]"},
    {"Llama2_System", kLlama2, "llama2", kSystem, true, "<s>",
     "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hi [/INST] Yes? </s><s>[INST] Why [INST]? [/INST]"},
    {"Llama2_Answered", kLlama2, "llama2", kAnswered, false, "<s>",
     "<s>[INST] Hi [/INST] Yes? </s>"},
    {"Mistral01_Question", kMistral01, "mistral", kQuestion, true, "<s>",
     "<s>[INST]  Hi\n [/INST]"},
    {"Mistral01_Turns", kMistral01, "mistral", kTurns, true, "<s>",
     "<s>[INST]  Hi\n [/INST] Yes? </s> [INST] Why [INST]? [/INST]"},
    {"Mistral01_Answered", kMistral01, "mistral", kAnswered, false, "<s>",
     "<s>[INST]  Hi\n [/INST] Yes? </s> "},
    {"Mistral02_Question", kMistral02, "mistral", kQuestion, true, "<s>",
     "<s>[INST]  Hi\n [/INST]"},
    {"Mistral02_Turns", kMistral02, "mistral", kTurns, true, "<s>",
     "<s>[INST]  Hi\n [/INST] Yes? </s>[INST] Why [INST]? [/INST]"},
    {"Mistral02_Answered", kMistral02, "mistral", kAnswered, false, "<s>",
     "<s>[INST]  Hi\n [/INST] Yes? </s>"},
    {"Mistral02System_Question", kMistral02System, "mistral", kQuestion, true, "<s>",
     "<s> [INST]  Hi\n [/INST]"},
    {"Mistral02System_Turns", kMistral02System, "mistral", kTurns, true, "<s>",
     "<s> [INST]  Hi\n [/INST]  Yes? </s> [INST] Why [INST]? [/INST]"},
    {"Mistral02System_System", kMistral02System, "mistral", kSystem, true, "<s>",
     "<s> [INST] Be brief.\n\n Hi\n [/INST]  Yes? </s> [INST] Why [INST]? [/INST]"},
    {"Mistral02System_Answered", kMistral02System, "mistral", kAnswered, false, "<s>",
     "<s> [INST]  Hi\n [/INST]  Yes? </s>"},
    {"Mistral03_Question", kMistral03, "mistral", kQuestion, true, "<s>",
     "<s>[INST]  Hi\n[/INST]"},
    {"Mistral03_Turns", kMistral03, "mistral", kTurns, true, "<s>",
     "<s>[INST]  Hi\n[/INST] Yes?</s>[INST] Why [INST]?[/INST]"},
    {"Mistral03_System", kMistral03, "mistral", kSystem, true, "<s>",
     "<s>[INST]  Hi\n[/INST] Yes?</s>[INST] Be brief.\n\nWhy [INST]?[/INST]"},
    {"Mistral03_Answered", kMistral03, "mistral", kAnswered, false, "<s>",
     "<s>[INST]  Hi\n[/INST] Yes?</s>"},
    {"MistralNemo_Question", kMistralNemo, "mistral", kQuestion, true, "<s>",
     "<s>[INST] Hi\n[/INST]"},
    {"MistralNemo_Turns", kMistralNemo, "mistral", kTurns, true, "<s>",
     "<s>[INST] Hi\n[/INST] Yes? </s>[INST]Why [INST]?[/INST]"},
    {"MistralNemo_System", kMistralNemo, "mistral", kSystem, true, "<s>",
     "<s>[INST] Hi\n[/INST] Yes? </s>[INST]Be brief.\n\nWhy [INST]?[/INST]"},
    {"MistralNemo_Answered", kMistralNemo, "mistral", kAnswered, false, "<s>",
     "<s>[INST] Hi\n[/INST] Yes? </s>"},
    {"Gemma3_Question", kGemma3, "gemma", kQuestion, true, "<bos>",
     "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"},
    {"Gemma3_Turns", kGemma3, "gemma", kTurns, true, "<bos>",
     "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n<start_of_turn>user\nWhy [INST]?<end_of_turn>\n<start_of_turn>model\n"},
    {"Gemma3_System", kGemma3, "gemma", kSystem, true, "<bos>",
     "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n<start_of_turn>user\nWhy [INST]?<end_of_turn>\n<start_of_turn>model\n"},
    {"Gemma3_Answered", kGemma3, "gemma", kAnswered, false, "<bos>",
     "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n"},
    {"Phi3First_Question", kPhi3First, "phi3", kQuestion, true, "<s>",
     "<s><|user|>\n Hi\n<|end|>\n<|assistant|>\n"},
    {"Phi3First_Turns", kPhi3First, "phi3", kTurns, true, "<s>",
     "<s><|user|>\n Hi\n<|end|>\n<|assistant|>\n Yes? <|end|>\n<|user|>\nWhy [INST]?<|end|>\n<|assistant|>\n"},
    {"Phi3First_Answered", kPhi3First, "phi3", kAnswered, false, "<s>",
     "<s><|user|>\n Hi\n<|end|>\n<|assistant|>\n Yes? <|end|>\n"},
    {"Phi3_Question", kPhi3, "phi3", kQuestion, true, "<s>",
     "<|user|>\n Hi\n<|end|>\n<|assistant|>\n"},
    {"Phi3_Turns", kPhi3, "phi3", kTurns, true, "<s>",
     "<|user|>\n Hi\n<|end|>\n<|assistant|>\n Yes? <|end|>\n<|user|>\nWhy [INST]?<|end|>\n<|assistant|>\n"},
    {"Phi3_System", kPhi3, "phi3", kSystem, true, "<s>",
     "<|system|>\nBe brief.<|end|>\n<|user|>\n Hi\n<|end|>\n<|assistant|>\n Yes? <|end|>\n<|user|>\nWhy [INST]?<|end|>\n<|assistant|>\n"},
    {"Phi3_Answered", kPhi3, "phi3", kAnswered, false, "<s>",
     "<|user|>\n Hi\n<|end|>\n<|assistant|>\n Yes? <|end|>\n<|endoftext|>"},
    {"Zephyr_Question", kZephyr, "zephyr", kQuestion, true, "<s>",
     "<|user|>\n Hi\n</s>\n<|assistant|>\n"},
    {"Zephyr_Turns", kZephyr, "zephyr", kTurns, true, "<s>",
     "<|user|>\n Hi\n</s>\n<|assistant|>\n Yes? </s>\n<|user|>\nWhy [INST]?</s>\n<|assistant|>\n"},
    {"Zephyr_System", kZephyr, "zephyr", kSystem, true, "<s>",
     "<|system|>\nBe brief.</s>\n<|user|>\n Hi\n</s>\n<|assistant|>\n Yes? </s>\n<|user|>\nWhy [INST]?</s>\n<|assistant|>\n"},
    {"Zephyr_Answered", kZephyr, "zephyr", kAnswered, false, "<s>",
     "<|user|>\n Hi\n</s>\n<|assistant|>\n Yes? </s>\n"},
    {"Vicuna_Question", kVicuna, "vicuna", kQuestion, true, "<s>",
     "<s>USER:  Hi\n ASSISTANT:"},
    {"Vicuna_Turns", kVicuna, "vicuna", kTurns, true, "<s>",
     "<s>USER:  Hi\n ASSISTANT:  Yes? </s>USER: Why [INST]? ASSISTANT:"},
    {"Vicuna_System", kVicuna, "vicuna", kSystem, true, "<s>",
     "<s>Be brief. USER:  Hi\n ASSISTANT:  Yes? </s>USER: Why [INST]? ASSISTANT:"},
    {"Vicuna_Answered", kVicuna, "vicuna", kAnswered, false, "<s>",
     "<s>USER:  Hi\n ASSISTANT:  Yes? </s>"},
    {"Llava_Question", kLlava, "vicuna", kQuestion, true, "<s>",
     "USER:  Hi\n ASSISTANT:"},
    {"Llava_Turns", kLlava, "vicuna", kTurns, true, "<s>",
     "USER:  Hi\n ASSISTANT:  Yes?  USER: Why [INST]? ASSISTANT:"},
    {"Llava_System", kLlava, "vicuna", kSystem, true, "<s>",
     "Be brief. USER:  Hi\n ASSISTANT:  Yes?  USER: Why [INST]? ASSISTANT:"},
    {"Llava_Answered", kLlava, "vicuna", kAnswered, false, "<s>",
     "USER:  Hi\n ASSISTANT:  Yes?  "},
};
// clang-format on
INSTANTIATE_TEST_SUITE_P(Published, ChatTemplate, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

Error failure(std::string_view jinja, const Chat& chat) {
  try {
    render_chat(jinja, chat, true, "<s>");
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "rendered " << jinja;
  return Error(Errc::internal, "");
}

TEST(ChatTemplateDefaults, SmolLM2NamesItself) {
  const auto got = render_chat(kSmolLM2, {{"user", "Hi"}}, true, "<|im_start|>");
  EXPECT_EQ(got.text,
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  ASSERT_EQ(got.spans.size(), 3u);
  EXPECT_EQ(got.text.substr(got.spans[1].begin, got.spans[1].end - got.spans[1].begin), "Hi");
  EXPECT_EQ(got.spans[1].message, 0);
}

TEST(ChatTemplateDefaults, QuotesInsideTheDefaultPromptAreUnescaped) {
  const auto got =
      render_chat(R"({{ '<|im_start|>system\nDon\'t "shout".<|im_end|>\n' }})", {{"user", "Hi"}}, false, "");
  EXPECT_EQ(got.text, "<|im_start|>system\nDon't \"shout\".<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n");
}

TEST(ChatTemplateSpans, EmptyContentHasNoSpan) {
  const auto got = render_chat(kChatML, {{"user", ""}}, true, "");
  ASSERT_EQ(got.spans.size(), 1u);
  EXPECT_EQ(got.spans[0].message, -1);
  EXPECT_EQ(got.spans[0].end, got.text.size());
}

TEST(ChatTemplateErrors, UnknownTemplatesAskForARawPrompt) {
  for (const char* jinja : {"", "{{ messages }}", "<|im_start|>user<|im_sep|>", "[INST][SYSTEM_PROMPT]", "<|user|>"}) {
    EXPECT_EQ(recognise_chat_template(jinja), "") << jinja;
    const Error error = failure(jinja, kQuestion);
    EXPECT_EQ(error.code(), Errc::unsupported) << jinja;
    EXPECT_NE(error.context().hint.find("raw text"), std::string::npos) << jinja;
  }
}

TEST(ChatTemplateErrors, UnknownRoles) {
  const Error error = failure(kChatML, {{"tool", "42"}});
  EXPECT_EQ(error.code(), Errc::unsupported);
  EXPECT_NE(error.message().find("'tool'"), std::string::npos);
  EXPECT_EQ(failure(kMistral02, kSystem).code(), Errc::unsupported);
  EXPECT_EQ(failure(kPhi3First, kSystem).code(), Errc::unsupported);
}

TEST(ChatTemplateErrors, TurnsMustAlternateWhereTheTemplateSaysSo) {
  EXPECT_EQ(failure(kChatML, {}).code(), Errc::bad_format);
  for (const char* jinja : {kLlama2, kMistral02System, kGemma3}) {
    const Error error = failure(jinja, {{"user", "a"}, {"user", "b"}});
    EXPECT_EQ(error.code(), Errc::bad_format);
    EXPECT_EQ(error.context().field, "messages[1].role");
    EXPECT_EQ(failure(jinja, {{"assistant", "a"}}).code(), Errc::bad_format);
    EXPECT_EQ(failure(jinja, {{"system", "a"}}).code(), Errc::bad_format);
  }
}

TEST(ChatTemplateErrors, RewrittenThoughtsAreRefused) {
  const std::string jinja = std::string(kChatML) + "{{ content.split('</think>')[-1] }}";
  EXPECT_EQ(failure(jinja, kAnswered).code(), Errc::unsupported);
  EXPECT_EQ(failure(jinja, {{"user", "a"}, {"assistant", "<think>b</think>c"}, {"user", "d"}}).code(),
            Errc::unsupported);
  EXPECT_EQ(render_chat(jinja, kTurns, true, "").text, render_chat(kChatML, kTurns, true, "").text);
}

}  // namespace
}  // namespace headlight::formats
