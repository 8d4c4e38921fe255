// Device memory: each allocation is its own pages, ends where they end and is followed by a page that nobody may touch; it begins
// as NaN, and once freed nobody may touch it again. A kernel that reads or writes beyond its buffer or after its end stops here.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

#include "driver.h"

namespace {
constexpr size_t PAGE = 4096, ALIGN = 16, KEPT = 8192;
constexpr unsigned char FILL = 0xff, SLACK = 0xa5;
struct Block {
    size_t bytes;  // as asked for
    char *pages;
    size_t length; // of the pages, the guard included
};
std::recursive_mutex lock;
std::map<char *, Block> &living() { static auto &at = *new std::map<char *, Block>; return at; }
// Freed, and kept unreadable for a while: a map by address, and the order of freeing.
std::map<char *, Block> &freed() { static auto &at = *new std::map<char *, Block>; return at; }
std::deque<char *> &order() { static auto &at = *new std::deque<char *>; return at; }
size_t used;

const std::pair<char *const, Block> *holder(std::map<char *, Block> &blocks, const char *at, size_t after) {
    auto next = blocks.upper_bound(const_cast<char *>(at));
    if (next == blocks.begin()) return nullptr;
    --next;
    return at < next->first + next->second.bytes + after ? &*next : nullptr;
}

// A fault: says what memory it was near and which kernel did it.
void on_fault(int, siginfo_t *info, void *) {
    const char *at = static_cast<const char *>(info->si_addr);
    if (auto block = holder(living(), at, PAGE + ALIGN))
        fprintf(stderr, "host emulation: touched byte %td of an allocation of %zu bytes\n", at - block->first, block->second.bytes);
    else if (auto gone = holder(freed(), at, PAGE))
        fprintf(stderr, "host emulation: touched byte %td of a freed allocation of %zu bytes\n", at - gone->first, gone->second.bytes);
    else
        fprintf(stderr, "host emulation: touched %p, which is no memory\n", info->si_addr);
    signal(SIGABRT, SIG_DFL);
    emu_fail("illegal address (a GPU gives CUDA_ERROR_ILLEGAL_ADDRESS, and the context is lost)");
}

size_t to_bytes(const char *words) {
    char *rest;
    const double number = strtod(words, &rest);
    return size_t(number * (*rest == 'G' ? 1 << 30 : *rest == 'M' ? 1 << 20 : *rest == 'K' ? 1 << 10 : 1));
}
}  // namespace

size_t emu_memory_limit() {
    static const size_t limit = getenv("SWEEP_EMU_MEMORY") ? to_bytes(getenv("SWEEP_EMU_MEMORY")) : size_t(4) << 30;
    return limit;
}

size_t emu_memory_used() {
    std::lock_guard guard(lock);
    return used;
}

void *emu_allocate(size_t bytes) {
    std::lock_guard guard(lock);
    static const bool handled = [] {
        struct sigaction action = {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        return sigaction(SIGSEGV, &action, nullptr) == 0 && sigaction(SIGBUS, &action, nullptr) == 0;
    }();
    (void)handled;
    if (bytes > emu_memory_limit() || used + bytes > emu_memory_limit()) return nullptr;
    const size_t rounded = (bytes + ALIGN - 1) / ALIGN * ALIGN, length = (rounded + PAGE - 1) / PAGE * PAGE + PAGE;
    char *pages = static_cast<char *>(mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (pages == MAP_FAILED) return nullptr;
    mprotect(pages + length - PAGE, PAGE, PROT_NONE);
    char *at = pages + length - PAGE - rounded;
    memset(pages, SLACK, size_t(at - pages));
    memset(at, FILL, bytes);
    memset(at + bytes, SLACK, rounded - bytes);
    living()[at] = {bytes, pages, length};
    used += bytes;
    return at;
}

bool emu_free(void *pointer) {
    std::lock_guard guard(lock);
    char *at = static_cast<char *>(pointer);
    auto found = living().find(at);
    if (found == living().end()) {
        fprintf(stderr, "host emulation: freed %p, which is %s\n", pointer, freed().count(at) ? "already free" : "no allocation");
        return false;
    }
    const Block block = found->second;
    for (char *byte = block.pages; byte < block.pages + block.length - PAGE; ++byte) {
        if (byte == at) byte += block.bytes;
        if (byte == block.pages + block.length - PAGE) break;
        if (static_cast<unsigned char>(*byte) == SLACK) continue;
        fprintf(stderr, "host emulation: byte %td of an allocation of %zu bytes was written\n", byte - at, block.bytes);
        emu_fail("memory beside an allocation was written");
    }
    living().erase(found);
    used -= block.bytes;
    // Dropping the pages costs nothing and keeps the addresses taken.
    mmap(block.pages, block.length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    freed()[at] = block;
    order().push_back(at);
    if (order().size() > KEPT) {
        auto oldest = freed().find(order().front());
        munmap(oldest->second.pages, oldest->second.length);
        freed().erase(oldest);
        order().pop_front();
    }
    return true;
}

extern "C" bool emu_is_device_memory(const void *pointer, size_t bytes, const char *what) {
    std::lock_guard guard(lock);
    const char *at = static_cast<const char *>(pointer);
    if (auto block = holder(living(), at, 1))
        if (at + bytes <= block->first + block->second.bytes) return true;
    if (auto block = holder(living(), at, 1))
        fprintf(stderr, "host emulation: %s: %zu bytes from byte %td of an allocation of %zu bytes\n", what, bytes, at - block->first,
                block->second.bytes);
    else
        fprintf(stderr, "host emulation: %s: %p is %s\n", what, pointer, holder(freed(), at, 0) ? "freed memory" : "no device memory");
    return false;
}
