#include "table.hpp"

namespace poolwise {
const Kernels& kernels_avx512();
PW_DEFINE_KERNELS(avx512)
}  // namespace poolwise
