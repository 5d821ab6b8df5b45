#include "gui/workspace.h"

#include <QMetaObject>
#include <algorithm>

#include "base/error.h"
#include "base/file.h"

namespace headlight::gui {
namespace {

QString text_of(const std::string& text) {
  return QString::fromUtf8(text.data(), static_cast<qsizetype>(text.size()));
}

std::string identity_of_prompt(const workbench::Project& project) {
  return dump_json(workbench::to_json(workbench::Project{.model = project.model,
                                                         .prompt = project.prompt,
                                                         .capture = {},
                                                         .interventions = {},
                                                         .head_set = {},
                                                         .notes = {}}));
}

/// "run with zero-tuning", "run with 3 interventions".
std::string name_of_changed(const intervention::Stack& stack) {
  std::string name;
  int count = 0;
  for (const auto& entry : stack) {
    if (!entry.enabled) continue;
    name = entry.method;
    ++count;
  }
  return "run with " + (count == 1 ? name : std::to_string(count) + " interventions");
}

Json stack_text(const workbench::Project& project) {
  return workbench::to_json(project)["interventions"];
}

}  // namespace

Workspace::Workspace(QObject* parent)
    : QObject(parent),
      history_(workbench::to_json(workbench::Project{})),
      map_pool_(std::max(1, ThreadPool::available_threads())) {
  const auto to_owner = [this](workbench::JobQueue::Delivery delivery) { post(std::move(delivery)); };
  runs_ = std::make_unique<workbench::JobQueue>(to_owner, [this](const workbench::JobStatus& status) {
    const double share = status.total > 0 ? static_cast<double>(status.done) / static_cast<double>(status.total) : -1.0;
    set_busy(!status.title.empty());
    Q_EMIT statusChanged(text_of(status.title), share);
  });
  maps_ = std::make_unique<workbench::JobQueue>(to_owner);
  connect(this, &Workspace::selectionChanged, this, &Workspace::request_lines);
  connect(this, &Workspace::sideChanged, this, &Workspace::request_lines);
}

Workspace::~Workspace() {
  maps_.reset();
  runs_.reset();
}

void Workspace::post(workbench::JobQueue::Delivery delivery) {
  QMetaObject::invokeMethod(this, std::move(delivery), Qt::QueuedConnection);
}

void Workspace::set_busy(bool busy) {
  if (busy == busy_) return;
  busy_ = busy;
  Q_EMIT busyChanged();
}

void Workspace::report(const Error& error) {
  Q_EMIT failed(text_of(error.what()), text_of(error.context().hint));
}

// ---- the document ----

void Workspace::change(const QString& label, workbench::Project next, const std::string& merge_key) {
  history_.change(label.toStdString(), workbench::to_json(next), merge_key);
  follow_history();
}

void Workspace::undo() {
  if (!history_.can_undo()) return;
  history_.undo();
  follow_history();
}

void Workspace::redo() {
  if (!history_.can_redo()) return;
  history_.redo();
  follow_history();
}

void Workspace::follow_history() {
  const workbench::Project before = std::move(project_);
  project_ = workbench::project_from_json(history_.document());
  Q_EMIT projectChanged();
  const bool same_run = result_ && ran_prompt_ == identity_of_prompt(project_);
  if (same_run && stack_text(before) != stack_text(project_)) submit_run(false);
}

void Workspace::new_project() {
  runs_->cancel_all();
  history_.reset(workbench::to_json(workbench::Project{
      .model = project_.model, .prompt = {}, .capture = {}, .interventions = {}, .head_set = {}, .notes = {}}));
  project_path_.clear();
  result_.reset();
  ran_prompt_.clear();
  show_capture(nullptr, nullptr);
  follow_history();
}

void Workspace::begin_with_model(const std::string& name) {
  workbench::Project next = project_;
  next.model = name;
  history_.reset(workbench::to_json(next));
  follow_history();
  load_model();
}

void Workspace::open_project(const QString& path) {
  try {
    const workbench::Project project = workbench::load_project(path.toStdString());
    new_project();
    history_.reset(workbench::to_json(project));
    project_path_ = path;
    follow_history();
    Q_EMIT fileOpened(path);
    if (!project.capture.empty())
      open_capture(text_of(project.capture));
    else if (!project.prompt.text.empty())
      run();
  } catch (const Error& error) {
    report(error);
  }
}

bool Workspace::save_project(const QString& path) {
  try {
    workbench::save_project(project_, path.toStdString());
  } catch (const Error& error) {
    report(error);
    return false;
  }
  history_.mark_clean();
  project_path_ = path;
  Q_EMIT fileOpened(path);
  Q_EMIT projectChanged();
  return true;
}

// ---- files and runs ----

void Workspace::open_file(const QString& path) {
  if (!path.endsWith(QStringLiteral(".json"))) {
    open_capture(path);
    return;
  }
  try {
    const Json json = load_json(path.toStdString());
    const std::string schema = json_string_or(json, "schema", "");
    if (schema.starts_with("headlight.project/")) {
      open_project(path);
    } else if (schema.starts_with("headlight.intervention/")) {
      workbench::Project next = project_;
      next.interventions = workbench::stack_from_json(json);
      change(tr("Load interventions"), std::move(next));
      Q_EMIT fileOpened(path);
    } else {
      throw Error(Errc::bad_format, "is neither a project nor an intervention file",
                  {.file = path.toStdString(), .field = {}, .offset = {}, .hint = {}});
    }
  } catch (const Error& error) {
    report(error.in_file(path.toStdString()));
  }
}

void Workspace::open_capture(const QString& path) {
  runs_->submit(
      "run", tr("Opening %1").arg(path.section(QLatin1Char('/'), -1)).toStdString(),
      [this, file = path.toStdString()](workbench::JobContext&) -> workbench::JobQueue::Delivery {
        auto document = workbench::CaptureDocument::open(file);
        return [this, file, document = std::move(document)] {
          workbench::Project next = project_;
          next.capture = file;
          if (next.capture != project_.capture) change(tr("Open capture"), std::move(next));
          show(document);
          Q_EMIT fileOpened(text_of(file));
        };
      },
      [this](const Error& error) { report(error); });
}

void Workspace::show(std::shared_ptr<const workbench::CaptureDocument> document) {
  result_.reset();
  ran_prompt_.clear();
  selection_.record = document->record_number();
  show_capture(std::move(document), nullptr);
}

void Workspace::open_record(std::int64_t record) {
  const auto document = run_base_;
  if (!document || document->record_number() == record) return;
  runs_->submit(
      "run", tr("Opening record %1").arg(record).toStdString(),
      [this, document, record](workbench::JobContext&) -> workbench::JobQueue::Delivery {
        auto other = document->at_record(record);
        return [this, other = std::move(other)] { show(other); };
      },
      [this](const Error& error) { report(error); });
}

void Workspace::in_background(const QString& title, std::function<void()> work) {
  runs_->submit(
      {}, title.toStdString(),
      [work = std::move(work)](workbench::JobContext&) -> workbench::JobQueue::Delivery {
        work();
        return {};
      },
      [this](const Error& error) { report(error); });
}

void Workspace::load_model() {
  if (project_.model.empty() || (model_ && model_->argument() == project_.model)) return;
  runs_->submit(
      "run", "Loading " + project_.model,
      [this, name = project_.model](workbench::JobContext&) -> workbench::JobQueue::Delivery {
        auto host = std::make_shared<workbench::ModelHost>(name);
        return [this, host = std::move(host)] {
          live_ = std::make_shared<workbench::LiveSession>(*host);
          model_ = host;
          Q_EMIT modelChanged();
        };
      },
      [this](const Error& error) { report(error); });
}

void Workspace::run() {
  if (!project_.capture.empty()) {
    workbench::Project next = project_;
    next.capture.clear();
    change(tr("Run prompt"), std::move(next));
  }
  submit_run(true);
}

void Workspace::submit_run(bool prompt_changed) {
  const std::string title = prompt_changed ? "Running " + project_.model : "Updating";
  // The worker keeps model and session alive while it runs; a model that is loaded here becomes the window's.
  runs_->submit(
      "run", title,
      [this, project = project_, host = model_,
       live = live_](workbench::JobContext& context) mutable -> workbench::JobQueue::Delivery {
        if (!host || host->argument() != project.model) {
          if (project.model.empty()) throw Error(Errc::invalid_argument, "choose a model first");
          context.progress("loading", 0, 0);
          host = std::make_shared<workbench::ModelHost>(project.model);
          live = std::make_shared<workbench::LiveSession>(*host);
        }
        const workbench::Prompt prompt = host->tokenize(project.prompt);
        workbench::LiveResult result = live->run(prompt, project.interventions, context.stop());
        auto base = std::make_shared<const workbench::CaptureDocument>(result.base->capture, "", "run");
        std::shared_ptr<const workbench::CaptureDocument> changed;
        if (result.is_changed())
          changed = std::make_shared<const workbench::CaptureDocument>(result.changed->capture, "",
                                                                       name_of_changed(project.interventions));
        return [this, project, host, live, result = std::move(result), base, changed] {
          const bool other = model_ != host;
          model_ = host;
          live_ = live;
          ran_prompt_ = identity_of_prompt(project);
          if (other) Q_EMIT modelChanged();
          show_result(result, base, changed);
          if (stack_text(project) != stack_text(project_)) submit_run(false);  // it changed while this ran
        };
      },
      [this](const Error& error) { report(error); },
      prompt_changed ? workbench::JobQueue::Replaces::running : workbench::JobQueue::Replaces::queued);
}

void Workspace::stop() {
  runs_->cancel_all();
  Q_EMIT statusChanged(tr("Stopped"), 0.0);
}

std::optional<int> Workspace::count_tokens(const workbench::PromptText& text) const {
  if (!model_ || model_->argument() != project_.model) return std::nullopt;
  try {
    return static_cast<int>(model_->tokenize(text).record.tokens.size());
  } catch (const Error&) {  // no tokenizer, no template: said when it is run
    return std::nullopt;
  }
}

void Workspace::show_result(workbench::LiveResult result, std::shared_ptr<const workbench::CaptureDocument> base,
                            std::shared_ptr<const workbench::CaptureDocument> changed) {
  result_ = std::move(result);
  show_capture(std::move(base), std::move(changed));
}

void Workspace::show_capture(std::shared_ptr<const workbench::CaptureDocument> base,
                             std::shared_ptr<const workbench::CaptureDocument> changed) {
  run_base_ = std::move(base);
  run_changed_ = std::move(changed);
  if (!run_base_) other_.reset();
  show_sides();
}

}  // namespace headlight::gui
