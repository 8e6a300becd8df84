// Seconds since this process was started by the system, loading of libraries included.
#pragma once

namespace nibble::trainer {

double seconds_since_process_start();

}  // namespace nibble::trainer
