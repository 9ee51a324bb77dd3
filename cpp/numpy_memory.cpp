#include "numpy_memory.hpp"

#include <cstdint>
#include <cstring>

#include "memory.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace poolwise {
namespace {

// NEP 49, version 1: what a capsule named "mem_handler" points to.
struct Handler {
  char name[127];
  std::uint8_t version;
  void* context;
  void* (*allocate)(void*, std::size_t);
  void* (*allocate_zeroed)(void*, std::size_t, std::size_t);
  void* (*reallocate)(void*, void*, std::size_t);
  void (*release)(void*, void*, std::size_t);
};

// Every array keeps the capsule of the handler that it came from, and is freed by it.
Handler handler{"poolwise",
                1,
                nullptr,
                [](void*, std::size_t bytes) { return take_block(bytes); },
                [](void*, std::size_t n, std::size_t size) -> void* {
                  if (size && n > SIZE_MAX / size) return nullptr;
                  void* const block = take_block(n * size);
                  return block ? std::memset(block, 0, n * size) : nullptr;
                },
                [](void*, void* block, std::size_t bytes) { return block ? resize_block(block, bytes) : take_block(bytes); },
                [](void*, void* block, std::size_t) {
                  if (block) return_block(block);
                }};

using SetHandler = PyObject* (*)(PyObject*);

// PyDataMem_SetHandler, which has had this place in NumPy's table of functions since 1.22; null where there is no NumPy.
SetHandler find_set_handler() {
  constexpr int kPlace = 304;
  try {
    const nb::object table = nb::module_::import_("numpy._core._multiarray_umath").attr("_ARRAY_API");
    void** const functions = static_cast<void**>(PyCapsule_GetPointer(table.ptr(), nullptr));
    if (functions) return reinterpret_cast<SetHandler>(functions[kPlace]);
  } catch (nb::python_error&) {
  }
  PyErr_Clear();
  return nullptr;
}

// Sets a handler, and puts the one before back. It belongs to the calling thread's context alone.
class Handling {
 public:
  explicit Handling(SetHandler set) : set_(set) {
    static PyObject* const ours = PyCapsule_New(&handler, "mem_handler", nullptr);
    before_ = ours && set ? set(ours) : nullptr;
    if (!before_) PyErr_Clear();
  }
  Handling(const Handling&) = delete;
  Handling& operator=(const Handling&) = delete;
  ~Handling() {
    if (!before_) return;
    const nb::error_scope raised;  // the call's own error, which is on its way
    PyObject* const ours = set_(before_);
    if (!ours) PyErr_Clear();
    Py_XDECREF(ours);
    Py_DECREF(before_);
  }

 private:
  SetHandler set_;
  PyObject* before_ = nullptr;
};

}  // namespace

void bind_numpy_memory(nb::module_& m) {
  m.def(
      "recycled",
      [](nb::callable make, nb::args arguments) {
        static const SetHandler set = find_set_handler();
        const Handling here(set);
        return make(*arguments);
      },
      "What `make` returns, called with the other arguments; NumPy arrays that it makes lie in memory that is used again.");
}

}  // namespace poolwise
