// A checked problem together with the functions that compute it.
#pragma once

#include <string>
#include <vector>

#include "plan.hpp"
#include "problem.hpp"

namespace poolwise {

struct AxisSpec {
  Axis axis;
  std::vector<Window> edge;
};

struct KernelSpec {
  std::string op, dtype, out_dtype;
  std::vector<BatchAxis> batch;
  std::vector<AxisSpec> axes;
  BatchAxis inner;
  double p, rescale, divisor;
  bool is_signed, count_padding;
  std::vector<FilterSpec> filters;  // of a blur, one per axis
};

// Addresses are trusted to hold the arrays that the spec describes; the spec itself is not trusted. Methods may be
// called from several threads at once.
class Kernel {
 public:
  explicit Kernel(KernelSpec spec);  // throws std::invalid_argument
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  void forward(const void* x, void* y, int threads) const;  // throws std::overflow_error
  void forward_offsets(const void* x, void* y, void* offsets, int threads) const;
  void offsets_to_indices(const void* offsets, i64* indices, int threads) const;
  void backward_select(const void* gy, const void* offsets, void* gx, int threads) const;
  void backward_select_signed(const void* x, const void* gy, const void* offsets, void* gx, int threads) const;
  void backward_linear(const void* gy, void* gx, int threads) const;
  // For p = inf it finds the first of the greatest elements again; backward_select_signed is quicker with offsets kept.
  void backward_lp(const void* x, const void* y, const void* gy, void* gx, int threads) const;
  void backward_median(const void* x, const void* gy, void* gx, int threads) const;

  int offset_size() const { return pb_.offset_bytes; }

 private:
  Problem dense(BatchAxis& planes) const;
  void run(const Problem& pb, UnitFn fn, const char* what, const Call& call, i64 units, int threads, bool backward) const;

  KernelSpec spec_;
  Problem pb_{}, forward_pb_{}, values_pb_{};  // gradients, forward passes, and those of values alone
  std::vector<BatchAxis> forward_batch_;
  std::vector<Target> targets_;
  std::vector<FilterTables> tables_;
  std::vector<Filter> filters_;
  UnitFn forward_, forward_offsets_, backward_select_, backward_select_signed_, backward_linear_, backward_lp_;
  UnitFn middles_, backward_middles_;
};

// Calls estimated to take less than this run on the calling thread alone. Tests set it to 0.
void set_worth_sharing(double seconds);

}  // namespace poolwise
