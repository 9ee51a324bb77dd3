// Checks a geometry once and decides how its work is cut. Everything that a kernel relies on to stay inside its arrays
// is established here.
#pragma once

#include <vector>

#include "problem.hpp"

namespace poolwise {

// Throws std::invalid_argument. Fills the derived members of `pb` and of its axes.
void plan(Problem& pb);

// The table behind Problem::targets, empty where it would have too many rows.
std::vector<Target> make_targets(const Problem& pb);

// A rough estimate of the time that one call takes on one thread, to decide whether waking others pays.
double estimated_seconds(const Problem& pb, bool backward);

}  // namespace poolwise
