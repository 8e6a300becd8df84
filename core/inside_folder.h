// A folder from somewhere else (a model, an adapter, a checkpoint) speaks of files in itself, and of nothing else. Its links are
// followed as far as they stay in it; one that leads out would have a stranger's archive name any file of the user's, to be read
// and copied into what the user then publishes.
//
// What the user names is the user's: the folder's own path may go through any links. The Hugging Face cache is made of links into
// ../../blobs, and older versions of its client left links to there in folders of their own: a file
// .../models--NAME/blobs/HASH is a model's file wherever the link to it stands.
#pragma once

#include <filesystem>

namespace nibble {

// Where `file`, a path below `folder`, leads if not to a file of the folder; "" where it stays inside, or is not there.
std::filesystem::path leads_out_of(const std::filesystem::path& folder, const std::filesystem::path& file);

// THROWS FormatError naming the link and its target where it leads out.
void expect_inside(const std::filesystem::path& folder, const std::filesystem::path& file);

}  // namespace nibble
