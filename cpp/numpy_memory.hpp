// Results of NumPy in blocks that are used again (memory.hpp), through NumPy's own interface for allocators.
#pragma once

#include <nanobind/nanobind.h>

namespace poolwise {

void bind_numpy_memory(nanobind::module_& m);

}  // namespace poolwise
