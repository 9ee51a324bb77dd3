#include "memory.hpp"

#include <algorithm>
#include <cstring>
#include <mutex>

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace poolwise {

#if defined(__linux__) && defined(MADV_HUGEPAGE) && defined(MADV_FREE)

namespace {

std::size_t page_size() {
  static const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

constexpr std::size_t kHuge = std::size_t{2} << 20;
constexpr std::size_t kHeader = 64;  // before the elements: how much is mapped; a cache line, so that they stay aligned
constexpr std::size_t kMostBytes = std::size_t{512} << 20;
constexpr int kMostBlocks = 8;

struct Mapping {
  char* base = nullptr;
  std::size_t bytes = 0;
};

void unmap(Mapping m) {
  if (m.base) munmap(m.base, m.bytes);
}

// Begins at a huge page, so that the first 2 MiB can be one too.
Mapping map(std::size_t bytes) {
  void* found = mmap(nullptr, bytes + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (found == MAP_FAILED) return {};
  char* const first = static_cast<char*>(found);
  const std::size_t before = (kHuge - reinterpret_cast<std::uintptr_t>(first) % kHuge) % kHuge;
  if (before) munmap(first, before);
  munmap(first + before + bytes, kHuge - before);
  madvise(first + before, bytes, MADV_HUGEPAGE);
  return {first + before, bytes};
}

// Blocks without a user, oldest first.
class Kept {
 public:
  // One that is large enough and not much larger.
  Mapping take(std::size_t bytes) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return {};
    int best = -1;
    for (int i = 0; i < count_; ++i)
      if (blocks_[i].bytes >= bytes && blocks_[i].bytes <= bytes + bytes / 4 &&
          (best < 0 || blocks_[i].bytes < blocks_[best].bytes))
        best = i;
    return best < 0 ? Mapping{} : remove(best);
  }

  void keep(Mapping m) {
    if (m.bytes > kMostBytes || madvise(m.base, m.bytes, MADV_FREE) != 0) return unmap(m);  // locked memory, for one
    Mapping outdated[kMostBlocks];
    int n = 0;
    {
      // Not waited for: a child of fork may have got the lock in the hands of a thread that it has not got.
      const std::unique_lock lock(mutex_, std::try_to_lock);
      if (!lock) return unmap(m);
      while (count_ == kMostBlocks || (count_ > 0 && bytes_ + m.bytes > kMostBytes)) outdated[n++] = remove(0);
      blocks_[count_++] = m;
      bytes_ += m.bytes;
    }
    std::for_each(outdated, outdated + n, unmap);
  }

 private:
  Mapping remove(int i) {
    const Mapping m = blocks_[i];
    std::copy(blocks_ + i + 1, blocks_ + count_, blocks_ + i);
    --count_;
    bytes_ -= m.bytes;
    return m;
  }

  std::mutex mutex_;
  Mapping blocks_[kMostBlocks];
  int count_ = 0;
  std::size_t bytes_ = 0;
};

Kept& kept() {
  static Kept* const blocks = new Kept;  // never destroyed: arrays may be freed after static objects are
  return *blocks;
}

// What must be mapped for so many bytes of elements; 0 where that has no number.
std::size_t mapped_for(std::size_t bytes) {
  if (bytes > SIZE_MAX / 2) return 0;
  return (bytes + kHeader + page_size() - 1) / page_size() * page_size();
}

void* elements(Mapping m) {
  std::memcpy(m.base, &m.bytes, sizeof m.bytes);
  return m.base + kHeader;
}

Mapping mapping(void* block) {
  Mapping m;
  m.base = static_cast<char*>(block) - kHeader;
  std::memcpy(&m.bytes, m.base, sizeof m.bytes);
  return m;
}

}  // namespace

void advise_huge_pages(std::uintptr_t address, std::uintptr_t bytes) {
  const std::uintptr_t page = page_size(), first = (address + page - 1) / page * page, last = (address + bytes) / page * page;
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
}

void* take_block(std::size_t bytes) {
  const std::size_t needed = mapped_for(bytes);
  if (needed == 0) return nullptr;
  Mapping m = kept().take(needed);
  if (!m.base) m = map(needed);
  return m.base ? elements(m) : nullptr;
}

void* resize_block(void* block, std::size_t bytes) {
  const Mapping before = mapping(block);
  const std::size_t needed = mapped_for(bytes);
  if (needed == 0) return nullptr;
  void* const moved = mremap(before.base, before.bytes, needed, MREMAP_MAYMOVE);
  return moved == MAP_FAILED ? nullptr : elements({static_cast<char*>(moved), needed});
}

void return_block(void* block) { kept().keep(mapping(block)); }

#else

void advise_huge_pages(std::uintptr_t, std::uintptr_t) {}
void* take_block(std::size_t) { return nullptr; }
void* resize_block(void*, std::size_t) { return nullptr; }
void return_block(void*) {}

#endif

}  // namespace poolwise
