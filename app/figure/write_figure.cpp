#include <QBuffer>
#include <QGuiApplication>
#include <QImage>
#include <QPageSize>
#include <QPdfWriter>
#include <QSvgGenerator>
#include <cmath>
#include <functional>

#include <fmt/format.h>

#include "app/figure/draw.h"
#include "app/figure/painters.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace headlight::figure {
namespace {

constexpr double kMaxPixels = 200e6;
constexpr int kPdfDotsPerInch = 1200;

// Qt's fonts and images need an application object; figures must not need a display.
void ensure_application() {
  if (QCoreApplication::instance() != nullptr) return;
  static int argc = 3;
  static char name[] = "headlight", option[] = "-platform", platform[] = "offscreen";
  static char* argv[] = {name, option, platform, nullptr};
  // Qt's start-up remarks (no run-time folder, say) are not for the reader of our messages.
  const QtMessageHandler previous = qInstallMessageHandler(
      [](QtMsgType, const QMessageLogContext&, const QString& text) { log_debug(text.toStdString()); });
  static const QGuiApplication application(argc, argv);
  qInstallMessageHandler(previous);
}

std::string suffix_of(const std::filesystem::path& path) {
  std::string suffix = path.extension().string();
  for (char& c : suffix) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return suffix;
}

QString text_of(const std::string& utf8) {
  return QString::fromUtf8(utf8.data(), static_cast<qsizetype>(utf8.size()));
}

struct Page {
  QSizeF size;
  QString title, provenance;
  std::function<void(QPainter&, const QRectF&)> paint;
};

// Painting may be refused by the device (out of memory): then nothing is written.
void paint_on(QPaintDevice& device, const Page& page, double scale) {
  QPainter painter;
  if (!painter.begin(&device)) throw Error(Errc::out_of_memory, "the picture could not be painted");
  painter.setRenderHint(QPainter::TextAntialiasing, true);
  painter.setRenderHint(QPainter::LosslessImageRendering, true);
  if (scale != 1.0) painter.scale(scale, scale);
  page.paint(painter, QRectF(QPointF(0, 0), page.size));
  painter.end();
}

QByteArray as_png(const Page& page, double scale) {
  const QSizeF pixels = page.size * scale;
  if (pixels.width() * pixels.height() > kMaxPixels)
    throw Error(Errc::invalid_argument,
                fmt::format("a picture of {:.0f} x {:.0f} pixels is beyond the limit of 200 megapixels", pixels.width(),
                            pixels.height()));
  QImage image(static_cast<int>(std::ceil(pixels.width())), static_cast<int>(std::ceil(pixels.height())),
               QImage::Format_RGB32);
  if (image.isNull()) throw Error(Errc::out_of_memory, "no memory for the picture");
  image.setDevicePixelRatio(scale);
  image.fill(Qt::white);
  paint_on(image, page, 1.0);
  image.setDotsPerMeterX(static_cast<int>(std::lround(96.0 * scale / 0.0254)));
  image.setDotsPerMeterY(image.dotsPerMeterX());
  image.setText(QStringLiteral("Title"), page.title);
  image.setText(QStringLiteral("Software"), QStringLiteral("headlight"));
  if (!page.provenance.isEmpty()) image.setText(QStringLiteral("Source"), page.provenance);
  QByteArray bytes;
  QBuffer buffer(&bytes);
  buffer.open(QIODevice::WriteOnly);
  if (!image.save(&buffer, "PNG")) throw Error(Errc::out_of_memory, "the picture could not be encoded as PNG");
  return bytes;
}

QByteArray as_svg(const Page& page) {
  QByteArray bytes;
  QBuffer buffer(&bytes);
  QSvgGenerator generator;
  generator.setOutputDevice(&buffer);
  generator.setResolution(96);
  generator.setSize(page.size.toSize());
  generator.setViewBox(QRectF(QPointF(0, 0), page.size));
  generator.setTitle(page.title.toHtmlEscaped());  // the generator writes both as they are
  generator.setDescription(page.provenance.toHtmlEscaped());
  paint_on(generator, page, 1.0);
  return bytes;
}

QByteArray as_pdf(const Page& page) {
  QByteArray bytes;
  QBuffer buffer(&bytes);
  buffer.open(QIODevice::WriteOnly);
  {
    QPdfWriter writer(&buffer);
    writer.setResolution(kPdfDotsPerInch);
    writer.setPageSize(QPageSize(page.size * 72.0 / 96.0, QPageSize::Point, QString(), QPageSize::ExactMatch));
    writer.setPageMargins(QMarginsF(0, 0, 0, 0));
    writer.setTitle(page.title);
    writer.setCreator(QStringLiteral("headlight"));
    paint_on(writer, page, kPdfDotsPerInch / 96.0);
  }
  return bytes;
}

void check_size(std::size_t found, std::int64_t rows, std::int64_t cols, std::string_view what) {
  if (rows < 1 || cols < 1 || found != static_cast<std::size_t>(rows * cols))
    throw Error(Errc::invalid_argument,
                fmt::format("a figure of {} x {} cells needs as many {}, found {}", rows, cols, what, found));
}

void check_figure(const MapFigure& figure) {
  check_size(figure.attn_yx.size(), figure.rows, figure.cols, "values");
  if (!figure.visible_yx.empty()) check_size(figure.visible_yx.size(), figure.rows, figure.cols, "visibility flags");
}

void check_figure(const GridFigure& figure) {
  check_size(figure.value_lh.size(), figure.rows, figure.cols, "values");
  if (!figure.layers.empty()) check_size(figure.layers.size(), figure.rows, 1, "layer numbers");
}

void check_figure(const LineFigure& figure) {
  if (figure.series.empty() || figure.series.size() > 7)
    throw Error(Errc::invalid_argument, fmt::format("a line figure shows 1 to 7 lines, not {}", figure.series.size()));
  for (const LineSeries& series : figure.series)
    if (series.value_x.empty())
      throw Error(Errc::invalid_argument, fmt::format("line '{}' has no values", series.name));
}

template <class Figure>
void write_any(const std::filesystem::path& path, const Figure& figure, const WriteOptions& options) {
  const std::string suffix = suffix_of(path);
  if (!is_figure_path(path))
    throw Error(Errc::invalid_argument, fmt::format("cannot tell the picture format from '{}': expected a name that "
                                                    "ends in .png, .svg or .pdf",
                                                    path.string()));
  if (!(options.scale >= 0.5 && options.scale <= 8.0))
    throw Error(Errc::invalid_argument, fmt::format("picture scale {} is outside 0.5..8", options.scale));
  if (options.width != 0.0 && !(options.width >= 100.0 && options.width <= 16000.0))
    throw Error(Errc::invalid_argument, fmt::format("picture width {} is outside 100..16000", options.width));
  check_figure(figure);
  OutputFile file(path, options.overwrite);
  ensure_application();
  const Theme& theme = options.dark ? dark_theme() : light_theme();
  QSizeF size = preferred_size(figure);
  if (options.width > 0.0) size = QSizeF(options.width, std::ceil(size.height() * options.width / size.width()));
  const Page page{size, text_of(figure.text.title), text_of(options.provenance),
                  [&](QPainter& painter, const QRectF& area) { paint(painter, area, figure, theme); }};
  const QByteArray bytes = suffix == ".png"   ? as_png(page, options.scale)
                           : suffix == ".svg" ? as_svg(page)
                                              : as_pdf(page);
  file.write(std::string_view(bytes.constData(), static_cast<std::size_t>(bytes.size())));
  file.commit();
}

struct NamedColor {
  const char* name;
  QColor color;
};

std::vector<NamedColor> named_colors(const Theme& theme) {
  return {{"--figure-background", theme.background},
          {"--figure-text", theme.text},
          {"--figure-muted", theme.muted},
          {"--figure-axis", theme.axis},
          {"--figure-grid", theme.grid},
          {"--figure-masked", theme.masked},
          {"--figure-hatch", theme.hatch},
          {"--figure-missing", theme.missing}};
}

// Images hold colours of the theme (masked cells): each is followed by its twin of the dark theme, and the page's style
// shows one of them.
void add_dark_images(QString& svg, const QString& dark) {
  const QString open = QStringLiteral("<image "), close = QStringLiteral("/>");
  qsizetype at = 0, from = 0;
  while ((at = svg.indexOf(open, at)) >= 0 && (from = dark.indexOf(open, from)) >= 0) {
    const qsizetype end = dark.indexOf(close, from) + close.size();
    QString twin = dark.mid(from, end - from);
    twin.replace(0, open.size(), QStringLiteral("<image class=\"on-dark\" "));
    svg.replace(at, open.size(), QStringLiteral("<image class=\"on-light\" "));
    at = svg.indexOf(close, at) + close.size();
    svg.insert(at, twin);
    at += twin.size();
    from = end;
  }
}

}  // namespace

