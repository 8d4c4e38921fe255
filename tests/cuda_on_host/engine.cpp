// Runs the threads of a kernel on the CPU: block after block; the threads of a block as fibers that change only at barriers and
// shuffles. A thread that meets none runs through on one stack, which the next thread takes over.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>
#include <sys/mman.h>

#include "driver.h"

EmuNow *emu_now;

namespace {
enum class State { New, Running, AtBarrier, AtWarp, Done };
struct Fiber {
    EmuNow now;
    State state;
    void *stack_pointer;
    char *stack;
    unsigned mask;        // of the warp barrier it waits at
    const char *file;     // where it waits
    int line;
    uint64_t bits;        // what it gives to a shuffle or ballot
    int from;             // the lane it takes from, or VOTES
    uint64_t taken;
};
constexpr int VOTES = -1;
constexpr size_t STACK = 64 << 10, ARENA = 4 << 20;

std::vector<Fiber> fibers;
std::vector<char *> free_stacks;
void *scheduler_pointer;
Fiber *current;
const EmuKernel *kernel;
void **parameters;
size_t shared_end, dynamic_bytes;
char *arena() {
    static char *at = static_cast<char *>(aligned_alloc(4096, ARENA));
    return at;
}
char *dynamic_arena() {
    static char *at = static_cast<char *>(aligned_alloc(4096, ARENA));
    return at;
}

extern "C" void emu_switch(void **save, void *to);
// Saves the callee's registers on the old stack, takes them from the new one.
asm(R"(
.text
.type emu_switch,@function
emu_switch:
    push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
    ret
.size emu_switch,.-emu_switch
)");

void fiber_main() {
    for (;;) {
        kernel->call(kernel->function, parameters);
        current->state = State::Done;
        emu_switch(&current->stack_pointer, scheduler_pointer);
    }
}

char *take_stack() {
    if (free_stacks.empty()) {
        // A guard page below, so that too deep a stack is a fault and not another thread's variables.
        char *at = static_cast<char *>(mmap(nullptr, STACK + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (at == MAP_FAILED || mprotect(at + 4096, STACK, PROT_READ | PROT_WRITE) != 0) emu_fail("no memory for a stack");
        return at;
    }
    char *at = free_stacks.back();
    free_stacks.pop_back();
    return at;
}

void step(Fiber &fiber) {
    if (fiber.state == State::New) {
        fiber.stack = take_stack();
        auto top = reinterpret_cast<void **>(fiber.stack + 4096 + STACK);
        *--top = nullptr;  // keeps the stack aligned as after a call
        *--top = reinterpret_cast<void *>(fiber_main);
        top -= 6;
        memset(top, 0, 6 * sizeof *top);
        fiber.stack_pointer = top;
    }
    fiber.state = State::Running;
    current = &fiber;
    emu_now = &fiber.now;
    emu_switch(&scheduler_pointer, fiber.stack_pointer);
    if (fiber.state == State::Done) free_stacks.push_back(fiber.stack);
}

void wait(State state, unsigned mask, const char *file, int line) {
    current->state = state;
    current->mask = mask;
    current->file = file;
    current->line = line;
    emu_switch(&current->stack_pointer, scheduler_pointer);
}

unsigned number(const Fiber &fiber) { return unsigned(&fiber - fibers.data()); }

// Whether all lanes of the mask that have not ended wait at the same place.
bool warp_is_ready(const Fiber &fiber) {
    unsigned first = number(fiber) / 32 * 32;
    for (unsigned lane = 0; lane < 32 && first + lane < fibers.size(); ++lane) {
        const Fiber &other = fibers[first + lane];
        if (!(fiber.mask >> lane & 1) || other.state == State::Done) continue;
        if (other.state != State::AtWarp) return false;
        if (other.line != fiber.line || strcmp(other.file, fiber.file) || other.mask != fiber.mask)
            emu_fail("lanes of one mask wait at different places or with different masks");
    }
    return true;
}

// All lanes of the mask are here: each takes what it asked for. From a lane outside the mask, or one that has ended, it gets
// NaN, so that it shows.
void exchange(unsigned first, unsigned mask) {
    unsigned here = 0, votes = 0;
    for (unsigned lane = 0; lane < 32 && first + lane < fibers.size(); ++lane) {
        const Fiber &fiber = fibers[first + lane];
        if (!(mask >> lane & 1) || fiber.state != State::AtWarp) continue;
        here |= 1u << lane;
        votes |= unsigned(fiber.bits != 0) << lane;
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (!(here >> lane & 1)) continue;
        Fiber &fiber = fibers[first + lane];
        const bool given = fiber.from >= 0 && here >> fiber.from & 1;
        fiber.taken = fiber.from == VOTES ? votes : given ? fibers[first + unsigned(fiber.from)].bits : ~uint64_t(0);
        fiber.state = State::Running;
    }
}

// One round over the threads, in the order asked for; whether anything moved.
bool round(bool reversed) {
    bool moved = false;
    const size_t count = fibers.size();
    for (size_t i = 0; i < count; ++i) {
        Fiber &fiber = fibers[reversed ? count - 1 - i : i];
        if (fiber.state == State::New || fiber.state == State::Running) {
            step(fiber);
            moved = true;
        }
    }
    for (Fiber &fiber : fibers) {
        if (fiber.state != State::AtWarp || !warp_is_ready(fiber)) continue;
        exchange(number(fiber) / 32 * 32, fiber.mask);
        moved = true;
    }
    return moved;
}

void run_block(bool reversed) {
    memset(arena(), 0xff, shared_end);
    memset(dynamic_arena(), 0xff, dynamic_bytes);
    for (Fiber &fiber : fibers) fiber.state = State::New, fiber.file = nullptr;
    for (;;) {
        if (round(reversed)) continue;
        const Fiber *waiting = nullptr;
        for (Fiber &fiber : fibers) {
            if (fiber.state == State::Done) continue;
            if (fiber.state != State::AtBarrier) {
                current = &fiber, emu_now = &fiber.now;
                emu_fail("a lane waits at a shuffle or __syncwarp for one that waits elsewhere");
            }
            if (waiting && (waiting->line != fiber.line || strcmp(waiting->file, fiber.file))) {
                current = &fiber, emu_now = &fiber.now;
                emu_fail("threads of one block wait at different __syncthreads()");
            }
            waiting = &fiber;
        }
        if (!waiting) return;
        for (Fiber &fiber : fibers)
            if (fiber.state == State::AtBarrier) fiber.state = State::Running;
    }
}
}  // namespace

void emu_run(const EmuKernel &which, EmuIndex grid, EmuIndex block, size_t dynamic, void **arguments) {
    // "reverse" turns the order of blocks and threads around: with a missing barrier, or blocks that need each other, results change.
    static const bool reversed = getenv("SWEEP_EMU_ORDER") && std::string(getenv("SWEEP_EMU_ORDER")) == "reverse";
    if (dynamic > ARENA) emu_fail("too much dynamic shared memory");
    kernel = &which, parameters = arguments, dynamic_bytes = dynamic;
    fibers.resize(size_t(block.x) * block.y * block.z);
    const size_t blocks = size_t(grid.x) * grid.y * grid.z;
    for (size_t i = 0; i < fibers.size(); ++i) {
        const unsigned n = unsigned(i);
        fibers[i].now.thread = {n % block.x, n / block.x % block.y, n / block.x / block.y};
        fibers[i].now.block_dim = block;
        fibers[i].now.grid_dim = grid;
    }
    for (size_t i = 0; i < blocks; ++i) {
        const size_t n = reversed ? blocks - 1 - i : i;
        const EmuIndex at = {unsigned(n % grid.x), unsigned(n / grid.x % grid.y), unsigned(n / grid.x / grid.y)};
        for (Fiber &fiber : fibers) fiber.now.block = at;
        run_block(reversed);
    }
    kernel = nullptr, current = nullptr, emu_now = nullptr;
}

extern "C" {
void emu_fail(const char *words) {
    fprintf(stderr, "host emulation: %s\n", words);
    if (kernel) {
        fprintf(stderr, "  in kernel %s", kernel->name);
        if (emu_now) {
            auto [thread, block, block_dim, grid_dim] = *emu_now;
            fprintf(stderr, ", block (%u, %u, %u) of (%u, %u, %u), thread (%u, %u, %u) of (%u, %u, %u)", block.x, block.y, block.z,
                    grid_dim.x, grid_dim.y, grid_dim.z, thread.x, thread.y, thread.z, block_dim.x, block_dim.y, block_dim.z);
        }
        if (current && current->file) fprintf(stderr, ", last waited at %s:%d", current->file, current->line);
        fputc('\n', stderr);
    }
    abort();
}
int emu_lane() { return int(number(*current) % 32); }
void emu_barrier(const char *file, int line) { wait(State::AtBarrier, 0, file, line); }
void emu_warp_barrier(unsigned mask, const char *file, int line) {
    if (!(mask >> emu_lane() & 1)) emu_fail("a lane is not in its own mask");
    wait(State::AtWarp, mask, file, line);
}
uint64_t emu_exchange(unsigned mask, uint64_t bits, int from, const char *file, int line) {
    current->bits = bits;
    current->from = from;
    emu_warp_barrier(mask, file, line);
    return current->taken;
}
unsigned emu_ballot(unsigned mask, int test, const char *file, int line) {
    return unsigned(emu_exchange(mask, test != 0, VOTES, file, line));
}
// Called while a kernel runs, by the first thread that meets the variable.
size_t emu_shared_place(size_t bytes, size_t align) {
    const size_t offset = (shared_end + align - 1) / align * align;
    if (offset + bytes > ARENA) emu_fail("the arena of shared memory is full");
    shared_end = offset + bytes;
    memset(arena() + offset, 0xff, bytes);
    return offset;
}
char *emu_shared_arena() { return arena(); }
char *emu_dynamic_shared() { return dynamic_arena(); }
}
