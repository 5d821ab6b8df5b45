#include <QImage>
#include <QSvgRenderer>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "app/figure/figure.h"
#include "base/error.h"
#include "base/file.h"

namespace headlight::figure {
namespace {

class WriteFigure : public testing::Test {
 protected:
  WriteFigure() : folder(std::filesystem::temp_directory_path() / ("figure_test." + std::to_string(getpid()))) {
    std::filesystem::create_directories(folder);
    map.text = {"layer 1, head 2", "model", ""};
    map.rows = map.cols = 3;
    map.attn_yx = {1.0f, 0, 0, 0.5f, 0.5f, 0, 0.2f, 0.3f, 0.5f};
    map.visible_yx = {1, 0, 0, 1, 1, 0, 1, 1, 1};
  }
  ~WriteFigure() override { std::filesystem::remove_all(folder); }

  Errc code_of(const std::filesystem::path& path, const WriteOptions& options) {
    try {
      write_figure(path, map, options);
    } catch (const Error& error) {
      EXPECT_FALSE(std::filesystem::exists(path) && std::filesystem::file_size(path) == 0);
      return error.code();
    }
    ADD_FAILURE() << "accepted";
    return Errc::internal;
  }

  std::filesystem::path folder;
  MapFigure map;
};

TEST_F(WriteFigure, PngHasItsScaleAndProvenance) {
  write_figure(folder / "a.png", map, {.provenance = "capture 123"});
  write_figure(folder / "b.PNG", map, {.scale = 2.0, .dark = true});
  const QImage one(QString::fromStdString((folder / "a.png").string()));
  const QImage two(QString::fromStdString((folder / "b.PNG").string()));
  ASSERT_FALSE(one.isNull());
  EXPECT_EQ(two.width(), 2 * one.width());
  EXPECT_EQ(two.height(), 2 * one.height());
  EXPECT_EQ(one.text(QStringLiteral("Title")), "layer 1, head 2");
  EXPECT_EQ(one.text(QStringLiteral("Source")), "capture 123");
  EXPECT_EQ(one.text(QStringLiteral("Software")), "headlight");
  EXPECT_GT(qGray(one.pixel(2, 2)), 250);
  EXPECT_LT(qGray(two.pixel(2, 2)), 40);
}

TEST_F(WriteFigure, SameFigureSameBytes) {
  write_figure(folder / "a.png", map, {});
  write_figure(folder / "b.png", map, {});
  EXPECT_EQ(read_text_file(folder / "a.png", 1u << 20), read_text_file(folder / "b.png", 1u << 20));
}

TEST_F(WriteFigure, SvgCanBeRenderedAndHoldsItsText) {
  write_figure(folder / "a.svg", map, {.provenance = "capture <123>"});
  const std::string text = read_text_file(folder / "a.svg", 1u << 22);
  EXPECT_NE(text.find(">layer 1, head 2</text>"), std::string::npos);
  EXPECT_NE(text.find("capture &lt;123&gt;"), std::string::npos);
  QSvgRenderer renderer(QString::fromStdString((folder / "a.svg").string()));
  EXPECT_TRUE(renderer.isValid());
}

TEST_F(WriteFigure, PdfIsAPdf) {
  write_figure(folder / "a.pdf", map, {});
  const std::string text = read_text_file(folder / "a.pdf", 1u << 22);
  EXPECT_EQ(text.substr(0, 5), "%PDF-");
  EXPECT_NE(text.find("%%EOF"), std::string::npos);
}

TEST_F(WriteFigure, ErrorsBeforeAnythingIsWritten) {
  EXPECT_EQ(code_of(folder / "a.bmp", {}), Errc::invalid_argument);
  EXPECT_EQ(code_of(folder / "noname", {}), Errc::invalid_argument);
  EXPECT_EQ(code_of(folder / "a.png", {.scale = 100.0}), Errc::invalid_argument);
  EXPECT_EQ(code_of(folder / "a.png", {.scale = std::nan("")}), Errc::invalid_argument);
  EXPECT_EQ(code_of(folder / "missing" / "a.png", {}), Errc::io);
  map.attn_yx.pop_back();
  EXPECT_EQ(code_of(folder / "a.png", {}), Errc::invalid_argument);
  map.rows = 0;
  EXPECT_EQ(code_of(folder / "a.png", {}), Errc::invalid_argument);
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST_F(WriteFigure, ExistingFilesAreKept) {
  std::ofstream(folder / "a.png") << "mine";
  EXPECT_EQ(code_of(folder / "a.png", {}), Errc::output_exists);
  EXPECT_EQ(read_text_file(folder / "a.png", 100), "mine");
  write_figure(folder / "a.png", map, {.overwrite = true});
  EXPECT_GT(std::filesystem::file_size(folder / "a.png"), 1000u);
}

TEST_F(WriteFigure, GridAndLines) {
  GridFigure grid;
  grid.rows = grid.cols = 2;
  grid.value_lh = {0.1f, 0.2f, 0.3f, 0.4f};
  write_figure(folder / "grid.png", grid, {});
  grid.layers = {3};
  EXPECT_THROW(write_figure(folder / "bad.png", grid, {}), Error);
  LineFigure line;
  EXPECT_THROW(write_figure(folder / "bad.svg", line, {}), Error);
  line.series = {{"a", {0.1f, 0.2f}}, {"b", {0.3f}}};
  write_figure(folder / "line.svg", line, {});
  line.series.resize(8, {"c", {1.0f}});
  EXPECT_THROW(write_figure(folder / "bad.svg", line, {}), Error);
}

}  // namespace
}  // namespace headlight::figure
