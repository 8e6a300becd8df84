// A mistyped key is refused with the key that was meant. Units: schema/load, schema/scalar.
#include <gtest/gtest.h>

#include <set>

#include "schema/aliases.h"
#include "schema/load.h"
#include "schema/scalar.h"
#include "tests/schema/fixtures.h"

namespace nibble::schema {
namespace {

bool is_known(const std::string& name) {
  for (const std::string& key : key_names()) {
    if (key == name) return true;
  }
  for (const Alias& alias : aliases()) {
    if (alias.name == name) return true;
  }
  for (const KnownElsewhere& other : known_elsewhere()) {
    if (other.name == name) return true;
  }
  return false;
}

// Every way to drop a letter, swap two neighbours, or type one twice.
std::set<std::string> typos_of(const std::string& key) {
  std::set<std::string> typos;
  for (size_t i = 0; i < key.size(); ++i) {
    typos.insert(key.substr(0, i) + key.substr(i + 1));
    typos.insert(key.substr(0, i) + key[i] + key.substr(i));
    if (i + 1 < key.size()) {
      std::string swapped = key;
      std::swap(swapped[i], swapped[i + 1]);
      typos.insert(swapped);
    }
  }
  std::erase_if(typos, is_known);
  return typos;
}

std::string said_of(const std::string& key) {
  try {
    load_overrides({key + "=1"}, Needs::kNothing);
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(DidYouMean, NamesEveryKeyAfterAnyTypo) {
  int64_t count = 0;
  for (const std::string& key : key_names()) {
    for (const std::string& typo : typos_of(key)) {
      const std::string said = said_of(typo);
      EXPECT_TRUE(contains(said, "unknown key '" + typo + "'; did you mean ")) << said;
      EXPECT_TRUE(contains(said, "'" + key + "'")) << typo << ": " << said;
      ++count;
    }
  }
  EXPECT_GT(count, 1000);
}

TEST(DidYouMean, NamesEveryAliasAndItsKeyAfterAnyTypo) {
  for (const Alias& alias : aliases()) {
    for (const std::string& typo : typos_of(std::string(alias.name))) {
      const std::string said = said_of(typo);
      EXPECT_TRUE(contains(said, "'" + std::string(alias.canonical) + "'")) << typo << ": " << said;
    }
  }
}

TEST(DidYouMean, ListsNamesThatAreEquallyNear) {
  EXPECT_TRUE(contains(said_of("adam_beta"), "did you mean 'adam_beta1' or 'adam_beta2'?")) << said_of("adam_beta");
}

TEST(DidYouMean, SuggestsNothingForWordsThatNoKeyResembles) {
  for (const char* word : {"x", "zz", "wandb_entity_name_of_mine", "", "qqqqqq"}) {
    const std::string said = refusal("\"" + std::string(word) + "\": 1\n");
    EXPECT_TRUE(contains(said, "`nibble config docs` lists all keys")) << said;
  }
}

TEST(DidYouMean, ShortensAKeyOfAMegabyte) {
  const std::string said = refusal("? " + std::string(900'000, 'k') + "\n: 1\n");
  EXPECT_TRUE(contains(said, "unknown key 'kkkk") || contains(said, "not valid YAML")) << said.substr(0, 300);
  EXPECT_LT(said.size(), 500u);
}

TEST(EditDistance, CountsASwapOfNeighboursOnce) {
  EXPECT_EQ(edit_distance("learning", "leanring"), 1);
  EXPECT_EQ(edit_distance("learning", "learning"), 0);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("lora_r", "lora_alpha"), 5);
}

}  // namespace
}  // namespace nibble::schema
