#include "core/heads/head_expression.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::heads {
namespace {

using Node = HeadExpression::Node;
using Kind = Node::Kind;

constexpr int kMaxDepth = 64;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_name(char c) {
  return is_name_start(c) || is_digit(c) || c == '-' || c == '.' || c == ':';
}

/// Recursive descent over the text; every function starts at the first character of what it reads and leaves blanks
/// behind it.
class Parser {
 public:
  Parser(std::string_view text, const std::string& field) : text_(text), field_(field) {}

  Node parse() {
    skip_blanks();
    Node root = expr(0);
    if (at_ < text_.size()) expected("'|', '&' or the end");
    return root;
  }

 private:
  Node expr(int depth) { return chain(Kind::any_of, "|,", depth); }

  Node chain(Kind kind, std::string_view separators, int depth) {
    if (depth > kMaxDepth) expected(fmt::format("at most {} levels of parentheses", kMaxDepth / 2));
    Node node{.kind = kind, .at = at_};
    do {
      node.children.push_back(kind == Kind::any_of ? chain(Kind::all_of, "&", depth + 1) : fact(depth + 1));
    } while (take_one_of(separators));
    return node.children.size() == 1 ? std::move(node.children.front()) : node;
  }

  Node fact(int depth) {
    if (depth > kMaxDepth) expected(fmt::format("at most {} levels of parentheses", kMaxDepth / 2));
    const std::size_t begin = at_;
    if (take_one_of("!")) {
      Node node{.kind = Kind::none_of, .at = begin};
      node.children.push_back(fact(depth + 1));
      return node;
    }
    if (take_one_of("(")) {
      Node inner = expr(depth + 1);
      take(")");
      return inner;
    }
    if (auto id = head_id()) return *std::move(id);
    if (at_ < text_.size() && is_name_start(text_[at_])) return named(begin);
    expected("a head such as L3H7 or 3.7, a metric, role=, set: or '('");
  }

  Node named(std::size_t begin) {
    if (take_word("set:")) return {.kind = Kind::set, .at = begin, .name = name("the name of a set")};
    std::string word = name("a name");
    if ((word == "role" || word == "primary") && peek() == '=') {
      take("=");
      return {.kind = word == "role" ? Kind::role : Kind::primary, .at = begin, .name = name("the name of a role")};
    }
    if ((word == "top" || word == "bottom") && peek() == '(') return ranking(begin, word);
    Node node{.kind = Kind::compare, .at = begin, .name = std::move(word)};
    for (const std::string_view op : {"<=", ">=", "!=", "<", ">", "="})
      if (node.op.empty() && take_word(op)) node.op = op;
    if (node.op.empty()) expected(fmt::format("<, <=, >, >=, = or != after '{}'", node.name));
    skip_blanks();
    node.number = number();
    return node;
  }

  Node ranking(std::size_t begin, const std::string& word) {
    Node node{.kind = word == "top" ? Kind::top : Kind::bottom, .at = begin};
    take("(");
    node.name = name("a metric");
    take(",");
    const std::size_t number_at = at_;
    node.number = number();
    node.percent = take_one_of("%");
    const bool good = node.percent ? node.number > 0.0 && node.number <= 100.0
                                   : node.number >= 1.0 && node.number == std::floor(node.number);
    if (!good) {
      at_ = number_at;
      expected("a count of heads, or a percentage up to 100%");
    }
    take(")");
    return node;
  }

  /// L3H7, L3H*, L*H7, L12G3, 3.7, 3.*, *.7; nothing when the text here is something else.
  std::optional<Node> head_id() {
    const std::size_t begin = at_;
    const bool lettered =
        peek() == 'L' && at_ + 1 < text_.size() && (is_digit(text_[at_ + 1]) || text_[at_ + 1] == '*');
    if (!lettered && !is_digit(peek()) && peek() != '*') return std::nullopt;
    if (lettered) ++at_;
    Node node{.kind = Kind::heads, .at = begin};
    node.layer = index();
    if (at_ < text_.size() && lettered && text_[at_] == 'G')
      node.kind = Kind::kv_heads;
    else if (at_ == text_.size() || text_[at_] != (lettered ? 'H' : '.'))
      expected(lettered ? "H or G and the number of a head" : "'.' and the number of a head");
    ++at_;
    node.head = index();
    if (at_ < text_.size() && is_name(text_[at_])) expected("the end of the head's name");
    skip_blanks();
    return node;
  }

  int index() {
    if (peek() == '*') {
      ++at_;
      return Node::kEvery;
    }
    int value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc() || !is_digit(peek())) expected("a number or *");
    at_ = static_cast<std::size_t>(end - text_.data());
    return value;
  }

  double number() {
    double value = 0.0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc() || !std::isfinite(value)) expected("a number");
    at_ = static_cast<std::size_t>(end - text_.data());
    skip_blanks();
    return value;
  }

  std::string name(std::string_view what) {
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_name(text_[at_])) ++at_;
    if (at_ == begin) expected(what);
    std::string found(text_.substr(begin, at_ - begin));
    skip_blanks();
    return found;
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) ++at_;
  }
  bool take_word(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  bool take_one_of(std::string_view characters) {
    if (at_ == text_.size() || characters.find(text_[at_]) == std::string_view::npos) return false;
    ++at_;
    skip_blanks();
    return true;
  }
  void take(std::string_view character) {
    if (!take_one_of(character)) expected(fmt::format("'{}'", character));
  }

  [[noreturn]] void expected(std::string_view what) const {
    const std::string found =
        at_ < text_.size() ? fmt::format("'{}'", text_.substr(at_, std::min<std::size_t>(20, text_.size() - at_)))
                           : "the end";
    throw Error(Errc::invalid_argument, fmt::format("expected {}, found {}", what, found),
                {.file = {}, .field = field_, .offset = at_, .hint = {}});
  }

  std::string_view text_;
  const std::string& field_;
  std::size_t at_ = 0;
};

bool only_ids(const Node& node) {
  if (node.kind == Kind::heads || node.kind == Kind::kv_heads) return true;
  return !node.children.empty() &&
         std::all_of(node.children.begin(), node.children.end(), [](const Node& child) { return only_ids(child); });
}

}  // namespace

HeadExpression HeadExpression::parse(std::string_view text, std::string field) {
  HeadExpression expression;
  expression.text_ = text;
  expression.field_ = std::move(field);
  expression.root_ = std::make_shared<const Node>(Parser(expression.text_, expression.field_).parse());
  return expression;
}

bool HeadExpression::only_ids() const {
  return heads::only_ids(*root_);
}

}  // namespace headlight::heads
