#include "core/capture/statistics.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

#include "base/error.h"

namespace headlight::capture {
namespace {

TEST(Registry, HoldsEveryRecordedStatistic) {
  for (const char* id : {"lse", "entropy", "pmax", "jmax", "first", "sink", "local", "dist1", "dist2", "off0", "off1",
                         "null_mass", "group_mass"}) {
    const StatisticInfo* info = find_statistic(id);
    ASSERT_NE(info, nullptr) << id;
    EXPECT_EQ(info->kind, StatisticKind::row) << id;
    EXPECT_TRUE(info->recorded) << id;
  }
  for (const char* id : {"received", "received_tail"}) {
    ASSERT_NE(find_statistic(id), nullptr) << id;
    EXPECT_EQ(find_statistic(id)->kind, StatisticKind::column);
    EXPECT_TRUE(find_statistic(id)->recorded) << id;
  }
  for (const char* id : {"received0", "received_mean", "distance", "entropy_normalized", "effective_support",
                         "entropy_real", "received_mean_max", "visible_count"}) {
    ASSERT_NE(find_statistic(id), nullptr) << id;
    EXPECT_FALSE(find_statistic(id)->recorded) << id;
  }
}

TEST(Registry, EntriesAreCompleteAndUnique) {
  const std::set<std::string_view> units = {"1", "nat", "token", "token2"};
  std::set<std::string_view> ids;
  for (const StatisticInfo& info : statistics()) {
    EXPECT_TRUE(ids.insert(info.id).second) << info.id;
    EXPECT_TRUE(units.contains(info.unit)) << info.id;
    EXPECT_FALSE(info.formula.empty()) << info.id;
    EXPECT_FALSE(info.long_name.empty()) << info.id;
    EXPECT_FALSE(info.source.empty()) << info.id;
    EXPECT_LT(info.low, info.high) << info.id;
    EXPECT_LE(info.id.size(), 48u) << info.id;
    for (const char c : info.id) EXPECT_TRUE((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_') << info.id;
  }
}

TEST(Registry, FindsSegmentsOfGroupMass) {
  ASSERT_NE(find_statistic("group_mass:3"), nullptr);
  EXPECT_EQ(find_statistic("group_mass:3")->id, "group_mass");
  EXPECT_EQ(group_mass_segment("group_mass:12"), 12);
  for (const char* id : {"group_mass", "group_mass:", "group_mass:-1", "group_mass:1x", "entropy:1"})
    EXPECT_EQ(group_mass_segment(id), std::nullopt) << id;
  EXPECT_EQ(find_statistic("group_mass:x"), nullptr);
}

TEST(Registry, UnknownIdNamesTheClosest) {
  try {
    require_statistic("entropi");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("did you mean 'entropy'"), std::string::npos) << error.what();
  }
  EXPECT_THROW(require_statistic(""), Error);
}

}  // namespace
}  // namespace headlight::capture
