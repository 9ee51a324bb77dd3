#include "kernel.hpp"

#include <atomic>
#include <cmath>
#include <memory>
#include <new>
#include <stdexcept>

#include "isa.hpp"
#include "parallel.hpp"
#include "plan.hpp"

namespace poolwise {
namespace {

// Handing half the work to a sleeping thread was measured at 17-40 us: below this much work it does not pay.
std::atomic<double> worth_sharing{100e-6};

template <class T, std::size_t N>
T named(const char* const (&names)[N], const std::string& name, const char* what) {
  std::string all;
  for (std::size_t i = 0; i < N; ++i) {
    if (name == names[i]) return static_cast<T>(i);
    all += (i ? ", " : "") + std::string(names[i]);
  }
  throw std::invalid_argument("poolwise kernel: unknown " + std::string(what) + " '" + name + "'; expected one of: " + all);
}

constexpr const char* kOps[] = {"max", "min", "avg", "sum", "lp", "median", "blur"};
constexpr const char* kDtypes[] = {"bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16",
                                   "int32", "int64", "float16", "bfloat16", "float32", "float64"};

void check_dtypes(const Problem& pb) {
  bool good = pb.out == pb.in;
  if (pb.op == Op::avg || pb.op == Op::sum) {
    if (is_float(pb.in)) good |= pb.out == Dtype::f64 || (pb.out == Dtype::f32 && pb.in != Dtype::f64);
    else good |= pb.out == Dtype::i64 || pb.out == Dtype::f32 || pb.out == Dtype::f64;
    good &= pb.out != Dtype::boolean;
  }
  if (pb.op == Op::lp || pb.op == Op::blur) good &= is_float(pb.in);
  if (!good)
    throw std::invalid_argument("poolwise kernel: " + std::string(kOps[static_cast<int>(pb.op)]) + " of " +
                                kDtypes[static_cast<int>(pb.in)] + " to " + kDtypes[static_cast<int>(pb.out)] +
                                " is not supported");
}

void check_parameters(const Problem& pb) {
  auto fail = [](const char* what) { throw std::invalid_argument(std::string("poolwise kernel: ") + what); };
  if (pb.op == Op::lp) {
    if (!(pb.p > 0)) fail("p must be positive");
    if (pb.is_signed && !(std::fmod(pb.p, 2) == 1)) fail("signed lp needs an odd integer p");
    if (!std::isfinite(pb.rescale) || pb.rescale < 0) fail("rescale must be finite and not negative");
    if (pb.rescale != 0 && std::isinf(pb.p)) fail("rescale has no meaning for p = inf");
  }
  if (!std::isfinite(pb.divisor)) fail("divisor must be finite");
  if (!is_float(pb.out) && pb.divisor != 0 && (std::trunc(pb.divisor) != pb.divisor || std::fabs(pb.divisor) > 0x1p62))
    fail("an integer average needs an integer divisor");
}

// Scratch of one thread, kept between calls up to a size that nobody will miss.
class ScratchMemory {
 public:
  char* get(i64 bytes) {
    const std::size_t wanted = static_cast<std::size_t>(bytes) + 64;
    if (wanted > size_) {
      memory_.reset();
      size_ = 0;
      memory_.reset(static_cast<char*>(::operator new(wanted)));
      size_ = wanted;
    }
    const auto at = reinterpret_cast<std::uintptr_t>(memory_.get());
    return memory_.get() + ((at + 63) / 64 * 64 - at);
  }
  void trim() {
    if (size_ > (4u << 20)) {
      memory_.reset();
      size_ = 0;
    }
  }

