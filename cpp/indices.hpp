// Compact offsets to public flat indices.
#pragma once

#include "problem.hpp"

namespace poolwise {

// Planes begin..end-1. Both arrays are dense, as y.
void offsets_to_indices(const Problem& pb, const void* offsets, i64* indices, i64 begin, i64 end);

}  // namespace poolwise
