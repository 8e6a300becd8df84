#include "trainer/command.h"

namespace nibble::trainer {

std::vector<Command> all_commands() {
  return {make_train_command(),  make_resume_command(),        make_export_command(),  make_eval_command(),    make_generate_command(),
          make_chat_command(),   make_plan_command(),          make_preprocess_command(), make_inspect_command(), make_tokenize_command(),
          make_ckpt_command(),   make_verify_resume_command(), make_config_command(),  make_doctor_command()};
}

}  // namespace nibble::trainer
