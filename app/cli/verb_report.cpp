#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/capture_input.h"
#include "app/cli/progress.h"
#include "app/cli/report_text.h"
#include "base/error.h"
#include "base/file.h"
#ifdef HEADLIGHT_HAS_FIGURES
#include "app/report/report.h"
#endif

namespace headlight::cli {
namespace {

struct ReportOptions {
  CaptureInputOptions capture;
  std::string headplan, output = "report.html";
  int threads = 0;
  bool force = false;
};

#ifdef HEADLIGHT_HAS_FIGURES

void write_report(Invocation& invocation, const ReportOptions& options) {
  check_not_input(options.output, {options.capture.path, options.headplan});
  if (!options.output.ends_with(".html"))
    throw Error(Errc::invalid_argument, fmt::format("expected a file ending in .html, found '{}'", options.output),
                {.file = {}, .field = "--out", .offset = {}, .hint = {}});
  OutputFile file(options.output, options.force);
  const auto view = open_capture_input(options.capture);
  heads::Headplan plan;
  if (!options.headplan.empty()) plan = load_headplan_for(view->header().model, options.headplan);
  ThreadPool pool(options.threads > 0 ? options.threads : ThreadPool::available_threads());
  const report::ReportInput input{*view,
                                  options.capture.record,
                                  options.headplan.empty() ? nullptr : &plan,
                                  std::string(version()),
                                  invocation.command_line,
                                  pool};
  ProgressBar progress(invocation);
  const auto content = analysis::analyze_record(
      {*view, options.capture.record, pool}, input.headplan,
      [&](std::string_view what, std::int64_t done, std::int64_t total) { progress.update(what, done, total); },
      invocation.stop);
  const std::string html = report::to_html(input, content, invocation.stop);
  file.write(html);
  file.commit();
  if (invocation.json) {
    Json findings = Json::array();
    for (const auto& finding : content.findings) findings.push_back(to_json(finding));
    print_json(invocation, {options.capture.path},
               {{"output", options.output},
                {"bytes", html.size()},
                {"findings", std::move(findings)},
                {"not_available", content.not_available}});
    return;
  }
  print_text(findings_text(content.findings) +
             fmt::format("written: {} ({} kB)\n", options.output, html.size() / 1000));
}

#else

void write_report(Invocation&, const ReportOptions&) {
  throw Error(Errc::unsupported, "reports are not in this build (HEADLIGHT_QT=OFF)",
              {.file = {}, .field = {}, .offset = {}, .hint = "headlight analyze --findings prints the statements"});
}

#endif

}  // namespace

Verb report_verb() {
  return {.name = "report",
          .summary = "A capture as one self-contained HTML page: findings, figures, formulas",
          .examples = {"headlight report capture.h5 -o report.html",
                       "headlight report capture.h5 headplan.json -o report.html"},
          .reads_capture = true,
          .define = [](CLI::App& app) -> Action {
            auto options = std::make_shared<ReportOptions>();
            add_capture_options(app, options->capture);
            app.add_option("HEADPLAN", options->headplan, "headplan.json whose roles are shown")->type_name("FILE");
            app.add_option("-o,--out", options->output, "HTML file")->type_name("FILE")->capture_default_str();
            app.add_option("--threads", options->threads, "CPU threads; 0 = all")
                ->check(CLI::Range(0, 1024))
                ->type_name("N")
                ->capture_default_str();
            app.add_flag("--force", options->force, "Overwrite the output");
            return [=](Invocation& invocation) { write_report(invocation, *options); };
          }};
}

}  // namespace headlight::cli
