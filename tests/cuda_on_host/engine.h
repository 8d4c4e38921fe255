// The engine that runs a kernel's threads, as the kernels and the libraries see it.
#pragma once
#include <cstddef>
#include <cstdint>

struct EmuIndex {
    unsigned x, y, z;
};
// The thread that runs now.
struct EmuNow {
    EmuIndex thread, block, block_dim, grid_dim;
};
// A kernel compiled for the host. `call` unpacks cuLaunchKernel's parameters and calls `function`.
struct EmuKernel {
    const char *name;
    void (*function)();
    void (*call)(void (*)(), void **);
    unsigned parameters;
    const unsigned char *sizes;     // bytes of each parameter
    const unsigned char *pointers;  // 1 where it is a pointer
    // As the PTX has it:
    unsigned ptx_parameters;
    const unsigned char *ptx_sizes;
    unsigned max_threads;   // .maxntid, 0 if not given
    unsigned static_shared; // bytes
    unsigned registers;     // of a thread, by ptxas; 0 if unknown
};

extern "C" {
extern EmuNow *emu_now;
void emu_register_module(const char *file, const EmuKernel *kernels, unsigned count);
[[noreturn]] void emu_fail(const char *words);
void emu_barrier(const char *file, int line);
void emu_warp_barrier(unsigned mask, const char *file, int line);
uint64_t emu_exchange(unsigned mask, uint64_t bits, int from, const char *file, int line);
unsigned emu_ballot(unsigned mask, int test, const char *file, int line);
int emu_lane();
size_t emu_shared_place(size_t bytes, size_t align);
char *emu_shared_arena();
char *emu_dynamic_shared();
// Whether [at, at + bytes) lies in one living allocation of device memory; otherwise says so on stderr, naming `what`.
bool emu_is_device_memory(const void *at, size_t bytes, const char *what);
}
