// Advice about memory.
#pragma once

#include <cstdint>

namespace poolwise {

// Ask for huge pages in a fresh block: a large result is else written one page fault for every 4 KiB. Does nothing where
// the system has no such thing, or not for this memory.
void advise_huge_pages(std::uintptr_t address, std::uintptr_t bytes);

}  // namespace poolwise