 private:
  struct Free {
    void operator()(char* p) const { ::operator delete(p); }
  };
  std::unique_ptr<char, Free> memory_;
  std::size_t size_ = 0;
};

thread_local ScratchMemory scratch_memory;

}  // namespace

void set_worth_sharing(double seconds) { worth_sharing = seconds; }

Kernel::Kernel(KernelSpec spec) : spec_(std::move(spec)) {
  pb_.op = named<Op>(kOps, spec_.op, "operator");
  pb_.in = named<Dtype>(kDtypes, spec_.dtype, "dtype");
  pb_.out = named<Dtype>(kDtypes, spec_.out_dtype, "dtype");
  if (spec_.axes.empty() || spec_.axes.size() > kMaxAxes)
    throw std::invalid_argument("poolwise kernel: " + std::to_string(spec_.axes.size()) + " axes, expected 1 to 16");
  pb_.n_axes = static_cast<int>(spec_.axes.size());
  for (int a = 0; a < pb_.n_axes; ++a) {
    pb_.axes[a] = spec_.axes[a].axis;
    pb_.axes[a].edge = spec_.axes[a].edge.data();
    pb_.axes[a].ring = static_cast<i64>(spec_.axes[a].edge.size());  // plan() checks it and puts the real value there
  }
  pb_.inner = spec_.inner.size;
  pb_.inner_stride = spec_.inner.size == 1 ? 1 : spec_.inner.stride;
  pb_.n_batch = static_cast<int>(spec_.batch.size());
  pb_.batch = spec_.batch.data();
  pb_.p = spec_.p;
  pb_.rescale = spec_.rescale;
  pb_.divisor = spec_.divisor;
  pb_.is_signed = spec_.is_signed;
  pb_.count_padding = spec_.count_padding;
  check_dtypes(pb_);
  check_parameters(pb_);
  const Problem given = pb_;
  plan(pb_);
  if (pb_.op == Op::median) plan_median(pb_);
  if (pb_.op == Op::blur) plan_blur(pb_, spec_.filters, tables_, filters_);
  if (!fold(pb_, forward_pb_, forward_batch_)) forward_pb_ = pb_;
  if (!plan_positions(pb_, offsets_pb_)) offsets_pb_ = forward_pb_;
  const Kernels& isa = active_kernels();
  values_ = {&forward_pb_, isa.forward(pb_, false)};
  offsets_ = {&offsets_pb_, isa.forward(pb_, true)};
  select_ = {&pb_, isa.backward_select(pb_)};
  select_signed_ = {&pb_, isa.backward_select_signed(pb_)};
  linear_ = {&pb_, isa.backward_linear(pb_)};
  lp_ = {&pb_, isa.backward_lp(pb_)};
  middles_ = {&pb_, isa.middles(pb_)};
  back_middles_ = {&pb_, isa.backward_middles(pb_)};
  if (select_.fn || select_signed_.fn) targets_ = make_targets(pb_);
  pb_.targets = targets_.empty() ? nullptr : targets_.data();
  lay_planes_beside(given);
}

void Kernel::lay_planes_beside(const Problem& given) {
  if (!lay_beside(given, pb_, together_, together_batch_, beside_)) return;
  if (pb_.op == Op::median) plan_median(together_);
  if (pb_.op == Op::blur) {
    together_.filters = pb_.filters;
    cut_blur(together_);
  }
  const Kernels& isa = active_kernels();
  beside_pb_ = pb_;
  beside_pb_.beside = &beside_;
  const i64 at_once = beside_.lanes * together_.planes;
  beside_pb_.units = beside_pb_.back_units = (pb_.planes + at_once - 1) / at_once;
  auto lay = [&](bool pays, Pass& pass, UnitFn& fn, UnitFn together) {
    if (!pays || !pass.fn || !together) return;
    fn = together;
    pass = {&beside_pb_, isa.beside};
  };
  lay(beside_.pays.values, values_, beside_.values, isa.forward(together_, false));
  lay(beside_.pays.offsets, offsets_, beside_.offsets, isa.forward(together_, true));
  const bool gradients = beside_.pays.gradients && (together_.gather || pb_.op == Op::blur);
  lay(gradients, select_, beside_.gradients, isa.backward_select(together_));
  lay(gradients, linear_, beside_.gradients, isa.backward_linear(together_));
  lay(gradients, lp_, beside_.gradients, isa.backward_lp(together_));
}

void Kernel::run(Pass pass, const char* what, const Call& call, int threads) const {
  if (!pass.fn)
    throw std::invalid_argument("poolwise kernel: " + spec_.op + " of " + spec_.dtype + " has no " + what);
  const Problem& pb = *pass.pb;
  const bool backward = call.gx != nullptr;
  const i64 units = backward ? pb.back_units : pb.units;
  if (units == 0) return;
  struct Job {
    UnitFn fn;
    const Problem& pb;
    const Call& call;
    i64 bytes;
    std::atomic<bool> out_of_memory{false};
  } job{pass.fn, pb, call, pass.fn(pb, call, 0, 0, nullptr)};
  auto body = [](void* context, i64 begin, i64 end) {
    Job& j = *static_cast<Job*>(context);
    try {
      j.fn(j.pb, j.call, begin, end, scratch_memory.get(j.bytes));
      scratch_memory.trim();
    } catch (const std::bad_alloc&) {
      j.out_of_memory = true;
    }
  };
  if (threads > 1 && estimated_seconds(pb, backward) < worth_sharing.load(std::memory_order_relaxed)) threads = 1;
  parallel_for(units, threads, body, &job);
  if (job.out_of_memory) throw std::bad_alloc();
}

void Kernel::forward(const void* x, void* y, int threads) const {
  int overflow = 0;
  Call call{};
  call.x = x;
  call.y = y;
  call.overflow = &overflow;
  run(values_, "forward", call, threads);
  if (overflow)
    throw std::overflow_error("poolwise: a " + spec_.op + " of " + spec_.dtype + " does not fit in " + spec_.out_dtype +
                              "; try a wider dtype=");
}

void Kernel::forward_offsets(const void* x, void* y, void* offsets, int threads) const {
  Call call{};
  call.x = x;
  call.y = y;
  call.offsets = offsets;
  run(offsets_, "offsets", call, threads);
}

void Kernel::offsets_to_indices(const void* offsets, i64* indices, int threads) const {
  if (pb_.units == 0) return;
  struct Job {
    const Problem& pb;
    const void* offsets;
    i64* indices;
  } job{pb_, offsets, indices};
  auto body = [](void* context, i64 begin, i64 end) {
    const Job& j = *static_cast<Job*>(context);
    active_kernels().indices(j.pb, j.offsets, j.indices, begin, end);
  };
  const i64 outputs = pb_.planes * pb_.out_plane, rows = outputs / pb_.axes[pb_.n_axes - 1].out_block / pb_.axes[pb_.n_axes - 1].n_out;
  const double seconds = 1e-9 * static_cast<double>(outputs);
  parallel_for(rows, seconds < worth_sharing.load(std::memory_order_relaxed) ? 1 : threads, body, &job);
}

void Kernel::backward_select(const void* gy, const void* offsets, void* gx, int threads) const {
  Call call{};
  call.gy = gy;
  call.offsets = const_cast<void*>(offsets);
  call.gx = gx;
  run(select_, "backward_select", call, threads);
}

void Kernel::backward_select_signed(const void* x, const void* gy, const void* offsets, void* gx, int threads) const {
  Call call{};
  call.x = x;
  call.gy = gy;
  call.offsets = const_cast<void*>(offsets);
  call.gx = gx;
  run(select_signed_, "backward_select_signed", call, threads);
}

void Kernel::backward_linear(const void* gy, void* gx, int threads) const {
  Call call{};
  call.gy = gy;
  call.gx = gx;
  run(linear_, "backward_linear", call, threads);
}

// The same problem over a dense x, whatever strides the forward pass had. `planes` must outlive it.
Problem Kernel::dense(BatchAxis& planes) const {
  Problem dense = pb_;
  planes = {pb_.planes, pb_.in_plane};
  dense.n_batch = 1;
  dense.batch = &planes;
  dense.inner_stride = 1;
  for (int a = 0; a < dense.n_axes; ++a) dense.axes[a].stride_in = dense.axes[a].in_block;
  return dense;
}

void Kernel::backward_median(const void* x, const void* gy, void* gx, int threads) const {
  if (pb_.in_plane > i64{1} << 32)
    throw std::invalid_argument("poolwise kernel: gradients of medians take planes of up to 2^32 elements");
  BatchAxis planes{};
  const Problem problem = dense(planes);
  std::vector<std::uint32_t> middles(static_cast<std::size_t>(2 * pb_.planes * pb_.out_plane));
  Call find{};
  find.x = x;
  find.offsets = middles.data();
  run({&problem, middles_.fn}, "gradient", find, threads);
  Call call{};
  call.gy = gy;
  call.offsets = middles.data();
  call.gx = gx;
  run(back_middles_, "gradient", call, threads);
}

void Kernel::backward_lp(const void* x, const void* y, const void* gy, void* gx, int threads) const {
  if (select_signed_.fn) {
    BatchAxis planes{};
    const Problem problem = dense(planes);
    const i64 outputs = pb_.planes * pb_.out_plane;
    std::vector<char> norms(static_cast<std::size_t>(outputs * dtype_bytes(pb_.out)));
    std::vector<char> offsets(static_cast<std::size_t>(outputs * pb_.offset_bytes));
    Call find{};
    find.x = x;
    find.y = norms.data();
    find.offsets = offsets.data();
    run({&problem, active_kernels().forward(pb_, true)}, "offsets", find, threads);
    return backward_select_signed(x, gy, offsets.data(), gx, threads);
  }
  Call call{};
  call.x = x;
  call.y = const_cast<void*>(y);
  call.gy = gy;
  call.gx = gx;
  run(lp_, "backward_lp", call, threads);
}

}  // namespace poolwise