std::string page_svg(const MapFigure& figure, double width, const std::string& prefix) {
  check_figure(figure);
  ensure_application();
  const Theme& theme = light_theme();
  QSizeF size = preferred_size(figure);
  if (width > 0.0) {  // as high as the map turns out: what stands below it does not shrink
    const double below = size.height() - map_area(QRectF(QPointF(0, 0), size), figure, 2.0).bottom();
    const double plot = map_area(QRectF(0, 0, width, size.height()), figure, 2.0).bottom();
    size = QSizeF(width, std::ceil(plot + below));
  }
  const auto painted = [&](const Theme& with) {
    return QString::fromUtf8(as_svg({size, text_of(figure.text.title), {}, [&](QPainter& painter, const QRectF& area) {
                                       paint(painter, area, figure, with);
                                     }}));
  };
  QString svg = painted(theme);
  svg.remove(0, svg.indexOf(QStringLiteral("<svg")));  // no XML declaration inside a page
  add_dark_images(svg, painted(dark_theme()));
  // The background is painted first; white elsewhere is ink on cells and stays.
  const QString ground = QStringLiteral("\"%1\"").arg(theme.background.name());
  if (const auto at = svg.indexOf(ground); at >= 0)
    svg.replace(at, ground.size(), QStringLiteral("\"var(--figure-background)\""));
  for (const NamedColor& named : named_colors(theme)) {
    if (named.color == theme.background) continue;
    svg.replace(QStringLiteral("\"%1\"").arg(named.color.name()),
                QStringLiteral("\"var(%1)\"").arg(QString::fromLatin1(named.name)));
  }
  svg.replace(QStringLiteral("font-family=\"DejaVu Sans\""),
              QStringLiteral("font-family=\"DejaVu Sans, Verdana, sans-serif\""));
  const QString id = text_of(prefix);
  svg.replace(QStringLiteral(" id=\""), QStringLiteral(" id=\"") + id);
  svg.replace(QStringLiteral("url(#"), QStringLiteral("url(#") + id);
  svg.replace(QStringLiteral("xlink:href=\"#"), QStringLiteral("xlink:href=\"#") + id);
  return svg.toStdString();
}

std::string page_colors(bool dark) {
  std::string css;
  for (const NamedColor& named : named_colors(dark ? dark_theme() : light_theme()))
    css += fmt::format("{}: {}; ", named.name, named.color.name().toStdString());
  return css;
}

void write_figure(const std::filesystem::path& path, const MapFigure& figure, const WriteOptions& options) {
  write_any(path, figure, options);
}

void write_figure(const std::filesystem::path& path, const GridFigure& figure, const WriteOptions& options) {
  write_any(path, figure, options);
}

void write_figure(const std::filesystem::path& path, const LineFigure& figure, const WriteOptions& options) {
  write_any(path, figure, options);
}

bool is_figure_path(const std::filesystem::path& path) {
  const std::string suffix = suffix_of(path);
  return suffix == ".png" || suffix == ".svg" || suffix == ".pdf";
}

}  // namespace headlight::figure
