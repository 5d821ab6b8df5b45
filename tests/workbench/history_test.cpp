#include "app/workbench/history.h"

#include <gtest/gtest.h>

#include "app/workbench/command_line.h"
#include "app/workbench/project.h"
#include "base/error.h"
#include "base/file.h"
#include "tests/support/temp_folder.h"

namespace headlight::workbench {
namespace {

Json slider(double value) {
  return {{"name", "x"}, {"value", value}};
}

TEST(History, ADragIsOneStepAndUndoBringsBackItsStart) {
  History history(slider(0.0));
  history.change("Add", slider(1.0));
  for (int n = 1; n <= 100; ++n) history.change("Scale", slider(1.0 + n / 100.0), "scale");
  EXPECT_EQ(history.document(), slider(2.0));
  EXPECT_EQ(history.undo_label(), "Scale");
  history.undo();
  EXPECT_EQ(history.document(), slider(1.0));
  EXPECT_EQ(history.redo_label(), "Scale");
  history.redo();
  EXPECT_EQ(history.document(), slider(2.0));
  history.undo();
  history.undo();
  EXPECT_EQ(history.document(), slider(0.0));
  EXPECT_FALSE(history.can_undo());
}

TEST(History, TheEndOfAGestureStartsANewStep) {
  History history(slider(0.0));
  history.change("Scale", slider(1.0), "scale");
  history.seal();
  history.change("Scale", slider(2.0), "scale");
  history.change("Scale", slider(3.0), "other");
  history.undo();
  EXPECT_EQ(history.document(), slider(2.0));
  history.undo();
  EXPECT_EQ(history.document(), slider(1.0));
}

TEST(History, AChangeAfterUndoDropsWhatWasUndone) {
  History history(slider(0.0));
  history.change("a", slider(1.0));
  history.change("b", slider(2.0));
  history.undo();
  history.change("c", slider(5.0));
  EXPECT_FALSE(history.can_redo());
  history.undo();
  EXPECT_EQ(history.document(), slider(1.0));
}

TEST(History, TheDocumentIsCleanWhereItWasSaved) {
  History history(slider(0.0));
  EXPECT_TRUE(history.is_clean());
  history.change("a", slider(1.0), "key");
  history.mark_clean();
  history.change("a", slider(2.0), "key");  // no part of the saved step
  EXPECT_FALSE(history.is_clean());
  history.undo();
  EXPECT_TRUE(history.is_clean());
  history.undo();
  history.change("b", slider(7.0));
  EXPECT_FALSE(history.is_clean());
  history.undo();
  EXPECT_FALSE(history.is_clean()) << "the saved state was dropped";
}

TEST(History, MembersKeepTheirOrder) {
  const Json before = {{"a", 1}, {"b", 2}, {"c", 3}}, after = {{"a", 1}, {"c", 3}};
  History history(before);
  history.change("remove b", after);
  history.undo();
  EXPECT_EQ(history.document(), before);
}

Project some_project() {
  Project project;
  project.model = "smollm2-135m";
  project.prompt = {PromptKind::chat, "It's \"here\"", "Be brief."};
  project.interventions = {intervention::scale_heads({{3, 7}, {4, 0}}, 0.25)};
  project.head_set = {{0, 1}, {29, 8}};
  project.notes = "two\nlines";
  return project;
}

TEST(Project, IsWrittenAndReadBack) {
  const testing_support::TempFolder folder;
  const std::string path = (folder.path() / "a.headlight.json").string();
  save_project(some_project(), path);
  EXPECT_EQ(to_json(load_project(path)), to_json(some_project()));
}

TEST(Project, NamesWhatIsWrong) {
  Json json = to_json(some_project());
  json["schema"] = "headlight.project/9";
  EXPECT_THROW(project_from_json(json), Error);
  json = to_json(some_project());
  json["prompt"]["kind"] = "poem";
  try {
    project_from_json(json);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::bad_format);
    EXPECT_EQ(error.context().field, "prompt.kind");
  }
}

TEST(CommandLine, QuotesForTheShell) {
  EXPECT_EQ(shell_word("run.h5"), "run.h5");
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(shell_word("it's $HOME"), "'it'\\''s $HOME'");
  Project project = some_project();
  EXPECT_NE(command_of_run(project, 5)
                .find("headlight logits smollm2-135m --chat-file chat.json --last --top 5 "
                      "--intervention stack.json"),
            std::string::npos);
  project.prompt.kind = PromptKind::raw;
  project.interventions.clear();
  EXPECT_EQ(command_of_run(project, 5), "headlight logits smollm2-135m -p 'It'\\''s \"here\"' --last --top 5\n");
  project.prompt = {PromptKind::token_ids, "0, 2 3\n5", ""};
  EXPECT_EQ(command_of_run(project, 5), "headlight logits smollm2-135m --token-ids 0,2,3,5 --last --top 5\n");
  EXPECT_EQ(command_of_map("a b.h5", 2, {3, 7}, "log", "m.png"),
            "headlight map 'a b.h5' --record 2 --head 3.7 --scale log -o m.png\n");
}

}  // namespace
}  // namespace headlight::workbench
