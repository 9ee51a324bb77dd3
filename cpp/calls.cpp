// Keys of calls: what a pooling call depends on, as bytes. Equal bytes are equal calls.
#include "calls.hpp"

#include <cstring>

#include "arrays.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace poolwise {
namespace {

constexpr std::size_t kBytes = 1024;  // a key is some 100 bytes; a call that needs more takes the long way
constexpr int kDepth = 4;             // nesting of tuples: windows and pads have two

// Every value is its type, its length where it has one, and its contents: True, 1 and 1.0 differ, and so do (1, (2,)) and
// ((1, 2),). Subclasses and whatever else may have a meaning of its own are not written: false.
class Writer {
 public:
  bool value(PyObject* o, int depth = kDepth) {
    if (o == Py_None) return raw('n');
    if (o == Py_True) return raw('t');
    if (o == Py_False) return raw('f');
    if (PyLong_CheckExact(o)) {
      int overflow = 0;
      const long long number = PyLong_AsLongLongAndOverflow(o, &overflow);
      return overflow == 0 && raw('i') && raw(number);
    }
    if (PyTuple_CheckExact(o)) return raw('T') && items(o, PyTuple_Size(o), depth);
    if (PyList_CheckExact(o)) return raw('L') && items(o, PyList_Size(o), depth);
    if (PyUnicode_CheckExact(o)) return raw('s') && text(o);
    return PyFloat_CheckExact(o) && raw('d') && raw(PyFloat_AsDouble(o));
  }

  template <class T>
  bool raw(T value) {
    return copy(&value, sizeof value);
  }

  nb::object key() const { return nb::steal(PyBytes_FromStringAndSize(bytes_, static_cast<Py_ssize_t>(size_))); }

 private:
  bool items(PyObject* o, Py_ssize_t n, int depth) {
    if (depth == 0 || !raw(n)) return false;
    for (Py_ssize_t i = 0; i < n; ++i) {
      const nb::object item = nb::steal(PySequence_GetItem(o, i));
      if (!item.is_valid()) PyErr_Clear();  // a list that another thread made shorter
      if (!item.is_valid() || !value(item.ptr(), depth - 1)) return false;
    }
    return true;
  }

  bool text(PyObject* o) {
    Py_ssize_t n = 0;
    const char* start = PyUnicode_AsUTF8AndSize(o, &n);
    if (!start) PyErr_Clear();
    return start && raw(n) && copy(start, static_cast<std::size_t>(n));
  }

  bool copy(const void* from, std::size_t n) {
    if (n > kBytes - size_) return false;
    std::memcpy(bytes_ + size_, from, n);
    size_ += n;
    return true;
  }

  char bytes_[kBytes];
  std::size_t size_ = 0;
};

// What was passed after the array, which is the first argument.
nb::object arguments_key(nb::tuple args, nb::dict options) {
  Writer key;
  const Py_ssize_t n = PyTuple_Size(args.ptr());
  key.raw(n);
  for (Py_ssize_t i = 1; i < n; ++i)
    if (!key.value(PyTuple_GetItem(args.ptr(), i))) return nb::none();
  PyObject *name, *value;
  Py_ssize_t at = 0;
  while (PyDict_Next(options.ptr(), &at, &name, &value))
    if (!key.value(name) || !key.value(value)) return nb::none();
  return key.key();
}

// What a NumPy array is but for its address: its dtype, and as bytes shape, strides and whether its elements are aligned.
nb::object array_key(nb::handle array) {
  const ArrayDescription described(array);
  const nb::object dtype = attribute<kDtype>(array);
  if (!described || !dtype.is_valid()) throw nb::python_error();
  Writer key;
  bool whole = key.raw(described->flags & ArrayInterface::kAligned);
  for (int i = 0; i < described->n_axes; ++i) whole = whole && key.raw(described->shape[i]) && key.raw(described->strides[i]);
  if (!whole) return nb::none();
  return nb::steal(PyTuple_Pack(2, dtype.ptr(), key.key().ptr()));
}

}  // namespace

void bind_calls(nb::module_& m) {
  m.def("arguments_key", &arguments_key, "args"_a, "options"_a);
  m.def("array_key", &array_key, "array"_a);
}

}  // namespace poolwise
