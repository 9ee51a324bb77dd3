// Which compiled set of kernels this process uses.
#pragma once

#include <string>
#include <vector>

#include "problem.hpp"

namespace poolwise {

// Chosen once; POOLWISE_ISA forces one. Throws std::runtime_error for a word that names none that this machine has.
const Kernels& active_kernels();

std::vector<std::string> available_isas();

}  // namespace poolwise
