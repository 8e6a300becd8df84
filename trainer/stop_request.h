// A request from outside to stop: SIGINT or SIGTERM. The first one is noticed by the loop between micro-batches, which
// saves a checkpoint and ends with exit code 75; a second one leaves at once.
#pragma once

namespace nibble::trainer {

// Installs the handlers while it lives. One at a time.
class StopRequest {
 public:
  StopRequest();
  StopRequest(const StopRequest&) = delete;
  ~StopRequest();

  bool requested() const;
  // "SIGINT" or "SIGTERM"; "" before a request.
  const char* name() const;
};

}  // namespace nibble::trainer
