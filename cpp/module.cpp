// poolwise._core: the Python face of the kernels. Arrays come as addresses; Python has validated them.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <stdexcept>

#include "arrays.hpp"
#include "calls.hpp"
#include "isa.hpp"
#include "openmp.hpp"
#include "kernel.hpp"
#include "memory.hpp"
#include "numpy_memory.hpp"
#include "parallel.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace poolwise;

// Where an array's elements are: as a number, or as the NumPy array itself, whose elements are aligned.
struct Address {
  void* elements;
};

template <>
struct nb::detail::type_caster<Address> {
  NB_TYPE_CASTER(Address, const_name("int | numpy.ndarray"))

  bool from_python(handle from, uint32_t, cleanup_list*) noexcept {
    bool found = true;
    if (PyLong_Check(from.ptr())) {
      value.elements = PyLong_AsVoidPtr(from.ptr());
      found = value.elements || !PyErr_Occurred();
    } else {
      const ArrayDescription array(from);
      found = array && (array->flags & ArrayInterface::kAligned);
      if (found) value.elements = array->data;
    }
    if (!found) PyErr_Clear();
    return found;
  }
};

namespace {

BatchAxis size_and_stride(nb::handle pair) {
  const nb::tuple t = nb::cast<nb::tuple>(pair);
  if (nb::len(t) != 2) throw std::invalid_argument("poolwise kernel: expected (size, stride)");
  return {nb::cast<i64>(t[0]), nb::cast<i64>(t[1])};
}

AxisSpec axis_spec(nb::handle values) {
  const nb::tuple t = nb::cast<nb::tuple>(values);
  if (nb::len(t) != 12)
    throw std::invalid_argument("poolwise kernel: an axis has 12 values (size_in, stride_in, n_out, step, stride, window, "
                                "first, last, base, edge, radix, index_stride)");
  auto number = [&](int i) { return nb::cast<i64>(t[i]); };
  AxisSpec spec{};
  spec.axis.size_in = number(0);
  spec.axis.stride_in = number(1);
  spec.axis.n_out = number(2);
  spec.axis.step = number(3);
  spec.axis.stride = number(4);
  spec.axis.window = number(5);
  spec.axis.first = number(6);
  spec.axis.last = number(7);
  spec.axis.base = number(8);
  const nb::bytes edge = nb::cast<nb::bytes>(t[9]);
  if (edge.size() % sizeof(Window) != 0)
    throw std::invalid_argument("poolwise kernel: edge must hold rows of three int64");
  spec.edge.resize(edge.size() / sizeof(Window));
  if (edge.size() > 0) std::memcpy(spec.edge.data(), edge.c_str(), edge.size());
  spec.axis.radix = number(10);
  spec.axis.index_stride = number(11);
  return spec;
}

// A vector from the bytes of its elements.
template <class T>
std::vector<T> values(nb::handle bytes) {
  const nb::bytes b = nb::cast<nb::bytes>(bytes);
  if (b.size() % sizeof(T) != 0) throw std::invalid_argument("poolwise kernel: bytes must hold whole elements");
  std::vector<T> v(b.size() / sizeof(T));
  if (!v.empty()) std::memcpy(v.data(), b.c_str(), b.size());
  return v;
}

void construct(Kernel* self, std::string op, std::string dtype, std::string out_dtype, nb::sequence batch, nb::sequence axes,
               nb::handle inner, double p, bool is_signed, double rescale, double divisor, bool count_padding,
               nb::sequence filters) {
  KernelSpec spec{};
  spec.op = std::move(op);
  spec.dtype = std::move(dtype);
  spec.out_dtype = std::move(out_dtype);
  for (nb::handle pair : batch) spec.batch.push_back(size_and_stride(pair));
  for (nb::handle axis : axes) spec.axes.push_back(axis_spec(axis));
  spec.inner = size_and_stride(inner);
  spec.p = p;
  spec.is_signed = is_signed;
  spec.rescale = rescale;
  spec.divisor = divisor;
  spec.count_padding = count_padding;
  for (nb::handle pair : filters) {
    const nb::tuple t = nb::cast<nb::tuple>(pair);
    if (nb::len(t) != 2) throw std::invalid_argument("poolwise kernel: expected (weights, positions of edge rows)");
    spec.filters.push_back({values<double>(t[0]), values<i64>(t[1])});
  }
  new (self) Kernel(std::move(spec));
}

template <class T = void>
T* at(Address address) {
  return static_cast<T*>(address.elements);
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "Compiled pooling kernels. Internal: arrays are addresses that the caller has validated.";

  // Python caches kernels until the interpreter is gone, which nanobind would report as leaks.
  nb::set_leak_warnings(false);

  using Free = nb::call_guard<nb::gil_scoped_release>;
  nb::class_<Kernel>(m, "Kernel")
      .def("__init__", &construct, "op"_a, "dtype"_a, "out_dtype"_a, "batch"_a, "axes"_a, "inner"_a, nb::kw_only(), "p"_a = 2.0,
           "signed"_a = false, "rescale"_a = 0.0, "divisor"_a = 0.0, "count_padding"_a = false,
           "filters"_a = nb::tuple())
      .def_prop_ro("offset_size", &Kernel::offset_size)
      .def("forward", [](const Kernel& k, Address x, Address y, int threads) { k.forward(at(x), at(y), threads); },
           "x"_a, "y"_a, "threads"_a, Free())
      .def("forward_offsets",
           [](const Kernel& k, Address x, Address y, Address off, int threads) {
             k.forward_offsets(at(x), at(y), at(off), threads);
           },
           "x"_a, "y"_a, "off"_a, "threads"_a, Free())
      .def("offsets_to_indices",
           [](const Kernel& k, Address off, Address idx, int threads) {
             k.offsets_to_indices(at(off), at<i64>(idx), threads);
           },
           "off"_a, "idx"_a, "threads"_a, Free())
      .def("backward_select",
           [](const Kernel& k, Address gy, Address off, Address gx, int threads) {
             k.backward_select(at(gy), at(off), at(gx), threads);
           },
           "gy"_a, "off"_a, "gx"_a, "threads"_a, Free())
      .def("backward_select_signed",
           [](const Kernel& k, Address x, Address gy, Address off, Address gx, int threads) {
             k.backward_select_signed(at(x), at(gy), at(off), at(gx), threads);
           },
           "x"_a, "gy"_a, "off"_a, "gx"_a, "threads"_a, Free())
      .def("backward_linear",
           [](const Kernel& k, Address gy, Address gx, int threads) { k.backward_linear(at(gy), at(gx), threads); },
           "gy"_a, "gx"_a, "threads"_a, Free())
      .def("backward_lp",
           [](const Kernel& k, Address x, Address y, Address gy, Address gx, int threads) {
             k.backward_lp(at(x), at(y), at(gy), at(gx), threads);
           },
           "x"_a, "y"_a, "gy"_a, "gx"_a, "threads"_a, Free())
      .def("backward_median",
           [](const Kernel& k, Address x, Address gy, Address gx, int threads) {
             k.backward_median(at(x), at(gy), at(gx), threads);
           },
           "x"_a, "gy"_a, "gx"_a, "threads"_a, Free());

  m.def("isa", [] { return std::string(active_kernels().name); });
  m.def("isa_available", &available_isas);
  m.def("parallel_stats", &parallel_wakeups);
  m.def("shared_threads", &openmp_team, "threads"_a, "Threads of the OpenMP team that a loop would run on; 0 for our own.");
  m.def("set_worth_sharing", &set_worth_sharing, "seconds"_a);
  m.def("set_streams_from", &set_streams_from, "bytes"_a);
  m.def("advise_huge_pages", &advise_huge_pages, "address"_a, "bytes"_a);
  bind_numpy_memory(m);
  bind_calls(m);
}
