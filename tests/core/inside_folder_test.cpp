#include "core/inside_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/temporary_folder.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;
using test::put_file;
using test::TemporaryFolder;
using ::testing::HasSubstr;

struct Links {
  TemporaryFolder folder;
  Links() {
    put_file(folder / "secret", "key");
    put_file(folder / "model/config.json", "{}");
    put_file(folder / "model/parts/a", "1");
    put_file(folder / "model2/config.json", "{}");
  }
  void link(const std::string& target, const std::string& at) const { fs::create_symlink(target, folder / at); }
  fs::path leads(const std::string& file) const { return leads_out_of(folder / "model", folder / file); }
};

TEST(LeadsOutOf, FollowsLinksThatStayInside) {
  const Links links;
  links.link("parts/a", "model/relative");
  links.link(links.folder / "model/parts/a", "model/absolute");
  links.link("../model/config.json", "model/around");
  EXPECT_EQ(links.leads("model/config.json"), "");
  EXPECT_EQ(links.leads("model/relative"), "");
  EXPECT_EQ(links.leads("model/absolute"), "");
  EXPECT_EQ(links.leads("model/around"), "");
  EXPECT_EQ(links.leads("model/absent"), "");
}

TEST(LeadsOutOf, NamesWhereOthersLead) {
  const Links links;
  const fs::path secret = fs::canonical(links.folder / "secret");
  links.link("../secret", "model/relative");
  links.link(secret, "model/absolute");
  links.link("relative", "model/twice");
  links.link("..", "model/parent");
  links.link("../model2/config.json", "model/neighbour");  // its name begins like the folder's
  for (const char* name : {"model/relative", "model/absolute", "model/twice", "model/parent/secret"}) EXPECT_EQ(links.leads(name), secret) << name;
  EXPECT_EQ(links.leads("model/neighbour"), fs::canonical(links.folder / "model2/config.json"));
  try {
    expect_inside(links.folder / "model", links.folder / "model/twice");
    FAIL() << "a link out of the folder was followed";
  } catch (const FormatError& error) {
    EXPECT_THAT(error.what(), HasSubstr(secret.string()));
    EXPECT_THAT(error.what(), HasSubstr("model/twice"));
  }
}

TEST(LeadsOutOf, LetsTheUsersOwnPathGoThroughLinks) {
  const Links links;
  links.link("model", "current");
  EXPECT_EQ(leads_out_of(links.folder / "current", links.folder / "current/config.json"), "");
  EXPECT_EQ(leads_out_of(links.folder / "current/", links.folder / "current/parts/a"), "");
}

TEST(LeadsOutOf, TakesBlobsOfTheHuggingFaceCache) {
  const Links links;
  put_file(links.folder / "hub/models--org--name/blobs/0a1b", "{}");
  put_file(links.folder / "hub/models--org--name/other", "{}");
  fs::create_directories(links.folder / "hub/models--org--name/snapshots/main");
  const fs::path snapshot = links.folder / "hub/models--org--name/snapshots/main";
  links.link("../../blobs/0a1b", "hub/models--org--name/snapshots/main/config.json");
  links.link("../../other", "hub/models--org--name/snapshots/main/other");
  links.link(links.folder / "hub/models--org--name/blobs/0a1b", "model/fetched.json");
  EXPECT_EQ(leads_out_of(snapshot, snapshot / "config.json"), "");
  EXPECT_NE(leads_out_of(snapshot, snapshot / "other"), "");
  EXPECT_EQ(links.leads("model/fetched.json"), "");  // as older clients made local folders
}

}  // namespace
}  // namespace nibble
