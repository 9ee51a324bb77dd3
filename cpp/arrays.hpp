// NumPy arrays without NumPy's headers: what its array interface says.
#pragma once

#include <nanobind/nanobind.h>

namespace poolwise {

// The first fields of what the array interface (version 3) puts in __array_struct__.
struct ArrayInterface {
  static constexpr int kAligned = 0x100;
  int two, n_axes;
  char kind;
  int item_size, flags;
  Py_ssize_t *shape, *strides;
  void* data;
};

// An attribute, null with Python's error set where there is none. The name is made once, for good.
template <const char* const& kName>
nanobind::object attribute(nanobind::handle of) {
  static PyObject* const name = PyUnicode_InternFromString(kName);
  return nanobind::steal(PyObject_GetAttr(of.ptr(), name));
}

inline constexpr const char* kArrayStruct = "__array_struct__";
inline constexpr const char* kDtype = "dtype";

// Asking in Python (x.ctypes.data) takes 0.8 us, a third of a small call. False, with Python's error set, for what has no
// such interface.
class ArrayDescription {
 public:
  explicit ArrayDescription(nanobind::handle array)
      : capsule_(attribute<kArrayStruct>(array)),
        described_(capsule_.is_valid() ? PyCapsule_GetPointer(capsule_.ptr(), nullptr) : nullptr) {}
  explicit operator bool() const { return described_ != nullptr; }
  const ArrayInterface* operator->() const { return static_cast<const ArrayInterface*>(described_); }

 private:
  nanobind::object capsule_;
  void* described_;
};

}  // namespace poolwise
