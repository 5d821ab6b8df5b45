#include <gtest/gtest.h>

#include "app/workbench/method_form.h"
#include "base/error.h"

namespace headlight::workbench {
namespace {

TEST(MethodForm, EverySliderReachesItsEndsAndItsIdentity) {
  for (const auto& method : intervention::methods())
    for (const FormField& field : form_of(method)) {
      if (field.kind != FormField::Kind::number && field.kind != FormField::Kind::integer) continue;
      SCOPED_TRACE(std::string(method.id) + " " + field.name);
      EXPECT_DOUBLE_EQ(field.value(0.0), field.low);
      EXPECT_DOUBLE_EQ(field.value(1.0), field.high);
      double before = field.low;
      for (const double position : {0.1, 0.37, 0.5, 0.9}) {
        const double value = field.value(position);
        EXPECT_GE(value, before);
        EXPECT_NEAR(field.value(field.position(value)), value, 1e-9) << "a slider stays where it was put";
        before = value;
      }
      if (field.identity.is_number()) {
        const double identity = field.identity.get<double>();
        EXPECT_NEAR(field.value(field.position(identity)), identity, 1e-9);
      }
    }
}

TEST(MethodForm, AWideSliderHasItsIdentityInTheMiddle) {
  const auto fields = form_of(intervention::require_method("zero-tuning"));
  ASSERT_EQ(fields.size(), 1u);
  EXPECT_EQ(fields[0].name, "gamma");
  EXPECT_NEAR(fields[0].position(1.0), 0.5, 1e-9);
  EXPECT_FALSE(fields[0].logarithmic);  // zero is a value
  EXPECT_TRUE(form_of(intervention::require_method("temperature"))[0].logarithmic);
}

TEST(MethodForm, KnowsWhatAMethodNeedsFirst) {
  const auto entry = [](std::string_view id) {
    for (const auto& one : method_entries())
      if (one.id == id) return one;
    throw Error(Errc::internal, "no such method");
  };
  EXPECT_EQ(method_entries().size(), intervention::methods().size());
  EXPECT_FALSE(entry("head-scale").needs_spans || entry("head-scale").needs_values);
  EXPECT_FALSE(entry("zero-tuning").needs_spans || entry("act").needs_spans);
  EXPECT_TRUE(entry("pasta").needs_spans);
  EXPECT_FALSE(entry("pasta").needs_values);
  EXPECT_TRUE(entry("mean-ablation").needs_values);
  EXPECT_TRUE(entry("activation-patching").needs_values);
}

TEST(MethodForm, KeepsOnlyWhatDiffersFromTheDefault) {
  intervention::Intervention one = new_intervention("head-scale", {}, {{1, 2}});
  const FormField field = form_of(intervention::require_method("head-scale"))[0];
  EXPECT_EQ(field_value(one, field), 1.0);
  set_field(one, field, 0.5);
  EXPECT_EQ(field_value(one, field), 0.5);
  set_field(one, field, 1.0);
  EXPECT_TRUE(one.params.empty());
  EXPECT_EQ(new_intervention("head-scale", {one}, {}).id, "head-scale-2");
}

TEST(MethodForm, SaysWhereAnInterventionActs) {
  intervention::Scope scope;
  EXPECT_EQ(scope_text(scope), "all heads");
  scope.layers = {3, 4, 5};
  EXPECT_EQ(scope_text(scope), "layers 3-5");
  scope.heads = {{3, 7}, {4, 0}};
  scope.rows.kind = intervention::RowScope::Kind::last;
  EXPECT_EQ(scope_text(scope), "L3H7, L4H0, last row");
}

}  // namespace
}  // namespace headlight::workbench
