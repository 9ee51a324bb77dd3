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
  // A problem as calls of one kind see it, and what computes it.
  struct Pass {
    const Problem* pb = nullptr;
    UnitFn fn = nullptr;
  };

  void lay_planes_beside(const Problem& given);
  Problem dense(BatchAxis& planes) const;
  void run(Pass pass, const char* what, const Call& call, int threads) const;

  KernelSpec spec_;
  Problem pb_{}, forward_pb_{}, offsets_pb_{};  // gradients, and forward passes without and with offsets
  Problem beside_pb_{}, together_{};  // the first and what is made of it where small planes are pooled side by side
  std::vector<BatchAxis> forward_batch_;
  BatchAxis together_batch_{};
  Beside beside_{};
  std::vector<Target> targets_;
  std::vector<FilterTables> tables_;
  std::vector<Filter> filters_;
  Pass values_, offsets_, select_, select_signed_, linear_, lp_, middles_, back_middles_;
};

// Calls estimated to take less than this run on the calling thread alone. Tests set it to 0.
void set_worth_sharing(double seconds);

}  // namespace poolwise
