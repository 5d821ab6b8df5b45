#include "gui/prompt_pane.h"

#include <QFileDialog>
#include <QHBoxLayout>
#include <QTimer>
#include <QVBoxLayout>

#include "gui/theme.h"

namespace headlight::gui {

PromptPane::PromptPane(Workspace& workspace, QWidget* parent)
    : QWidget(parent),
      workspace_(workspace),
      model_(new QComboBox),
      kind_(new QComboBox),
      system_(new QLineEdit),
      text_(new QPlainTextEdit),
      count_(new QLabel),
      run_(new QPushButton(tr("Run"))),
      stop_(new QPushButton(tr("Stop"))) {
  model_->setObjectName(QStringLiteral("model"));
  model_->setAccessibleName(tr("Model"));
  model_->setMinimumContentsLength(16);
  model_->setSizeAdjustPolicy(QComboBox::AdjustToContents);
  kind_->setObjectName(QStringLiteral("prompt_kind"));
  kind_->addItems({tr("Raw text"), tr("Chat"), tr("Token ids")});  // in the order of PromptKind
  kind_->setToolTip(
      tr("Raw text goes to the model as it is; chat is put into the model's template; token ids are numbers"));
  system_->setPlaceholderText(tr("System message (optional)"));
  system_->setVisible(false);
  text_->setObjectName(QStringLiteral("prompt"));
  text_->setAccessibleName(tr("Prompt"));
  text_->setPlaceholderText(tr("Type a prompt, then Run (Ctrl+Return)"));
  text_->setTabChangesFocus(true);
  text_->setMinimumHeight(fontMetrics().height() * 2 + 12);
  count_->setFont(small_font());
  count_->setForegroundRole(QPalette::PlaceholderText);
  run_->setObjectName(QStringLiteral("run"));
  run_->setDefault(true);
  run_->setToolTip(tr("Run the prompt (Ctrl+Return)"));
  stop_->setObjectName(QStringLiteral("stop"));

  auto* top = new QHBoxLayout;
  top->addWidget(model_);
  top->addWidget(kind_);
  top->addWidget(system_, 1);
  top->addStretch();
  top->addWidget(count_);
  top->addSpacing(8);
  top->addWidget(stop_);
  top->addWidget(run_);
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(8, 6, 8, 8);
  layout->setSpacing(6);
  layout->addLayout(top);
  layout->addWidget(text_);

  fill_models();
  connect(run_, &QPushButton::clicked, this, &PromptPane::run);
  connect(stop_, &QPushButton::clicked, &workspace_, &Workspace::stop);
  connect(kind_, &QComboBox::currentIndexChanged, this, [this](int index) {
    system_->setVisible(index == 1);
    count_tokens();
  });
  connect(model_, &QComboBox::activated, this, [this](int index) {
    const QString name = model_->itemData(index).toString();
    if (name.isEmpty())
      choose_model_file();
    else
      store_model(name);
  });
  auto* settle = new QTimer(this);  // counting a long text at every key is felt
  settle->setSingleShot(true);
  settle->setInterval(150);
  connect(text_, &QPlainTextEdit::textChanged, settle, qOverload<>(&QTimer::start));
  connect(system_, &QLineEdit::textChanged, settle, qOverload<>(&QTimer::start));
  connect(settle, &QTimer::timeout, this, &PromptPane::count_tokens);
  connect(&workspace_, &Workspace::projectChanged, this, &PromptPane::follow_project);
  connect(&workspace_, &Workspace::modelChanged, this, &PromptPane::count_tokens);
  connect(&workspace_, &Workspace::busyChanged, this, &PromptPane::follow_busy);
  follow_project();
  follow_busy();
}

void PromptPane::fill_models() {
  model_->clear();
  for (const auto& known : workbench::known_models()) {
    if (!known.present) continue;
    model_->addItem(QString::fromStdString(known.name), QString::fromStdString(known.name));
    model_->setItemData(model_->count() - 1, QString::fromStdString(known.title), Qt::ToolTipRole);
  }
  if (model_->count() > 0) model_->insertSeparator(model_->count());
  model_->addItem(tr("Open model file..."), QString());
  if (workspace_.project().model.empty() && model_->count() > 1)
    workspace_.begin_with_model(model_->itemData(0).toString().toStdString());
}

void PromptPane::choose_model_file() {
  const QString path =
      QFileDialog::getOpenFileName(this, tr("Open model"), {}, tr("Models (*.gguf *.safetensors);;All files (*)"));
  if (path.isEmpty())
    follow_project();
  else
    store_model(path);
}

void PromptPane::store_model(const QString& model) {
  workbench::Project next = workspace_.project();
  next.model = model.toStdString();
  workspace_.change(tr("Choose model"), std::move(next));
  workspace_.load_model();
}

workbench::PromptText PromptPane::typed() const {
  return {static_cast<workbench::PromptKind>(kind_->currentIndex()), text_->toPlainText().toStdString(),
          system_->text().toStdString()};
}

void PromptPane::set_prompt(const workbench::PromptText& text) {
  kind_->setCurrentIndex(static_cast<int>(text.kind));
  text_->setPlainText(QString::fromStdString(text.text));
  system_->setText(QString::fromStdString(text.system));
}

void PromptPane::run() {
  workbench::Project next = workspace_.project();
  next.prompt = typed();
  if (!(next.prompt == workspace_.project().prompt)) workspace_.change(tr("Change prompt"), std::move(next));
  workspace_.run();
}

void PromptPane::follow_project() {
  const auto& project = workspace_.project();
  const QString name = QString::fromStdString(project.model);
  int at = model_->findData(name);
  if (at < 0 && !name.isEmpty()) {
    model_->insertItem(0, name.section(QLatin1Char('/'), -1), name);
    model_->setItemData(0, name, Qt::ToolTipRole);
    at = 0;
  }
  if (at >= 0) model_->setCurrentIndex(at);
  if (!(project.prompt == followed_)) {  // what is typed and not yet run stays
    followed_ = project.prompt;
    if (!(followed_ == typed())) set_prompt(followed_);
  }
  count_tokens();
}

void PromptPane::follow_busy() {
  stop_->setEnabled(workspace_.busy());
}

void PromptPane::count_tokens() {
  const auto count = text_->toPlainText().isEmpty() ? std::optional<int>() : workspace_.count_tokens(typed());
  QString text;
  if (count) text = *count == 1 ? tr("1 token") : tr("%1 tokens").arg(*count);
  count_->setText(text);
}

}  // namespace headlight::gui
