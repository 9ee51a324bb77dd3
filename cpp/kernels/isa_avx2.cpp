#include "table.hpp"

namespace poolwise {
const Kernels& kernels_avx2();
PW_DEFINE_KERNELS(avx2)
}  // namespace poolwise
