// The tables of a blur: weights that add up to one along each axis, those of windows that an edge cuts, and their
// transpose. How its work is cut.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "plan.hpp"

namespace poolwise {
namespace {

constexpr i64 kRowElements = 4096;  // doubles of a reduced row: half of a first-level cache
constexpr i64 kMostRows = 1 << 16;  // rows of x in one window
constexpr i64 kMostEdgeTaps = 1 << 24;

[[noreturn]] void fail(const std::string& what) { throw std::invalid_argument("poolwise kernel: " + what); }

i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

Filter make_filter(const Axis& axis, bool count_padding, const FilterSpec& spec, FilterTables& tables, int index) {
  const std::string where = "axis " + std::to_string(index) + " of a blur";
  const i64 window = static_cast<i64>(spec.weights.size()), uniform = axis.last - axis.first, rows = axis.n_out - uniform;
  if (window < 1) fail(where + ": no weights");
  if (uniform > 0 && window != axis.window) fail(where + ": " + std::to_string(window) + " weights for windows of " +
      std::to_string(axis.window));
  if (rows > kMostEdgeTaps / window || static_cast<i64>(spec.edge.size()) != rows * window)
    fail(where + ": " + std::to_string(spec.edge.size()) + " edge positions for " + std::to_string(rows) + " rows of " +
        std::to_string(window));
  double whole = 0;
  for (double w : spec.weights) {
    if (!(w >= 0 && w <= 1)) fail(where + ": weights must be 0 to 1");
    whole += w;
  }
  if (!(whole > 0)) fail(where + ": weights must add up to more than 0");
  for (double w : spec.weights) tables.weights.push_back(w / whole);
  Filter filter{};
  filter.most_taps = window;
  for (i64 e = 0; e < rows; ++e) {
    const i64 output = e < axis.first ? e : e + uniform;
    tables.edge_begin.push_back(static_cast<i64>(tables.edge.size()));
    double kept = 0;
    for (i64 j = 0; j < window; ++j)
      if (spec.edge[e * window + j] >= 0) kept += spec.weights[j];
    const double divisor = count_padding ? whole : kept;
    if (!(kept > 0)) fail(where + ": output " + std::to_string(output) + " sees no weight");
    tables.inside.push_back(kept / divisor);
    for (i64 j = 0; j < window; ++j) {
      const i64 at = spec.edge[e * window + j];
      if (at < -1 || at >= axis.size_in) fail(where + ": position " + std::to_string(at) + " is outside");
      if (at >= 0) tables.edge.push_back({at, output, spec.weights[j] / divisor});
    }
  }
  tables.edge_begin.push_back(static_cast<i64>(tables.edge.size()));
  tables.by_position = tables.edge;
  std::stable_sort(tables.by_position.begin(), tables.by_position.end(), [](const Tap& a, const Tap& b) { return a.at < b.at; });
  i64 run = 0, longest = 0;
  for (std::size_t i = 0; i < tables.by_position.size(); ++i) {
    run = i > 0 && tables.by_position[i].at == tables.by_position[i - 1].at ? run + 1 : 1;
    longest = std::max(longest, run);
  }
  filter.most_outputs = std::min(window, std::max<i64>(uniform, 0)) + longest;
  filter.weights = tables.weights.data();
  filter.edge = tables.edge.data();
  filter.edge_begin = tables.edge_begin.data();
  filter.inside = tables.inside.data();
  filter.by_position = tables.by_position.data();
  filter.edge_taps = static_cast<i64>(tables.edge.size());
  return filter;
}

}  // namespace

void cut_blur(Problem& pb) {
  BlurPlan& plan = pb.blur;
  const Axis& last = pb.axes[pb.n_axes - 1];
  const i64 inner = std::max<i64>(pb.inner, 1), n_out = std::max<i64>(last.n_out, 1), size_in = std::max<i64>(last.size_in, 1);
  auto even = [](i64 n, i64 at_most) { return ceil_div(n, ceil_div(n, std::clamp<i64>(at_most, 1, n))); };
  plan.inner = even(inner, kRowElements);
  // Neighbouring tiles reduce the columns that they share twice: no fewer than a few windows at once.
  const i64 stride = last.last - last.first > 1 ? last.stride : 1, window = pb.filters[pb.n_axes - 1].most_taps;
  plan.columns = even(n_out, std::max(kRowElements / plan.inner, 4 * window * std::min(last.step, stride)) / stride);
  plan.back_columns = even(size_in, std::max(kRowElements / plan.inner, 4 * window * std::min(last.step, stride)));
  plan.column_tiles = ceil_div(n_out, plan.columns);
  plan.back_column_tiles = ceil_div(size_in, plan.back_columns);
  plan.inner_tiles = ceil_div(inner, plan.inner);
  if (pb.units > 0) {
    pb.units = pb.planes * plan.column_tiles * plan.inner_tiles;
    for (int a = 0; a < pb.n_axes - 1; ++a) pb.units *= pb.axes[a].n_out;
  }
  if (pb.back_units > 0) {
    pb.back_units = pb.planes * plan.back_column_tiles * plan.inner_tiles;
    for (int a = 0; a < pb.n_axes - 1; ++a) pb.back_units *= pb.axes[a].size_in;
  }
}

void plan_blur(Problem& pb, const std::vector<FilterSpec>& specs, std::vector<FilterTables>& tables,
    std::vector<Filter>& filters) {
  if (static_cast<int>(specs.size()) != pb.n_axes)
    fail(std::to_string(specs.size()) + " filters of a blur for " + std::to_string(pb.n_axes) + " axes");
  tables.resize(specs.size());
  for (int a = 0; a < pb.n_axes; ++a) filters.push_back(make_filter(pb.axes[a], pb.count_padding, specs[a], tables[a], a));
  pb.filters = filters.data();
  i64 taps = 1, outputs = 1;
  for (int a = 0; a < pb.n_axes - 1; ++a) {
    taps *= filters[a].most_taps;
    outputs *= filters[a].most_outputs;
    if (taps > kMostRows || outputs > 16 * kMostRows) fail("a blur over more than 2^16 rows is not supported");
  }
  cut_blur(pb);
}

}  // namespace poolwise
