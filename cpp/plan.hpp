// Checks a geometry once and decides how its work is cut. Everything that a kernel relies on to stay inside its arrays
// is established here.
#pragma once

#include <vector>

#include "problem.hpp"

namespace poolwise {

// Throws std::invalid_argument. Fills the derived members of `pb` and of its axes.
void plan(Problem& pb);

// The forward pass of a planned problem of three axes as one of two (see Fold), where that is possible and pays: whether it does.
// `batch` must outlive what is put in `folded`.
bool fold(const Problem& pb, Problem& folded, std::vector<BatchAxis>& batch);

// The forward pass of a planned problem that keeps positions, which blocks.hpp does not, where it is to be cut in another way: whether
// it is.
bool plan_positions(const Problem& pb, Problem& positions);

// Small planes as channels of fewer (see Beside): `given` is `pb` before it was planned. Whether it pays; then `together`, whose
// batch is `batch`, is planned too, and what `beside` says of it.
bool lay_beside(const Problem& given, const Problem& pb, Problem& together, BatchAxis& batch, Beside& beside);

// The table behind Problem::targets, empty where it would have too many rows.
std::vector<Target> make_targets(const Problem& pb);

// How a planned median is found, and how its work is cut.
void plan_median(Problem& pb);

// What one axis of a blur has beside its windows: the weights of a whole one, and where the elements of those lie that an
// edge cuts, row by row, -1 for none.
struct FilterSpec {
  std::vector<double> weights;
  std::vector<i64> edge;
};

struct FilterTables {
  std::vector<double> weights, inside;
  std::vector<Tap> edge, by_position;
  std::vector<i64> edge_begin;
};

// Throws std::invalid_argument. Fills the tables of a planned blur and cuts its work; `filters` point into the tables.
void plan_blur(Problem& pb, const std::vector<FilterSpec>& specs, std::vector<FilterTables>& tables,
               std::vector<Filter>& filters);

// The cut alone, where the filters are there.
void cut_blur(Problem& pb);

// Calls that read and write more bytes than this write past the caches: what POOLWISE_STREAM in the environment says (0 for
// never), else half of what the last-level cache holds, up to 24 MiB. What is planned already stays as it is. Returns what was before.
i64 set_streams_from(i64 bytes);

// A rough estimate of the time that one call takes on one thread, to decide whether waking others pays.
double estimated_seconds(const Problem& pb, bool backward);

}  // namespace poolwise
