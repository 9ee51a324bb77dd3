// Memory for results, and advice about it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace poolwise {

// Ask for huge pages in a fresh block: a large result is else written one page fault for every 4 KiB. Does nothing where
// the system has no such thing, or not for this memory.
void advise_huge_pages(std::uintptr_t address, std::uintptr_t bytes);

// Blocks that are used again. From 32 MiB on, the C library returns a freed block to the system and fetches the next one
// page by page, at up to twice the cost of pooling into it. Here a freed block keeps its pages until the next result of that
// size, or until the system wants them: they are marked as free for it to take (MADV_FREE) and hold nothing that is needed.
// Null where there is no memory, or no such system.
void* take_block(std::size_t bytes);
void* resize_block(void* block, std::size_t bytes);
void return_block(void* block);

}  // namespace poolwise
