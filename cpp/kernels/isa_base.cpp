#include "table.hpp"

namespace poolwise {
const Kernels& kernels_base();
PW_DEFINE_KERNELS(base)
}  // namespace poolwise
