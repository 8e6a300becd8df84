#include "trainer/child_run.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "core/error.h"

namespace nibble::trainer {
namespace {

constexpr const char* kOwnBinary = "/proc/self/exe";

int open_for_output(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) throw IoError("cannot write what a run of our own prints", path.string(), errno);
  return fd;
}

}  // namespace

ChildRun::ChildRun(const std::vector<std::string>& arguments, const std::filesystem::path& out, const std::filesystem::path& err) {
  std::vector<std::string> words{"nibble"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const int out_fd = open_for_output(out), err_fd = open_for_output(err), in_fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {  // only what is safe between fork and exec in a program with threads
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);  // it ended before it was asked to tell
    ::dup2(in_fd, STDIN_FILENO);
    ::dup2(out_fd, STDOUT_FILENO);
    ::dup2(err_fd, STDERR_FILENO);
    ::execv(kOwnBinary, argv.data());
    ::_exit(127);
  }
  const int reason = errno;
  for (const int fd : {out_fd, err_fd, in_fd}) ::close(fd);
  if (pid_ < 0) throw IoError("cannot start another process", kOwnBinary, reason);
}

ChildRun::~ChildRun() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

bool ChildRun::running() {
  if (pid_ <= 0) return false;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return true;
  pid_ = -1;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return false;
}

}  // namespace nibble::trainer
