// Keys of calls, for Python's table of calls that were made before.
#pragma once

#include <nanobind/nanobind.h>

namespace poolwise {

void bind_calls(nanobind::module_& m);

}  // namespace poolwise
